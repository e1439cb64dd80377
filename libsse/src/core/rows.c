/* SPDX-License-Identifier: MIT */
/* rows.c - a ring of rows. */
#include "rows.h"

#include <string.h>

#include "alloc.h"
#include "sse.h"

#define FIRST_CAP 16u

void sse__rows_init(sse__rows *rows, uint64_t next_seq)
{
    *rows = (sse__rows){.first_seq = next_seq, .next_seq = next_seq};
}

static sse__row **slot(const sse__rows *rows, uint64_t seq)
{
    return &rows->ring[seq & (rows->cap - 1)];
}

void sse__rows_free(sse__rows *rows)
{
    while (rows->first_seq < rows->next_seq)
        sse__rows_drop_first(rows);
    sse__free(rows->ring);
    rows->ring = NULL;
    rows->cap = 0;
}

sse__row *sse__row_new(const char *text, size_t len, uint32_t tag)
{
    sse__row *row = sse__malloc(sizeof(*row) + len);

    if (!row)
        return NULL;
    row->len = (uint32_t)len;
    row->tag = tag;
    memcpy(row->text, text, len);
    return row;
}

int sse__rows_reserve(sse__rows *rows, size_t count)
{
    uint64_t   need = rows->next_seq - rows->first_seq + count;
    uint32_t   cap = rows->cap ? rows->cap : FIRST_CAP;
    sse__row **bigger;

    if (need <= rows->cap)
        return SSE_OK;
    if (need > 1u << 30)
        return SSE_ERR_NOMEM;
    while (cap < need)
        cap *= 2;
    bigger = sse__calloc(cap, sizeof(*bigger));
    if (!bigger)
        return SSE_ERR_NOMEM;
    for (uint64_t seq = rows->first_seq; seq < rows->next_seq; seq++)
        bigger[seq & (cap - 1)] = *slot(rows, seq);
    sse__free(rows->ring);
    rows->ring = bigger;
    rows->cap = cap;
    return SSE_OK;
}

void sse__rows_add(sse__rows *rows, sse__row *row)
{
    *slot(rows, rows->next_seq++) = row;
    rows->bytes += row->len;
}

sse__row *sse__rows_take_first(sse__rows *rows)
{
    sse__row *row = *slot(rows, rows->first_seq++);

    rows->bytes -= row->len;
    return row;
}

void sse__rows_drop_first(sse__rows *rows)
{
    sse__free(sse__rows_take_first(rows));
}

const sse__row *sse__rows_get(const sse__rows *rows, uint64_t seq)
{
    return *slot(rows, seq);
}
