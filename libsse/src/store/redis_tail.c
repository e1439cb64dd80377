/* SPDX-License-Identifier: MIT */
/* redis_tail.c - the life of tails: which there are, what they are subscribed
 * to, and what each does next. */
#include "redis_tail.h"

#include <string.h>

#include "../core/alloc.h"

#define READS_AT_ONCE 64u /* so that appends find room between them          */
#define CHECK_MS 15000    /* to twice as much                                */
#define POLL_MS 1000
#define CONFIRM_MS 10000 /* then a subscription, or its end, is asked again  */
#define NAMES_MAX ((size_t)1 << 20)

static void fire(sse__timer *timer);
static void set_timer(sse__tail *t);

/* ---- All of them ---- */

sse__tails *sse__tails_get(sse__redis *r)
{
    sse__tails *all = r->tail;
    uint64_t    random = sse__hub_random(&r->base.hub->core);

    if (all || !(all = sse__calloc(1, sizeof(*all))))
        return all;
    sse__map_init(&all->map, (uint32_t)random);
    sse__map_init(&all->queues, (uint32_t)(random >> 32));
    sse__list_init(&all->all);
    sse__list_init(&all->subscribe);
    sse__list_init(&all->unsubscribe);
    sse__list_init(&all->reads);
    sse__list_init(&all->all_queues);
    sse__list_init(&all->ready_queues);
    sse__wheel_init(&all->wheel, sse__redis_now(r));
    sse__buf_init(&all->names, NAMES_MAX);
    r->tail = all;
    return all;
}

void sse__tails_let_go(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);

    if (!all->closed || all->under_way + all->queue_calls > 0)
        return;
    sse__map_free(&all->map);
    sse__map_free(&all->queues);
    sse__buf_free(&all->names);
    sse__free(all);
    r->tail = NULL;
}

/* ---- One of them ---- */

sse__tail *sse__tail_find(const sse__redis *r, const char *id, size_t len)
{
    sse__tails    *all = sse__tails_of(r);
    sse__map_node *node = all ? sse__map_get(&all->map, id, len) : NULL;

    return node ? SSE__OWNER(node, sse__tail, node) : NULL;
}

static void init(sse__tail *t, sse__redis *r)
{
    t->engine = r;
    t->phase = SSE__TAIL_LOOKING;
    t->page_rows = t->old_rows = SSE__PAGE_ROWS;
    t->describe = true;
    sse__list_init(&t->todo);
    sse__list_init(&t->to_read);
    sse__list_init(&t->fetches);
    sse__timer_init(&t->timer, fire);
    sse__buf_init(&t->kept, SIZE_MAX); /* its messages know their bound */
}

sse__tail *sse__tail_get(sse__redis *r, const char *id, size_t len)
{
    sse__tails *all = sse__tails_get(r);
    sse__tail  *t = sse__tail_find(r, id, len);

    if (t || !all || !(t = sse__calloc(1, sizeof(*t) + len)))
        return t;
    memcpy(t->id, id, len);
    if (sse__map_add(&all->map, &t->node, t->id, len) < 0) {
        sse__free(t);
        return NULL;
    }
    init(t, r);
    sse__list_add(&all->all, &t->link);
    return t;
}

static void set_sent(sse__tail *t, bool sent)
{
    sse__tails *all = sse__tails_of(t->engine);

    all->count += sent - t->sent;
    t->sent = sent;
}

/* Whatever is under way for it must come to its end first. */
static void free_if_idle(sse__tail *t)
{
    sse__tails *all = sse__tails_of(t->engine);

    if (t->stream || t->sent || t->reading || !sse__list_empty(&t->fetches))
        return;
    sse__tail_drop_kept(t);
    sse__map_drop(&all->map, &t->node);
    sse__list_drop(&t->link);
    sse__list_drop(&t->todo);
    sse__list_drop(&t->to_read);
    sse__timer_drop(&t->timer);
    sse__free(t);
}

/* ---- Its mirror ---- */

/* Nothing that was read so far, or is being read, proves anything now. */
static void start_over(sse__tail *t)
{
    t->turn++;
    t->caught = false;
    t->read_void = t->reading;
    t->from_start = false;
    t->hold_ms = t->behind_ms = 0;
    t->old_seq = 0;
    if (t->phase == SSE__TAIL_LIVE)
        t->phase = SSE__TAIL_JOINING;
}

void sse__tail_attach(sse__tail *t, sse__stream *s)
{
    start_over(t);
    t->stream = s;
    t->base = s->log.first_seq - 1;
    s->backing->engine = t;
    s->backing->refs++;
    sse__stream_ref(s);
}

