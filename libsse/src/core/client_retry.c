/* SPDX-License-Identifier: MIT */
/* client_retry.c - what follows the end of a request. */
#include "client.h"

#include "random.h"

static void tell_error(sse__client *c, uint32_t generation, sse_cause why,
                       uint32_t status)
{
    sse__client_tell(c, (sse__client_item){.kind = SSE__TOLD_ERROR,
                                           .why = why,
                                           .status = status,
                                           .generation = generation});
}

void sse__client_renewal_failed(sse__client *c, sse_cause why, uint32_t status)
{
    c->next = (sse__request){0};
    c->renew = SSE__RENEWAL_NONE;
    tell_error(c, c->next_attempt, why, status);
    c->next_attempt = 0;
}

static uint32_t base_ms(const sse__client *c)
{
    const sse__backoff *b = &c->backoff;

    return b->base_ms > b->floor_ms ? b->base_ms : b->floor_ms;
}

/* EventSource comes back after exactly the reconnection time; only failures
 * that follow each other make it wait longer. */
static int64_t pick_delay(sse__client *c)
{
    bool clean = c->why == SSE_CAUSE_BODY_END;

    if (c->o.profile != SSE_PROFILE_STRICT ||
        (!clean && c->backoff.attempts > 0))
        return sse__backoff_next(&c->backoff, sse__random_next(&c->random));
    c->backoff.attempts += !clean;
    return base_ms(c);
}

/* What Retry-After adds to a delay. It holds once, and only so far. */
static int64_t obey(const sse__client *c, int64_t delay_ms)
{
    int64_t asked = c->retry_after_ms;

    if (asked > c->o.retry_after_cap_ms)
        asked = c->o.retry_after_cap_ms;
    return asked > delay_ms ? asked : delay_ms;
}

static void schedule(sse__client *c)
{
    uint32_t max = c->o.max_attempts, budget = c->o.budget_ms;

    if (max != SSE_NEVER && c->tries >= max) {
        sse__client_finish(c, SSE_CAUSE_ATTEMPTS);
        return;
    }
    c->due_ms = c->ended_ms + obey(c, pick_delay(c));
    if (budget != SSE_NEVER && c->trouble_ms != SSE__UNKNOWN &&
        c->due_ms - c->trouble_ms > budget) {
        sse__client_finish(c, SSE_CAUSE_BUDGET);
        return;
    }
    c->phase = SSE__PHASE_WAIT;
    sse__client_tell(
        c, (sse__client_item){.kind = SSE__TOLD_RETRY_AT, .at_ms = c->due_ms});
}

static void act_on(sse__client *c, sse__verdict verdict)
{
    bool may_renew = c->o.flags & SSE_CLIENT_TOKEN && !c->token_fresh;

    if (verdict == SSE__RENEW && !may_renew)
        verdict = SSE__STOP;
    if (verdict == SSE__DONE) {
        sse__client_finish(c, c->why);
        return;
    }
    tell_error(c, c->attempt, c->why, c->status);
    if (verdict == SSE__STOP) {
        sse__client_finish(c, c->why);
    } else if (verdict == SSE__RENEW) {
        c->token_fresh = true;
        c->due_ms = c->ended_ms;
        c->phase = SSE__PHASE_WAIT;
    } else {
        schedule(c);
    }
}

/* A failure counts against the budgets only if nothing was gained before it;
 * the delays shrink again only after more than that. */
static void count_progress(sse__client *c)
{
    bool opened = c->opened_ms != SSE__UNKNOWN;
    bool clean = opened && c->why == SSE_CAUSE_BODY_END;
    bool healthy = (opened && c->o.healthy_ms != SSE_NEVER &&
                    c->ended_ms - c->opened_ms >= c->o.healthy_ms) ||
                   c->body_events >= c->o.healthy_events ||
                   (clean && c->body_events > 0);

    if (healthy)
        sse__backoff_clear(&c->backoff);
    if (healthy || clean || c->body_events > 0) {
        c->tries = 0;
        c->trouble_ms = SSE__UNKNOWN;
        return;
    }
    c->tries++;
    if (c->trouble_ms == SSE__UNKNOWN)
        c->trouble_ms = c->main.started_ms;
}

