/* SPDX-License-Identifier: MIT */
/* client.h - the reader of a remote stream, without I/O: it is told what the
 * network, the clock and the application do, and says what it wants done.
 *
 *     tell it something, with the time;
 *     do {
 *         while ((rc = sse__client_next_item(c, now, &item)) != 0)
 *             give it to the application;
 *         for (busy = false; sse__client_next_action(c, &action); busy = true)
 *             do it;
 *     } while (busy);
 *     come back at sse__client_deadline(c) with sse__client_tick()
 *
 * Asking for items last may leave an action behind: ask for those after it. An
 * input that returns SSE_ERR_NOMEM has changed nothing: make the call again, or
 * report the request as failed with sse__client_on_error(). Times are
 * monotonic; `wall_ms` is since 1970. A network that cannot say when it is
 * connected says so at once, and limits connecting itself.
 *
 * Body bytes become items when the application asks for them, so what it has
 * not taken is one buffer of bytes, and full is when that is. The next attempt
 * waits until the last body has been taken. */
#ifndef SSE_CORE_CLIENT_H
#define SSE_CORE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backoff.h"
#include "buf.h"
#include "dedupe.h"
#include "sse.h"

#define SSE__NO_TIME INT64_MAX
#define SSE__UNKNOWN (-1) /* a number that nobody knows */

/* A flag of sse__client_options, beside the public ones. */
#define SSE__CLIENT_RECOVERY 8u /* ask for a stored completion first        */

/* Zero means the default, SSE_NEVER none. */
typedef struct sse__client_options {
    uint32_t profile;            /* an sse_profile                          */
    uint32_t flags;              /* SSE_CLIENT_*                            */
    uint64_t seed;               /* of the jitter                           */
    uint32_t retry_ms;           /* until the server says; 0: 1 s           */
    uint32_t retry_floor_ms;     /* 0: 100 ms                               */
    uint32_t retry_cap_ms;       /* 0: 30 s                                 */
    uint32_t retry_after_cap_ms; /* 0: 5 min                                */
    uint32_t max_attempts;       /* failed in a row; 0: 10, strict: none    */
    uint32_t budget_ms;          /* without progress; 0: none               */
    uint32_t healthy_ms;         /* a connection this old; 0: 60 s          */
    uint32_t healthy_events;     /* or with so many; 0: 10                  */
    uint32_t connect_ms;         /* until on_connected; 0: 10 s             */
    uint32_t first_byte_ms;      /* from there to the head; 0: 30 s         */
    uint32_t stall_ms;           /* without a byte; 0: 30 s                 */
    uint32_t poll_ms;            /* for a long poll's answer; 0: 60 s       */
    uint32_t poll_period_ms;     /* then streaming is tried; 0: 5 min       */
    uint32_t watch_ms;           /* between ticks while open; 0: 5 s        */
    uint32_t jump_ms;            /* a jump of the clock; 0: 10 s            */
    uint32_t window;             /* ids remembered; 0: 1024                 */
    uint32_t queue_bytes;        /* not taken yet: pause; 0: 256 KiB        */
    uint32_t max_event_bytes;    /* 0: 16 MiB                               */
} sse__client_options;

typedef enum sse__act {
    SSE__ACT_CONNECT      = 1, /* begin request `generation`                */
    SSE__ACT_ABORT        = 2, /* end it at once; its news is ignored       */
    SSE__ACT_PAUSE        = 3, /* stop reading its body                     */
    SSE__ACT_RESUME       = 4,
    SSE__ACT_ASK_TOKEN    = 5, /* answer: sse__client_token_ready()         */
    SSE__ACT_ASK_RECOVERY = 6, /* answer: sse__client_recovery_ready()      */
    SSE__ACT_ASK_DECISION = 7  /* answer: sse__client_decide()              */
} sse__act;

typedef enum sse__verdict {
    SSE__ACCEPT  = 0, /* of a head: read the body                           */
    SSE__RETRY   = 1,
    SSE__STOP    = 2,
    SSE__RENEW   = 3, /* try again with a fresh token                       */
    SSE__DONE    = 4, /* this is the orderly end                            */
    SSE__DEFAULT = 5  /* of a decision: what the profile says               */
} sse__verdict;

