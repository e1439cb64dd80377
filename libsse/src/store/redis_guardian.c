/* SPDX-License-Identifier: MIT */
/* redis_guardian.c - sweeps, claims, and what becomes of orphans.
 *
 * A claim is a stream's new place among the active: whoever settles it shows
 * it, and any life sign or other guardian in between has changed it. So any
 * number of hubs may sweep at any time. */
#include "redis_guardian.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "redis_writer.h"

#define CLAIMS_AT_ONCE 50u
#define CLAIMS_MAX 10000u
#define SETTLE_MS 5000 /* for those that nobody is asked about */
#define OTHERS_MS 6000 /* by then other hubs, too, have found Redis again */
#define AGAIN_MS 200   /* a sweep that was refused */

typedef struct claim {
    sse__map_node node;
    int64_t       until_ms; /* then others may take it                      */
    uint32_t      state;    /* it has ended so, and only the state is amiss */
    char         *score;
    char          id[];
} claim;

/* A producer is lost after two leases without a life sign. */
static uint32_t stale_ms(const sse__redis *r)
{
    return 2 * r->base.opts.lease_ms;
}

/* For as long a claim holds. */
static uint32_t claim_ms(const sse__redis *r)
{
    return 3 * r->base.opts.lease_ms;
}

/* ---- Claims ---- */

static claim *find_claim(const sse__redis *r, const char *id, size_t len)
{
    sse__map_node *node = sse__map_get(&r->claims, id, len);

    return node ? SSE__OWNER(node, claim, node) : NULL;
}

static void drop_claim(sse__redis *r, claim *c)
{
    if (!c)
        return;
    sse__map_drop(&r->claims, &c->node);
    sse__free(c->score);
    sse__free(c);
}

static claim *add_claim(sse__redis *r, sse__text id, sse__text score)
{
    claim *c;

    drop_claim(r, find_claim(r, id.text, id.len));
    if (r->claims.count >= CLAIMS_MAX ||
        !(c = sse__calloc(1, sizeof(*c) + id.len)))
        return NULL;
    memcpy(c->id, id.text, id.len);
    c->score = sse__memdup(score.text, score.len);
    if (!c->score || sse__map_add(&r->claims, &c->node, c->id, id.len) < 0) {
        sse__free(c->score);
        sse__free(c);
        return NULL;
    }
    c->until_ms = sse__redis_now(r) + claim_ms(r);
    return c;
}

/* The first of a bucket, for as long as there is one; NULL when none is left. */
static claim *any_claim(const sse__redis *r)
{
    for (uint32_t i = 0; i < r->claims.size && r->claims.count > 0; i++)
        if (r->claims.buckets[i])
            return SSE__OWNER(r->claims.buckets[i], claim, node);
    return NULL;
}

static void drop_old_claims(sse__redis *r)
{
    for (uint32_t i = 0; i < r->claims.size && r->claims.count > 0; i++) {
        sse__map_node *next;

        for (sse__map_node *n = r->claims.buckets[i]; n; n = next) {
            claim *c = SSE__OWNER(n, claim, node);

            next = n->next;
            if (c->until_ms < sse__redis_now(r))
                drop_claim(r, c);
        }
    }
}

void sse__guardian_close(sse__redis *r)
{
    claim *c;

    while ((c = any_claim(r)))
        drop_claim(r, c);
    sse__map_free(&r->claims);
}

/* ---- Settling ---- */

static void form_unheard(sse__job *job, const char *state)
{
    sse__redis *r = job->engine;
    sse__op    *op = job->op;

    sse__call_begin(r, SSE__REDIS_SETTLE);
    sse__call_keys(r, op->id, op->id_len);
    sse__call_text(r, op->id, op->id_len);
    sse__call_str(r, job->text);
    sse__call_str(r, state);
    sse__call_u64(r, r->base.opts.sweep_ms == SSE_NEVER
                         ? stale_ms(r)
                         : r->base.opts.sweep_ms);
    sse__call_u64(r, r->keep.stream);
    sse__call_u64(r, r->keep.meta);
    sse__call_channel(r, op->id, op->id_len);
}

