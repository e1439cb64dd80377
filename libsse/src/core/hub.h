/* SPDX-License-Identifier: MIT */
/* hub.h - streams, their readers, and what they have to tell. No lock, no
 * clock: the caller serialises the calls on a hub and says what time it is.
 *
 * A subscriber is a cursor into a stream's log. It is always in one of three
 * places: on the `idle` list of its feed (it has had everything), on the
 * `ready` list of its port (there is something), or taken by the port's
 * owner, who gives it back. An append moves a whole feed from idle to ready
 * by relinking the list, however many subscribers are on it. */
#ifndef SSE_CORE_HUB_H
#define SSE_CORE_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "id.h"
#include "list.h"
#include "log.h"
#include "map.h"
#include "sse.h"
#include "wheel.h"

#define SSE__TEXT_MAX 255u       /* bytes of an id, an owner, a kind        */
#define SSE__METADATA_MAX 16384u
#define SSE__SPANS 4u
#define SSE__GAP_REASONS 4u

typedef enum sse__gap {
    SSE__GAP_TRIMMED,
    SSE__GAP_EXPIRED,
    SSE__GAP_LAGGED,
    SSE__GAP_DIVERGED
} sse__gap;

/* Counters for the metrics. */
typedef struct sse__counters {
    uint64_t streams_created, streams_ended[6]; /* by sse_state             */
    uint64_t events_in, bytes_in;               /* data bytes               */
    uint64_t events_out, bytes_out;             /* wire bytes               */
    uint64_t subscribed, replays;
    uint64_t gaps[SSE__GAP_REASONS], missed[SSE__GAP_REASONS];
    uint64_t lagged_ends, heartbeats, stops, blocked;
    uint64_t log_bytes; /* a gauge: of all logs                             */
    uint64_t subscribers, active;
} sse__counters;

typedef struct sse__hub {
    sse_hub_options opts;    /* with the defaults filled in                 */
    sse__map        streams; /* by id                                       */
    sse__map        users;   /* by owner                                    */
    sse__link       all;     /* every stream, oldest first                  */
    sse__wheel      wheel;
    sse__link       wakes;   /* ports to wake once the lock is gone         */
    sse__buf        row;     /* scratch of append                           */
    sse__buf        wire;
    int64_t         mono_ms; /* never goes back                             */
    int64_t         wall_ms; /* since 1970                                  */
    int64_t         gone_ms; /* no event of a forgotten stream is younger   */
    uint64_t        random;  /* state of the generator                      */
    sse__counters   counters;
    bool            progress; /* a reader took something or went: whoever
                               * waits for SSE_SLOW_BLOCK may look again    */
} sse__hub;

/* Who takes what the hub has for a host: a server, a queue. */
typedef struct sse__port {
    sse__hub *hub;
    sse__link ready;     /* subscribers with something to take              */
    sse__link stops;     /* streams whose producer must stop                */
    sse__link feeds;
    sse__link producing; /* streams that this port produces                 */
    sse__link wake_link; /* on the hub's wakes, or alone                    */
    bool      armed;     /* the next thing to tell makes a wake-up          */
} sse__port;

typedef struct sse__user {
    sse__map_node node;
    sse__link     streams;
    uint32_t      active;
    char          name[];
} sse__user;

typedef struct sse__stream {
    sse__map_node node;
    sse__hub     *hub;
    sse__link     all_link;
    sse__link     feeds;
    sse__link     subscribers;
    sse__user    *user;         /* NULL: nobody's                           */
    sse__link     user_link;
    sse__port    *producer;     /* NULL: none in this process               */
    sse__link     producer_link;
    sse__link     stop_link;    /* on the port's stops                      */
    sse__timer    life;         /* time to live; after the end, completion  */
    sse__timer    stop;         /* unread countdown; after a stop, grace    */
    sse__log      log;
    uint64_t      key;
    uint64_t      slowest_seq;  /* no subscriber is behind this one         */
    int64_t       created_ms, active_ms, ended_ms; /* wall                  */
    int64_t       touched_ms;   /* mono: the last event                     */
    int64_t       after_ms;     /* its events are younger than this         */
    uint32_t      refs;         /* the hub's one, handles', subscribers'    */
    uint32_t      subscriber_count;
    uint32_t      state;
    uint32_t      flags;
    uint32_t      slow_policy, unread_policy, unread_ms;
    uint32_t      stop_reason;  /* SSE_REASON_NONE until a stop             */
    bool          gone;         /* the hub has forgotten it                 */
    char         *id, *kind, *metadata;
    uint32_t      kind_len, metadata_len;
} sse__stream;

/* The subscribers of one stream at one port. */
typedef struct sse__feed {
    sse__stream *stream;
    sse__port   *port;
    sse__link    stream_link, port_link;
    sse__link    idle;
    uint32_t     count;
} sse__feed;

typedef struct sse__subscriber {
    sse__link  link;        /* on idle or ready; alone while taken          */
    sse__link  stream_link;
    sse__feed *feed;        /* NULL: closed, or never attached              */
    sse__stream *stream;    /* what it reads; counted while attached        */
    sse__timer beat;
    int64_t    last_ms;     /* when it last got a byte                      */
    uint64_t   seq;         /* the next event it wants                      */
    uint32_t   heartbeat_ms;
    uint32_t   retry_ms;    /* told with its first bytes; SSE_NEVER         */
    uint32_t   end;         /* an sse_reason: it ends with the next take    */
    uint8_t    gap;         /* the reason if it turns out to be behind      */
    bool       diverged;    /* say so with the next take                    */
    bool       greeted;     /* it had its first take                        */
    bool       beat_due;
    bool       taken;
} sse__subscriber;

