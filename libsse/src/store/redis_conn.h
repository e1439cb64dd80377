/* SPDX-License-Identifier: MIT */
/* redis_conn.h - one connection to a Redis or a Sentinel: from its name to
 * commands out and replies in. It knows nothing of what they mean, has no
 * clock, and connects once. Everything happens on the loop's thread. */
#ifndef SSE_STORE_REDIS_CONN_H
#define SSE_STORE_REDIS_CONN_H

#include <hiredis.h>
#include <uv.h>

#include "redis_format.h"
#include "redis_tls.h"

#define SSE__REDIS_WHY_BYTES 512 /* the longest sentence about a failure */

typedef enum sse__redis_conn_state {
    SSE__REDIS_RESOLVING,
    SSE__REDIS_CONNECTING,
    SSE__REDIS_SECURING, /* the handshake of TLS                            */
    SSE__REDIS_OPEN,
    SSE__REDIS_SHUT /* waits for libuv to let go of it                      */
} sse__redis_conn_state;

/* Counted by connections, kept by who made them. */
typedef struct sse__redis_traffic {
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t writes; /* of the socket                                       */
} sse__redis_traffic;

typedef struct sse__redis_target {
    const char *host;
    uint16_t    port;
    const char *path;             /* of a Unix socket instead, or NULL      */
    SSL_CTX    *tls;              /* NULL: none                             */
    uint32_t    turn;             /* which address of the host goes first   */
    size_t      max_queued_bytes; /* of commands not yet with the system    */
    size_t      max_reply_bytes;
} sse__redis_target;

/* None is called inside a function below; after sse__redis_conn_shut() only
 * `gone` is. */
typedef struct sse__redis_conn_events {
    void (*open)(void *user); /* commands may be sent                       */

    /* `reply` is gone when it returns. */
    void (*reply)(void *user, const redisReply *reply);

    /* It failed and has shut itself. `hopeless` when another attempt would
     * fail in the same way. */
    void (*ended)(void *user, const char *why, bool hopeless);

    void (*gone)(void *user); /* the last of it; its memory is freed        */
} sse__redis_conn_events;

typedef struct sse__redis_conn sse__redis_conn;

/* `target` is read during the call, its context excepted; `traffic` must live
 * until `gone`. SSE_OK, SSE_ERR_NOMEM or SSE_ERR_IO. */
int sse__redis_conn_new(uv_loop_t *loop, const sse__redis_target *target,
                        sse__redis_traffic           *traffic,
                        const sse__redis_conn_events *events, void *user,
                        sse__redis_conn **out);

/* Closes it at once, in any state. */
void sse__redis_conn_shut(sse__redis_conn *c);

/* Takes a command, once it is open. Those of one turn of the loop leave in one
 * write. SSE_OK; SSE_ERR_NOMEM; SSE_ERR_LIMIT when too much is queued;
 * SSE_ERR_TOO_BIG when it would be so even in an empty queue. */
int sse__redis_conn_send(sse__redis_conn *c, const sse__redis_args *head,
                         const sse__redis_args *tail);

uint8_t  sse__redis_conn_state_of(const sse__redis_conn *c);
uint64_t sse__redis_conn_heard_ms(const sse__redis_conn *c); /* last byte in */
size_t   sse__redis_conn_queued_bytes(const sse__redis_conn *c);

/* "host:port" or the path, for sentences. */
const char *sse__redis_conn_where(const sse__redis_conn *c);

/* The text of an error, but not when it repeats a password: who does not know
 * AUTH, quotes what came with it. `secret` may be NULL. */
const char *sse__redis_refusal(const redisReply *error, const char *secret);

#endif
