/* SPDX-License-Identifier: MIT */
/* loop.h - one libuv loop, its servers and clients, and how other threads
 * reach it. */
#ifndef SSE_IO_LOOP_H
#define SSE_IO_LOOP_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "../core/list.h"
#include "sse.h"

#define SSE__READ_BYTES 65536

/* Outlives its loop for as long as somebody may still want to wake it. */
typedef struct sse__bell {
    pthread_mutex_t lock;
    uv_async_t     *async; /* NULL once the loop is gone                    */
    atomic_uint     refs;
    atomic_bool     running;
    pthread_t       thread; /* while it runs                                */
} sse__bell;

void sse__bell_ring(sse__bell *bell); /* any thread */
void sse__bell_ref(sse__bell *bell);
void sse__bell_unref(sse__bell *bell);

struct sse_loop {
    uv_loop_t       uv;
    uv_async_t      async;
    sse__bell      *bell;
    sse__link       servers;
    atomic_uint     refs;    /* the owner's one, its servers' and clients'  */
    atomic_int      stops;   /* calls of sse_loop_stop()                    */
    int             stops_seen;
    bool            in_turn; /* clients get their turns, or are about to    */
    uint32_t        keeps;   /* what keeps it running beside uv's handles   */
    atomic_uint    *parent;  /* 1 here, 0 in a child after fork()           */
    atomic_bool     bound;   /* it has run: it is of this process           */

    pthread_mutex_t gate;    /* held to begin, to end, and to do the loop's
                              * work while it does not run                  */
    pthread_cond_t  passed;  /* a client has left, or the loop has ended    */
    pthread_t       thread;  /* of sse_loop_start()                         */
    bool            started;
    atomic_bool     quit;    /* nobody holds the loop: its thread ends      */
    bool            orphan;  /* and frees it                                */

    pthread_mutex_t inbox;   /* guards these two                            */
    sse__link       clients;
    sse__link       woken;   /* clients that are due a turn                 */
    struct sse__net *net;    /* NULL before the first request               */
    char            read_buf[SSE__READ_BYTES]; /* one read at a time uses it */
};

void sse__loop_ref(sse_loop *loop);
void sse__loop_unref(sse_loop *loop);

/* Keeps it running. On its thread. */
void sse__loop_keep(sse_loop *loop);
void sse__loop_release(sse_loop *loop);

bool sse__loop_is_here(const sse_loop *loop); /* it runs on this thread     */
bool sse__loop_forked(const sse_loop *loop);  /* this is a child process    */

/* Gives the woken clients their turns. On the loop's thread, at the end of
 * whatever libuv has called. */
void sse__loop_turn(sse_loop *loop);

/* A write to a reader that is gone raises SIGPIPE, which would end a program
 * that does not expect it. It is held back on this thread while the library
 * writes, and what came of it is taken back before the program gets its mask
 * again. */
typedef struct sse__pipe_guard {
    sigset_t old;
    bool     pending; /* one was there before */
} sse__pipe_guard;

void sse__pipe_hold(sse__pipe_guard *g);
void sse__pipe_release(const sse__pipe_guard *g);

/* Whether the loop runs, and on the caller's thread. */
bool sse__bell_is_here(const sse__bell *bell);

#endif
