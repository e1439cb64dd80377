/* SPDX-License-Identifier: MIT */
/* producer.c - sse-producer: a program that has a hub on a store and produces
 * streams by the clock, or judges the orphans of others.
 *
 *     --store URL      redis://HOST:PORT
 *     --name NAME      its streams are NAME-0, NAME-1, ...
 *     --streams N      how many
 *     --events N       each is then completed; 0: it never is
 *     --rate N         events a second of each
 *     --user USER      whose they are
 *     --lease-ms N, --sweep-ms N
 *     --judge STATE    of orphans: active, completed or failed
 *     --ignore-stops 1 goes on although it was told to stop
 *     --grace-ms N     until its hub ends the stream in its place
 *
 * What happens is told on standard output, a JSON object a line: {"what",
 * "stream"} and "id", "data", "reason", "rc" where there is one. The words are
 * created, event, end, stop, error, orphan and, last, metrics. The end of
 * standard input ends it. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sse.h"
#include "text.h"

#define TOLD_BYTES 4096 /* written together, at most                         */

typedef struct product {
    sse_stream *stream; /* NULL: it is over                                 */
    char        name[64];
    uint32_t    count; /* of events so far                                  */
    double      due;   /* of the next, in seconds                           */
} product;

static const char *store = "memory:", *name = "p", *user = "", *judge;
static uint32_t    streams = 1, events, rate = 10, ignore_stops;

static sse_hub_options   hub_opts = {.size = sizeof(hub_opts)};
static sse_store_options store_opts = {.size = sizeof(store_opts)};

static sse_hub   *hub;
static sse_queue *queue;
static product   *products;
static text       out;

/* ---- Options -------------------------------------------------------------- */

static const struct option {
    const char  *name;
    const char **text; /* one of these two takes the value */
    uint32_t    *number;
} options[] = {
    {"--store", &store, NULL},
    {"--name", &name, NULL},
    {"--user", &user, NULL},
    {"--judge", &judge, NULL},
    {"--streams", NULL, &streams},
    {"--events", NULL, &events},
    {"--rate", NULL, &rate},
    {"--lease-ms", NULL, &store_opts.lease_ms},
    {"--sweep-ms", NULL, &store_opts.sweep_ms},
    {"--grace-ms", NULL, &hub_opts.stop_grace_ms},
    {"--ignore-stops", NULL, &ignore_stops},
};

static void set_option(const char *flag, const char *value)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        const struct option *o = &options[i];

        if (strcmp(o->name, flag) != 0 || !value)
            continue;
        if (o->text)
            *o->text = value;
        else
            *o->number = (uint32_t)strtoul(value, NULL, 10);
        return;
    }
    fprintf(stderr, "sse-producer: what is %s?\n", flag);
    exit(2);
}

/* ---- What is told ---------------------------------------------------------- */

static void flush(void)
{
    size_t done = 0;

    while (done < out.len) {
        ssize_t n = write(STDOUT_FILENO, out.data + done, out.len - done);

        if (n < 0 && errno != EINTR)
            exit(1);
        done += n > 0 ? (size_t)n : 0;
    }
    out.len = 0;
}

/* `id` and `data` may be NULL; so may the name of the `number`. */
static void tell(const char *what, const char *stream, const char *id,
                 const char *data, const char *number_name, int64_t number)
{
    text_add_str(&out, "{\"what\":");
    text_add_quoted(&out, what, strlen(what));
    text_add_member(&out, "stream", stream, strlen(stream));
    if (id)
        text_add_member(&out, "id", id, strlen(id));
    if (data)
        text_add_member(&out, "data", data, strlen(data));
    if (number_name)
        text_add_count(&out, number_name, number);
    text_add_str(&out, "}\n");
    if (out.len > TOLD_BYTES)
        flush();
}

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "sse-producer: %s: %s: %s\n", what, sse_strerror(rc),
            hub ? sse_hub_store_error(hub) : "");
    exit(1);
}

/* ---- Streams --------------------------------------------------------------- */

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void create(product *p, size_t number)
{
    sse_stream_options opts = {.size = sizeof(opts), .key = number};
    int                rc;

    snprintf(p->name, sizeof(p->name), "%s-%zu", name, number);
    rc =
        sse_stream_new(hub, p->name, strlen(p->name), queue, &opts, &p->stream);
    if (rc < 0) {
        tell("error", p->name, NULL, NULL, "rc", rc);
        return;
    }
    must(sse_stream_set_owner(p->stream, user, strlen(user)), "owner");
    must(sse_stream_set_kind(p->stream, "test", 4), "kind");
    p->due = now();
    tell("created", p->name, NULL, NULL, NULL, 0);
}

static void let_go(product *p)
{
    sse_stream_free(p->stream);
    p->stream = NULL;
}

