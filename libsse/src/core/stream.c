/* SPDX-License-Identifier: MIT */
/* stream.c - the life of a stream: created, owned, ended, forgotten. */
#include <string.h>

#include "alloc.h"
#include "backing.h"
#include "options.h"
#include "subscriber.h"
#include "utf8.h"

static void fire_life(sse__timer *t);
static void fire_stop(sse__timer *t);

/* ---- Owners ---- */

static sse__user *user_get(sse__hub *h, const char *name, size_t len)
{
    sse__map_node *node = sse__map_get(&h->users, name, len);
    sse__user     *user;

    if (node)
        return SSE__OWNER(node, sse__user, node);
    user = sse__malloc(sizeof(*user) + len);
    if (!user)
        return NULL;
    memcpy(user->name, name, len);
    if (sse__map_add(&h->users, &user->node, user->name, len) < 0) {
        sse__free(user);
        return NULL;
    }
    sse__list_init(&user->streams);
    user->active = 0;
    return user;
}

bool sse__user_is_full(const sse__hub *h, const char *owner, size_t len)
{
    sse__map_node *node = sse__map_get(&h->users, owner, len);

    return node && SSE__OWNER(node, sse__user, node)->active >=
                       h->opts.max_streams_per_user;
}

static void user_leave(sse__stream *s)
{
    sse__user *user = s->user;

    if (!user)
        return;
    sse__list_drop(&s->user_link);
    user->active -= s->state == SSE_STATE_ACTIVE;
    s->user = NULL;
    if (sse__list_empty(&user->streams)) {
        sse__map_drop(&s->hub->users, &user->node);
        sse__free(user);
    }
}

static int check_text(const char *text, size_t len, size_t max)
{
    if (len > max)
        return SSE_ERR_TOO_BIG;
    return sse__utf8_valid(text, len) ? SSE_OK : SSE_ERR_UTF8;
}

int sse__stream_set_owner(sse__stream *s, const char *owner, size_t len)
{
    int        rc = check_text(owner, len, SSE__TEXT_MAX);
    sse__user *user;

    if (rc < 0)
        return rc;
    if (s->gone)
        return SSE_ERR_NOT_FOUND;
    if (len == 0) {
        user_leave(s);
        return SSE_OK;
    }
    user = user_get(s->hub, owner, len);
    if (!user)
        return SSE_ERR_NOMEM;
    if (user == s->user)
        return SSE_OK;
    if (s->state == SSE_STATE_ACTIVE &&
        user->active >= s->hub->opts.max_streams_per_user)
        return SSE_ERR_LIMIT;
    user_leave(s);
    s->user = user;
    user->active += s->state == SSE_STATE_ACTIVE;
    sse__list_add(&user->streams, &s->user_link);
    return SSE_OK;
}

static int set_text(char **text, uint32_t *text_len, const char *from,
                    size_t len, size_t max)
{
    int   rc = check_text(from, len, max);
    char *copy = NULL;

    if (rc < 0)
        return rc;
    if (len > 0 && !(copy = sse__memdup(from, len)))
        return SSE_ERR_NOMEM;
    sse__free(*text);
    *text = copy;
    *text_len = (uint32_t)len;
    return SSE_OK;
}

int sse__stream_set_kind(sse__stream *s, const char *kind, size_t len)
{
    return set_text(&s->kind, &s->kind_len, kind, len, SSE__TEXT_MAX);
}

int sse__stream_set_metadata(sse__stream *s, const char *json, size_t len)
{
    return set_text(&s->metadata, &s->metadata_len, json, len,
                    SSE__METADATA_MAX);
}

/* ---- Creation ---- */

static bool options_valid(const sse_stream_options *o)
{
    return o->flags <= (SSE_STREAM_CHANNEL | SSE_STREAM_SHARED) &&
           o->slow_policy_set <= 1 && o->slow_policy <= SSE_SLOW_BLOCK &&
           o->unread_policy_set <= 1 &&
           o->unread_policy <= SSE_UNREAD_CANCEL_AFTER &&
           o->log_events <= 1u << 24 && o->log_bytes <= 1u << 30;
}

