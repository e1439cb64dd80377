/* SPDX-License-Identifier: MIT */
/* host.c - one mutex a hub, held for a few hundred instructions at a time; one
 * thread a hub, which sleeps until a timer is due. */
#include "host.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "../core/alloc.h"
#include "../store/store.h"

#define DRAIN_MS 2000 /* for what the store has not had, when a hub ends */
#define ERROR_MAX ((size_t)1 << 12)

static int64_t clock_ms(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t sse__clock_mono_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t sse__clock_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

bool sse__make_id(char out[SSE__MADE_ID_BYTES])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char     bytes[SSE__MADE_ID_BYTES];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return false;
    for (int i = 0; i < SSE__MADE_ID_BYTES; i++)
        out[i] = digits[bytes[i] & 31];
    return true;
}

/* ---- Hub ---- */

/* A page that the kernel clears in a child, so that a child can tell without
 * a system call, a handler or a global. */
atomic_uint *sse__parent_mark_new(void)
{
    atomic_uint *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, sizeof(*page), MADV_WIPEONFORK) < 0) {
        munmap(page, sizeof(*page));
        return NULL;
    }
    atomic_init(page, 1);
    return page;
}

void sse__parent_mark_free(atomic_uint *mark)
{
    if (mark)
        munmap(mark, sizeof(*mark));
}

static void init_locks(sse_hub *hub)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&hub->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&hub->timer, &attr);
    pthread_cond_init(&hub->progress, &attr);
    pthread_cond_init(&hub->signalled, &attr);
    pthread_cond_init(&hub->answered, &attr);
    pthread_condattr_destroy(&attr);
}

static uint64_t seed(void)
{
    uint64_t value;

    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        value = (uint64_t)sse__clock_wall_ms() ^ (uint64_t)(uintptr_t)&value;
    return value;
}

int sse_hub_new(const sse_hub_options *opts, sse_hub **out)
{
    sse_hub *hub = sse__calloc(1, sizeof(*hub));
    int      rc;

    *out = NULL;
    if (!hub)
        return SSE_ERR_NOMEM;
    rc = sse__hub_init(&hub->core, opts, seed(), sse__clock_mono_ms(),
                       sse__clock_wall_ms());
    if (rc == SSE_OK && !(hub->parent = sse__parent_mark_new()))
        rc = SSE_ERR_IO;
    if (rc < 0) {
        sse__free(hub);
        return rc;
    }
    init_locks(hub);
    hub->wakes_at_ms = INT64_MAX;
    sse__buf_init(&hub->store_error, ERROR_MAX);
    atomic_init(&hub->refs, 1);
    *out = hub;
    return SSE_OK;
}

static bool forked(const sse_hub *hub)
{
    return atomic_load(&hub->bound) && atomic_load(hub->parent) == 0;
}

static void stop_thread(sse_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    hub->stopping = true;
    pthread_cond_signal(&hub->timer);
    pthread_mutex_unlock(&hub->lock);
    pthread_join(hub->thread, NULL);
}

static void destroy(sse_hub *hub)
{
    if (hub->store)
        hub->store->ops->close(hub->store, DRAIN_MS);
    sse__hub_free(&hub->core);
    if (hub->store)
        hub->store->ops->free(hub->store);
    sse__buf_free(&hub->store_error);
    pthread_cond_destroy(&hub->timer);
    pthread_cond_destroy(&hub->progress);
    pthread_cond_destroy(&hub->signalled);
    pthread_cond_destroy(&hub->answered);
    pthread_mutex_destroy(&hub->lock);
    sse__parent_mark_free(hub->parent);
    sse__free(hub);
}

/* Leaves the hub to its thread, which ends it when it ends. */
static void leave_to_thread(sse_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    pthread_detach(hub->thread);
    hub->orphan = hub->stopping = true;
    pthread_cond_signal(&hub->timer);
    pthread_mutex_unlock(&hub->lock);
}

/* In a child, locks may be held by threads that are not there, and the memory
 * is a copy: leave it. The hub's own thread or its store's may be the one that
 * drops the last reference, after a wake-up. */
void sse_hub_free(sse_hub *hub)
{
    if (!hub || atomic_fetch_sub(&hub->refs, 1) != 1 || forked(hub))
        return;
    if (hub->started &&
        (pthread_equal(pthread_self(), hub->thread) ||
         (hub->store && hub->store->ops->is_here(hub->store)))) {
        leave_to_thread(hub);
        return;
    }
    if (hub->started)
        stop_thread(hub);
    destroy(hub);
}

void sse__hub_ref(sse_hub *hub)
{
    atomic_fetch_add(&hub->refs, 1);
}

int sse__hub_enter(sse_hub *hub)
{
    if (forked(hub))
        return SSE_ERR_FORKED;
    pthread_mutex_lock(&hub->lock);
    sse__hub_set_time(&hub->core, sse__clock_mono_ms(), sse__clock_wall_ms());
    return SSE_OK;
}

void sse__hub_pause(sse_hub *hub)
{
    pthread_mutex_unlock(&hub->lock);
}

void sse__hub_go_on(sse_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
}

#define WAKES_AT_ONCE 8

