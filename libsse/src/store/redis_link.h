/* SPDX-License-Identifier: MIT */
/* redis_link.h - a link to a Redis that comes back by itself: connection,
 * login, scripts, commands and their replies, or subscriptions.
 *
 * It knows nothing of streams. It begins to connect when it is made and tries
 * for ever, until it is closed. Everything happens on the loop's thread; none
 * of its functions calls an event or a reply's function before it returns. */
#ifndef SSE_STORE_REDIS_LINK_H
#define SSE_STORE_REDIS_LINK_H

#include <hiredis.h>
#include <uv.h>

#include "redis_url.h"

typedef struct sse__redis_link sse__redis_link;

/* ---- Options ---- */

typedef enum sse__redis_role {
    SSE__REDIS_COMMANDS,
    SSE__REDIS_SUBSCRIPTIONS /* pushes only: Redis takes no other command   */
} sse__redis_role;

typedef struct sse__redis_script {
    const char *text;
    size_t      len;
} sse__redis_script;

/* Zero means the default. What is pointed at must live until `closed`. */
typedef struct sse__redis_link_options {
    const char              *client_name;   /* for CLIENT LIST; NULL: none  */
    const char              *probe_channel; /* one it must be allowed to
                                               publish on; NULL: no probe   */
    const sse__redis_script *scripts;       /* loaded in each handshake     */
    uint64_t random_seed;      /* of the jitter                             */
    uint32_t script_count;
    uint32_t role;             /* an sse__redis_role                        */
    uint32_t connect_ms;       /* for connection and handshake: 5000        */
    uint32_t reply_ms;         /* silence while a reply is due, and up to a
                                  quarter more: 2000                        */
    uint32_t ping_ms;          /* subscriptions: a ping after half of it in
                                  silence, the end after twice: 10000       */
    uint32_t sentinel_ms;      /* between questions to a Sentinel: 5000     */
    uint32_t ask_ms;           /* for one Sentinel to answer: 1000          */
    uint32_t backoff_base_ms;  /* 20                                        */
    uint32_t backoff_cap_ms;   /* 5000                                      */
    uint32_t max_in_flight;    /* commands without a reply: 512             */
    uint32_t max_queued_bytes; /* not yet with the system: 16 MiB           */
    uint32_t max_reply_bytes;  /* of a reply that is not yet complete, looked
                                  at after each read of 64 KiB: 64 MiB      */
} sse__redis_link_options;

/* ---- Events ---- */

typedef enum sse__redis_push_kind {
    SSE__REDIS_MESSAGE,
    SSE__REDIS_SUBSCRIBED,
    SSE__REDIS_UNSUBSCRIBED
} sse__redis_push_kind;

typedef struct sse__redis_push {
    uint32_t    kind;
    const char *channel;
    size_t      channel_len;
    const char *message; /* "" for the other kinds                          */
    size_t      message_len;
} sse__redis_push;

typedef struct sse__redis_link_events {
    void (*up)(void *user);

    /* The link was lost, or an attempt failed; another one follows. `fatal`
     * when only a change of the configuration will help. Commands without a
     * reply have been told before. */
    void (*down)(void *user, const char *why, bool fatal);

    /* Subscriptions only; in order. It is gone when this returns. */
    void (*push)(void *user, const sse__redis_push *push);

    /* The last of it, some time after sse__redis_link_close(). */
    void (*closed)(void *user);
} sse__redis_link_events;

/* A command's reply, which is gone when this returns and may be an error of
 * Redis's; or SSE_ERR_STORE and NULL: the link was lost, and whether the
 * command was carried out is not known. Called exactly once. */
typedef void sse__redis_reply_fn(void *user, int err, const redisReply *reply);

/* ---- Life ---- */

/* `url` must live until `closed`; any of `events` but `closed` may be NULL.
 * The link keeps the loop alive. SSE_OK, SSE_ERR_NOMEM, or SSE_ERR_INVAL with
 * a sentence in `why` when a file of the URL's does not serve. */
int sse__redis_link_new(uv_loop_t *loop, const sse__redis_url *url,
                        const sse__redis_link_options *opts,
                        const sse__redis_link_events *events, void *user,
                        sse__redis_link **out, char *why, size_t why_size);

