/* SPDX-License-Identifier: MIT */
/* row.h - an event as stores keep it: {"type":T,"data":D,"ts":N}, with these
 * three members in this order and no space. Its FNV-1a is the event's tag, so
 * that any node can compute the tag of any row. */
#ifndef SSE_CORE_ROW_H
#define SSE_CORE_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "json.h"

/* Adds the row to `out`. Data that is one JSON object or array without white
 * space or line ends outside strings stands as it is, so that programs which
 * read rows get a value; any other data becomes a JSON string. */
int sse__row_add(sse__buf *out, const char *type, size_t type_len,
                 const char *data, size_t data_len, int64_t ts_ms);

/* Takes a row apart, whoever wrote it: the members in any order, others beside
 * them, white space. `type` and `data` are slices of it, strings with their
 * quotes; `data` of length 0 is missing, and stands for a null. SSE_OK, or
 * SSE_ERR_INVAL for what is no such row. */
typedef struct sse__row_parts {
    sse__json_slice type, data;
    int64_t         ts_ms; /* 0 when it says none                            */
} sse__row_parts;

int sse__row_parse(sse__row_parts *out, const char *row, size_t len);

#endif
