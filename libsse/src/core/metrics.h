/* SPDX-License-Identifier: MIT */
/* metrics.h - lines of the Prometheus text format, 0.0.4. */
#ifndef SSE_CORE_METRICS_H
#define SSE_CORE_METRICS_H

#include <stdint.h>

#include "buf.h"

/* The HELP and TYPE lines of a metric; `type` is "counter" or "gauge" or
 * "histogram". Errors of these as for buf add. */
int sse__metric_head(sse__buf *out, const char *name, const char *type,
                     const char *help);

/* One sample. `label` and `value` may be NULL for none. */
int sse__metric_add(sse__buf *out, const char *name, const char *label,
                    const char *value, uint64_t number);

/* A metric that has one sample, without a label. */
int sse__metric_one(sse__buf *out, const char *name, const char *type,
                    const char *help, uint64_t number);

#endif
