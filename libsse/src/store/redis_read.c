/* SPDX-License-Identifier: MIT */
/* redis_read.c - reads of streams: what is there at all, what comes behind a
 * mirror's log, what comes before it; and the end. */
#include <stdio.h>
#include <string.h>

#include "redis_read.h"
#include "redis_writer.h"

#define LOST_MS 30000 /* readers of a stream that is gone stay so long       */
#define SLOW_MS 1000  /* between reads of what does not come back            */

/* ---- Calls ---- */

static void got_page(void *user, const redisReply *reply);

static void form(sse__tail *t, const char *after, uint32_t rows)
{
    sse__redis *r = t->engine;

    sse__call_begin(r, SSE__REDIS_READ);
    sse__call_keys(r, t->id, t->node.key_len);
    sse__call_copy(r, after, strlen(after));
    sse__call_u64(r, rows);
    sse__call_u64(r, SSE__PAGE_BYTES);
    sse__call_str(r, t->describe ? "1" : "");
}

static void form_after(sse__tail *t, uint64_t after, uint32_t rows)
{
    char text[21];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)after);
    t->read_after = after;
    form(t, text, rows);
}

static void form_first(sse__tail *t)
{
    sse__cursor at = sse__fetch_first(t);

    t->read_after = 0;
    t->read_kind = SSE__READ_FIRST;
    if (at.kind == SSE__CURSOR_NEW)
        form(t, "$", t->page_rows);
    else if (at.kind == SSE__CURSOR_AFTER && !t->from_start)
        form_after(t, at.seq, t->page_rows);
    else
        form(t, "", t->page_rows);
}

/* Older pages are read from the log backwards, each with the event before it,
 * as far as there is room. */
static void form_old(sse__tail *t)
{
    const sse__log *log = &t->stream->log;
    uint64_t        count = log->first_seq - t->old_seq;
    uint64_t        room = log->max_events - (log->next_seq - log->first_seq);

    if (count > room)
        count = room;
    if (count > t->old_rows)
        count = t->old_rows;
    t->read_kind = SSE__READ_OLD;
    form_after(t, log->first_seq - 1 - count, (uint32_t)count + 1);
}

int sse__tail_read(sse__tail *t)
{
    sse__redis *r = t->engine;
    int         rc;

    if (!t->stream) {
        form_first(t);
    } else if (!t->caught) {
        t->read_kind = SSE__READ_NEXT;
        form_after(t, t->stream->log.next_seq - 1, t->page_rows);
    } else {
        form_old(t);
    }
    rc = sse__call_send(r, got_page, t);
    if (rc < 0)
        return rc;
    t->reading = true;
    t->read_void = false;
    t->read_turn = t->turn;
    t->read_ended = t->stream && t->stream->state != SSE_STATE_ACTIVE;
    sse__tails_of(r)->under_way++;
    r->counters.reads++;
    return SSE_OK;
}

/* ---- What a reply says ---- */

/* False: that is no page. */
static bool parse_page(sse__page *p, const redisReply *reply)
{
    const redisReply *rows = sse__reply_array(reply, 13);

    if (reply->elements < 15 || !rows)
        return false;
    *p = (sse__page){
        .reply = reply,
        .rows = rows,
        .from = sse__reply_u64(reply, 1),
        .base = sse__reply_u64(reply, 2),
        .top = sse__reply_u64(reply, 3),
        .closed = sse__reply_u64(reply, 5),
        .state = sse__reply_text(reply, 6),
        .final_type = sse__reply_text(reply, 9),
        .known = sse__reply_u64(reply, 12) == 1,
    };
    p->top_known = sse__reply_tag(reply, 4, &p->top_tag);
    p->ended = sse__page_has_ended(p);
    return true;
}

/* ---- The description ---- */

static void describe(sse__tail *t, const sse__page *p)
{
    const redisReply *d = sse__reply_array(p->reply, 14);
    sse__stream      *s = t->stream;
    sse__text         kind = sse__reply_text(d, 0);
    sse__text         user = sse__reply_text(p->reply, 8);
    sse__text         metadata = sse__reply_text(d, 3);

    if (!t->describe || d->elements < 4 || !s->backing->described)
        return; /* or what was said of it here is on its way there */
    t->describe = false;
    (void)sse__stream_set_owner(s, user.text, user.len);
    (void)sse__stream_set_kind(s, kind.text, kind.len);
    (void)sse__stream_set_metadata(s, metadata.text, metadata.len);
}