typedef struct sse__action {
    sse__act     kind;
    uint32_t     generation;
    const char  *cursor;     /* CONNECT: Last-Event-ID; length 0 sends none */
    size_t       cursor_len;
    bool         poll;       /* CONNECT: long poll, JSON; else event stream */
    bool         overlap;    /* CONNECT: beside the request that goes on    */
    bool         fresh;      /* ASK_TOKEN: the one in use was refused       */
    sse_cause     why;        /* ASK_DECISION: about this                    */
    uint32_t     status;     /* ASK_DECISION: HTTP status, or 0             */
    sse__verdict verdict;    /* ASK_DECISION: what the profile says         */
} sse__action;

/* The parts of a response head that matter; lengths of absent fields are 0. */
typedef struct sse__head {
    uint32_t    status;
    const char *content_type;
    size_t      content_type_len;
    const char *retry_after;
    size_t      retry_after_len;
} sse__head;

typedef enum sse__told {
    SSE__TOLD_OPEN     = 1, /* status                                       */
    SSE__TOLD_EVENT    = 2, /* type, data, id                               */
    SSE__TOLD_COMMENT  = 3, /* data                                         */
    SSE__TOLD_GAP      = 4, /* from, to, missed, gap                        */
    SSE__TOLD_STATE    = 5, /* state                                        */
    SSE__TOLD_RETRY_AT = 6, /* at_ms                                        */
    SSE__TOLD_ERROR    = 7, /* why, status                                  */
    SSE__TOLD_END      = 8  /* why, status; nothing comes after it          */
} sse__told;

/* Strings are good until the next call on the client. */
typedef struct sse__client_item {
    sse__told         kind;
    sse_cause         why;
    uint32_t          status;
    uint32_t          generation; /* ERROR, END: of the request, or 0       */
    sse_conn_state    state;
    sse_gap           gap;
    int64_t           at_ms;
    int64_t           from, to, missed; /* or SSE__UNKNOWN                  */
    sse_item          event;
} sse__client_item;

typedef struct sse__client sse__client;

/* `url` binds exported state; it is hashed and not kept. SSE_OK, NOMEM, or
 * INVAL for an unknown profile or flag. */
int  sse__client_new(const sse__client_options *opts, const char *url,
                     size_t url_len, sse__client **out);
void sse__client_free(sse__client *c);

/* Before start: the first type added takes the place of completed, failed,
 * cancelled and done; length 0 means that there is none. Strict has none unless
 * told. SSE_OK, NOMEM or INVAL. */
int sse__client_add_end_type(sse__client *c, const char *type, size_t len);

/* Begins from an event id. Before start. SSE_OK, NOMEM, INVAL. */
int sse__client_set_cursor(sse__client *c, const char *id, size_t len);

/* What the application does. */
void sse__client_start(sse__client *c, int64_t now_ms, int64_t wall_ms);
void sse__client_suspend(sse__client *c, int64_t now_ms);
void sse__client_resume(sse__client *c, int64_t now_ms);
void sse__client_offline(sse__client *c, int64_t now_ms);
void sse__client_online(sse__client *c, int64_t now_ms);
void sse__client_restart(sse__client *c, int64_t now_ms);
void sse__client_renew_token(sse__client *c, int64_t now_ms);
void sse__client_token_ready(sse__client *c, int64_t now_ms, bool ok);
void sse__client_decide(sse__client *c, int64_t now_ms, sse__verdict verdict);
void sse__client_close(sse__client *c, int64_t now_ms);

/* `type` NULL: there is none, so connect. SSE_OK, NOMEM, INVAL or UTF8. */
int sse__client_recovery_ready(sse__client *c, int64_t now_ms, const char *type,
                               size_t type_len, const char *data,
                               size_t data_len);

/* Everything up to the event with this id is done. SSE_OK, NOMEM, or
 * SSE_ERR_NOT_FOUND when it is none of those delivered and not done. */
int sse__client_ack(sse__client *c, const char *id, size_t len);

/* What the network does. News of a generation that is over is ignored. */
void sse__client_on_connected(sse__client *c, uint32_t generation,
                              int64_t now_ms);
int  sse__client_on_head(sse__client *c, uint32_t generation, int64_t now_ms,
                         int64_t wall_ms, const sse__head *head);
/* SSE_OK, NOMEM, or SSE_ERR_LIMIT past a pause: bring it after the resume. */
int  sse__client_on_bytes(sse__client *c, uint32_t generation, int64_t now_ms,
                          const void *data, size_t len);
