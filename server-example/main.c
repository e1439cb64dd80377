/* SPDX-License-Identifier: MIT */
/* main.c - sse-server: a hub over HTTP, and a page that shows it at work. One
 * thread serves; another one produces the demo streams by the clock, as a
 * program with work of its own would. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay.h"
#include "sse.h"

#define RUNS_MAX 200
#define TEXT_MAX (1u << 20)

extern const char   sse_page_html[];
extern const size_t sse_page_html_len;

/* ---- Options ---- */

static const char *host = "127.0.0.1", *store = "memory:", *origin, *upstream;
static const char *text_file = "/usr/share/common-licenses/GPL-3";
static uint32_t    port = 8080, rate = 20;
static sse_hub_options hub_opts = {.size = sizeof(hub_opts)};

static const struct option {
    const char  *name, *help;
    const char **text; /* one of these two takes the value */
    uint32_t    *number;
    uint32_t     max;
} options[] = {
    {"host", "address to listen on (127.0.0.1)", &host, NULL, 0},
    {"port", "0 picks a free one (8080)", NULL, &port, 65535},
    {"store", "memory: or redis://HOST:PORT/DB (memory:)", &store, NULL, 0},
    {"heartbeat-ms", "silence before a heartbeat (15000)", NULL,
     &hub_opts.heartbeat_ms, 86400000},
    {"log-events", "kept for each stream (10000)", NULL, &hub_opts.log_events,
     1u << 24},
    {"log-bytes", "kept for each stream (4194304)", NULL, &hub_opts.log_bytes,
     1u << 30},
    {"upstream", "URL of a model server to relay", &upstream, NULL, 0},
    {"allow-origin", "whose pages may read; * for all", &origin, NULL, 0},
    {"text", "what the demo streams (a licence text)", &text_file, NULL, 0},
    {"rate", "its words a second (20)", NULL, &rate, 10000},
    {NULL, NULL, NULL, NULL, 0},
};

static void usage(FILE *to)
{
    fputs("usage: sse-server [--OPTION VALUE]...\n", to);
    for (const struct option *o = options; o->name; o++)
        fprintf(to, "  --%-13s %s\n", o->name, o->help);
    exit(to == stderr ? 2 : 0);
}

static void set_option(const char *name, const char *value)
{
    const struct option *o = options;
    char                *end;
    unsigned long        number;

    while (o->name && strcmp(o->name, name) != 0)
        o++;
    if (!o->name || !value)
        usage(stderr);
    if (o->text) {
        *o->text = value;
        return;
    }
    number = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || number > o->max) {
        fprintf(stderr, "sse-server: --%s takes a number from 0 to %u\n", name,
                o->max);
        exit(2);
    }
    *o->number = (uint32_t)number;
}

static void parse_options(char **argv)
{
    for (argv++; *argv; argv += 2) {
        if (strncmp(*argv, "--", 2) != 0 || strcmp(*argv, "--help") == 0)
            usage(strcmp(*argv, "--help") == 0 ? stdout : stderr);
        set_option(*argv + 2, argv[1]);
    }
}

/* ---- Demo streams: the words of a text, as a model sends tokens ---- */

typedef struct run {
    sse_stream *stream; /* NULL: a free place                               */
    size_t      at;     /* where its next word begins                       */
    double      due, step; /* of that word, and between words, in seconds   */
} run;

static sse_hub        *hub;
static sse_queue      *queue; /* tells which streams must stop */
static pthread_mutex_t runs_lock = PTHREAD_MUTEX_INITIALIZER;
static run             runs[RUNS_MAX];
static atomic_int      ending;
static char            text[TEXT_MAX + 1];

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void end_run(run *r, int state, const char *data)
{
    sse_stream_end(r->stream, state, "", 0, data, strlen(data), NULL);
    sse_stream_free(r->stream);
    r->stream = NULL;
}

/* Sends the words of a run that are due, each with its white space. */
static void advance(run *r, double time)
{
    while (r->stream && r->due <= time) {
        const char *word = text + r->at;
        size_t      len = strcspn(word, " \n\t");

        len += strspn(word + len, " \n\t");
        if (len == 0)
            end_run(r, SSE_STATE_COMPLETED, "{}");
        else if (sse_stream_append(r->stream, "", 0, word, len, NULL) < 0)
            end_run(r, SSE_STATE_FAILED, "{}"); /* or it has ended already */
        r->at += len;
        r->due += r->step;
    }
}

static void take_stops(void)
{
    const sse_batch *batch;

    while (sse_queue_drain(queue, 0, &batch) > 0) {
        for (size_t i = 0; i < batch->note_count; i++) {
            const sse_note *note = &batch->notes[i];

            if (note->kind == SSE_NOTE_STOP && runs[note->key].stream)
                end_run(&runs[note->key], SSE_STATE_CANCELLED,
                        "{\"reason\":\"stop\"}");
        }
    }
}

