/* SPDX-License-Identifier: MIT */
/* redis_sentinel.c - one question to the Sentinels: where is the master? */
#include "redis_sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/alloc.h"
#include "sse.h"

#define MAX_QUEUED_BYTES 65536 /* a login and a question fit easily */
#define MAX_REPLY_BYTES 65536

struct sse__redis_sentinel {
    uv_timer_t            timer; /* of the Sentinel at hand                 */
    const sse__redis_url *url;
    SSL_CTX              *tls;
    sse__redis_traffic   *traffic;

    sse__redis_sentinel_events events;
    void                      *user;

    sse__redis_conn *conn;  /* to the Sentinel at hand, or NULL             */
    uint32_t         which; /* of the URL's hosts that is                   */
    uint32_t         left;  /* Sentinels to ask after it                    */
    uint32_t         timeout_ms;
    uint32_t         parts;      /* timer and connections not yet gone      */
    bool             logging_in; /* its answer is the next reply            */
    bool             shut;
    char             why[SSE__REDIS_WHY_BYTES];
};

/* ---- The end ---- */

static void drop_part(void *user)
{
    sse__redis_sentinel *s = user;
    void (*gone)(void *) = s->events.gone;
    void *owner = s->user;

    if (--s->parts > 0)
        return;
    sse__free(s);
    gone(owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
    drop_part(handle->data);
}

static void drop_conn(sse__redis_sentinel *s)
{
    if (s->conn)
        sse__redis_conn_shut(s->conn);
    s->conn = NULL;
}

void sse__redis_sentinel_shut(sse__redis_sentinel *s)
{
    if (s->shut)
        return;
    s->shut = true;
    drop_conn(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void answer(sse__redis_sentinel *s, const char *host, uint16_t port)
{
    sse__redis_sentinel_shut(s);
    s->events.answer(s->user, host, port, s->which, s->why);
}

/* ---- One after the other ---- */

static void ask_next(sse__redis_sentinel *s);

static void on_timer(uv_timer_t *timer)
{
    ask_next(timer->data);
}

/* This Sentinel does not help. The next is asked from a timer, so that none is
 * on the stack of the one before. */
static void give_up(sse__redis_sentinel *s, const char *reason)
{
    const sse__redis_host *host = &s->url->hosts[s->which];

    snprintf(s->why, sizeof(s->why), "Sentinel %s:%u: %s", host->name,
             host->port, reason);
    drop_conn(s);
    if (s->left == 0) {
        answer(s, NULL, 0);
        return;
    }
    s->left--;
    s->which = (s->which + 1) % s->url->host_count;
    uv_timer_start(&s->timer, on_timer, 0, 0);
}

static void on_timeout(uv_timer_t *timer)
{
    give_up(timer->data, "no answer in time");
}

static void send_question(sse__redis_sentinel *s, const char *const *argv,
                          uint32_t count)
{
    const sse__redis_args args = {count, argv, NULL};
    int                   rc = sse__redis_conn_send(s->conn, &args, NULL);

    if (rc < 0)
        give_up(s, sse_strerror(rc));
}

static void ask(sse__redis_sentinel *s)
{
    const char *const argv[] = {"SENTINEL", "get-master-addr-by-name",
                                s->url->master};

    send_question(s, argv, 3);
}

/* The question waits for the answer to AUTH: before it, Redis refuses what is
 * long as a mistake of the protocol. */
static void on_open(void *user)
{
    sse__redis_sentinel  *s = user;
    const sse__redis_url *url = s->url;
    const char *const     with_user[] = {"AUTH", url->sentinel_user,
                                         url->sentinel_password};
    const char *const     without[] = {"AUTH", url->sentinel_password};

    s->logging_in = url->sentinel_password != NULL;
    if (!s->logging_in)
        ask(s);
    else if (url->sentinel_user)
        send_question(s, with_user, 3);
    else
        send_question(s, without, 2);
}

/* Two strings, an address and a port; or nil, when it has no such master. */
static void take_address(sse__redis_sentinel *s, const redisReply *reply)
{
    unsigned long port = 0;

    if (reply->type == REDIS_REPLY_NIL) {
        give_up(s, "it knows no master of that name");
        return;
    }
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING &&
        reply->element[1]->type == REDIS_REPLY_STRING)
        port = strtoul(reply->element[1]->str, NULL, 10);
    if (port == 0 || port > UINT16_MAX || reply->element[0]->len == 0 ||
        reply->element[0]->len >= SSE__REDIS_HOST_BYTES)
        give_up(s, "its answer is no address: is it a Sentinel?");
    else
        answer(s, reply->element[0]->str, (uint16_t)port);
}

static void on_reply(void *user, const redisReply *reply)
{
    sse__redis_sentinel *s = user;

    if (reply->type == REDIS_REPLY_ERROR) {
        give_up(s, sse__redis_refusal(reply, s->url->sentinel_password));
    } else if (s->logging_in) {
        s->logging_in = false;
        ask(s);
    } else {
        take_address(s, reply);
    }
}

static void on_ended(void *user, const char *why, bool hopeless)
{
    sse__redis_sentinel *s = user;

    (void)hopeless;
    s->conn = NULL;
    give_up(s, why);
}

static const sse__redis_conn_events conn_events = {
    .open = on_open, .reply = on_reply, .ended = on_ended, .gone = drop_part};

static void ask_next(sse__redis_sentinel *s)
{
    const sse__redis_target target = {
        .host = s->url->hosts[s->which].name,
        .port = s->url->hosts[s->which].port,
        .tls = s->tls,
        .max_queued_bytes = MAX_QUEUED_BYTES,
        .max_reply_bytes = MAX_REPLY_BYTES,
    };
    int rc;

    rc = sse__redis_conn_new(s->timer.loop, &target, s->traffic, &conn_events,
                             s, &s->conn);
    if (rc < 0) {
        give_up(s, sse_strerror(rc));
        return;
    }
    s->parts++;
    uv_timer_start(&s->timer, on_timeout, s->timeout_ms, 0);
}

int sse__redis_sentinel_ask(uv_loop_t *loop, const sse__redis_url *url,
                            SSL_CTX *tls, uint32_t first, uint32_t timeout_ms,
                            sse__redis_traffic               *traffic,
                            const sse__redis_sentinel_events *events,
                            void *user, sse__redis_sentinel **out)
{
    sse__redis_sentinel *s = sse__calloc(1, sizeof(*s));

    *out = NULL;
    if (!s)
        return SSE_ERR_NOMEM;
    s->url = url;
    s->tls = tls;
    s->traffic = traffic;
    s->events = *events;
    s->user = user;
    s->which = first % url->host_count;
    s->left = url->host_count - 1;
    s->timeout_ms = timeout_ms;
    s->parts = 1;
    s->timer.data = s;
    uv_timer_init(loop, &s->timer);
    uv_timer_start(&s->timer, on_timer, 0, 0);
    *out = s;
    return SSE_OK;
}
