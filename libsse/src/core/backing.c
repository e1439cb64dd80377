/* SPDX-License-Identifier: MIT */
/* backing.c - owners' rows and mirrors' logs. */
#include "backing.h"

#include <string.h>

#include "alloc.h"
#include "encoder.h"
#include "row.h"
#include "subscriber.h"

int sse__backing_new(sse__stream *s, sse__role role, uint64_t seq, uint32_t tag)
{
    struct sse__backing *b = sse__calloc(1, sizeof(*b));

    if (!b)
        return SSE_ERR_NOMEM;
    b->stream = s;
    b->role = role;
    b->stored_seq = seq;
    sse__list_init(&b->link);
    sse__rows_init(&b->rows, seq + 1);
    sse__log_seek(&s->log, seq, tag);
    s->backing = b;
    return SSE_OK;
}

void sse__backing_free(struct sse__backing *b)
{
    if (!b)
        return;
    sse__list_drop(&b->link);
    sse__rows_free(&b->rows);
    sse__free(b);
}

bool sse__stream_is_mirror(const sse__stream *s)
{
    return s->backing && s->backing->role == SSE__MIRROR;
}

void sse__stream_dirty(sse__stream *s)
{
    if (s->backing && sse__list_empty(&s->backing->link))
        sse__list_add(&s->hub->dirty, &s->backing->link);
}

sse__stream *sse__hub_take_dirty(sse__hub *h)
{
    struct sse__backing *b;

    if (sse__list_empty(&h->dirty))
        return NULL;
    b = SSE__OWNER(h->dirty.next, struct sse__backing, link);
    sse__list_drop(&b->link);
    return b->stream;
}

void sse__backing_trim(sse__stream *s)
{
    struct sse__backing *b = s->backing;

    if (!b || b->role != SSE__OWNER)
        return;
    while (b->rows.first_seq < s->log.first_seq) {
        b->lost += b->rows.first_seq > b->stored_seq;
        sse__rows_drop_first(&b->rows);
    }
}

/* ---- Mirrors -------------------------------------------------------------- */

/* A reader that comes from another log begins with the oldest event. */
bool sse__mirror_reaches(const sse__stream *s, const sse__cursor *cursor)
{
    const sse__log *log = &s->log;
    uint32_t        tag;

    if (cursor->kind == SSE__CURSOR_NEW)
        return true;
    if (cursor->kind == SSE__CURSOR_AFTER && cursor->seq >= log->next_seq)
        return false;
    if (s->backing->whole)
        return true;
    if (cursor->kind != SSE__CURSOR_AFTER || cursor->seq + 1 < log->first_seq)
        return false;
    return !cursor->tagged ||
           (sse__log_get_tag(log, cursor->seq, &tag) && tag == cursor->tag);
}

/* The text of a JSON string behind what is in `text`; any other value as it
 * stands. */
static int add_text(sse__buf *text, sse__json_slice value)
{
    if (value.len > 0 && value.text[0] == '"')
        return sse__json_unquote(text, value.text, value.len);
    return value.len ? sse__buf_add(text, value.text, value.len)
                     : sse__buf_add_str(text, "null");
}

/* Whoever wrote the row, its type must not become more fields than one. */
static int encode_row(sse__hub *h, const char *row, size_t len,
                      const sse_event_id *id, int64_t *made_ms)
{
    sse__row_parts parts;
    sse__buf      *text = &h->row;
    const char    *data;
    size_t         type_len;
    int            rc = sse__row_parse(&parts, row, len);

    text->len = 0;
    if (rc < 0 || (rc = add_text(text, parts.type)) < 0)
        return rc;
    type_len = text->len;
    if ((rc = sse__encode_check_name(text->data, type_len)) < 0 ||
        (rc = add_text(text, parts.data)) < 0)
        return rc;
    if (parts.ts_ms > 0 && parts.ts_ms < h->wall_ms)
        *made_ms = parts.ts_ms;
    data = text->len > 0 ? text->data + type_len : "";
    return sse__encode_event(&h->wire, text->data, type_len, data,
                             text->len - type_len, id->text, id->text_len);
}

