/* SPDX-License-Identifier: MIT */
/* redis_tail_stub.c - until redis_tail.c is there. */
#include "redis.h"

void sse__tail_fetch(sse__redis *r, sse__op *op)
{
    sse__op_finish(r->base.hub, op, SSE_ERR_NOT_FOUND);
}

void sse__tail_append(sse__redis *r, sse__op *op)
{
    sse__op_finish(r->base.hub, op, SSE_ERR_STORE);
}

void sse__tail_follow(sse__redis *r, sse__stream *s)
{
    (void)r;
    (void)s;
}

void sse__tail_dirty(sse__redis *r, sse__stream *s)
{
    (void)r;
    (void)s;
}

void sse__tail_pushed(sse__redis *r, const sse__redis_push *push)
{
    (void)r;
    (void)push;
}

void sse__tail_link_up(sse__redis *r)
{
    (void)r;
}

void sse__tail_link_down(sse__redis *r)
{
    (void)r;
}

void sse__tail_commands_up(sse__redis *r)
{
    (void)r;
}

void sse__tail_commands_down(sse__redis *r)
{
    (void)r;
}

void sse__tail_tick(sse__redis *r)
{
    (void)r;
}

int64_t sse__tail_due_ms(const sse__redis *r)
{
    (void)r;
    return INT64_MAX;
}

void sse__tail_close(sse__redis *r)
{
    (void)r;
}

uint64_t sse__tail_count(const sse__redis *r)
{
    (void)r;
    return 0;
}
