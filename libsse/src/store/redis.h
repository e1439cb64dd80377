/* SPDX-License-Identifier: MIT */
/* redis.h - the Redis engine of a hub's store: one thread, one loop, two links.
 *
 * Whatever happens on the engine's thread happens in a turn: with the hub's
 * lock, from sse__redis_enter() to sse__redis_leave(). So do all functions below
 * and all replies to calls; those that are for others as well say so. */
#ifndef SSE_STORE_REDIS_H
#define SSE_STORE_REDIS_H

#include <pthread.h>
#include <uv.h>

#include "../core/backoff.h"
#include "../core/map.h"
#include "redis_call.h"
#include "redis_link.h"
#include "redis_scripts.h"
#include "redis_url.h"
#include "store.h"

#define SSE__NODE_BYTES 16   /* of a node's name: letters and digits        */
#define SSE__TOKEN_BYTES 48  /* the longest owner token, with its NUL       */
#define SSE__TROUBLE_BYTES 256

/* How long Redis keeps things, in seconds. */
typedef struct sse__redis_keep {
    uint64_t events, meta, stream, final;
} sse__redis_keep;

/* What is counted here; the links count for themselves. */
typedef struct sse__redis_counters {
    uint64_t appended, batches;       /* rows of owners, and calls          */
    uint64_t dups, moved, restores;
    uint64_t stolen, closed, gone;    /* how streams were lost, or forgotten */
    uint64_t renumbered;
    uint64_t lost;                    /* rows that fell out of the spool    */
    uint64_t refused;                 /* errors of Redis's                  */
    uint64_t timeouts;                /* operations that got no answer      */
    uint64_t beats, stops_told;
    uint64_t claimed, settled;
    uint64_t gaps, unreadable, reads, rows_read; /* redis_tail.c             */
} sse__redis_counters;

/* Why a link is not up. */
typedef struct sse__redis_health {
    bool fatal; /* it is refused, and will be                               */
    char why[SSE__TROUBLE_BYTES];
} sse__redis_health;

/* A message of a node's to itself: redis_probe.c. */
typedef struct sse__probe {
    uint64_t number;    /* of the last one                                  */
    uint64_t sent_us;   /* when it was; 0: none is under way                */
    uint64_t delay_us;  /* what the last one that came took                 */
    uint64_t came, lost;
    int64_t  due_ms;    /* the next one, or the end of this one's time      */
    bool     listening; /* on the control channel                           */
    bool     deaf;      /* the link must be dropped                         */
} sse__probe;