/* ---- A stream that is not known here yet ---- */

/* Where its mirror's log begins: behind event `seq`. */
static uint64_t place(const sse__tail *t, const sse__page *p, uint32_t *tag,
                      bool *known)
{
    *tag = 0;
    *known = false;
    if (sse__reply_is(p->reply, "anchor")) {
        *tag = sse__page_tag(p, 0);
        *known = true;
        return t->read_after;
    }
    if (sse__page_lacks_final(p) && p->from > p->closed)
        return p->closed - 1;
    if (p->from - 1 == p->top) {
        *tag = p->top_tag;
        *known = p->top_known;
    }
    return p->from - 1;
}

static int make_mirror(sse__tail *t, const sse__page *p, sse__stream **out)
{
    const redisReply *d = sse__reply_array(p->reply, 14);
    sse__text         kind = sse__reply_text(d, 0);
    sse__text         started = sse__reply_text(d, 1);
    sse__text         metadata = sse__reply_text(d, 3);
    sse__text         user = sse__reply_text(p->reply, 8);
    sse_stream_info   info = {.id = t->id, .id_len = t->node.key_len};
    uint32_t          tag;
    bool              known;
    uint64_t          seq = place(t, p, &tag, &known);

    info.owner = user.text;
    info.owner_len = user.len;
    info.kind = kind.text;
    info.kind_len = kind.len;
    info.metadata = metadata.text;
    info.metadata_len = metadata.len;
    info.created_ms = sse__iso_parse(started.text, started.len);
    return sse__store_mirror(t->engine->base.hub, &info, seq, tag, known, out);
}

/* The store has less than a cursor says: it may be restored in a moment. */
static bool waits_for_cursor(sse__tail *t, const sse__page *p)
{
    int64_t now_ms = sse__redis_now(t->engine);

    if (!sse__reply_is(p->reply, "ahead"))
        return false;
    if (t->behind_ms == 0)
        t->behind_ms = now_ms;
    if (p->ended || now_ms - t->behind_ms >= SSE__AHEAD_MS) {
        t->from_start = true;
        t->behind_ms = 0;
        sse__fetch_stop_waiting(t);
    } else {
        t->hold_ms = now_ms + SSE__RETRY_MS;
    }
    return true;
}

static void take_first(sse__tail *t, const sse__page *p)
{
    bool         anchored = sse__reply_is(p->reply, "anchor"), fresh;
    sse__stream *s;
    int          rc;

    if (!p->known) {
        sse__fetch_answer_all(t, SSE_ERR_NOT_FOUND);
        return;
    }
    if (waits_for_cursor(t, p))
        return;
    if (anchored && sse__fetch_differs(t, t->read_after, sse__page_tag(p, 0))) {
        t->from_start = true;
        return;
    }
    rc = make_mirror(t, p, &s);
    if (rc < 0) {
        sse__fetch_answer_all(t, rc == SSE_ERR_EXISTS ? SSE_OK : rc);
        return;
    }
    fresh = t->read_turn == t->turn;
    sse__tail_attach(t, s);
    t->read_turn = fresh ? t->turn : 0;
    t->describe = false;
    sse__page_add(t, p);
}

/* ---- What comes next ---- */

static void lose(sse__tail *t)
{
    sse__stream *s = t->stream;

    sse__fetch_answer_all(t, SSE_ERR_NOT_FOUND);
    sse__stream_remove(s);
    sse__tail_detach(t);
}

/* Nothing of the stream is there. Whoever made it may be about to register it,
 * here or, when Redis has lost everything, again. */
static void is_gone(sse__tail *t)
{
    sse__redis *r = t->engine;
    int64_t     now_ms = sse__redis_now(r), gone_ms;
    bool        writing = sse__writer_find(r, t->id, t->node.key_len) != NULL;

    if (t->phase == SSE__TAIL_LOOKING && !writing) {
        lose(t);
        return;
    }
    if (t->behind_ms == 0)
        t->behind_ms = now_ms;
    gone_ms = now_ms - t->behind_ms;
    if (!writing &&
        gone_ms >=
            (t->stream->subscriber_count > 0 ? LOST_MS : SSE__AHEAD_MS)) {
        lose(t);
        return;
    }
    if (gone_ms >= SSE__AHEAD_MS && !writing)
        sse__fetch_answer_all(t, SSE_ERR_NOT_FOUND);
    t->hold_ms = now_ms + (gone_ms < SSE__AHEAD_MS ? SSE__RETRY_MS : SLOW_MS);
    sse__tail_rejoin(t);
}

