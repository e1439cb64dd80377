/* SPDX-License-Identifier: MIT */
/* hub.c - the hub: options, time, ports. */
#include "subscriber.h"

#include "alloc.h"
#include "options.h"
#include "random.h"

#define SCRATCH_MAX ((size_t)1 << 31)

static void fill_defaults(sse_hub_options *o)
{
    o->max_streams = sse__option(o->max_streams, 100000);
    o->max_streams_per_user = sse__option(o->max_streams_per_user, 1000);
    o->max_subscribers = sse__option(o->max_subscribers, 100000);
    o->max_event_bytes = sse__option(o->max_event_bytes, 1u << 20);
    o->log_events = sse__option(o->log_events, 10000);
    o->log_bytes = sse__option(o->log_bytes, 4u << 20);
    o->log_age_ms = sse__option(o->log_age_ms, 3600000);
    o->channel_events = sse__option(o->channel_events, 1000);
    o->stream_ttl_ms = sse__option(o->stream_ttl_ms, 3600000);
    o->completion_ttl_ms = sse__option(o->completion_ttl_ms, 300000);
    o->heartbeat_ms = sse__option(o->heartbeat_ms, 15000);
    o->retry_ms = sse__option(o->retry_ms, 1000);
    o->block_timeout_ms = sse__option(o->block_timeout_ms, 5000);
    o->unread_ms = sse__option(o->unread_ms, 30000);
    o->stop_grace_ms = sse__option(o->stop_grace_ms, 5000);
}

static bool options_valid(const sse_hub_options *o)
{
    return o->flags == 0 && o->reserved == 0 &&
           o->heartbeat <= SSE_HEARTBEAT_LINE && o->id_format <= SSE_ID_PLAIN &&
           o->slow_policy <= SSE_SLOW_BLOCK &&
           o->unread_policy <= SSE_UNREAD_CANCEL_AFTER &&
           o->log_events <= 1u << 24 && o->log_bytes <= 1u << 30 &&
           o->max_event_bytes <= 1u << 28;
}

int sse__hub_init(sse__hub *h, const sse_hub_options *opts, uint64_t seed,
                  int64_t mono_ms, int64_t wall_ms)
{
    *h = (sse__hub){.random = seed};
    if (sse__options_copy(&h->opts, sizeof(h->opts), opts) < 0 ||
        !options_valid(&h->opts))
        return SSE_ERR_INVAL;
    fill_defaults(&h->opts);
    sse__map_init(&h->streams, (uint32_t)sse__hub_random(h));
    sse__map_init(&h->users, (uint32_t)sse__hub_random(h));
    sse__list_init(&h->all);
    sse__list_init(&h->wakes);
    sse__list_init(&h->dirty);
    sse__list_init(&h->orphans);
    sse__wheel_init(&h->wheel, mono_ms);
    sse__buf_init(&h->row, SCRATCH_MAX);
    sse__buf_init(&h->wire, SCRATCH_MAX);
    sse__hub_set_time(h, mono_ms, wall_ms);
    return SSE_OK;
}

static sse__orphan *take_orphan(sse__hub *h)
{
    sse__orphan *o = SSE__OWNER(h->orphans.next, sse__orphan, link);

    sse__list_drop(&o->link);
    h->orphan_count--;
    return o;
}

void sse__hub_free(sse__hub *h)
{
    while (!sse__list_empty(&h->all))
        sse__stream_remove(SSE__OWNER(h->all.next, sse__stream, all_link));
    while (!sse__list_empty(&h->orphans))
        sse__free(take_orphan(h));
    sse__map_free(&h->streams);
    sse__map_free(&h->users);
    sse__buf_free(&h->row);
    sse__buf_free(&h->wire);
}

void sse__hub_set_time(sse__hub *h, int64_t mono_ms, int64_t wall_ms)
{
    if (mono_ms > h->mono_ms)
        h->mono_ms = mono_ms;
    h->wall_ms = wall_ms;
}

uint64_t sse__hub_random(sse__hub *h)
{
    return sse__random_next(&h->random);
}

sse__stream *sse__hub_find(const sse__hub *h, const char *id, size_t id_len)
{
    sse__map_node *node = sse__map_get(&h->streams, id, id_len);

    return node ? SSE__OWNER(node, sse__stream, node) : NULL;
}

void sse__hub_tick(sse__hub *h)
{
    sse__timer *t;

    while ((t = sse__wheel_pop(&h->wheel, h->mono_ms)))
        t->fire(t);
}

/* ---- Ports ---- */

void sse__port_init(sse__port *p, sse__hub *h)
{
    p->hub = h;
    sse__list_init(&p->ready);
    sse__list_init(&p->stops);
    sse__list_init(&p->feeds);
    sse__list_init(&p->producing);
    sse__list_init(&p->wake_link);
    p->armed = true;
}

static void close_feed(sse__port *p, sse__feed *feed)
{
    sse__link *subs = &feed->stream->subscribers;
    sse__link *next;

    for (sse__link *l = subs->next; l != subs; l = next) {
        sse__subscriber *sub = SSE__OWNER(l, sse__subscriber, stream_link);

        next = l->next;
        if (sub->feed->port != p)
            continue;
        if (sub->feed->count == 1)
            next = subs; /* closing the last one frees the feed */
        sse__subscriber_close(sub);
    }
}

void sse__port_free(sse__port *p)
{
    uint64_t key;
    uint32_t reason;

    while (!sse__list_empty(&p->feeds))
        close_feed(p, SSE__OWNER(p->feeds.next, sse__feed, port_link));
    while (!sse__list_empty(&p->producing)) {
        sse__stream *s =
            SSE__OWNER(p->producing.next, sse__stream, producer_link);

        sse__list_drop(&s->producer_link);
        sse__list_drop(&s->stop_link);
        s->producer = NULL;
    }
    while (sse__port_take_stop(p, &key, &reason))
        ;
    sse__list_drop(&p->wake_link);
    if (p->hub->guardian == p)
        p->hub->guardian = NULL;
}

void sse__port_wake(sse__port *p)
{
    if (!p->armed)
        return;
    p->armed = false;
    sse__list_drop(&p->wake_link); /* drained before it could be told */
    sse__list_add(&p->hub->wakes, &p->wake_link);
}

sse__subscriber *sse__port_take(sse__port *p)
{
    sse__subscriber *sub;

    if (sse__list_empty(&p->ready))
        return NULL;
    sub = SSE__OWNER(p->ready.next, sse__subscriber, link);
    sse__list_drop(&sub->link);
    sub->taken = true;
    return sub;
}

sse__orphan *sse__port_take_orphan(sse__port *p)
{
    if (p->hub->guardian != p || sse__list_empty(&p->hub->orphans))
        return NULL;
    return take_orphan(p->hub);
}

bool sse__port_take_stop(sse__port *p, uint64_t *key, uint32_t *reason)
{
    sse__stream *s;

    if (sse__list_empty(&p->stops))
        return false;
    s = SSE__OWNER(p->stops.next, sse__stream, stop_link);
    sse__list_drop(&s->stop_link);
    *key = s->key;
    *reason = s->stop_reason;
    if (s->gone)
        sse__stream_unref(s);
    return true;
}
