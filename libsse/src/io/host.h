/* SPDX-License-Identifier: MIT */
/* host.h - a hub among threads: its lock, its clock, its thread for timers,
 * and the doors through which it wakes hosts. */
#ifndef SSE_IO_HOST_H
#define SSE_IO_HOST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../core/hub.h"
#include "sse.h"

struct sse_hub {
    sse__hub        core;        /* under the lock                          */
    pthread_mutex_t lock;
    pthread_cond_t  timer;       /* the thread must look at the wheel       */
    pthread_cond_t  progress;    /* for appends that wait on slow readers   */
    pthread_cond_t  signalled;   /* for doors that wait to close            */
    pthread_t       thread;
    int64_t         wakes_at_ms; /* when the thread looks next              */
    uint32_t        waiting;     /* appends that wait                       */
    uint32_t        flushing;    /* calls of sse_hub_flush() that wait      */
    atomic_bool     bound;       /* a thread or a descriptor ties it to a
                                  * process                                 */
    bool            started;     /* the thread runs                         */
    bool            stopping;
    bool            orphan;      /* nobody else is left: the thread frees it */
    struct sse__store *store;    /* or NULL; set before the first stream    */
    pthread_cond_t  answered;    /* for calls that wait on the store        */
    sse__buf        store_error; /* for sse_hub_store_error()               */
    atomic_uint     refs;
    atomic_uint    *parent;      /* 1 here, 0 in a child after fork()       */
};

/* A port that can be woken from any thread, after the lock is gone. */
typedef struct sse__door {
    sse__port   port;
    sse_hub    *hub;             /* counted                                 */
    atomic_uint refs;
    uint32_t    signals;         /* under way; under the hub's lock         */
    void (*signal)(struct sse__door *door); /* any thread, without the lock */
    void (*destroy)(struct sse__door *door);
} sse__door;

#define SSE__MADE_ID_BYTES 26

/* Makes up the id of a stream: 130 bits from the system, so that nobody guesses
 * one. False when the system gives none. */
bool sse__make_id(char out[SSE__MADE_ID_BYTES]);

/* A number that is 1 here, and 0 in a child after fork(). NULL when the system
 * gives none. */
atomic_uint *sse__parent_mark_new(void);
void         sse__parent_mark_free(atomic_uint *mark);

int64_t sse__clock_mono_ms(void);
int64_t sse__clock_wall_ms(void);

/* Locks the hub and tells it the time: SSE_OK, or SSE_ERR_FORKED, unlocked. */
int  sse__hub_enter(sse_hub *hub);
void sse__hub_leave(sse_hub *hub); /* unlocks, then wakes */

/* Lets others in for a moment, between enter and leave. */
void sse__hub_pause(sse_hub *hub);
void sse__hub_go_on(sse_hub *hub);
void sse__hub_ref(sse_hub *hub);

/* Starts the thread, if it does not run. With the lock. SSE_OK, SSE_ERR_IO. */
int sse__hub_start(sse_hub *hub);

/* Ties the hub to this process. With the lock. */
void sse__hub_bind(sse_hub *hub);

/* Waits for `cond`, or until `deadline_ms`. With the lock. False when the time
 * is over. */
bool sse__hub_wait(sse_hub *hub, pthread_cond_t *cond, int64_t deadline_ms);

/* Waits for a reader's progress, or until `deadline_ms`. With the lock. False
 * when the time is over. */
bool sse__hub_wait_progress(sse_hub *hub, int64_t deadline_ms);

void sse__door_init(sse__door *d, sse_hub *hub,
                    void (*signal)(sse__door *door),
                    void (*destroy)(sse__door *door));
void sse__door_ref(sse__door *d);
void sse__door_unref(sse__door *d); /* without the lock */

/* Closes its subscribers; no signal is begun after this, and none is under
 * way when it returns. */
void sse__door_close(sse__door *d);

#endif
