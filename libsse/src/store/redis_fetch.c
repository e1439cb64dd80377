/* SPDX-License-Identifier: MIT */
/* redis_fetch.c - those who wait for a stream to be here. */
#include "../core/alloc.h"
#include "redis_tail.h"

#define FETCHES_MAX 65536u

static sse__fetch *fetch_at(sse__link *l)
{
    return SSE__OWNER(l, sse__fetch, link);
}

/* Whoever is let in comes a little later: the mirror is followed until then,
 * for it would be a reader of a mirror that nobody feeds. */
static void answer(sse__tail *t, sse__fetch *f, int rc)
{
    t->let_in |= rc == SSE_OK && !f->op->look;
    sse__list_drop(&f->link);
    sse__tails_of(t->engine)->fetches--;
    sse__op_finish(t->engine->base.hub, f->op, rc);
    sse__free(f);
}

void sse__fetch_answer_all(sse__tail *t, int rc)
{
    while (!sse__list_empty(&t->fetches))
        answer(t, fetch_at(t->fetches.next), rc);
}

/* They came in the order in which their time ends, or nearly so. */
void sse__fetch_expire(sse__tail *t)
{
    sse__redis *r = t->engine;

    while (sse__fetch_due_ms(t) <= sse__redis_now(r)) {
        r->counters.timeouts++;
        answer(t, fetch_at(t->fetches.next), SSE_ERR_STORE);
    }
}

int64_t sse__fetch_due_ms(const sse__tail *t)
{
    if (sse__list_empty(&t->fetches))
        return INT64_MAX;
    return fetch_at(t->fetches.next)->op->by_ms;
}

bool sse__fetch_wants_events(const sse__tail *t)
{
    for (sse__link *l = t->fetches.next; l != &t->fetches; l = l->next)
        if (!fetch_at(l)->op->look)
            return true;
    return false;
}

/* ---- Where a mirror must begin ---- */

sse__cursor sse__fetch_first(const sse__tail *t)
{
    sse__cursor first = {.kind = SSE__CURSOR_NEW};

    for (sse__link *l = t->fetches.next; l != &t->fetches; l = l->next) {
        const sse__op     *op = fetch_at(l)->op;
        const sse__cursor *c = &op->cursor;

        if (op->look || c->kind == SSE__CURSOR_NEW)
            continue;
        if (c->kind == SSE__CURSOR_START)
            return *c;
        if (first.kind == SSE__CURSOR_NEW || c->seq < first.seq)
            first = *c;
    }
    return first;
}

static bool has_other_tag(const sse__cursor *c, uint64_t seq, uint32_t tag)
{
    return c->kind == SSE__CURSOR_AFTER && c->tagged && c->seq == seq &&
           c->tag != tag;
}

bool sse__fetch_differs(const sse__tail *t, uint64_t seq, uint32_t tag)
{
    for (sse__link *l = t->fetches.next; l != &t->fetches; l = l->next)
        if (!fetch_at(l)->op->look &&
            has_other_tag(&fetch_at(l)->op->cursor, seq, tag))
            return true;
    return false;
}

/* The first event that a reader at `c` must get. One whose event is not of this
 * log begins with the oldest; whether it is, its tag must show. */
static uint64_t first_needed(const sse__tail *t, const sse__cursor *c)
{
    const sse__log *log = &t->stream->log;
    uint32_t        tag;

    if (c->kind != SSE__CURSOR_AFTER || c->seq <= t->base ||
        c->seq >= log->next_seq)
        return t->base + 1;
    if (sse__log_get_tag(log, c->seq, &tag))
        return has_other_tag(c, c->seq, tag) ? t->base + 1 : c->seq + 1;
    return c->tagged ? c->seq : c->seq + 1;
}

/* The oldest event that a reader at `c` needs and the log has not; 0: none that
 * there is, or that there is room for. */
static uint64_t oldest_needed(const sse__tail *t, const sse__cursor *c)
{
    const sse__log *log = &t->stream->log;
    uint64_t        seq = first_needed(t, c);

    if (log->next_seq - log->first_seq >= log->max_events ||
        log->bytes >= log->max_bytes)
        return 0;
    return seq < log->first_seq ? seq : 0;
}

