/* SPDX-License-Identifier: MIT */
/* redis_guardian.h - finds streams whose producer went silent, and settles
 * them: as the application says, where one asked to be told, or as failed. */
#ifndef SSE_STORE_REDIS_GUARDIAN_H
#define SSE_STORE_REDIS_GUARDIAN_H

#include "redis_job.h"

void    sse__guardian_tick(sse__redis *r);
int64_t sse__guardian_due_ms(const sse__redis *r);
void    sse__guardian_close(sse__redis *r);

/* Redis was away, or took no writes: life signs have not come for a while that
 * nobody is to blame for. They get the time to come again. */
void sse__guardian_wait(sse__redis *r, bool was_up);

/* SSE__OP_SETTLE. False: there is no such claim, and the job is over. */
bool sse__guardian_form(sse__job *job);
void sse__guardian_settled(sse__job *job, const redisReply *reply);

#endif