/* Waits up to `drain_ms` for the replies that are due; then, and with 0 at
 * once, ends the link. Commands still without a reply are told. The link's
 * memory is freed when `closed` returns. Legal in every state, and again. */
void sse__redis_link_close(sse__redis_link *l, uint32_t drain_ms);

/* Drops the connection of a link that is up; another attempt follows. Not in an
 * event or a reply's function: `down` is called before this returns. */
void sse__redis_link_reset(sse__redis_link *l, const char *why);

/* ---- Commands ---- */

/* `lens` may be NULL for strings. SSE_OK, and `fn` (which may be NULL) follows;
 * or it does not: SSE_ERR_STORE while the link is not up, SSE_ERR_CLOSED once
 * it closes, SSE_ERR_LIMIT when too much is under way, SSE_ERR_TOO_BIG for
 * what will never fit, SSE_ERR_NOMEM. What is sent in one turn of the loop
 * leaves in one write. */
int sse__redis_send(sse__redis_link *l, uint32_t argc, const char *const *argv,
                    const size_t *lens, sse__redis_reply_fn *fn, void *user);

/* EVALSHA of one of the link's scripts; `argv` are the keys, then the rest. */
int sse__redis_eval(sse__redis_link *l, uint32_t script, uint32_t key_count,
                    uint32_t argc, const char *const *argv, const size_t *lens,
                    sse__redis_reply_fn *fn, void *user);

/* Commands that may be sent now; 0 while the link is not up. */
uint32_t sse__redis_link_room(const sse__redis_link *l);

/* On a link for subscriptions; results as for send. Each channel is answered
 * by a push. A new connection has none: subscribe again when it is up. */
int sse__redis_subscribe(sse__redis_link *l, uint32_t count,
                         const char *const *channels, const size_t *lens);
int sse__redis_unsubscribe(sse__redis_link *l, uint32_t count,
                           const char *const *channels, const size_t *lens);

/* ---- What can be asked ---- */

typedef enum sse__redis_link_state {
    SSE__REDIS_LINK_DOWN, /* waits for the next attempt                     */
    SSE__REDIS_LINK_ASKING, /* a Sentinel                                   */
    SSE__REDIS_LINK_RESOLVING,
    SSE__REDIS_LINK_CONNECTING,
    SSE__REDIS_LINK_SECURING,
    SSE__REDIS_LINK_HANDSHAKE,
    SSE__REDIS_LINK_UP,
    SSE__REDIS_LINK_CLOSED
} sse__redis_link_state;

uint32_t sse__redis_link_state_of(const sse__redis_link *l);

/* Why it went down last, or why the last attempt failed; "" before. */
const char *sse__redis_link_why(const sse__redis_link *l);
bool        sse__redis_link_is_fatal(const sse__redis_link *l);

#define SSE__REDIS_RTT_BUCKETS 12

/* The bounds of the buckets; the last is for whatever takes longer. */
extern const uint32_t sse__redis_rtt_us[SSE__REDIS_RTT_BUCKETS - 1];

typedef struct sse__redis_stats {
    uint64_t commands;
    uint64_t replies;
    uint64_t errors;   /* of the replies                                    */
    uint64_t lost;     /* commands without a reply                          */
    uint64_t pushes;   /* messages                                          */
    uint64_t ups;      /* times the link came up                            */
    uint64_t downs;    /* times it was lost, failed attempts not counted    */
    uint64_t failures; /* failed attempts                                   */
    uint64_t timeouts; /* of either                                         */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t writes;
    uint64_t rtt_last_us;
    uint64_t rtt_max_us;
    uint64_t rtt_sum_us; /* of all replies to commands                      */
    uint64_t rtt_counts[SSE__REDIS_RTT_BUCKETS];
    uint32_t in_flight;  /* now                                             */
    uint32_t reserved;
    uint64_t queued_bytes; /* now                                           */
} sse__redis_stats;

void sse__redis_link_get_stats(const sse__redis_link *l, sse__redis_stats *out);

#endif