/* ---- Answers ---- */

/* A reader has seen an event that is not here. The store may have it by now;
 * or it has lost it, and may get it back. */
static bool waits_for_event(sse__tail *t, sse__fetch *f)
{
    const sse__cursor *c = &f->op->cursor;
    int64_t            now_ms = sse__redis_now(t->engine);

    if (c->kind != SSE__CURSOR_AFTER || c->seq < t->stream->log.next_seq ||
        t->stream->state != SSE_STATE_ACTIVE)
        return false;
    if (f->ahead_ms == 0)
        f->ahead_ms = now_ms + SSE__AHEAD_MS;
    else if (now_ms < f->ahead_ms)
        t->hold_ms = now_ms + SSE__RETRY_MS;
    else
        return false;
    t->caught = false;
    t->turn++;
    return true;
}

void sse__fetch_stop_waiting(sse__tail *t)
{
    for (sse__link *l = t->fetches.next; l != &t->fetches; l = l->next)
        fetch_at(l)->ahead_ms = sse__redis_now(t->engine);
}

static void answer_one(sse__tail *t, sse__fetch *f)
{
    sse__stream *s = t->stream;
    uint64_t     seq = 0;

    if (f->op->look) {
        answer(t, f, SSE_OK);
        return;
    }
    if (t->phase != SSE__TAIL_LIVE && s->state == SSE_STATE_ACTIVE)
        return;
    if (!sse__mirror_reaches(s, &f->op->cursor)) {
        if (waits_for_event(t, f))
            return;
        seq = oldest_needed(t, &f->op->cursor);
    }
    if (seq == 0)
        answer(t, f, SSE_OK);
    else if (t->old_seq == 0 || seq < t->old_seq)
        t->old_seq = seq;
}

void sse__fetch_answer(sse__tail *t)
{
    sse__link *next;

    t->old_seq = 0;
    for (sse__link *l = t->fetches.next; l != &t->fetches; l = next) {
        next = l->next;
        answer_one(t, fetch_at(l));
    }
}

void sse__fetch_answer_away(sse__tail *t)
{
    sse__link *next;

    for (sse__link *l = t->fetches.next; t->stream && l != &t->fetches;
         l = next) {
        sse__fetch *f = fetch_at(l);

        next = l->next;
        if (f->op->look || sse__mirror_reaches(t->stream, &f->op->cursor))
            answer(t, f, SSE_OK);
    }
}

/* ---- Asking ---- */

static int add(sse__tail *t, sse__op *op)
{
    sse__tails *all = sse__tails_of(t->engine);
    sse__fetch *f;

    if (all->fetches >= FETCHES_MAX)
        return SSE_ERR_LIMIT;
    if (!(f = sse__calloc(1, sizeof(*f))))
        return SSE_ERR_NOMEM;
    f->op = op;
    all->fetches++;
    sse__list_add(&t->fetches, &f->link);
    return SSE_OK;
}

/* Whether there is nothing to ask. */
static bool is_here(const sse__stream *s, const sse__op *op)
{
    return s && !op->fresh && (op->look || sse__store_covers(s, &op->cursor));
}

void sse__tail_fetch(sse__redis *r, sse__op *op)
{
    sse_hub     *hub = r->base.hub;
    sse__stream *s = sse__hub_find(&hub->core, op->id, op->id_len);
    sse__tail   *t;
    int          rc;

    if (is_here(s, op)) {
        sse__op_finish(hub, op, SSE_OK);
        return;
    }
    t = sse__tail_get(r, op->id, op->id_len);
    rc = t ? add(t, op) : SSE_ERR_NOMEM;
    if (rc < 0)
        sse__op_finish(hub, op, rc);
    if (!t)
        return;
    if (t->stream != s) {
        sse__tail_detach(t);
        if (s)
            sse__tail_attach(t, s);
    }
    if (op->fresh)
        sse__tail_look_again(t);
    if (!r->commands_up || !r->pushes_up)
        sse__fetch_answer_away(t);
    sse__tail_go_on(t);
    sse__tail_tick(r);
}
