/* SPDX-License-Identifier: MIT */
/* redis_call.h - a call of a script, put together and sent; its reply; and how
 * names and times look in Redis. */
#ifndef SSE_STORE_REDIS_CALL_H
#define SSE_STORE_REDIS_CALL_H

#include <hiredis.h>
#include <stdbool.h>

#include "../core/buf.h"

struct sse__redis;
struct sse__row;

/* ---- Calls ----
 * One at a time is put together; what fails on the way fails the sending:
 *
 *     sse__call_begin(r, SSE__REDIS_READ);
 *     sse__call_keys(r, id, id_len);
 *     sse__call_u64(r, after);
 *     ...
 *     rc = sse__call_send(r, got_rows, tail);
 */

typedef struct sse__arg {
    const char *text; /* NULL: it stands in the call's own text, at `at`    */
    size_t      at;
    size_t      len;
} sse__arg;

typedef struct sse__call {
    uint32_t     script;
    uint32_t     key_count;
    uint32_t     count;
    uint32_t     cap;
    int          rc;
    sse__arg    *args;
    const char **argv; /* both as long as `args`                            */
    size_t      *lens;
    sse__buf     text;
} sse__call;

void sse__call_free(sse__call *c);

void sse__call_begin(struct sse__redis *r, uint32_t script);

/* Keys: the five of a stream; one more, `prefix` `kind` `name` `rest`. */
void sse__call_keys(struct sse__redis *r, const char *id, size_t id_len);
void sse__call_key(struct sse__redis *r, const char *kind, const char *name,
                   size_t name_len, const char *rest);
void sse__call_user_key(struct sse__redis *r, const char *user, size_t len);

/* Arguments: text that stays until the call is sent; text that is copied; what
 * ends in a NUL and stays; a number; a name with the prefix, as keys are. */
void sse__call_text(struct sse__redis *r, const char *text, size_t len);
void sse__call_copy(struct sse__redis *r, const char *text, size_t len);
void sse__call_str(struct sse__redis *r, const char *text);
void sse__call_u64(struct sse__redis *r, uint64_t number);
void sse__call_name(struct sse__redis *r, const char *kind, const char *name,
                    size_t name_len);

/* The time as ISO 8601; and a stream's channel, and how to publish there. */
void sse__call_time(struct sse__redis *r, int64_t wall_ms);
void sse__call_channel(struct sse__redis *r, const char *id, size_t id_len);

/* Arguments 14 to 18 of append: `state` is an sse_state; `last` the row of the
 * event that ends the stream, and NULL when it goes on. */
void sse__call_final(struct sse__redis *r, uint32_t state,
                     const struct sse__row *last);

/* Tag and row. The row stays until the call is sent. */
void sse__call_row(struct sse__redis *r, const struct sse__row *row);

/* `reply` is the array that the script gave; or NULL: the link was lost, and
 * what became of the call is not known, or Redis refused it, and has changed
 * nothing. Called once, in a turn, never in the call of send. */
typedef void sse__call_fn(void *user, const redisReply *reply);

/* SSE_OK, and `fn` follows; or an error, and it does not. */
int sse__call_send(struct sse__redis *r, sse__call_fn *fn, void *user);

/* ---- Replies ---- */

typedef struct sse__text {
    const char *text; /* "" where there is none                             */
    size_t      len;
} sse__text;

/* Whether the reply's first element is this word. */
bool sse__reply_is(const redisReply *reply, const char *word);

/* Element `i`: as text, number (0 where it is none), or array (NULL). */
sse__text         sse__reply_text(const redisReply *reply, size_t i);
uint64_t          sse__reply_u64(const redisReply *reply, size_t i);
const redisReply *sse__reply_array(const redisReply *reply, size_t i);

/* A tag, which may be missing. */
bool sse__reply_tag(const redisReply *reply, size_t i, uint32_t *out);

/* The sse_state of that name; SSE_STATE_EXPIRED for one that is not known. */
uint32_t sse__state_of(sse__text name);

/* ---- Times ---- */

#define SSE__ISO_BYTES 25 /* "2026-11-21T07:00:00.000Z" and a NUL           */

void sse__iso_format(char out[SSE__ISO_BYTES], int64_t wall_ms);

/* 0 where it is no such time. */
int64_t sse__iso_parse(const char *text, size_t len);

#endif
