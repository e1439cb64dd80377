/* SPDX-License-Identifier: MIT */
/* redis_conn.c - one connection: names, sockets, TLS, bytes in and out. */
#include "redis_conn.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/list.h"
#include "sse.h"

#define READ_BYTES 65536
#define KEEP_BYTES 262144 /* a buffer that grew beyond is given back */
#define KEEPALIVE_S 60

/* TLS adds some dozens of bytes to each record of 16 KiB, and its own words. */
#define TLS_ROOM(bytes) ((bytes) + (bytes) / 64 + 65536)

struct sse__redis_conn {
    union {
        uv_stream_t stream;
        uv_tcp_t    tcp;
        uv_pipe_t   pipe;
    } socket;
    uv_idle_t        cork; /* runs when there is something to write         */
    uv_getaddrinfo_t lookup;
    uv_connect_t     connect;
    uv_write_t       write;

    sse__redis_conn_events events;
    void                  *user;
    sse__redis_traffic    *traffic;
    uint8_t                state;
    bool                   has_socket; /* `socket` is libuv's               */
    bool                   looking;    /* `lookup` is                       */
    bool                   writing;    /* `write` is, and `sending` with it */
    bool                   mute;       /* the peer takes no more            */
    uint32_t               parts;      /* of it that libuv still holds      */

    char             host[SSE__REDIS_HOST_BYTES];
    char             where[SSE__REDIS_HOST_BYTES + 10];
    uint32_t         turn;
    struct addrinfo *addresses; /* all of them                              */
    struct addrinfo *next;      /* to be tried                              */
    uint32_t         left;      /* of them to try                           */

    SSL_CTX     *context;
    sse__tls    *tls; /* NULL without                                       */
    redisReader *reader;
    size_t       reply_bytes; /* of replies that are not complete           */
    size_t       max_reply_bytes;
    size_t       max_queued_bytes;
    uint64_t     heard_ms;
    sse__buf     out;     /* commands of this turn                          */
    sse__buf     sending; /* what the socket is to take                     */
    char         in[READ_BYTES];
};

/* ---- The end ---- */

static void drop_part(sse__redis_conn *c)
{
    void (*gone)(void *) = c->events.gone;
    void *user = c->user;

    if (--c->parts > 0)
        return;
    if (c->reader)
        redisReaderFree(c->reader);
    if (c->addresses)
        uv_freeaddrinfo(c->addresses);
    sse__tls_free(c->tls);
    sse__buf_free(&c->out);
    sse__buf_free(&c->sending);
    sse__free(c);
    gone(user);
}

static void on_cork_closed(uv_handle_t *handle)
{
    drop_part(handle->data);
}

static void try_next(sse__redis_conn *c);

/* The socket of an attempt is gone: of the last one, or of one that failed. */
static void on_socket_closed(uv_handle_t *handle)
{
    sse__redis_conn *c = handle->data;

    c->has_socket = false;
    if (c->state != SSE__REDIS_SHUT)
        try_next(c);
    drop_part(c);
}

static void close_socket(sse__redis_conn *c)
{
    uv_handle_t *handle = (uv_handle_t *)&c->socket.stream;

    if (c->has_socket && !uv_is_closing(handle))
        uv_close(handle, on_socket_closed);
}

/* A lookup that has begun cannot be stopped: its end is waited for. */
void sse__redis_conn_shut(sse__redis_conn *c)
{
    if (c->state == SSE__REDIS_SHUT)
        return;
    c->state = SSE__REDIS_SHUT;
    if (c->looking)
        uv_cancel((uv_req_t *)&c->lookup);
    close_socket(c);
    uv_close((uv_handle_t *)&c->cork, on_cork_closed);
}

static void end(sse__redis_conn *c, const char *reason, bool hopeless)
{
    char why[SSE__REDIS_WHY_BYTES];

    snprintf(why, sizeof(why), "%s: %s", c->where, reason);
    sse__redis_conn_shut(c);
    c->events.ended(c->user, why, hopeless);
}

static void end_by_uv(sse__redis_conn *c, int err)
{
    end(c, err == UV_EOF ? "the connection was closed" : uv_strerror(err),
        false);
}

/* ---- Output ---- */

static void flush(sse__redis_conn *c);

/* A peer that has closed may have said why before: that is read first, and the
 * end of the connection comes behind it. */