/* Says in the place of event `seq` that it cannot be read. */
static int encode_unreadable(sse__hub *h, uint64_t seq)
{
    sse__buf *b = &h->wire;
    int       rc;

    if ((rc = sse__buf_add_str(b, "event: gap\ndata: {\"from\":")) < 0 ||
        (rc = sse__buf_add_u64(b, seq)) < 0 ||
        (rc = sse__buf_add_str(b, ",\"to\":")) < 0 ||
        (rc = sse__buf_add_u64(b, seq)) < 0)
        return rc;
    return sse__buf_add_str(b, ",\"missed\":1,\"reason\":\"unreadable\"}\n\n");
}

/* Into the hub's scratch, behind what is there: SSE_OK; 1 for a row that cannot
 * be read; SSE_ERR_NOMEM. When the event was made is the same on every hub, if
 * its row says so. */
static int encode(sse__hub *h, uint64_t seq, const char *row, size_t len,
                  uint32_t tag, int64_t *made_ms)
{
    size_t       start = h->wire.len;
    sse_event_id id;
    int          rc;

    *made_ms = h->wall_ms;
    sse__id_make(&id, seq, tag, h->opts.id_format);
    rc = encode_row(h, row, len, &id, made_ms);
    if (rc == SSE_OK || rc == SSE_ERR_NOMEM)
        return rc;
    h->wire.len = start;
    return encode_unreadable(h, seq) < 0 ? SSE_ERR_NOMEM : 1;
}

static int add_row(sse__log *log, sse__hub *h, const char *row, size_t len,
                   uint32_t tag, int64_t *made_ms)
{
    int rc;

    h->wire.len = 0;
    rc = encode(h, log->next_seq, row, len, tag, made_ms);
    if (rc < 0 || sse__log_reserve(log, 1, h->wire.len) < 0)
        return SSE_ERR_NOMEM;
    sse__log_add(log, h->wire.data, h->wire.len, tag, h->wall_ms);
    return rc;
}

int sse__mirror_add(sse__stream *s, const char *row, size_t len, uint32_t tag)
{
    uint64_t before = s->log.bytes;
    int64_t  made_ms;
    int      rc = add_row(&s->log, s->hub, row, len, tag, &made_ms);

    if (rc < 0)
        return rc;
    sse__log_trim(&s->log);
    s->hub->counters.log_bytes += s->log.bytes - before;
    s->hub->counters.events_mirrored++;
    s->active_ms = made_ms;
    s->touched_ms = s->hub->mono_ms;
    return rc;
}

int sse__mirror_add_old(sse__stream *s, const sse__old_row *rows, size_t count,
                        uint32_t before_tag)
{
    uint64_t before = s->log.bytes;
    int64_t  made_ms;
    sse__log older;
    int      rc = SSE_OK;

    sse__log_init(&older, s->log.max_events, s->log.max_bytes, SSE_NEVER);
    sse__log_seek(&older, s->log.first_seq - count - 1, before_tag);
    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = add_row(&older, s->hub, rows[i].text, rows[i].len, rows[i].tag,
                     &made_ms);
    if (rc >= 0)
        rc = sse__log_prepend(&s->log, &older);
    sse__log_free(&older);
    s->hub->counters.log_bytes += s->log.bytes - before;
    return rc < 0 ? rc : SSE_OK;
}

void sse__mirror_added(sse__stream *s)
{
    sse__stream_wake_readers(s);
}

/* What the log holds is of no use to anybody any more. */
static void restart_log(sse__stream *s, uint64_t seq)
{
    s->hub->counters.log_bytes -= s->log.bytes;
    sse__log_clear(&s->log);
    sse__log_seek(&s->log, seq, 0);
    s->log.base_known = false;
}

void sse__mirror_skip(sse__stream *s, uint64_t seq)
{
    restart_log(s, seq);
    for (sse__link *l = s->subscribers.next; l != &s->subscribers;
         l = l->next) {
        sse__subscriber *sub = SSE__OWNER(l, sse__subscriber, stream_link);

        sub->gap = SSE_GAP_TRIMMED;
    }
    sse__stream_wake_readers(s);
}

