/* SPDX-License-Identifier: MIT */
/* encoder_fuzz.c - a parser finds the event that was encoded, and no other. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encoder.h"
#include "sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

static int same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* Takes the text up to a 0xff, which no UTF-8 has; `*at` is behind it then. */
static const char *take(const char **at, const char *end, size_t *out_len)
{
    const char *text = *at;
    const char *stop = memchr(text, 0xff, (size_t)(end - text));

    *out_len = (size_t)((stop ? stop : end) - text);
    *at = stop ? stop + 1 : end;
    return text;
}

/* What data is to a reader: each line end has become LF. */
static size_t with_lf(char *out, const char *data, size_t len)
{
    size_t out_len = 0;

    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n' && i > 0 && data[i - 1] == '\r')
            continue;
        out[out_len++] = data[i] == '\r' ? '\n' : data[i];
    }
    return out_len;
}

static void check_event(const sse_item *item, const char *type, size_t type_len,
                        const char *data, size_t data_len, const char *id,
                        size_t id_len)
{
    char *lines = malloc(data_len + 1);

    check(lines != NULL);
    check(item->kind == SSE_ITEM_EVENT);
    check(same(item->type, item->type_len, type_len ? type : "message",
               type_len ? type_len : 7));
    check(same(item->id, item->id_len, id, id_len));
    check(same(item->data, item->data_len, lines,
               with_lf(lines, data, data_len)));
    free(lines);
}

/* Encodes an event and parses it. */
static void send_event(sse_buffer *b, sse_parser *p, const char *at,
                       const char *end)
{
    size_t          type_len, data_len, id_len;
    const char     *type = take(&at, end, &type_len);
    const char     *id = take(&at, end, &id_len);
    const char     *data = take(&at, end, &data_len);
    const sse_item *item;

    if (sse_encode_event(b, type, type_len, data, data_len, id, id_len) < 0) {
        check(sse_buffer_size(b) == 0);
        return;
    }
    sse_parser_feed(p, sse_buffer_data(b), sse_buffer_size(b));
    check(sse_parser_next(p, &item) == 1);
    check_event(item, type, type_len, data, data_len, id, id_len);
    check(sse_parser_next(p, &item) == 0);
}

/* Whatever a comment says, it stays one. */
static void send_comment(sse_buffer *b, sse_parser *p, const char *text,
                         size_t len)
{
    const sse_item *item;
    int             count = 0;

    sse_buffer_clear(b);
    if (sse_encode_comment(b, text, len) < 0)
        return;
    sse_parser_feed(p, sse_buffer_data(b), sse_buffer_size(b));
    for (; sse_parser_next(p, &item) > 0; count++)
        check(item->kind == SSE_ITEM_COMMENT && item->data[0] == ' ');
    check(count > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    const char        *text = (const char *)input;
    sse_parser_options opts = {
        .size = sizeof(opts),
        .flags = SSE_PARSER_COMMENTS | SSE_PARSER_RETRY,
    };
    sse_buffer *b;
    sse_parser *p;

    if (size == 0)
        return 0;
    check(sse_buffer_new(0, &b) == SSE_OK);
    check(sse_parser_new(&opts, &p) == SSE_OK);
    send_event(b, p, text, text + size);
    send_comment(b, p, text, size);
    sse_buffer_free(b);
    sse_parser_free(p);
    return 0;
}
