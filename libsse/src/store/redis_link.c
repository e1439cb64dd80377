/* SPDX-License-Identifier: MIT */
/* redis_link.c - a link's life: attempts, time limits, loss, the end. */
#include "redis_link_state.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/options.h"
#include "../core/random.h"
#include "sse.h"

#define HEALTHY_MS 1000 /* up for so long, it starts over with the back-off */

static void on_timer(uv_timer_t *timer);
static void on_aside(uv_timer_t *timer);

/* ---- The end ---- */

static void finish(sse__redis_link *l)
{
    sse__redis_command_lose_all(l);
    l->events.closed(l->user);
    sse__tls_context_free(l->tls);
    sse__free(l->pending);
    sse__free(l->shas);
    sse__free(l);
}

static void drop_part(void *user)
{
    sse__redis_link *l = user;

    if (--l->parts == 0)
        finish(l);
}

static void on_handle_closed(uv_handle_t *handle)
{
    drop_part(handle->data);
}

/* What an attempt, or an UP link, has open. */
static void let_go(sse__redis_link *l)
{
    if (l->conn)
        sse__redis_conn_shut(l->conn);
    if (l->question)
        sse__redis_sentinel_shut(l->question);
    l->conn = NULL;
    l->question = NULL;
}

void sse__redis_link_shut(sse__redis_link *l)
{
    if (l->state == SSE__REDIS_LINK_CLOSED)
        return;
    l->state = SSE__REDIS_LINK_CLOSED;
    let_go(l);
    uv_close((uv_handle_t *)&l->timer, on_handle_closed);
    uv_close((uv_handle_t *)&l->aside, on_handle_closed);
    uv_close((uv_handle_t *)&l->verdict, on_handle_closed);
}

static void on_drained(uv_timer_t *timer)
{
    sse__redis_link_shut(timer->data);
}

void sse__redis_link_reset(sse__redis_link *l, const char *why)
{
    if (sse__redis_link_state_of(l) == SSE__REDIS_LINK_UP)
        sse__redis_link_drop(l, why, false);
}

void sse__redis_link_close(sse__redis_link *l, uint32_t drain_ms)
{
    if (drain_ms == 0 || l->state != SSE__REDIS_LINK_UP || l->count == 0) {
        sse__redis_link_shut(l);
        return;
    }
    l->draining = true;
    uv_timer_start(&l->aside, on_drained, drain_ms, 0);
}

/* ---- Loss ---- */

static void plan_attempt(sse__redis_link *l, bool fatal)
{
    uint32_t delay =
        sse__backoff_next(&l->backoff, sse__random_next(&l->random));

    if (fatal)
        delay += l->opts.backoff_cap_ms;
    uv_timer_start(&l->timer, on_timer, delay, 0);
}

/* A link that was up long enough starts over; one that never came up tries
 * another address next, and asks another Sentinel. */
static void count_loss(sse__redis_link *l)
{
    if (l->state != SSE__REDIS_LINK_UP) {
        l->stats.failures++;
        l->turn++;
        l->sentinel++;
        return;
    }
    l->stats.downs++;
    if (uv_now(l->loop) - l->up_ms >= HEALTHY_MS)
        sse__backoff_clear(&l->backoff);
}

void sse__redis_link_drop(sse__redis_link *l, const char *why, bool fatal)
{
    if (l->state == SSE__REDIS_LINK_CLOSED)
        return;
    snprintf(l->why, sizeof(l->why), "%s", why);
    l->fatal = fatal;
    count_loss(l);
    let_go(l);
    l->state = SSE__REDIS_LINK_DOWN;
    l->suspect = false;
    uv_timer_stop(&l->aside);
    uv_check_stop(&l->verdict);
    plan_attempt(l, fatal);

    sse__redis_command_lose_all(l);
    if (l->state == SSE__REDIS_LINK_DOWN && l->events.down)
        l->events.down(l->user, l->why, fatal);
    if (l->draining)
        sse__redis_link_shut(l);
}

