/* SPDX-License-Identifier: MIT */
/* reader.c - readers on connections: one place that flushes them all. */
#include <stdio.h>
#include <string.h>

#include "handlers.h"
#include "stream.h"

#define TAKES_PER_FLUSH 4096
#define TURNS 16
#define SMALL_TAKE 1024u

static const char CRLF[] = "\r\n";
static const char LAST_CHUNK[] = "\r\n0\r\n\r\n";

/* ---- Opening ---- */

static const char *cursor_of(sse_request *r, size_t *len)
{
    const char *cursor = sse__request_find(r, "last-event-id", len);

    if (*len > 0)
        return cursor;
    return sse_request_query_value(r, "last_event_id", 13, len);
}

static bool is_poll(sse_request *r)
{
    size_t      len;
    const char *how = sse_request_query_value(r, "transport", 9, &len);

    return len == 4 && memcmp(how, "poll", 4) == 0;
}

/* What a request wants of a stream. */
typedef enum wanted { STREAM, POLL, LOOK } wanted;

/* What a subscription would come to. */
static int look(sse__conn *c, sse__stream *s, const char *cursor, size_t len)
{
    const sse__hub *h = s->hub;
    int             rc = sse__subscriber_look(&c->sub, s, cursor, len);

    if (rc == SSE_OK && h->counters.subscribers >= h->opts.max_subscribers)
        return SSE_ERR_LIMIT;
    return rc;
}

static int subscribe(sse_request *r, wanted how)
{
    sse__conn             *c = r->conn;
    sse_server            *s = c->server;
    sse_subscriber_options opts = {.size = sizeof(opts)};
    size_t                 cursor_len;
    const char            *cursor = cursor_of(r, &cursor_len);
    sse__stream           *stream;
    int                    rc;

    if (how == POLL)
        opts.heartbeat_ms = opts.retry_ms = SSE_NEVER;
    if ((rc = sse__hub_enter(s->hub)) < 0)
        return rc;
    stream = sse__request_stream(r);
    if (!stream)
        rc = SSE_ERR_NOT_FOUND;
    else if (how == LOOK)
        rc = look(c, stream, cursor, cursor_len);
    else
        rc = sse__subscriber_open(&c->sub, stream, &s->door->door.port, cursor,
                                  cursor_len, &opts);
    sse__hub_leave(s->hub);
    return rc;
}

/* ---- Streaming ---- */

static void give_back(sse__conn *c)
{
    if (!sse__subscriber_is_open(&c->sub) || sse__hub_enter(c->server->hub) < 0)
        return;
    if (sse__subscriber_is_open(&c->sub))
        sse__subscriber_give(&c->sub);
    sse__hub_leave(c->server->hub);
}

static void stream_ended(sse__conn *c)
{
    sse__conn_unsubscribe(c);
    sse__conn_answered(c);
}

/* A write that the socket did not take at once has gone out. */
void sse__reader_written(sse__conn *c)
{
    if (c->ending)
        stream_ended(c);
    else if (c->goodbye)
        sse__reader_goodbye(c);
    else
        give_back(c);
}

static int add_chunk_size(sse__buf *b, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char              text[20];
    char             *at = text + sizeof(text);

    *--at = '\n';
    *--at = '\r';
    do
        *--at = digits[size & 15];
    while (size >>= 4);
    return sse__buf_add(b, at, (size_t)(text + sizeof(text) - at));
}

/* Few bytes are cheaper copied than written as several pieces. */
static int join(sse__buf *front, sse__take *t, const char *tail,
                size_t tail_len)
{
    int rc = SSE_OK;

    for (uint32_t i = 0; rc == SSE_OK && i < t->span_count; i++)
        rc = sse__buf_add(front, t->spans[i].data, t->spans[i].len);
    sse__take_drop(t);
    return rc < 0 ? rc : sse__buf_add(front, tail, tail_len);
}

/* Writes what stands in the server's `head`, then what a subscriber took as
 * one chunk. True: the subscriber may be given back. */
