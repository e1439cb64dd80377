/* SPDX-License-Identifier: MIT */
/* loop.c - libuv's loop: run, start, stop, wake. */
#include "loop.h"

#include <errno.h>
#include <signal.h>

#include "../core/alloc.h"
#include "client.h"
#include "host.h"
#include "net.h"
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

/* ---- Signals ---- */

void sse__pipe_hold(sse__pipe_guard *g)
{
    sigset_t set;

    sigpending(&set);
    g->pending = sigismember(&set, SIGPIPE);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &g->old);
}

void sse__pipe_release(const sse__pipe_guard *g)
{
    const struct timespec now = {0, 0};
    sigset_t              set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    while (!g->pending && sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &g->old, NULL);
}

/* ---- Turns ---- */

static sse_client *take_woken(sse_loop *loop)
{
    sse_client *c = NULL;

    pthread_mutex_lock(&loop->inbox);
    if (!sse__list_empty(&loop->woken)) {
        c = SSE__OWNER(loop->woken.next, sse_client, woken);
        sse__list_drop(&c->woken);
    }
    pthread_mutex_unlock(&loop->inbox);
    return c;
}

void sse__loop_turn(sse_loop *loop)
{
    sse_client *c;

    /* Without it running, somebody lets handles close. */
    loop->in_turn = atomic_load(&loop->bell->running);
    while (loop->in_turn && (c = take_woken(loop)))
        sse__follow_turn(c);
    loop->in_turn = false;
}

static void close_clients(sse_loop *loop)
{
    pthread_mutex_lock(&loop->inbox);
    for (sse__link *l = loop->clients.next; l != &loop->clients; l = l->next) {
        sse_client *c = SSE__OWNER(l, sse_client, link);

        atomic_store(&c->close_asked, true);
        sse__list_drop(&c->woken);
        sse__list_add(&loop->woken, &c->woken);
    }
    pthread_mutex_unlock(&loop->inbox);
}

