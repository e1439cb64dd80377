/* SPDX-License-Identifier: MIT */
/* log.c - wire bytes in shared segments, an index by sequence number. */
#include "log.h"

#include <string.h>

#include "alloc.h"
#include "sse.h"

#define SMALL_SEGMENT 4096u /* the first of a stream: most streams are short */
#define LARGE_SEGMENT 65536u
#define FIRST_EVENTS 16u

/* ---- Segments ---- */

static sse__segment *segment_new(uint32_t cap, uint64_t first_seq)
{
    sse__segment *seg = sse__malloc(sizeof(*seg) + cap);

    if (!seg)
        return NULL;
    atomic_init(&seg->refs, 1);
    seg->cap = cap;
    seg->used = seg->live = seg->event_count = seg->event_cap = 0;
    seg->first_seq = first_seq;
    seg->events = NULL;
    return seg;
}

void sse__segment_unpin(sse__segment *seg)
{
    if (atomic_fetch_sub_explicit(&seg->refs, 1, memory_order_acq_rel) != 1)
        return;
    sse__free(seg->events);
    sse__free(seg);
}

static int segment_reserve(sse__segment *seg, uint32_t events)
{
    uint32_t        cap = seg->event_cap ? seg->event_cap : FIRST_EVENTS;
    sse__log_event *bigger;

    if (seg->event_cap - seg->event_count >= events)
        return SSE_OK;
    while (cap - seg->event_count < events)
        cap *= 2;
    bigger = sse__realloc(seg->events, cap * sizeof(*bigger));
    if (!bigger)
        return SSE_ERR_NOMEM;
    seg->events = bigger;
    seg->event_cap = cap;
    return SSE_OK;
}

static uint32_t event_start(const sse__segment *seg, uint32_t index)
{
    return index ? seg->events[index - 1].end : 0;
}

/* ---- The log ---- */

void sse__log_init(sse__log *log, uint32_t max_events, uint32_t max_bytes,
                   uint32_t max_age_ms)
{
    *log = (sse__log){.first_seq = 1,
                      .next_seq = 1,
                      .max_events = max_events,
                      .max_bytes = max_bytes,
                      .max_age_ms = max_age_ms,
                      .base_known = true};
}

static sse__segment **slot(const sse__log *log, uint64_t seq)
{
    return &log->where[seq & (log->where_cap - 1)];
}

static const sse__log_event *event_at(const sse__log *log, uint64_t seq)
{
    const sse__segment *seg = *slot(log, seq);

    return &seg->events[seq - seg->first_seq];
}

static size_t event_bytes(const sse__log *log, uint64_t seq)
{
    const sse__segment *seg = *slot(log, seq);
    uint32_t            index = (uint32_t)(seq - seg->first_seq);

    return seg->events[index].end - event_start(seg, index);
}

static void drop_tail(sse__log *log)
{
    if (log->tail && log->tail->live == 0)
        sse__segment_unpin(log->tail); /* else its last event drops it */
    log->tail = NULL;
}

static void drop_first(sse__log *log, sse__log_drop why)
{
    uint64_t      seq = log->first_seq;
    sse__segment *seg = *slot(log, seq);

    log->base_tag = event_at(log, seq)->tag;
    log->base_known = true;
    log->bytes -= event_bytes(log, seq);
    log->drop = why;
    log->first_seq++;
    if (--seg->live == 0 && seg != log->tail)
        sse__segment_unpin(seg);
}

void sse__log_clear(sse__log *log)
{
    while (log->first_seq < log->next_seq)
        drop_first(log, SSE__DROP_TRIMMED);
    drop_tail(log);
}

void sse__log_free(sse__log *log)
{
    sse__log_clear(log);
    sse__free(log->where);
    log->where = NULL;
    log->where_cap = 0;
}

void sse__log_seek(sse__log *log, uint64_t seq, uint32_t tag)
{
    drop_tail(log); /* a segment holds events in a row */
    log->first_seq = log->next_seq = seq + 1;
    log->base_tag = tag;
    log->base_known = true;
}

static int reserve_slots(sse__log *log, uint32_t events)
{
    uint64_t       need = log->next_seq - log->first_seq + events;
    uint32_t       cap = log->where_cap ? log->where_cap : FIRST_EVENTS;
    sse__segment **bigger;

    if (need <= log->where_cap)
        return SSE_OK;
    while (cap < need)
        cap *= 2;
    bigger = sse__calloc(cap, sizeof(*bigger));
    if (!bigger)
        return SSE_ERR_NOMEM;
    for (uint64_t seq = log->first_seq; seq < log->next_seq; seq++)
        bigger[seq & (cap - 1)] = *slot(log, seq);
    sse__free(log->where);
    log->where = bigger;
    log->where_cap = cap;
    return SSE_OK;
}

static uint32_t segment_size(const sse__log *log, size_t bytes)
{
    uint32_t size = SMALL_SEGMENT;

    while (size < LARGE_SEGMENT && size < log->bytes)
        size *= 2;
    return bytes > size ? (uint32_t)bytes : size;
}

