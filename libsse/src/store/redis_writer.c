/* SPDX-License-Identifier: MIT */
/* redis_writer.c - the life of writers: whose turn it is, and when. */
#include "redis_writer.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "redis_registry.h"

#define AGAIN_MS 100 /* when nothing could be sent */
#define AT_ONCE 16u  /* writers in one hold of the lock */

/* ---- Life ---- */

static void make_due(sse__writer *w);

/* Behind the writers of the same id that are there. */
static int enter(sse__redis *r, sse__writer *w)
{
    sse__stream   *s = w->stream;
    sse__map_node *node = sse__map_get(&r->writers, s->id, s->node.key_len);
    sse__writer   *last;

    if (!node) {
        if (sse__map_add(&r->writers, &w->node, s->id, s->node.key_len) < 0)
            return SSE_ERR_NOMEM;
    } else {
        last = SSE__OWNER(node, sse__writer, node);
        while (last->newer)
            last = last->newer;
        last->newer = w;
        w->older = true;
    }
    sse__list_add(&r->all_writers, &w->link);
    return SSE_OK;
}

static sse__writer *writer_new(sse__redis *r, sse__stream *s)
{
    sse__writer *w = sse__calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->engine = r;
    w->stream = s;
    w->shared = s->backing->role == SSE__MIRROR;
    w->touched_ms = s->touched_ms;
    sse__list_init(&w->link);
    sse__list_init(&w->due);
    sse__list_init(&w->creating);
    snprintf(w->token, sizeof(w->token), "%s.%llu", r->node,
             (unsigned long long)++r->runs);
    if (enter(r, w) < 0) {
        sse__free(w);
        return NULL;
    }
    sse__stream_ref(s);
    if (w->shared)
        s->backing->refs++;
    else
        s->backing->engine = w;
    return w;
}

/* The next one of its id takes its place; the map has a node less, so that
 * adding one cannot fail. */
static void leave(sse__writer *w)
{
    sse__redis  *r = w->engine;
    sse__writer *newer = w->newer;
    sse__stream *s;

    if (w->older) {
        sse__map_node *node =
            sse__map_get(&r->writers, w->stream->id, w->stream->node.key_len);
        sse__writer *before = SSE__OWNER(node, sse__writer, node);

        while (before->newer != w)
            before = before->newer;
        before->newer = newer;
        return;
    }
    sse__map_drop(&r->writers, &w->node);
    if (!newer)
        return;
    s = newer->stream;
    newer->older = false;
    (void)sse__map_add(&r->writers, &newer->node, s->id, s->node.key_len);
    make_due(newer);
}

void sse__writer_answer(sse__writer *w, int rc)
{
    sse__op *op = w->create;

    if (!op)
        return;
    w->create = NULL;
    sse__list_drop(&w->creating);
    sse__op_finish(w->engine->base.hub, op, rc);
}

static void free_if_done(sse__writer *w)
{
    if (w->phase != SSE__WRITER_DONE || w->busy || w->pins > 0)
        return;
    if (w->end_stored && !w->stream->gone && !w->engine->closed)
        sse__ended_add(w->engine, w->stream);
    sse__writer_answer(w, SSE_OK);
    leave(w);
    sse__list_drop(&w->link);
    sse__list_drop(&w->due);
    if (w->shared)
        w->stream->backing->refs--;
    else
        w->stream->backing->engine = NULL;
    sse__stream_unref(w->stream);
    sse__free(w);
}

static void set_done(sse__writer *w)
{
    w->phase = SSE__WRITER_DONE;
    sse__list_drop(&w->due);
    free_if_done(w);
}

void sse__writer_unpin(sse__writer *w)
{
    w->pins--;
    free_if_done(w);
}

void sse__writer_forget(sse__writer *w)
{
    set_done(w);
}

sse__writer *sse__writer_find(const sse__redis *r, const char *id, size_t len)
{
    sse__map_node *node = sse__map_get(&r->writers, id, len);
    sse__writer   *w = node ? SSE__OWNER(node, sse__writer, node) : NULL;

    while (w && w->phase == SSE__WRITER_DONE)
        w = w->newer;
    return w;
}