void sse__redis_link_is_up(sse__redis_link *l)
{
    l->state = SSE__REDIS_LINK_UP;
    l->up_ms = l->ping_ms = uv_now(l->loop);
    l->stats.ups++;
    uv_timer_stop(&l->timer);
    if (l->url->kind == SSE__REDIS_SENTINEL)
        uv_timer_start(&l->aside, on_aside, l->opts.sentinel_ms, 0);
    if (l->opts.role == SSE__REDIS_SUBSCRIPTIONS)
        sse__redis_link_look_in(l, sse__redis_push_tend(l));
    if (l->events.up)
        l->events.up(l->user);
}

/* ---- One connection ---- */

static void on_open(void *user)
{
    sse__redis_link *l = user;

    l->state = SSE__REDIS_LINK_HANDSHAKE;
    sse__redis_handshake_begin(l);
}

static void on_reply(void *user, const redisReply *reply)
{
    sse__redis_link *l = user;

    if (l->state == SSE__REDIS_LINK_HANDSHAKE)
        sse__redis_handshake_reply(l, reply);
    else if (l->opts.role == SSE__REDIS_SUBSCRIPTIONS)
        sse__redis_push_reply(l, reply);
    else
        sse__redis_command_reply(l, reply);
}

/* What is hopeless in an attempt is an accident once the link was up. */
static void on_ended(void *user, const char *why, bool hopeless)
{
    sse__redis_link *l = user;

    l->conn = NULL;
    sse__redis_link_drop(l, why, hopeless && l->state != SSE__REDIS_LINK_UP);
}

static const sse__redis_conn_events conn_events = {
    .open = on_open, .reply = on_reply, .ended = on_ended, .gone = drop_part};

static void connect_to(sse__redis_link *l, const char *host, uint16_t port)
{
    const sse__redis_target target = {
        .host = host,
        .port = port,
        .path = l->url->path,
        .tls = l->tls,
        .turn = l->turn,
        .max_queued_bytes = l->opts.max_queued_bytes,
        .max_reply_bytes = l->opts.max_reply_bytes,
    };
    int rc = sse__redis_conn_new(l->loop, &target, &l->traffic, &conn_events, l,
                                 &l->conn);

    if (rc < 0) {
        sse__redis_link_drop(l, sse_strerror(rc), false);
        return;
    }
    l->parts++;
    l->state = SSE__REDIS_LINK_CONNECTING;
    uv_timer_start(&l->timer, on_timer, l->opts.connect_ms, 0);
}

/* ---- Sentinel ---- */

/* A Sentinel that cannot be asked costs an attempt, but not a link that is up. */
static void on_answer(void *user, const char *host, uint16_t port,
                      uint32_t which, const char *why)
{
    sse__redis_link *l = user;
    bool             is_up = l->state == SSE__REDIS_LINK_UP;

    l->question = NULL;
    if (!host && !is_up) {
        sse__redis_link_drop(l, why, false);
    } else if (!is_up) {
        l->sentinel = which;
        l->port = port;
        snprintf(l->host, sizeof(l->host), "%s", host);
        connect_to(l, l->host, l->port);
    } else if (host && (port != l->port || strcmp(host, l->host) != 0)) {
        sse__redis_link_drop(l, "Sentinel names another master now", false);
    } else if (!l->draining) {
        uv_timer_start(&l->aside, on_aside, l->opts.sentinel_ms, 0);
    }
}

static const sse__redis_sentinel_events question_events = {.answer = on_answer,
                                                           .gone = drop_part};

static int ask(sse__redis_link *l)
{
    int rc = sse__redis_sentinel_ask(l->loop, l->url, l->tls, l->sentinel,
                                     l->opts.ask_ms, &l->traffic,
                                     &question_events, l, &l->question);

    l->parts += rc == SSE_OK;
    return rc;
}

/* A failover that Redis itself did not tell of is found out by asking. */
static void on_aside(uv_timer_t *timer)
{
    sse__redis_link *l = timer->data;

    if (ask(l) < 0)
        uv_timer_start(&l->aside, on_aside, l->opts.sentinel_ms, 0);
}

/* ---- Silence ---- */

