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
#include "list.h"
#include "map.h"
#include "sse.h"
#include "wheel.h"

#define SSE__GAP_REASONS 4u

/* What a gap event gives as its reason, by sse_gap. */
extern const char *const sse__gap_names[SSE__GAP_REASONS];

/* Counters for the metrics. */
typedef struct sse__counters {
    uint64_t streams_created, streams_ended[6]; /* by sse_state             */
    uint64_t events_in, bytes_in;               /* data bytes               */
    uint64_t events_mirrored;                   /* told by the store        */
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
    sse__link       dirty;   /* streams that the store must look at         */
    sse__link       orphans; /* sse__orphan: to be told to `guardian`       */
    struct sse__port *guardian; /* or NULL                                  */
    uint32_t        orphan_count;
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

typedef struct sse__stream sse__stream;
typedef struct sse__subscriber sse__subscriber;

/* Who takes what the hub has for a host: a server, a queue. */
typedef struct sse__port {
    sse__hub *hub;
    sse__link ready;     /* subscribers with something to take              */
    sse__link stops;     /* streams whose producer must stop; those that are
                          * gone are counted                                */
    sse__link feeds;
    sse__link producing; /* streams that this port produces                 */
    sse__link wake_link; /* on the hub's wakes, or alone                    */
    bool      armed;     /* the next thing to tell makes a wake-up          */
} sse__port;

/* A stream whose producer went silent, as JSON. */
typedef struct sse__orphan {
    sse__link link;
    uint32_t  len;
    char      text[];
} sse__orphan;

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

/* Takes the next orphan, for the caller to free, or NULL. */
sse__orphan *sse__port_take_orphan(sse__port *p);

/* Takes the next stream that must stop: its key, and why. False: none. */
bool sse__port_take_stop(sse__port *p, uint64_t *key, uint32_t *reason);

#endif
