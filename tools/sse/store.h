/* SPDX-License-Identifier: MIT */
/* store.h - the streams of a store, without a server in between. */
#ifndef SSE_TOOL_STORE_H
#define SSE_TOOL_STORE_H

#include "text.h"

/* All return an exit code, after a complaint if it is not EXIT_OK. `url` is the
 * store's, "redis://...". */

/* Adds {"streams":[...]}, as a server would answer; `user` NULL: everybody. */
int store_list(const char *url, const char *user, text *out);

int store_stop(const char *url, const char *id);

#endif