typedef struct sse__redis {
    sse__store       base;
    sse__redis_url   url;
    const char      *prefix;
    sse__redis_keep  keep;
    uv_loop_t        loop;
    uv_async_t       bell;
    uv_timer_t       timer;    /* whatever is due next                      */
    int64_t          timer_ms; /* when it fires, or INT64_MAX               */
    pthread_t        thread;
    sse__redis_link *commands; /* NULL once it is closed                    */
    sse__redis_link *pushes;   /* subscriptions; likewise                   */
    sse__redis_script scripts[SSE__REDIS_SCRIPT_COUNT]; /* for the link     */
    char  node[SSE__NODE_BYTES + 1]; /* this hub's name, made up            */
    char  client_name[SSE__NODE_BYTES + 8];
    char *control;             /* channel on which this node is told        */
    char *probe;               /* channel on which nobody listens           */
    char  channels[16];        /* what a stream's channel has behind the prefix:
                                * "ch:"; Redis has one set of channels for all
                                * databases, so "ch5:" in database 5        */
    sse__call call;            /* the one that is being put together        */

    uint64_t seed;
    bool    commands_up, pushes_up;
    bool    was_up;            /* so there is somebody to wait for          */
    sse__redis_health commands_health, pushes_health;
    bool    closing;           /* nothing new; what is left is sent         */
    bool    closed;            /* the links are closing, or closed          */
    int64_t drain_by_ms;
    char    trouble[SSE__TROUBLE_BYTES]; /* why Redis takes no writes, or "" */
    int64_t trouble_ms;        /* when it said so last                      */
    int64_t hold_ms;           /* nothing is sent until then                */
    sse__backoff backoff;      /* while it takes none                       */
    sse__redis_counters counters;
    sse__probe          probe_state;
    sse__redis_stats    commands_stats, pushes_stats; /* as of the last turn */

    sse__link asked;           /* operations not looked at yet              */
    sse__link jobs;            /* sse__job: operations to be sent           */
    sse__link sent_jobs;       /* those that wait for a reply               */
    sse__link creating;        /* writers whose registration is waited for  */
    int64_t   jobs_ms;         /* when their time is looked at              */
    sse__map  writers;         /* sse__writer by stream id                  */
    sse__link all_writers;
    sse__link due;             /* writers that have something to send       */
    sse__link lingering;       /* writers that let rows collect             */
    uint32_t  busy;            /* writers with a command under way          */
    sse__link ended;           /* sse__ended: streams that are stored whole */
    uint64_t  runs;            /* owner tokens given out                    */
    uint64_t  batches;         /* numbers of batches given out              */
    uint64_t  names;           /* of writers for one append                 */
    int64_t   beat_ms;         /* when life signs are due                   */
    int64_t   sweep_ms;        /* when orphans are looked for               */
    int64_t   mark_ms;         /* when to say again that we have a guardian */
    bool      sweeping;
    sse__map  claims;          /* sse__claim by stream id                   */
    void     *tail;            /* whatever redis_tail.c keeps               */
} sse__redis;

static inline sse__redis *sse__redis_of(sse__store *store)
{
    return (sse__redis *)(void *)store; /* its first member */
}

/* ---- redis.c ---------------------------------------------------------------- */

/* A turn of the engine's thread: what came up in it is done, and the timer set,
 * before the lock goes. */
void sse__redis_enter(sse__redis *r);
void sse__redis_leave(sse__redis *r);

static inline int64_t sse__redis_now(const sse__redis *r)
{
    return r->base.hub->core.mono_ms;
}

/* Calls that may be sent now. */
uint32_t sse__redis_room(const sse__redis *r);

/* Redis answered with an error: if it concerns whatever is written, nothing is
 * sent for a while. */
void sse__redis_refused(sse__redis *r, const redisReply *reply);

/* It took a write. */
void sse__redis_accepted(sse__redis *r);

/* Begins an operation of the engine's own: one that is abandoned, and so is
 * freed when it is finished. */
void sse__redis_begin(sse__redis *r, sse__op *op);

/* ---- redis_tail.c: mirrors, and what follows them ---------------------------
 * It answers the operations that it gets by their time. A mirror gets its tail
 * when it is fetched, or by follow. */

void sse__tail_fetch(sse__redis *r, sse__op *op);  /* SSE__OP_FETCH         */
void sse__tail_append(sse__redis *r, sse__op *op); /* SSE__OP_APPEND        */

/* A mirror that this hub has made and registered: its log stands before the
 * oldest event that the store has. */
void sse__tail_follow(sse__redis *r, sse__stream *s);

void sse__tail_dirty(sse__redis *r, sse__stream *s); /* a mirror            */
void sse__tail_pushed(sse__redis *r, const sse__redis_push *push);
void sse__tail_link_up(sse__redis *r);     /* subscriptions                 */
void sse__tail_link_down(sse__redis *r);
void sse__tail_commands_up(sse__redis *r); /* calls that were under way have */
void sse__tail_commands_down(sse__redis *r); /* got their NULL before this   */
void sse__tail_tick(sse__redis *r);
int64_t sse__tail_due_ms(const sse__redis *r); /* when to tick, or INT64_MAX */
void sse__tail_close(sse__redis *r);       /* lets go of streams, ends ops  */
uint64_t sse__tail_count(const sse__redis *r); /* subscriptions, for metrics */

#endif