/* Somebody rang: an append on another thread, a close, a stop. */
static void look_around(sse_loop *loop)
{
    int        stops = atomic_load(&loop->stops);
    bool       stopped = stops != loop->stops_seen;
    sse__link *next;

    loop->stops_seen = stops;
    if (stopped)
        close_clients(loop); /* what they fed can still end in order */
    sse__loop_turn(loop);
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

static void on_async(uv_async_t *async)
{
    sse_loop *loop = async->data;

    look_around(loop);
    if (atomic_load(&loop->quit))
        uv_stop(&loop->uv);
}

void sse__loop_keep(sse_loop *loop)
{
    if (loop->keeps++ == 0)
        uv_ref((uv_handle_t *)&loop->async);
}

void sse__loop_release(sse_loop *loop)
{
    if (--loop->keeps == 0)
        uv_unref((uv_handle_t *)&loop->async);
}

/* ---- Loop ---- */

static void init(sse_loop *loop)
{
    sse__list_init(&loop->servers);
    sse__list_init(&loop->clients);
    sse__list_init(&loop->woken);
    pthread_mutex_init(&loop->gate, NULL);
    pthread_mutex_init(&loop->inbox, NULL);
    pthread_cond_init(&loop->passed, NULL);
    atomic_init(&loop->refs, 1);
    loop->async.data = loop;
}

static void free_memory(sse_loop *loop)
{
    if (loop->bell)
        sse__bell_unref(loop->bell);
    sse__parent_mark_free(loop->parent);
    pthread_cond_destroy(&loop->passed);
    pthread_mutex_destroy(&loop->inbox);
    pthread_mutex_destroy(&loop->gate);
    sse__free(loop);
}

int sse_loop_new(sse_loop **out)
{
    sse_loop *loop = sse__calloc(1, sizeof(*loop));
    int       rc = SSE_ERR_IO;

    *out = NULL;
    if (!loop)
        return SSE_ERR_NOMEM;
    init(loop);
    loop->parent = sse__parent_mark_new();
    loop->bell = bell_new(&loop->async);
    if (!loop->bell)
        rc = SSE_ERR_NOMEM;
    if (!loop->bell || !loop->parent || uv_loop_init(&loop->uv) < 0) {
        free_memory(loop);
        return rc;
    }
    if (uv_async_init(&loop->uv, &loop->async, on_async) < 0) {
        uv_loop_close(&loop->uv);
        free_memory(loop);
        return SSE_ERR_IO;
    }
    uv_unref((uv_handle_t *)&loop->async); /* servers keep the loop running */
    *out = loop;
    return SSE_OK;
}

static void destroy(sse_loop *loop)
{
    sse__pipe_guard guard;

    pthread_mutex_lock(&loop->bell->lock);
    loop->bell->async = NULL;
    pthread_mutex_unlock(&loop->bell->lock);
    sse__pipe_hold(&guard); /* connections say goodbye */
    sse__net_free(loop->net);
    sse__pipe_release(&guard);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    free_memory(loop);
}

void sse__loop_ref(sse_loop *loop)
{
    atomic_fetch_add(&loop->refs, 1);
}

/* Nobody holds a started loop any more. Its thread ends; when that is the one
 * that dropped the last reference, it frees the loop at its end. */
static void end_thread(sse_loop *loop)
{
    if (pthread_equal(loop->thread, pthread_self())) {
        pthread_detach(loop->thread);
        loop->orphan = true;
        atomic_store(&loop->quit, true);
        uv_stop(&loop->uv);
        return;
    }
    atomic_store(&loop->quit, true);
    sse__bell_ring(loop->bell);
    pthread_join(loop->thread, NULL);
    destroy(loop);
}

/* In a child, the memory is a copy, and its descriptors are shared: leave it. */
void sse__loop_unref(sse_loop *loop)
{
    if (atomic_fetch_sub(&loop->refs, 1) != 1 || sse__loop_forked(loop))
        return;
    if (loop->started)
        end_thread(loop);
    else
        destroy(loop);
}

void sse_loop_free(sse_loop *loop)
{
    if (loop)
        sse__loop_unref(loop);
}

bool sse__loop_forked(const sse_loop *loop)
{
    return atomic_load(&loop->bound) && atomic_load(loop->parent) == 0;
}

/* From now on it is of this process, as hubs are (host.c). */
static void bind_here(sse_loop *loop)
{
    atomic_store(loop->parent, 1);
    atomic_store(&loop->bound, true);
}

static bool begin(sse_loop *loop)
{
    bool may;

    pthread_mutex_lock(&loop->gate);
    may = !atomic_load(&loop->bell->running);
    if (may) {
        bind_here(loop);
        loop->bell->thread = pthread_self();
        atomic_store(&loop->bell->running, true);
    }
    pthread_mutex_unlock(&loop->gate);
    return may;
}

static void end(sse_loop *loop)
{
    pthread_mutex_lock(&loop->gate);
    atomic_store(&loop->bell->running, false);
    pthread_cond_broadcast(&loop->passed);
    pthread_mutex_unlock(&loop->gate);
}

static bool has_woken(sse_loop *loop)
{
    bool any;

    pthread_mutex_lock(&loop->inbox);
    any = !sse__list_empty(&loop->woken);
    pthread_mutex_unlock(&loop->inbox);
    return any;
}

/* What was asked for before the loop ran has no handle yet that keeps it. */
static int run(sse_loop *loop)
{
    int rc;

    do {
        look_around(loop);
        rc = uv_run(&loop->uv, UV_RUN_DEFAULT);
    } while (rc >= 0 && !atomic_load(&loop->quit) && has_woken(loop));
    return rc;
}

int sse_loop_run(sse_loop *loop)
{
    sse__pipe_guard guard;
    int             rc;

    if (!begin(loop))
        return SSE_ERR_INVAL;
    sse__pipe_hold(&guard);
    rc = run(loop);
    sse__pipe_release(&guard);
    end(loop);
    return rc < 0 ? SSE_ERR_IO : SSE_OK;
}

static void *run_thread(void *arg)
{
    sse_loop *loop = arg;

    pthread_mutex_lock(&loop->gate); /* start has written all by then */
    pthread_mutex_unlock(&loop->gate);
    run(loop);
    end(loop);
    if (loop->orphan)
        destroy(loop);
    return NULL;
}

/* Signals belong to the program: none is ever handled on this thread. */
int sse_loop_start(sse_loop *loop)
{
    sigset_t all, old;
    int      rc = SSE_ERR_INVAL;

    pthread_mutex_lock(&loop->gate);
    if (!loop->started && !atomic_load(&loop->bell->running)) {
        bind_here(loop);
        sse__loop_keep(loop);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        rc = pthread_create(&loop->thread, NULL, run_thread, loop) == 0
                 ? SSE_OK
                 : SSE_ERR_IO;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        loop->started = rc == SSE_OK;
        loop->bell->thread = loop->thread;
        atomic_store(&loop->bell->running, loop->started);
        if (rc < 0)
            sse__loop_release(loop);
    }
    pthread_mutex_unlock(&loop->gate);
    return rc;
}

bool sse__bell_is_here(const sse__bell *bell)
{
    return atomic_load(&bell->running) &&
           pthread_equal(bell->thread, pthread_self());
}

bool sse__loop_is_here(const sse_loop *loop)
{
    return sse__bell_is_here(loop->bell);
}

/* No lock here: a signal handler may call it. The loop outlives the call, as
 * the caller frees it himself. */
void sse_loop_stop(sse_loop *loop)
{
    atomic_fetch_add(&loop->stops, 1);
    uv_async_send(&loop->async);
}