static uint64_t limit_ms(const sse__redis_link *l)
{
    return l->opts.role == SSE__REDIS_SUBSCRIPTIONS
               ? sse__redis_push_limit_ms(l)
               : sse__redis_command_limit_ms(l);
}

static bool is_silent(const sse__redis_link *l)
{
    uint64_t limit = limit_ms(l);

    return limit > 0 && uv_now(l->loop) >= limit;
}

static void on_verdict(uv_check_t *check)
{
    sse__redis_link *l = check->data;
    char             why[SSE__REDIS_WHY_BYTES];

    uv_check_stop(check);
    if (!is_silent(l)) {
        sse__redis_link_look_in(l, 0);
        return;
    }
    snprintf(why, sizeof(why), "%s: no answer in time",
             sse__redis_conn_where(l->conn));
    l->stats.timeouts++;
    sse__redis_link_drop(l, why, false);
}

/* The next look at a link that is not silent. */
static void plan_look(sse__redis_link *l)
{
    uint64_t limit = limit_ms(l);

    l->suspect = false;
    if (l->opts.role == SSE__REDIS_SUBSCRIPTIONS)
        sse__redis_link_look_in(l, sse__redis_push_tend(l));
    else if (limit > 0)
        sse__redis_link_look_in(l, limit - uv_now(l->loop));
}

/* A thread that was held up itself finds every limit passed, while the answers
 * lie in the socket, or its commands have not even left. So the first time that
 * a silence is too long, it gets a quarter more; and the verdict is spoken when
 * what is there by then has been read, which the loop does behind its timers. */
static void watch(sse__redis_link *l)
{
    uint32_t more = l->opts.role == SSE__REDIS_SUBSCRIPTIONS
                        ? l->opts.ping_ms / 2
                        : l->opts.reply_ms / 4;

    if (!is_silent(l)) {
        plan_look(l);
    } else if (!l->suspect) {
        l->suspect = true;
        sse__redis_link_look_in(l, more + 1);
    } else {
        uv_check_start(&l->verdict, on_verdict);
        sse__redis_link_look_in(l, 1); /* the loop must not sleep first */
    }
}

/* ---- Attempts and time limits ---- */

static void attempt(sse__redis_link *l)
{
    int rc;

    if (l->url->kind != SSE__REDIS_SENTINEL) {
        connect_to(l, l->url->hosts[0].name, l->url->hosts[0].port);
        return;
    }
    l->state = SSE__REDIS_LINK_ASKING; /* has time limits of its own */
    rc = ask(l);
    if (rc < 0)
        sse__redis_link_drop(l, sse_strerror(rc), false);
}

static const char *what_is_late(const sse__redis_link *l)
{
    switch (sse__redis_link_state_of(l)) {
    case SSE__REDIS_LINK_RESOLVING: return "the name was not resolved in time";
    case SSE__REDIS_LINK_CONNECTING: return "no connection in time";
    case SSE__REDIS_LINK_SECURING:
        return "no handshake of TLS in time: does it speak TLS there?";
    default: return "no answer to the handshake in time";
    }
}

static void give_up(sse__redis_link *l)
{
    char why[SSE__REDIS_WHY_BYTES];

    snprintf(why, sizeof(why), "%s: %s", sse__redis_conn_where(l->conn),
             what_is_late(l));
    l->stats.timeouts++;
    sse__redis_link_drop(l, why, false);
}

static void on_timer(uv_timer_t *timer)
{
    sse__redis_link *l = timer->data;

    if (l->state == SSE__REDIS_LINK_DOWN)
        attempt(l);
    else if (l->state != SSE__REDIS_LINK_UP)
        give_up(l);
    else
        watch(l);
}

void sse__redis_link_look_in(sse__redis_link *l, uint64_t ms)
{
    uv_timer_start(&l->timer, on_timer, ms, 0);
}

/* ---- The beginning ---- */

