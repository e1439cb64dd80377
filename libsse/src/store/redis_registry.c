/* SPDX-License-Identifier: MIT */
/* redis_registry.c - remove, list, stop, describe. */
#include "redis_registry.h"

#include <stdlib.h>
#include <string.h>

#include "../core/alloc.h"
#include "redis_writer.h"

#define PAGE "200"
#define FOUND_MAX 10000u
#define STOP_TRIES 3u
#define DESCRIBE_MS 600000

/* ---- Calls ---- */

void sse__registry_form_remove(sse__redis *r, const char *id, size_t id_len,
                               const char *token)
{
    sse__call_begin(r, SSE__REDIS_REMOVE);
    sse__call_keys(r, id, id_len);
    sse__call_text(r, id, id_len);
    sse__call_str(r, token);
    sse__call_name(r, "user:", "", 0);
    sse__call_str(r, ":streams");
    sse__call_u64(r, r->keep.meta);
    sse__call_channel(r, id, id_len);
    sse__call_name(r, "ctl:", "", 0);
}

void sse__registry_form_describe(sse__redis *r, const sse__stream *s,
                                 const char *token)
{
    sse_stream_info i;

    sse__stream_info(s, &i);
    sse__call_begin(r, SSE__REDIS_DESCRIBE);
    sse__call_keys(r, i.id, i.id_len);
    if (i.owner_len)
        sse__call_user_key(r, i.owner, i.owner_len);
    sse__call_text(r, i.id, i.id_len);
    sse__call_str(r, token);
    sse__call_text(r, i.kind, i.kind_len);
    sse__call_text(r, i.owner, i.owner_len);
    sse__call_text(r, i.metadata, i.metadata_len);
    sse__call_u64(r, r->keep.stream);
    sse__call_name(r, "user:", "", 0);
    sse__call_str(r, ":streams");
    sse__call_channel(r, i.id, i.id_len);
}

static void form_list(sse__job *job)
{
    sse__redis *r = job->engine;
    sse__op    *op = job->op;

    sse__call_begin(r, SSE__REDIS_LIST);
    if (op->id_len)
        sse__call_user_key(r, op->id, op->id_len);
    else
        sse__call_key(r, "active", "", 0, "");
    sse__call_name(r, "stream:", "", 0);
    sse__call_text(r, op->id, op->id_len);
    sse__call_str(r, PAGE);
    sse__call_str(r, job->text ? job->text : "0");
}

static void form_stop(sse__job *job)
{
    sse__redis *r = job->engine;
    sse__op    *op = job->op;

    if (job->step == 1) {
        sse__job_form_append(job, job->text, "", SSE_STATE_CANCELLED);
        return;
    }
    sse__call_begin(r, SSE__REDIS_STOP);
    sse__call_keys(r, op->id, op->id_len);
    sse__call_text(r, op->id, op->id_len);
    sse__call_str(r, "");
    sse__call_name(r, "ctl:", "", 0);
}

void sse__registry_form(sse__job *job)
{
    sse__redis *r = job->engine;
    sse__op    *op = job->op;

    switch (op->kind) {
    case SSE__OP_REMOVE:
        sse__registry_form_remove(r, op->id, op->id_len, "");
        break;
    case SSE__OP_LIST: form_list(job); break;
    case SSE__OP_STOP: form_stop(job); break;
    default:
        op->stream->backing->changed = false; /* it says what is so now */
        sse__registry_form_describe(r, op->stream, "");
        break;
    }
}

/* ---- Lists ---- */

static char *keep_text(char *at, const char **text, size_t *len, sse__text from)
{
    memcpy(at, from.text, from.len);
    at[from.len] = '\0';
    *text = at;
    *len = from.len;
    return at + from.len + 1;
}

static sse__found *new_found(sse__text id, sse__text owner, sse__text kind,
                             sse__text metadata)
{
    sse__found *f = sse__calloc(1, sizeof(*f) + id.len + owner.len + kind.len +
                                       metadata.len + 4);
    char       *at;

    if (!f)
        return NULL;
    at = keep_text(f->text, &f->info.id, &f->info.id_len, id);
    at = keep_text(at, &f->info.owner, &f->info.owner_len, owner);
    at = keep_text(at, &f->info.kind, &f->info.kind_len, kind);
    keep_text(at, &f->info.metadata, &f->info.metadata_len, metadata);
    return f;
}

/* One of the script: {id, type, user, startedAt, lastHeartbeat, state,
 * metadata, owner}. */
