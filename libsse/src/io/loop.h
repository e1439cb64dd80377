/* SPDX-License-Identifier: MIT */
/* loop.h - one libuv loop, its servers, and how other threads reach it. */
#ifndef SSE_IO_LOOP_H
#define SSE_IO_LOOP_H

#include <pthread.h>
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
    uv_loop_t   uv;
    uv_async_t  async;
    sse__bell  *bell;
    sse__link   servers;
    uint32_t    refs;        /* the owner's one, and its servers'           */
    atomic_int  stops;       /* calls of sse_loop_stop()                    */
    int         stops_seen;
    char        read_buf[SSE__READ_BYTES]; /* one read at a time uses it    */
};

void sse__loop_ref(sse_loop *loop);
void sse__loop_unref(sse_loop *loop);

/* Whether the loop runs, and on the caller's thread. */
bool sse__bell_is_here(const sse__bell *bell);

#endif