void sse__tail_detach(sse__tail *t)
{
    sse__stream *s = t->stream;

    start_over(t);
    sse__tail_drop_kept(t);
    t->made_here = t->let_in = t->owned = t->heard = t->again = false;
    t->describe = true;
    if (!s)
        return;
    t->stream = NULL;
    s->backing->live = false;
    s->backing->engine = NULL;
    s->backing->refs--;
    sse__stream_unref(s);
}

/* ---- Subscriptions ---- */

static void subscribe(sse__tail *t)
{
    t->phase = SSE__TAIL_SUBSCRIBING;
    t->confirm_ms = 0;
    sse__list_drop(&t->todo);
    sse__list_add(&sse__tails_of(t->engine)->subscribe, &t->todo);
}

/* A subscription that ends is confirmed before another one begins: only then
 * is it known which of the two a confirmation is for. */
static void leave(sse__tail *t)
{
    sse__list_drop(&t->todo);
    sse__tail_drop_kept(t);
    t->confirm_ms = 0;
    if (t->sent) {
        t->phase = SSE__TAIL_LEAVING;
        sse__list_add(&sse__tails_of(t->engine)->unsubscribe, &t->todo);
    } else {
        t->phase = SSE__TAIL_LOOKING;
    }
}

/* As many channels as one command shall name. */
static uint32_t name_channels(sse__redis *r, const sse__link *list)
{
    sse__tails *all = sse__tails_of(r);
    uint32_t    count = 0;
    size_t      at = 0;

    all->names.len = 0;
    for (const sse__link *l = list->next;
         l != list && count < SSE__SUBSCRIBE_AT_ONCE; l = l->next) {
        const sse__tail *t = SSE__OWNER(l, sse__tail, todo);

        if (sse__buf_add_str(&all->names, r->prefix) < 0 ||
            sse__buf_add_str(&all->names, r->channels) < 0 ||
            sse__buf_add(&all->names, t->id, t->node.key_len) < 0)
            break;
        all->name_lens[count++] = all->names.len - at;
        at = all->names.len;
    }
    for (uint32_t i = 0, start = 0; i < count; i++) {
        all->name_texts[i] = all->names.data + start;
        start += (uint32_t)all->name_lens[i];
    }
    return count;
}

/* False: not now. */
static bool send_names(sse__redis *r, sse__link *list, bool on)
{
    sse__tails *all = sse__tails_of(r);
    uint32_t    count = name_channels(r, list);

    if (count == 0 || !r->pushes_up || !r->pushes ||
        (on ? sse__redis_subscribe : sse__redis_unsubscribe)(
            r->pushes, count, all->name_texts, all->name_lens) < 0)
        return false;
    while (count-- > 0) {
        sse__tail *t = SSE__OWNER(list->next, sse__tail, todo);

        sse__list_drop(&t->todo);
        set_sent(t, true);
        t->confirm_ms = sse__redis_now(r) + CONFIRM_MS;
        set_timer(t);
    }
    return true;
}

static void pump_names(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);

    while (!sse__list_empty(&all->unsubscribe) &&
           send_names(r, &all->unsubscribe, false))
        ;
    while (!sse__list_empty(&all->subscribe) &&
           send_names(r, &all->subscribe, true))
        ;
}

static void is_subscribed(sse__tail *t)
{
    if (t->phase != SSE__TAIL_SUBSCRIBING)
        return;
    t->phase = SSE__TAIL_JOINING;
    t->turn++;
    t->caught = t->heard = false;
    sse__tail_go_on(t);
}

static void is_unsubscribed(sse__tail *t)
{
    if (t->phase != SSE__TAIL_LEAVING)
        return;
    set_sent(t, false);
    t->phase = SSE__TAIL_LOOKING;
    sse__tail_go_on(t);
}

static bool is_to_be_confirmed(const sse__tail *t)
{
    return t->confirm_ms > 0 &&
           (t->phase == SSE__TAIL_SUBSCRIBING || t->phase == SSE__TAIL_LEAVING);
}

/* A tail must not wait for ever for what has got lost. */
static void ask_again(sse__tail *t)
{
    if (!is_to_be_confirmed(t) || sse__redis_now(t->engine) < t->confirm_ms)
        return;
    if (t->phase == SSE__TAIL_SUBSCRIBING)
        subscribe(t);
    else
        leave(t);
}

/* ---- What comes next ---- */

static bool has_ended(const sse__tail *t)
{
    return t->stream->state != SSE_STATE_ACTIVE;
}

/* Rows come without a message, as far as is known. */
static bool must_poll(const sse__tail *t)
{
    return !t->owned && !t->heard && t->stream->subscriber_count > 0;
}

