/* SPDX-License-Identifier: MIT */
/* client.c - the reader of a remote stream: what it is told, and what it wants
 * done. */
#include "client.h"

#include <string.h>

#define MAX_IN_FLIGHT (1024 * 1024) /* bytes that may come after a pause */

static void advance(sse__client *c, int64_t now_ms)
{
    if (now_ms > c->now_ms)
        c->now_ms = now_ms;
}

bool sse__client_held(const sse__client *c)
{
    return c->suspended || c->offline;
}

/* ---- Telling ------------------------------------------------------------- */

void sse__client_tell(sse__client *c, sse__client_item item)
{
    uint32_t          last = (c->notice_head + c->notice_count) % SSE__NOTICES;
    sse__client_item *before =
        &c->notices[(last + SSE__NOTICES - 1) % SSE__NOTICES];

    if (item.kind == SSE__TOLD_STATE && c->notice_count > 0 &&
        before->kind == SSE__TOLD_STATE) {
        before->state = item.state; /* nobody has seen the old one */
        return;
    }
    if (c->notice_count == SSE__NOTICES) {
        c->notice_head = (c->notice_head + 1) % SSE__NOTICES;
        c->notice_count--;
    }
    c->notices[last] = item;
    c->notice_count++;
}

static sse_conn_state state_of(const sse__client *c)
{
    if (c->phase == SSE__PHASE_IDLE || c->phase == SSE__PHASE_ENDED)
        return c->phase == SSE__PHASE_IDLE ? SSE_CONN_IDLE : SSE_CONN_ENDED;
    if (sse__client_held(c))
        return c->suspended ? SSE_CONN_SUSPENDED : SSE_CONN_OFFLINE;
    if (c->phase == SSE__PHASE_OPEN || c->phase == SSE__PHASE_OVER ||
        c->poll_open)
        return SSE_CONN_OPEN;
    return c->phase == SSE__PHASE_WAIT && c->due_ms > c->now_ms
               ? SSE_CONN_WAITING
               : SSE_CONN_CONNECTING;
}

void sse__client_update(sse__client *c)
{
    sse_conn_state state = state_of(c);

    if (state == c->told || c->told == SSE_CONN_ENDED)
        return;
    c->told = state;
    if (state != SSE_CONN_ENDED) /* the END item says that */
        sse__client_tell(
            c, (sse__client_item){.kind = SSE__TOLD_STATE, .state = state});
}

void sse__client_drop(sse__client *c, sse__request *request)
{
    if (request->generation)
        c->aborts[c->abort_count++] = request->generation;
    request->generation = 0;
}

static void drop_both(sse__client *c)
{
    sse__client_drop(c, &c->main);
    sse__client_drop(c, &c->next);
    c->paused = false;
}

void sse__client_finish(sse__client *c, sse_cause why)
{
    if (c->phase == SSE__PHASE_ENDED)
        return;
    drop_both(c);
    sse__client_drop_body(c);
    c->phase = SSE__PHASE_ENDED;
    c->renew = SSE__RENEWAL_NONE;
    sse__client_tell(c, (sse__client_item){.kind = SSE__TOLD_END,
                                           .why = why,
                                           .status = c->status,
                                           .generation = c->attempt});
    sse__client_update(c);
}

/* ---- What the application does ------------------------------------------- */

/* Gives up what is in flight, for a new attempt at once. */
void sse__client_begin_again(sse__client *c)
{
    drop_both(c);
    if (c->phase == SSE__PHASE_CONNECT || c->phase == SSE__PHASE_OPEN)
        c->phase = SSE__PHASE_WAIT;
    if (c->phase == SSE__PHASE_WAIT)
        c->due_ms = c->now_ms;
}

void sse__client_forget_failures(sse__client *c)
{
    sse__backoff_clear(&c->backoff);
    c->tries = 0;
    c->trouble_ms = SSE__UNKNOWN;
}

void sse__client_start(sse__client *c, int64_t now_ms, int64_t wall_ms)
{
    if (c->phase != SSE__PHASE_IDLE)
        return;
    c->now_ms = c->ticked_ms = c->due_ms = now_ms;
    c->skew_ms = wall_ms - now_ms;
    c->phase = SSE__PHASE_WAIT;
    c->recovery = c->o.flags & SSE__CLIENT_RECOVERY;
    sse__client_update(c);
}

