/* SPDX-License-Identifier: MIT */
/* redis_shared.c - appends to streams that any hub may write: one batch of a
 * stream is under way at a time, and what comes meanwhile goes with the next.
 *
 * A batch whose outcome is not known is sent again under its number, which
 * Redis has noted if the batch was there. So none is appended twice. */
#include <string.h>

#include "../core/alloc.h"
#include "redis_tail.h"

#define BATCH_ROWS 64u /* but one operation at least, which is never split    */
#define BATCH_BYTES ((uint64_t)1 << 20)
#define QUEUED_ROWS_MAX 100000u /* of all streams                             */
#define QUEUED_BYTES_MAX ((uint64_t)64 << 20)
#define TOUCH_MS 1000 /* between two life signs that go with appends          */
#define IDLE_MS 2000  /* a queue stays so long, to know of the last           */

typedef struct entry {
    sse__link  link;
    sse__op   *op;   /* NULL: its time was over while it was under way       */
    sse__row **rows; /* the operation's as long as that is there             */
    size_t     count;
    uint64_t   bytes;
    uint32_t   state;
} entry;

typedef struct queue {
    sse__map_node node;
    sse__link     link;
    sse__link     ready; /* on the list of those that can send, or alone     */
    sse__timer    timer;
    sse__redis   *engine;
    sse__link     waiting; /* entries                                        */
    sse__link     batch;   /* under way, or in doubt                         */
    uint64_t      number;  /* of the batch                                   */
    int64_t       retry_ms;
    int64_t       touched_ms;
    bool          calling; /* a reply is due                                 */
    char          id[];
} queue;

static entry *entry_at(sse__link *l)
{
    return SSE__OWNER(l, entry, link);
}

/* ---- Entries ---- */

static uint64_t count_bytes(const sse__op *op)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < op->row_count; i++)
        bytes += op->rows[i]->len;
    return bytes;
}

static int add(queue *q, sse__op *op)
{
    sse__tails *all = sse__tails_of(q->engine);
    uint64_t    bytes = count_bytes(op);
    entry      *e;

    if (all->queue_rows + op->row_count > QUEUED_ROWS_MAX ||
        all->queue_bytes + bytes > QUEUED_BYTES_MAX)
        return SSE_ERR_LIMIT;
    if (!(e = sse__calloc(1, sizeof(*e))))
        return SSE_ERR_NOMEM;
    *e = (entry){.op = op,
                 .rows = op->rows,
                 .count = op->row_count,
                 .bytes = bytes,
                 .state = op->state};
    all->queue_rows += e->count;
    all->queue_bytes += bytes;
    sse__list_add(&q->waiting, &e->link);
    return SSE_OK;
}

/* The asker is told. What is under way may have to be sent again: the rows
 * stay. */
static void give_up(queue *q, entry *e, int rc)
{
    sse__op *op = e->op;

    if (!op)
        return;
    op->rows = NULL;
    op->row_count = 0;
    e->op = NULL;
    sse__op_finish(q->engine->base.hub, op, rc);
}

static void drop(queue *q, entry *e)
{
    sse__tails *all = sse__tails_of(q->engine);

    all->queue_rows -= e->count;
    all->queue_bytes -= e->bytes;
    sse__list_drop(&e->link);
    for (size_t i = 0; !e->op && i < e->count; i++)
        sse__free(e->rows[i]);
    if (!e->op)
        sse__free(e->rows);
    sse__free(e);
}

static void finish(queue *q, entry *e, int rc)
{
    sse__op *op = e->op;

    drop(q, e);
    if (op)
        sse__op_finish(q->engine->base.hub, op, rc);
}

static void finish_list(queue *q, sse__link *list, int rc)
{
    while (!sse__list_empty(list))
        finish(q, entry_at(list->next), rc);
}

/* ---- Queues ---- */

static void fire(sse__timer *timer);

static queue *get(sse__redis *r, const char *id, size_t len)
{
    sse__tails    *all = sse__tails_get(r);
    sse__map_node *node = all ? sse__map_get(&all->queues, id, len) : NULL;
    queue         *q;

    if (node)
        return SSE__OWNER(node, queue, node);
    if (!all || !(q = sse__calloc(1, sizeof(*q) + len)))
        return NULL;
    memcpy(q->id, id, len);
    if (sse__map_add(&all->queues, &q->node, q->id, len) < 0) {
        sse__free(q);
        return NULL;
    }
    q->engine = r;
    q->touched_ms = INT64_MIN / 2;
    sse__list_init(&q->ready);
    sse__list_init(&q->waiting);
    sse__list_init(&q->batch);
    sse__timer_init(&q->timer, fire);
    sse__list_add(&all->all_queues, &q->link);
    return q;
}

static bool is_empty(const queue *q)
{
    return sse__list_empty(&q->batch) && sse__list_empty(&q->waiting);
}

static void free_queue(queue *q)
{
    sse__map_drop(&sse__tails_of(q->engine)->queues, &q->node);
    sse__list_drop(&q->link);
    sse__list_drop(&q->ready);
    sse__timer_drop(&q->timer);
    sse__free(q);
}