static void complete(sse__redis_link_options *o, const sse__redis_url *url)
{
    o->connect_ms = sse__option(o->connect_ms, 5000);
    o->reply_ms = sse__option(o->reply_ms, 2000);
    o->ping_ms = sse__option(o->ping_ms, 10000);
    o->sentinel_ms = sse__option(o->sentinel_ms, 5000);
    o->ask_ms = sse__option(o->ask_ms, 1000);
    o->backoff_base_ms = sse__option(o->backoff_base_ms, 20);
    o->backoff_cap_ms = sse__option(o->backoff_cap_ms, 5000);
    o->max_in_flight = sse__option(o->max_in_flight, 512);
    o->max_queued_bytes = sse__option(o->max_queued_bytes, 16 << 20);
    o->max_reply_bytes = sse__option(o->max_reply_bytes, 64 << 20);
    if (url->timeout_ms > 0)
        o->connect_ms = o->reply_ms = url->timeout_ms;
}

static int alloc_parts(sse__redis_link *l, char *why, size_t why_size)
{
    l->pending = sse__calloc(l->opts.max_in_flight, sizeof(*l->pending));
    l->shas = sse__calloc(l->opts.script_count + 1, sizeof(*l->shas));
    if (!l->pending || !l->shas) {
        snprintf(why, why_size, "%s", sse_strerror(SSE_ERR_NOMEM));
        return SSE_ERR_NOMEM;
    }
    return l->url->tls ? sse__tls_context_new(l->url, &l->tls, why, why_size)
                       : SSE_OK;
}

static void start(sse__redis_link *l)
{
    sse__backoff_init(&l->backoff, l->opts.backoff_base_ms,
                      l->opts.backoff_cap_ms, 0);
    l->random = l->opts.random_seed;
    l->timer.data = l->aside.data = l->verdict.data = l;
    uv_timer_init(l->loop, &l->timer);
    uv_timer_init(l->loop, &l->aside);
    uv_check_init(l->loop, &l->verdict);
    l->parts = 3;
    uv_timer_start(&l->timer, on_timer, 0, 0);
}

int sse__redis_link_new(uv_loop_t *loop, const sse__redis_url *url,
                        const sse__redis_link_options *opts,
                        const sse__redis_link_events *events, void *user,
                        sse__redis_link **out, char *why, size_t why_size)
{
    sse__redis_link *l = sse__calloc(1, sizeof(*l));
    int              rc;

    *out = NULL;
    if (!l) {
        snprintf(why, why_size, "%s", sse_strerror(SSE_ERR_NOMEM));
        return SSE_ERR_NOMEM;
    }
    l->loop = loop;
    l->url = url;
    l->opts = *opts;
    l->events = *events;
    l->user = user;
    complete(&l->opts, url);
    rc = alloc_parts(l, why, why_size);
    if (rc < 0) {
        sse__free(l->pending);
        sse__free(l->shas);
        sse__free(l);
        return rc;
    }
    start(l);
    *out = l;
    return SSE_OK;
}

/* ---- What can be asked ---- */

uint32_t sse__redis_link_state_of(const sse__redis_link *l)
{
    static const uint8_t of_conn[] = {
        [SSE__REDIS_RESOLVING] = SSE__REDIS_LINK_RESOLVING,
        [SSE__REDIS_CONNECTING] = SSE__REDIS_LINK_CONNECTING,
        [SSE__REDIS_SECURING] = SSE__REDIS_LINK_SECURING,
        [SSE__REDIS_OPEN] = SSE__REDIS_LINK_HANDSHAKE,
        [SSE__REDIS_SHUT] = SSE__REDIS_LINK_DOWN,
    };

    if (l->state == SSE__REDIS_LINK_CONNECTING)
        return of_conn[sse__redis_conn_state_of(l->conn)];
    return l->state;
}

const char *sse__redis_link_why(const sse__redis_link *l)
{
    return l->why;
}

bool sse__redis_link_is_fatal(const sse__redis_link *l)
{
    return l->fatal;
}

void sse__redis_link_get_stats(const sse__redis_link *l, sse__redis_stats *out)
{
    *out = l->stats;
    out->bytes_in = l->traffic.bytes_in;
    out->bytes_out = l->traffic.bytes_out;
    out->writes = l->traffic.writes;
    out->in_flight = l->count;
    out->queued_bytes = l->conn ? sse__redis_conn_queued_bytes(l->conn) : 0;
}
