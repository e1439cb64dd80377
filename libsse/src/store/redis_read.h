/* SPDX-License-Identifier: MIT */
/* redis_read.h - what the read script replies, and how mirrors get it. */
#ifndef SSE_STORE_REDIS_READ_H
#define SSE_STORE_REDIS_READ_H

#include "redis_tail.h"

typedef struct sse__page {
    const redisReply *reply;
    const redisReply *rows;
    uint64_t  from;       /* the number of the first row                     */
    uint64_t  base, top;
    uint64_t  closed;     /* the number that it ended with; 0: none          */
    uint32_t  top_tag;
    bool      top_known;  /* top_tag is one: the last row came by a script   */
    bool      known;      /* there is such a stream, or something of it      */
    bool      ended;
    sse__text state;      /* in the registry; "" without one                 */
    sse__text final_type; /* of the completion that is kept, or ""           */
} sse__page;

uint32_t sse__page_tag(const sse__page *p, size_t row);
bool     sse__page_has_ended(const sse__page *p);

/* Whether the event that ended the stream is kept as its completion only. */
bool sse__page_lacks_final(const sse__page *p);

/* Adds what is new, and the end; sets whether the tail has caught up. */
void sse__page_add(sse__tail *t, const sse__page *p);

/* Adds what is in front of the log. */
void sse__page_add_old(sse__tail *t, const sse__page *p);

#endif
