/* SPDX-License-Identifier: MIT */
/* conn.c - one connection: input to requests, answers to output, time-outs. */
#include "handlers.h"

#include <string.h>
#include <sys/socket.h>

#include "../core/alloc.h"

#define LINGER_MS 2000

/* ---- Writing ---- */

/* A write that the socket did not take at once. */
typedef struct sse__out {
    uv_write_t req;
    sse__conn *conn;
    sse__take  take;    /* pins what is being written                       */
    char       front[]; /* a copy: the rest of it lives in segments         */
} sse__out;

static size_t unsent(const sse__conn *c)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

/* The peer must take some of the bytes that wait for it in that time. */
static void watch_write(sse__conn *c)
{
    c->unsent = unsent(c);
    sse__server_set_timer(c->server, &c->timer,
                          c->server->opts.unacked_timeout_ms);
}

static void on_written(uv_write_t *req, int status)
{
    sse__out  *out = SSE__OWNER(req, sse__out, req);
    sse__conn *c = out->conn;

    sse__take_drop(&out->take);
    sse__free(out);
    c->out = NULL;
    if (c->state == SSE__CONN_CLOSED)
        return;
    sse__timer_drop(&c->timer);
    if (status < 0)
        sse__conn_close(c);
    else
        sse__conn_written(c);
}

/* Drops the first `n` bytes of `bufs`. Returns the index of the first buffer
 * that has bytes left. */
static unsigned int skip(uv_buf_t *bufs, unsigned int count, size_t n)
{
    unsigned int i = 0;

    while (i < count && n >= bufs[i].len)
        n -= bufs[i++].len;
    if (i < count) {
        bufs[i].base += n;
        bufs[i].len -= n;
    }
    return i;
}

/* Queues what is left of `bufs` behind the first `done` bytes. */
static int queue_rest(sse__conn *c, uv_buf_t *bufs, unsigned int count,
                      size_t done, sse__take *take)
{
    size_t       front_len = bufs[0].len;
    sse__out    *out = sse__malloc(sizeof(*out) + front_len);
    unsigned int first;

    if (!out)
        return SSE_ERR_NOMEM;
    out->conn = c;
    out->take.span_count = 0;
    if (front_len > 0)
        memcpy(out->front, bufs[0].base, front_len);
    bufs[0].base = out->front;
    first = skip(bufs, count, done);
    if (uv_write(&out->req, (uv_stream_t *)&c->tcp, bufs + first, count - first,
                 on_written) < 0) {
        sse__free(out);
        return SSE_ERR_IO;
    }
    if (take) {
        out->take = *take;
        take->span_count = 0; /* its pins have moved */
    }
    c->out = out;
    watch_write(c);
    return SSE_OK;
}

int sse__conn_writev(sse__conn *c, const char *front, size_t front_len,
                     sse__take *take, const char *tail, size_t tail_len)
{
    uv_buf_t     bufs[SSE__SPANS + 2];
    unsigned int count = 0;
    size_t       total = front_len + tail_len;
    int          rc;

    bufs[count++] =
        uv_buf_init((char *)(uintptr_t)front, (unsigned int)front_len);
    for (uint32_t i = 0; take && i < take->span_count; i++) {
        bufs[count++] = uv_buf_init((char *)(uintptr_t)take->spans[i].data,
                                    (unsigned int)take->spans[i].len);
        total += take->spans[i].len;
    }
    if (tail_len > 0)
        bufs[count++] =
            uv_buf_init((char *)(uintptr_t)tail, (unsigned int)tail_len);
    rc = uv_try_write((uv_stream_t *)&c->tcp, bufs, count);
    if (rc < 0 && rc != UV_EAGAIN)
        return SSE_ERR_IO;
    if (rc >= 0 && (size_t)rc == total)
        return SSE_OK;
    rc = queue_rest(c, bufs, count, rc > 0 ? (size_t)rc : 0, take);
    return rc < 0 ? rc : 1;
}

void sse__conn_write(sse__conn *c, const void *data, size_t len)
{
    if (c->out) { /* cannot be: no answer begins while one is under way */
        sse__conn_close(c);
        return;
    }
    if (sse__conn_writev(c, data, len, NULL, NULL, 0) < 0)
        sse__conn_close(c);
}

/* ---- The end ---- */

static void leave_user(sse__conn *c)
{
    sse__conn_user *user = c->user;

    c->user = NULL;
    if (!user || --user->conns > 0)
        return;
    sse__map_drop(&c->server->users, &user->node);
    sse__free(user);
}

