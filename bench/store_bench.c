/* SPDX-License-Identifier: MIT */
/* Appends to streams in a Redis with libsse; prints one line of JSON.
 *
 *     store_bench LOAD PORT PID SECONDS
 *
 * LOAD is one of bench/store_load.h; PORT and PID are the Redis'. What is
 * awaited goes to a shared stream, whose appends return when Redis has it. The
 * rest goes to streams that this process owns, and counts when a reader on a
 * second hub has it. `catchup` tells how long a reader on a new hub takes for a
 * whole stream.
 *
 * Each event is checked by whoever reads it; what nobody reads meanwhile is
 * read in the end, by a hub that knows nothing of it.
 *
 * Exit status: 0; 1 for a wrong result; 2 when it could not run. */
#include <stdbool.h>

#include "common.h"
#include "sse.h"
#include "store_load.h"

enum { LOG_EVENTS = 1000000, LOG_BYTES = 256 << 20 };

struct bench {
    const struct load *load;
    const char        *port;
    struct meter       meter;
    sse_hub           *hub; /* appends */
    sse_stream        *streams[STREAMS_MAX];
    struct line        lines[STREAMS_MAX];
};

/* A hub on the Redis, and what is read by it. */
struct readers {
    sse_hub        *hub;
    sse_queue      *queue;
    sse_stream     *streams[STREAMS_MAX];
    sse_subscriber *subscribers[STREAMS_MAX];
    uint32_t        next[STREAMS_MAX]; /* the event that must come next */
    unsigned        count;
    uint64_t        events;
    struct bench   *bench; /* whose events count when they come, or NULL */
};

static void must(int rc, const char *what)
{
    if (rc < 0)
        die("%s: %s", what, sse_strerror(rc));
}

/* ---- Hubs ---------------------------------------------------------------- */

static sse_hub *new_hub(const char *port)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .log_events = LOG_EVENTS, .log_bytes = LOG_BYTES};
    char     url[64];
    sse_hub *hub;

    snprintf(url, sizeof(url), "redis://127.0.0.1:%s", port);
    must(sse_hub_new(&opts, &hub), "no hub");
    must(sse_hub_set_store(hub, url, strlen(url), NULL), "no store");
    if (*sse_hub_store_error(hub))
        die("no store: %s", sse_hub_store_error(hub));
    return hub;
}

static size_t stream_id(char out[16], unsigned stream)
{
    return (size_t)snprintf(out, 16, "b%u", stream);
}

static void make_streams(struct bench *b)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags =
                                   b->load->awaited ? SSE_STREAM_SHARED : 0};
    char               id[16];

    b->hub = new_hub(b->port);
    for (unsigned i = 0; i < b->load->streams; i++) {
        b->lines[i].stream = i;
        must(sse_stream_new(b->hub, id, stream_id(id, i), NULL, &opts,
                            &b->streams[i]),
             "no stream");
    }
}

static void free_streams(struct bench *b)
{
    for (unsigned i = 0; i < b->load->streams; i++)
        sse_stream_free(b->streams[i]);
    sse_hub_free(b->hub);
}

/* ---- Reading ------------------------------------------------------------- */

static void readers_open(struct readers *r, const char *port)
{
    *r = (struct readers){.hub = new_hub(port)};
    must(sse_queue_new(r->hub, NULL, &r->queue), "no queue");
}

static void readers_subscribe(struct readers *r, unsigned streams)
{
    sse_subscriber_options opts = {
        .size = sizeof(opts), .heartbeat_ms = SSE_NEVER, .retry_ms = SSE_NEVER};
    char id[16];

    for (r->count = 0; r->count < streams; r->count++) {
        opts.key = r->count;
        must(sse_stream_open(r->hub, id, stream_id(id, r->count),
                             &r->streams[r->count]),
             "the stream is not there");
        must(sse_subscriber_new(r->streams[r->count], r->queue, "", 0, &opts,
                                &r->subscribers[r->count]),
             "no subscriber");
    }
}

static void readers_close(struct readers *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        sse_subscriber_free(r->subscribers[i]);
        sse_stream_free(r->streams[i]);
    }
    sse_queue_free(r->queue);
    sse_hub_free(r->hub);
}

static void take_event(struct readers *r, unsigned stream,
                       const struct wire_event *e)
{
    uint32_t seq = r->next[stream]++;

    if (e->strange || !e->data)
        wrong("stream %u, event %u: another event came", stream, seq);
    if (!e->id || strtoul(e->id, NULL, 10) != seq + 1)
        wrong("stream %u, event %u: its id is %.*s", stream, seq,
              (int)e->id_len, e->id);
    check_data(e->data, e->data_len, stream, seq);
    r->events++;
    if (r->bench)
        line_counts(&r->bench->lines[stream], &r->bench->meter);
}

/* A note holds whole events. */
static void take_note(struct readers *r, const sse_note *note, const char *data)
{
    const char       *at = data + note->offset, *end = at + note->len;
    struct wire_event e;

    if (note->kind != SSE_NOTE_BYTES)
        wrong("stream %u ended", (unsigned)note->key);
    while (at < end) {
        size_t used = wire_event_take(at, (size_t)(end - at), &e);

        if (used == 0)
            wrong("stream %u: an event is cut off", (unsigned)note->key);
        at += used;
        take_event(r, (unsigned)note->key, &e);
    }
}

/* True when something came. */
static bool readers_drain(struct readers *r)
{
    uint64_t         before = r->events;
    const sse_batch *batch;
    int              n;

    while ((n = sse_queue_drain(r->queue, 0, &batch)) > 0)
        for (size_t i = 0; i < batch->note_count; i++)
            take_note(r, &batch->notes[i], batch->data);
    must(n, "drain");
    return r->events > before;
}

