/* SPDX-License-Identifier: MIT */
/* stream.h - the handle on a stream. */
#ifndef SSE_IO_STREAM_H
#define SSE_IO_STREAM_H

#include "../core/stream.h"
#include "host.h"

struct sse_stream {
    sse_hub        *hub;  /* counted                                        */
    sse__stream    *core; /* counted; under the hub's lock                  */
    sse__buf        text; /* what `info` points into                        */
    sse_stream_info info;
};

/* Sees to it that a reader of the stream at this cursor can be placed: asks the
 * store if it must, and waits. With the lock. SSE_OK, SSE_ERR_CURSOR,
 * SSE_ERR_NOT_FOUND, SSE_ERR_STORE or SSE_ERR_NOMEM. */
int sse__store_reach(sse_stream *s, const char *cursor, size_t cursor_len);

/* A list of what an operation found. */
struct sse__op;
int sse__list_from(const struct sse__op *op, sse_list **out);

#endif
