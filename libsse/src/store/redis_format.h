/* SPDX-License-Identifier: MIT */
/* redis_format.h - a command as Redis reads it: an array of bulk strings. */
#ifndef SSE_STORE_REDIS_FORMAT_H
#define SSE_STORE_REDIS_FORMAT_H

#include "../core/buf.h"

typedef struct sse__redis_args {
    uint32_t           count;
    const char *const *argv;
    const size_t      *lens; /* NULL: each of them ends in a NUL            */
} sse__redis_args;

/* The bytes that the arguments of `head`, then of `tail`, make as one command.
 * `tail` may be NULL here and below. */
size_t sse__redis_format_len(const sse__redis_args *head,
                             const sse__redis_args *tail);

/* Adds that command to `out`, all or nothing; errors as for sse__buf_add(). */
int sse__redis_format(sse__buf *out, const sse__redis_args *head,
                      const sse__redis_args *tail);

#endif
