/* SPDX-License-Identifier: MIT */
/* io_threads_test.c - a hub, its queues and a server among many threads. */
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "must.h"

#define WRITERS 4
#define READERS 3
#define EVENTS 600 /* of each writer, on each of its two streams */

static sse_hub *hub;

static sse_stream *create(const char *id, const sse_stream_options *opts)
{
    sse_stream *s;

    must(sse_stream_new(hub, id, strlen(id), NULL, opts, &s));
    return s;
}

/* ---- Whole, in order and once, for every reader ---- */

/* Writes events "w i" to its own stream, singly, and to a channel that all
 * share, in batches; then ends its own. */
static void *write_events(void *arg)
{
    int         w = (int)(intptr_t)arg;
    char        id[8], data[256];
    sse_stream *own, *all;

    snprintf(id, sizeof(id), "s%d", w);
    must(sse_stream_open(hub, id, strlen(id), &own));
    must(sse_stream_open(hub, "all", 3, &all));
    for (int i = 0; i < EVENTS; i += 3) {
        uint32_t sizes[3];
        size_t   len = 0;

        for (int j = 0; j < 3; j++) {
            int n = snprintf(data + len, sizeof(data) - len, "%d %d", w, i + j);

            must(sse_stream_append(own, "", 0, data + len, (size_t)n, NULL));
            sizes[j] = (uint32_t)n;
            len += (size_t)n;
        }
        must(sse_stream_append_batch(all, "", 0, data, len, sizes, 3, NULL));
    }
    must(sse_stream_end(own, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    sse_stream_free(own);
    sse_stream_free(all);
    return NULL;
}

/* What one reader has had of one stream. */
typedef struct view {
    sse_parser *parser;
    uint64_t    seq;
    int         next[WRITERS]; /* the event it must get next of each writer */
    int         total;
} view;

static void look(view *v, const char *data, size_t len)
{
    const sse_item *item;

    must(sse_parser_feed(v->parser, data, len));
    while (sse_parser_next(v->parser, &item) > 0) {
        int  w, i;
        char text[32];

        net_check(item->type_len != 3, "no gap");
        net_check(strtoull(item->id, NULL, 10) == ++v->seq, "no hole");
        if (item->type_len == 9) /* completed */
            continue;
        net_check(item->data_len < sizeof(text), "a short event");
        memcpy(text, item->data, item->data_len);
        text[item->data_len] = '\0';
        net_check(sscanf(text, "%d %d", &w, &i) == 2, text);
        net_check(i == v->next[w]++, "in order and once");
        v->total++;
    }
}

static void *read_events(void *arg)
{
    view             views[WRITERS + 1] = {{.seq = 0}};
    sse_subscriber  *subs[WRITERS + 1];
    sse_queue       *q;
    const sse_batch *batch;
    int              ended = 0, n;

    (void)arg;
    must(sse_queue_new(hub, NULL, &q));
    for (int i = 0; i <= WRITERS; i++) {
        sse_subscriber_options opts = {.size = sizeof(opts),
                                       .key = (uint64_t)i,
                                       .flags =
                                           i % 2 ? SSE_SUBSCRIBER_HOLD : 0};
        sse_stream            *s;
        char                   id[8] = "all";

        if (i < WRITERS)
            snprintf(id, sizeof(id), "s%d", i);
        must(sse_stream_open(hub, id, strlen(id), &s));
        must(sse_parser_new(NULL, &views[i].parser));
        must(sse_subscriber_new(s, q, "", 0, &opts, &subs[i]));
        sse_stream_free(s);
    }
    while (ended < WRITERS || views[WRITERS].total < WRITERS * EVENTS) {
        must(sse_queue_wait(q, NET_PATIENCE_MS));
        while ((n = sse_queue_drain(q, 0, &batch)) > 0)
            for (int i = 0; i < n; i++) {
                const sse_note *note = &batch->notes[i];

                if (note->kind == SSE_NOTE_BYTES)
                    look(&views[note->key], batch->data + note->offset,
                         note->len);
                if (note->kind == SSE_NOTE_BYTES && note->key % 2)
                    sse_subscriber_next(subs[note->key]);
                ended += note->kind == SSE_NOTE_END;
            }
        must(n);
    }
    for (int i = 0; i <= WRITERS; i++) {
        net_check(i == WRITERS || views[i].total == EVENTS, "all of them");
        sse_parser_free(views[i].parser);
        sse_subscriber_free(subs[i]);
    }
    sse_queue_free(q);
    return NULL;
}

static atomic_bool quiet;

/* Looks at everything, all the time. */
static void *watch(void *arg)
{
    sse_buffer *text;

    (void)arg;
    must(sse_buffer_new(0, &text));
    while (!atomic_load(&quiet)) {
        const sse_stream_info *info;
        sse_list              *list;
        sse_stream            *s;

        sse_buffer_clear(text);
        must(sse_hub_metrics(hub, text));
        must(sse_list_new(hub, "", 0, &list));
        while (sse_list_next(list, &info) > 0)
            net_check(info->id_len > 0, "an id");
        sse_list_free(list);
        if (sse_stream_open(hub, "all", 3, &s) == SSE_OK) {
            must(sse_stream_get_info(s, &info));
            sse_stream_free(s);
        }
    }
    sse_buffer_free(text);
    return NULL;
}

static void every_reader_gets_everything(void **state)
{
    sse_hub_options    hub_opts = {.size = sizeof(hub_opts)};
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags = SSE_STREAM_CHANNEL,
                               .log_events = WRITERS * EVENTS};
    sse_stream        *streams[WRITERS + 1];
    pthread_t          writers[WRITERS], readers[READERS], watcher;

    (void)state;
    must(sse_hub_new(&hub_opts, &hub));
    for (int i = 0; i < WRITERS; i++) {
        char id[8];

        snprintf(id, sizeof(id), "s%d", i);
        streams[i] = create(id, NULL);
    }
    streams[WRITERS] = create("all", &opts);
    atomic_store(&quiet, false);
    watcher = start(watch, NULL);
    for (int i = 0; i < READERS; i++)
        readers[i] = start(read_events, NULL);
    for (intptr_t i = 0; i < WRITERS; i++)
        writers[i] = start(write_events, (void *)i);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    atomic_store(&quiet, true);
    pthread_join(watcher, NULL);
    for (int i = 0; i <= WRITERS; i++)
        sse_stream_free(streams[i]);
    sse_hub_free(hub);
}

/* ---- Coming and going ---- */

static unsigned draw(unsigned *state, unsigned n)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % n;
}

