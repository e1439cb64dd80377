/* SPDX-License-Identifier: MIT */
/* relay.h - a model server behind the hub: answers that survive their caller.
 * Every function belongs on the thread of the loop. */
#ifndef RELAY_H
#define RELAY_H

#include "sse.h"

/* Before the hub is made: what it sends, the clients of OpenAI must bear. */
void relay_adapt(const char *upstream, sse_hub_options *opts);

/* Begins. `upstream` is the model server's URL, with or without "/v1" at its
 * end; without one (NULL), there is no relay, and no request is for it. Returns
 * SSE_OK or an sse_err. */
int relay_start(sse_loop *loop, sse_hub *hub, const char *upstream);

/* Takes the request if it is one for the relay: 1, else 0. */
int relay_take(sse_request *request);

/* After the loop has run. */
void relay_end(void);

#endif
