/* SPDX-License-Identifier: MIT */
/* redis_writer.h - a stream that this hub has registered, and what it owes to
 * Redis: the registration, its rows, its end.
 *
 * One command of a writer is under way at a time. What a batch holds does not
 * change until its outcome is known: it is sent again as it was, and Redis
 * tells by its number whether it has had it. */
#ifndef SSE_STORE_REDIS_WRITER_H
#define SSE_STORE_REDIS_WRITER_H

#include "redis.h"

#define SSE__BATCH_ROWS 64u /* in one call                                  */

typedef enum sse__writer_phase {
    SSE__WRITER_NEW,     /* not registered, as far as is known              */
    SSE__WRITER_OPEN,    /* registered                                      */
    SSE__WRITER_RESTORE, /* Redis gets back all that is kept here           */
    SSE__WRITER_REMOVE,  /* to be forgotten there, too                      */
    SSE__WRITER_DONE     /* nothing is owed any more                        */
} sse__writer_phase;

typedef struct sse__writer {
    sse__map_node node;  /* on the engine's writers: the oldest of its id   */
    sse__link     link;  /* on all_writers                                  */
    sse__link     due;   /* on due or lingering, or alone                   */
    sse__link     creating; /* while somebody waits for the registration    */
    struct sse__writer *newer; /* of the same id: waits until this is done  */
    sse__redis   *engine;
    sse__stream  *stream; /* counted                                        */
    sse__op      *create; /* answered when it is registered                 */
    int64_t       linger_ms; /* on lingering: until then                    */
    int64_t       touched_ms; /* a shared one's last event that is known    */
    uint64_t      batch;  /* number of the one under way, or in doubt       */
    uint64_t      sent_seq; /* the last event in it                         */
    uint64_t      seen_seq; /* where Redis stood, before a restore          */
    uint64_t      maybe_seq; /* up to here, it may have rows of ours that are
                              * no longer kept                              */
    uint64_t      lost;   /* of the backing's, what has been counted        */
    int64_t       beat_ms; /* when the last life sign was sent              */
    uint32_t      pins;   /* life signs under way                           */
    uint8_t       phase;  /* an sse__writer_phase                           */
    bool          shared; /* others write it too: only the rest is owed     */
    bool          older;  /* another one of this id comes first             */
    bool          busy;   /* a command is under way                         */
    bool          doubt;  /* the outcome of the last batch is not known     */
    bool          tried;  /* it may be registered                           */
    bool          placed; /* it was, and the numbering is known             */
    bool          parked; /* Redis would not have it: tried again later     */
    bool          sent_end; /* the batch holds the end                      */
    bool          end_stored;
    char          token[SSE__TOKEN_BYTES]; /* "<node>.<run>"                */
} sse__writer;

/* For an operation that creates `op->stream`; answers it in time. */
void sse__writer_create(sse__redis *r, sse__op *op);

/* The oldest writer of a stream of that id which is not done, or NULL. */
sse__writer *sse__writer_find(const sse__redis *r, const char *id, size_t len);

/* An owner has changed. */
void sse__writer_dirty(sse__redis *r, sse__stream *s);

/* A mirror has: one that has ended needs no more life signs. */
void sse__writer_mirror_dirty(sse__redis *r, const sse__stream *s);

/* Sends what there is room for. */
void sse__writer_pump(sse__redis *r);

/* Time has passed: those who lingered, creations whose time is over. */
void    sse__writer_tick(sse__redis *r);
int64_t sse__writer_due_ms(const sse__redis *r);

/* The link is down: those who create do not wait for it. */
void sse__writer_link_down(sse__redis *r);

/* Somebody else removes the stream: nothing is sent for it any more. */
void sse__writer_forget(sse__writer *w);

/* What a life sign was answered with. */
void sse__writer_is_gone(sse__writer *w);
void sse__writer_is_closed(sse__writer *w);
void sse__writer_is_stolen(sse__writer *w);
void sse__writer_is_lost(sse__writer *w, uint32_t reason);
void sse__writer_unpin(sse__writer *w);

/* Whether a life sign is due for it. */
bool sse__writer_beats(const sse__writer *w);

/* Those whom Redis would not have are tried again. */
void sse__writer_unpark(sse__redis *r);

/* Whether any has something that Redis has not had, and might have. */
bool sse__writer_any_unsent(const sse__redis *r);
void sse__writer_close(sse__redis *r);

/* ---- Between redis_writer.c and redis_writer_send.c ---- */

static inline struct sse__backing *sse__writer_backing(const sse__writer *w)
{
    return w->stream->backing;
}

static inline bool sse__writer_has_ended(const sse__writer *w)
{
    return w->stream->state != SSE_STATE_ACTIVE;
}

/* Events that Redis has not had, as far as is known. */
static inline uint64_t sse__writer_unsent(const sse__writer *w)
{
    const struct sse__backing *b = w->stream->backing;

    return b->rows.next_seq - 1 - b->stored_seq;
}

/* Sends the next command. 1: it is under way; 0: there is none; -1: not now. */
int sse__writer_step(sse__writer *w);

/* After each answer: there may be more to send. */
void sse__writer_go_on(sse__writer *w);

/* Answers whoever creates it. */
void sse__writer_answer(sse__writer *w, int rc);

/* ---- For the metrics ---- */

/* Rows, and about how many bytes, that are not stored yet. */
void sse__writer_count(const sse__redis *r, uint64_t *rows, uint64_t *bytes);

#endif
