/* SPDX-License-Identifier: MIT */
/* buffer.c - the public face of a buf. */
#include "buffer.h"

#include "alloc.h"

#define DEFAULT_MAX_BYTES ((size_t)64 << 20)

int sse_buffer_new(size_t max_bytes, sse_buffer **out)
{
    *out = sse__malloc(sizeof(**out));
    if (!*out)
        return SSE_ERR_NOMEM;
    sse__buf_init(&(*out)->buf, max_bytes ? max_bytes : DEFAULT_MAX_BYTES);
    return SSE_OK;
}

void sse_buffer_free(sse_buffer *buf)
{
    if (!buf)
        return;
    sse__buf_free(&buf->buf);
    sse__free(buf);
}

void sse_buffer_clear(sse_buffer *buf)
{
    buf->buf.len = 0;
}

const char *sse_buffer_data(const sse_buffer *buf)
{
    return buf->buf.data ? buf->buf.data : "";
}

size_t sse_buffer_size(const sse_buffer *buf)
{
    return buf->buf.len;
}
