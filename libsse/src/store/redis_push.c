/* SPDX-License-Identifier: MIT */
/* redis_push.c - subscriptions: what Redis sends unasked, and whether it is
 * still there when it sends nothing. */
#include "redis_link_state.h"

#include <stdio.h>
#include <string.h>

#include "sse.h"

/* ---- Subscribing ---- */

static int subscribe(sse__redis_link *l, const char *verb, uint32_t count,
                     const char *const *channels, const size_t *lens)
{
    const sse__redis_args head = {1, &verb, NULL};
    const sse__redis_args tail = {count, channels, lens};

    if (l->opts.role != SSE__REDIS_SUBSCRIPTIONS || count == 0)
        return SSE_ERR_INVAL;
    if (l->draining || l->state == SSE__REDIS_LINK_CLOSED)
        return SSE_ERR_CLOSED;
    if (l->state != SSE__REDIS_LINK_UP)
        return SSE_ERR_STORE;
    return sse__redis_conn_send(l->conn, &head, &tail);
}

int sse__redis_subscribe(sse__redis_link *l, uint32_t count,
                         const char *const *channels, const size_t *lens)
{
    return subscribe(l, "SUBSCRIBE", count, channels, lens);
}

int sse__redis_unsubscribe(sse__redis_link *l, uint32_t count,
                           const char *const *channels, const size_t *lens)
{
    return subscribe(l, "UNSUBSCRIBE", count, channels, lens);
}

/* ---- Pushes ---- */

static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING;
}

/* Three elements, of which two are names: what it is, and the channel. */
static bool take_push(const redisReply *reply, sse__redis_push *push)
{
    static const char *const kinds[] = {
        [SSE__REDIS_MESSAGE] = "message",
        [SSE__REDIS_SUBSCRIBED] = "subscribe",
        [SSE__REDIS_UNSUBSCRIBED] = "unsubscribe",
    };

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        !is_text(reply->element[0]) || !is_text(reply->element[1]))
        return false;
    *push = (sse__redis_push){.channel = reply->element[1]->str,
                              .channel_len = reply->element[1]->len,
                              .message = ""};
    while (strcmp(reply->element[0]->str, kinds[push->kind]) != 0)
        if (++push->kind == sizeof(kinds) / sizeof(*kinds))
            return false;
    if (push->kind != SSE__REDIS_MESSAGE)
        return true;
    push->message = reply->element[2]->str;
    push->message_len = reply->element[2]->len;
    return is_text(reply->element[2]);
}

/* The answer to PING: a word, or an array once there are subscriptions. */
static bool is_pong(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STATUS ||
           (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2);
}

static void drop(sse__redis_link *l, const char *reason, bool fatal)
{
    char why[SSE__REDIS_WHY_BYTES];

    snprintf(why, sizeof(why), "%s: %s", sse__redis_conn_where(l->conn),
             reason);
    sse__redis_link_drop(l, why, fatal);
}

void sse__redis_push_reply(sse__redis_link *l, const redisReply *reply)
{
    sse__redis_push push;

    if (take_push(reply, &push)) {
        l->stats.pushes += push.kind == SSE__REDIS_MESSAGE;
        if (l->events.push)
            l->events.push(l->user, &push);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        drop(l, reply->str, sse__redis_is_error(reply, "NOPERM"));
    } else if (!is_pong(reply)) {
        drop(l, "a reply came that is no push", false);
    }
}

/* ---- Silence ---- */

static void ping(sse__redis_link *l)
{
    const char *const     word = "PING";
    const sse__redis_args args = {1, &word, NULL};

    /* A queue that is full is as good: its commands will be answered. */
    sse__redis_conn_send(l->conn, &args, NULL);
    l->ping_ms = uv_now(l->loop);
}

static bool is_pinged(const sse__redis_link *l)
{
    return l->ping_ms > sse__redis_conn_heard_ms(l->conn);
}

uint64_t sse__redis_push_limit_ms(const sse__redis_link *l)
{
    if (!is_pinged(l))
        return 0;
    return sse__redis_conn_heard_ms(l->conn) + 2 * (uint64_t)l->opts.ping_ms;
}

uint32_t sse__redis_push_tend(sse__redis_link *l)
{
    uint64_t silence = uv_now(l->loop) - sse__redis_conn_heard_ms(l->conn);
    uint32_t half = l->opts.ping_ms / 2 + 1;

    if (silence >= half && !is_pinged(l))
        ping(l);
    return half;
}