/* Does anything to one of four streams, by name, as everybody else does. */
static void one_act(sse_queue *q, unsigned *random)
{
    char            id[3] = {'s', (char)('0' + draw(random, 4)), '\0'};
    sse_subscriber *sub = NULL;
    sse_stream     *s = NULL;

    switch (draw(random, 8)) {
    case 0: sse_hub_stop(hub, id, 2); return;
    case 1:
        if (draw(random, 4) == 0)
            sse_hub_remove(hub, id, 2);
        return;
    case 2:
        if (sse_stream_new(hub, id, 2, draw(random, 2) ? q : NULL, NULL, &s) ==
            SSE_OK)
            sse_stream_set_owner(s, id, 2);
        break;
    default:
        if (sse_stream_open(hub, id, 2, &s) < 0)
            return;
        if (draw(random, 2))
            sse_stream_append(s, "", 0, "x", 1, NULL);
        else if (draw(random, 10) == 0)
            sse_stream_end(s, SSE_STATE_FAILED, "", 0, "", 0, NULL);
        else
            sse_subscriber_new(s, q, "$", draw(random, 2), NULL, &sub);
        break;
    }
    sse_stream_free(s);
    sse_subscriber_free(sub);
}

static void *act(void *arg)
{
    unsigned         random = (unsigned)(intptr_t)arg;
    const sse_batch *batch;
    sse_queue       *q = NULL;

    for (int i = 0; i < 1500; i++) {
        if (!q)
            must(sse_queue_new(hub, NULL, &q));
        one_act(q, &random);
        if (draw(&random, 4) == 0)
            must(sse_queue_drain(q, 0, &batch));
        if (draw(&random, 50) == 0) {
            sse_queue_free(q);
            q = NULL;
        }
    }
    sse_queue_free(q);
    return NULL;
}