bool sse__guardian_form(sse__job *job)
{
    sse__op *op = job->op;
    claim   *c = find_claim(job->engine, op->id, op->id_len);

    if (!job->text) { /* the first try */
        if (!c) {
            sse__job_finish(job, SSE_ERR_NOT_FOUND);
            return false;
        }
        if (!sse__job_keep(job, (sse__text){c->score, strlen(c->score)}))
            return false;
    }
    if (op->row_count > 0)
        sse__job_form_append(job, "", job->text, op->state);
    else if (op->state == SSE_STATE_ACTIVE)
        form_unheard(job, "orphaned");
    else
        form_unheard(job, sse_state_name((int)op->state));
    return true;
}

void sse__guardian_settled(sse__job *job, const redisReply *reply)
{
    sse__redis *r = job->engine;
    bool   done = sse__reply_is(reply, "ok") || sse__reply_is(reply, "dup");
    claim *c = find_claim(r, job->op->id, job->op->id_len);

    if (c && strcmp(c->score, job->text) == 0)
        drop_claim(r, c);
    if (done && job->op->state != SSE_STATE_ACTIVE)
        r->counters.settled++;
    sse__job_finish(job, done ? SSE_OK : SSE_ERR_NOT_FOUND);
}

/* ---- Orphans ---- */

/* Nobody is asked: it has failed, or what its end says. */
static void settle(sse__redis *r, const claim *c, bool ended)
{
    static const char    data[] = "{\"reason\":\"producer lost\"}";
    const sse__new_event last = {"failed", 6, data, sizeof(data) - 1};
    sse__op *op = sse__op_new(SSE__OP_SETTLE, c->id, c->node.key_len,
                              sse__redis_now(r) + SETTLE_MS);

    if (!op)
        return; /* a later sweep finds it again */
    op->state = ended ? c->state : SSE_STATE_FAILED;
    if (!ended && sse__op_add_rows(op, r->base.hub, &last, 1) < 0) {
        sse__op_free(op);
        return;
    }
    sse__redis_begin(r, op);
}

static void tell(sse__redis *r, const redisReply *entry)
{
    sse__text id = sse__reply_text(entry, 0), user = sse__reply_text(entry, 4);
    sse__text kind = sse__reply_text(entry, 5);
    sse__text started = sse__reply_text(entry, 6);
    sse__text beat = sse__reply_text(entry, 7);
    sse__text metadata = sse__reply_text(entry, 8);
    const sse_stream_info info = {
        .state = SSE_STATE_ORPHANED,
        .id = id.text,
        .id_len = id.len,
        .owner = user.text,
        .owner_len = user.len,
        .kind = kind.text,
        .kind_len = kind.len,
        .metadata = metadata.text,
        .metadata_len = metadata.len,
        .created_ms = sse__iso_parse(started.text, started.len),
        .active_ms = sse__iso_parse(beat.text, beat.len),
    };

    (void)sse__store_tell_orphan(r->base.hub, &info);
}

/* A stream of ours that was late with its life sign is no orphan. */
static bool is_ours(sse__redis *r, sse__text id)
{
    sse__writer *w = sse__writer_find(r, id.text, id.len);

    if (!w || !sse__writer_beats(w))
        return false;
    w->beat_ms = 0;
    r->beat_ms = sse__redis_now(r);
    return true;
}

/* {id, claim, state, owner, user, type, startedAt, lastHeartbeat, metadata,
 * final type} */
static void got_orphan(sse__redis *r, const redisReply *entry)
{
    sse__text id = sse__reply_text(entry, 0);
    sse__text final = sse__reply_text(entry, 9);
    claim    *c;

    r->counters.claimed++;
    if (is_ours(r, id) || !(c = add_claim(r, id, sse__reply_text(entry, 1))))
        return;
    if (final.len > 0) {
        c->state = sse__state_of(final);
        if (c->state == SSE_STATE_ACTIVE || c->state > SSE_STATE_CANCELLED)
            c->state = SSE_STATE_COMPLETED; /* an end by another name */
        settle(r, c, true);
    } else if (r->base.hub->core.guardian) {
        tell(r, entry);
    } else {
        settle(r, c, false);
    }
}

/* ---- Sweeps ---- */

static void plan(sse__redis *r, uint32_t ms)
{
    int64_t due_ms = sse__redis_now(r) + ms;

    r->sweeping = false;
    if (r->sweep_ms < due_ms)
        r->sweep_ms = due_ms;
}

/* Up to a quarter earlier, so that hubs do not sweep together. */
static void plan_next(sse__redis *r)
{
    uint32_t ms = r->base.opts.sweep_ms;
    uint64_t random = sse__hub_random(&r->base.hub->core);

    plan(r, ms - (uint32_t)(random % (ms / 4 + 1)));
}

