/* SPDX-License-Identifier: MIT */
/* backing.h - what a stream has that a store outside the process knows too.
 *
 * There are two kinds. An owner writes the stream: its log leads, readers here
 * wait for nobody, and the rows go to the store behind it. A mirror follows:
 * its log holds what the store has told, and appends go to the store first.
 *
 * What the store's engine must look at stands on the hub's list of streams that
 * are dirty; whoever lets go of the hub's lock wakes it. */
#ifndef SSE_CORE_BACKING_H
#define SSE_CORE_BACKING_H

#include "rows.h"
#include "stream.h"

typedef enum sse__role {
    SSE__OWNER  = 1,
    SSE__MIRROR = 2
} sse__role;

struct sse__backing {
    sse__stream *stream;
    sse__link    link;       /* on the hub's dirty, or alone                */
    void        *engine;     /* the engine's own state of the stream        */
    sse__rows    rows;       /* an owner's: those of the events in the log  */
    uint64_t     stored_seq; /* an owner's: the store has had these         */
    uint64_t     lost;       /* rows that left the log before it had them   */
    uint32_t     role;       /* an sse__role                                */
    uint32_t     idle_ms;    /* a mirror: stays so long without a reader    */
    uint32_t     refs;       /* of the stream's: the engine's, for which no
                              * mirror stays                                */
    bool         live;       /* a mirror: it is caught up, and follows      */
    bool         whole;      /* a mirror: the store has nothing older       */
    bool         described;  /* owner, kind and metadata are in the store   */
    bool         describing; /* a mirror: the store is being told           */
    bool         changed;    /* and they have changed since                 */
    bool         stop;       /* a mirror: ask for a stop, wherever it runs  */
};

/* Gives a stream that has no event yet its backing; its first event will be
 * `seq` + 1, behind one with this tag. SSE_OK or SSE_ERR_NOMEM. */
int  sse__backing_new(sse__stream *s, sse__role role, uint64_t seq,
                      uint32_t tag);
void sse__backing_free(struct sse__backing *b);

/* Whether appends must go to the store first. */
bool sse__stream_is_mirror(const sse__stream *s);

/* The engine must look at the stream. Nothing happens without a backing. */
void sse__stream_dirty(sse__stream *s);

/* Takes the next stream that the engine must look at, or NULL. */
sse__stream *sse__hub_take_dirty(sse__hub *h);

/* Rows follow the log, which has been trimmed. */
void sse__backing_trim(sse__stream *s);

/* An owner: others have written to the store, up to event `seq`. What the store
 * has not had goes on behind it, and readers here are told; not those of a
 * stream that is `fresh` and that nobody else has read. SSE_OK, or
 * SSE_ERR_NOMEM: nothing has changed. */
int sse__owner_move(sse__stream *s, uint64_t seq, uint32_t tag, bool tag_known,
                    bool fresh);

/* ---- Mirrors -------------------------------------------------------------- */

/* Whether its log has what a reader at `cursor` gets first. Not so for one that
 * has seen an event which is not here yet. */
bool sse__mirror_reaches(const sse__stream *s, const sse__cursor *cursor);

/* Adds the row of event next_seq, as the store has it. One that cannot be read
 * becomes a gap event in its place, and returns 1. Otherwise SSE_OK, or
 * SSE_ERR_NOMEM: nothing has changed. */
int sse__mirror_add(sse__stream *s, const char *row, size_t len, uint32_t tag);

/* Adds older events, which end just before the first one in the log. Rows as
 * above, in order. SSE_OK or SSE_ERR_NOMEM. */
typedef struct sse__old_row {
    const char *text;
    size_t      len;
    uint32_t    tag;
} sse__old_row;

int sse__mirror_add_old(sse__stream *s, const sse__old_row *rows, size_t count,
                        uint32_t before_tag);

/* Wakes the readers of what was added. */
void sse__mirror_added(sse__stream *s);

/* The store has nothing from the next event up to `seq`: readers get a gap. */
void sse__mirror_skip(sse__stream *s, uint64_t seq);

/* The store's log is another one, whose oldest event is `seq` + 1: readers are
 * told, and begin again there. */
void sse__mirror_diverge(sse__stream *s, uint64_t seq);

/* The stream has ended, with the last event that was added. */
void sse__mirror_end(sse__stream *s, uint32_t state);

#endif