void sse__mirror_diverge(sse__stream *s, uint64_t seq)
{
    restart_log(s, seq);
    for (sse__link *l = s->subscribers.next; l != &s->subscribers;
         l = l->next) {
        sse__subscriber *sub = SSE__OWNER(l, sse__subscriber, stream_link);

        sub->diverged = true;
        sub->seq = s->log.first_seq;
        sse__subscriber_make_ready(sub);
    }
    s->slowest_seq = s->log.first_seq;
}

void sse__mirror_end(sse__stream *s, uint32_t state)
{
    if (sse__stream_check_open(s) < 0)
        return;
    sse__stream_set_ended(s, state);
    s->ended_ms = s->active_ms; /* as the store has it */
    sse__stream_wake_readers(s);
}

/* ---- Owners --------------------------------------------------------------- */

/* A log of the rows from `seq` on, as events behind `base`. */
static int encode_moved(sse__stream *s, uint64_t seq, uint64_t base,
                        uint32_t tag, sse__log *out)
{
    int64_t          made_ms;
    const sse__rows *rows = &s->backing->rows;
    int              rc = SSE_OK;

    sse__log_init(out, s->log.max_events, s->log.max_bytes, SSE_NEVER);
    out->max_age_ms = s->log.max_age_ms;
    sse__log_seek(out, base, tag);
    for (; rc >= 0 && seq < rows->next_seq; seq++) {
        const sse__row *row = sse__rows_get(rows, seq);

        rc = add_row(out, s->hub, row->text, row->len, row->tag, &made_ms);
    }
    if (rc < 0)
        sse__log_free(out);
    return rc < 0 ? rc : SSE_OK;
}

/* The rows from `seq` on, as those behind `base`. */
static int move_rows(sse__rows *rows, uint64_t seq, uint64_t base)
{
    sse__rows moved;

    sse__rows_init(&moved, base + 1);
    if (sse__rows_reserve(&moved, rows->next_seq - seq) < 0)
        return SSE_ERR_NOMEM;
    while (rows->first_seq < seq)
        sse__rows_drop_first(rows);
    while (rows->first_seq < rows->next_seq)
        sse__rows_add(&moved, sse__rows_take_first(rows));
    sse__rows_free(rows);
    *rows = moved;
    return SSE_OK;
}

/* Who had nothing that has another number now is only told what is missing. */
static void move_reader(sse__subscriber *sub, uint64_t stored, uint64_t base,
                        bool fresh)
{
    sub->gap = SSE_GAP_TRIMMED;
    if (sub->seq > stored + 1 || sub->seq > base + 1) {
        sub->diverged = true;
        sub->seq = base + 1;
    } else if (fresh) {
        sub->seq = base + 1;
    }
    sse__subscriber_make_ready(sub);
}

int sse__owner_move(sse__stream *s, uint64_t seq, uint32_t tag, bool tag_known,
                    bool fresh)
{
    struct sse__backing *b = s->backing;
    uint64_t             from = b->stored_seq + 1;
    sse__log             log;

    if (from < b->rows.first_seq) {
        from = b->rows.first_seq;
        fresh = false; /* some are lost, which must be told */
    }
    if (encode_moved(s, from, seq, tag, &log) < 0)
        return SSE_ERR_NOMEM;
    if (move_rows(&b->rows, from, seq) < 0) {
        sse__log_free(&log);
        return SSE_ERR_NOMEM;
    }
    s->hub->counters.log_bytes += log.bytes - s->log.bytes;
    sse__log_free(&s->log);
    s->log = log;
    s->log.base_known = tag_known;
    for (sse__link *l = s->subscribers.next; l != &s->subscribers; l = l->next)
        move_reader(SSE__OWNER(l, sse__subscriber, stream_link), b->stored_seq,
                    seq, fresh);
    b->stored_seq = seq;
    s->slowest_seq = s->log.first_seq;
    return SSE_OK;
}