static void hold(sse__client *c, int64_t now_ms, bool *what, bool on)
{
    bool held = sse__client_held(c);

    advance(c, now_ms);
    *what = on;
    if (on && !held) {
        sse__client_begin_again(c);
    } else if (held && !sse__client_held(c)) {
        sse__client_forget_failures(c);
        if (c->phase == SSE__PHASE_WAIT)
            c->due_ms = c->now_ms;
    }
    sse__client_update(c);
}

void sse__client_suspend(sse__client *c, int64_t now_ms)
{
    hold(c, now_ms, &c->suspended, true);
}

void sse__client_resume(sse__client *c, int64_t now_ms)
{
    hold(c, now_ms, &c->suspended, false);
}

void sse__client_offline(sse__client *c, int64_t now_ms)
{
    hold(c, now_ms, &c->offline, true);
}

void sse__client_online(sse__client *c, int64_t now_ms)
{
    hold(c, now_ms, &c->offline, false);
}

void sse__client_restart(sse__client *c, int64_t now_ms)
{
    advance(c, now_ms);
    if (c->phase == SSE__PHASE_OVER)
        c->phase = SSE__PHASE_WAIT;
    sse__client_begin_again(c);
    sse__client_update(c);
}

void sse__client_close(sse__client *c, int64_t now_ms)
{
    advance(c, now_ms);
    if (c->phase != SSE__PHASE_ENDED)
        c->notice_count = 0;
    c->status = 0;
    sse__client_finish(c, SSE_CAUSE_CLOSED);
}

void sse__client_renew_token(sse__client *c, int64_t now_ms)
{
    advance(c, now_ms);
    if (c->phase == SSE__PHASE_CONNECT) /* with the old one */
        sse__client_begin_again(c);
    if (c->phase == SSE__PHASE_WAIT)
        c->token_ready = false;
    if (c->phase == SSE__PHASE_OPEN && c->renew == SSE__RENEWAL_NONE &&
        !c->next.generation)
        c->renew = SSE__RENEWAL_WANTED;
}

void sse__client_token_ready(sse__client *c, int64_t now_ms, bool ok)
{
    advance(c, now_ms);
    if (c->phase == SSE__PHASE_ASK && c->ask == SSE__ACT_ASK_TOKEN) {
        c->token_ready = ok;
        c->phase = SSE__PHASE_WAIT;
        c->due_ms = c->now_ms;
        if (!ok)
            sse__client_over(c, SSE_CAUSE_TOKEN);
    } else if (c->renew == SSE__RENEWAL_ASKED) {
        c->renew = SSE__RENEWAL_READY;
        if (!ok)
            sse__client_renewal_failed(c, SSE_CAUSE_TOKEN, 0);
    }
    sse__client_update(c);
}

/* ---- What the network does ----------------------------------------------- */

static sse__request *find(sse__client *c, uint32_t generation)
{
    if (generation != 0 && generation == c->main.generation)
        return &c->main;
    return generation != 0 && generation == c->next.generation ? &c->next
                                                               : NULL;
}

void sse__client_on_connected(sse__client *c, uint32_t generation,
                              int64_t now_ms)
{
    sse__request *r = find(c, generation);

    advance(c, now_ms);
    if (!r || r->connected)
        return;
    r->connected = true;
    r->heard_ms = c->now_ms;
}

/* The body of `r` becomes the one that is read. Of the one before, all that
 * was not taken comes again: its ids lie behind the cursor that was sent. */
static int accept(sse__client *c, sse__request *r, uint32_t status)
{
    int rc = sse__client_begin_body(c);

    if (rc < 0)
        return rc;
    if (r == &c->next) {
        sse__client_drop(c, &c->main);
        c->main = c->next;
        c->next = (sse__request){0};
        c->attempt = c->main.generation;
    }
    if (!c->poll_open)
        sse__client_tell(
            c, (sse__client_item){.kind = SSE__TOLD_OPEN, .status = status});
    c->phase = SSE__PHASE_OPEN;
    c->opened_ms = c->main.heard_ms = c->now_ms;
    c->silent = 0;
    c->poll_open = c->poll;
    c->token_fresh = c->paused = false;
    return SSE_OK;
}

