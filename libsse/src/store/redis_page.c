/* SPDX-License-Identifier: MIT */
/* redis_page.c - rows that were read, into a mirror; and the end of one. */
#include <string.h>

#include "../core/row.h"
#include "redis_read.h"

#define FINAL_MAX \
    ((size_t)64 << 20) /* of a row that is made from a completion */

/* ---- Rows ---- */

static sse__text row_at(const sse__page *p, size_t i)
{
    return sse__reply_text(p->rows, i);
}

uint32_t sse__page_tag(const sse__page *p, size_t row)
{
    sse__text text = row_at(p, row);

    return sse__fnv1a(SSE__FNV1A_INIT, text.text, text.len);
}

/* Adds the rows that are new. False when out of memory. */
static bool add_rows(sse__tail *t, const sse__page *p)
{
    sse__log *log = &t->stream->log;

    t->engine->counters.rows_read += p->rows->elements;
    for (size_t i = 0; i < p->rows->elements; i++) {
        sse__text row = row_at(p, i);

        if (p->from + i < log->next_seq)
            continue;
        if (t->phase == SSE__TAIL_LIVE)
            t->heard = false; /* no message has told */
        if (!sse__tail_add_row(t, row.text, row.len, sse__page_tag(p, i)))
            return false;
    }
    return true;
}

static void grow(uint32_t *rows)
{
    *rows = *rows < SSE__PAGE_ROWS / 2 ? *rows * 2 : SSE__PAGE_ROWS;
}

/* ---- The end ---- */

bool sse__page_has_ended(const sse__page *p)
{
    static const char active[] = "active", orphaned[] = "orphaned";

    if ((p->state.len == sizeof(active) - 1 &&
         memcmp(p->state.text, active, sizeof(active) - 1) == 0) ||
        (p->state.len == sizeof(orphaned) - 1 &&
         memcmp(p->state.text, orphaned, sizeof(orphaned) - 1) == 0))
        return false;
    return p->closed > 0 || p->state.len > 0 || p->final_type.len > 0;
}

bool sse__page_lacks_final(const sse__page *p)
{
    return p->ended && p->closed > 0 && p->base >= p->closed &&
           p->final_type.len > 0;
}

/* The registry may have forgotten it before its completion. */
static uint32_t final_state(const sse__page *p)
{
    uint32_t state = sse__state_of(p->final_type);

    if (p->state.len > 0)
        return sse__state_of(p->state);
    if (state >= SSE_STATE_COMPLETED && state <= SSE_STATE_CANCELLED)
        return state;
    return p->final_type.len == 5 && memcmp(p->final_type.text, "error", 5) == 0
               ? SSE_STATE_FAILED
               : SSE_STATE_COMPLETED;
}

/* Whether the last row is the event that the completion tells of. */
static bool last_is_final(const sse__page *p)
{
    sse__text      row, data = sse__reply_text(p->reply, 10);
    sse__row_parts parts;

    if (p->rows->elements == 0)
        return false;
    row = row_at(p, p->rows->elements - 1);
    return sse__row_parse(&parts, row.text, row.len) == SSE_OK &&
           sse__json_is_key(parts.type, p->final_type.text) &&
           parts.data.len == data.len &&
           memcmp(parts.data.text, data.text, data.len) == 0;
}

/* As it stood in the log: the same bytes, unless another program wrote it. */
static int form_final(sse__buf *row, const sse__page *p)
{
    sse__text data = sse__reply_text(p->reply, 10);
    sse__text at = sse__reply_text(p->reply, 11);
    bool      is_json =
        data.len > 0 && sse__json_scan(data.text, data.len) == data.len;
    int rc = sse__buf_add_str(row, "{\"type\":");

    if (rc == SSE_OK)
        rc = sse__json_quote(row, p->final_type.text, p->final_type.len);
    if (rc == SSE_OK)
        rc = sse__buf_add_str(row, ",\"data\":");
    if (rc == SSE_OK)
        rc = is_json ? sse__buf_add(row, data.text, data.len)
                     : sse__json_quote(row, data.text, data.len);
    if (rc == SSE_OK)
        rc = sse__buf_add_str(row, ",\"ts\":");
    if (rc == SSE_OK)
        rc = sse__buf_add_i64(row, sse__iso_parse(at.text, at.len));
    return rc == SSE_OK ? sse__buf_add(row, "}", 1) : rc;
}

