/* SPDX-License-Identifier: MIT */
/* append.c - events into the log of a stream: checked, encoded, committed. */
#include "alloc.h"
#include "backing.h"
#include "encoder.h"
#include "row.h"
#include "subscriber.h"
#include "utf8.h"

#define SCRATCH_KEPT ((size_t)1 << 20) /* after one that was larger */

static int check_event(const sse__hub *h, const sse__new_event *e)
{
    int rc = sse__encode_check_name(e->type, e->type_len);

    if (rc < 0)
        return rc;
    if (e->type_len > SSE__TEXT_MAX || e->data_len > h->opts.max_event_bytes)
        return SSE_ERR_TOO_BIG;
    return sse__utf8_valid(e->data, e->data_len) ? SSE_OK : SSE_ERR_UTF8;
}

/* A stream that is created again in the millisecond in which its last life
 * ended must not give the same event the same tag: its time stands back. */
static int64_t event_ms(const sse__stream *s)
{
    return s->hub->wall_ms > s->after_ms ? s->hub->wall_ms : s->after_ms + 1;
}

static size_t count_lines(const char *data, size_t len)
{
    size_t lines = 1;

    for (size_t i = 0; i < len; i++)
        lines += data[i] == '\n' ||
                 (data[i] == '\r' && !(i + 1 < len && data[i + 1] == '\n'));
    return lines;
}

/* What the event will take in the log. Its tag is not known yet, but every
 * tag is as long. */
static size_t wire_bytes(const sse__hub *h, const sse__new_event *e,
                         uint64_t seq)
{
    size_t       lines = count_lines(e->data, e->data_len);
    size_t       breaks = 0;
    sse_event_id id;

    sse__id_make(&id, seq, 0, h->opts.id_format);
    for (size_t i = 0; i + 1 < e->data_len; i++)
        breaks += e->data[i] == '\r' && e->data[i + 1] == '\n';
    return 5 + id.text_len + (e->type_len ? 8 + e->type_len : 0) + 6 * lines +
           e->data_len - breaks + 2;
}

/* Puts an event's row into the hub's scratch, and gives its tag. */
static int form_row(sse__hub *h, const sse__new_event *e, int64_t ms,
                    uint32_t *tag)
{
    int rc;

    h->row.len = 0;
    rc = sse__row_add(&h->row, e->type_len ? e->type : "message",
                      e->type_len ? e->type_len : 7, e->data, e->data_len, ms);
    if (rc == SSE_OK)
        *tag = sse__fnv1a(SSE__FNV1A_INIT, h->row.data, h->row.len);
    return rc;
}

int sse__row_make(sse__hub *h, const sse__new_event *event, sse__row **out)
{
    uint32_t tag;
    int      rc = check_event(h, event);

    if (rc == SSE_OK && wire_bytes(h, event, 1) > h->opts.log_bytes)
        rc = SSE_ERR_TOO_BIG;
    if (rc == SSE_OK)
        rc = form_row(h, event, h->wall_ms, &tag);
    if (rc < 0)
        return rc;
    *out = sse__row_new(h->row.data, h->row.len, tag);
    return *out ? SSE_OK : SSE_ERR_NOMEM;
}

/* Encodes one event, which was checked, into the hub's scratch. */
static int encode(sse__stream *s, const sse__new_event *e, uint64_t seq,
                  sse_event_id *id)
{
    sse__hub *h = s->hub;
    uint32_t  tag;
    int       rc;

    rc = form_row(h, e, event_ms(s), &tag);
    if (rc < 0)
        return rc;
    sse__id_make(id, seq, tag, h->opts.id_format);
    return sse__encode_event(&h->wire, e->type, e->type_len, e->data,
                             e->data_len, id->text, id->text_len);
}

static void feed_wake(sse__feed *feed)
{
    if (sse__list_empty(&feed->idle))
        return;
    sse__list_splice(&feed->port->ready, &feed->idle);
    sse__port_wake(feed->port);
}

void sse__stream_wake_readers(sse__stream *s)
{
    for (sse__link *l = s->feeds.next; l != &s->feeds; l = l->next)
        feed_wake(SSE__OWNER(l, sse__feed, stream_link));
}

static bool is_owner(const sse__stream *s)
{
    return s->backing && s->backing->role == SSE__OWNER;
}

/* The row of the event that was encoded last, if a store will want it. */
static int keep_row(sse__stream *s, uint32_t tag, sse__row **out)
{
    *out = NULL;
    if (!is_owner(s))
        return SSE_OK;
    *out = sse__row_new(s->hub->row.data, s->hub->row.len, tag);
    return *out ? SSE_OK : SSE_ERR_NOMEM;
}

static int reserve(sse__stream *s, size_t events, size_t bytes)
{
    if (is_owner(s) && sse__rows_reserve(&s->backing->rows, events) < 0)
        return SSE_ERR_NOMEM;
    return sse__log_reserve(&s->log, (uint32_t)events, bytes);
}

/* Puts encoded bytes into the log, for which room was reserved. */
static void commit(sse__stream *s, const char *wire, size_t len, uint32_t tag,
                   sse__row *row)
{
    sse__log_add(&s->log, wire, len, tag, event_ms(s));
    if (row)
        sse__rows_add(&s->backing->rows, row);
    s->hub->counters.events_in++;
}

void sse__stream_trim_age(sse__stream *s, uint32_t keep)
{
    uint64_t before = s->log.bytes;

    sse__log_trim_age(&s->log, s->hub->wall_ms, keep);
    sse__backing_trim(s);
    s->hub->counters.log_bytes -= before - s->log.bytes;
}