static void apply_options(sse__stream *s, const sse_stream_options *o)
{
    const sse_hub_options *d = &s->hub->opts;
    uint32_t               events =
        o->flags & SSE_STREAM_CHANNEL ? d->channel_events : d->log_events;

    s->flags = o->flags;
    s->key = o->key;
    s->slow_policy = o->slow_policy_set ? o->slow_policy : d->slow_policy;
    s->unread_policy =
        o->unread_policy_set ? o->unread_policy : d->unread_policy;
    s->unread_ms = sse__option(o->unread_ms, d->unread_ms);
    sse__log_init(&s->log, sse__option(o->log_events, events),
                  sse__option(o->log_bytes, d->log_bytes),
                  sse__option(o->log_age_ms, d->log_age_ms));
}

static void stream_init(sse__stream *s, sse__hub *h,
                        const sse_stream_options *opts)
{
    s->hub = h;
    s->refs = 1;
    sse__list_init(&s->feeds);
    sse__list_init(&s->subscribers);
    sse__list_init(&s->user_link);
    sse__list_init(&s->producer_link);
    sse__list_init(&s->stop_link);
    sse__timer_init(&s->life, fire_life);
    sse__timer_init(&s->stop, fire_stop);
    s->created_ms = s->active_ms = h->wall_ms;
    s->touched_ms = h->mono_ms;
    s->after_ms = h->gone_ms;
    apply_options(s, opts);
}

/* Takes its place in the hub, that of `old` if there is one: the id of a
 * stream that has ended may be used again. With `old` it cannot fail. */
static int stream_enter(sse__stream *s, size_t id_len, sse__stream *old)
{
    sse__hub *h = s->hub;

    if (old) {
        sse__stream_remove(old);
        s->after_ms = h->gone_ms;
    }
    if (sse__map_add(&h->streams, &s->node, s->id, id_len) < 0)
        return SSE_ERR_NOMEM;
    sse__list_add(&h->all, &s->all_link);
    return SSE_OK;
}

static int stream_make(sse__hub *h, const char *id, size_t id_len,
                       const sse_stream_options *opts, sse__stream *old,
                       sse__stream **out)
{
    sse__stream *s = sse__calloc(1, sizeof(*s));

    if (!s)
        return SSE_ERR_NOMEM;
    stream_init(s, h, opts);
    s->id = sse__memdup(id, id_len);
    if (!s->id || stream_enter(s, id_len, old) < 0) {
        sse__free(s->id);
        sse__free(s);
        return SSE_ERR_NOMEM;
    }
    *out = s;
    return SSE_OK;
}

static int check_place(const sse__hub *h, const sse__stream *old)
{
    if (old)
        return old->state == SSE_STATE_ACTIVE ? SSE_ERR_EXISTS : SSE_OK;
    return h->streams.count < h->opts.max_streams ? SSE_OK : SSE_ERR_LIMIT;
}

int sse__stream_create(sse__hub *h, const char *id, size_t id_len,
                       sse__port *producer, const sse_stream_options *opts,
                       sse__stream **out)
{
    sse_stream_options o = {0};
    sse__stream       *s, *old;
    int                rc;

    *out = NULL;
    if (sse__options_copy(&o, sizeof(o), opts) < 0 || !options_valid(&o))
        return SSE_ERR_INVAL;
    if (!sse__stream_id_valid(id, id_len))
        return SSE_ERR_INVAL;
    old = sse__hub_find(h, id, id_len);
    if ((rc = check_place(h, old)) < 0 ||
        (rc = stream_make(h, id, id_len, &o, old, &s)) < 0)
        return rc;
    if (producer) {
        s->producer = producer;
        sse__list_add(&producer->producing, &s->producer_link);
    }
    h->counters.streams_created++;
    h->counters.active++;
    sse__wheel_set(&h->wheel, &s->life, h->mono_ms + h->opts.stream_ttl_ms);
    if (s->unread_policy == SSE_UNREAD_CANCEL_AFTER)
        sse__stream_count_readers(s);
    *out = s;
    return SSE_OK;
}

void sse__stream_ref(sse__stream *s)
{
    s->refs++;
}

void sse__stream_unref(sse__stream *s)
{
    if (--s->refs > 0)
        return;
    s->hub->counters.log_bytes -= s->log.bytes;
    sse__backing_free(s->backing);
    sse__log_free(&s->log);
    sse__free(s->id);
    sse__free(s->kind);
    sse__free(s->metadata);
    sse__free(s);
}

