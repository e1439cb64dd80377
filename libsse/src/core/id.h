/* SPDX-License-Identifier: MIT */
/* id.h - event ids, "<seq>-<tag>", and the cursors that readers send back. */
#ifndef SSE_CORE_ID_H
#define SSE_CORE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sse.h"

#define SSE__FNV1A_INIT 2166136261u

/* FNV-1a, 32 bits, over one more piece. */
uint32_t sse__fnv1a(uint32_t hash, const void *data, size_t len);

/* Fills `out`, text included. `format` is an sse_id_format. */
void sse__id_make(sse_event_id *out, uint64_t seq, uint32_t tag, uint32_t format);

typedef enum sse__cursor_kind {
    SSE__CURSOR_START, /* "", "0"                                           */
    SSE__CURSOR_NEW,   /* "$"                                               */
    SSE__CURSOR_AFTER  /* after event `seq`                                 */
} sse__cursor_kind;

typedef struct sse__cursor {
    sse__cursor_kind kind;
    bool             tagged; /* the text had a tag                          */
    uint32_t         tag;
    uint64_t         seq;
} sse__cursor;

/* SSE_OK or SSE_ERR_CURSOR. Sequence numbers up to 10^14, no leading zeros,
 * tags of exactly 8 hex digits in lower case. */
int sse__cursor_parse(sse__cursor *out, const char *text, size_t len);

/* Whether `id` may name a stream: 1 to 255 of A-Z a-z 0-9 . _ ~ : @ + - */
bool sse__stream_id_valid(const char *id, size_t len);

#endif
