/* SPDX-License-Identifier: MIT */
/* rows.h - the newest events of a stream as its store keeps them, by sequence
 * number: those that it has not had yet, and those that it may lose. */
#ifndef SSE_CORE_ROWS_H
#define SSE_CORE_ROWS_H

#include <stddef.h>
#include <stdint.h>

typedef struct sse__row {
    uint32_t len, tag;
    char     text[];
} sse__row;

typedef struct sse__rows {
    sse__row **ring; /* by seq modulo cap                                   */
    uint32_t   cap;  /* a power of two                                      */
    uint64_t   first_seq;
    uint64_t   next_seq;
    uint64_t   bytes;
} sse__rows;

void sse__rows_init(sse__rows *rows, uint64_t next_seq);
void sse__rows_free(sse__rows *rows); /* leaves it empty                    */

/* A copy of a row, or NULL. */
sse__row *sse__row_new(const char *text, size_t len, uint32_t tag);

/* Makes sure that `count` more can be added. SSE_OK or SSE_ERR_NOMEM. */
int  sse__rows_reserve(sse__rows *rows, size_t count);
void sse__rows_add(sse__rows *rows, sse__row *row); /* takes it over        */
void sse__rows_drop_first(sse__rows *rows);
sse__row *sse__rows_take_first(sse__rows *rows); /* is the caller's then    */

/* The row of an event in first_seq..next_seq - 1. */
const sse__row *sse__rows_get(const sse__rows *rows, uint64_t seq);

#endif
