/* SPDX-License-Identifier: MIT */
/* server.c - a server's life: options, listening, one flush a turn, the end. */
#include "handlers.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/alloc.h"
#include "../core/metrics.h"
#include "../core/options.h"

#define BACKLOG 4096
#define PULSE_MS 1000
#define CLOSE_CHECK_MS 50
#define READERS_A_FLUSH 256u /* that get a log of the usual size in one */
#define SCRATCH_MAX ((size_t)256 << 20)
#define HANDLES 5u

static void on_deadline(sse__timer *t);

int64_t sse__server_now(const sse_server *s)
{
    return (int64_t)uv_now(&s->loop->uv);
}

/* ---- The door ---- */

static void ring(sse__door *door)
{
    sse__server_door *d = (sse__server_door *)(void *)door;

    if (sse__bell_is_here(d->bell)) {
        if (d->server)
            sse__server_flush_soon(d->server);
    } else if (!atomic_exchange(&d->rung, true)) {
        sse__bell_ring(d->bell);
    }
}

static void destroy_door(sse__door *door)
{
    sse__server_door *d = (sse__server_door *)(void *)door;

    sse__bell_unref(d->bell);
    sse__free(d);
}

static sse__server_door *door_new(sse_loop *loop, sse_hub *hub)
{
    sse__server_door *d = sse__calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->bell = loop->bell;
    sse__bell_ref(d->bell);
    sse__door_init(&d->door, hub, ring, destroy_door);
    return d;
}

/* ---- Once a turn ---- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active keeps the loop from sleeping */
}

void sse__server_flush_soon(sse_server *s)
{
    if (s->ready || s->closed)
        return;
    s->ready = true;
    uv_idle_start(&s->idle, on_idle);
}

/* The store's answers, and what readers have. True: there is more. */
static bool flush(sse_server *s)
{
    if (s->hub->store)
        sse__ask_answers(s);
    return sse__reader_flush(s);
}

/* After the turn's input: what publishers sent in this turn goes out to each
 * reader in one write. */
static void on_check(uv_check_t *check)
{
    sse_server *s = check->data;

    if (atomic_exchange(&s->door->rung, false))
        sse__server_flush_soon(s);
    if (!s->ready)
        return;
    s->ready = false;
    uv_idle_stop(&s->idle);
    if (flush(s))
        sse__server_flush_soon(s);
    sse__append_retry(s);
}

void sse__server_on_bell(sse_server *s)
{
    if (atomic_load(&s->close_asked) && !s->closing)
        sse__server_begin_close(s);
}

static void arm_timer(sse_server *s);

static void on_timer(uv_timer_t *timer)
{
    sse_server *s = timer->data;
    sse__timer *t;

    while ((t = sse__wheel_pop(&s->wheel, sse__server_now(s))))
        t->fire(t);
    if (!s->closed)
        arm_timer(s);
}

static void arm_timer(sse_server *s)
{
    int64_t next = sse__wheel_next_ms(&s->wheel);
    int64_t now = sse__server_now(s);

    if (next == INT64_MAX)
        uv_timer_stop(&s->timer);
    else
        uv_timer_start(&s->timer, on_timer,
                       next > now ? (uint64_t)(next - now) : 0, 0);
}

void sse__server_set_timer(sse_server *s, sse__timer *t, uint32_t ms)
{
    int64_t before = sse__wheel_next_ms(&s->wheel);

    sse__wheel_set(&s->wheel, t, sse__server_now(s) + ms);
    if (!s->closed && sse__wheel_next_ms(&s->wheel) < before)
        arm_timer(s);
}

/* How late a timer fires is how long a turn of the loop takes. */
static const uint32_t delay_bounds_us[SSE__DELAY_BUCKETS] = {
    1000, 2500, 5000, 10000, 25000, 50000, 100000, 1000000};

static void on_pulse(uv_timer_t *timer)
{
    sse_server *s = timer->data;
    int64_t     now_us = (int64_t)(uv_hrtime() / 1000);
    int64_t     late = now_us - s->pulse_due_us;
    int         i = 0;

    if (late < 0)
        late = 0;
    while (i < SSE__DELAY_BUCKETS && late > delay_bounds_us[i])
        i++;
    s->counters.delay[i]++;
    s->counters.delay_sum_us += (uint64_t)late;
    s->pulse_due_us = now_us + PULSE_MS * 1000;
    if (s->accept_waits && !s->closing)
        sse__conn_accept(s);
}