static void end(product *p, int state, const char *data)
{
    sse_event_id id;
    int rc = sse_stream_end(p->stream, state, "", 0, data, strlen(data), &id);

    if (rc < 0)
        tell("error", p->name, NULL, NULL, "rc", rc);
    else
        tell("end", p->name, id.text, data, NULL, 0);
    let_go(p);
}

static void append(product *p)
{
    sse_event_id id;
    char         data[96];
    int          rc;

    snprintf(data, sizeof(data), "%s/%u", p->name, ++p->count);
    rc = sse_stream_append(p->stream, "", 0, data, strlen(data), &id);
    if (rc >= 0) {
        tell("event", p->name, id.text, data, NULL, 0);
        return;
    }
    tell("error", p->name, NULL, data, "rc", rc);
    let_go(p);
}

/* Appends what is due, at most one event a turn, so that all get theirs. */
static void advance(product *p, double time)
{
    if (!p->stream || p->due > time)
        return;
    if (events > 0 && p->count >= events) {
        end(p, SSE_STATE_COMPLETED, "{}");
        return;
    }
    append(p);
    p->due += 1.0 / rate;
}

/* ---- Notes ------------------------------------------------------------------ */

static void stop(const sse_note *note)
{
    product *p = &products[note->key];

    tell("stop", p->name, NULL, NULL, "reason", note->reason);
    if (p->stream && !ignore_stops && note->reason == SSE_REASON_REQUESTED)
        end(p, SSE_STATE_CANCELLED, "{\"by\":\"producer\"}");
}

/* The stream, out of the first member of its JSON. */
static void settle(const char *json, size_t len)
{
    static const char *const states[] = {"active", "completed", "failed"};
    char                     id[256] = "", data[64];
    int                      state = 0, rc;

    snprintf(data, sizeof(data), "%.*s", (int)(len < 63 ? len : 63), json);
    if (sscanf(data, "{\"streamId\":\"%255[^\"]", id) != 1)
        must(SSE_ERR_INVAL, data);
    while (state < 2 && strcmp(states[state], judge) != 0)
        state++;
    snprintf(data, sizeof(data), "{\"by\":\"%.40s\"}", name);
    rc = sse_hub_settle(hub, id, strlen(id), state, "", 0, data,
                        state == SSE_STATE_ACTIVE ? 0 : strlen(data));
    tell("orphan", id, NULL, NULL, "rc", rc);
}

static void take_notes(void)
{
    const sse_batch *batch;

    while (sse_queue_drain(queue, 0, &batch) > 0) {
        for (size_t i = 0; i < batch->note_count; i++) {
            const sse_note *note = &batch->notes[i];

            if (note->kind == SSE_NOTE_STOP)
                stop(note);
            else if (note->kind == SSE_NOTE_ORPHAN)
                settle(batch->data + note->offset, note->len);
        }
    }
}

/* ---- The program ------------------------------------------------------------ */

/* Sleeps until something is due or has come. False at the end of input. */
static bool rest(void)
{
    struct pollfd polled[] = {{STDIN_FILENO, POLLIN, 0},
                              {sse_queue_fd(queue), POLLIN, 0}};
    double        next = now() + 60;
    char          piece[64];
    int           wait_ms;

    for (size_t i = 0; i < streams; i++)
        if (products[i].stream && products[i].due < next)
            next = products[i].due;
    flush();
    wait_ms = (int)((next - now()) * 1000) + 1;
    (void)poll(polled, 2, wait_ms > 0 ? wait_ms : 0);
    return !polled[0].revents || read(STDIN_FILENO, piece, sizeof(piece)) > 0;
}

static void tell_metrics(void)
{
    sse_buffer *metrics;

    must(sse_buffer_new(0, &metrics), "metrics");
    must(sse_hub_metrics(hub, metrics), "metrics");
    text_add_str(&out, "{\"what\":\"metrics\",\"stream\":\"\"");
    text_add_member(&out, "data", sse_buffer_data(metrics),
                    sse_buffer_size(metrics));
    text_add_str(&out, "}\n");
    sse_buffer_free(metrics);
    flush();
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2)
        set_option(argv[i], argv[i + 1]);
    products = calloc(streams + 1, sizeof(*products));
    must(products ? SSE_OK : SSE_ERR_NOMEM, "memory");
    must(sse_hub_new(&hub_opts, &hub), "hub");
    must(sse_hub_set_store(hub, store, strlen(store), &store_opts), "store");
    must(sse_queue_new(hub, NULL, &queue), "queue");
    if (judge)
        must(sse_hub_set_guardian(hub, queue), "guardian");
    for (size_t i = 0; i < streams; i++)
        create(&products[i], i);
    do {
        take_notes();
        for (size_t i = 0; i < streams; i++)
            advance(&products[i], now());
    } while (rest());
    tell_metrics();
    for (size_t i = 0; i < streams; i++)
        sse_stream_free(products[i].stream);
    sse_queue_free(queue);
    sse_hub_free(hub);
    free(products);
    text_free(&out);
    return 0;
}