/* ---- When something is due ---- */

static void make_due(sse__writer *w)
{
    if (w->busy || w->older || w->parked || w->phase == SSE__WRITER_DONE)
        return;
    sse__list_drop(&w->due);
    sse__list_add(&w->engine->due, &w->due);
}

static bool owes_anything(const sse__writer *w)
{
    return sse__writer_unsent(w) > 0 || !sse__writer_backing(w)->described;
}

/* Rows may collect for a while, but not an end, nor more than a batch. */
static void make_due_later(sse__writer *w)
{
    sse__redis *r = w->engine;
    uint32_t    linger_ms = r->base.opts.linger_ms;

    if (linger_ms == 0 || r->closing || w->phase != SSE__WRITER_OPEN ||
        w->doubt || sse__writer_has_ended(w) ||
        sse__writer_unsent(w) >= SSE__BATCH_ROWS) {
        make_due(w);
    } else if (!w->busy && !w->parked && sse__list_empty(&w->due) &&
               owes_anything(w)) {
        w->linger_ms = sse__redis_now(r) + linger_ms;
        sse__list_add(&r->lingering, &w->due);
    }
}

static void count_lost(sse__writer *w)
{
    struct sse__backing *b = sse__writer_backing(w);

    w->engine->counters.lost += b->lost - w->lost;
    w->lost = b->lost;
}

/* Its hub has forgotten it while it ran: so shall the store. */
static void is_gone_here(sse__writer *w)
{
    if (!w->tried)
        set_done(w);
    else if (w->phase != SSE__WRITER_DONE)
        w->phase = SSE__WRITER_REMOVE;
}

void sse__writer_dirty(sse__redis *r, sse__stream *s)
{
    sse__writer *w = s->backing->engine;

    (void)r;
    if (!w || w->phase == SSE__WRITER_DONE)
        return;
    count_lost(w);
    if (s->gone && !sse__writer_has_ended(w)) {
        is_gone_here(w);
        if (s->backing->engine != w || w->phase == SSE__WRITER_DONE)
            return;
    }
    make_due_later(w);
}

void sse__writer_mirror_dirty(sse__redis *r, const sse__stream *s)
{
    sse__writer *w = sse__writer_find(r, s->id, s->node.key_len);

    while (w && w->stream != s)
        w = w->newer;
    if (w && w->shared && sse__writer_has_ended(w))
        set_done(w);
}

void sse__writer_unpark(sse__redis *r)
{
    for (sse__link *l = r->all_writers.next; l != &r->all_writers;
         l = l->next) {
        sse__writer *w = SSE__OWNER(l, sse__writer, link);

        if (w->parked) {
            w->parked = false;
            make_due(w);
        }
    }
}

void sse__writer_create(sse__redis *r, sse__op *op)
{
    sse__writer *w = writer_new(r, op->stream);

    if (!w) {
        sse__op_finish(r->base.hub, op, SSE_ERR_NOMEM);
        return;
    }
    w->create = op;
    sse__list_add(&r->creating, &w->creating);
    if (!w->shared && !r->commands_up)
        sse__writer_answer(w, SSE_OK);
    make_due(w);
}

/* ---- Lost to another ---- */

void sse__writer_is_lost(sse__writer *w, uint32_t reason)
{
    if (w->phase == SSE__WRITER_DONE)
        return;
    if (!w->shared && !w->stream->gone)
        sse__stream_lose(w->stream, reason);
    set_done(w);
}

void sse__writer_is_gone(sse__writer *w)
{
    if (w->phase != SSE__WRITER_OPEN && w->phase != SSE__WRITER_RESTORE)
        return;
    w->engine->counters.gone++;
    w->phase = SSE__WRITER_NEW;
    make_due(w);
}

/* ---- Sending ---- */

void sse__writer_go_on(sse__writer *w)
{
    w->busy = false;
    w->engine->busy--;
    if (w->phase == SSE__WRITER_DONE)
        free_if_done(w);
    else
        make_due_later(w);
}