static void on_write_error(sse__redis_conn *c, int err)
{
    c->mute = err == UV_EPIPE || err == UV_ECONNRESET;
    sse__buf_drop(&c->sending, c->sending.len);
    if (!c->mute)
        end_by_uv(c, err);
}

static void on_written(uv_write_t *req, int status)
{
    sse__redis_conn *c = req->data;

    c->writing = false;
    if (c->state == SSE__REDIS_SHUT)
        return;
    sse__buf_drop(&c->sending, c->sending.len);
    if (status < 0)
        on_write_error(c, status);
    else
        flush(c);
}

/* Moves what is to be sent from `out` to `sending`, which is empty; through
 * TLS, where there is. */
static int fill(sse__redis_conn *c)
{
    sse__buf swap = c->sending;
    int      rc;

    if (!c->tls) {
        c->sending = c->out;
        c->out = swap;
        return SSE_OK;
    }
    rc = sse__tls_write(c->tls, c->out.data, c->out.len);
    if (rc == SSE_OK)
        rc = sse__tls_take(c->tls, &c->sending);
    sse__buf_drop(&c->out, c->out.len);
    return rc;
}

static void give_back(sse__buf *b)
{
    if (b->len == 0 && b->cap > KEEP_BYTES)
        sse__buf_free(b);
}

/* What the socket does not take at once, libuv gives it when it can. */
static void push(sse__redis_conn *c)
{
    uv_buf_t buf = uv_buf_init(c->sending.data, (unsigned int)c->sending.len);
    int      rc = uv_try_write(&c->socket.stream, &buf, 1);

    if (rc < 0 && rc != UV_EAGAIN) {
        on_write_error(c, rc);
        return;
    }
    c->traffic->writes++;
    c->traffic->bytes_out += c->sending.len;
    if (rc > 0 && (size_t)rc == c->sending.len) {
        sse__buf_drop(&c->sending, c->sending.len);
        give_back(&c->sending);
        return;
    }
    if (rc > 0) {
        buf.base += rc;
        buf.len -= (size_t)rc;
    }
    rc = uv_write(&c->write, &c->socket.stream, &buf, 1, on_written);
    c->writing = rc == 0;
    if (rc < 0)
        end_by_uv(c, rc);
}

static void flush(sse__redis_conn *c)
{
    int rc;

    if (c->writing || c->mute)
        return;
    rc = fill(c);
    give_back(&c->out);
    if (rc < 0)
        end(c, rc == SSE_ERR_IO ? sse__tls_error(c->tls) : sse_strerror(rc),
            false);
    else if (c->sending.len > 0)
        push(c);
}

static void on_cork(uv_idle_t *cork)
{
    uv_idle_stop(cork);
    flush(cork->data);
}

size_t sse__redis_conn_queued_bytes(const sse__redis_conn *c)
{
    return c->out.len + c->sending.len;
}

int sse__redis_conn_send(sse__redis_conn *c, const sse__redis_args *head,
                         const sse__redis_args *tail)
{
    size_t len = sse__redis_format_len(head, tail);
    size_t queued = sse__redis_conn_queued_bytes(c);
    int    rc;

    assert(c->state == SSE__REDIS_OPEN);
    if (len > c->max_queued_bytes)
        return SSE_ERR_TOO_BIG;
    if (queued > c->max_queued_bytes || len > c->max_queued_bytes - queued)
        return SSE_ERR_LIMIT;
    rc = sse__redis_format(&c->out, head, tail);
    /* An idle handle, as the only one, runs before the loop sleeps again
     * wherever in its turn the loop is now. */
    if (rc == SSE_OK)
        uv_idle_start(&c->cork, on_cork);
    return rc;
}

/* ---- Input ---- */

static void end_by_reader(sse__redis_conn *c)
{
    char why[160];

    snprintf(why, sizeof(why), "no reply of Redis's: %s", c->reader->errstr);
    end(c, why, false);
}

/* Gives every complete reply in `data`. False when the connection is shut. */
static bool read_replies(sse__redis_conn *c, const char *data, size_t len)
{
    void *reply;

    c->reply_bytes += len;
    if (redisReaderFeed(c->reader, data, len) != REDIS_OK) {
        end_by_reader(c);
        return false;
    }
    for (;;) {
        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK) {
            end_by_reader(c);
            return false;
        }
        if (!reply)
            break;
        c->reply_bytes = c->reader->len - c->reader->pos;
        c->events.reply(c->user, reply);
        freeReplyObject(reply);
        if (c->state == SSE__REDIS_SHUT)
            return false;
    }
    if (c->reply_bytes > c->max_reply_bytes) {
        end(c, "a reply is longer than the limit", false);
        return false;
    }
    return true;
}