/* ---- Beginning ---- */

static void fill_defaults(sse_server_options *o)
{
    o->max_connections = sse__option(o->max_connections, 100000);
    o->max_connections_per_user =
        sse__option(o->max_connections_per_user, 1000);
    o->max_head_bytes = sse__option(o->max_head_bytes, 16384);
    o->max_body_bytes = sse__option(o->max_body_bytes, 16u << 20);
    o->head_timeout_ms = sse__option(o->head_timeout_ms, 10000);
    o->body_timeout_ms = sse__option(o->body_timeout_ms, 30000);
    o->idle_timeout_ms = sse__option(o->idle_timeout_ms, 60000);
    o->unacked_timeout_ms = sse__option(o->unacked_timeout_ms, 30000);
    o->poll_timeout_ms = sse__option(o->poll_timeout_ms, 25000);
    o->shutdown_ms = sse__option(o->shutdown_ms, 10000);
}

static void init_handles(sse_server *s)
{
    uv_loop_t *uv = &s->loop->uv;

    uv_tcp_init(uv, &s->listener);
    uv_check_init(uv, &s->check);
    uv_idle_init(uv, &s->idle);
    uv_timer_init(uv, &s->timer);
    uv_timer_init(uv, &s->pulse);
    s->listener.data = s->check.data = s->idle.data = s->timer.data =
        s->pulse.data = s;
    s->open_handles = HANDLES;
    /* Only the listener and connections keep the loop running. */
    uv_unref((uv_handle_t *)&s->check);
    uv_unref((uv_handle_t *)&s->timer);
    uv_unref((uv_handle_t *)&s->pulse);
    uv_check_start(&s->check, on_check);
    uv_timer_start(&s->pulse, on_pulse, PULSE_MS, PULSE_MS);
    s->pulse_due_us = (int64_t)(uv_hrtime() / 1000) + PULSE_MS * 1000;
}

static void init_state(sse_server *s, sse_loop *loop, sse_hub *hub)
{
    s->loop = loop;
    s->hub = hub;
    fill_defaults(&s->opts);
    uv_update_time(&loop->uv);
    sse__wheel_init(&s->wheel, sse__server_now(s));
    sse__timer_init(&s->deadline, on_deadline);
    sse__list_init(&s->conns);
    sse__list_init(&s->parked);
    sse__list_init(&s->answers);
    sse__map_init(&s->users, 0);
    sse__buf_init(&s->prefix, 4096);
    sse__buf_init(&s->origins, 65536);
    sse__buf_init(&s->scratch, SCRATCH_MAX);
    sse__buf_init(&s->head, SCRATCH_MAX);
    sse__buf_init(&s->arena, SCRATCH_MAX);
    atomic_init(&s->close_asked, 0);
}

int sse_server_new(sse_loop *loop, sse_hub *hub, const sse_server_options *opts,
                   sse_server **out)
{
    static const char prefix[] = "/api/stream";
    sse_server       *s = sse__calloc(1, sizeof(*s));

    *out = NULL;
    if (!s)
        return SSE_ERR_NOMEM;
    if (sse__options_copy(&s->opts, sizeof(s->opts), opts) < 0 ||
        s->opts.flags != 0) {
        sse__free(s);
        return SSE_ERR_INVAL;
    }
    init_state(s, loop, hub);
    if (sse__buf_add(&s->prefix, prefix, sizeof(prefix) - 1) < 0 ||
        !(s->door = door_new(loop, hub))) {
        sse__buf_free(&s->prefix);
        sse__free(s);
        return SSE_ERR_NOMEM;
    }
    s->door->server = s;
    sse__hub_ref(hub);
    sse__loop_ref(loop);
    sse__list_add(&loop->servers, &s->link);
    init_handles(s);
    *out = s;
    return SSE_OK;
}

