/* SPDX-License-Identifier: MIT */
/* subscriber.c - readers: from a cursor to bytes. */
#include <string.h>

#include "alloc.h"
#include "options.h"
#include "subscriber.h"

static const char *const BEATS[] = {
    [SSE_HEARTBEAT_COMMENT] = ": heartbeat\n\n",
    [SSE_HEARTBEAT_EVENT] = "event: heartbeat\ndata: \n\n",
    [SSE_HEARTBEAT_LINE] = ": heartbeat\n",
};

/* ---- Opening ---- */

/* Sets where `sub` reads on. SSE_ERR_ENDED: it has had everything there will
 * ever be. */
static int place(sse__subscriber *sub, const sse__stream *s,
                 const sse__cursor *cursor)
{
    const sse__log *log = &s->log;
    uint64_t        top = log->next_seq - 1;
    bool            ended = s->state != SSE_STATE_ACTIVE;
    uint32_t        tag;

    sub->seq = 1;
    if (cursor->kind == SSE__CURSOR_START)
        return SSE_OK;
    sub->seq = cursor->kind == SSE__CURSOR_NEW ? top + 1 : cursor->seq + 1;
    if (cursor->kind == SSE__CURSOR_AFTER) {
        sub->diverged =
            cursor->seq > top ||
            (cursor->tagged && sse__log_get_tag(log, cursor->seq, &tag) &&
             tag != cursor->tag);
        if (sub->diverged)
            sub->seq = log->first_seq;
    }
    return ended && sub->seq > top && !sub->diverged ? SSE_ERR_ENDED : SSE_OK;
}

static sse__feed *feed_get(sse__stream *s, sse__port *p)
{
    sse__feed *feed;

    for (sse__link *l = s->feeds.next; l != &s->feeds; l = l->next) {
        feed = SSE__OWNER(l, sse__feed, stream_link);
        if (feed->port == p)
            return feed;
    }
    feed = sse__calloc(1, sizeof(*feed));
    if (!feed)
        return NULL;
    feed->stream = s;
    feed->port = p;
    sse__list_init(&feed->idle);
    sse__list_add(&s->feeds, &feed->stream_link);
    sse__list_add(&p->feeds, &feed->port_link);
    return feed;
}

/* No byte for heartbeat_ms: say that the connection lives. A subscriber that
 * is taken has bytes on their way. */
static void fire_beat(sse__timer *t)
{
    sse__subscriber *sub = SSE__OWNER(t, sse__subscriber, beat);
    sse__hub        *h = sub->feed->port->hub;
    int64_t          due = sub->last_ms + sub->heartbeat_ms;

    if (due <= h->mono_ms) {
        if (!sub->taken) {
            sub->beat_due = true;
            sse__subscriber_make_ready(sub);
        }
        due = h->mono_ms + sub->heartbeat_ms;
    }
    sse__wheel_set(&h->wheel, t, due);
}

static int apply_options(sse__subscriber *sub, const sse__hub *h,
                         const sse_subscriber_options *opts)
{
    sse_subscriber_options o = {0};

    if (sse__options_copy(&o, sizeof(o), opts) < 0)
        return SSE_ERR_INVAL;
    sub->heartbeat_ms = sse__option(o.heartbeat_ms, h->opts.heartbeat_ms);
    sub->retry_ms = sse__option(o.retry_ms, h->opts.retry_ms);
    return SSE_OK;
}

static void attach(sse__subscriber *sub, sse__feed *feed)
{
    sse__stream *s = feed->stream;
    sse__hub    *h = s->hub;

    sub->feed = feed;
    feed->count++;
    sse__list_add(&s->subscribers, &sub->stream_link);
    sse__stream_ref(s);
    s->subscriber_count++;
    if (s->subscriber_count == 1 || sub->seq < s->slowest_seq)
        s->slowest_seq = sub->seq;
    sub->last_ms = h->mono_ms;
    if (sub->heartbeat_ms != SSE_NEVER)
        sse__wheel_set(&h->wheel, &sub->beat, h->mono_ms + sub->heartbeat_ms);
    h->counters.subscribed++;
    h->counters.subscribers++;
    h->counters.replays += sub->seq < s->log.next_seq;
    sse__stream_count_readers(s);
    sse__subscriber_make_ready(sub);
}