static int add_found(sse__op *op, const redisReply *entry)
{
    sse__text   started = sse__reply_text(entry, 3);
    sse__text   beat = sse__reply_text(entry, 4);
    sse__found *f =
        new_found(sse__reply_text(entry, 0), sse__reply_text(entry, 2),
                  sse__reply_text(entry, 1), sse__reply_text(entry, 6));

    if (!f)
        return SSE_ERR_NOMEM;
    f->info.state = sse__state_of(sse__reply_text(entry, 5));
    f->info.created_ms = sse__iso_parse(started.text, started.len);
    f->info.active_ms = sse__iso_parse(beat.text, beat.len);
    f->next = op->found;
    op->found = f;
    op->seq++; /* of an operation that needs no number: how many */
    return SSE_OK;
}

/* What this hub knows better than the registry. */
static void add_local(const sse__redis *r, sse__found *f)
{
    const sse__stream *s =
        sse__hub_find(&r->base.hub->core, f->info.id, f->info.id_len);
    sse_stream_info i;

    if (!s || (s->backing->role == SSE__MIRROR && !s->backing->live))
        return;
    sse__stream_info(s, &i);
    i.id = f->info.id;
    i.owner = f->info.owner;
    i.owner_len = f->info.owner_len;
    i.kind = f->info.kind;
    i.kind_len = f->info.kind_len;
    i.metadata = f->info.metadata;
    i.metadata_len = f->info.metadata_len;
    f->info = i;
}

static int by_id(const void *a, const void *b)
{
    const sse__found *const *x = a, *const *y = b;

    return strcmp((*x)->info.id, (*y)->info.id);
}

static int newest_first(const void *a, const void *b)
{
    const sse__found *const *x = a, *const *y = b;

    if ((*x)->info.created_ms == (*y)->info.created_ms)
        return by_id(a, b);
    return (*x)->info.created_ms < (*y)->info.created_ms ? 1 : -1;
}

static bool is_among(const sse__op *op, const char *id)
{
    for (const sse__found *f = op->found; f; f = f->next)
        if (strcmp(f->info.id, id) == 0)
            return true;
    return false;
}

/* Those that came twice go; the others are linked, newest first. */
static void link_found(const sse__redis *r, sse__op *op, sse__found **all,
                       size_t count)
{
    size_t kept = 0;

    qsort(all, count, sizeof(sse__found *), by_id);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && by_id(&all[kept - 1], &all[i]) == 0) {
            sse__free(all[i]);
            continue;
        }
        add_local(r, all[i]);
        all[kept++] = all[i];
    }
    qsort(all, kept, sizeof(sse__found *), newest_first);
    op->found = NULL;
    for (size_t i = kept; i > 0; i--) {
        all[i - 1]->next = op->found;
        op->found = all[i - 1];
    }
}

static int order_found(const sse__redis *r, sse__op *op)
{
    sse__found **all;
    size_t       count = 0;

    if (!op->found)
        return SSE_OK;
    if (!(all = sse__calloc(op->seq, sizeof(sse__found *))))
        return SSE_ERR_NOMEM;
    for (sse__found *f = op->found; f; f = f->next)
        all[count++] = f;
    link_found(r, op, all, count);
    sse__free(all);
    return SSE_OK;
}

/* A stream of this hub's that the store does not list yet. */
static int add_waiting(sse__op *op, const sse__writer *w)
{
    sse_stream_info i;
    sse__found     *f;

    sse__stream_info(w->stream, &i);
    if (w->shared || w->stream->gone || op->seq >= FOUND_MAX ||
        (op->id_len && (i.owner_len != op->id_len ||
                        memcmp(i.owner, op->id, op->id_len) != 0)) ||
        is_among(op, i.id))
        return SSE_OK;
    f = new_found((sse__text){i.id, i.id_len},
                  (sse__text){i.owner, i.owner_len},
                  (sse__text){i.kind, i.kind_len},
                  (sse__text){i.metadata, i.metadata_len});
    if (!f)
        return SSE_ERR_NOMEM;
    f->next = op->found;
    op->found = f;
    op->seq++;
    return SSE_OK;
}

/* Only those that have something to send, which are few: the others are in the
 * list that the store gave. */
static int add_all_waiting(const sse__redis *r, sse__op *op)
{
    int rc = SSE_OK;

    for (const sse__link *l = r->all_writers.next;
         rc == SSE_OK && l != &r->all_writers; l = l->next) {
        const sse__writer *w = SSE__OWNER(l, sse__writer, link);

        if (w->phase == SSE__WRITER_NEW || !sse__writer_backing(w)->described ||
            (w->busy && !sse__writer_has_ended(w)))
            rc = add_waiting(op, w);
    }
    return rc;
}

