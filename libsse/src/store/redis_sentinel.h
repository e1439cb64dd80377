/* SPDX-License-Identifier: MIT */
/* redis_sentinel.h - one question to the Sentinels: where is the master? */
#ifndef SSE_STORE_REDIS_SENTINEL_H
#define SSE_STORE_REDIS_SENTINEL_H

#include "redis_conn.h"

typedef struct sse__redis_sentinel sse__redis_sentinel;

/* None is called inside a function below. */
typedef struct sse__redis_sentinel_events {
    /* Once, unless it is shut before: where the master is and `which` of the
     * URL's Sentinels said so; or `host` is NULL, and why none did. */
    void (*answer)(void *user, const char *host, uint16_t port, uint32_t which,
                   const char *why);
    void (*gone)(void *user); /* the last of it, after a shut, too          */
} sse__redis_sentinel_events;

/* Asks one Sentinel after the other, beginning with `first`, and gives each
 * `timeout_ms`. `url`, `tls` (NULL: none) and `traffic` must live until
 * `gone`. SSE_OK or SSE_ERR_NOMEM. */
int sse__redis_sentinel_ask(uv_loop_t *loop, const sse__redis_url *url,
                            SSL_CTX *tls, uint32_t first, uint32_t timeout_ms,
                            sse__redis_traffic               *traffic,
                            const sse__redis_sentinel_events *events,
                            void *user, sse__redis_sentinel **out);

void sse__redis_sentinel_shut(sse__redis_sentinel *s);

#endif