int sse__subscriber_look(sse__subscriber *sub, sse__stream *s,
                         const char *cursor, size_t cursor_len)
{
    sse__cursor at;
    int         rc;

    *sub = (sse__subscriber){.stream = s, .greeted = true};
    sse__list_init(&sub->link);
    sse__list_init(&sub->stream_link);
    sse__timer_init(&sub->beat, fire_beat);
    if (s->gone)
        return SSE_ERR_NOT_FOUND;
    if ((rc = sse__cursor_parse(&at, cursor, cursor_len)) < 0)
        return rc;
    sse__stream_trim_age(s, s->state != SSE_STATE_ACTIVE);
    sub->gap =
        s->log.drop == SSE__DROP_EXPIRED ? SSE_GAP_EXPIRED : SSE_GAP_TRIMMED;
    return place(sub, s, &at);
}

int sse__subscriber_open(sse__subscriber *sub, sse__stream *s, sse__port *p,
                         const char *cursor, size_t cursor_len,
                         const sse_subscriber_options *opts)
{
    sse__hub  *h = s->hub;
    sse__feed *feed;
    int        rc;

    if ((rc = sse__subscriber_look(sub, s, cursor, cursor_len)) < 0 ||
        (rc = apply_options(sub, h, opts)) < 0)
        return rc;
    if (h->counters.subscribers >= h->opts.max_subscribers)
        return SSE_ERR_LIMIT;
    feed = feed_get(s, p);
    if (!feed)
        return SSE_ERR_NOMEM;
    sub->greeted = false;
    attach(sub, feed);
    return SSE_OK;
}

bool sse__subscriber_is_open(const sse__subscriber *sub)
{
    return sub->feed != NULL;
}

void sse__subscriber_close(sse__subscriber *sub)
{
    sse__feed   *feed = sub->feed;
    sse__stream *s;

    if (!feed)
        return;
    s = feed->stream;
    s->hub->progress = true;
    sub->feed = NULL;
    sse__list_drop(&sub->link);
    sse__list_drop(&sub->stream_link);
    sse__timer_drop(&sub->beat);
    s->subscriber_count--;
    s->hub->counters.subscribers--;
    if (--feed->count == 0) {
        sse__list_drop(&feed->stream_link);
        sse__list_drop(&feed->port_link);
        sse__free(feed);
    }
    sse__stream_count_readers(s);
    sse__stream_unref(s);
}

/* ---- Taking ---- */

void sse__subscriber_make_ready(sse__subscriber *sub)
{
    sse__port *p = sub->feed->port;

    if (sub->taken)
        return; /* it is looked at again when it is given back */
    sse__list_drop(&sub->link);
    sse__list_add(&p->ready, &sub->link);
    sse__port_wake(p);
}

static void add_prefix(sse__take *t, const char *text)
{
    size_t len = strlen(text);

    memcpy(t->prefix + t->prefix_len, text, len);
    t->prefix_len += (uint32_t)len;
}

static void add_number(sse__take *t, uint64_t number)
{
    char  digits[21];
    char *at = digits + sizeof(digits) - 1;

    *at = '\0';
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    add_prefix(t, at);
}

const char *const sse__gap_names[SSE__GAP_REASONS] = {"trimmed", "expired",
                                                      "lagged", "diverged"};

/* Events from..to are not coming: says so, and counts it. */
static void add_gap(sse__take *t, sse__hub *h, uint64_t from, uint64_t to,
                    uint32_t reason)
{
    add_prefix(t, "event: gap\ndata: {\"from\":");
    add_number(t, from);
    add_prefix(t, ",\"to\":");
    add_number(t, to);
    add_prefix(t, ",\"missed\":");
    if (reason == SSE_GAP_DIVERGED)
        add_prefix(t, "null");
    else
        add_number(t, to - from + 1);
    add_prefix(t, ",\"reason\":\"");
    add_prefix(t, sse__gap_names[reason]);
    add_prefix(t, "\"}\n\n");
    h->counters.gaps[reason]++;
    if (reason != SSE_GAP_DIVERGED)
        h->counters.missed[reason] += to - from + 1;
}