static void anybody_does_anything(void **state)
{
    pthread_t threads[WRITERS], watcher;

    (void)state;
    must(sse_hub_new(NULL, &hub));
    atomic_store(&quiet, false);
    watcher = start(watch, NULL);
    for (intptr_t i = 0; i < WRITERS; i++)
        threads[i] = start(act, (void *)(i + 1));
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&quiet, true);
    pthread_join(watcher, NULL);
    sse_hub_free(hub);
}

/* A hub's thread starts with its first stream: others may look already. */
static pthread_barrier_t barrier;

static void *come_first(void *arg)
{
    sse_stream *s = NULL;
    sse_list   *list;
    bool        create_it = (intptr_t)arg % 2;

    pthread_barrier_wait(&barrier);
    if (create_it)
        must(sse_stream_new(hub, "", 0, NULL, NULL, &s));
    must(sse_list_new(hub, "", 0, &list));
    sse_list_free(list);
    sse_stream_free(s);
    return NULL;
}

static void all_come_first(void **state)
{
    pthread_t threads[WRITERS];

    (void)state;
    for (int round = 0; round < 50; round++) {
        must(sse_hub_new(NULL, &hub));
        pthread_barrier_init(&barrier, NULL, WRITERS);
        for (intptr_t i = 0; i < WRITERS; i++)
            threads[i] = start(come_first, (void *)i);
        for (int i = 0; i < WRITERS; i++)
            pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&barrier);
        sse_hub_free(hub);
    }
}

/* ---- A server among threads ---- */

static net_server server;

/* Reads streams over HTTP until the terminal event, cut off in between. */
static void *read_over_http(void *arg)
{
    char target[64];

    snprintf(target, sizeof(target), "/api/stream/s%d",
             (int)(intptr_t)arg % WRITERS);
    for (int i = 0; i < 5; i++) {
        net_peer p;

        net_open(&p, server.port);
        net_ask(&p, "GET", target, "", NULL);
        net_check(net_wait_for(&p, "data: "), "an event");
        net_close(&p);
    }
    for (int i = 0; i < 2; i++) {
        net_peer p;
        char     last[32];
        char    *at;

        net_check(net_once(server.port, &p, "GET", target, "", NULL) == 200,
                  "a stream");
        snprintf(last, sizeof(last), " %d\n\n", EVENTS - 1);
        at = strstr(p.body, last);
        net_check(at && strstr(at, "event: completed\n"), "the whole stream");
        net_check(!strstr(p.body, "event: gap"), "no gap");
        net_free(&p);
    }
    return NULL;
}

static void *post_over_http(void *arg)
{
    net_peer p;

    (void)arg;
    net_open(&p, server.port);
    for (int i = 0; i < 300; i++)
        net_check(net_do(&p, "POST", "/api/stream/all/events", "",
                         "{\"data\":\"0 0\"}") == 202,
                  "an append");
    net_close(&p);
    return NULL;
}