int  sse__client_on_end(sse__client *c, uint32_t generation, int64_t now_ms);
void sse__client_on_error(sse__client *c, uint32_t generation, int64_t now_ms,
                          sse_cause why);

/* What the clock does. */
void    sse__client_tick(sse__client *c, int64_t now_ms, int64_t wall_ms);
int64_t sse__client_deadline(const sse__client *c); /* or SSE__NO_TIME      */

bool sse__client_next_action(sse__client *c, sse__action *out);

/* Whether there is one, at the time last told. */
bool sse__client_has_action(const sse__client *c);

/* Whether the answer to this ASK is still waited for. */
bool sse__client_asks(const sse__client *c, sse__act what);

/* Taking an item says that the application is done with the last one (except
 * in ack mode). Returns 1, 0, or SSE_ERR_NOMEM: nothing is lost, go on. */
int sse__client_next_item(sse__client *c, int64_t now_ms,
                          const sse__client_item **out);

/* ---- client_policy.c ----------------------------------------------------- */

sse__verdict sse__policy_head(uint32_t profile, bool poll, const sse__head *h,
                              sse_cause *why);
sse__verdict sse__policy_error(uint32_t profile, sse_cause why, uint32_t status);

/* The delay that a Retry-After field asks for, or SSE__UNKNOWN. */
int64_t sse__retry_after_ms(const char *text, size_t len, int64_t wall_ms);

/* ---- client_state.c ------------------------------------------------------ */

/* The cursor, what was seen up to it, and the server's retry, as bytes.
 * SSE_OK, NOMEM or TOO_BIG. */
int sse__client_export(const sse__client *c, sse__buf *out);

/* Before start. SSE_OK, NOMEM, or SSE_ERR_INVAL for bytes that are damaged, of
 * another version or another URL; the client is then as it was. */
int sse__client_import(sse__client *c, const void *data, size_t len);

/* ---- Shared by the client's files ---------------------------------------- */

#define SSE__NOTICES 16 /* more than one attempt and its end can cause */

typedef enum sse__phase {
    SSE__PHASE_IDLE,
    SSE__PHASE_WAIT,    /* for `due_ms`, then asks or connects              */
    SSE__PHASE_ASK,     /* for the application's answer to `ask`            */
    SSE__PHASE_CONNECT, /* `main` has no head yet                           */
    SSE__PHASE_OPEN,    /* its body comes                                   */
    SSE__PHASE_OVER,    /* it failed or ended; its body is not all taken    */
    SSE__PHASE_ENDED
} sse__phase;

typedef enum sse__renewal {
    SSE__RENEWAL_NONE,
    SSE__RENEWAL_WANTED,
    SSE__RENEWAL_ASKED, /* for the token                                    */
    SSE__RENEWAL_READY  /* to connect                                       */
} sse__renewal;

typedef struct sse__request {
    uint32_t generation; /* 0: there is none                                */
    bool     connected;
    int64_t  started_ms;
    int64_t  heard_ms;   /* the last sign of life                           */
} sse__request;

/* The ids received, oldest first; `pending` of them lie behind the cursor. */
typedef struct sse__recent {
    uint64_t *hashes;
    uint32_t  size, head, count, pending;
} sse__recent;

struct sse__client {
    sse__client_options o; /* complete                                      */
    uint64_t            url_hash;
    uint64_t            random;
    sse__backoff        backoff;
    sse__buf            end_types; /* each with a NUL                       */
    uint64_t            end_lens;  /* a bit for each length among them      */
    bool                own_end_types;

    int64_t  now_ms;
    int64_t  ticked_ms;
    int64_t  skew_ms;      /* wall less monotonic, at the last tick         */
    sse__phase phase;
    bool     suspended, offline;
    uint32_t generation;   /* the last one given out                        */
    uint32_t attempt;      /* that of `main`, when it is over too           */
    uint32_t next_attempt; /* that of `next`                                */
    sse__request main;
    sse__request next;     /* beside it, with a new token                   */
    sse__renewal renew;
    uint32_t aborts[2];    /* to be told                                    */
    uint32_t abort_count;
    int64_t  due_ms;       /* of the next attempt                           */

    sse__act ask;          /* what PHASE_ASK waits for                      */
    bool     asked;        /* it has been told                              */
    bool     token_ready;  /* for the next attempt                          */
    bool     token_fresh;  /* asked for after a 401; until a good head      */
    bool     recovery;     /* still to be asked for                         */