static void *produce(void *unused)
{
    pthread_mutex_lock(&runs_lock);
    while (!ending) {
        double time = now(), next = time + 60;

        for (run *r = runs; r < runs + RUNS_MAX; r++) {
            advance(r, time);
            if (r->stream && r->due < next)
                next = r->due;
        }
        pthread_mutex_unlock(&runs_lock);
        sse_queue_wait(queue, (int64_t)((next - time) * 1000) + 1);
        pthread_mutex_lock(&runs_lock);
        take_stops(); /* and the wake of the end, which `ending` comes before */
    }
    pthread_mutex_unlock(&runs_lock);
    return unused;
}

/* Opens a stream in place `r`; the answer names it. */
static int open_run(run *r, double words_a_second, char *answer, size_t size)
{
    sse_stream_options     opts = {.size = sizeof(opts),
                                   .key = (uint64_t)(r - runs)};
    const sse_stream_info *info;
    int rc = sse_stream_new(hub, "", 0, queue, &opts, &r->stream);

    if (rc < 0 || (rc = sse_stream_get_info(r->stream, &info)) < 0)
        return rc;
    sse_stream_set_kind(r->stream, "demo", 4);
    snprintf(answer, size, "{\"streamId\":\"%s\",\"state\":\"active\"}",
             info->id);
    r->at = 0;
    r->due = now();
    r->step = 1 / words_a_second;
    return SSE_OK;
}

/* POST /demo/start, with {"rate":N} or nothing. */
static void start_demo(sse_request *request)
{
    char        body[64], answer[400];
    size_t      len;
    const char *at = sse_request_body(request, &len);
    unsigned    words = rate;
    run        *r = runs;
    int         rc = SSE_ERR_LIMIT;

    snprintf(body, sizeof(body), "%.*s", (int)(len < 63 ? len : 63), at);
    if (sscanf(body, " { \"rate\" : %u", &words) == 1 && words > 10000)
        words = 10000;
    pthread_mutex_lock(&runs_lock);
    while (r < runs + RUNS_MAX && r->stream)
        r++;
    if (r < runs + RUNS_MAX)
        rc = open_run(r, words ? words : 1, answer, sizeof(answer));
    pthread_mutex_unlock(&runs_lock);
    if (rc < 0)
        snprintf(answer, sizeof(answer),
                 "{\"error\":\"limit\",\"message\":\"%s\"}", sse_strerror(rc));
    sse_queue_wake(queue);
    sse_request_respond(request, rc < 0 ? 429 : 201, "application/json", 16,
                        answer, strlen(answer));
}

static void on_request(sse_request *r, void *unused)
{
    size_t      len;
    const char *path = sse_request_path(r, &len);
    int         post = strcmp(sse_request_method(r), "POST") == 0;

    (void)unused;
    if (len == 1 && !post)
        sse_request_respond(r, 200, "text/html; charset=utf-8", 24,
                            sse_page_html, sse_page_html_len);
    else if (len == 11 && memcmp(path, "/demo/start", 11) == 0 && post)
        start_demo(r);
    else
        relay_take(r);
}

/* ---- Serving ---- */

static sse_loop *loop;

static void on_signal(int number)
{
    (void)number;
    if (!ending) /* or the loop may be no more */
        sse_loop_stop(loop);
}

static void check(int rc, const char *detail)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "sse-server: cannot start: %s\n",
            detail && *detail ? detail : sse_strerror(rc));
    exit(1);
}

int main(int argc, char **argv)
{
    sse_server *server;
    pthread_t   producer;
    FILE       *file;
    int         rc;

    parse_options(argv + (argc == 0));
    file = fopen(text_file, "rb");
    check(file ? SSE_OK : SSE_ERR_IO, "the file of --text cannot be read");
    fread(text, 1, TEXT_MAX, file);
    fclose(file);
    relay_adapt(upstream, &hub_opts);
    check(sse_hub_new(&hub_opts, &hub), NULL);
    rc = sse_hub_set_store(hub, store, strlen(store), NULL);
    check(rc, sse_hub_store_error(hub));
    check(sse_queue_new(hub, NULL, &queue), NULL);
    check(sse_loop_new(&loop), NULL);
    check(sse_server_new(loop, hub, NULL, &server), NULL);
    if (origin)
        check(sse_server_add_origin(server, origin, strlen(origin)), NULL);
    check(relay_start(loop, hub, upstream), "--upstream takes a URL");
    sse_server_on_request(server, on_request, NULL);
    check(sse_server_listen(server, host, strlen(host), port, &port),
          sse_server_error_detail(server));
    pthread_create(&producer, NULL, produce, NULL);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf(strchr(host, ':') ? "listening on http://[%s]:%u\n"
                             : "listening on http://%s:%u\n",
           host, port);
    fflush(stdout);
    check(sse_loop_run(loop), NULL);
    ending = 1;
    sse_queue_wake(queue);
    pthread_join(producer, NULL);
    for (run *r = runs; r < runs + RUNS_MAX; r++)
        sse_stream_free(r->stream);
    relay_end();
    sse_server_free(server);
    sse_loop_free(loop);
    sse_queue_free(queue);
    sse_hub_free(hub);
    return 0;
}