static bool send_take(sse__conn *c, sse__take *t)
{
    sse__buf   *front = &c->server->head;
    const char *tail = NULL;
    size_t      tail_len = 0;
    int         rc = SSE_OK;

    c->ending = t->end != SSE_REASON_NONE;
    if (c->chunked && t->bytes > 0) {
        rc = add_chunk_size(front, t->bytes);
        tail = c->ending ? LAST_CHUNK : CRLF;
        tail_len = c->ending ? sizeof(LAST_CHUNK) - 1 : sizeof(CRLF) - 1;
    } else if (c->chunked && c->ending) {
        tail = LAST_CHUNK + 2;
        tail_len = sizeof(LAST_CHUNK) - 3;
    }
    if (rc == SSE_OK)
        rc = sse__buf_add(front, t->prefix, t->prefix_len);
    if (rc == SSE_OK && t->bytes <= SMALL_TAKE) {
        rc = join(front, t, tail, tail_len);
        tail_len = 0;
    }
    if (rc == SSE_OK && front->len + t->bytes + tail_len > 0)
        rc = sse__conn_writev(c, front->data, front->len, t, tail, tail_len);
    sse__take_drop(t);
    if (rc < 0)
        sse__conn_close(c);
    else if (rc == SSE_OK && c->ending)
        stream_ended(c);
    else
        return rc == SSE_OK;
    return false;
}

/* ---- Long poll ---- */

static void poll_leave(sse__conn *c)
{
    sse__conn_unsubscribe(c);
    sse__timer_drop(&c->timer);
    c->state = SSE__CONN_READING;
}

static void poll_answer(sse__conn *c, const sse_event_id *last, int rc,
                        uint32_t state)
{
    sse__buf   *b = &c->server->scratch;
    const char *name = sse_state_name((int)state);

    poll_leave(c);
    if (rc < 0 || (rc = sse__buf_add_str(b, "],\"lastEventId\":\"")) < 0 ||
        (rc = sse__buf_add_str(b, last->text_len ? last->text : "0")) < 0 ||
        (rc = sse__buf_add_str(b, "\",\"state\":\"")) < 0 ||
        (rc = sse__buf_add_str(b, name)) < 0 ||
        (rc = sse__buf_add_str(b, "\"}")) < 0)
        sse__respond_err(c->request, rc);
    else
        sse__respond_json(c->request, 200, b);
}

/* What the poll was waiting for has come, or its time is over. The stream's
 * newest id is where a reader stands that got nothing because there was
 * nothing; whoever got events stands behind the last one of them. */
static void poll_done(sse__conn *c, sse__take *t, sse_event_id *newest,
                      uint32_t state)
{
    sse__buf    *b = &c->server->scratch;
    sse_event_id last = {0};
    bool         first = true;
    int          rc;

    b->len = 0;
    rc = sse__buf_add_str(b, "{\"events\":[");
    if (rc == SSE_OK)
        rc = sse__events_add(b, t, &last, &first);
    sse__take_drop(t);
    poll_answer(c, last.text_len ? &last : newest, rc, state);
}

static void poll_gone(sse__conn *c)
{
    poll_leave(c);
    sse__respond_err(c->request, SSE_ERR_NOT_FOUND);
}

/* Its time is over: answers with what there is now. */
void sse__reader_poll_timeout(sse__conn *c)
{
    sse_hub     *hub = c->server->hub;
    sse_event_id newest;
    uint32_t     state;
    sse__take    take;

    if (sse__hub_enter(hub) < 0) {
        sse__conn_close(c);
        return;
    }
    sse__subscriber_take_now(&c->sub, SSE__WRITE_MAX, &take);
    sse__stream_last_id(c->sub.stream, &newest);
    state = c->sub.stream->state;
    sse__hub_leave(hub);
    if (take.end == SSE_REASON_REMOVED)
        poll_gone(c);
    else
        poll_done(c, &take, &newest, state);
}

/* A HEAD waits for nothing. What it takes it must take at once, as nothing
 * holds the stream when the lock is gone. */
