/* SPDX-License-Identifier: MIT */
/* stream.h - a stream: its log, its owner, its life. */
#ifndef SSE_CORE_STREAM_H
#define SSE_CORE_STREAM_H

#include "hub.h"
#include "id.h"
#include "log.h"

#define SSE__TEXT_MAX 255u /* bytes of an id, an owner, a kind */
#define SSE__METADATA_MAX 16384u

struct sse__row;

typedef struct sse__user {
    sse__map_node node;
    sse__link     streams;
    uint32_t      active;
    char          name[];
} sse__user;

struct sse__stream {
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
    struct sse__backing *backing; /* NULL: it lives in this process alone    */
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
};

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

/* There is more to read: all who had everything are ready now. */
void sse__stream_wake_readers(sse__stream *s);

/* It has its terminal event. */
void sse__stream_set_ended(sse__stream *s, uint32_t state);

/* The row of an event that another stream than one of ours gets, checked as for
 * an append. SSE_OK, its errors, or SSE_ERR_NOMEM. */
int sse__row_make(sse__hub *h, const sse__new_event *event,
                  struct sse__row **out);

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

/* As remove, because another has the stream now: its producer is told. */
void sse__stream_lose(sse__stream *s, uint32_t reason);

void sse__stream_info(const sse__stream *s, sse_stream_info *out);

/* Whether one more active stream of that owner is too many. */
bool sse__user_is_full(const sse__hub *h, const char *owner, size_t len);

/* The id of the newest event; seq 0 and no text before the first. */
void sse__stream_last_id(const sse__stream *s, sse_event_id *out);

/* Readers came, or the last one went: starts or stops the unread countdown. */
void sse__stream_count_readers(sse__stream *s);

#endif
