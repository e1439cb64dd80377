/* SPDX-License-Identifier: MIT */
/* json_fuzz.c - scanning, quoting and rows hold together. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "row.h"
#include "sse.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool same(const sse__buf *b, const char *text, size_t len)
{
    return b->len == len && (len == 0 || memcmp(b->data, text, len) == 0);
}

/* Goes down into all objects. */
static void step_through(const char *text, size_t len)
{
    const char     *at = text + 1;
    sse__json_slice key, value;
    int             rc;

    if (text[0] != '{')
        return;
    while ((rc = sse__json_member(&at, text + len, &key, &value)) > 0) {
        check(sse__json_scan(key.text, key.len) == key.len);
        check(sse__json_scan(value.text, value.len) == value.len);
        sse__json_is_key(key, "data");
        step_through(value.text, value.len);
    }
    check(rc == 0 && at == text + len);
}

static void scan(const char *text, size_t len)
{
    size_t   value = sse__json_scan(text, len);
    sse__buf b;

    if (value == 0)
        return;
    check(value <= len);
    check(sse__json_scan(text, value) == value);
    step_through(text, value);
    sse__buf_init(&b, SIZE_MAX);
    if (text[0] == '"') {
        check(sse__json_unquote(&b, text, value) == SSE_OK);
        check(b.len <= value - 2 && sse__utf8_valid(b.data, b.len));
    }
    sse__buf_free(&b);
}

static void quote(const char *text, size_t len)
{
    sse__buf quoted, back;

    sse__buf_init(&quoted, SIZE_MAX);
    sse__buf_init(&back, SIZE_MAX);
    check(sse__json_quote(&quoted, text, len) == SSE_OK);
    check(sse__json_scan(quoted.data, quoted.len) == quoted.len);
    check(sse__json_unquote(&back, quoted.data, quoted.len) == SSE_OK);
    check(same(&back, text, len));
    sse__buf_free(&quoted);
    sse__buf_free(&back);
}

/* The data comes out of its row as it went in. */
static void check_data(sse__json_slice value, const char *text, size_t len)
{
    sse__buf back;

    sse__buf_init(&back, SIZE_MAX);
    if (value.text[0] == '"') {
        check(sse__json_unquote(&back, value.text, value.len) == SSE_OK);
        check(same(&back, text, len));
    } else {
        check(value.len == len && memcmp(value.text, text, len) == 0);
    }
    sse__buf_free(&back);
}

static void store(const char *text, size_t len)
{
    sse__json_slice key, value;
    const char     *at;
    sse__buf        row;

    sse__buf_init(&row, SIZE_MAX);
    check(sse__row_add(&row, "t", 1, text, len, -1) == SSE_OK);
    check(sse__json_scan(row.data, row.len) == row.len ||
          sse__json_scan(text, len) == len); /* it may be too deep now */
    check(!memchr(row.data, '\n', row.len) && !memchr(row.data, '\r', row.len));
    at = row.data + 1;
    check(sse__json_member(&at, row.data + row.len, &key, &value) == 1);
    check(sse__json_is_key(key, "type"));
    check(sse__json_member(&at, row.data + row.len, &key, &value) == 1);
    check(sse__json_is_key(key, "data"));
    check_data(value, text, len);
    sse__buf_free(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    check(sse__json_space(text, size) <= size);
    scan(text, size);
    if (sse__utf8_valid(text, size)) {
        quote(text, size);
        store(text, size);
    }
    return 0;
}