static void add_final(sse__tail *t, const sse__page *p)
{
    sse__buf row;
    uint32_t tag;

    sse__buf_init(&row, FINAL_MAX);
    if (form_final(&row, p) == SSE_OK) {
        tag = sse__fnv1a(SSE__FNV1A_INIT, row.data, row.len);
        if (p->closed == p->top && p->top_known)
            tag = p->top_tag;
        (void)sse__tail_add_row(t, row.data, row.len, tag);
    }
    sse__buf_free(&row);
}

static void end(sse__tail *t, const sse__page *p)
{
    sse__stream *s = t->stream;
    uint64_t     top = s->log.next_seq - 1;

    if (s->state != SSE_STATE_ACTIVE)
        return;
    if (p->final_type.len > 0 &&
        (p->closed > 0 ? top < p->closed : !last_is_final(p)))
        add_final(t, p);
    sse__tail_set_whole(t);
    sse__mirror_end(s, final_state(p));
}

/* ---- Behind the log ---- */

/* Of a stream that another program has ended, the last row must be seen. */
static bool must_see_last(const sse__tail *t, const sse__page *p)
{
    return p->ended && p->closed == 0 && p->final_type.len > 0 &&
           p->rows->elements == 0 && p->base < p->top &&
           t->stream->state == SSE_STATE_ACTIVE;
}

/* The log stands where the store did when it was read. */
static void has_all(sse__tail *t, const sse__page *p)
{
    if (t->read_turn != t->turn || must_see_last(t, p))
        return;
    if (p->ended) {
        end(t, p);
    } else if (t->phase == SSE__TAIL_JOINING) {
        if (!sse__tail_take_kept(t) || t->stream->gone)
            return;
        sse__tail_is_live(t);
    }
    t->caught = true;
}

/* Nothing is left of what comes before this one. */
static void skip(sse__tail *t, const sse__page *p)
{
    uint64_t from = p->from;

    if (sse__page_lacks_final(p) && from > p->closed)
        from = p->closed;
    if (from <= t->stream->log.next_seq)
        return;
    t->engine->counters.gaps++;
    sse__mirror_skip(t->stream, from - 1);
}

void sse__page_add(sse__tail *t, const sse__page *p)
{
    sse__stream *s = t->stream;
    uint64_t     top = sse__page_lacks_final(p) ? p->closed - 1 : p->top;
    bool         added;

    skip(t, p);
    added = add_rows(t, p);
    t->base = p->base;
    t->owned = sse__reply_text(p->reply, 7).len > 0 || p->top_known;
    sse__tail_set_whole(t);
    sse__mirror_added(s);
    grow(&t->page_rows);
    if (!added)
        t->hold_ms = sse__redis_now(t->engine) + SSE__RETRY_MS;
    else if (s->log.next_seq > top)
        has_all(t, p);
}

/* ---- In front of the log ---- */

/* The rows of events `seq` to the log's first, which follow without a hole. */
static int add_old(sse__tail *t, const sse__page *p, uint64_t seq,
                   bool anchored)
{
    sse__stream *s = t->stream;
    sse__old_row rows[SSE__PAGE_ROWS];
    size_t       count = 0;
    int          rc;

    for (; seq < s->log.first_seq && count < SSE__PAGE_ROWS; seq++, count++) {
        size_t    at = (size_t)(seq - p->from);
        sse__text row = row_at(p, at);

        rows[count] = (sse__old_row){row.text, row.len, sse__page_tag(p, at)};
    }
    rc =
        sse__mirror_add_old(s, rows, count, anchored ? sse__page_tag(p, 0) : 0);
    if (rc == SSE_OK)
        s->log.base_known = anchored;
    return rc;
}

void sse__page_add_old(sse__tail *t, const sse__page *p)
{
    const sse__log *log = &t->stream->log;
    bool            anchored = sse__reply_is(p->reply, "anchor");
    uint64_t        seq = p->from + anchored;
    uint64_t        end_seq = p->from + p->rows->elements;

    t->engine->counters.rows_read += p->rows->elements;
    t->base = p->base;
    if (seq < log->first_seq && end_seq < log->first_seq) {
        /* Bytes have cut the page short: a shorter one reaches the log. */
        if (t->old_rows == 1)
            t->base = log->first_seq - 1;
        t->old_rows = t->old_rows > 1 ? t->old_rows / 2 : 1;
    } else if (seq < log->first_seq && add_old(t, p, seq, anchored) < 0) {
        t->hold_ms = sse__redis_now(t->engine) + SSE__RETRY_MS;
    } else {
        grow(&t->old_rows);
    }
    sse__tail_set_whole(t);
}
