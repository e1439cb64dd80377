/* SPDX-License-Identifier: MIT */
/* ask.c - requests that wait for the store's answer. The loop never does. */
#include "handlers.h"
#include "stream.h"

#include "../store/store.h"

static sse_server *server_of(const sse_request *r)
{
    return r->conn->server;
}

/* The store's thread, with the lock: the loop will look. */
static void answered(sse__op *op)
{
    sse_server *s = server_of(op->user);

    sse__list_add(&s->answers, &op->link);
    sse__port_wake(&s->door->door.port);
}

/* The caller went away while the store was thinking. */
static void abandon(sse_request *r, void *unused)
{
    sse_hub *hub = server_of(r)->hub;
    sse__op *op = r->op;

    (void)unused;
    r->op = NULL;
    if (sse__hub_enter(hub) < 0)
        return;
    if (op->finished) {
        sse__list_drop(&op->link);
        sse__op_free(op);
    } else {
        op->abandoned = true;
    }
    sse__hub_leave(hub);
}

/* A little more than the engine has. With the lock. */
static void set_ceiling(sse_request *r, const sse__op *op)
{
    int64_t now_ms = server_of(r)->hub->core.mono_ms;
    int64_t ms = op->by_ms - now_ms + SSE__STORE_SLACK_MS;

    sse__server_set_timer(server_of(r), &r->conn->timer,
                          ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX);
}

void sse__ask(sse_request *r, sse__op *op,
              void (*then)(sse_request *r, sse__op *op))
{
    sse_hub *hub = server_of(r)->hub;

    r->op = op;
    r->then = then;
    r->held = true;
    r->gone = abandon;
    r->conn->state = SSE__CONN_HELD;
    op->done = answered;
    op->user = r;
    set_ceiling(r, op);
    hub->store->ops->submit(hub->store, op);
    hub->store->ops->ring(hub->store);
}

static void give_answer(sse_request *r)
{
    sse_hub *hub = server_of(r)->hub;
    sse__op *op = r->op;
    void (*then)(sse_request *, sse__op *) = r->then;

    r->op = NULL;
    sse__timer_drop(&r->conn->timer);
    sse__request_let_go(r);
    then(r, op);
    if (sse__hub_enter(hub) < 0)
        return;
    sse__op_free(op);
    sse__hub_leave(hub);
}

void sse__ask_answers(sse_server *s)
{
    for (;;) {
        sse__op *op = NULL;

        if (sse__hub_enter(s->hub) < 0)
            return;
        if (!sse__list_empty(&s->answers)) {
            op = SSE__OWNER(s->answers.next, sse__op, link);
            sse__list_drop(&op->link);
        }
        sse__hub_leave(s->hub);
        if (!op)
            return;
        give_answer(op->user);
    }
}

/* An engine answers in time, if only that the store did not. Should it not, no
 * caller waits for ever. */
void sse__ask_give_up(sse_request *r)
{
    abandon(r, NULL);
    sse__request_let_go(r);
    sse__respond_err(r, SSE_ERR_STORE);
}

/* ---- Streams that must be fetched first ---- */

static void fetched(sse_request *r, sse__op *op)
{
    r->fetched = true;
    if (op->rc < 0 && op->rc != SSE_ERR_NOT_FOUND)
        sse__respond_err(r, op->rc);
    else
        r->again(r); /* which says by itself that there is none */
}

void sse__ask_and_go_on(sse_request *r, sse__op *op,
                        void (*again)(sse_request *r))
{
    r->again = again;
    sse__ask(r, op, fetched);
}

/* With the lock. An op when the store must be asked. */
static int fetch_op(sse_request *r, const sse__cursor *cursor,
                    sse__ask_for what, sse__op **out)
{
    sse_hub           *hub = server_of(r)->hub;
    const sse__stream *s = sse__hub_find(&hub->core, r->id.data, r->id.len);
    bool               fresh = what == SSE__ASK_NOW && sse__store_may_lag(s);

    *out = NULL;
    if (s && !fresh && (what == SSE__ASK_WHAT || sse__store_covers(s, cursor)))
        return SSE_OK;
    *out = sse__op_new(SSE__OP_FETCH, r->id.data, r->id.len,
                       sse__store_answer_by(hub));
    if (!*out)
        return SSE_ERR_NOMEM;
    (*out)->cursor = *cursor;
    (*out)->look = what == SSE__ASK_WHAT;
    (*out)->fresh = fresh;
    return SSE_OK;
}

bool sse__ask_for_stream(sse_request *r, const char *cursor, size_t cursor_len,
                         sse__ask_for what, void (*again)(sse_request *r))
{
    sse_hub    *hub = server_of(r)->hub;
    sse__cursor at = {.kind = SSE__CURSOR_NEW};
    sse__op    *op = NULL;
    int         rc;

    if (!hub->store || r->fetched || server_of(r)->closing)
        return false;
    if (what != SSE__ASK_WHAT && sse__cursor_parse(&at, cursor, cursor_len) < 0)
        what = SSE__ASK_WHAT; /* whether there is such a stream is said first */
    if ((rc = sse__hub_enter(hub)) == SSE_OK) {
        if ((rc = fetch_op(r, &at, what, &op)) == SSE_OK && op)
            sse__ask_and_go_on(r, op, again);
        sse__hub_leave(hub);
    }
    if (rc < 0)
        sse__respond_err(r, rc);
    return rc < 0 || op;
}
