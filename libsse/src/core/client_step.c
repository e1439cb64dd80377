/* SPDX-License-Identifier: MIT */
/* client_step.c - what passing time means to the client, and what it wants
 * done next. */
#include "client.h"

#define FEW_NOTICES 4 /* no attempt while more than that are not taken */

static int64_t later(int64_t from_ms, uint32_t ms)
{
    return ms == SSE_NEVER ? SSE__NO_TIME : from_ms + ms;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- Time ---------------------------------------------------------------- */

/* When a request without a head has taken too long. */
static int64_t head_limit(const sse__client *c, const sse__request *r)
{
    if (!r->connected)
        return later(r->started_ms, c->o.connect_ms);
    return later(r->heard_ms, c->poll ? c->o.poll_ms : c->o.first_byte_ms);
}

static sse_cause late_head(const sse__request *r)
{
    return r->connected ? SSE_CAUSE_NO_ANSWER : SSE_CAUSE_CONNECT;
}

/* Nothing is expected of a body that is not being read. */
static int64_t stall_limit(const sse__client *c)
{
    if (c->paused)
        return SSE__NO_TIME;
    return later(c->main.heard_ms, c->poll ? c->o.poll_ms : c->o.stall_ms);
}

int64_t sse__client_deadline(const sse__client *c)
{
    int64_t watch = later(c->ticked_ms, c->o.watch_ms);
    int64_t at = SSE__NO_TIME;

    if (c->next.generation)
        at = head_limit(c, &c->next);
    switch (c->phase) {
    case SSE__PHASE_CONNECT: at = sooner(at, head_limit(c, &c->main)); break;
    case SSE__PHASE_OPEN: at = sooner(at, stall_limit(c)); break;
    case SSE__PHASE_WAIT:
        if (sse__client_held(c) || c->due_ms <= c->now_ms)
            return SSE__NO_TIME;
        at = c->due_ms;
        break;
    default: return at;
    }
    return sooner(at, watch);
}

/* The machine slept: what was open is dead, though nobody has said so. */
static void jump(sse__client *c)
{
    sse__client_forget_failures(c);
    if (c->phase != SSE__PHASE_WAIT)
        sse__client_begin_again(c);
    else if (c->retry_after_ms == SSE__UNKNOWN && c->due_ms > c->now_ms)
        c->due_ms = c->now_ms;
}

static void expire(sse__client *c)
{
    if (c->next.generation && c->now_ms >= head_limit(c, &c->next)) {
        sse__client_drop(c, &c->next);
        sse__client_renewal_failed(c, late_head(&c->next), 0);
    }
    if (c->phase == SSE__PHASE_CONNECT &&
        c->now_ms >= head_limit(c, &c->main)) {
        sse__client_drop(c, &c->main);
        sse__client_over(c, late_head(&c->main));
    } else if (c->phase == SSE__PHASE_OPEN && c->now_ms >= stall_limit(c)) {
        sse__client_drop(c, &c->main);
        sse__client_over(c, SSE_CAUSE_STALLED);
    }
}

void sse__client_tick(sse__client *c, int64_t now_ms, int64_t wall_ms)
{
    int64_t expected = sse__client_deadline(c);
    int64_t skew = wall_ms - now_ms;
    bool    late = expected != SSE__NO_TIME && now_ms > expected &&
                now_ms - expected > c->o.jump_ms;
    bool skewed = skew - c->skew_ms > c->o.jump_ms;

    if (c->phase == SSE__PHASE_IDLE || c->phase == SSE__PHASE_ENDED)
        return;
    if (now_ms > c->now_ms)
        c->now_ms = now_ms;
    c->ticked_ms = c->now_ms;
    c->skew_ms = skew;
    if ((late || skewed) && c->o.jump_ms != SSE_NEVER && !sse__client_held(c))
        jump(c);
    else
        expire(c);
    sse__client_update(c);
}

/* ---- Actions ------------------------------------------------------------- */

static bool header_safe(const sse__buf *id)
{
    for (size_t i = 0; i < id->len; i++)
        if ((unsigned char)id->data[i] < 0x20 || id->data[i] == 0x7f)
            return false;
    return true;
}

/* Whether two bodies can be joined without doubt: by ids. */
static bool may_overlap(const sse__client *c)
{
    return c->o.profile != SSE_PROFILE_STRICT && c->recent.size > 0 &&
           !c->poll && !c->astray && c->last_id.len > 0 &&
           header_safe(&c->last_id);
}

/* Between the two marks, all stays as it is. */
static bool pause_due(const sse__client *c)
{
    bool pause = c->paused ? c->in.len > c->o.queue_bytes / 2
                           : c->in.len >= c->o.queue_bytes;

    return c->phase == SSE__PHASE_OPEN && !c->poll && pause != c->paused;
}

/* The next attempt, once everything of the last one has been taken. */
static bool attempt_due(const sse__client *c)
{
    return c->phase == SSE__PHASE_WAIT && !sse__client_held(c) &&
           c->due_ms <= c->now_ms && c->notice_count <= FEW_NOTICES &&
           sse__client_drained(c);
}

static bool renewal_due(const sse__client *c)
{
    return c->phase == SSE__PHASE_OPEN && c->notice_count <= FEW_NOTICES &&
           (c->renew == SSE__RENEWAL_WANTED || c->renew == SSE__RENEWAL_READY);
}

bool sse__client_has_action(const sse__client *c)
{
    return c->abort_count > 0 || pause_due(c) || attempt_due(c) ||
           renewal_due(c) || (c->phase == SSE__PHASE_ASK && !c->asked);
}

bool sse__client_asks(const sse__client *c, sse__act what)
{
    return (c->phase == SSE__PHASE_ASK && c->ask == what && c->asked) ||
           (what == SSE__ACT_ASK_TOKEN && c->renew == SSE__RENEWAL_ASKED);
}

static bool told_abort(sse__client *c, sse__action *out)
{
    if (c->abort_count == 0)
        return false;
    *out = (sse__action){.kind = SSE__ACT_ABORT, .generation = c->aborts[0]};
    c->aborts[0] = c->aborts[1];
    c->abort_count--;
    return true;
}

static bool told_pause(sse__client *c, sse__action *out)
{
    if (!pause_due(c))
        return false;
    c->paused = !c->paused;
    c->main.heard_ms = c->now_ms;
    *out = (sse__action){.kind = c->paused ? SSE__ACT_PAUSE : SSE__ACT_RESUME,
                         .generation = c->main.generation};
    return true;
}

static void connect(sse__client *c, sse__request *r, sse__action *out)
{
    bool sendable = header_safe(&c->last_id);

    if (++c->generation == 0)
        c->generation = 1;
    if (r == &c->main)
        c->attempt = c->generation;
    else
        c->next_attempt = c->generation;
    *r = (sse__request){
        .generation = c->generation,
        .started_ms = c->now_ms,
        .heard_ms = c->now_ms,
    };
    *out = (sse__action){
        .kind = SSE__ACT_CONNECT,
        .generation = c->generation,
        .cursor = c->last_id.len > 0 ? c->last_id.data : "",
        .cursor_len = sendable ? c->last_id.len : 0,
        .poll = c->poll,
        .overlap = r == &c->next,
    };
}

static bool ask(sse__client *c, sse__act what, sse__action *out)
{
    c->phase = SSE__PHASE_ASK;
    c->ask = what;
    c->asked = true;
    *out = (sse__action){
        .kind = what,
        .fresh = c->token_fresh,
        .why = c->why,
        .status = c->status,
        .verdict = c->verdict,
    };
    return true;
}

static bool told_attempt(sse__client *c, sse__action *out)
{
    if (!attempt_due(c))
        return false;
    c->status = c->body_events = 0;
    c->opened_ms = c->retry_after_ms = SSE__UNKNOWN;
    c->main.started_ms = c->now_ms;
    if (c->recovery)
        return ask(c, SSE__ACT_ASK_RECOVERY, out);
    if (c->o.flags & SSE_CLIENT_TOKEN && !c->token_ready) {
        bool asked = c->renew == SSE__RENEWAL_ASKED;

        c->renew = SSE__RENEWAL_NONE;
        return ask(c, SSE__ACT_ASK_TOKEN, out) && !asked;
    }
    c->renew = SSE__RENEWAL_NONE;
    c->token_ready = false;
    c->phase = SSE__PHASE_CONNECT;
    connect(c, &c->main, out);
    return true;
}

/* The one case of two requests at a time: the new one has until its head, and
 * no longer than an attempt may take, to replace the old one. */
static bool told_renewal(sse__client *c, sse__action *out)
{
    bool wanted = c->renew == SSE__RENEWAL_WANTED;

    if (!renewal_due(c))
        return false;
    if (!may_overlap(c)) {
        c->token_ready = !wanted;
        c->renew = SSE__RENEWAL_NONE;
        sse__client_begin_again(c);
        return told_abort(c, out);
    }
    if (wanted && c->o.flags & SSE_CLIENT_TOKEN) {
        c->renew = SSE__RENEWAL_ASKED;
        *out = (sse__action){.kind = SSE__ACT_ASK_TOKEN, .fresh = true};
        return true;
    }
    c->renew = SSE__RENEWAL_NONE;
    connect(c, &c->next, out);
    return true;
}

bool sse__client_next_action(sse__client *c, sse__action *out)
{
    bool told = told_abort(c, out) || told_pause(c, out);

    if (!told && c->phase == SSE__PHASE_ASK && !c->asked)
        told = ask(c, c->ask, out);
    if (!told)
        told = told_attempt(c, out) || told_renewal(c, out);
    sse__client_update(c);
    return told;
}