static void committed(sse__stream *s, uint64_t bytes_before, uint64_t data)
{
    sse__hub *h = s->hub;

    sse__log_trim(&s->log);
    sse__log_trim_age(&s->log, h->wall_ms, 1);
    sse__backing_trim(s);
    sse__stream_dirty(s);
    h->counters.bytes_in += data;
    h->counters.log_bytes += s->log.bytes - bytes_before;
    s->active_ms = event_ms(s);
    s->touched_ms = h->mono_ms;
    if (h->wire.cap > SCRATCH_KEPT)
        sse__buf_free(&h->wire);
    if (h->row.cap > SCRATCH_KEPT)
        sse__buf_free(&h->row);
    sse__stream_wake_readers(s);
}

int sse__stream_append_one(sse__stream *s, const sse__new_event *e, bool own,
                           sse_event_id *out)
{
    sse_event_id id;
    uint64_t     before = s->log.bytes;
    sse__buf    *wire = &s->hub->wire;
    sse__row    *row;
    int          rc;

    wire->len = 0;
    if ((!own && (rc = check_event(s->hub, e)) < 0) ||
        (rc = encode(s, e, s->log.next_seq, &id)) < 0)
        return rc;
    if (!own && wire->len > s->log.max_bytes)
        return SSE_ERR_TOO_BIG;
    if (reserve(s, 1, wire->len) < 0 || keep_row(s, id.tag, &row) < 0)
        return SSE_ERR_NOMEM;
    commit(s, wire->data, wire->len, id.tag, row);
    committed(s, before, e->data_len);
    if (out)
        *out = id;
    return SSE_OK;
}

/* What append_many() keeps of each event between encoding and commit. */
typedef struct encoded {
    size_t    end; /* in the scratch */
    uint32_t  tag;
    sse__row *row;
} encoded;

static int encode_many(sse__stream *s, const sse__new_event *events,
                       size_t count, encoded *done, sse_event_id *out)
{
    sse__buf *wire = &s->hub->wire;

    wire->len = 0;
    for (size_t i = 0; i < count; i++) {
        size_t       start = wire->len;
        sse_event_id id;
        int          rc = check_event(s->hub, &events[i]);

        if (rc < 0 ||
            (rc = encode(s, &events[i], s->log.next_seq + i, &id)) < 0)
            return rc;
        if (wire->len - start > s->log.max_bytes)
            return SSE_ERR_TOO_BIG;
        done[i] = (encoded){.end = wire->len, .tag = id.tag};
        if (keep_row(s, id.tag, &done[i].row) < 0)
            return SSE_ERR_NOMEM;
        if (out)
            out[i] = id;
    }
    return SSE_OK;
}

static int append_many(sse__stream *s, const sse__new_event *events,
                       size_t count, sse_event_id *out)
{
    sse__buf *wire = &s->hub->wire;
    encoded  *done = sse__calloc(count, sizeof(*done));
    uint64_t  before = s->log.bytes, data = 0;
    size_t    start = 0;
    int rc = done ? encode_many(s, events, count, done, out) : SSE_ERR_NOMEM;

    if (rc == SSE_OK)
        rc = reserve(s, count, wire->len);
    if (rc == SSE_OK) {
        for (size_t i = 0; i < count; i++) {
            commit(s, wire->data + start, done[i].end - start, done[i].tag,
                   done[i].row);
            start = done[i].end;
            data += events[i].data_len;
        }
        committed(s, before, data);
    }
    for (size_t i = 0; rc < 0 && done && i < count; i++)
        sse__free(done[i].row);
    sse__free(done);
    return rc;
}

int sse__stream_check_open(const sse__stream *s)
{
    if (s->gone)
        return SSE_ERR_NOT_FOUND;
    return s->state == SSE_STATE_ACTIVE ? SSE_OK : SSE_ERR_ENDED;
}

int sse__stream_append(sse__stream *s, const sse__new_event *events,
                       size_t count, sse_event_id *out)
{
    int rc = sse__stream_check_open(s);

    if (rc < 0 || count == 0)
        return rc;
    if (count > 1u << 20)
        return SSE_ERR_TOO_BIG;
    if (count == 1)
        return sse__stream_append_one(s, events, false, out);
    return append_many(s, events, count, out);
}

static uint64_t find_slowest(const sse__stream *s)
{
    uint64_t slowest = s->log.next_seq;

    for (sse__link *l = s->subscribers.next; l != &s->subscribers;
         l = l->next) {
        const sse__subscriber *sub =
            SSE__OWNER(l, sse__subscriber, stream_link);

        if (sub->seq < slowest)
            slowest = sub->seq;
    }
    return slowest;
}

bool sse__stream_must_wait(sse__stream *s, const sse__new_event *events,
                           size_t count)
{
    uint64_t first;
    size_t   bytes = 0;

    if (s->slow_policy != SSE_SLOW_BLOCK || s->subscriber_count == 0 ||
        s->stop_reason != SSE_REASON_NONE || sse__stream_check_open(s) < 0)
        return false;
    for (size_t i = 0; i < count; i++)
        bytes += wire_bytes(s->hub, &events[i], s->log.next_seq + i);
    first = sse__log_first_after(&s->log, (uint32_t)count, bytes);
    if (first == s->log.first_seq || first <= s->slowest_seq)
        return false;
    s->slowest_seq = find_slowest(s);
    return first > s->slowest_seq;
}
