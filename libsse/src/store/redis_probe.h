/* SPDX-License-Identifier: MIT */
/* redis_probe.h - whether messages arrive. */
#ifndef SSE_STORE_REDIS_PROBE_H
#define SSE_STORE_REDIS_PROBE_H

#include "redis.h"

/* The control channel is subscribed to; or that has just been asked for. */
void sse__probe_listens(sse__redis *r, bool listening);

/* Whether a message on the control channel is a probe. */
bool sse__probe_came(sse__redis *r, const sse__redis_push *push);

void    sse__probe_tick(sse__redis *r);
int64_t sse__probe_due_ms(const sse__redis *r);

/* Without the lock, and not inside an event of a link: drops the link on which
 * nothing arrives. */
void sse__probe_act(sse__redis *r);

#endif
