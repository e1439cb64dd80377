/* SPDX-License-Identifier: MIT */
/* redis_link_state.h - a link from inside, for the files that make it up. */
#ifndef SSE_STORE_REDIS_LINK_STATE_H
#define SSE_STORE_REDIS_LINK_STATE_H

#include "../core/backoff.h"
#include "redis_conn.h"
#include "redis_link.h"
#include "redis_sentinel.h"

#define SSE__REDIS_SHA_BYTES 41

typedef struct sse__redis_pending {
    sse__redis_reply_fn *fn;
    void                *user;
    uint64_t             sent_ns;
} sse__redis_pending;

struct sse__redis_link {
    uv_loop_t             *loop;
    const sse__redis_url  *url;
    sse__redis_link_options opts;
    sse__redis_link_events  events;
    void                   *user;
    SSL_CTX                *tls; /* NULL without                            */

    uv_timer_t timer;   /* of the state: back-off, limit, or silence        */
    uv_timer_t aside;   /* the next question to a Sentinel, or the drain    */
    uv_check_t verdict; /* runs once all that lay in the socket is read     */
    uint32_t   parts;   /* handles, connections, questions not yet gone     */
    uint8_t    state;   /* CONNECTING stands for all the connection's own   */
    bool       draining;
    bool       fatal;   /* as `why` is                                      */
    bool       suspect; /* the silence was too long when last looked at     */

    sse__redis_conn     *conn;     /* or NULL                               */
    sse__redis_sentinel *question; /* or NULL                               */
    uint32_t             sentinel; /* which is asked first                  */
    uint32_t             turn;     /* which address is tried first          */
    uint16_t             port;     /* of the master that a Sentinel named,  */
    char                 host[SSE__REDIS_HOST_BYTES]; /* and its host       */

    sse__backoff backoff;
    uint64_t     random;
    uint64_t     up_ms;   /* when it came up                                */
    uint64_t     due_ms;  /* since when replies have been due, without end  */
    uint64_t     ping_ms; /* when the last ping was sent                    */
    uint32_t     step;    /* of the handshake                               */
    char         why[SSE__REDIS_WHY_BYTES];

    sse__redis_pending *pending; /* a ring of opts.max_in_flight            */
    uint32_t            first;
    uint32_t            count;
    char (*shas)[SSE__REDIS_SHA_BYTES]; /* of the scripts                   */

    sse__redis_stats   stats;
    sse__redis_traffic traffic;
};

/* redis_link.c: drops the connection, tells everybody, plans an attempt. */
void sse__redis_link_drop(sse__redis_link *l, const char *why, bool fatal);
void sse__redis_link_is_up(sse__redis_link *l);
void sse__redis_link_shut(sse__redis_link *l);

/* redis_handshake.c */
void sse__redis_handshake_begin(sse__redis_link *l);
void sse__redis_handshake_reply(sse__redis_link *l, const redisReply *reply);

/* Looks after an UP link in `ms` at the latest. */
void sse__redis_link_look_in(sse__redis_link *l, uint64_t ms);

/* redis_command.c */
void sse__redis_command_reply(sse__redis_link *l, const redisReply *reply);
void sse__redis_command_lose_all(sse__redis_link *l);

/* redis_push.c: what has to be done now and then. Returns when next, in ms. */
void     sse__redis_push_reply(sse__redis_link *l, const redisReply *reply);
uint32_t sse__redis_push_tend(sse__redis_link *l);

/* Both: from when on silence means loss, by uv_now(); 0 while it does not. */
uint64_t sse__redis_command_limit_ms(const sse__redis_link *l);
uint64_t sse__redis_push_limit_ms(const sse__redis_link *l);

/* Whether `reply` is an error of Redis's that begins like that. */
bool sse__redis_is_error(const redisReply *reply, const char *beginning);

#endif