    sse_cause     why;      /* of what is over                               */
    uint32_t     status;
    int64_t      retry_after_ms;
    int64_t      opened_ms; /* SSE__UNKNOWN: no head                        */
    int64_t      ended_ms;
    uint32_t     body_events;
    sse__verdict verdict;
    uint32_t     tries;      /* failed in a row                             */
    int64_t      trouble_ms; /* since when; SSE__UNKNOWN: all is well       */

    bool     poll;         /* instead of streaming                          */
    bool     poll_open;    /* its last answer was good                      */
    uint32_t silent;       /* attempts in a row without an answer           */
    int64_t  poll_since_ms;

    sse_parser     *parser;  /* NULL before the first head                  */
    sse__buf        in;      /* come, not yet given to the parser           */
    sse__buf        fed;     /* what the parser works on                    */
    sse__buf        answer;  /* of a long poll, until it is whole           */
    const sse_item *got;     /* from the parser, not yet judged             */
    bool            parsing; /* it may have more                            */
    bool            paused;
    uint64_t        body_id; /* hash of the last id in this body, or 0      */
    bool            replaying; /* the last event with an id was known       */
    bool            unproved;  /* dropped as too old to judge               */

    sse__buf    last_id;   /* of the last event delivered                   */
    sse__buf    cursor;    /* of the last one that is done                  */
    bool        unsettled; /* the two differ until the next item is taken   */
    bool        astray;    /* `last_id` is of a log that is no more         */
    bool        has_seq;   /* ids are of the form seq-tag                   */
    uint64_t    seq;       /* of the last one                               */
    uint32_t    run;       /* so many in a row were without a hole          */
    sse__recent recent;
    sse__dedupe seen;

    sse_conn_state told; /* the last state that was                      */
    sse__client_item  item;
    sse__client_item  notices[SSE__NOTICES];
    uint32_t          notice_count, notice_head;
};

void sse__client_tell(sse__client *c, sse__client_item item);
void sse__client_update(sse__client *c); /* tells the state if it is new    */
void sse__client_drop(sse__client *c, sse__request *request);
void sse__client_finish(sse__client *c, sse_cause why);
bool sse__client_held(const sse__client *c);
void sse__client_begin_again(sse__client *c); /* in place of what is open   */
void sse__client_forget_failures(sse__client *c);

/* ---- client_retry.c ------------------------------------------------------ */

/* The request in hand is over. What follows is decided as soon as its body
 * has been taken: by conclude, which does nothing before. */
void sse__client_over(sse__client *c, sse_cause why);
void sse__client_conclude(sse__client *c);
void sse__client_fail(sse__client *c, sse_cause why); /* its body is no good */
void sse__client_renewal_failed(sse__client *c, sse_cause why, uint32_t status);

/* ---- client_make.c ------------------------------------------------------- */

/* In `end_lens`. Few events have a type as long as one that ends a stream. */
static inline uint64_t sse__client_length_bit(size_t len)
{
    return UINT64_C(1) << (len < 63 ? len : 63);
}

void sse__client_set_retry(sse__client *c, int64_t ms);

/* ---- client_read.c ------------------------------------------------------- */

int  sse__client_begin_body(sse__client *c); /* SSE_OK, NOMEM               */
void sse__client_drop_body(sse__client *c);
bool sse__client_drained(const sse__client *c);

/* Fills c->item from the body: 1; 0; or SSE_ERR_NOMEM. */
int sse__client_read(sse__client *c);

/* ---- client_ids.c -------------------------------------------------------- */

/* Room for an id of this length; keep_id and settle cannot fail then. */
int      sse__client_reserve_id(sse__client *c, size_t len);
int      sse__client_keep_id(sse__client *c, const char *id, size_t len);
void     sse__client_settle(sse__client *c); /* the last event is done      */
bool     sse__client_add_seen(sse__client *c, uint64_t hash); /* it is new  */
void     sse__client_forget_seen(sse__client *c);
uint64_t sse__client_hash(const void *data, size_t len);

/* ---- client_poll.c ------------------------------------------------------- */

/* Adds the events of a long poll's answer to `out`, as a body. SSE_OK, NOMEM
 * or INVAL; `out` is then as it was. */
int sse__poll_read(sse__buf *out, const char *answer, size_t len);

#endif