/* When the first of a list must be over: those that came first. */
static int64_t due_of(const sse__link *list)
{
    for (sse__link *l = list->next; l != list; l = l->next)
        if (entry_at(l)->op)
            return entry_at(l)->op->by_ms;
    return INT64_MAX;
}

static void set_timer(queue *q)
{
    int64_t now_ms = sse__redis_now(q->engine);
    int64_t due = due_of(&q->batch), waiting = due_of(&q->waiting);

    if (waiting < due)
        due = waiting;
    if (q->retry_ms > now_ms && q->retry_ms < due)
        due = q->retry_ms;
    if (is_empty(q))
        due = now_ms + IDLE_MS;
    sse__wheel_set(&sse__tails_of(q->engine)->wheel, &q->timer, due);
}

static void go_on(queue *q)
{
    if (!q->calling && !is_empty(q) && sse__list_empty(&q->ready) &&
        q->retry_ms <= sse__redis_now(q->engine))
        sse__list_add(&sse__tails_of(q->engine)->ready_queues, &q->ready);
    set_timer(q);
}

/* ---- A batch ---- */

/* As many of those that wait as go together; behind an end, nothing does. */
static void form_batch(queue *q)
{
    size_t   rows = 0;
    uint64_t bytes = 0;

    while (!sse__list_empty(&q->waiting)) {
        entry *e = entry_at(q->waiting.next);

        if (rows > 0 &&
            (rows + e->count > BATCH_ROWS || bytes + e->bytes > BATCH_BYTES))
            break;
        sse__list_drop(&e->link);
        sse__list_add(&q->batch, &e->link);
        rows += e->count;
        bytes += e->bytes;
        if (e->state != SSE_STATE_ACTIVE)
            break;
    }
    q->number = ++q->engine->batches;
}

/* Whether anybody still waits for an answer. */
static bool is_wanted(const queue *q)
{
    return due_of(&q->batch) != INT64_MAX;
}

/* How many events the stream keeps: as the mirror here does, if there is one. */
static uint32_t events_kept(const queue *q)
{
    const sse__hub    *hub = &q->engine->base.hub->core;
    const sse__stream *s = sse__hub_find(hub, q->id, q->node.key_len);

    return s ? s->log.max_events : hub->opts.log_events;
}

static void add_life_sign(queue *q)
{
    sse__redis *r = q->engine;

    if (sse__redis_now(r) - q->touched_ms < TOUCH_MS) {
        sse__call_str(r, "");
        return;
    }
    q->touched_ms = sse__redis_now(r);
    sse__call_time(r, r->base.hub->core.wall_ms);
}

static void form_call(queue *q)
{
    sse__redis  *r = q->engine;
    const entry *last = entry_at(q->batch.prev);

    sse__call_begin(r, SSE__REDIS_APPEND);
    sse__call_keys(r, q->id, q->node.key_len);
    sse__call_text(r, q->id, q->node.key_len);
    sse__call_str(r, "");
    sse__call_str(r, "");
    sse__call_str(r, "");
    sse__call_str(r, r->node);
    sse__call_u64(r, q->number);
    sse__call_u64(r, events_kept(q));
    sse__call_u64(r, r->keep.events);
    sse__call_u64(r, r->keep.meta);
    sse__call_u64(r, r->keep.stream);
    add_life_sign(q);
    sse__call_channel(r, q->id, q->node.key_len);
    sse__call_final(
        r, last->state,
        last->state == SSE_STATE_ACTIVE ? NULL : last->rows[last->count - 1]);
    for (sse__link *l = q->batch.next; l != &q->batch; l = l->next)
        for (size_t i = 0; i < entry_at(l)->count; i++)
            sse__call_row(r, entry_at(l)->rows[i]);
}

/* ---- Answers ---- */

/* Adds the batch, whose first event is the mirror's next. What finds no memory
 * comes with the message. */
static void add_batch(queue *q, sse__tail *t)
{
    uint32_t state = entry_at(q->batch.prev)->state;

    for (sse__link *l = q->batch.next; l != &q->batch; l = l->next)
        for (size_t i = 0; i < entry_at(l)->count; i++) {
            const sse__row *row = entry_at(l)->rows[i];

            if (!sse__tail_add_row(t, row->text, row->len, row->tag))
                return;
        }
    if (state != SSE_STATE_ACTIVE)
        sse__mirror_end(t->stream, state);
}

/* Who appends here shall read here what was appended, without waiting for the
 * message: a mirror that stands before the batch gets it now. The message will
 * be nothing new. */
static void tell_mirror(queue *q, const redisReply *reply)
{
    sse__tail *t = sse__tail_find(q->engine, q->id, q->node.key_len);
    uint32_t   before = 0;
    bool       known = sse__reply_tag(reply, 8, &before);

    if (!t ||
        !sse__tail_stands_at(t, sse__reply_u64(reply, 1) - 1, before, known))
        return;
    add_batch(q, t);
    sse__tail_set_whole(t);
    sse__mirror_added(t->stream);
    sse__tail_go_on(t);
}

