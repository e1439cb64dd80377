/* SPDX-License-Identifier: MIT */
/* buf.h - growing bytes with a ceiling. */
#ifndef SSE_CORE_BUF_H
#define SSE_CORE_BUF_H

#include <stddef.h>
#include <stdint.h>

typedef struct sse__buf {
    char  *data; /* NULL until the first byte                               */
    size_t len;  /* bytes in use                                            */
    size_t cap;  /* bytes allocated, never above `max`                      */
    size_t max;  /* the ceiling                                             */
} sse__buf;

void sse__buf_init(sse__buf *b, size_t max);
void sse__buf_free(sse__buf *b); /* leaves it as after init                 */

/* Makes room for `more` bytes behind `len`. SSE_OK, SSE_ERR_NOMEM, or
 * SSE_ERR_TOO_BIG past the ceiling; contents stay as they were. */
int sse__buf_reserve(sse__buf *b, size_t more);

/* All or nothing; errors as for reserve. */
int sse__buf_add(sse__buf *b, const void *data, size_t len);
int sse__buf_add_str(sse__buf *b, const char *str);
int sse__buf_add_u64(sse__buf *b, uint64_t number);
int sse__buf_add_i64(sse__buf *b, int64_t number);

void sse__buf_drop(sse__buf *b, size_t len); /* takes bytes off the front   */

#endif