int sse_server_set_prefix(sse_server *s, const char *prefix, size_t len)
{
    sse__buf copy;
    int      rc;

    if (len < 2 || prefix[0] != '/' || prefix[len - 1] == '/' ||
        memchr(prefix, '?', len) || memchr(prefix, '%', len))
        return SSE_ERR_INVAL;
    sse__buf_init(&copy, 4096);
    if ((rc = sse__buf_add(&copy, prefix, len)) < 0)
        return rc;
    sse__buf_free(&s->prefix);
    s->prefix = copy;
    return SSE_OK;
}

int sse_server_add_origin(sse_server *s, const char *origin, size_t len)
{
    size_t before = s->origins.len;
    int    rc;

    if (len == 0 || memchr(origin, '\r', len) || memchr(origin, '\n', len) ||
        memchr(origin, '\0', len))
        return SSE_ERR_INVAL;
    rc = sse__buf_add(&s->origins, origin, len);
    if (rc == SSE_OK)
        rc = sse__buf_add(&s->origins, "", 1);
    if (rc < 0)
        s->origins.len = before;
    return rc;
}

int sse_server_on_authorize(sse_server *s,
                            int (*hook)(sse_request *r, int verb,
                                        const char *id, size_t id_len,
                                        void *user),
                            void *user)
{
    s->authorize = hook;
    s->authorize_user = user;
    return SSE_OK;
}

int sse_server_on_request(sse_server *s,
                          void (*hook)(sse_request *r, void *user), void *user)
{
    s->on_request = hook;
    s->on_request_user = user;
    return SSE_OK;
}

/* ---- Listening ---- */

const char *sse_server_error_detail(const sse_server *s)
{
    return s->error;
}

static int fail(sse_server *s, const char *what, int uv_rc)
{
    snprintf(s->error, sizeof(s->error), "%s: %s", what, uv_strerror(uv_rc));
    return SSE_ERR_IO;
}

/* "" is any address; a name is looked up, which may wait for a name server. */
static int resolve(sse_server *s, const char *host, uint32_t port,
                   struct sockaddr_storage *out)
{
    struct addrinfo  hints = {.ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t req;
    char             service[8];
    int              rc;