int sse__conn_set_user(sse__conn *c, const char *name, size_t len)
{
    sse_server     *s = c->server;
    sse__map_node  *node = sse__map_get(&s->users, name, len);
    sse__conn_user *user = node ? SSE__OWNER(node, sse__conn_user, node) : NULL;

    if (user && user == c->user)
        return SSE_OK;
    if (user && user->conns >= s->opts.max_connections_per_user)
        return SSE_ERR_LIMIT;
    if (!user) {
        user = sse__malloc(sizeof(*user) + len);
        if (!user)
            return SSE_ERR_NOMEM;
        memcpy(user->name, name, len);
        user->conns = 0;
        if (sse__map_add(&s->users, &user->node, user->name, len) < 0) {
            sse__free(user);
            return SSE_ERR_NOMEM;
        }
    }
    user->conns++;
    leave_user(c);
    c->user = user;
    return SSE_OK;
}

static void on_closed(uv_handle_t *handle)
{
    sse__conn  *c = handle->data;
    sse_server *s = c->server;

    sse__free(c);
    sse__server_conn_gone(s);
}

static void drop_stash(sse__conn *c)
{
    if (!c->stash)
        return;
    sse__buf_free(c->stash);
    sse__free(c->stash);
    c->stash = NULL;
}

void sse__conn_unsubscribe(sse__conn *c)
{
    if (!sse__subscriber_is_open(&c->sub))
        return;
    if (sse__hub_enter(c->server->hub) == SSE_OK) {
        sse__subscriber_close(&c->sub);
        sse__hub_leave(c->server->hub);
    }
}

/* The handle goes last: as long as it is open, nothing that the hook of a held
 * request does can take the connection or its server away. */