static void got_page(sse__job *job, const redisReply *reply)
{
    sse__op  *op = job->op;
    sse__text cursor = sse__reply_text(reply, 1);
    int       rc = SSE_OK;

    for (size_t i = 3; rc == SSE_OK && i < reply->elements; i++)
        if (op->seq < FOUND_MAX)
            rc = add_found(op, reply->element[i]);
    if (rc == SSE_OK && op->seq < FOUND_MAX &&
        !(cursor.len == 1 && cursor.text[0] == '0')) {
        if (sse__job_keep(job, cursor))
            sse__job_again(job);
        return;
    }
    if (rc == SSE_OK)
        rc = add_all_waiting(job->engine, op);
    if (rc == SSE_OK)
        rc = order_found(job->engine, op);
    op->seq = 0;
    sse__job_finish(job, rc);
}

/* ---- Stops ---- */

static void got_stop(sse__job *job, const redisReply *reply)
{
    job->op->state = sse__state_of(sse__reply_text(reply, 2));
    if (sse__reply_is(reply, "told")) {
        job->engine->counters.stops_told++;
        sse__job_finish(job, SSE_OK);
    } else if (sse__reply_is(reply, "ended")) {
        sse__job_finish(job, SSE_OK);
    } else if (sse__reply_is(reply, "nobody")) {
        job->step = 1;
        if (sse__job_keep(job, sse__reply_text(reply, 3)))
            sse__job_again(job);
    } else {
        sse__job_finish(job, SSE_ERR_NOT_FOUND);
    }
}

/* Nobody was there to be told, so the stream was ended; unless it had been, or
 * somebody took it up meanwhile. */
static void got_stopped(sse__job *job, const redisReply *reply)
{
    job->op->state = sse__state_of(sse__reply_text(reply, 5));
    if (sse__reply_is(reply, "ok") || sse__reply_is(reply, "dup")) {
        job->op->state = SSE_STATE_CANCELLED;
        sse__job_finish(job, SSE_OK);
    } else if (sse__reply_is(reply, "closed")) {
        sse__job_finish(job, SSE_OK);
    } else if (sse__reply_is(reply, "gone")) {
        sse__job_finish(job, SSE_ERR_NOT_FOUND);
    } else if (++job->tries < STOP_TRIES) {
        job->step = 0;
        sse__job_again(job);
    } else {
        sse__job_finish(job, SSE_ERR_STORE);
    }
}

/* ---- Answers ---- */

/* A shared stream of this hub's gets no more signs of life: a Redis that lost
 * all would be told of it again. One that is only about to be registered is
 * another. */
static void got_removed(sse__job *job, const redisReply *reply)
{
    sse__op     *op = job->op;
    sse__writer *w = sse__writer_find(job->engine, op->id, op->id_len);
    bool         found = sse__reply_is(reply, "ok") ||
                 (sse__reply_is(reply, "gone") && (job->doubt || job->known));

    if (found && w && w->shared && w->phase == SSE__WRITER_OPEN)
        sse__writer_forget(w);
    sse__job_finish(job, found ? SSE_OK : SSE_ERR_NOT_FOUND);
}

void sse__registry_answered(sse__job *job, const redisReply *reply)
{
    switch (job->op->kind) {
    case SSE__OP_REMOVE: got_removed(job, reply); break;
    case SSE__OP_LIST: got_page(job, reply); break;
    case SSE__OP_STOP:
        if (job->step == 0)
            got_stop(job, reply);
        else
            got_stopped(job, reply);
        break;
    default: sse__job_finish(job, SSE_OK); break;
    }
}

/* ---- Mirrors ---- */

/* The store has been told what a stream is, or could not be. */
static void is_described(sse__op *op)
{
    struct sse__backing *b = op->stream->backing;

    b->describing = false;
    b->described = op->rc == SSE_OK && !b->changed;
    if (b->changed)
        sse__stream_dirty(op->stream);
    sse__op_free(op);
}

static void describe(sse__redis *r, sse__stream *s)
{
    sse__op *op;

    s->backing->changed = s->backing->describing;
    if (s->backing->describing)
        return;
    op = sse__op_new((sse__op_kind)SSE__OP_DESCRIBE, s->id, s->node.key_len,
                     sse__redis_now(r) + DESCRIBE_MS);
    if (!op)
        return; /* with the next change */
    op->stream = s;
    op->done = is_described;
    sse__stream_ref(s);
    s->backing->describing = true;
    sse__list_add(&r->asked, &op->link);
}

void sse__registry_dirty(sse__redis *r, sse__stream *s)
{
    sse__op *op;

    if (!s->backing->described && !s->gone && s->state == SSE_STATE_ACTIVE)
        describe(r, s);
    if (s->backing->stop &&
        sse__op_new_stop(r->base.hub, s->id, s->node.key_len, &op) == SSE_OK)
        sse__redis_begin(r, op);
    s->backing->stop = false;
}