    snprintf(service, sizeof(service), "%u", port);
    rc = uv_getaddrinfo(&s->loop->uv, &req, NULL, host[0] ? host : NULL,
                        service, &hints);
    if (rc < 0) {
        fail(s, host, rc);
        return rc == UV_EAI_NONAME || rc == UV_EAI_NODATA ? SSE_ERR_INVAL
                                                          : SSE_ERR_IO;
    }
    memcpy(out, req.addrinfo->ai_addr, req.addrinfo->ai_addrlen);
    uv_freeaddrinfo(req.addrinfo);
    return SSE_OK;
}

/* Accepted sockets inherit both. The time-out finds readers that went away
 * without a word: unacknowledged bytes, heartbeats at the latest, end them. */
static void set_socket_options(sse_server *s)
{
    uv_os_fd_t   fd;
    int          on = 1;
    unsigned int unacked = s->opts.unacked_timeout_ms;

    if (uv_fileno((uv_handle_t *)&s->listener, &fd) < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof(unacked));
}

static uint32_t bound_port(sse_server *s)
{
    struct sockaddr_storage addr;
    int                     len = sizeof(addr);

    if (uv_tcp_getsockname(&s->listener, (struct sockaddr *)&addr, &len) < 0)
        return 0;
    if (addr.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
    return ntohs(((struct sockaddr_in *)&addr)->sin_port);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        sse__conn_accept(listener->data);
}

int sse_server_listen(sse_server *s, const char *host, size_t host_len,
                      uint32_t port, uint32_t *out_port)
{
    struct sockaddr_storage addr;
    char                    name[256];
    int                     rc;

    if (host_len >= sizeof(name) || port > 65535 || s->listening)
        return SSE_ERR_INVAL;
    if (s->closing)
        return SSE_ERR_CLOSED;
    memcpy(name, host, host_len);
    name[host_len] = '\0';
    if ((rc = resolve(s, name, port, &addr)) < 0)
        return rc;
    rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&addr, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (rc < 0)
        return fail(s, "listen", rc);
    set_socket_options(s);
    s->listening = true;
    if (out_port)
        *out_port = bound_port(s);
    return SSE_OK;
}

/* ---- The end ---- */

static void destroy(sse_server *s)
{
    sse_loop *loop = s->loop;

    sse__list_drop(&s->link);
    sse__door_unref(&s->door->door);
    sse_hub_free(s->hub);
    sse__map_free(&s->users);
    sse__buf_free(&s->prefix);
    sse__buf_free(&s->origins);
    sse__buf_free(&s->scratch);
    sse__buf_free(&s->head);
    sse__buf_free(&s->arena);
    sse__free(s);
    sse__loop_unref(loop);
}

static void release(sse_server *s)
{
    if (s->freed && s->open_handles == 0 && s->conn_count == 0)
        destroy(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    sse_server *s = handle->data;

    s->open_handles--;
    release(s);
}

static void close_handles(sse_server *s)
{
    uv_handle_t *handles[HANDLES] = {
        (uv_handle_t *)&s->listener, (uv_handle_t *)&s->check,
        (uv_handle_t *)&s->idle, (uv_handle_t *)&s->timer,
        (uv_handle_t *)&s->pulse};

    if (s->closed)
        return;
    s->closed = true;
    s->door->server = NULL;
    sse__door_close(&s->door->door);
    for (size_t i = 0; i < HANDLES; i++)
        if (!uv_is_closing(handles[i]))
            uv_close(handles[i], on_handle_closed);
}

static bool producers_done(sse_server *s)
{
    bool done = true;

    if (sse__hub_enter(s->hub) < 0)
        return true;
    for (sse__link *l = s->hub->core.all.next; l != &s->hub->core.all;
         l = l->next) {
        const sse__stream *stream = SSE__OWNER(l, sse__stream, all_link);

        if (stream->producer && stream->state == SSE_STATE_ACTIVE &&
            !(stream->flags & SSE_STREAM_CHANNEL)) /* it has no end */
            done = false;
    }
    sse__hub_leave(s->hub);
    return done;
}

static void finish_close(sse_server *s)
{
    if (s->closing && s->conn_count == 0 && producers_done(s))
        close_handles(s);
}

void sse__server_conn_gone(sse_server *s)
{
    s->conn_count--;
    finish_close(s);
    release(s);
}

/* The deadline of a close is checked in steps, as producers in other threads
 * end their streams without a word to this one. */
static void on_deadline(sse__timer *t)
{
    sse_server *s = SSE__OWNER(t, sse_server, deadline);

    if (sse__server_now(s) >= s->close_by_ms) {
        sse__server_cut(s);
        return;
    }
    finish_close(s);
    if (!s->closed)
        sse__server_set_timer(s, t, CLOSE_CHECK_MS);
}

static void stop_producers(sse_server *s)
{
    sse__link *all = &s->hub->core.all, *next;

    if (sse__hub_enter(s->hub) < 0)
        return;
    for (sse__link *l = all->next; l != all; l = next) {
        sse__stream *stream = SSE__OWNER(l, sse__stream, all_link);

        next = l->next;
        if (stream->producer)
            sse__stream_stop(stream, SSE_REASON_SHUTDOWN);
    }
    sse__hub_leave(s->hub);
}

static void say_goodbye(sse__conn *c)
{
    switch (c->state) {
    case SSE__CONN_STREAMING: sse__reader_goodbye(c); break;
    case SSE__CONN_POLLING: sse__reader_poll_timeout(c); break;
    case SSE__CONN_READING:
        if (!c->out && (!c->request || !c->request->headers_done))
            sse__conn_close(c);
        break;
    default: break; /* answers under way end by themselves */
    }
}

/* Readers whose stream has ended get its end: so often as one that is a whole
 * log behind may need. A producer that goes on does not hold up the close. */
static void flush_all(sse_server *s)
{
    uint32_t left = s->conn_count / READERS_A_FLUSH + 2;

    while (flush(s))
        if (--left == 0) {
            sse__server_flush_soon(s);
            return;
        }
}

void sse__server_begin_close(sse_server *s)
{
    sse__link *next;

    if (s->closing)
        return;
    s->closing = true;
    s->close_by_ms = sse__server_now(s) + s->opts.shutdown_ms;
    if (!uv_is_closing((uv_handle_t *)&s->listener))
        uv_close((uv_handle_t *)&s->listener, on_handle_closed);
    uv_ref((uv_handle_t *)&s->timer); /* the deadline keeps the loop running */
    flush_all(s);
    stop_producers(s);
    for (sse__link *l = s->conns.next; l != &s->conns; l = next) {
        next = l->next;
        say_goodbye(SSE__OWNER(l, sse__conn, link));
    }
    sse__server_set_timer(s, &s->deadline, 0);
}

void sse__server_cut(sse_server *s)
{
    s->closing = true;
    sse__list_splice(&s->conns, &s->parked);
    while (!sse__list_empty(&s->conns))
        sse__conn_close(SSE__OWNER(s->conns.next, sse__conn, link));
    close_handles(s);
}

void sse_server_close(sse_server *s)
{
    atomic_store(&s->close_asked, 1);
    sse__bell_ring(s->loop->bell);
}

/* On the loop's thread, inside a hook or while the loop does not run: then it
 * takes a turn for the handles to close. */
void sse_server_free(sse_server *s)
{
    sse_loop *loop;

    if (!s)
        return;
    loop = s->loop;
    sse__loop_ref(loop);
    sse__server_cut(s);
    s->freed = true;
    if (s->open_handles == 0 && s->conn_count == 0)
        destroy(s);
    else if (!sse__bell_is_here(loop->bell))
        for (int turn = 0; turn < 2; turn++)
            uv_run(&loop->uv, UV_RUN_NOWAIT);
    sse__loop_unref(loop);
}

/* ---- Metrics ---- */

static int add_delay(const sse_server *s, sse__buf *out)
{
    static const char *const bounds[SSE__DELAY_BUCKETS + 1] = {
        "0.001", "0.0025", "0.005", "0.01", "0.025",
        "0.05",  "0.1",    "1",     "+Inf"};
    char     sum[64];
    uint64_t total = 0;
    int      rc = sse__metric_head(out, "sse_loop_delay_seconds", "histogram",
                                   "How late the event loop was.");

    for (int i = 0; rc == SSE_OK && i <= SSE__DELAY_BUCKETS; i++) {
        total += s->counters.delay[i];
        rc = sse__metric_add(out, "sse_loop_delay_seconds_bucket", "le",
                             bounds[i], total);
    }
    snprintf(sum, sizeof(sum), "sse_loop_delay_seconds_sum %.6f\n",
             (double)s->counters.delay_sum_us / 1e6);
    if (rc == SSE_OK)
        rc = sse__buf_add_str(out, sum);
    if (rc == SSE_OK)
        rc = sse__metric_add(out, "sse_loop_delay_seconds_count", NULL, NULL,
                             total);
    return rc;
}

static int add_refused(const sse_server *s, sse__buf *out)
{
    static const char *const names[SSE__REFUSED_COUNT] = {
        "bad_request", "denied",    "not_found", "method",  "timeout",
        "conflict",    "too_large", "limit",     "internal"};
    static const char name[] = "sse_requests_refused_total";
    int               rc =
        sse__metric_head(out, name, "counter", "Requests refused, by reason.");

    for (int i = 0; rc == SSE_OK && i < SSE__REFUSED_COUNT; i++)
        rc = sse__metric_add(out, name, "reason", names[i],
                             s->counters.refused[i]);
    return rc;
}

int sse__server_metrics(const sse_server *s, sse__buf *out)
{
    int rc = sse__metric_one(out, "sse_connections", "gauge",
                             "Connections open now.", s->conn_count);

    if (rc == SSE_OK)
        rc = sse__metric_one(out, "sse_accepted_connections_total", "counter",
                             "Connections accepted.", s->counters.connections);
    if (rc == SSE_OK)
        rc = sse__metric_one(out, "sse_requests_total", "counter",
                             "Requests received.", s->counters.requests);
    if (rc == SSE_OK)
        rc = sse__metric_one(out, "sse_polls_total", "counter",
                             "Long polls received.", s->counters.polls);
    if (rc == SSE_OK)
        rc = add_refused(s, out);
    return rc < 0 ? rc : add_delay(s, out);
}
