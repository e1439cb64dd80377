/* SPDX-License-Identifier: MIT */
/* parser_fuzz.c - the parser against a plain reading of the HTML standard,
 * 9.2.6, and against itself with the input cut in other places.
 *
 * The first byte of an input says how it is cut, the rest is fed. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "sse.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void put(sse__buf *out, const void *text, size_t len)
{
    check(sse__buf_add(out, text, len) == SSE_OK);
}

/* ---- The standard, in whole strings -------------------------------------- */

typedef struct reader {
    sse__buf data, type, id, last_id;
    sse__buf out; /* all items, as text                                     */
} reader;

static void set(sse__buf *b, const char *text, size_t len)
{
    b->len = 0;
    put(b, text, len);
}

static void put_event(sse__buf *out, const char *type, size_t type_len,
                      const char *data, size_t data_len, const char *id,
                      size_t id_len)
{
    put(out, "event ", 6);
    put(out, type, type_len);
    put(out, "|", 1);
    put(out, data, data_len);
    put(out, "|", 1);
    put(out, id, id_len);
    put(out, "\n", 1);
}

static void put_retry(sse__buf *out, int64_t ms)
{
    put(out, "retry ", 6);
    check(sse__buf_add_i64(out, ms) == SSE_OK);
    put(out, "\n", 1);
}

static void put_comment(sse__buf *out, const char *text, size_t len)
{
    put(out, "comment ", 8);
    put(out, text, len);
    put(out, "\n", 1);
}

static void read_blank(reader *r)
{
    set(&r->last_id, r->id.data, r->id.len);
    if (r->data.len > 0)
        put_event(&r->out, r->type.len > 0 ? r->type.data : "message",
                  r->type.len > 0 ? r->type.len : 7, r->data.data,
                  r->data.len - 1, r->last_id.data, r->last_id.len);
    r->data.len = r->type.len = 0;
}

static void read_retry(reader *r, const char *value, size_t len)
{
    uint64_t ms = 0;

    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return;
        ms = ms * 10 + (uint64_t)(value[i] - '0');
        ms = ms < INT32_MAX ? ms : INT32_MAX;
    }
    if (len > 0)
        put_retry(&r->out, (int64_t)ms);
}

static bool is(const char *text, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(text, name, len) == 0;
}

static void read_line(reader *r, const char *line, size_t len)
{
    const char *colon = len > 0 ? memchr(line, ':', len) : NULL;
    size_t      name = colon ? (size_t)(colon - line) : len;
    const char *value = colon ? colon + 1 : line + len;
    size_t      rest = (size_t)(line + len - value);

    if (len == 0) {
        read_blank(r);
        return;
    }
    if (colon == line) {
        put_comment(&r->out, value, rest);
        return;
    }
    if (rest > 0 && *value == ' ') {
        value++;
        rest--;
    }
    if (is(line, name, "data")) {
        put(&r->data, value, rest);
        put(&r->data, "\n", 1);
    } else if (is(line, name, "event")) {
        set(&r->type, value, rest);
    } else if (is(line, name, "id") && !memchr(value, '\0', rest)) {
        set(&r->id, value, rest);
    } else if (is(line, name, "retry")) {
        read_retry(r, value, rest);
    }
}

static void read_stream(reader *r, const char *text, size_t len)
{
    size_t start = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    for (size_t at = start; at < len; at++) {
        if (text[at] != '\n' && text[at] != '\r')
            continue;
        read_line(r, text + start, at - start);
        if (text[at] == '\r' && at + 1 < len && text[at + 1] == '\n')
            at++;
        start = at + 1;
    }
}

static void init_reader(reader *r)
{
    sse__buf *bufs[] = {&r->data, &r->type, &r->id, &r->last_id, &r->out};

    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        sse__buf_init(bufs[i], SIZE_MAX);
        put(bufs[i], "", 1); /* so that no data is NULL */
        bufs[i]->len = 0;
    }
}

static void free_reader(reader *r)
{
    sse__buf_free(&r->data);
    sse__buf_free(&r->type);
    sse__buf_free(&r->id);
    sse__buf_free(&r->last_id);
    sse__buf_free(&r->out);
}

/* ---- The parser ----------------------------------------------------------- */

static void put_item(sse__buf *out, const sse_item *item)
{
    switch (item->kind) {
    case SSE_ITEM_EVENT:
        put_event(out, item->type, item->type_len, item->data, item->data_len,
                  item->id, item->id_len);
        break;
    case SSE_ITEM_COMMENT: put_comment(out, item->data, item->data_len); break;
    case SSE_ITEM_RETRY: put_retry(out, item->retry_ms); break;
    default: abort();
    }
}

/* Feeds a copy of just its size, gone as soon as it is drained. */
static int feed(sse_parser *p, sse__buf *out, const char *text, size_t len)
{
    char           *piece = malloc(len);
    const sse_item *item;
    int             rc;

    check(piece != NULL);
    memcpy(piece, text, len);
    rc = sse_parser_feed(p, piece, len);
    while (rc == 0 && (rc = sse_parser_next(p, &item)) > 0) {
        put_item(out, item);
        rc = 0;
    }
    free(piece);
    return rc;
}

/* Pieces of `step` bytes, then of half that, and so on around. */
static void parse(sse__buf *out, sse__buf *last_id, uint64_t limit,
                  const char *text, size_t len, size_t step)
{
    sse_parser_options opts = {
        .size = sizeof(opts),
        .flags = SSE_PARSER_COMMENTS | SSE_PARSER_RETRY,
        .max_line_bytes = limit,
        .max_event_bytes = limit,
    };
    sse_parser *p;
    const char *id;
    size_t      id_len, piece = step;
    int         rc = 0;

    check(sse_parser_new(&opts, &p) == SSE_OK);
    for (size_t at = 0; at < len && rc == 0; at += piece) {
        piece = piece > 1 ? piece / 2 : step;
        piece = piece < len - at ? piece : len - at;
        rc = feed(p, out, text + at, piece);
    }
    if (rc < 0)
        put(out, "error\n", 6);
    id = sse_parser_last_event_id(p, &id_len);
    put(last_id, id, id_len);
    sse_parser_free(p);
}

static bool same(const sse__buf *a, const sse__buf *b)
{
    return a->len == b->len &&
           (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void compare_with_standard(const char *text, size_t len, size_t step)
{
    sse__buf decoded;
    reader   found, expected;

    sse__buf_init(&decoded, SIZE_MAX);
    init_reader(&found);
    init_reader(&expected);
    check(sse__utf8_repair(&decoded, text, len) == SSE_OK);
    read_stream(&expected, decoded.data, decoded.len);
    parse(&found.out, &found.last_id, 0, text, len, step);
    check(same(&found.out, &expected.out));
    check(same(&found.last_id, &expected.last_id));
    sse__buf_free(&decoded);
    free_reader(&found);
    free_reader(&expected);
}

/* Where a limit strikes does not depend on the cuts. */
static void compare_with_itself(const char *text, size_t len, size_t step)
{
    reader whole, cut;

    init_reader(&whole);
    init_reader(&cut);
    parse(&whole.out, &whole.last_id, 12, text, len, 2 * len);
    parse(&cut.out, &cut.last_id, 12, text, len, step);
    check(same(&whole.out, &cut.out));
    check(same(&whole.last_id, &cut.last_id));
    free_reader(&whole);
    free_reader(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;

    if (size < 2)
        return 0;
    compare_with_standard(text, size - 1, (size_t)data[0] + 1);
    compare_with_itself(text, size - 1, (size_t)data[0] + 1);
    return 0;
}