/* Unlocks, and wakes the doors that have something to tell: never while the
 * lock is held, so that a wake-up may do what it likes. */
static void unlock_and_wake(sse_hub *hub)
{
    sse__door *doors[WAKES_AT_ONCE];
    sse__link *wakes = &hub->core.wakes;

    while (!sse__list_empty(wakes)) {
        size_t n = 0;

        while (n < WAKES_AT_ONCE && !sse__list_empty(wakes)) {
            sse__port *port = SSE__OWNER(wakes->next, sse__port, wake_link);

            sse__list_drop(&port->wake_link);
            doors[n] = SSE__OWNER(port, sse__door, port);
            doors[n++]->signals++;
        }
        pthread_mutex_unlock(&hub->lock);
        for (size_t i = 0; i < n; i++)
            doors[i]->signal(doors[i]);
        pthread_mutex_lock(&hub->lock);
        for (size_t i = 0; i < n; i++)
            doors[i]->signals--;
        pthread_cond_broadcast(&hub->signalled);
    }
    pthread_mutex_unlock(&hub->lock);
}

/* What the hub's own thread did concerns the store, too. */
static void ring_store(sse_hub *hub)
{
    if (!hub->store || hub->store->rung || sse__list_empty(&hub->core.dirty))
        return;
    hub->store->rung = true;
    hub->store->ops->ring(hub->store);
}

static void tell_progress(sse_hub *hub)
{
    if (hub->waiting > 0 && hub->core.progress)
        pthread_cond_broadcast(&hub->progress);
    hub->core.progress = false;
}

void sse__hub_leave(sse_hub *hub)
{
    if (hub->started && sse__wheel_next_ms(&hub->core.wheel) < hub->wakes_at_ms)
        pthread_cond_signal(&hub->timer);
    tell_progress(hub);
    ring_store(hub);
    unlock_and_wake(hub);
}

static int wait_until(sse_hub *hub, pthread_cond_t *cond, int64_t ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    if (ms == INT64_MAX)
        return pthread_cond_wait(cond, &hub->lock);
    return pthread_cond_timedwait(cond, &hub->lock, &ts);
}

bool sse__hub_wait(sse_hub *hub, pthread_cond_t *cond, int64_t deadline_ms)
{
    int rc = wait_until(hub, cond, deadline_ms);

    sse__hub_set_time(&hub->core, sse__clock_mono_ms(), sse__clock_wall_ms());
    return rc != ETIMEDOUT;
}

bool sse__hub_wait_progress(sse_hub *hub, int64_t deadline_ms)
{
    bool in_time;

    hub->waiting++;
    in_time = sse__hub_wait(hub, &hub->progress, deadline_ms);
    hub->waiting--;
    return in_time;
}

/* ---- The thread ---- */

/* Each turn fires what is due, tells the doors, and sleeps. */
static void *run(void *arg)
{
    sse_hub *hub = arg;

    pthread_mutex_lock(&hub->lock);
    while (!hub->stopping) {
        sse__hub_set_time(&hub->core, sse__clock_mono_ms(),
                          sse__clock_wall_ms());
        sse__hub_tick(&hub->core);
        tell_progress(hub);
        ring_store(hub);
        if (!sse__list_empty(&hub->core.wakes)) {
            unlock_and_wake(hub);
            pthread_mutex_lock(&hub->lock);
            continue;
        }
        hub->wakes_at_ms = sse__wheel_next_ms(&hub->core.wheel);
        wait_until(hub, &hub->timer, hub->wakes_at_ms);
    }
    pthread_mutex_unlock(&hub->lock);
    if (hub->orphan)
        destroy(hub);
    return NULL;
}

void sse__hub_bind(sse_hub *hub)
{
    atomic_store(hub->parent, 1);
    atomic_store(&hub->bound, true);
}

/* Signals belong to the program: none is ever handled on this thread. */
int sse__hub_start(sse_hub *hub)
{
    sigset_t all, old;
    int      rc;

    if (hub->started)
        return SSE_OK;
    sse__hub_bind(hub);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&hub->thread, NULL, run, hub);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return SSE_ERR_IO;
    hub->started = true;
    return SSE_OK;
}

/* ---- Doors ---- */

void sse__door_init(sse__door *d, sse_hub *hub,
                    void (*signal_fn)(sse__door *door),
                    void (*destroy_fn)(sse__door *door))
{
    sse__port_init(&d->port, &hub->core);
    sse__hub_ref(hub);
    d->hub = hub;
    d->signal = signal_fn;
    d->destroy = destroy_fn;
    atomic_init(&d->refs, 1);
}

void sse__door_ref(sse__door *d)
{
    atomic_fetch_add(&d->refs, 1);
}

void sse__door_unref(sse__door *d)
{
    sse_hub *hub = d->hub;

    if (atomic_fetch_sub(&d->refs, 1) != 1)
        return;
    d->destroy(d);
    sse_hub_free(hub);
}

void sse__door_close(sse__door *d)
{
    if (sse__hub_enter(d->hub) < 0)
        return;
    sse__port_free(&d->port);
    d->port.armed = false;
    while (d->signals > 0)
        pthread_cond_wait(&d->hub->signalled, &d->hub->lock);
    sse__hub_leave(d->hub);
}