/* Every subscriber gets to know at its next take. */
static void end_subscribers(sse__stream *s, uint32_t reason)
{
    for (sse__link *l = s->subscribers.next; l != &s->subscribers;
         l = l->next) {
        sse__subscriber *sub = SSE__OWNER(l, sse__subscriber, stream_link);

        sub->end = reason;
        sse__subscriber_make_ready(sub);
    }
}

void sse__stream_remove(sse__stream *s)
{
    sse__hub *h = s->hub;

    if (s->gone)
        return;
    s->gone = h->progress = true;
    if (s->active_ms > h->gone_ms)
        h->gone_ms = s->active_ms;
    end_subscribers(s, SSE_REASON_REMOVED);
    sse__stream_dirty(s);
    h->counters.active -= s->state == SSE_STATE_ACTIVE;
    user_leave(s);
    sse__timer_drop(&s->life);
    sse__timer_drop(&s->stop);
    sse__list_drop(&s->producer_link);
    sse__list_drop(&s->stop_link);
    s->producer = NULL;
    sse__list_drop(&s->all_link);
    sse__map_drop(&h->streams, &s->node);
    sse__stream_unref(s);
}

void sse__stream_lose(sse__stream *s, uint32_t reason)
{
    sse__port *producer = s->producer;
    bool       tell = producer && s->state == SSE_STATE_ACTIVE;

    if (s->gone)
        return;
    sse__stream_ref(s); /* the note's, if there is one */
    sse__stream_remove(s);
    if (!tell) {
        sse__stream_unref(s);
        return;
    }
    s->stop_reason = reason;
    s->hub->counters.stops++;
    sse__list_add(&producer->stops, &s->stop_link);
    sse__port_wake(producer);
}

/* ---- The end ---- */

void sse__stream_set_ended(sse__stream *s, uint32_t state)
{
    sse__hub *h = s->hub;

    if (s->user)
        s->user->active--;
    h->counters.active--;
    h->counters.streams_ended[state]++;
    s->state = state;
    h->progress = true;
    s->ended_ms = h->wall_ms;
    sse__stream_dirty(s);
    sse__timer_drop(&s->stop);
    sse__list_drop(&s->stop_link);
    sse__wheel_set(&h->wheel, &s->life, h->mono_ms + h->opts.completion_ttl_ms);
}

static int end(sse__stream *s, uint32_t state, const sse__new_event *last,
               bool own, sse_event_id *out)
{
    sse__new_event e = *last;
    int            rc = sse__stream_check_open(s);

    if (rc < 0)
        return rc;
    if (state < SSE_STATE_COMPLETED || state > SSE_STATE_CANCELLED ||
        s->flags & SSE_STREAM_CHANNEL)
        return SSE_ERR_INVAL;
    if (e.type_len == 0) {
        e.type = sse_state_name((int)state);
        e.type_len = strlen(e.type);
    }
    if ((rc = sse__stream_append_one(s, &e, own, out)) < 0)
        return rc;
    sse__stream_set_ended(s, state);
    return SSE_OK;
}

int sse__stream_end(sse__stream *s, uint32_t state, const sse__new_event *last,
                    sse_event_id *out)
{
    return end(s, state, last, false, out);
}

static const char *stop_data(uint32_t reason)
{
    switch (reason) {
    case SSE_REASON_UNREAD: return "{\"reason\":\"unread\"}";
    case SSE_REASON_SHUTDOWN: return "{\"reason\":\"shutdown\"}";
    default: return "{\"reason\":\"stop\"}";
    }
}

/* Out of memory leaves it active: the timer tries again. */
static void cancel(sse__stream *s)
{
    const char    *data = stop_data(s->stop_reason);
    sse__new_event last = {"", 0, data, strlen(data)};

    if (sse__stream_is_mirror(s)) {
        s->backing->stop = true; /* only the store can say where it ends */
        sse__stream_dirty(s);
        return;
    }
    if (end(s, SSE_STATE_CANCELLED, &last, true, NULL) == SSE_ERR_NOMEM)
        sse__wheel_set(&s->hub->wheel, &s->stop, s->hub->mono_ms + 1000);
}