static void poll_look(sse_request *r)
{
    sse__conn   *c = r->conn;
    sse_hub     *hub = c->server->hub;
    sse_event_id newest = {0};
    uint32_t     state = SSE_STATE_ACTIVE;
    size_t       cursor_len;
    const char  *cursor = cursor_of(r, &cursor_len);
    sse__stream *stream;
    sse__take    take;
    int          rc = sse__hub_enter(hub);

    if (rc == SSE_OK) {
        stream = sse__request_stream(r);
        rc = stream ? look(c, stream, cursor, cursor_len) : SSE_ERR_NOT_FOUND;
        if (rc == SSE_OK) {
            sse__subscriber_take(&c->sub, SSE__WRITE_MAX, &take);
            sse__stream_last_id(stream, &newest);
            state = stream->state;
        }
        sse__hub_leave(hub);
    }
    if (rc == SSE_OK)
        poll_done(c, &take, &newest, state);
    else if (rc == SSE_ERR_ENDED)
        sse__respond_empty(r, 204);
    else
        sse__respond_err(r, rc);
}

/* ---- Answering ---- */

/* A HEAD only looks what a GET would be answered. */
static void answer_head(sse_request *r)
{
    sse__conn *c = r->conn;

    if (sse__respond_stream_head(r, r->id.data, r->id.len) < 0) {
        sse__conn_close(c);
        return;
    }
    sse__conn_write(c, c->server->head.data, c->server->head.len);
    sse__conn_answered(c);
}

/* The head goes out with the first bytes of the body, in one write. */
static void start_stream(sse_request *r)
{
    sse__conn *c = r->conn;
    sse__take  take;

    if (sse__respond_stream_head(r, r->id.data, r->id.len) < 0 ||
        sse__hub_enter(c->server->hub) < 0) {
        sse__conn_close(c);
        return;
    }
    sse__subscriber_take_now(&c->sub, SSE__WRITE_MAX, &take);
    sse__hub_leave(c->server->hub);
    sse__timer_drop(&c->timer);
    c->state = SSE__CONN_STREAMING;
    c->goodbye = false;
    sse__request_free(r);
    c->request = NULL;
    if (send_take(c, &take))
        give_back(c);
}

static void start_poll(sse_request *r)
{
    sse__conn  *c = r->conn;
    sse_server *s = c->server;

    s->counters.polls++;
    c->state = SSE__CONN_POLLING;
    sse__server_set_timer(s, &c->timer, s->opts.poll_timeout_ms);
    sse__server_flush_soon(s);
}

void sse__reader_start(sse_request *r)
{
    bool        head = r->parser.method == HTTP_HEAD, poll = is_poll(r);
    wanted      how = head ? LOOK : poll ? POLL : STREAM;
    int         rc = SSE_ERR_CLOSED;
    size_t      cursor_len;
    const char *cursor = cursor_of(r, &cursor_len);

    if (sse__ask_for_stream(r, cursor, cursor_len, SSE__ASK_EVENTS,
                            sse__reader_start))
        return;

    if (head && poll) {
        poll_look(r);
        return;
    }
    if (!r->conn->server->closing)
        rc = subscribe(r, how);
    if (rc == SSE_ERR_ENDED)
        sse__respond_empty(r, 204);
    else if (rc < 0)
        sse__respond_err(r, rc);
    else if (how == POLL)
        start_poll(r);
    else if (how == STREAM)
        start_stream(r);
    else
        answer_head(r);
}

int sse_request_respond_stream(sse_request *r, sse_stream *s)
{
    if (!sse__request_is_open(r) || s->hub != r->conn->server->hub)
        return SSE_ERR_INVAL;
    r->id.len = 0;
    if (sse__buf_add(&r->id, s->core->id, s->core->node.key_len) < 0)
        return SSE_ERR_NOMEM;
    sse__request_let_go(r);
    sse__reader_start(r);
    return SSE_OK;
}

/* ---- The flush ---- */

/* What one reader gets in a flush. */
typedef struct turn {
    sse__conn   *conn;
    sse__take    take;
    sse_event_id newest; /* for a poll: where it stands if it got nothing   */
    uint32_t     state;  /* of its stream                                   */
    bool         give;   /* it may be given back                            */
} turn;