static void set_timer(sse__tail *t)
{
    int64_t due = sse__fetch_due_ms(t);

    if (t->phase == SSE__TAIL_LIVE && t->check_ms < due)
        due = t->check_ms;
    if (t->phase == SSE__TAIL_LIVE && !t->owned && !t->heard &&
        t->poll_ms < due)
        due = t->poll_ms;
    if (t->hold_ms > sse__redis_now(t->engine) && t->hold_ms < due)
        due = t->hold_ms;
    if (is_to_be_confirmed(t) && t->confirm_ms < due)
        due = t->confirm_ms;
    if (due == INT64_MAX)
        sse__timer_drop(&t->timer);
    else
        sse__wheel_set(&sse__tails_of(t->engine)->wheel, &t->timer, due);
}

static void want_read(sse__tail *t)
{
    if (!t->reading && t->hold_ms <= sse__redis_now(t->engine) &&
        sse__list_empty(&t->to_read))
        sse__list_add(&sse__tails_of(t->engine)->reads, &t->to_read);
}

static bool wants_subscription(const sse__tail *t)
{
    return t->stream && !has_ended(t) &&
           (t->made_here || t->let_in || t->stream->subscriber_count > 0 ||
            sse__fetch_wants_events(t));
}

/* Nobody needs it any more, or there is nothing to follow. */
static bool is_over(const sse__tail *t)
{
    if (!sse__list_empty(&t->fetches))
        return false;
    return !t->stream || (has_ended(t) && t->caught) ||
           (t->phase == SSE__TAIL_LOOKING && t->caught &&
            !wants_subscription(t));
}

/* It stays live meanwhile. */
void sse__tail_look_again(sse__tail *t)
{
    t->again = t->caught = false;
    t->turn++;
}

void sse__tail_go_on(sse__tail *t)
{
    if (t->stream && t->stream->gone)
        sse__tail_detach(t);
    if (t->stream && t->caught)
        sse__fetch_answer(t);
    if (t->again && t->caught && t->old_seq == 0)
        sse__tail_look_again(t); /* not before a fetch has what is older */
    if (is_over(t)) {
        sse__tail_detach(t);
        if (t->phase != SSE__TAIL_LEAVING)
            leave(t);
        free_if_idle(t);
        return;
    }
    if (t->phase == SSE__TAIL_LOOKING && t->caught && wants_subscription(t))
        subscribe(t);
    else if ((!t->caught || t->old_seq > 0) &&
             t->phase != SSE__TAIL_SUBSCRIBING && t->phase != SSE__TAIL_LEAVING)
        want_read(t);
    set_timer(t);
}

void sse__tail_rejoin(sse__tail *t)
{
    t->turn++;
    t->caught = false;
    if (t->phase == SSE__TAIL_LIVE)
        t->phase = SSE__TAIL_JOINING;
    if (t->stream)
        t->stream->backing->live = false;
}

void sse__tail_is_live(sse__tail *t)
{
    sse__redis *r = t->engine;
    int64_t     now_ms = sse__redis_now(r);

    t->phase = SSE__TAIL_LIVE;
    t->stream->backing->live = true;
    t->check_ms = now_ms + CHECK_MS +
                  (int64_t)(sse__hub_random(&r->base.hub->core) % CHECK_MS);
    t->poll_ms = now_ms + POLL_MS;
}

/* Looks whether all that was told is all that there is. */
static void check(sse__tail *t)
{
    int64_t now_ms = sse__redis_now(t->engine);
    bool    poll;

    if (t->phase != SSE__TAIL_LIVE || !t->stream)
        return;
    poll = now_ms >= t->poll_ms && must_poll(t);
    if (now_ms >= t->poll_ms)
        t->poll_ms = now_ms + POLL_MS;
    if (!poll && now_ms < t->check_ms)
        return;
    t->check_ms = now_ms + 2 * CHECK_MS;
    sse__tail_look_again(t);
}

static void fire(sse__timer *timer)
{
    sse__tail *t = SSE__OWNER(timer, sse__tail, timer);

    sse__fetch_expire(t);
    ask_again(t);
    check(t);
    sse__tail_go_on(t);
}

static bool can_read(const sse__redis *r)
{
    const sse__tails *all = sse__tails_of(r);

    return !sse__list_empty(&all->reads) && all->under_way < READS_AT_ONCE &&
           r->commands && sse__redis_link_room(r->commands) > 0;
}

static void pump_reads(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);

    while (can_read(r)) {
        sse__tail *t = SSE__OWNER(all->reads.next, sse__tail, to_read);

        sse__list_drop(&t->to_read);
        if (sse__tail_read(t) < 0) {
            t->hold_ms = sse__redis_now(r) + SSE__RETRY_MS;
            set_timer(t);
        }
    }
}

static void pump(sse__redis *r)
{
    pump_names(r);
    pump_reads(r);
    sse__shared_pump(r);
}

/* ---- Entry points ---- */

