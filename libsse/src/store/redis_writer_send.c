/* SPDX-License-Identifier: MIT */
/* redis_writer_send.c - what writers send, and what they make of the answers:
 * registration, batches, restores. */
#include "redis_writer.h"

#include <stdio.h>
#include <string.h>

#include "redis_registry.h"

#define BATCH_BYTES ((uint64_t)1 << 20) /* but one row at least */
#define RESTORE_BYTES ((uint64_t)8 << 20)

/* ---- Where Redis stands ---- */

static bool is_our_row(const sse__writer *w, uint64_t seq, uint32_t tag)
{
    const sse__rows *rows = &sse__writer_backing(w)->rows;

    return seq >= rows->first_seq && seq < rows->next_seq &&
           sse__rows_get(rows, seq)->tag == tag;
}

/* The store's newest event is `top`, which is not what was expected: behind
 * it, it has lost something; in front, others have written, or a batch of ours
 * got there whose answer did not come. */
static void reconcile(sse__writer *w, uint64_t top, bool tagged, uint32_t tag)
{
    struct sse__backing *b = sse__writer_backing(w);

    w->doubt = false;
    if (top == b->stored_seq)
        return;
    w->engine->counters.moved += w->placed;
    if (top < b->stored_seq) {
        w->seen_seq = top;
        w->phase = SSE__WRITER_RESTORE;
    } else if (top <= w->maybe_seq || (tagged && is_our_row(w, top, tag))) {
        b->stored_seq = top;
    } else if (sse__owner_move(w->stream, top, tag, tagged, !w->placed) < 0) {
        w->parked = true;
    } else {
        w->engine->counters.renumbered += w->placed;
    }
}

/* ---- Answers ---- */

static void is_closed(sse__writer *w, uint32_t state)
{
    w->engine->counters.closed++;
    sse__writer_is_lost(w, state == SSE_STATE_CANCELLED ? SSE_REASON_REQUESTED
                                                        : SSE_REASON_REMOVED);
}

void sse__writer_is_closed(sse__writer *w)
{
    is_closed(w, SSE_STATE_EXPIRED);
}

void sse__writer_is_stolen(sse__writer *w)
{
    w->engine->counters.stolen++;
    sse__writer_is_lost(w, SSE_REASON_REMOVED);
}

/* What every answer but that of a register can be. False: none of them. */
static bool is_refused(sse__writer *w, const redisReply *reply, size_t state_at)
{
    if (!reply)
        ; /* not known, or not now: the same again */
    else if (sse__reply_is(reply, "gone"))
        sse__writer_is_gone(w);
    else if (sse__reply_is(reply, "stolen") || sse__reply_is(reply, "owned"))
        sse__writer_is_stolen(w);
    else if (sse__reply_is(reply, "closed"))
        is_closed(w, sse__state_of(sse__reply_text(reply, state_at)));
    else if (sse__reply_is(reply, "wrongtype"))
        w->parked = true;
    else
        return false;
    return true;
}

/* ---- Registration ---- */

static void place_mirror(sse__writer *w, const redisReply *reply)
{
    sse__stream *s = w->stream;
    sse__text    how = sse__reply_text(reply, 1);
    bool         kept = how.len == 4 && memcmp(how.text, "kept", 4) == 0;
    uint32_t     tag = 0;
    bool         tagged = !kept && sse__reply_tag(reply, 4, &tag);

    if (s->log.next_seq == 1) {
        sse__log_seek(&s->log, sse__reply_u64(reply, kept ? 2 : 3), tag);
        s->log.base_known = tagged;
    }
    sse__tail_follow(w->engine, s);
}

static void is_registered(sse__writer *w, const redisReply *reply)
{
    uint64_t top = sse__reply_u64(reply, 3);
    uint32_t tag = 0;
    bool     tagged = sse__reply_tag(reply, 4, &tag);

    w->phase = SSE__WRITER_OPEN;
    if (w->shared) {
        if (!w->placed && !w->stream->gone)
            place_mirror(w, reply);
    } else if (!w->doubt) {
        reconcile(w, top, tagged || top == 0, tag);
    }
    w->placed = true;
    sse__writer_answer(w, SSE_OK);
}