static void readers_wait(struct readers *r)
{
    if (sse_queue_wait(r->queue, PATIENCE_MS) < 0)
        wrong("nothing came after event %u of stream 0", r->next[0]);
}

static void readers_read(struct readers *r, uint64_t events)
{
    while (r->events < events)
        if (!readers_drain(r))
            readers_wait(r);
    if (r->events > events)
        wrong("%u events too many", (unsigned)(r->events - events));
}

/* ---- Appending ----------------------------------------------------------- */

static void append(struct bench *b, unsigned stream)
{
    struct line *l = &b->lines[stream];
    unsigned     count = b->load->batch;
    char         data[100 * EVENT_DATA];
    uint32_t     sizes[100];
    sse_event_id last;
    int          rc;

    for (unsigned i = 0; i < count; i++) {
        sizes[i] = EVENT_DATA;
        event_data(data + i * EVENT_DATA, stream, l->sent + i);
    }
    line_sent(l, count);
    rc = count == 1
             ? sse_stream_append(b->streams[stream], "", 0, data, EVENT_DATA,
                                 &last)
             : sse_stream_append_batch(b->streams[stream], "", 0, data,
                                       count * EVENT_DATA, sizes, count, &last);
    must(rc, "append");
    if (last.seq != l->sent)
        wrong("event %u got the id %s", l->sent - 1, last.text);
}

static void run_awaited(struct bench *b)
{
    struct line *l = &b->lines[0];

    while (!meter_is_over(&b->meter)) {
        append(b, 0);
        while (l->counted < l->sent)
            line_counts(l, &b->meter);
    }
}

/* What was appended, as a hub finds it that has had none of it. */
static void check_stored(struct bench *b)
{
    struct readers r;

    readers_open(&r, b->port);
    readers_subscribe(&r, 1);
    readers_read(&r, b->lines[0].sent);
    readers_close(&r);
}

/* One event on each stream as soon as there is room for it. */
static bool fill(struct bench *b)
{
    bool sent = false;

    for (unsigned i = 0; i < b->load->streams; i++)
        while (line_has_room(&b->lines[i], b->load)) {
            append(b, i);
            sent = true;
        }
    return sent;
}

static void run_closed(struct bench *b, struct readers *r)
{
    while (!meter_is_over(&b->meter)) {
        fill(b);
        if (!readers_drain(r))
            readers_wait(r);
    }
}

static void wait_until(int fd, uint64_t due_ns)
{
    uint64_t        now = now_ns(), left = due_ns > now ? due_ns - now : 0;
    struct pollfd   poll_fd = {.fd = fd, .events = POLLIN};
    struct timespec time = {.tv_sec = (time_t)(left / 1000000000),
                            .tv_nsec = (long)(left % 1000000000)};

    if (ppoll(&poll_fd, 1, &time, NULL) < 0 && errno != EINTR)
        die("poll: %s", strerror(errno));
}

static void run_paced(struct bench *b, struct readers *r)
{
    int      fd = sse_queue_fd(r->queue);
    uint64_t due_ns = now_ns();

    must(fd, "no descriptor");
    while (!meter_is_over(&b->meter)) {
        bool room = line_has_room(&b->lines[0], b->load);

        if (room && now_ns() >= due_ns) {
            append(b, 0);
            due_ns += 1000000000 / b->load->rate;
        }
        if (readers_drain(r))
            continue;
        if (room)
            wait_until(fd, due_ns);
        else
            readers_wait(r);
    }
}

static uint64_t all_sent(const struct bench *b)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < b->load->streams; i++)
        sum += b->lines[i].sent;
    return sum;
}

static void run_seen(struct bench *b)
{
    struct readers r;

    readers_open(&r, b->port);
    r.bench = b;
    readers_subscribe(&r, b->load->streams);
    if (b->load->rate)
        run_paced(b, &r);
    else
        run_closed(b, &r);
    readers_read(&r, all_sent(b));
    readers_close(&r);
}

/* ---- Catching up --------------------------------------------------------- */

/* Connections are there; the time is that from the question for the stream to
 * the last event. */
static void catch_up(struct bench *b)
{
    struct readers r;
    double         seconds = 0, cpu = 0;

    while (b->lines[0].sent < CATCH_UP_EVENTS)
        append(b, 0);
    for (unsigned i = 0; i < CATCH_UP_TIMES; i++) {
        readers_open(&r, b->port);
        uint64_t start = now_ns();
        double   start_cpu = both_cpu(&b->meter);
        readers_subscribe(&r, 1);
        readers_read(&r, CATCH_UP_EVENTS);
        seconds += (double)(now_ns() - start) / 1e9;
        cpu += both_cpu(&b->meter) - start_cpu;
        readers_close(&r);
    }
    printf("{\"events\": %u, \"seconds\": %.6f, \"cpu\": %.6f}\n",
           CATCH_UP_EVENTS * CATCH_UP_TIMES, seconds, cpu);
}

int main(int argc, char **argv)
{
    static struct bench b;

    if (argc != 5 || (b.load = find_load(argv[1])) == NULL)
        die("usage: store_bench LOAD PORT PID SECONDS");
    b.port = argv[2];
    make_streams(&b);
    if (b.load->waiting == 0) {
        b.meter.redis_pid = atoi(argv[3]);
        catch_up(&b);
    } else {
        meter_start(&b.meter, atoi(argv[3]), atof(argv[4]));
        if (b.load->awaited)
            run_awaited(&b);
        else
            run_seen(&b);
        if (b.load->awaited)
            check_stored(&b);
        meter_print(&b.meter);
    }
    free_streams(&b);
    return 0;
}