void sse__tail_follow(sse__redis *r, sse__stream *s)
{
    sse__tail *t = sse__tail_get(r, s->id, s->node.key_len);

    if (!t)
        return; /* a fetch will try again */
    if (t->stream != s) {
        sse__tail_detach(t);
        sse__tail_attach(t, s);
    }
    t->made_here = true;
    sse__tail_go_on(t);
    pump(r);
}

void sse__tail_dirty(sse__redis *r, sse__stream *s)
{
    sse__tail *t = s->backing->engine;

    (void)r;
    if (!t || !s->gone)
        return;
    sse__tail_detach(t);
    sse__tail_go_on(t);
}

/* The tail that a channel belongs to. */
static sse__tail *find_channel(const sse__redis *r, const sse__redis_push *push)
{
    size_t prefix = strlen(r->prefix), kind = strlen(r->channels);

    if (push->channel_len <= prefix + kind ||
        memcmp(push->channel, r->prefix, prefix) != 0 ||
        memcmp(push->channel + prefix, r->channels, kind) != 0)
        return NULL;
    return sse__tail_find(r, push->channel + prefix + kind,
                          push->channel_len - prefix - kind);
}

void sse__tail_pushed(sse__redis *r, const sse__redis_push *push)
{
    sse__tail *t = find_channel(r, push);

    if (!t)
        return;
    if (push->kind == SSE__REDIS_SUBSCRIBED)
        is_subscribed(t);
    else if (push->kind == SSE__REDIS_UNSUBSCRIBED)
        is_unsubscribed(t);
    else
        sse__tail_message(t, push->message, push->message_len);
}

void sse__tail_link_up(sse__redis *r)
{
    if (sse__tails_of(r))
        pump(r); /* all that follow are on the list */
}

/* The subscription is gone with its link. */
static void lose_subscription(sse__tail *t)
{
    set_sent(t, false);
    sse__list_drop(&t->todo);
    sse__tail_drop_kept(t);
    if (t->phase == SSE__TAIL_LEAVING) {
        t->phase = SSE__TAIL_LOOKING;
    } else if (t->phase != SSE__TAIL_LOOKING) {
        sse__tail_rejoin(t);
        subscribe(t);
    }
    sse__fetch_answer_away(t);
    sse__tail_go_on(t);
}

void sse__tail_link_down(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);
    sse__link  *next;

    if (!all)
        return;
    for (sse__link *l = all->all.next; l != &all->all; l = next) {
        next = l->next;
        lose_subscription(SSE__OWNER(l, sse__tail, link));
    }
}

void sse__tail_commands_up(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);
    sse__link  *next;

    if (!all)
        return;
    for (sse__link *l = all->all.next; l != &all->all; l = next) {
        sse__tail *t = SSE__OWNER(l, sse__tail, link);

        next = l->next;
        t->hold_ms = 0;
        sse__tail_go_on(t);
    }
    pump(r);
}

void sse__tail_commands_down(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);
    sse__link  *next;

    if (!all)
        return;
    for (sse__link *l = all->all.next; l != &all->all; l = next) {
        sse__tail *t = SSE__OWNER(l, sse__tail, link);

        next = l->next;
        sse__fetch_answer_away(t);
        sse__tail_go_on(t);
    }
}

void sse__tail_tick(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);
    sse__timer *timer;

    if (!all)
        return;
    while ((timer = sse__wheel_pop(&all->wheel, sse__redis_now(r))))
        timer->fire(timer);
    pump(r);
}

int64_t sse__tail_due_ms(const sse__redis *r)
{
    const sse__tails *all = sse__tails_of(r);

    if (!all)
        return INT64_MAX;
    if (can_read(r)) /* since the last turn of this */
        return sse__redis_now(r);
    if (r->pushes_up && (!sse__list_empty(&all->subscribe) ||
                         !sse__list_empty(&all->unsubscribe)))
        return sse__redis_now(r) + SSE__RETRY_MS;
    return sse__wheel_next_ms(&all->wheel);
}

/* Replies that are due find tails that nobody needs. */
void sse__tail_close(sse__redis *r)
{
    sse__tails *all = sse__tails_of(r);
    sse__link  *next;

    if (!all)
        return;
    all->closed = true;
    sse__shared_close(r);
    for (sse__link *l = all->all.next; l != &all->all; l = next) {
        sse__tail *t = SSE__OWNER(l, sse__tail, link);

        next = l->next;
        sse__fetch_answer_all(t, SSE_ERR_CLOSED);
        set_sent(t, false);
        sse__tail_detach(t);
        sse__timer_drop(&t->timer);
        free_if_idle(t);
    }
    sse__tails_let_go(r);
}

uint64_t sse__tail_count(const sse__redis *r)
{
    const sse__tails *all = sse__tails_of(r);

    return all ? all->count : 0;
}