/* Sends what TLS has to say of itself. It may end the connection. */
static void push_tls(sse__redis_conn *c)
{
    int rc;

    if (c->writing || c->mute)
        return; /* it goes with what is written next */
    rc = sse__tls_take(c->tls, &c->sending);
    if (rc < 0)
        end(c, sse_strerror(rc), false);
    else if (c->sending.len > 0)
        push(c);
}

static void secure(sse__redis_conn *c)
{
    int rc = sse__tls_handshake(c->tls);

    push_tls(c); /* the alert, if it failed */
    if (c->state == SSE__REDIS_SHUT)
        return;
    if (rc < 0) {
        end(c, sse__tls_error(c->tls), true);
    } else if (rc > 0) {
        c->state = SSE__REDIS_OPEN;
        c->events.open(c->user);
    }
}

static void read_tls(sse__redis_conn *c, const char *data, size_t len)
{
    char plain[16384]; /* as long as a record may be */
    int  n;

    if (sse__tls_feed(c->tls, data, len) < 0) {
        end(c, sse_strerror(SSE_ERR_NOMEM), false);
        return;
    }
    if (c->state == SSE__REDIS_SECURING)
        secure(c);
    if (c->state != SSE__REDIS_OPEN)
        return;
    while ((n = sse__tls_read(c->tls, plain, sizeof(plain))) > 0)
        if (!read_replies(c, plain, (size_t)n))
            return;
    if (n < 0)
        end(c, sse__tls_error(c->tls), n == SSE_ERR_IO);
    else
        push_tls(c);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    sse__redis_conn *c = handle->data;

    (void)size;
    *buf = uv_buf_init(c->in, sizeof(c->in));
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    sse__redis_conn *c = stream->data;

    if (nread == 0 || c->state == SSE__REDIS_SHUT)
        return;
    if (nread < 0) {
        end_by_uv(c, (int)nread);
        return;
    }
    c->traffic->bytes_in += (uint64_t)nread;
    c->heard_ms = uv_now(stream->loop);
    if (c->tls)
        read_tls(c, buf->base, (size_t)nread);
    else
        read_replies(c, buf->base, (size_t)nread);
}

/* ---- Connecting ---- */

static void start(sse__redis_conn *c)
{
    int rc = uv_read_start(&c->socket.stream, on_alloc, on_read);

    if (rc < 0) {
        end_by_uv(c, rc);
        return;
    }
    if (!c->context) {
        c->state = SSE__REDIS_OPEN;
        c->events.open(c->user);
        return;
    }
    if (sse__tls_new(c->context, c->host, &c->tls) < 0) {
        end(c, sse_strerror(SSE_ERR_NOMEM), false);
        return;
    }
    c->state = SSE__REDIS_SECURING;
    secure(c);
}

static void on_connect(uv_connect_t *req, int status)
{
    sse__redis_conn *c = req->data;

    if (c->state == SSE__REDIS_SHUT)
        return;
    if (status == 0)
        start(c);
    else if (c->left > 0)
        close_socket(c); /* and then the next one */
    else
        end_by_uv(c, status);
}

static int connect_tcp(sse__redis_conn *c, const struct sockaddr *address)
{
    uv_loop_t *loop = c->cork.loop;
    int        rc = uv_tcp_init(loop, &c->socket.tcp);

    if (rc < 0)
        return rc;
    c->socket.tcp.data = c;
    c->has_socket = true;
    c->parts++;
    uv_tcp_nodelay(&c->socket.tcp, 1);
    uv_tcp_keepalive(&c->socket.tcp, 1, KEEPALIVE_S);
    return uv_tcp_connect(&c->connect, &c->socket.tcp, address, on_connect);
}

/* Takes the next address, or ends with the last one's failure. */
static void try_next(sse__redis_conn *c)
{
    struct addrinfo *address = c->next;
    int              rc;

    c->next = address->ai_next ? address->ai_next : c->addresses;
    c->left--;
    rc = connect_tcp(c, address->ai_addr);
    if (rc == 0)
        return;
    if (c->left > 0 && c->has_socket)
        close_socket(c);
    else
        end_by_uv(c, rc);
}

