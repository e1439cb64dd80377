/* SPDX-License-Identifier: MIT */
/* redis_tail.h - a tail keeps a mirror in step with its stream in Redis.
 *
 * It looks what is there, subscribes, reads what it lacks once that has been
 * confirmed, and then takes rows as they are published. Whatever came while it
 * read is kept and taken by sequence number; whatever does not fit is read. */
#ifndef SSE_STORE_REDIS_TAIL_H
#define SSE_STORE_REDIS_TAIL_H

#include "../core/wheel.h"
#include "redis.h"

#define SSE__PAGE_ROWS 500u
#define SSE__PAGE_BYTES ((uint64_t)1 << 20) /* a page ends behind so much     */
#define SSE__AHEAD_MS 3000 /* a store that went back may be restored         */
#define SSE__RETRY_MS 100  /* between two reads that did not help            */

typedef enum sse__tail_phase {
    SSE__TAIL_LOOKING,     /* not subscribed, and perhaps never will be      */
    SSE__TAIL_SUBSCRIBING, /* not confirmed yet, or the link is down         */
    SSE__TAIL_JOINING,     /* messages are kept until it has read            */
    SSE__TAIL_LIVE,        /* messages are taken                             */
    SSE__TAIL_LEAVING      /* until that has been confirmed                  */
} sse__tail_phase;

typedef enum sse__read_kind {
    SSE__READ_FIRST, /* nothing is known of the stream yet                   */
    SSE__READ_NEXT,  /* what comes behind the log                            */
    SSE__READ_OLD    /* what comes before it                                 */
} sse__read_kind;

typedef struct sse__tail {
    sse__map_node node;      /* on the tails' map, by stream id              */
    sse__link     link;      /* on all tails                                 */
    sse__link     todo;      /* to subscribe or unsubscribe, or alone        */
    sse__link     to_read;   /* on the tails' reads, or alone                */
    sse__timer    timer;
    sse__redis   *engine;
    sse__stream  *stream;    /* its mirror, counted; NULL: none yet          */
    sse__link     fetches;   /* sse__fetch: who waits for it                 */
    sse__buf      kept;      /* messages: size_t length, then text           */
    uint64_t      turn;      /* a read of an earlier one proves nothing      */
    uint64_t      base;      /* the store's oldest event is base + 1         */
    int64_t       hold_ms;   /* no read before                               */
    int64_t       check_ms;  /* when a live one looks whether that is true   */
    int64_t       poll_ms;   /* likewise, for streams nobody publishes       */
    int64_t       confirm_ms; /* a confirmation is overdue then; or 0        */
    int64_t       behind_ms; /* since when the store has less than we; or 0  */
    uint64_t      old_seq;   /* the oldest event that a fetch needs; 0: none */
    uint64_t      read_after; /* of the read under way                       */
    uint64_t      read_turn;
    uint32_t      page_rows; /* in a page: fewer when one did not come       */
    uint32_t      old_rows;  /* likewise, of older ones                      */
    uint8_t       phase;     /* an sse__tail_phase                           */
    uint8_t       read_kind; /* an sse__read_kind                            */
    bool          reading;   /* a reply is due                               */
    bool          read_void; /* and will be of no use                        */
    bool          read_ended; /* it was sent for a mirror that had ended     */
    bool          from_start; /* the first read begins with the oldest       */
    bool          caught;    /* it had everything when it read last          */
    bool          again;     /* since then it was told to look again         */
    bool          overflow;  /* a message could not be kept                  */
    bool          sent;      /* Redis knows, or will, of a subscription      */
    bool          made_here; /* it follows whether anybody reads or not      */
    bool          let_in;    /* likewise: a reader was told to come          */
    bool          owned;     /* its rows come from an owner, and are told    */
    bool          heard;     /* so were the last ones                        */
    bool          describe;  /* the next read asks what the stream is        */
    char          id[];
} sse__tail;

#define SSE__SUBSCRIBE_AT_ONCE 1024u

