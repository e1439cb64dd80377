/* SPDX-License-Identifier: MIT */
/* redis_metrics.h - what the engine counts, as Prometheus text. */
#ifndef SSE_STORE_REDIS_METRICS_H
#define SSE_STORE_REDIS_METRICS_H

#include "redis.h"

int sse__redis_metrics(sse__store *store, sse__buf *out);

#endif