static void on_addresses(uv_getaddrinfo_t *req, int status,
                         struct addrinfo *addresses)
{
    sse__redis_conn *c = req->data;
    uint32_t         skip;

    c->looking = false;
    c->addresses = addresses;
    if (c->state == SSE__REDIS_SHUT) {
        /* Nobody waits for them any more. */
    } else if (status < 0) {
        end_by_uv(c, status);
    } else {
        for (struct addrinfo *a = addresses; a; a = a->ai_next)
            c->left++;
        c->next = addresses;
        for (skip = c->turn % c->left; skip > 0; skip--)
            c->next = c->next->ai_next;
        c->state = SSE__REDIS_CONNECTING;
        try_next(c);
    }
    drop_part(c);
}

static int look_up(sse__redis_conn *c, uint16_t port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_protocol = IPPROTO_TCP};
    char                  service[6];
    int                   rc;

    snprintf(service, sizeof(service), "%u", port);
    rc = uv_getaddrinfo(c->cork.loop, &c->lookup, on_addresses, c->host,
                        service, &hints);
    c->looking = rc == 0;
    c->parts += c->looking;
    return rc;
}

static int connect_pipe(sse__redis_conn *c, const char *path)
{
    int rc = uv_pipe_init(c->cork.loop, &c->socket.pipe, 0);

    if (rc < 0)
        return rc;
    c->state = SSE__REDIS_CONNECTING;
    c->socket.pipe.data = c;
    c->has_socket = true;
    c->parts++;
    uv_pipe_connect(&c->connect, &c->socket.pipe, path, on_connect);
    return 0;
}

static void name(sse__redis_conn *c, const sse__redis_target *target)
{
    bool bare = target->path || !strchr(target->host, ':');

    if (target->path)
        snprintf(c->where, sizeof(c->where), "%s", target->path);
    else
        snprintf(c->where, sizeof(c->where), bare ? "%s:%u" : "[%s]:%u",
                 target->host, target->port);
    if (!target->path)
        snprintf(c->host, sizeof(c->host), "%s", target->host);
}

static void init(sse__redis_conn *c, uv_loop_t *loop,
                 const sse__redis_target *target)
{
    c->context = target->tls;
    c->turn = target->turn;
    c->max_reply_bytes = target->max_reply_bytes;
    c->max_queued_bytes = target->max_queued_bytes;
    c->heard_ms = uv_now(loop);
    sse__buf_init(&c->out, target->max_queued_bytes);
    sse__buf_init(&c->sending, TLS_ROOM(target->max_queued_bytes));
    c->lookup.data = c->connect.data = c->write.data = c->cork.data = c;
    name(c, target);
    uv_idle_init(loop, &c->cork);
    c->parts = 1;
}

static void ignore(void *user)
{
    (void)user;
}

int sse__redis_conn_new(uv_loop_t *loop, const sse__redis_target *target,
                        sse__redis_traffic           *traffic,
                        const sse__redis_conn_events *events, void *user,
                        sse__redis_conn **out)
{
    sse__redis_conn *c = sse__calloc(1, sizeof(*c));
    int              rc;

    *out = NULL;
    if (!c)
        return SSE_ERR_NOMEM;
    c->reader = redisReaderCreate();
    if (!c->reader) {
        sse__free(c);
        return SSE_ERR_NOMEM;
    }
    c->events = *events;
    c->user = user;
    c->traffic = traffic;
    init(c, loop, target);
    rc =
        target->path ? connect_pipe(c, target->path) : look_up(c, target->port);
    if (rc < 0) {
        c->events.gone = ignore;
        sse__redis_conn_shut(c);
        return rc == UV_ENOMEM ? SSE_ERR_NOMEM : SSE_ERR_IO;
    }
    *out = c;
    return SSE_OK;
}

/* ---- What it is ---- */

uint8_t sse__redis_conn_state_of(const sse__redis_conn *c)
{
    return c->state;
}

uint64_t sse__redis_conn_heard_ms(const sse__redis_conn *c)
{
    return c->heard_ms;
}

const char *sse__redis_conn_where(const sse__redis_conn *c)
{
    return c->where;
}

const char *sse__redis_refusal(const redisReply *error, const char *secret)
{
    if (secret && *secret && strstr(error->str, secret))
        return "the login was refused";
    return error->str;
}