/* What the engine keeps of all of them, and of appends. */
typedef struct sse__tails {
    sse__map   map;
    sse__link  all;
    sse__link  subscribe, unsubscribe; /* to be sent                         */
    sse__link  reads;
    sse__wheel wheel;
    uint32_t   under_way;  /* reads                                          */
    uint32_t   count;      /* subscriptions                                  */
    uint32_t   fetches;
    uint64_t   kept_bytes;
    sse__map   queues;     /* redis_shared.c: by stream id                   */
    sse__link  all_queues, ready_queues;
    uint32_t   queue_calls; /* replies that are due                          */
    uint64_t   queue_rows, queue_bytes;
    bool       closed;
    sse__buf   names;
    size_t     name_lens[SSE__SUBSCRIBE_AT_ONCE];
    const char *name_texts[SSE__SUBSCRIBE_AT_ONCE];
} sse__tails;

static inline sse__tails *sse__tails_of(const sse__redis *r)
{
    return r->tail;
}

/* ---- redis_tail.c ---- */

/* Makes them on first use. NULL when out of memory. */
sse__tails *sse__tails_get(sse__redis *r);

/* Frees them once they are closed and no reply is due. */
void sse__tails_let_go(sse__redis *r);

/* The tail of that id, or NULL. */
sse__tail *sse__tail_find(const sse__redis *r, const char *id, size_t len);

/* The tail of that id, there or new, or NULL when out of memory. */
sse__tail *sse__tail_get(sse__redis *r, const char *id, size_t len);

void sse__tail_attach(sse__tail *t, sse__stream *s);
void sse__tail_detach(sse__tail *t);

/* Does what comes next; the tail may be gone after this. */
void sse__tail_go_on(sse__tail *t);

/* What it knows may be old: it reads, and stays live meanwhile. */
void sse__tail_look_again(sse__tail *t);

/* It has lost its place: it reads, and keeps messages meanwhile. */
void sse__tail_rejoin(sse__tail *t);

/* Everything has been read and taken: messages are, too, from now on. */
void sse__tail_is_live(sse__tail *t);

/* ---- redis_read.c ---- */

/* SSE_OK, and a reply follows; or it cannot be sent now. */
int sse__tail_read(sse__tail *t);

/* ---- redis_message.c ---- */

void sse__tail_message(sse__tail *t, const char *text, size_t len);

/* Whether its mirror's log ends with event `seq` of this tag; without a tag,
 * whether both have no event yet. */
bool sse__tail_stands_at(const sse__tail *t, uint64_t seq, uint32_t tag,
                         bool known);

/* Takes what was kept. False: one of them must be read instead. */
bool sse__tail_take_kept(sse__tail *t);
void sse__tail_drop_kept(sse__tail *t);

/* Adds a row behind the log; false when out of memory. */
bool sse__tail_add_row(sse__tail *t, const char *row, size_t len, uint32_t tag);

/* The log may have lost its oldest: does the store have more? */
void sse__tail_set_whole(sse__tail *t);

/* ---- redis_fetch.c ---- */

typedef struct sse__fetch {
    sse__link link;
    sse__op  *op;
    int64_t   ahead_ms; /* until then, the store may yet have its event      */
} sse__fetch;

/* The mirror has everything: answers those whom that will do. */
void sse__fetch_answer(sse__tail *t);

/* Redis is away: answers those whom the mirror will do as it is. */
void sse__fetch_answer_away(sse__tail *t);
void sse__fetch_answer_all(sse__tail *t, int rc);
void sse__fetch_expire(sse__tail *t);

/* Whether any of them is for a reader. */
bool sse__fetch_wants_events(const sse__tail *t);

/* Where the first read begins: the cursor that is furthest back. */
sse__cursor sse__fetch_first(const sse__tail *t);

/* Whether row `tag` of event `seq` is not what one of them has seen. */
bool sse__fetch_differs(const sse__tail *t, uint64_t seq, uint32_t tag);

/* What they have seen will not come any more. */
void sse__fetch_stop_waiting(sse__tail *t);

/* When the first of them is due, or INT64_MAX. */
int64_t sse__fetch_due_ms(const sse__tail *t);

/* ---- redis_shared.c ---- */

void sse__shared_pump(sse__redis *r);
void sse__shared_close(sse__redis *r);

#endif