/* The next long poll, at once when this one brought something; or a stream
 * again, when it is time to see whether one gets through by now. */
static void poll_again(sse__client *c)
{
    c->phase = SSE__PHASE_WAIT;
    c->due_ms = c->ended_ms;
    c->token_ready = true;
    if (c->body_events == 0 && c->due_ms < c->main.started_ms + base_ms(c))
        c->due_ms = c->main.started_ms + base_ms(c);
    if (c->o.poll_period_ms == SSE_NEVER ||
        c->ended_ms - c->poll_since_ms < c->o.poll_period_ms)
        return;
    c->poll = c->poll_open = false;
    c->silent = 1; /* one more without an answer is enough */
}

/* The request that was to take over has to do it now. */
static void promote(sse__client *c)
{
    tell_error(c, c->attempt, c->why, c->status);
    c->attempt = c->next.generation;
    c->main = c->next;
    c->next = (sse__request){0};
    c->opened_ms = SSE__UNKNOWN;
    c->retry_after_ms = SSE__UNKNOWN;
    c->body_events = 0;
    c->status = 0;
    c->phase = SSE__PHASE_CONNECT;
}

static sse__verdict judge(sse__client *c)
{
    sse__verdict verdict = sse__policy_error(c->o.profile, c->why, c->status);

    if (verdict != SSE__RETRY || c->o.profile != SSE_PROFILE_FINITE ||
        c->body_events == 0 || c->last_id.len > 0)
        return verdict;
    c->why = SSE_CAUSE_NO_CURSOR; /* the answer would begin again */
    return SSE__STOP;
}

void sse__client_conclude(sse__client *c)
{
    if (c->phase != SSE__PHASE_OVER || !sse__client_drained(c))
        return;
    if (c->unproved)
        sse__client_tell(c, (sse__client_item){.kind = SSE__TOLD_GAP,
                                               .from = SSE__UNKNOWN,
                                               .to = SSE__UNKNOWN,
                                               .missed = SSE__UNKNOWN,
                                               .gap = SSE_GAP_UNANNOUNCED});
    c->unproved = false;
    if (c->next.generation) {
        promote(c);
        return;
    }
    count_progress(c);
    if (c->poll && c->poll_open && c->why == SSE_CAUSE_BODY_END) {
        poll_again(c);
        return;
    }
    c->poll_open = false;
    c->verdict = judge(c);
    if (!(c->o.flags & SSE_CLIENT_DECIDE) || c->verdict == SSE__DONE) {
        act_on(c, c->verdict);
        return;
    }
    c->phase = SSE__PHASE_ASK;
    c->ask = SSE__ACT_ASK_DECISION;
    c->asked = false;
}

void sse__client_decide(sse__client *c, int64_t now_ms, sse__verdict verdict)
{
    if (c->phase != SSE__PHASE_ASK || c->ask != SSE__ACT_ASK_DECISION)
        return;
    if (now_ms > c->now_ms)
        c->now_ms = now_ms;
    if (verdict < SSE__RETRY || verdict > SSE__DONE)
        verdict = c->verdict;
    act_on(c, verdict);
    sse__client_update(c);
}

void sse__client_over(sse__client *c, sse_cause why)
{
    c->why = why;
    c->ended_ms = c->now_ms;
    c->phase = SSE__PHASE_OVER;
    c->paused = false;
    c->silent = why == SSE_CAUSE_NO_ANSWER ? c->silent + 1 : 0;
    if (c->o.flags & SSE_CLIENT_POLL && c->silent >= 2 && !c->poll) {
        c->poll = true;
        c->poll_open = false;
        c->poll_since_ms = c->now_ms;
    }
    sse__client_conclude(c);
}

void sse__client_fail(sse__client *c, sse_cause why)
{
    if (c->phase == SSE__PHASE_OPEN) {
        sse__client_drop(c, &c->main);
        sse__client_over(c, why);
    } else if (c->phase == SSE__PHASE_OVER) {
        c->why = why;
        sse__client_conclude(c);
    } else if (why == SSE_CAUSE_TOO_BIG) {
        sse__client_finish(c, why); /* it would come again */
    }
}