/* Its asker removes the stream; without one, a running stream is lost. */
static void exists_elsewhere(sse__writer *w)
{
    w->tried = false;
    if (w->create) {
        sse__writer_answer(w, SSE_ERR_EXISTS);
        w->phase = SSE__WRITER_DONE;
    } else {
        sse__writer_is_stolen(w);
    }
}

/* A key of another type stands there: its asker removes the stream, which must
 * not take that key with it. */
static void is_unfit(sse__writer *w)
{
    w->tried = false;
    if (w->create)
        w->phase = SSE__WRITER_DONE;
    else
        w->parked = true;
    sse__writer_answer(w, SSE_ERR_STORE);
}

static void got_register(void *user, const redisReply *reply)
{
    sse__writer *w = user;
    bool         again = w->doubt && w->shared;

    if (w->phase != SSE__WRITER_NEW) {
        sse__writer_go_on(w); /* it was removed meanwhile */
        return;
    }
    if (w->shared)
        w->doubt = !reply;
    if (sse__reply_is(reply, "ok") ||
        (again && sse__reply_is(reply, "exists") &&
         sse__reply_text(reply, 2).len == 0)) {
        is_registered(w, reply);
    } else if (sse__reply_is(reply, "exists")) {
        exists_elsewhere(w);
    } else if (reply) {
        is_unfit(w);
    }
    sse__writer_go_on(w);
}

static int send_register(sse__writer *w)
{
    sse__redis     *r = w->engine;
    sse_stream_info i;

    sse__stream_info(w->stream, &i);
    sse__call_begin(r, SSE__REDIS_REGISTER);
    sse__call_keys(r, i.id, i.id_len);
    if (i.owner_len)
        sse__call_user_key(r, i.owner, i.owner_len);
    sse__call_text(r, i.id, i.id_len);
    sse__call_text(r, i.kind, i.kind_len);
    sse__call_text(r, i.owner, i.owner_len);
    sse__call_time(r, i.created_ms);
    sse__call_time(r, r->base.hub->core.wall_ms);
    sse__call_text(r, i.metadata, i.metadata_len);
    sse__call_str(r, w->shared ? "" : w->token);
    sse__call_u64(r, r->keep.stream);
    sse__call_u64(r, r->keep.meta);
    sse__call_channel(r, i.id, i.id_len);
    sse__writer_backing(w)->described = w->tried = true;
    return sse__call_send(r, got_register, w);
}

/* ---- Rows ---- */

/* The last event of the next batch. */
static uint64_t batch_end(const sse__writer *w)
{
    const sse__rows *rows = &sse__writer_backing(w)->rows;
    uint64_t         first = sse__writer_backing(w)->stored_seq + 1, bytes = 0,
             seq = first;

    while (seq < rows->next_seq && seq - first < SSE__BATCH_ROWS) {
        bytes += sse__rows_get(rows, seq)->len;
        if (seq > first && bytes > BATCH_BYTES)
            break;
        seq++;
    }
    return seq - 1;
}

static void is_appended(sse__writer *w)
{
    sse__redis *r = w->engine;

    r->counters.appended += w->sent_seq - sse__writer_backing(w)->stored_seq;
    sse__writer_backing(w)->stored_seq = w->sent_seq;
    w->end_stored = w->sent_end;
    w->doubt = false;
}

