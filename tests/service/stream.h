/* SPDX-License-Identifier: MIT */
/* stream.h - one client of the service, and the thread that passes on what it
 * tells. */
#ifndef TESTS_SERVICE_STREAM_H
#define TESTS_SERVICE_STREAM_H

#include <cjson/cJSON.h>

#include "sse.h"

typedef struct stream stream;

/* Makes a client as the members of `params` say, and starts it. Returns
 * SSE_OK, SSE_ERR_INVAL for members that cannot be used, or another sse_err. */
int stream_new(sse_loop *loop, const cJSON *params, stream **out);

void stream_restart(stream *s);

/* Ends it. Nothing more is sent, once what is being sent is through. */
void stream_free(stream *s);

/* Waits until the threads of all freed streams have ended. */
void stream_wait_all(void);

#endif
