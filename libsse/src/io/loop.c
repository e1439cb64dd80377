/* SPDX-License-Identifier: MIT */
/* loop.c - libuv's loop: run, stop, wake. */
#include "loop.h"

#include <errno.h>
#include <signal.h>

#include "../core/alloc.h"
#include "server.h"

/* ---- Bell ---- */

static sse__bell *bell_new(uv_async_t *async)
{
    sse__bell *bell = sse__calloc(1, sizeof(*bell));

    if (!bell)
        return NULL;
    pthread_mutex_init(&bell->lock, NULL);
    bell->async = async;
    atomic_init(&bell->refs, 1);
    return bell;
}

void sse__bell_ring(sse__bell *bell)
{
    pthread_mutex_lock(&bell->lock);
    if (bell->async)
        uv_async_send(bell->async);
    pthread_mutex_unlock(&bell->lock);
}

void sse__bell_ref(sse__bell *bell)
{
    atomic_fetch_add(&bell->refs, 1);
}

void sse__bell_unref(sse__bell *bell)
{
    if (atomic_fetch_sub(&bell->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&bell->lock);
    sse__free(bell);
}

/* ---- Loop ---- */

/* Somebody rang: an append on another thread, a close, a stop. */
static void on_async(uv_async_t *async)
{
    sse_loop  *loop = async->data;
    int        stops = atomic_load(&loop->stops);
    bool       stopped = stops != loop->stops_seen;
    sse__link *next;

    loop->stops_seen = stops;
    for (sse__link *l = loop->servers.next; l != &loop->servers; l = next) {
        sse_server *s = SSE__OWNER(l, sse_server, link);

        next = l->next;
        if (stopped && stops > 1)
            sse__server_cut(s);
        else if (stopped)
            sse__server_begin_close(s);
        sse__server_on_bell(s);
    }
}

int sse_loop_new(sse_loop **out)
{
    sse_loop *loop = sse__calloc(1, sizeof(*loop));

    *out = NULL;
    if (!loop)
        return SSE_ERR_NOMEM;
    if (uv_loop_init(&loop->uv) < 0) {
        sse__free(loop);
        return SSE_ERR_IO;
    }
    sse__list_init(&loop->servers);
    loop->refs = 1;
    loop->async.data = loop;
    loop->bell = bell_new(&loop->async);
    if (!loop->bell || uv_async_init(&loop->uv, &loop->async, on_async) < 0) {
        uv_loop_close(&loop->uv);
        if (loop->bell)
            sse__bell_unref(loop->bell);
        sse__free(loop);
        return SSE_ERR_IO;
    }
    uv_unref((uv_handle_t *)&loop->async); /* servers keep the loop running */
    *out = loop;
    return SSE_OK;
}

static void destroy(sse_loop *loop)
{
    pthread_mutex_lock(&loop->bell->lock);
    loop->bell->async = NULL;
    pthread_mutex_unlock(&loop->bell->lock);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    sse__bell_unref(loop->bell);
    sse__free(loop);
}

void sse__loop_ref(sse_loop *loop)
{
    loop->refs++;
}

void sse__loop_unref(sse_loop *loop)
{
    if (--loop->refs == 0)
        destroy(loop);
}

void sse_loop_free(sse_loop *loop)
{
    if (loop)
        sse__loop_unref(loop);
}

/* A write to a reader that is gone raises SIGPIPE, which would end a program
 * that does not expect it. It is held back on this thread while the loop runs,
 * and what came of it is taken back before the program gets its mask again. */
typedef struct pipe_guard {
    sigset_t old;
    bool     pending; /* one was there before */
} pipe_guard;

static void guard_pipe(pipe_guard *g)
{
    sigset_t set;

    sigpending(&set);
    g->pending = sigismember(&set, SIGPIPE);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &g->old);
}

static void release_pipe(const pipe_guard *g)
{
    const struct timespec now = {0, 0};
    sigset_t              set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    while (!g->pending && sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &g->old, NULL);
}

int sse_loop_run(sse_loop *loop)
{
    pipe_guard guard;
    int        rc;

    guard_pipe(&guard);
    loop->bell->thread = pthread_self();
    atomic_store(&loop->bell->running, true);
    rc = uv_run(&loop->uv, UV_RUN_DEFAULT);
    atomic_store(&loop->bell->running, false);
    release_pipe(&guard);
    return rc < 0 ? SSE_ERR_IO : SSE_OK;
}

bool sse__bell_is_here(const sse__bell *bell)
{
    return atomic_load(&bell->running) &&
           pthread_equal(bell->thread, pthread_self());
}

/* No lock here: a signal handler may call it. The loop outlives the call, as
 * the caller frees it himself. */
void sse_loop_stop(sse_loop *loop)
{
    atomic_fetch_add(&loop->stops, 1);
    uv_async_send(&loop->async);
}