static void got_append(void *user, const redisReply *reply)
{
    sse__writer *w = user;
    uint32_t     tag = 0;

    if (w->phase != SSE__WRITER_OPEN) {
        sse__writer_go_on(w);
        return;
    }
    if (sse__reply_is(reply, "ok")) {
        is_appended(w);
    } else if (sse__reply_is(reply, "dup")) {
        w->engine->counters.dups++;
        is_appended(w);
    } else if (sse__reply_is(reply, "moved")) {
        bool tagged = sse__reply_tag(reply, 4, &tag);

        reconcile(w, sse__reply_u64(reply, 3), tagged, tag);
    } else if (!is_refused(w, reply, 5)) {
        w->parked = true;
    }
    sse__writer_go_on(w);
}

static int send_append(sse__writer *w)
{
    sse__redis          *r = w->engine;
    sse__stream         *s = w->stream;
    struct sse__backing *b = sse__writer_backing(w);

    sse__call_begin(r, SSE__REDIS_APPEND);
    sse__call_keys(r, s->id, s->node.key_len);
    sse__call_text(r, s->id, s->node.key_len);
    sse__call_str(r, w->token);
    sse__call_str(r, "");
    sse__call_u64(r, b->stored_seq);
    sse__call_str(r, r->node);
    sse__call_u64(r, w->batch);
    sse__call_u64(r, s->log.max_events);
    sse__call_u64(r, r->keep.events);
    sse__call_u64(r, r->keep.meta);
    sse__call_u64(r, r->keep.stream);
    sse__call_str(r, "");
    sse__call_channel(r, s->id, s->node.key_len);
    sse__call_final(r, s->state,
                    w->sent_end ? sse__rows_get(&b->rows, w->sent_seq) : NULL);
    for (uint64_t seq = b->stored_seq + 1; seq <= w->sent_seq; seq++)
        sse__call_row(r, sse__rows_get(&b->rows, seq));
    r->counters.batches++;
    return sse__call_send(r, got_append, w);
}

/* A new batch, or the one whose outcome is not known. */
static int begin_append(sse__writer *w)
{
    int rc;

    if (!w->doubt) {
        w->batch = ++w->engine->batches;
        w->sent_seq = batch_end(w);
        w->sent_end = sse__writer_has_ended(w) &&
                      w->sent_seq == sse__writer_backing(w)->rows.next_seq - 1;
    }
    rc = send_append(w);
    w->doubt = rc == SSE_OK || w->doubt;
    return rc;
}

/* ---- What Redis lost ---- */

/* The first row that a restore sends: all, or as many as fit. */
static uint64_t restore_from(const sse__rows *rows, uint64_t end)
{
    uint64_t seq = end, bytes = 0;

    while (seq > rows->first_seq) {
        bytes += sse__rows_get(rows, seq - 1)->len;
        if (bytes > RESTORE_BYTES)
            break;
        seq--;
    }
    return seq;
}

static void got_restore(void *user, const redisReply *reply)
{
    sse__writer         *w = user;
    struct sse__backing *b = sse__writer_backing(w);

    if (w->phase != SSE__WRITER_RESTORE) {
        sse__writer_go_on(w);
        return;
    }
    if (sse__reply_is(reply, "ok")) {
        w->engine->counters.restores++;
        b->stored_seq = sse__reply_u64(reply, 2);
        w->maybe_seq = 0;
        w->phase = SSE__WRITER_OPEN;
    } else if (sse__reply_is(reply, "moved")) {
        uint32_t tag = 0;
        bool     tagged = sse__reply_tag(reply, 3, &tag);

        w->phase = SSE__WRITER_OPEN;
        reconcile(w, sse__reply_u64(reply, 2), tagged, tag);
    } else if (!is_refused(w, reply, 5)) {
        w->parked = true;
    }
    sse__writer_go_on(w);
}