int sse__stream_stop(sse__stream *s, uint32_t reason)
{
    sse__hub *h = s->hub;

    if (sse__stream_check_open(s) < 0 || s->stop_reason != SSE_REASON_NONE)
        return SSE_OK;
    if (s->flags & SSE_STREAM_CHANNEL && !s->producer)
        return SSE_OK; /* nobody to tell, and nothing to end */
    s->stop_reason = reason;
    h->progress = true;
    h->counters.stops++;
    if (!s->producer) {
        cancel(s);
        return SSE_OK;
    }
    sse__list_add(&s->producer->stops, &s->stop_link);
    sse__port_wake(s->producer);
    if (!(s->flags & SSE_STREAM_CHANNEL))
        sse__wheel_set(&h->wheel, &s->stop, h->mono_ms + h->opts.stop_grace_ms);
    return SSE_OK;
}

void sse__stream_count_readers(sse__stream *s)
{
    sse__hub *h = s->hub;

    if (sse__stream_check_open(s) < 0 || s->stop_reason != SSE_REASON_NONE)
        return;
    if (s->subscriber_count > 0)
        sse__timer_drop(&s->stop);
    else if (s->unread_policy == SSE_UNREAD_CANCEL)
        sse__stream_stop(s, SSE_REASON_UNREAD);
    else if (s->unread_policy == SSE_UNREAD_CANCEL_AFTER)
        sse__wheel_set(&h->wheel, &s->stop, h->mono_ms + s->unread_ms);
}

/* The unread countdown or the grace after a stop is over. */
static void fire_stop(sse__timer *t)
{
    sse__stream *s = SSE__OWNER(t, sse__stream, stop);

    if (s->stop_reason == SSE_REASON_NONE)
        sse__stream_stop(s, SSE_REASON_UNREAD);
    else
        cancel(s);
}

/* The time to live may be over; events since it was set move it. */
static void fire_life(sse__timer *t)
{
    sse__stream *s = SSE__OWNER(t, sse__stream, life);
    sse__hub    *h = s->hub;
    int64_t      due = s->touched_ms + h->opts.stream_ttl_ms;

    if (s->state == SSE_STATE_ACTIVE && sse__stream_is_mirror(s)) {
        if (s->subscriber_count > 0 || s->refs > 1 + s->backing->refs) {
            sse__wheel_set(&h->wheel, t, h->mono_ms + s->backing->idle_ms);
            return;
        }
    } else if (s->state == SSE_STATE_ACTIVE) {
        if (s->flags & SSE_STREAM_CHANNEL && s->subscriber_count > 0)
            due = h->mono_ms + h->opts.stream_ttl_ms;
        if (due > h->mono_ms) {
            sse__wheel_set(&h->wheel, t, due);
            return;
        }
        h->counters.streams_ended[SSE_STATE_EXPIRED]++;
    }
    sse__stream_remove(s);
}

/* ---- What it is ---- */

const char *sse_state_name(int state)
{
    switch (state) {
    case SSE_STATE_ACTIVE: return "active";
    case SSE_STATE_COMPLETED: return "completed";
    case SSE_STATE_FAILED: return "failed";
    case SSE_STATE_CANCELLED: return "cancelled";
    case SSE_STATE_ORPHANED: return "orphaned";
    case SSE_STATE_EXPIRED: return "expired";
    default: return "unknown";
    }
}

void sse__stream_info(const sse__stream *s, sse_stream_info *out)
{
    *out = (sse_stream_info){
        .state = s->state,
        .flags = s->flags,
        .id = s->id,
        .id_len = s->node.key_len,
        .owner = s->user ? s->user->name : "",
        .owner_len = s->user ? s->user->node.key_len : 0,
        .kind = s->kind ? s->kind : "",
        .kind_len = s->kind_len,
        .metadata = s->metadata ? s->metadata : "",
        .metadata_len = s->metadata_len,
        .created_ms = s->created_ms,
        .active_ms = s->active_ms,
        .ended_ms = s->ended_ms,
        .first_seq = s->log.first_seq,
        .last_seq = s->log.next_seq - 1,
        .log_bytes = s->log.bytes,
        .subscriber_count = s->subscriber_count,
        .stop_requested = s->stop_reason != SSE_REASON_NONE,
    };
}

void sse__stream_last_id(const sse__stream *s, sse_event_id *out)
{
    uint32_t tag;

    *out = (sse_event_id){0};
    if (sse__log_get_tag(&s->log, s->log.next_seq - 1, &tag))
        sse__id_make(out, s->log.next_seq - 1, tag, s->hub->opts.id_format);
}