static void a_server_serves_threads(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags = SSE_STREAM_CHANNEL};
    sse_stream        *streams[WRITERS + 1];
    pthread_t          threads[2 * WRITERS + 2];
    int                n = 0;

    (void)state;
    net_server_new(&server, NULL, NULL);
    hub = server.hub;
    for (int i = 0; i < WRITERS; i++) {
        char id[8];

        snprintf(id, sizeof(id), "s%d", i);
        streams[i] = create(id, NULL);
    }
    streams[WRITERS] = create("all", &opts);
    net_server_run(&server);
    atomic_store(&quiet, false);
    threads[n++] = start(watch, NULL);
    threads[n++] = start(post_over_http, NULL);
    for (intptr_t i = 0; i < WRITERS; i++) {
        threads[n++] = start(read_over_http, (void *)i);
        threads[n++] = start(write_events, (void *)i);
    }
    for (int i = 1; i < n; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&quiet, true);
    pthread_join(threads[0], NULL);
    for (int i = 0; i <= WRITERS; i++)
        sse_stream_free(streams[i]);
    net_server_stop(&server);
}

static void *close_it(void *arg)
{
    (void)arg;
    sse_server_close(server.server);
    return NULL;
}

/* Closed by several threads at once, under load. */
static void anybody_closes_a_server(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        pthread_t   closers[2];
        net_peer    reader, idle;
        sse_stream *s;

        net_server_new(&server, NULL, NULL);
        hub = server.hub;
        s = create("s", NULL);
        net_server_run(&server);
        net_open(&idle, server.port);
        net_open(&reader, server.port);
        net_ask(&reader, "GET", "/api/stream/s", "", NULL);
        net_check(net_wait_for(&reader, "retry:"), "a reader");
        for (int i = 0; i < 2; i++)
            closers[i] = start(close_it, NULL);
        for (int i = 0; i < 20; i++)
            must(sse_stream_append(s, "", 0, "x", 1, NULL));
        for (int i = 0; i < 2; i++)
            pthread_join(closers[i], NULL);
        assert_int_equal(net_answer(&reader, false), 200); /* a whole one */
        net_close(&reader);
        net_close(&idle);
        sse_stream_free(s);
        net_server_join(&server);
    }
}

static atomic_bool handled;

static void on_signal(int number)
{
    (void)number;
    if (!atomic_exchange(&handled, true))
        sse_loop_stop(server.loop);
}

static void a_signal_stops_a_loop(void **state)
{
    struct sigaction act_on = {.sa_handler = on_signal}, before;
    net_peer         p;

    (void)state;
    sigaction(SIGUSR1, &act_on, &before);
    for (int round = 0; round < 10; round++) {
        net_server_new(&server, NULL, NULL);
        net_server_run(&server);
        net_open(&p, server.port);
        net_say(&p, "GET /health HTTP/1.1\r\n"); /* never ends */
        atomic_store(&handled, false);
        if (round % 2 == 0)
            raise(SIGUSR1);
        while (!atomic_load(&handled)) { /* ThreadSanitizer may lose one */
            pthread_kill(server.thread, SIGUSR1);
            usleep(1000);
        }
        net_server_join(&server);
        net_close(&p);
    }
    sigaction(SIGUSR1, &before, NULL);
}

/* The second one ends all at once: a reader that takes nothing stops it not. */
static void a_second_stop_is_the_last(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .shutdown_ms = SSE_NEVER};
    static char        data[1 << 20];
    sse_stream        *s;
    net_peer           p;

    (void)state;
    memset(data, 'x', sizeof(data));
    net_server_new(&server, NULL, &opts);
    hub = server.hub;
    s = create("s", NULL);
    net_server_run(&server);
    net_open(&p, server.port);
    net_ask(&p, "GET", "/api/stream/s", "", NULL);
    net_check(net_wait_for(&p, "retry:"), "a reader");
    for (int i = 0; i < 20; i++)
        must(sse_stream_append(s, "", 0, data, sizeof(data) - 1, NULL));
    sse_loop_stop(server.loop);
    sse_loop_stop(server.loop);
    sse_stream_free(s);
    net_server_join(&server);
    net_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reader_gets_everything),
        cmocka_unit_test(anybody_does_anything),
        cmocka_unit_test(all_come_first),
        cmocka_unit_test(a_server_serves_threads),
        cmocka_unit_test(anybody_closes_a_server),
        cmocka_unit_test(a_signal_stops_a_loop),
        cmocka_unit_test(a_second_stop_is_the_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