/* The end itself is left to an append, which stores it as such. */
static int send_restore(sse__writer *w)
{
    sse__redis          *r = w->engine;
    sse__stream         *s = w->stream;
    struct sse__backing *b = sse__writer_backing(w);
    uint64_t             end = b->rows.next_seq - sse__writer_has_ended(w);
    uint64_t             from;
    char                 text[64];

    if (end < b->rows.first_seq)
        end = b->rows.first_seq;
    from = restore_from(&b->rows, end);
    if (w->maybe_seq < end - 1)
        w->maybe_seq = end - 1;
    sse__call_begin(r, SSE__REDIS_RESTORE);
    sse__call_keys(r, s->id, s->node.key_len);
    sse__call_str(r, w->token);
    sse__call_u64(r, w->seen_seq);
    sse__call_u64(r, from - 1);
    snprintf(text, sizeof(text), "%08x",
             end > from ? sse__rows_get(&b->rows, end - 1)->tag : 0);
    sse__call_copy(r, text, end > from ? 8 : 0);
    snprintf(text, sizeof(text), "%s:%llu:%llu", r->node,
             (unsigned long long)++r->batches, (unsigned long long)from);
    sse__call_copy(r, text, strlen(text));
    sse__call_u64(r, r->keep.events);
    sse__call_u64(r, r->keep.meta);
    sse__call_channel(r, s->id, s->node.key_len);
    for (uint64_t seq = from; seq < end; seq++) {
        const sse__row *row = sse__rows_get(&b->rows, seq);

        sse__call_text(r, row->text, row->len);
    }
    return sse__call_send(r, got_restore, w);
}

/* ---- The rest ---- */

static void got_remove(void *user, const redisReply *reply)
{
    sse__writer *w = user;

    if (reply)
        w->phase = SSE__WRITER_DONE;
    sse__writer_go_on(w);
}

static int send_remove(sse__writer *w)
{
    sse__stream *s = w->stream;

    sse__registry_form_remove(w->engine, s->id, s->node.key_len,
                              w->shared ? "" : w->token);
    return sse__call_send(w->engine, got_remove, w);
}

static void got_describe(void *user, const redisReply *reply)
{
    sse__writer *w = user;

    if (w->phase == SSE__WRITER_OPEN) {
        if (!reply)
            sse__writer_backing(w)->described = false;
        else if (!sse__reply_is(reply, "ok") && !is_refused(w, reply, 1))
            w->parked = true;
    }
    sse__writer_go_on(w);
}

static int send_describe(sse__writer *w)
{
    int rc;

    sse__registry_form_describe(w->engine, w->stream, w->token);
    rc = sse__call_send(w->engine, got_describe, w);
    sse__writer_backing(w)->described = rc == SSE_OK;
    return rc;
}

/* The rows that Redis has not had are no longer all there. */
static bool has_hole(const sse__writer *w)
{
    const struct sse__backing *b = sse__writer_backing(w);

    return b->rows.first_seq > b->stored_seq + 1;
}

/* What an open writer has to send. 0: nothing. */
static int step_open(sse__writer *w)
{
    if (w->shared)
        return 0;
    if (has_hole(w)) {
        w->phase = SSE__WRITER_RESTORE;
        w->seen_seq = sse__writer_backing(w)->stored_seq;
        w->maybe_seq = w->doubt ? w->sent_seq : 0;
        w->doubt = false;
        return send_restore(w) < 0 ? -1 : 1;
    }
    if (!w->doubt && !sse__writer_backing(w)->described)
        return send_describe(w) < 0 ? -1 : 1;
    if (w->doubt || sse__writer_unsent(w) > 0)
        return begin_append(w) < 0 ? -1 : 1;
    if (sse__writer_has_ended(w))
        w->phase = SSE__WRITER_DONE;
    return 0;
}

int sse__writer_step(sse__writer *w)
{
    switch (w->phase) {
    case SSE__WRITER_NEW: return send_register(w) < 0 ? -1 : 1;
    case SSE__WRITER_OPEN: return step_open(w);
    case SSE__WRITER_RESTORE: return send_restore(w) < 0 ? -1 : 1;
    case SSE__WRITER_REMOVE: return send_remove(w) < 0 ? -1 : 1;
    default: return 0;
    }
}
