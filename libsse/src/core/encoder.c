/* SPDX-License-Identifier: MIT */
/* encoder.c - blocks of an event stream (HTML standard, 9.2.5). */
#include "encoder.h"

#include <stdbool.h>
#include <string.h>

#include "buffer.h"
#include "scan.h"
#include "utf8.h"

int sse__encode_check_name(const char *text, size_t len)
{
    if (len > 0 && (sse__scan_line(text, len) < len || memchr(text, '\0', len)))
        return SSE_ERR_INVAL;
    return sse__utf8_valid(text, len) ? SSE_OK : SSE_ERR_UTF8;
}

/* Adds one line; `text` has no line end. */
static int add_field(sse__buf *b, const char *prefix, size_t prefix_len,
                     const char *text, size_t len)
{
    int   rc;
    char *at;

    if (len > SIZE_MAX / 2)
        return SSE_ERR_TOO_BIG;
    rc = sse__buf_reserve(b, prefix_len + len + 1);
    if (rc < 0)
        return rc;
    at = b->data + b->len;
    memcpy(at, prefix, prefix_len);
    if (len > 0)
        memcpy(at + prefix_len, text, len);
    at[prefix_len + len] = '\n';
    b->len += prefix_len + len + 1;
    return SSE_OK;
}

/* Adds one field for each line of `text`, and at least one. */
static int add_lines(sse__buf *b, const char *prefix, size_t prefix_len,
                     const char *text, size_t len)
{
    for (;;) {
        size_t line = sse__scan_line(text, len);
        int    rc = add_field(b, prefix, prefix_len, text, line);

        if (rc < 0 || line == len)
            return rc;
        if (text[line] == '\r' && line + 1 < len && text[line + 1] == '\n')
            line++;
        text += line + 1;
        len -= line + 1;
    }
}

static bool is_message(const char *type, size_t len)
{
    return len == 0 || (len == 7 && memcmp(type, "message", 7) == 0);
}

static int add_event(sse__buf *b, const char *type, size_t type_len,
                     const char *data, size_t data_len, const char *id,
                     size_t id_len)
{
    int rc = SSE_OK;

    if (id_len > 0)
        rc = add_field(b, "id: ", 4, id, id_len);
    if (rc == SSE_OK && !is_message(type, type_len))
        rc = add_field(b, "event: ", 7, type, type_len);
    if (rc == SSE_OK)
        rc = add_lines(b, "data: ", 6, data, data_len);
    return rc == SSE_OK ? sse__buf_add(b, "\n", 1) : rc;
}

int sse__encode_event(sse__buf *b, const char *type, size_t type_len,
                      const char *data, size_t data_len, const char *id,
                      size_t id_len)
{
    size_t old_len = b->len;
    int    rc = add_event(b, type, type_len, data, data_len, id, id_len);

    if (rc < 0)
        b->len = old_len;
    return rc;
}

int sse__encode_comment(sse__buf *b, const char *text, size_t len)
{
    size_t old_len = b->len;
    int    rc = add_lines(b, ": ", 2, text, len);

    if (rc == SSE_OK)
        rc = sse__buf_add(b, "\n", 1);
    if (rc < 0)
        b->len = old_len;
    return rc;
}

int sse__encode_retry(sse__buf *b, uint32_t retry_ms)
{
    size_t old_len = b->len;
    int    rc = sse__buf_add_str(b, "retry: ");

    if (rc == SSE_OK)
        rc = sse__buf_add_u64(b, retry_ms);
    if (rc == SSE_OK)
        rc = sse__buf_add(b, "\n\n", 2);
    if (rc < 0)
        b->len = old_len;
    return rc;
}

int sse_encode_event(sse_buffer *buf, const char *type, size_t type_len,
                     const char *data, size_t data_len, const char *id,
                     size_t id_len)
{
    int rc = sse__encode_check_name(type, type_len);

    if (rc == SSE_OK)
        rc = sse__encode_check_name(id, id_len);
    if (rc == SSE_OK && !sse__utf8_valid(data, data_len))
        rc = SSE_ERR_UTF8;
    if (rc < 0)
        return rc;
    return sse__encode_event(&buf->buf, type, type_len, data, data_len, id,
                             id_len);
}

int sse_encode_comment(sse_buffer *buf, const char *text, size_t len)
{
    if (!sse__utf8_valid(text, len))
        return SSE_ERR_UTF8;
    return sse__encode_comment(&buf->buf, text, len);
}

int sse_encode_retry(sse_buffer *buf, uint32_t retry_ms)
{
    return sse__encode_retry(&buf->buf, retry_ms);
}
