/* SPDX-License-Identifier: MIT */
/* store.h - a hub's store outside of the process: what an engine fills in, and
 * the questions that are put to it.
 *
 * An engine runs a thread of its own. It and the hub share the hub's lock:
 *
 *   - Streams that it must look at come by the hub's dirty list: an owner has
 *     new rows, has ended, was described or removed; a mirror wants a stop.
 *   - Questions come as operations. The asker fills one in and submits it; the
 *     engine answers by calling `done`, once, on its thread, with the lock.
 *
 * Without a store, streams have no backing and there is nothing to ask. */
#ifndef SSE_STORE_STORE_H
#define SSE_STORE_STORE_H

#include <stdbool.h>

#include "../core/backing.h"
#include "../io/host.h"

typedef enum sse__op_kind {
    /* `stream`, which is new and has its backing, enters the registry. SSE_OK;
     * SSE_ERR_EXISTS when an active one has that id: the stream is then removed
     * here. An owner that the store cannot be asked about is SSE_OK: it enters
     * when the store is back. */
    SSE__OP_CREATE = 1,

    /* Brings the stream `id` here, so that a reader can be placed at `cursor`:
     * its mirror is caught up and reaches back as far as that takes. With
     * `look`, what the stream is will do; and what was heard of it last, unless
     * it must be `fresh`. SSE_OK or SSE_ERR_NOT_FOUND. */
    SSE__OP_FETCH  = 2,

    /* Appends `rows` to stream `id`, which is no owner here, and with `state`
     * not active ends it. `seq` gets the number of the first. SSE_OK,
     * SSE_ERR_NOT_FOUND, SSE_ERR_ENDED, or SSE_ERR_EXISTS when a producer on
     * another node writes it alone. */
    SSE__OP_APPEND = 3,

    /* Asks for a stop of stream `id`, wherever its producer is; one that has
     * none is ended as cancelled with `rows`, which holds one. `state` gets the
     * state as it is then. SSE_OK or SSE_ERR_NOT_FOUND. */
    SSE__OP_STOP   = 4,

    /* Forgets stream `id`, here and there. SSE_OK or SSE_ERR_NOT_FOUND. */
    SSE__OP_REMOVE = 5,

    /* Puts the streams of the owner `id` (all, with length 0) into `found`. */
    SSE__OP_LIST   = 6,

    /* What became of an orphan: ends stream `id` with `rows` and `state`, or,
     * with `state` active, says that its job still runs. */
    SSE__OP_SETTLE = 7
} sse__op_kind;

/* One stream of a list; its strings stand behind it. */
typedef struct sse__found {
    struct sse__found *next;
    sse_stream_info    info;
    char               text[];
} sse__found;

/* Any of them may also be SSE_ERR_NOMEM, SSE_ERR_LIMIT (too much waits for the
 * store), SSE_ERR_STORE (it cannot be reached, or refused) or SSE_ERR_CLOSED. */
typedef struct sse__op {
    sse__link     link;     /* the engine's, until it is done               */
    uint32_t      kind;     /* an sse__op_kind                              */
    int           rc;       /* the answer                                   */
    bool          finished; /* it has been done                             */
    bool          abandoned; /* nobody waits: the engine frees it instead   */
    bool          look;     /* a fetch: only what the stream is, not events */
    bool          fresh;    /* a fetch: as the store has it now             */
    uint32_t      state;
    char         *id;
    uint32_t      id_len;
    sse__cursor   cursor;
    sse__stream  *stream;   /* counted                                      */
    sse__row    **rows;     /* owned, as is what they point to              */
    size_t        row_count;
    uint64_t      seq;
    sse__found   *found;
    int64_t       by_ms;    /* monotonic: then it is over with SSE_ERR_STORE */
    void (*done)(struct sse__op *op); /* NULL: somebody waits on the hub    */
    void         *user;
} sse__op;

#define SSE__STORE_SLACK_MS 1000 /* behind by_ms: an engine is given up     */

/* NULL when out of memory. */
sse__op *sse__op_new(sse__op_kind kind, const char *id, size_t id_len,
                     int64_t by_ms);
void     sse__op_free(sse__op *op); /* with the lock, when it holds a stream */

/* For engines: gives the answer. With the lock. */
void sse__op_finish(sse_hub *hub, sse__op *op, int rc);

typedef struct sse__store sse__store;

