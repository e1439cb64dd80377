/* SPDX-License-Identifier: MIT */
/* What the benchmarks of the store have in common: how events are appended,
 * what they hold, when they count, and what is printed. */
#ifndef BENCH_STORE_LOAD_H
#define BENCH_STORE_LOAD_H

#include "common.h"
#include "wire.h"

enum {
    EVENT_DATA = 124,
    CATCH_UP_EVENTS = 10000,
    CATCH_UP_TIMES = 3,
    STREAMS_MAX = 64,
    WAITING_MAX = 64,
    PATIENCE_MS = 10000, /* what has not come then does not come */
    SAMPLES_MAX = 1 << 21
};

#define WARM_UP_NS 50000000u

/* How events are appended. An event counts when its append has been answered,
 * or, where it is not `awaited`, when a reader at the other end has it. */
struct load {
    const char *name;
    unsigned    streams;
    unsigned    waiting; /* events on each stream that do not count yet */
    unsigned    batch;   /* events in one append */
    unsigned    rate;    /* events a second; 0: as fast as they count */
    bool        awaited;
};

static const struct load loads[] = {
    {"single", 1, 1, 1, 0, true},   {"batch", 1, 32, 32, 0, true},
    {"many", 64, 1, 1, 0, false},   {"waiting", 1, 32, 1, 0, false},
    {"delay", 1, 64, 1, 500, false}, {"catchup", 1, 0, 100, 0, true},
};

static inline const struct load *find_load(const char *name)
{
    for (size_t i = 0; i < sizeof(loads) / sizeof(*loads); i++)
        if (strcmp(loads[i].name, name) == 0)
            return &loads[i];
    return NULL;
}

_Noreturn static inline void wrong(const char *format, ...)
{
    va_list args;

    fputs("WRONG RESULT: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline void event_data(char out[EVENT_DATA], unsigned stream,
                              uint32_t seq)
{
    payload_write(out, EVENT_DATA,
                  (struct payload){.stream = stream, .seq = seq});
}

/* It must be this event, byte for byte. */
static inline void check_data(const char *data, size_t len, unsigned stream,
                              uint32_t seq)
{
    struct payload p = {0};

    if (!payload_read(data, len, &p) || len != EVENT_DATA ||
        p.publisher != 0)
        wrong("stream %u, event %u: damaged: %.*s", stream, seq, (int)len,
              data);
    if (p.stream != stream || p.seq != seq)
        wrong("stream %u, event %u: event %u of stream %u came", stream, seq,
              p.seq, p.stream);
}

/* ---- What is told ------------------------------------------------------- */

/* Counts events from the end of the warm-up, and how long each took. */
struct meter {
    uint64_t  from_ns, length_ns;  /* what counts before is not counted     */
    uint64_t  first_ns, last_ns;   /* when it began, and ended              */
    double    first_cpu, last_cpu; /* of this process and Redis             */
    int       redis_pid;
    uint32_t *samples; /* nanoseconds */
    size_t    count;
};

static inline double both_cpu(const struct meter *m)
{
    return cpu_seconds(getpid()) + cpu_seconds(m->redis_pid);
}

static inline void meter_start(struct meter *m, int redis_pid, double seconds)
{
    m->redis_pid = redis_pid;
    m->samples = must_alloc(calloc(SAMPLES_MAX, sizeof(uint32_t)));
    m->from_ns = now_ns() + WARM_UP_NS;
    m->length_ns = (uint64_t)(seconds * 1e9);
}

static inline bool meter_is_over(const struct meter *m)
{
    return m->last_ns > 0;
}

/* An event that was sent at `sent_ns` counts now. */
static inline void meter_take(struct meter *m, uint64_t sent_ns)
{
    uint64_t now = now_ns();

    if (now < m->from_ns || m->last_ns > 0)
        return;
    if (m->first_ns == 0) { /* the one that time begins with is not counted */
        m->first_ns = now;
        m->first_cpu = both_cpu(m);
        return;
    }
    if (m->count < SAMPLES_MAX)
        m->samples[m->count++] = (uint32_t)(now - sent_ns);
    if (now >= m->first_ns + m->length_ns || m->count == SAMPLES_MAX) {
        m->last_ns = now;
        m->last_cpu = both_cpu(m);
    }
}

static inline int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static inline double percentile_us(const struct meter *m, double part)
{
    return m->samples[(size_t)((double)(m->count - 1) * part)] / 1e3;
}

static inline void meter_print(struct meter *m)
{
    if (m->count == 0)
        die("nothing was measured");
    qsort(m->samples, m->count, sizeof(*m->samples), compare_samples);
    printf("{\"events\": %zu, \"seconds\": %.6f, \"cpu\": %.6f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
           m->count, (double)(m->last_ns - m->first_ns) / 1e9,
           m->last_cpu - m->first_cpu, percentile_us(m, 0.5),
           percentile_us(m, 0.99), percentile_us(m, 1));
    free(m->samples);
}

/* ---- Events under way --------------------------------------------------- */

/* A stream's events, counted from 0: those below `counted` have been. */
struct line {
    unsigned stream;
    uint32_t sent, counted;
    uint64_t sent_ns[WAITING_MAX];
};

static inline void line_sent(struct line *l, unsigned count)
{
    uint64_t now = now_ns();

    while (count-- > 0)
        l->sent_ns[l->sent++ % WAITING_MAX] = now;
}

static inline void line_counts(struct line *l, struct meter *m)
{
    if (l->counted == l->sent)
        wrong("stream %u, event %u: nobody sent it", l->stream, l->counted);
    meter_take(m, l->sent_ns[l->counted++ % WAITING_MAX]);
}

/* Whether the next append may go. */
static inline bool line_has_room(const struct line *l, const struct load *load)
{
    return l->sent - l->counted + load->batch <= load->waiting;
}

#endif