static void diverge(sse__tail *t, const sse__page *p)
{
    t->engine->counters.gaps++;
    t->behind_ms = 0;
    sse__mirror_diverge(t->stream, p->base);
    sse__tail_rejoin(t);
}

/* Redis went back in time. */
static void is_behind(sse__tail *t, const sse__page *p)
{
    int64_t now_ms = sse__redis_now(t->engine);

    if (t->behind_ms == 0)
        t->behind_ms = now_ms;
    if (now_ms - t->behind_ms >= SSE__AHEAD_MS) {
        diverge(t, p);
        return;
    }
    t->hold_ms = now_ms + SSE__RETRY_MS;
    sse__tail_rejoin(t);
}

/* Whether the page is of another log than the mirror's. */
static bool has_forked(const sse__tail *t, const sse__page *p)
{
    const sse__log *log = &t->stream->log;
    uint32_t        ours;

    if (!sse__log_get_tag(log, t->read_after, &ours))
        return false;
    if (sse__reply_is(p->reply, "anchor"))
        return sse__page_tag(p, 0) != ours;
    return t->read_after == p->top && p->top_known && p->top_tag != ours;
}

/* A mirror that has ended has its last event; what is more, or other, is of a
 * new life of the stream. */
static bool is_reborn(const sse__tail *t, const sse__page *p)
{
    const sse__stream *s = t->stream;

    if (s->state == SSE_STATE_ACTIVE)
        return false;
    return !p->ended || p->top > s->log.next_seq - 1 || has_forked(t, p);
}

static void take_next(sse__tail *t, const sse__page *p)
{
    sse__stream *s = t->stream;

    if (s->state != SSE_STATE_ACTIVE && !t->read_ended) {
        t->caught = true; /* a message was quicker, and told of the end */
    } else if (!p->known) {
        is_gone(t);
    } else if (is_reborn(t, p)) {
        sse__stream_remove(s);
        sse__tail_detach(t);
    } else if (sse__reply_is(p->reply, "ahead") &&
               s->state == SSE_STATE_ACTIVE) {
        is_behind(t, p);
    } else if (has_forked(t, p)) {
        diverge(t, p);
    } else {
        t->behind_ms = 0;
        describe(t, p);
        sse__page_add(t, p);
    }
}

/* ---- What came before ---- */

static void take_old(sse__tail *t, const sse__page *p)
{
    if (!p->known || sse__reply_is(p->reply, "ahead") ||
        sse__reply_is(p->reply, "none"))
        sse__tail_rejoin(t);
    else
        sse__page_add_old(t, p);
}

/* ---- Replies ---- */

/* A key holds something else: no stream of anybody's. */
static void is_broken(sse__tail *t)
{
    t->engine->counters.unreadable++;
    sse__fetch_answer_all(t, SSE_ERR_STORE);
    if (t->stream)
        is_gone(t);
}

/* Perhaps it was too long for the link. */
static void is_lost(sse__tail *t)
{
    t->hold_ms = sse__redis_now(t->engine) + SSE__RETRY_MS;
    t->page_rows = t->page_rows / 8 + 2;
    t->old_rows = t->old_rows / 8 + 1;
}

static void take_page(sse__tail *t, const redisReply *reply)
{
    sse__page p;

    if (!reply)
        is_lost(t);
    else if (t->read_void || (!t->stream) != (t->read_kind == SSE__READ_FIRST))
        ; /* it was about another mirror */
    else if (!parse_page(&p, reply))
        is_broken(t);
    else if (t->read_kind == SSE__READ_FIRST)
        take_first(t, &p);
    else if (t->read_kind == SSE__READ_NEXT)
        take_next(t, &p);
    else
        take_old(t, &p);
}

static void got_page(void *user, const redisReply *reply)
{
    sse__tail  *t = user;
    sse__redis *r = t->engine;

    sse__tails_of(r)->under_way--;
    t->reading = false;
    if (!sse__tails_of(r)->closed)
        take_page(t, reply);
    sse__tail_go_on(t);
    sse__tails_let_go(r);
}