void sse__conn_close(sse__conn *c)
{
    sse_request *r = c->request;

    if (c->state == SSE__CONN_CLOSED)
        return;
    c->state = SSE__CONN_CLOSED;
    c->server->admitted -= c->admitted;
    sse__conn_unsubscribe(c);
    sse__timer_drop(&c->timer);
    sse__list_drop(&c->link);
    c->request = NULL;
    drop_stash(c);
    leave_user(c);
    if (r)
        sse__request_lost(r);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* Half-closes and reads on for a while: closing with unread input would make
 * the kernel reset the connection, and the peer lose the answer. */
static void linger(sse__conn *c)
{
    uv_os_fd_t fd;

    c->state = SSE__CONN_LINGERING;
    drop_stash(c);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
        shutdown(fd, SHUT_WR);
    sse__server_set_timer(c->server, &c->timer, LINGER_MS);
}

/* Takes no further request. */
static void end_input(sse__conn *c)
{
    if (c->state == SSE__CONN_CLOSED)
        return;
    c->end_after_write = true;
    if (!c->out)
        linger(c);
}

/* ---- Input ---- */

static void refuse_input(sse_request *r)
{
    switch (r->status) {
    case 413:
        sse__respond_error(r, 413, "too_large",
                           "The body is above the server's limit: send less.");
        break;
    case 431:
        sse__respond_error(r, 431, "head_too_large",
                           "The request head is above the server's limit.");
        break;
    case 500: sse__respond_err(r, SSE_ERR_NOMEM); break;
    default:
        sse__respond_error(r, 400, "bad_request",
                           "This is not a valid HTTP/1.1 request.");
        break;
    }
}

/* After some input: answers, or says how long the rest may take. */
static void step(sse__conn *c)
{
    sse_request *r = c->request;
    sse_server  *s = c->server;

    if (r->status != 0) {
        c->keep_alive = false;
        refuse_input(r);
    } else if (r->complete) {
        sse__timer_drop(&c->timer);
        s->counters.requests++;
        c->keep_alive = http_should_keep_alive(&r->parser) && !s->closing;
        r->pinned = true;
        sse__route(r);
        sse__request_unpin(r);
    } else if (r->headers_done) {
        if (sse__request_wants_continue(r))
            sse__conn_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        if (c->state == SSE__CONN_READING)
            sse__server_set_timer(s, &c->timer, s->opts.body_timeout_ms);
    } else if (!c->head_started) {
        c->head_started = true;
        sse__server_set_timer(s, &c->timer, s->opts.head_timeout_ms);
    }
}

/* Keeps input that came before its turn. Too much of it ends the connection:
 * a client that sends without reading cannot be helped. */
static void stash(sse__conn *c, const char *data, size_t len)
{
    if (!c->stash) {
        c->stash = sse__malloc(sizeof(*c->stash));
        if (!c->stash) {
            sse__conn_close(c);
            return;
        }
        sse__buf_init(c->stash, SSE__STASH_MAX);
    }
    if (sse__buf_add(c->stash, data, len) < 0)
        sse__conn_close(c);
}

static bool can_read(const sse__conn *c)
{
    return c->state == SSE__CONN_READING && !c->out && !c->end_after_write;
}

static void feed(sse__conn *c, const char *data, size_t len)
{
    c->feeding = true;
    while (len > 0 && can_read(c)) {
        size_t n;

        if (!c->request && !(c->request = sse__request_new(c))) {
            sse__conn_close(c);
            break;
        }
        n = sse__request_feed(c->request, data, len);
        data += n;
        len -= n;
        step(c);
    }
    c->feeding = false;
    if (len == 0)
        return;
    if (c->state == SSE__CONN_STREAMING)
        c->keep_alive = false; /* what it sends now gets no answer */
    else if (c->state != SSE__CONN_CLOSED && c->state != SSE__CONN_LINGERING &&
             !c->end_after_write)
        stash(c, data, len);
}

/* The way is free for the next request: what waits for it goes first. */
static void resume(sse__conn *c)
{
    sse__buf *input = c->stash;

    if (c->feeding || !input || !can_read(c))
        return;
    c->stash = NULL;
    feed(c, input->data, input->len);
    sse__buf_free(input);
    sse__free(input);
}

static void start_idle(sse__conn *c)
{
    sse__server_set_timer(c->server, &c->timer,
                          c->server->opts.idle_timeout_ms);
}

/* The same in the next turn: whoever answers a held request does not expect
 * the hook for the next one to run before that call has returned. */
static void resume_soon(sse__conn *c)
{
    if (!c->feeding && c->stash && can_read(c))
        sse__server_set_timer(c->server, &c->timer, 0);
}

void sse__conn_answered(sse__conn *c)
{
    bool held = c->request && c->request->held;

    if (c->state == SSE__CONN_CLOSED)
        return;
    sse__request_free(c->request);
    c->request = NULL;
    c->head_started = false;
    if (!c->keep_alive || c->server->closing) {
        end_input(c);
        return;
    }
    c->state = SSE__CONN_READING;
    if (!c->out)
        start_idle(c);
    if (held)
        resume_soon(c);
    else
        resume(c);
}

void sse__conn_written(sse__conn *c)
{
    if (c->state == SSE__CONN_STREAMING)
        sse__reader_written(c);
    else if (c->end_after_write)
        linger(c);
    else if (c->state == SSE__CONN_READING) {
        start_idle(c);
        resume(c);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    sse__conn *c = handle->data;

    (void)suggested;
    *out = uv_buf_init(c->server->loop->read_buf, SSE__READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    sse__conn *c = stream->data;

    if (n == UV_EOF && c->out && c->state == SSE__CONN_READING) {
        c->keep_alive = false; /* it has sent all; it still reads */
        c->end_after_write = true;
        uv_read_stop(stream);
    } else if (n < 0) {
        sse__conn_close(c);
    } else if (n > 0 && c->state != SSE__CONN_LINGERING) {
        resume(c);
        feed(c, buf->base, (size_t)n);
    }
}

/* ---- Time ---- */

static void on_timer(sse__timer *t)
{
    sse__conn *c = SSE__OWNER(t, sse__conn, timer);

    if (c->out && unsent(c) != c->unsent) {
        watch_write(c);
        return;
    }
    switch (c->state) {
    case SSE__CONN_READING:
        if (c->stash && can_read(c)) {
            resume(c);
            return;
        }
        if (!c->request || c->out) {
            sse__conn_close(c);
            return;
        }
        c->keep_alive = false;
        sse__respond_error(c->request, 408, "timeout",
                           "The request came too slowly.");
        break;
    case SSE__CONN_POLLING: sse__reader_poll_timeout(c); break;
    case SSE__CONN_PARKED: sse__append_again(c); break;
    case SSE__CONN_HELD: sse__ask_give_up(c->request); break;
    default: sse__conn_close(c); break;
    }
}

/* ---- The beginning ---- */

static void refuse_connection(sse__conn *c)
{
    static const char answer[] =
        "HTTP/1.1 429 Too Many Requests\r\n"
        "Content-Type: application/json\r\n"
        "Content-Length: 85\r\n"
        "Retry-After: 5\r\n"
        "Connection: close\r\n\r\n"
        "{\"error\":\"limit\",\"message\":\"The server has no room for more "
        "connections: try later.\"}";

    c->server->counters.refused[SSE__REFUSED_LIMIT]++;
    sse__conn_write(c, answer, sizeof(answer) - 1);
    end_input(c);
}

static sse__conn *conn_new(sse_server *s)
{
    sse__conn *c = sse__calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->server = s;
    sse__list_init(&c->sub.link);
    sse__timer_init(&c->timer, on_timer);
    uv_tcp_init(&s->loop->uv, &c->tcp);
    c->tcp.data = c;
    sse__list_add(&s->conns, &c->link);
    s->conn_count++;
    return c;
}

void sse__conn_accept(sse_server *s)
{
    sse__conn *c = conn_new(s);

    s->accept_waits = !c;
    if (!c)
        return; /* the pulse tries again */
    if (uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&c->tcp) < 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) < 0) {
        sse__conn_close(c);
        return;
    }
    s->counters.connections++;
    if (s->admitted >= s->opts.max_connections) {
        refuse_connection(c);
        return;
    }
    c->admitted = true;
    s->admitted++;
    sse__server_set_timer(s, &c->timer, s->opts.head_timeout_ms);
}
