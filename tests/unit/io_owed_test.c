/* SPDX-License-Identifier: MIT */
/* io_owed_test.c - a lost wake-up is not seen where the next one follows at
 * once. So here are many short rounds, each with a silence at its end: streams
 * are written and ended by threads, and every reader must get to the end of
 * each, without heartbeats. One that nobody wakes waits until the test's time
 * is over. */
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "net_support.h"

#define ROUNDS 800
#define STREAMS 3
#define EVENTS 4
#define QUEUES 2
#define STREAMERS 6
#define POLLERS 2
#define CLIENTS 2
#define THREADS (STREAMS + QUEUES + STREAMERS + POLLERS + CLIENTS)

static net_server        server;
static sse_loop         *loop; /* of the clients                            */
static sse_stream       *streams[STREAMS];
static pthread_barrier_t begun, done;

static void must(int rc)
{
    net_check(rc >= 0, sse_strerror(rc));
}

/* ---- Who writes ---- */

static void write_stream(int which)
{
    sse_stream *s = streams[which];

    for (int i = 0; i < EVENTS; i++)
        must(sse_stream_append(s, "", 0, "x", 1, NULL));
    must(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
}

/* ---- Who reads by a queue ---- */

static void read_queue(sse_queue *q, int how)
{
    sse_subscriber *subs[STREAMS];
    int             left = STREAMS, n;

    for (uint64_t i = 0; i < STREAMS; i++) {
        sse_subscriber_options opts = {.size = sizeof(opts),
                                       .key = i,
                                       .flags =
                                           i % 2 ? SSE_SUBSCRIBER_HOLD : 0};

        must(sse_subscriber_new(streams[i], q, "", 0, &opts, &subs[i]));
    }
    while (left > 0) {
        struct pollfd    p = {.fd = sse_queue_fd(q), .events = POLLIN};
        const sse_batch *batch;

        if (how % 2)
            must(sse_queue_wait(q, NET_PATIENCE_MS));
        else
            net_check(poll(&p, 1, NET_PATIENCE_MS) == 1, "a wake-up");
        while ((n = sse_queue_drain(q, 2, &batch)) > 0)
            for (int i = 0; i < n; i++)
                if (batch->notes[i].kind == SSE_NOTE_END)
                    left--;
                else
                    sse_subscriber_next(subs[batch->notes[i].key]);
        must(n);
    }
    for (int i = 0; i < STREAMS; i++)
        sse_subscriber_free(subs[i]);
}

/* ---- Who reads over HTTP ---- */

static void stream(net_peer *p, int which)
{
    char target[64];

    snprintf(target, sizeof(target), "/api/stream/s%d", which);
    net_check(net_do(p, "GET", target, "", NULL) == 200, "a whole stream");
    net_check(strstr(p->body, "event: completed") != NULL, "its end");
}

static void poll_until_the_end(net_peer *p, int which)
{
    char target[128], last[64] = "0";

    do {
        const char *at;

        snprintf(target, sizeof(target),
                 "/api/stream/s%d?transport=poll&last_event_id=%s", which,
                 last);
        net_check(net_do(p, "GET", target, "", NULL) == 200, "a poll");
        at = strstr(p->body, "\"lastEventId\":\"");
        net_check(at && sscanf(at + 15, "%63[^\"]", last) == 1, "where it is");
    } while (strstr(p->body, "\"state\":\"active\""));
}

/* ---- Who follows ---- */

static void follow(int which, int how)
{
    char url[64];
    int  rc = 0,
        n = snprintf(url, sizeof(url), "http://127.0.0.1:%u/api/stream/s%d",
                     server.port, which);
    const sse_news *news;
    sse_client     *c;

    must(sse_client_new(loop, url, (size_t)n, NULL, &c));
    must(sse_client_start(c));
    do {
        struct pollfd p = {.fd = sse_client_fd(c), .events = POLLIN};

        if (rc == SSE_ERR_TIMEOUT)
            net_check(poll(&p, 1, NET_PATIENCE_MS) == 1, "a wake-up");
        rc = sse_client_next(c, how % 2 ? NET_PATIENCE_MS : 0, &news);
    } while (rc > 0 || (rc == SSE_ERR_TIMEOUT && how % 2 == 0));
    must(rc);
    sse_client_free(c);
}

/* ---- The rounds ---- */

static void *take_part(void *arg)
{
    int        me = (int)(intptr_t)arg;
    sse_queue *q = NULL;
    net_peer   p = {.fd = -1};

    if (me >= STREAMS && me < STREAMS + QUEUES)
        must(sse_queue_new(server.hub, NULL, &q));
    else if (me >= STREAMS && me < THREADS - CLIENTS)
        net_open(&p, server.port);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&begun);
        if (me < STREAMS)
            write_stream(me);
        else if (q)
            read_queue(q, me);
        else if (me < STREAMS + QUEUES + STREAMERS)
            stream(&p, (me + round) % STREAMS);
        else if (me < THREADS - CLIENTS)
            poll_until_the_end(&p, (me + round) % STREAMS);
        else
            follow((me + round) % STREAMS, me);
        pthread_barrier_wait(&done);
    }
    sse_queue_free(q);
    if (p.fd >= 0)
        net_close(&p);
    return NULL;
}

static void everybody_gets_to_the_end(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .heartbeat_ms = SSE_NEVER};
    pthread_t       threads[THREADS];

    (void)state;
    net_server_new(&server, &opts, NULL);
    net_server_run(&server);
    must(sse_loop_new(&loop));
    must(sse_loop_start(loop));
    pthread_barrier_init(&begun, NULL, THREADS + 1);
    pthread_barrier_init(&done, NULL, THREADS + 1);
    for (intptr_t i = 0; i < THREADS; i++)
        net_check(pthread_create(&threads[i], NULL, take_part, (void *)i) == 0,
                  "a thread");
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < STREAMS; i++) {
            char id[3] = {'s', (char)('0' + i), '\0'};

            must(sse_stream_new(server.hub, id, 2, NULL, NULL, &streams[i]));
        }
        pthread_barrier_wait(&begun);
        pthread_barrier_wait(&done);
        for (int i = 0; i < STREAMS; i++)
            sse_stream_free(streams[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    sse_loop_free(loop);
    net_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_gets_to_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
