/* SPDX-License-Identifier: MIT */
/* backoff.h - how long to wait before the next attempt. Randomness is an
 * argument; time is the caller's. */
#ifndef SSE_CORE_BACKOFF_H
#define SSE_CORE_BACKOFF_H

#include <stdint.h>

typedef struct sse__backoff {
    uint32_t base_ms;  /* the delay before jitter of the first retry        */
    uint32_t cap_ms;   /* no delay is longer                                */
    uint32_t floor_ms; /* none is shorter, whatever the server asks         */
    uint32_t attempts; /* failed in a row                                   */
} sse__backoff;

void sse__backoff_init(sse__backoff *b, uint32_t base_ms, uint32_t cap_ms,
                       uint32_t floor_ms);

/* The delay after one more failure: full jitter over base * 2^attempts. */
uint32_t sse__backoff_next(sse__backoff *b, uint64_t random);

void sse__backoff_set_base(sse__backoff *b, uint32_t base_ms);
void sse__backoff_clear(sse__backoff *b); /* after a healthy period         */

#endif