int sse__log_reserve(sse__log *log, uint32_t events, size_t bytes)
{
    sse__segment *seg = log->tail;

    if (bytes > UINT32_MAX)
        return SSE_ERR_NOMEM;
    if (reserve_slots(log, events) < 0)
        return SSE_ERR_NOMEM;
    if (seg && seg->cap - seg->used >= bytes)
        return segment_reserve(seg, events);

    seg = segment_new(segment_size(log, bytes), log->next_seq);
    if (!seg)
        return SSE_ERR_NOMEM;
    if (segment_reserve(seg, events) < 0) {
        sse__segment_unpin(seg);
        return SSE_ERR_NOMEM;
    }
    drop_tail(log);
    log->tail = seg;
    return SSE_OK;
}

void sse__log_add(sse__log *log, const void *data, size_t len, uint32_t tag,
                  int64_t now_ms)
{
    sse__segment *seg = log->tail;

    memcpy(seg->data + seg->used, data, len);
    seg->used += (uint32_t)len;
    seg->events[seg->event_count++] =
        (sse__log_event){.time_ms = now_ms, .end = seg->used, .tag = tag};
    seg->live++;
    *slot(log, log->next_seq++) = seg;
    log->bytes += len;
}

static uint64_t count(const sse__log *log)
{
    return log->next_seq - log->first_seq;
}

/* The segments change hands: that in which `older` would have gone on has room
 * left that nobody uses. */
int sse__log_prepend(sse__log *log, sse__log *older)
{
    uint64_t events = older->next_seq - older->first_seq;

    if (events == 0)
        return SSE_OK;
    if (reserve_slots(log, (uint32_t)events) < 0)
        return SSE_ERR_NOMEM;
    for (uint64_t seq = older->first_seq; seq < older->next_seq; seq++)
        *slot(log, seq) = *slot(older, seq);
    log->first_seq = older->first_seq;
    log->base_tag = older->base_tag;
    log->base_known = older->base_known;
    log->bytes += older->bytes;
    older->first_seq = older->next_seq;
    older->bytes = 0;
    if (older->tail && older->tail->live > 0)
        older->tail = NULL;
    return SSE_OK;
}

void sse__log_trim(sse__log *log)
{
    while (count(log) > 1 &&
           (count(log) > log->max_events || log->bytes > log->max_bytes))
        drop_first(log, SSE__DROP_TRIMMED);
}

void sse__log_trim_age(sse__log *log, int64_t now_ms, uint32_t keep)
{
    while (count(log) > keep &&
           event_at(log, log->first_seq)->time_ms < now_ms - log->max_age_ms)
        drop_first(log, SSE__DROP_EXPIRED);
}

uint64_t sse__log_first_after(const sse__log *log, uint32_t events,
                              size_t bytes)
{
    uint64_t first = log->first_seq;
    uint64_t left = count(log) + events;
    uint64_t size = log->bytes + bytes;

    while (first < log->next_seq &&
           (left > log->max_events || size > log->max_bytes)) {
        size -= event_bytes(log, first++);
        left--;
    }
    return first;
}

size_t sse__log_size_at(const sse__log *log, uint64_t seq)
{
    if (seq < log->first_seq)
        seq = log->first_seq;
    return seq < log->next_seq ? event_bytes(log, seq) : 0;
}

int sse__log_get_tag(const sse__log *log, uint64_t seq, uint32_t *out)
{
    if (seq > 0 && seq == log->first_seq - 1 && log->base_known)
        *out = log->base_tag;
    else if (seq >= log->first_seq && seq < log->next_seq)
        *out = event_at(log, seq)->tag;
    else
        return 0;
    return 1;
}

/* How many events of `seg` from `index` on fit into `max_bytes`. */
static uint32_t events_that_fit(const sse__segment *seg, uint32_t index,
                                size_t max_bytes)
{
    uint32_t start = event_start(seg, index);
    uint32_t low = index, high = seg->event_count;

    if (seg->used - start <= max_bytes)
        return high - index;
    while (low < high) { /* the first that does not fit */
        uint32_t mid = low + (high - low) / 2;

        if (seg->events[mid].end - start <= max_bytes)
            low = mid + 1;
        else
            high = mid;
    }
    return low - index;
}

uint32_t sse__log_read(const sse__log *log, uint64_t *seq, size_t max_bytes,
                       sse__span *spans, uint32_t max)
{
    uint32_t n = 0;

    while (n < max && *seq < log->next_seq) {
        sse__segment *seg = *slot(log, *seq);
        uint32_t      index = (uint32_t)(*seq - seg->first_seq);
        uint32_t      start = event_start(seg, index);
        uint32_t      events = events_that_fit(seg, index, max_bytes);

        if (events == 0 && n == 0)
            events = 1;
        if (events == 0)
            break;
        spans[n].data = seg->data + start;
        spans[n].len = seg->events[index + events - 1].end - start;
        spans[n].seg = seg;
        atomic_fetch_add_explicit(&seg->refs, 1, memory_order_relaxed);
        max_bytes -= spans[n].len < max_bytes ? spans[n].len : max_bytes;
        *seq += events;
        n++;
    }
    return n;
}
