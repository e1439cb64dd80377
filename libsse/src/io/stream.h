/* SPDX-License-Identifier: MIT */
/* stream.h - the handle on a stream. */
#ifndef SSE_IO_STREAM_H
#define SSE_IO_STREAM_H

#include "../core/stream.h"
#include "host.h"

struct sse_stream {
    sse_hub        *hub;  /* counted                                        */
    sse__stream    *core; /* counted; under the hub's lock                  */
    sse__buf        text; /* what `info` points into                        */
    sse_stream_info info;
};

/* A handle on `core`, with the lock. NULL when out of memory. */
sse_stream *sse__stream_handle(sse_hub *hub, sse__stream *core);

/* Copies what is behind `info` into `text` and points it there. */
int sse__stream_info_copy(sse_stream_info *info, sse__buf *text);

#endif
