/* SPDX-License-Identifier: MIT */
/* backoff.c - how long to wait before the next attempt. */
#include "backoff.h"

void sse__backoff_init(sse__backoff *b, uint32_t base_ms, uint32_t cap_ms,
                       uint32_t floor_ms)
{
    *b = (sse__backoff){
        .base_ms = base_ms,
        .cap_ms = cap_ms,
        .floor_ms = floor_ms < cap_ms ? floor_ms : cap_ms,
    };
}

/* The longest delay of the next attempt. It grows from the floor at least, so
 * that a server that asks for 0 ms is left alone in the end all the same. */
static uint32_t window(const sse__backoff *b)
{
    uint64_t ms = b->base_ms > b->floor_ms ? b->base_ms : b->floor_ms;

    ms <<= b->attempts < 32 ? b->attempts : 32;
    return ms < b->cap_ms ? (uint32_t)ms : b->cap_ms;
}

uint32_t sse__backoff_next(sse__backoff *b, uint64_t random)
{
    uint64_t delay = random % ((uint64_t)window(b) + 1);

    if (b->attempts < UINT32_MAX)
        b->attempts++;
    return delay > b->floor_ms ? (uint32_t)delay : b->floor_ms;
}

void sse__backoff_set_base(sse__backoff *b, uint32_t base_ms)
{
    b->base_ms = base_ms;
}

void sse__backoff_clear(sse__backoff *b)
{
    b->attempts = 0;
}
