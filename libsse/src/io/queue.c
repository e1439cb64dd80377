/* SPDX-License-Identifier: MIT */
/* queue.c - the one door out of a hub, and the subscribers that use it. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/options.h"
#include "../core/subscriber.h"
#include "stream.h"

#define NOTES_MAX 4096u
#define WAIT_MAX_MS ((int64_t)1 << 50)

struct sse_queue {
    sse__door         door; /* first: sse_stream_new() relies on it         */
    sse_queue_options opts;
    atomic_int        fd;   /* -1 until somebody asks for it                */
    atomic_bool       rung; /* it may be readable                           */
    atomic_bool       woken;
    void (*on_wake)(void *user);
    void     *user;
    sse_note *notes; /* of the last drain                            */
    uint32_t  note_cap;
    sse__buf  data;
    sse_batch batch;
};

struct sse_subscriber {
    sse__subscriber core;  /* under the hub's lock                          */
    sse_queue      *queue; /* counted, as a door                            */
    uint64_t        key;
    uint32_t        flags;
    bool            held; /* taken until sse_subscriber_next()             */
};

/* ---- The queue ---- */

static void signal_queue(sse__door *door)
{
    sse_queue     *q = (sse_queue *)(void *)door;
    int            fd = atomic_load(&q->fd);
    const uint64_t one = 1;

    if (fd >= 0) {
        atomic_store(&q->rung, true);
        while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
    if (q->on_wake)
        q->on_wake(q->user);
}

static void destroy_queue(sse__door *door)
{
    sse_queue *q = (sse_queue *)(void *)door;

    if (atomic_load(&q->fd) >= 0)
        close(atomic_load(&q->fd));
    sse__free(q->notes);
    sse__buf_free(&q->data);
    sse__free(q);
}

int sse_queue_new(sse_hub *hub, const sse_queue_options *opts, sse_queue **out)
{
    sse_queue *q = sse__calloc(1, sizeof(*q));

    *out = NULL;
    if (!q)
        return SSE_ERR_NOMEM;
    if (sse__options_copy(&q->opts, sizeof(q->opts), opts) < 0 ||
        q->opts.flags != 0) {
        sse__free(q);
        return SSE_ERR_INVAL;
    }
    q->opts.max_note_bytes = sse__option(q->opts.max_note_bytes, 65536);
    q->opts.max_batch_bytes = sse__option(q->opts.max_batch_bytes, 262144);
    atomic_init(&q->fd, -1);
    sse__buf_init(&q->data, SIZE_MAX);
    sse__door_init(&q->door, hub, signal_queue, destroy_queue);
    *out = q;
    return SSE_OK;
}

void sse_queue_free(sse_queue *q)
{
    if (!q)
        return;
    sse__door_close(&q->door);
    sse__door_unref(&q->door);
}

/* Something may have come before there was a way to tell. */
static void wake_again(sse_queue *q)
{
    sse__port *port = &q->door.port;

    if (!port->armed && sse__list_empty(&port->wake_link))
        sse__list_add(&q->door.hub->core.wakes, &port->wake_link);
}

int sse_queue_fd(sse_queue *q)
{
    int fd = atomic_load(&q->fd);
    int rc;

    if (fd >= 0)
        return fd;
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return SSE_ERR_IO;
    if ((rc = sse__hub_enter(q->door.hub)) < 0) {
        close(fd);
        return rc;
    }
    atomic_store(&q->fd, fd);
    sse__hub_bind(q->door.hub);
    wake_again(q);
    sse__hub_leave(q->door.hub);
    return fd;
}

int sse_queue_on_wake(sse_queue *q, void (*wake)(void *user), void *user)
{
    int rc = sse__hub_enter(q->door.hub);

    if (rc < 0)
        return rc;
    q->on_wake = wake;
    q->user = user;
    wake_again(q);
    sse__hub_leave(q->door.hub);
    return SSE_OK;
}

void sse_queue_wake(sse_queue *q)
{
    if (sse__hub_enter(q->door.hub) < 0)
        return;
    atomic_store(&q->woken, true);
    sse__port_wake(&q->door.port);
    sse__hub_leave(q->door.hub);
}

void sse_queue_hush(sse_queue *q)
{
    if (sse__hub_enter(q->door.hub) < 0)
        return;
    q->door.port.armed = false;
    sse__hub_leave(q->door.hub);
}

/* ---- Draining ---- */

static void add_note(sse_queue *q, uint32_t kind, uint32_t reason, uint64_t key,
                     size_t len)
{
    q->notes[q->batch.note_count++] = (sse_note){.kind = kind,
                                                 .reason = reason,
                                                 .key = key,
                                                 .offset = q->data.len - len,
                                                 .len = len};
}

static void copy_take(sse_queue *q, sse__take *take)
{
    sse__buf *d = &q->data; /* room was reserved: none of these can fail */

    (void)sse__buf_add(d, take->prefix, take->prefix_len);
    for (uint32_t i = 0; i < take->span_count; i++)
        (void)sse__buf_add(d, take->spans[i].data, take->spans[i].len);
    sse__take_drop(take);
}

/* Takes what one subscriber has: one or two notes, `room` at most. */
static int drain_subscriber(sse_queue *q, sse__subscriber *core, size_t room)
{
    sse_subscriber *sub = SSE__OWNER(core, sse_subscriber, core);
    size_t          need = sse__subscriber_need(core, q->opts.max_note_bytes);
    sse__take       take;

    if (sse__buf_reserve(&q->data, need) < 0) {
        core->taken = false;
        sse__subscriber_make_ready(core);
        return SSE_ERR_NOMEM;
    }
    sse__subscriber_take(core, q->opts.max_note_bytes, &take);
    copy_take(q, &take);
    if (take.bytes > 0)
        add_note(q, SSE_NOTE_BYTES, 0, sub->key, take.bytes);
    if (take.end != SSE_REASON_NONE && take.bytes > 0 && room == 1) {
        core->end = take.end; /* it is told with the next drain */
        sse__subscriber_give(core);
    } else if (take.end != SSE_REASON_NONE) {
        add_note(q, SSE_NOTE_END, take.end, sub->key, 0);
        sse__subscriber_close(core);
    } else if (take.bytes > 0 && sub->flags & SSE_SUBSCRIBER_HOLD) {
        sub->held = true;
    } else {
        sse__subscriber_give(core);
    }
    return SSE_OK;
}

/* 1: told one; 0: there is none. */
static int drain_orphan(sse_queue *q)
{
    sse__orphan *o = sse__port_take_orphan(&q->door.port);
    int          rc;

    if (!o)
        return 0;
    rc = sse__buf_add(&q->data, o->text, o->len);
    if (rc == SSE_OK)
        add_note(q, SSE_NOTE_ORPHAN, 0, 0, o->len);
    sse__free(o); /* the store tells it again if it was lost here */
    return rc < 0 ? rc : 1;
}

static int drain_all(sse_queue *q, uint32_t max)
{
    sse__port       *port = &q->door.port;
    sse__subscriber *sub;
    uint64_t         key;
    uint32_t         reason;

    if (atomic_exchange(&q->woken, false))
        add_note(q, SSE_NOTE_WAKE, 0, 0, 0);
    while (q->batch.note_count < max &&
           sse__port_take_stop(port, &key, &reason))
        add_note(q, SSE_NOTE_STOP, reason, key, 0);
    while (q->batch.note_count < max && drain_orphan(q) > 0)
        ;
    while (q->batch.note_count < max && q->data.len < q->opts.max_batch_bytes &&
           (sub = sse__port_take(port)))
        if (drain_subscriber(q, sub, max - q->batch.note_count) < 0)
            return q->batch.note_count ? SSE_OK : SSE_ERR_NOMEM;
    return SSE_OK;
}

/* Makes the descriptor unreadable, if it was ever made readable. A wake-up that
 * is under way, which is counted before the lock is given up for it, may still
 * write: then it is rung for the next time too. */
static void unring(sse_queue *q)
{
    uint64_t count;

    if (!atomic_load(&q->rung))
        return;
    while (read(atomic_load(&q->fd), &count, sizeof(count)) < 0 &&
           errno == EINTR)
        ;
    if (q->door.signals == 0)
        atomic_store(&q->rung, false);
}

/* Nothing is left: the next thing to tell wakes again. */
static void arm(sse_queue *q)
{
    unring(q);
    q->door.port.armed = true;
}

static int reserve_notes(sse_queue *q, uint32_t max)
{
    sse_note *more;

    if (q->note_cap >= max)
        return SSE_OK;
    more = sse__realloc(q->notes, max * sizeof(*more));
    if (!more)
        return SSE_ERR_NOMEM;
    q->notes = more;
    q->note_cap = max;
    return SSE_OK;
}

int sse_queue_drain(sse_queue *q, uint32_t max_notes, const sse_batch **out)
{
    uint32_t max = sse__option(max_notes, 256);
    int      rc;

    *out = NULL;
    if (max > NOTES_MAX)
        max = NOTES_MAX;
    if (reserve_notes(q, max) < 0)
        return SSE_ERR_NOMEM;
    q->batch = (sse_batch){.notes = q->notes};
    q->data.len = 0;
    if ((rc = sse__hub_enter(q->door.hub)) < 0)
        return rc;
    rc = drain_all(q, max);
    if (rc == SSE_OK && q->batch.note_count == 0)
        arm(q);
    sse__hub_leave(q->door.hub);
    if (rc < 0)
        return rc;
    q->batch.data = q->data.data ? q->data.data : "";
    q->batch.data_len = q->data.len;
    *out = &q->batch;
    return (int)q->batch.note_count;
}

static bool has_notes(sse_queue *q)
{
    const sse__port *p = &q->door.port;

    return atomic_load(&q->woken) || !sse__list_empty(&p->ready) ||
           !sse__list_empty(&p->stops) ||
           (p->hub->guardian == p && !sse__list_empty(&p->hub->orphans));
}

int sse_queue_wait(sse_queue *q, int64_t timeout_ms)
{
    int64_t       wait_ms = timeout_ms < WAIT_MAX_MS ? timeout_ms : WAIT_MAX_MS;
    int64_t       deadline = sse__clock_mono_ms() + wait_ms;
    struct pollfd p = {.fd = sse_queue_fd(q), .events = POLLIN};
    int           rc;

    if (p.fd < 0)
        return p.fd;
    for (;;) {
        int64_t left = deadline - sse__clock_mono_ms();

        if ((rc = sse__hub_enter(q->door.hub)) < 0)
            return rc;
        rc = has_notes(q);
        if (!rc)
            arm(q);
        sse__hub_leave(q->door.hub);
        if (rc)
            return SSE_OK;
        if (timeout_ms < 0)
            left = -1;
        else if (left <= 0)
            return SSE_ERR_TIMEOUT;
        if (poll(&p, 1, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
            return SSE_ERR_IO;
    }
}

/* ---- Subscribers ---- */

static int open_core(sse_subscriber *sub, sse_stream *s, sse_queue *q,
                     const char *cursor, size_t cursor_len,
                     const sse_subscriber_options *opts)
{
    int rc = sse__hub_enter(s->hub);

    if (rc < 0)
        return rc;
    rc = sse__store_reach(s, cursor, cursor_len);
    if (rc == SSE_OK)
        rc = sse__subscriber_open(&sub->core, s->core, &q->door.port, cursor,
                                  cursor_len, opts);
    sse__hub_leave(s->hub);
    return rc;
}

int sse_subscriber_new(sse_stream *s, sse_queue *q, const char *cursor,
                       size_t cursor_len, const sse_subscriber_options *opts,
                       sse_subscriber **out)
{
    sse_subscriber_options o = {0};
    sse_subscriber        *sub;
    int                    rc;

    *out = NULL;
    if (s->hub != q->door.hub || sse__options_copy(&o, sizeof(o), opts) < 0 ||
        o.flags > SSE_SUBSCRIBER_HOLD)
        return SSE_ERR_INVAL;
    sub = sse__calloc(1, sizeof(*sub));
    if (!sub)
        return SSE_ERR_NOMEM;
    sub->queue = q;
    sub->key = o.key;
    sub->flags = o.flags;
    if ((rc = open_core(sub, s, q, cursor, cursor_len, opts)) < 0) {
        sse__free(sub);
        return rc;
    }
    sse__door_ref(&q->door);
    *out = sub;
    return SSE_OK;
}

void sse_subscriber_free(sse_subscriber *sub)
{
    if (!sub)
        return;
    if (sse__hub_enter(sub->queue->door.hub) == SSE_OK) {
        sse__subscriber_close(&sub->core);
        sse__hub_leave(sub->queue->door.hub);
    }
    sse__door_unref(&sub->queue->door);
    sse__free(sub);
}

void sse_subscriber_next(sse_subscriber *sub)
{
    if (sse__hub_enter(sub->queue->door.hub) < 0)
        return;
    if (sub->held && sse__subscriber_is_open(&sub->core)) {
        sub->held = false;
        sse__subscriber_give(&sub->core);
    }
    sse__hub_leave(sub->queue->door.hub);
}
