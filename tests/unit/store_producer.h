/* SPDX-License-Identifier: MIT */
/* store_producer.h - producers in processes of their own, which can die or stand
 * still, and the hubs that look after their streams. */
#ifndef STORE_PRODUCER_H
#define STORE_PRODUCER_H

#include "store_support.h"

#define LEASE_MS 1200u /* twice that is no pause of a machine's */
#define SWEEP_MS 150u

/* A hub with those leases; SSE_NEVER for one that does not sweep. */
sse_hub *store_lease_hub(const redis_process *r, uint32_t sweep_ms);

typedef struct producer {
    pid_t pid;
    int   said; /* what it has to say                                       */
} producer;

/* The producer of `count` streams, s<first> and on. Before there is a hub in
 * the test. It says "r" when each has two events in Redis; then "l" when it is
 * told that the first one is lost, and "n" when that takes no more. */
producer producer_run(const redis_process *r, unsigned first, unsigned count);
char     producer_hear(const producer *p);
void     producer_kill(producer *p);
void     producer_pause(const producer *p);
void     producer_resume(const producer *p);

/* Answers an orphan. */
int store_settle(sse_hub *hub, const char *id, int state, const char *data);

#endif
