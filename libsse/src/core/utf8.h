/* SPDX-License-Identifier: MIT */
/* utf8.h - UTF-8 as the Unicode and Encoding standards define it. */
#ifndef SSE_CORE_UTF8_H
#define SSE_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* Where a sequence stands between two pieces of input. */
typedef struct sse__utf8 {
    uint8_t need; /* continuation bytes still to come                       */
    uint8_t low;  /* the next one must be in low..high                      */
    uint8_t high;
} sse__utf8;

void sse__utf8_init(sse__utf8 *u);
bool sse__utf8_feed(sse__utf8 *u, const void *data, size_t len); /* false: broken */
bool sse__utf8_done(const sse__utf8 *u); /* true: no sequence is unfinished */

bool sse__utf8_valid(const void *data, size_t len);

/* Adds `data` to `out` with U+FFFD for each maximal broken part, as the
 * Encoding standard's decoder does (4.1.1 there). Errors as for buf add. */
int sse__utf8_repair(sse__buf *out, const void *data, size_t len);

#endif
