/* SPDX-License-Identifier: MIT */
/* redis_command.c - commands on a link, and their replies, which come in the
 * same order. */
#include "redis_link_state.h"

#include <stdio.h>
#include <string.h>

#include "sse.h"

const uint32_t sse__redis_rtt_us[SSE__REDIS_RTT_BUCKETS - 1] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 100000, 250000, 1000000};

bool sse__redis_is_error(const redisReply *reply, const char *beginning)
{
    return reply->type == REDIS_REPLY_ERROR &&
           strncmp(reply->str, beginning, strlen(beginning)) == 0;
}

/* ---- Sending ---- */

uint32_t sse__redis_link_room(const sse__redis_link *l)
{
    if (l->state != SSE__REDIS_LINK_UP || l->draining ||
        l->opts.role != SSE__REDIS_COMMANDS)
        return 0;
    return l->opts.max_in_flight - l->count;
}

static int check(const sse__redis_link *l)
{
    if (l->opts.role != SSE__REDIS_COMMANDS)
        return SSE_ERR_INVAL;
    if (l->draining || l->state == SSE__REDIS_LINK_CLOSED)
        return SSE_ERR_CLOSED;
    if (l->state != SSE__REDIS_LINK_UP)
        return SSE_ERR_STORE;
    return l->count < l->opts.max_in_flight ? SSE_OK : SSE_ERR_LIMIT;
}

static int send_command(sse__redis_link *l, const sse__redis_args *head,
                        const sse__redis_args *tail, sse__redis_reply_fn *fn,
                        void *user)
{
    int rc = check(l);

    if (rc == SSE_OK)
        rc = sse__redis_conn_send(l->conn, head, tail);
    if (rc < 0)
        return rc;
    l->pending[(l->first + l->count) % l->opts.max_in_flight] =
        (sse__redis_pending){fn, user, uv_hrtime()};
    l->stats.commands++;
    if (l->count++ == 0) {
        l->due_ms = uv_hrtime() / 1000000; /* uv_now() may be long ago */
        if (!uv_is_active((uv_handle_t *)&l->timer))
            sse__redis_link_look_in(l, l->opts.reply_ms);
    }
    return SSE_OK;
}

int sse__redis_send(sse__redis_link *l, uint32_t argc, const char *const *argv,
                    const size_t *lens, sse__redis_reply_fn *fn, void *user)
{
    const sse__redis_args args = {argc, argv, lens};

    return send_command(l, &args, NULL, fn, user);
}

int sse__redis_eval(sse__redis_link *l, uint32_t script, uint32_t key_count,
                    uint32_t argc, const char *const *argv, const size_t *lens,
                    sse__redis_reply_fn *fn, void *user)
{
    char                  keys[12];
    const char           *words[] = {"EVALSHA", NULL, keys};
    const sse__redis_args head = {3, words, NULL};
    const sse__redis_args tail = {argc, argv, lens};

    if (script >= l->opts.script_count)
        return SSE_ERR_INVAL;
    words[1] = l->shas[script];
    snprintf(keys, sizeof(keys), "%u", key_count);
    return send_command(l, &head, &tail, fn, user);
}

/* ---- Replies ---- */

static sse__redis_pending take_first(sse__redis_link *l)
{
    sse__redis_pending pending = l->pending[l->first];

    l->first = (l->first + 1) % l->opts.max_in_flight;
    l->count--;
    return pending;
}

static void count_reply(sse__redis_link *l, const sse__redis_pending *pending,
                        const redisReply *reply)
{
    sse__redis_stats *s = &l->stats;
    uint64_t          us = (uv_hrtime() - pending->sent_ns) / 1000;
    uint32_t          i = 0;

    while (i < SSE__REDIS_RTT_BUCKETS - 1 && us > sse__redis_rtt_us[i])
        i++;
    s->rtt_counts[i]++;
    s->rtt_last_us = us;
    s->rtt_sum_us += us;
    if (us > s->rtt_max_us)
        s->rtt_max_us = us;
    s->replies++;
    s->errors += reply->type == REDIS_REPLY_ERROR;
}

/* Errors after which only a new handshake can help: the scripts are gone, or
 * this Redis is no longer the master, or is not ready to be one, or we are no
 * longer logged in. */
static bool is_the_end(const redisReply *reply)
{
    static const char *const beginnings[] = {
        "NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED", "NOAUTH",
    };

    for (size_t i = 0; i < sizeof(beginnings) / sizeof(*beginnings); i++)
        if (sse__redis_is_error(reply, beginnings[i]))
            return true;
    return false;
}

static void drop(sse__redis_link *l, const char *reason)
{
    char why[SSE__REDIS_WHY_BYTES];

    snprintf(why, sizeof(why), "%s: %s", sse__redis_conn_where(l->conn),
             reason);
    sse__redis_link_drop(l, why, false);
}

/* Its command may close the link: nothing is touched then. */
void sse__redis_command_reply(sse__redis_link *l, const redisReply *reply)
{
    sse__redis_pending pending;

    if (l->count == 0) {
        drop(l, reply->type == REDIS_REPLY_ERROR
                    ? reply->str
                    : "a reply came that nobody had asked for");
        return;
    }
    pending = take_first(l);
    count_reply(l, &pending, reply);
    if (pending.fn)
        pending.fn(pending.user, SSE_OK, reply);
    if (l->state != SSE__REDIS_LINK_UP)
        return;
    if (is_the_end(reply))
        drop(l, reply->str);
    else if (l->draining && l->count == 0)
        sse__redis_link_shut(l);
}

void sse__redis_command_lose_all(sse__redis_link *l)
{
    while (l->count > 0) {
        sse__redis_pending pending = take_first(l);

        l->stats.lost++;
        if (pending.fn)
            pending.fn(pending.user, SSE_ERR_STORE, NULL);
    }
}

/* The time runs from the last byte of Redis's, not from the command: in a
 * burst, the last reply may well be late. */
uint64_t sse__redis_command_limit_ms(const sse__redis_link *l)
{
    uint64_t heard = sse__redis_conn_heard_ms(l->conn);

    if (l->count == 0)
        return 0;
    return (heard > l->due_ms ? heard : l->due_ms) + l->opts.reply_ms;
}