static void got_claims(void *user, const redisReply *reply);

static void send_claim(sse__redis *r)
{
    sse__call_begin(r, SSE__REDIS_CLAIM);
    sse__call_key(r, "active", "", 0, "");
    sse__call_name(r, "stream:", "", 0);
    sse__call_name(r, "completion:", "", 0);
    sse__call_u64(r, stale_ms(r));
    sse__call_u64(r, claim_ms(r));
    sse__call_u64(r, CLAIMS_AT_ONCE);
    if (sse__call_send(r, got_claims, r) < 0)
        plan(r, AGAIN_MS);
}

static void got_claims(void *user, const redisReply *reply)
{
    sse__redis *r = user;
    size_t      taken = reply && reply->elements > 2 ? reply->elements - 2 : 0;

    if (!reply) {
        plan(r, AGAIN_MS);
        return;
    }
    for (size_t i = 0; i < taken; i++)
        got_orphan(r, reply->element[i + 2]);
    if (taken + sse__reply_u64(reply, 1) >= CLAIMS_AT_ONCE &&
        r->claims.count < CLAIMS_MAX && sse__redis_room(r) > 0)
        send_claim(r);
    else
        plan_next(r);
}

/* Hubs that ask nobody leave orphans to those that do. */
static void got_mark(void *user, int err, const redisReply *reply)
{
    sse__redis *r = user;

    sse__redis_enter(r);
    if (err < 0)
        plan(r, AGAIN_MS);
    else if (reply->type == REDIS_REPLY_NIL)
        send_claim(r);
    else
        plan_next(r);
    sse__redis_leave(r);
}

static int send_mark(sse__redis *r, const char *const *words, size_t count,
                     sse__redis_reply_fn *fn)
{
    char        key[SSE__REDIS_PREFIX_BYTES + 16];
    const char *argv[8];

    snprintf(key, sizeof(key), "%sguardian", r->prefix);
    for (size_t i = 0; i < count; i++)
        argv[i] = words[i] ? words[i] : key;
    return sse__redis_send(r->commands, (uint32_t)count, argv, NULL, fn, r);
}

static void look_for_mark(sse__redis *r)
{
    static const char *const words[] = {"GET", NULL};

    if (send_mark(r, words, 2, got_mark) < 0)
        plan(r, AGAIN_MS);
}

/* Other hubs see that this one asks its application. */
static void leave_mark(sse__redis *r)
{
    char              ttl[16];
    const char *const words[] = {"SET", NULL, r->node, "PX", ttl};
    uint32_t          sweep_ms =
        r->base.opts.sweep_ms == SSE_NEVER ? 0 : r->base.opts.sweep_ms;

    snprintf(ttl, sizeof(ttl), "%llu",
             2ull * sweep_ms + 3ull * r->base.opts.lease_ms);
    (void)send_mark(r, words, 5, NULL);
    r->mark_ms = sse__redis_now(r) + r->base.opts.lease_ms / 3;
}

void sse__guardian_wait(sse__redis *r, bool was_up)
{
    uint32_t ms = stale_ms(r);

    if (was_up && ms < OTHERS_MS)
        ms = OTHERS_MS;
    if (r->sweep_ms < sse__redis_now(r) + ms)
        r->sweep_ms = sse__redis_now(r) + ms;
}

void sse__guardian_tick(sse__redis *r)
{
    int64_t now_ms = sse__redis_now(r);

    if (!r->commands_up || r->closing || sse__redis_room(r) < 2)
        return;
    if (r->base.hub->core.guardian && r->mark_ms <= now_ms &&
        r->base.opts.sweep_ms != SSE_NEVER)
        leave_mark(r);
    if (r->sweeping || r->sweep_ms > now_ms)
        return;
    r->sweeping = true;
    drop_old_claims(r);
    if (r->base.hub->core.guardian)
        send_claim(r);
    else
        look_for_mark(r);
}

int64_t sse__guardian_due_ms(const sse__redis *r)
{
    int64_t due = r->sweeping ? INT64_MAX : r->sweep_ms;

    if (!r->commands_up || r->closing || sse__redis_room(r) < 2 ||
        r->base.opts.sweep_ms == SSE_NEVER)
        return INT64_MAX; /* there is a turn when that changes */
    return r->base.hub->core.guardian && r->mark_ms < due ? r->mark_ms : due;
}