static void greet(sse__subscriber *sub, sse__take *t)
{
    sub->greeted = true;
    if (sub->retry_ms == SSE_NEVER)
        return;
    add_prefix(t, "retry: ");
    add_number(t, sub->retry_ms);
    add_prefix(t, "\n\n");
}

/* Brings a subscriber that is not on its log's ground back onto it. False:
 * it ends instead. */
static bool catch_up(sse__subscriber *sub, sse__stream *s, sse__take *t)
{
    uint64_t first = s->log.first_seq;

    if (sub->diverged) {
        add_gap(t, s->hub, 1, first - 1, SSE_GAP_DIVERGED);
        sub->diverged = false;
        sub->seq = first;
    } else if (sub->seq < first) {
        if (sub->gap == SSE_GAP_LAGGED &&
            s->slow_policy == SSE_SLOW_DISCONNECT) {
            s->hub->counters.lagged_ends++;
            t->end = SSE_REASON_LAGGED;
            return false;
        }
        add_gap(t, s->hub, sub->seq, first - 1, sub->gap);
        sub->seq = first;
    }
    sub->gap = SSE_GAP_LAGGED;
    return true;
}

static void read_log(sse__subscriber *sub, sse__stream *s, size_t max_bytes,
                     sse__take *t)
{
    sse__counters *c = &s->hub->counters;
    uint64_t       seq = sub->seq;

    t->span_count =
        sse__log_read(&s->log, &sub->seq, max_bytes, t->spans, SSE__SPANS);
    c->events_out += sub->seq - seq;
    if (s->state != SSE_STATE_ACTIVE && sub->seq == s->log.next_seq)
        t->end = SSE_REASON_ENDED;
}

static void add_beat(sse__hub *h, sse__take *t)
{
    h->counters.heartbeats++;
    add_prefix(t, BEATS[h->opts.heartbeat]);
}

size_t sse__subscriber_need(const sse__subscriber *sub, size_t max_bytes)
{
    size_t first = sse__log_size_at(&sub->stream->log, sub->seq);

    return sizeof(((sse__take *)NULL)->prefix) +
           (first > max_bytes ? first : max_bytes);
}

void sse__subscriber_take(sse__subscriber *sub, size_t max_bytes,
                          sse__take *out)
{
    sse__stream *s = sub->stream;
    sse__hub    *h = s->hub;

    h->progress = true;
    out->prefix_len = out->span_count = 0;
    out->end = sub->end;
    if (!sub->greeted)
        greet(sub, out);
    if (out->end == SSE_REASON_NONE && catch_up(sub, s, out))
        read_log(sub, s, max_bytes, out);
    if (sub->beat_due && out->prefix_len + out->span_count == 0 &&
        out->end == SSE_REASON_NONE)
        add_beat(h, out);
    sub->beat_due = false;
    out->bytes = out->prefix_len;
    for (uint32_t i = 0; i < out->span_count; i++)
        out->bytes += out->spans[i].len;
    h->counters.bytes_out += out->bytes;
    if (out->bytes > 0)
        sub->last_ms = h->mono_ms;
}

void sse__subscriber_take_now(sse__subscriber *sub, size_t max_bytes,
                              sse__take *out)
{
    sse__list_drop(&sub->link);
    sub->taken = true;
    sse__subscriber_take(sub, max_bytes, out);
}

void sse__take_drop(sse__take *take)
{
    for (uint32_t i = 0; i < take->span_count; i++)
        sse__segment_unpin(take->spans[i].seg);
    take->span_count = 0;
}

/* A store can tell of another log, or of the end of a stream whose last event
 * has been read, while a subscriber is taken. */
static bool has_more(const sse__subscriber *sub)
{
    const sse__stream *s = sub->stream;

    return sub->seq < s->log.next_seq || sub->diverged ||
           s->state != SSE_STATE_ACTIVE || sub->end != SSE_REASON_NONE;
}

void sse__subscriber_give(sse__subscriber *sub)
{
    sub->taken = false;
    if (has_more(sub))
        sse__subscriber_make_ready(sub);
    else
        sse__list_add(&sub->feed->idle, &sub->link);
}
