/* SPDX-License-Identifier: MIT */
/* store_open.c - until the engine is there. */
#include <stdio.h>

#include "../store/store.h"

int sse__redis_open(sse_hub *hub, const char *url, size_t len,
                    const sse_store_options *opts, char *why, size_t why_size,
                    sse__store **out)
{
    (void)hub;
    (void)url;
    (void)len;
    (void)opts;
    *out = NULL;
    snprintf(why, why_size, "this build has no Redis");
    return SSE_ERR_INVAL;
}