static void is_appended(queue *q, uint64_t first)
{
    sse__redis_accepted(q->engine);
    while (!sse__list_empty(&q->batch)) {
        entry *e = entry_at(q->batch.next);

        if (e->op)
            e->op->seq = first;
        first += e->count;
        finish(q, e, SSE_OK);
    }
}

/* One that is closed and has no state was forgotten. */
static int error_of(const redisReply *reply)
{
    if (sse__reply_is(reply, "closed"))
        return sse__reply_text(reply, 5).len > 0 ? SSE_ERR_ENDED
                                                 : SSE_ERR_NOT_FOUND;
    if (sse__reply_is(reply, "gone"))
        return SSE_ERR_NOT_FOUND;
    return sse__reply_is(reply, "owned") ? SSE_ERR_EXISTS : SSE_ERR_STORE;
}

static void got_append(void *user, const redisReply *reply)
{
    queue      *q = user;
    sse__redis *r = q->engine;
    bool        dup = sse__reply_is(reply, "dup");

    sse__tails_of(r)->queue_calls--;
    q->calling = false;
    if (sse__tails_of(r)->closed) {
        finish_list(q, &q->batch, SSE_ERR_CLOSED);
        free_queue(q);
        sse__tails_let_go(r);
        return;
    }
    r->counters.dups += dup;
    if (!reply) {
        q->retry_ms = sse__redis_now(r) + SSE__RETRY_MS;
    } else if ((dup || sse__reply_is(reply, "ok")) &&
               sse__reply_u64(reply, 1) > 0) {
        if (!dup)
            tell_mirror(q, reply);
        is_appended(q, sse__reply_u64(reply, 1));
    } else {
        finish_list(q, &q->batch, error_of(reply));
    }
    go_on(q);
}

/* A batch that nobody waits for any more is not sent again. */
static void send_batch(queue *q)
{
    sse__redis *r = q->engine;
    int         rc;

    if (!is_wanted(q))
        finish_list(q, &q->batch, SSE_ERR_STORE);
    if (sse__list_empty(&q->batch))
        form_batch(q);
    if (sse__list_empty(&q->batch)) {
        set_timer(q);
        return;
    }
    form_call(q);
    rc = sse__call_send(r, got_append, q);
    q->calling = rc == SSE_OK;
    sse__tails_of(r)->queue_calls += q->calling;
    if (rc == SSE_ERR_STORE || rc == SSE_ERR_LIMIT || rc == SSE_ERR_NOMEM)
        q->retry_ms = sse__redis_now(r) + SSE__RETRY_MS;
    else if (rc < 0)
        finish_list(q, &q->batch, rc);
    go_on(q);
}

/* ---- Time ---- */

/* What was not sent is forgotten. */
static void expire(queue *q)
{
    sse__redis *r = q->engine;
    int64_t     now_ms = sse__redis_now(r);
    sse__link  *next;

    for (sse__link *l = q->batch.next; l != &q->batch; l = l->next) {
        entry *e = entry_at(l);

        if (!e->op || e->op->by_ms > now_ms)
            continue;
        r->counters.timeouts++;
        give_up(q, e, SSE_ERR_STORE);
    }
    for (sse__link *l = q->waiting.next; l != &q->waiting; l = next) {
        next = l->next;
        if (entry_at(l)->op->by_ms > now_ms)
            continue;
        r->counters.timeouts++;
        finish(q, entry_at(l), SSE_ERR_STORE);
    }
}

static void fire(sse__timer *timer)
{
    queue *q = SSE__OWNER(timer, queue, timer);

    expire(q);
    if (is_empty(q) && !q->calling)
        free_queue(q);
    else
        go_on(q);
}

/* ---- Entry points ---- */

void sse__shared_pump(sse__redis *r)
{
    sse__link *ready = &sse__tails_of(r)->ready_queues;

    while (!sse__list_empty(ready) && sse__redis_room(r) > 0) {
        queue *q = SSE__OWNER(ready->next, queue, ready);

        sse__list_drop(&q->ready);
        send_batch(q);
    }
}

void sse__tail_append(sse__redis *r, sse__op *op)
{
    queue *q = get(r, op->id, op->id_len);
    int    rc = q ? add(q, op) : SSE_ERR_NOMEM;

    if (rc < 0)
        sse__op_finish(r->base.hub, op, rc);
    if (!q)
        return;
    go_on(q);
    sse__shared_pump(r);
}

void sse__shared_close(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);
    sse__link  *next;

    for (sse__link *l = all->all_queues.next; l != &all->all_queues; l = next) {
        queue *q = SSE__OWNER(l, queue, link);

        next = l->next;
        finish_list(q, &q->waiting, SSE_ERR_CLOSED);
        for (sse__link *b = q->batch.next; b != &q->batch; b = b->next)
            give_up(q, entry_at(b), SSE_ERR_CLOSED);
        sse__timer_drop(&q->timer);
        if (!q->calling) {
            finish_list(q, &q->batch, SSE_ERR_CLOSED);
            free_queue(q);
        }
    }
}