/* The lock is given away between a few of them: what is formed here is as much
 * as a whole log. */
void sse__writer_pump(sse__redis *r)
{
    uint32_t sent = 0;

    while (!sse__list_empty(&r->due) && sse__redis_room(r) > 0) {
        sse__writer *w = SSE__OWNER(r->due.next, sse__writer, due);
        int          rc;

        sse__list_drop(&w->due);
        rc = sse__writer_step(w);
        w->busy = rc > 0;
        r->busy += w->busy;
        if (rc < 0) {
            sse__list_add(&r->due, &w->due);
            r->hold_ms = sse__redis_now(r) + AGAIN_MS;
            return;
        }
        free_if_done(w);
        if (++sent % AT_ONCE == 0) {
            sse__hub_pause(r->base.hub);
            sse__hub_go_on(r->base.hub);
        }
    }
}

/* ---- Time ---- */

static void tick_creating(sse__redis *r)
{
    sse__link *next;

    for (sse__link *l = r->creating.next; l != &r->creating; l = next) {
        sse__writer *w = SSE__OWNER(l, sse__writer, creating);

        next = l->next;
        if (w->create->by_ms > sse__redis_now(r))
            continue;
        r->counters.timeouts++;
        sse__writer_answer(w, w->shared ? SSE_ERR_STORE : SSE_OK);
        if (w->shared)
            set_done(w); /* should it be there, it will be an orphan */
    }
}

void sse__writer_tick(sse__redis *r)
{
    int64_t now_ms = sse__redis_now(r);

    while (!sse__list_empty(&r->lingering)) {
        sse__writer *w = SSE__OWNER(r->lingering.next, sse__writer, due);

        if (w->linger_ms > now_ms && !r->closing)
            break;
        make_due(w);
    }
    if (r->jobs_ms <= now_ms)
        tick_creating(r);
}

int64_t sse__writer_due_ms(const sse__redis *r)
{
    if (sse__list_empty(&r->lingering))
        return INT64_MAX;
    return SSE__OWNER(r->lingering.next, sse__writer, due)->linger_ms;
}

void sse__writer_link_down(sse__redis *r)
{
    sse__link *next;

    for (sse__link *l = r->creating.next; l != &r->creating; l = next) {
        sse__writer *w = SSE__OWNER(l, sse__writer, creating);

        next = l->next;
        if (!w->shared)
            sse__writer_answer(w, SSE_OK);
    }
}

/* A shared stream that has had no event for as long as streams live gets no
 * more life signs from here. */
bool sse__writer_beats(const sse__writer *w)
{
    const sse__redis *r = w->engine;

    if (w->phase != SSE__WRITER_OPEN || sse__writer_has_ended(w))
        return false;
    return !w->shared || w->stream->backing->live ||
           sse__redis_now(r) - w->touched_ms <
               (int64_t)r->base.hub->core.opts.stream_ttl_ms;
}

bool sse__writer_any_unsent(const sse__redis *r)
{
    return r->busy > 0 || !sse__list_empty(&r->due) ||
           !sse__list_empty(&r->lingering);
}

/* Those that wait for a reply are freed by it. */
void sse__writer_close(sse__redis *r)
{
    sse__link *next;

    for (sse__link *l = r->all_writers.next; l != &r->all_writers; l = next) {
        next = l->next;
        set_done(SSE__OWNER(l, sse__writer, link));
    }
}

void sse__writer_count(const sse__redis *r, uint64_t *rows, uint64_t *bytes)
{
    *rows = *bytes = 0;
    for (const sse__link *l = r->all_writers.next; l != &r->all_writers;
         l = l->next) {
        const sse__writer *w = SSE__OWNER(l, sse__writer, link);
        const sse__rows   *kept = &sse__writer_backing(w)->rows;
        uint64_t           all = kept->next_seq - kept->first_seq;
        uint64_t           waiting = w->shared ? 0 : sse__writer_unsent(w);

        if (waiting > all)
            waiting = all; /* the others are lost */
        *rows += waiting;
        if (waiting > 0)
            *bytes += kept->bytes / all * waiting;
    }
}