/* What a subscriber gets at once: a prefix made for it alone, then the log. */
typedef struct sse__take {
    char      prefix[184];
    uint32_t  prefix_len;
    uint32_t  span_count;
    sse__span spans[SSE__SPANS];
    size_t    bytes;        /* of the prefix and the spans                  */
    uint32_t  end;          /* an sse_reason: these were its last bytes     */
} sse__take;

/* ---- Hub ---- */

int  sse__hub_init(sse__hub *h, const sse_hub_options *opts, uint64_t seed,
                   int64_t mono_ms, int64_t wall_ms);
void sse__hub_free(sse__hub *h); /* no port and no handle is left */
void sse__hub_set_time(sse__hub *h, int64_t mono_ms, int64_t wall_ms);
void sse__hub_tick(sse__hub *h); /* fires the timers that are due */
uint64_t     sse__hub_random(sse__hub *h);
sse__stream *sse__hub_find(const sse__hub *h, const char *id, size_t id_len);
int          sse__hub_metrics(const sse__hub *h, sse__buf *out);

/* ---- Ports ---- */

void sse__port_init(sse__port *p, sse__hub *h);
void sse__port_free(sse__port *p); /* closes its subscribers */
void sse__port_wake(sse__port *p); /* there is something to tell */

/* Takes the next subscriber that has something, or NULL. */
sse__subscriber *sse__port_take(sse__port *p);

/* Takes the next stream that must stop, or NULL. */
sse__stream *sse__port_take_stop(sse__port *p);

/* ---- Streams ---- */

/* As the public functions of the same names. The stream given out is the
 * hub's: take a reference to keep it. */
int sse__stream_create(sse__hub *h, const char *id, size_t id_len,
                       sse__port *producer, const sse_stream_options *opts,
                       sse__stream **out);
void sse__stream_ref(sse__stream *s);
void sse__stream_unref(sse__stream *s);
int  sse__stream_set_owner(sse__stream *s, const char *owner, size_t len);
int  sse__stream_set_kind(sse__stream *s, const char *kind, size_t len);
int  sse__stream_set_metadata(sse__stream *s, const char *json, size_t len);

/* One event to append; an array of them is appended in one step. */
typedef struct sse__new_event {
    const char *type;
    size_t      type_len;
    const char *data;
    size_t      data_len;
} sse__new_event;

/* `out`, if not NULL, gets one id for each event. */
int sse__stream_append(sse__stream *s, const sse__new_event *events,
                       size_t count, sse_event_id *out);

/* Drops events that are too old, but `keep` of the newest. */
void sse__stream_trim_age(sse__stream *s, uint32_t keep);

/* The way of one event. The stream is open; `own` is for an event of the hub's,
 * to which no limit applies. */
int sse__stream_append_one(sse__stream *s, const sse__new_event *event,
                           bool own, sse_event_id *out);

/* SSE_OK, SSE_ERR_NOT_FOUND when it was forgotten, SSE_ERR_ENDED. */
int sse__stream_check_open(const sse__stream *s);

/* Whether an append of these would take events from a reader that the policy
 * SSE_SLOW_BLOCK protects. */
bool sse__stream_must_wait(sse__stream *s, const sse__new_event *events,
                           size_t count);

int  sse__stream_end(sse__stream *s, uint32_t state, const sse__new_event *last,
                     sse_event_id *out);
int  sse__stream_stop(sse__stream *s, uint32_t reason);
void sse__stream_remove(sse__stream *s);
void sse__stream_info(const sse__stream *s, sse_stream_info *out);

/* Whether one more active stream of that owner is too many. */
bool sse__user_is_full(const sse__hub *h, const char *owner, size_t len);

/* The id of the newest event; seq 0 and no text before the first. */
void sse__stream_last_id(const sse__stream *s, sse_event_id *out);

/* Readers came, or the last one went: starts or stops the unread countdown. */
void sse__stream_count_readers(sse__stream *s);

/* ---- Subscribers ---- */

int  sse__subscriber_open(sse__subscriber *sub, sse__stream *s, sse__port *p,
                          const char *cursor, size_t cursor_len,
                          const sse_subscriber_options *opts);

/* Places a subscriber that belongs to no port: for one look at a log, within
 * one hold of the lock. It is not closed. Errors as for open. */
int  sse__subscriber_look(sse__subscriber *sub, sse__stream *s,
                          const char *cursor, size_t cursor_len);
void sse__subscriber_close(sse__subscriber *sub);
bool sse__subscriber_is_open(const sse__subscriber *sub);

/* No take gives more than this: one event may be longer than `max_bytes`. */
size_t sse__subscriber_need(const sse__subscriber *sub, size_t max_bytes);

/* Fills `out` with what a taken subscriber has; `out->bytes` may be 0. */
void sse__subscriber_take(sse__subscriber *sub, size_t max_bytes,
                          sse__take *out);

/* The same for one that was opened a moment ago and not taken yet. */
void sse__subscriber_take_now(sse__subscriber *sub, size_t max_bytes,
                              sse__take *out);
void sse__take_drop(sse__take *take); /* unpins; any thread */

/* Gives a taken subscriber back: its bytes are on their way. */
void sse__subscriber_give(sse__subscriber *sub);

void sse__subscriber_make_ready(sse__subscriber *sub);

#endif
