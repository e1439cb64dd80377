/* SPDX-License-Identifier: MIT */
/* buffer.h - the public buffer is a buf. */
#ifndef SSE_CORE_BUFFER_H
#define SSE_CORE_BUFFER_H

#include "buf.h"
#include "sse.h"

struct sse_buffer {
    sse__buf buf;
};

#endif
