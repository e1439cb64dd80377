/* SPDX-License-Identifier: MIT */
/* dedupe.h - the last ids seen, to find one that comes again. A ring of hashes
 * with a hash table over it: constant time, constant memory. */
#ifndef SSE_CORE_DEDUPE_H
#define SSE_CORE_DEDUPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sse__dedupe {
    uint64_t *ring;  /* hashes in order of arrival, `size` of them at most  */
    uint32_t *table; /* open addressing: index into ring + 1, or 0          */
    uint32_t  size;  /* of the window, a power of two                       */
    uint32_t  count;
    uint32_t  head;  /* where the next one goes                             */
} sse__dedupe;

int  sse__dedupe_init(sse__dedupe *d, uint32_t size); /* SSE_OK, NOMEM      */
void sse__dedupe_free(sse__dedupe *d);
void sse__dedupe_clear(sse__dedupe *d);

/* True when `id` is in the window; otherwise remembers it, forgetting the
 * oldest when the window is full. An empty id is never a duplicate. */
bool sse__dedupe_add(sse__dedupe *d, const char *id, size_t len);

#endif
