/* SPDX-License-Identifier: MIT */
/* log.h - the retained tail of a stream, held as the bytes that readers get.
 *
 * Events stand end to end in segments. What is in a segment never changes, so
 * that a reader may write it to a socket while others append: it pins the
 * segment by counting itself in. */
#ifndef SSE_CORE_LOG_H
#define SSE_CORE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sse__log_event {
    int64_t  time_ms;
    uint32_t end; /* behind its last byte in the segment                    */
    uint32_t tag;
} sse__log_event;

typedef struct sse__segment {
    atomic_uint     refs;      /* the log's one, and the pins of readers    */
    uint32_t        cap;       /* bytes that fit into `data`                */
    uint32_t        used;
    uint32_t        live;      /* events not yet dropped from the log       */
    uint64_t        first_seq; /* of its first event, dropped or not        */
    sse__log_event *events;    /* one for each event ever put in            */
    uint32_t        event_count;
    uint32_t        event_cap;
    char            data[];
} sse__segment;

void sse__segment_unpin(sse__segment *seg); /* any thread                   */

typedef enum sse__log_drop {
    SSE__DROP_TRIMMED, /* by count or bytes                                 */
    SSE__DROP_EXPIRED  /* by age                                            */
} sse__log_drop;

typedef struct sse__log {
    sse__segment **where;      /* by seq modulo where_cap: its segment      */
    sse__segment  *tail;       /* where the next event goes, or NULL        */
    uint64_t       first_seq;  /* the oldest event kept; next_seq if none   */
    uint64_t       next_seq;
    uint64_t       bytes;      /* of all events kept                        */
    int64_t        max_age_ms;
    uint32_t       where_cap;  /* a power of two                            */
    uint32_t       max_events;
    uint32_t       max_bytes;
    uint32_t       base_tag;   /* of event first_seq - 1                    */
    uint32_t       drop;       /* an sse__log_drop: why the last one went   */
    bool           base_known; /* base_tag is one                           */
} sse__log;

void sse__log_init(sse__log *log, uint32_t max_events, uint32_t max_bytes,
                   uint32_t max_age_ms);
void sse__log_free(sse__log *log);

/* Makes sure that an append of so much cannot fail. SSE_OK or SSE_ERR_NOMEM. */
int sse__log_reserve(sse__log *log, uint32_t events, size_t bytes);

/* Appends one event, for which room was reserved. Drops nothing. */
void sse__log_add(sse__log *log, const void *data, size_t len, uint32_t tag,
                  int64_t now_ms);

/* Moves an empty log behind event `seq`, whose tag is this. */
void sse__log_seek(sse__log *log, uint64_t seq, uint32_t tag);

/* Puts the events of `older` in front, whose last one is just before the first
 * here, and empties it. Drops nothing. SSE_OK or SSE_ERR_NOMEM; both logs are
 * then as they were. */
int sse__log_prepend(sse__log *log, sse__log *older);

/* Drops every event, and the tags of those dropped. */
void sse__log_clear(sse__log *log);

/* Drops what is over the bounds, the newest event never. */
void sse__log_trim(sse__log *log);

/* Drops what is older than the age, but `keep` of the newest events. */
void sse__log_trim_age(sse__log *log, int64_t now_ms, uint32_t keep);

/* The first_seq that the log would have after one more append. */
uint64_t sse__log_first_after(const sse__log *log, uint32_t events,
                              size_t bytes);

/* Bytes of the event that a reader at `seq` gets first; 0 when there is none. */
size_t sse__log_size_at(const sse__log *log, uint64_t seq);

/* The tag of an event kept, or of the last one dropped. 1 and the tag, or 0. */
int sse__log_get_tag(const sse__log *log, uint64_t seq, uint32_t *out);

typedef struct sse__span {
    const char   *data;
    size_t        len;
    sse__segment *seg; /* pinned                                            */
} sse__span;

/* The bytes of whole events from `*seq` on: `max_bytes` at most, but one event
 * at least, in at most `max` spans. Pins what it gives, moves `*seq` behind it,
 * and returns the number of spans. `*seq` is in first_seq..next_seq. */
uint32_t sse__log_read(const sse__log *log, uint64_t *seq, size_t max_bytes,
                       sse__span *spans, uint32_t max);

#endif