int sse__client_on_head(sse__client *c, uint32_t generation, int64_t now_ms,
                        int64_t wall_ms, const sse__head *head)
{
    sse__request *r = find(c, generation);
    sse__verdict  verdict;
    sse_cause     why;
    int           rc = SSE_OK;

    advance(c, now_ms);
    if (!r || (r == &c->main && c->phase != SSE__PHASE_CONNECT))
        return SSE_OK;
    if (c->poll &&
        sse__policy_head(c->o.profile, false, head, &why) == SSE__ACCEPT)
        c->poll = c->poll_open = false; /* it streams: so much the better */
    verdict = sse__policy_head(c->o.profile, c->poll, head, &why);
    if (verdict == SSE__ACCEPT) {
        rc = accept(c, r, head->status);
    } else if (r == &c->next) {
        sse__client_drop(c, r);
        sse__client_renewal_failed(c, why, head->status);
    } else {
        sse__client_drop(c, r);
        c->status = head->status;
        c->retry_after_ms = sse__retry_after_ms(head->retry_after,
                                                head->retry_after_len, wall_ms);
        if (verdict == SSE__DONE)
            sse__client_finish(c, why);
        else
            sse__client_over(c, why);
    }
    sse__client_update(c);
    return rc;
}

int sse__client_on_bytes(sse__client *c, uint32_t generation, int64_t now_ms,
                         const void *data, size_t len)
{
    sse__buf *to = c->poll ? &c->answer : &c->in;
    size_t    max = c->poll ? c->o.max_event_bytes : c->o.queue_bytes;
    int       rc;

    advance(c, now_ms);
    if (find(c, generation) != &c->main || c->phase != SSE__PHASE_OPEN ||
        len == 0)
        return SSE_OK;
    c->main.heard_ms = c->now_ms;
    if (to->len > 0 && to->len + len > max + MAX_IN_FLIGHT) {
        if (!c->poll)
            return SSE_ERR_LIMIT;
        sse__client_drop_body(c);
        sse__client_fail(c, SSE_CAUSE_TOO_BIG);
        return SSE_OK;
    }
    rc = sse__buf_add(to, data, len);
    sse__client_update(c);
    return rc;
}

int sse__client_on_end(sse__client *c, uint32_t generation, int64_t now_ms)
{
    sse_cause why = SSE_CAUSE_BODY_END;

    if (find(c, generation) != &c->main || c->phase != SSE__PHASE_OPEN) {
        sse__client_on_error(c, generation, now_ms, SSE_CAUSE_NETWORK);
        return SSE_OK;
    }
    advance(c, now_ms);
    if (c->poll) {
        int rc = sse__poll_read(&c->in, c->answer.data, c->answer.len);

        if (rc == SSE_ERR_NOMEM)
            return rc;
        c->answer.len = 0;
        if (rc < 0)
            why = SSE_CAUSE_BAD_ANSWER;
    }
    c->main.generation = 0;
    sse__client_over(c, why);
    sse__client_update(c);
    return SSE_OK;
}

void sse__client_on_error(sse__client *c, uint32_t generation, int64_t now_ms,
                          sse_cause why)
{
    sse__request *r = find(c, generation);

    advance(c, now_ms);
    if (r == &c->main) {
        r->generation = 0;
        sse__client_over(c, why);
    } else if (r) {
        sse__client_renewal_failed(c, why, 0);
    }
    sse__client_update(c);
}

int sse__client_next_item(sse__client *c, int64_t now_ms,
                          const sse__client_item **out)
{
    int rc = 0;

    *out = NULL;
    advance(c, now_ms);
    sse__client_settle(c);
    if (c->notice_count == 0 && c->phase != SSE__PHASE_ENDED) {
        rc = sse__client_read(c);
        if (rc == 0)
            sse__client_conclude(c);
        sse__client_update(c);
    }
    if (rc == 0 && c->notice_count > 0) {
        c->item = c->notices[c->notice_head];
        c->notice_head = (c->notice_head + 1) % SSE__NOTICES;
        c->notice_count--;
        rc = 1;
    }
    if (rc > 0)
        *out = &c->item;
    return rc;
}