/* With the lock. False: nobody is left who has something. */
static bool take_turn(sse__port *port, turn *t)
{
    sse__subscriber *sub;

    while ((sub = sse__port_take(port))) {
        sse__conn *c = SSE__OWNER(sub, sse__conn, sub);

        if (c->out)
            continue; /* a write is under way: its end gives it back */
        t->conn = c;
        t->state = sub->stream->state;
        sse__subscriber_take(sub, SSE__WRITE_MAX, &t->take);
        if (c->state == SSE__CONN_POLLING)
            sse__stream_last_id(sub->stream, &t->newest);
        return true;
    }
    return false;
}

/* Without the lock. */
static bool deliver(turn *t)
{
    sse__conn *c = t->conn;

    if (c->state == SSE__CONN_STREAMING) {
        c->server->head.len = 0;
        return send_take(c, &t->take);
    }
    if (c->state != SSE__CONN_POLLING) { /* closed by an earlier one's hook */
        sse__take_drop(&t->take);
        return false;
    }
    if (t->take.bytes == 0 && t->take.end == SSE_REASON_NONE)
        return true; /* a poll that has nothing yet */
    if (t->take.end == SSE_REASON_REMOVED)
        poll_gone(c);
    else
        poll_done(c, &t->take, &t->newest, t->state);
    return false;
}

/* Each reader that has something gets all of it in one write. The lock is held
 * to take, for a few of them at a time, and not to write: what comes meanwhile,
 * for a reader or from the store, makes no wake-up and is left for another
 * flush. */
bool sse__reader_flush(sse_server *s)
{
    sse__port *port = &s->door->door.port;
    turn       turns[TURNS];
    bool       more = true;

    if (sse__hub_enter(s->hub) < 0)
        return false;
    for (int takes = 0; more && takes < TAKES_PER_FLUSH; takes += TURNS) {
        int n = 0;

        while (n < TURNS && (more = take_turn(port, &turns[n])))
            n++;
        sse__hub_pause(s->hub);
        for (int i = 0; i < n; i++)
            turns[i].give = deliver(&turns[i]);
        sse__hub_go_on(s->hub);
        for (int i = 0; i < n; i++) /* a later one's hook may have closed it */
            if (turns[i].give && sse__subscriber_is_open(&turns[i].conn->sub))
                sse__subscriber_give(&turns[i].conn->sub);
    }
    more |= !sse__list_empty(&port->ready) || !sse__list_empty(&s->answers);
    port->armed = !more;
    sse__hub_leave(s->hub);
    return more;
}

/* ---- Goodbye ---- */

/* Between one and three times the usual, so that not all come back at once. */
static uint32_t jittered_retry(sse_hub *hub)
{
    uint32_t retry = hub->core.opts.retry_ms;

    if (retry == SSE_NEVER)
        retry = 1000;
    if (sse__hub_enter(hub) < 0)
        return retry;
    retry +=
        (uint32_t)(sse__hub_random(&hub->core) % (2 * (uint64_t)retry + 1));
    sse__hub_leave(hub);
    return retry;
}

/* Tells a reader when to come back, each at another time, and ends the answer
 * as it should end, so that no client takes it for a failure. */
void sse__reader_goodbye(sse__conn *c)
{
    char text[64], front[96];
    int  n;

    c->goodbye = true;
    if (c->out)
        return;
    sse__conn_unsubscribe(c);
    n = snprintf(text, sizeof(text), "retry: %u\n\n",
                 jittered_retry(c->server->hub));
    if (c->chunked)
        n = snprintf(front, sizeof(front), "%x\r\n%s\r\n0\r\n\r\n",
                     (unsigned int)n, text);
    else
        memcpy(front, text, (size_t)n);
    c->keep_alive = false;
    c->ending = true;
    sse__conn_write(c, front, (size_t)n);
    if (c->state != SSE__CONN_CLOSED && !c->out)
        stream_ended(c);
}