typedef struct sse__store_ops {
    /* Takes over an operation. With the lock; never calls `done` in here. */
    void (*submit)(sse__store *store, sse__op *op);

    /* There are dirty streams or operations: only signals. Any thread. */
    void (*ring)(sse__store *store);

    /* Whether the caller is on the store's thread. */
    bool (*is_here)(const sse__store *store);

    /* Ends the thread; what is not stored by then has `drain_ms` for it. The
     * operations left are finished with SSE_ERR_CLOSED. Without the lock. */
    void (*close)(sse__store *store, uint32_t drain_ms);

    /* Frees it. No stream with a backing is left. */
    void (*free)(sse__store *store);

    /* 1: it can be reached. 0: it cannot, for the reason that the sentence in
     * `why` gives. -1: nor will it be, as it refuses us. With the lock; whoever
     * changes it tells sse__store_changed(). */
    int (*is_up)(sse__store *store, const char **why);

    /* 1: it has what streams made here owe it. 0: it is to get more. -1: it is,
     * but was never reached. Whoever makes that 1 while the hub is flushing tells
     * sse__store_changed(). With the lock. */
    int (*is_drained)(sse__store *store);

    /* Adds the store's metrics, as metrics.c does. With the lock. */
    int (*metrics)(sse__store *store, sse__buf *out);
} sse__store_ops;

struct sse__store {
    const sse__store_ops *ops;
    sse_hub              *hub; /* not counted: the hub closes the store      */
    bool                  rung; /* since it last looked; with the lock       */
    sse_store_options     opts; /* with the defaults filled in               */
};

/* ---- What engines need of the hub ----------------------------------------- */

/* It is up, or away, or refuses, or has all. With the lock. */
void sse__store_changed(sse__store *store);

/* An orphan, for the application to judge. False: nobody asked to be told. With
 * the lock. */
bool sse__store_tell_orphan(sse_hub *hub, const sse_stream_info *info);

/* A mirror of the stream that `info` describes (its id, owner, kind, metadata
 * and created_ms), whose oldest event here will be `seq` + 1, behind one with
 * this tag, if that is known. With the lock. SSE_OK, SSE_ERR_EXISTS,
 * SSE_ERR_NOMEM or SSE_ERR_LIMIT. */
int sse__store_mirror(sse_hub *hub, const sse_stream_info *info, uint64_t seq,
                      uint32_t tag, bool tag_known, sse__stream **out);

/* ---- io/store.c: what the hub does with its store ---------------------------
 * All with the lock. Those that wait give the lock away meanwhile; they are not
 * for the thread of a server. */

/* When an operation that begins now must be over. */
int64_t sse__store_answer_by(const sse_hub *hub);

/* Gives a new stream its backing, and makes the operation that enters it in the
 * registry. The second one asks, and waits. */
int sse__op_new_create(sse_hub *hub, sse__stream *s, sse__op **out);
int sse__store_create(sse_hub *hub, sse__stream *s);

/* Whether others may have written to `s` (NULL: no) what is on its way still,
 * its end perhaps: to an active mirror. */
bool sse__store_may_lag(const sse__stream *s);

/* Makes the operation that looks how `s` is now. SSE_ERR_EXISTS for one that
 * cannot lag. The second one asks, and waits. */
int sse__op_new_look(sse_hub *hub, const sse__stream *s, sse__op **out);
int sse__store_look(sse_hub *hub, const sse__stream *s);

/* Brings stream `id` here for a reader at `cursor`; waits. */
int sse__store_fetch(sse_hub *hub, const char *id, size_t id_len,
                     const sse__cursor *cursor);

/* Whether a reader at `cursor` can be placed without asking the store. */
bool sse__store_covers(const sse__stream *s, const sse__cursor *cursor);

/* Each asks and waits. */
int sse__store_end(sse_hub *hub, sse__stream *s, const sse__new_event *last,
                   uint32_t state, sse_event_id *out);
int sse__store_remove(sse_hub *hub, const char *id, size_t id_len);
int sse__store_stop(sse_hub *hub, const char *id, size_t id_len);

/* What it found stands in `*out`, which is the caller's. */
int sse__store_list(sse_hub *hub, const char *owner, size_t owner_len,
                    sse__op **out);

int sse__op_new_stop(sse_hub *hub, const char *id, size_t id_len,
                     sse__op **out);

/* Makes the rows of events for stream `s` into an op. SSE_OK, or the errors of
 * an append. */
int sse__op_add_rows(sse__op *op, sse_hub *hub, const sse__new_event *events,
                     size_t count);

/* Counts the events that an append has stored. Without the lock. */
void sse__op_count(sse_hub *hub, const sse__op *op);

/* Appends to a mirror; waits. With `state` not active, ends it. */
int sse__store_append(sse_hub *hub, sse__stream *s,
                      const sse__new_event *events, size_t count,
                      uint32_t state, sse_event_id *out);

/* ---- redis.c --------------------------------------------------------------- */

/* Opens the store that a URL of Redis names, and starts its thread; it need not
 * be reachable. `opts` is complete. SSE_OK, SSE_ERR_NOMEM, SSE_ERR_IO, or
 * SSE_ERR_INVAL with a sentence in `why`. Without the lock. */
int sse__redis_open(sse_hub *hub, const char *url, size_t len,
                    const sse_store_options *opts, char *why, size_t why_size,
                    sse__store **out);

#endif
