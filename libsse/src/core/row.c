/* SPDX-License-Identifier: MIT */
/* row.c - an event as stores keep it. */
#include "row.h"

#include <stdbool.h>

#include "json.h"
#include "scan.h"
#include "sse.h"

#define MAX_MS INT64_C(100000000000000000)

/* The end of the string whose opening quote is in front of `at`. */
static const char *string_end(const char *at, const char *end)
{
    for (;;) {
        at += sse__scan_plain(at, (size_t)(end - at));
        if (*at == '"')
            return at + 1;
        at += 2; /* a backslash, and what it escapes */
    }
}

/* Whether a scanned value has white space outside its strings. */
static bool has_space(const char *at, const char *end)
{
    while (at < end) {
        char c = *at++;

        if (c == '"')
            at = string_end(at, end);
        else if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            return true;
    }
    return false;
}

/* Only containers: a number, too, would come back from a program that reads
 * and writes rows as another text. */
static bool stands_as_is(const char *data, size_t len)
{
    return len > 0 && (data[0] == '{' || data[0] == '[') &&
           sse__json_scan(data, len) == len && !has_space(data, data + len);
}

static int add_data(sse__buf *out, const char *data, size_t len)
{
    return stands_as_is(data, len) ? sse__buf_add(out, data, len)
                                   : sse__json_quote(out, data, len);
}

static int add_row(sse__buf *out, const char *type, size_t type_len,
                   const char *data, size_t data_len, int64_t ts_ms)
{
    int rc = sse__buf_add_str(out, "{\"type\":");

    if (rc == SSE_OK)
        rc = sse__json_quote(out, type, type_len);
    if (rc == SSE_OK)
        rc = sse__buf_add_str(out, ",\"data\":");
    if (rc == SSE_OK)
        rc = add_data(out, data, data_len);
    if (rc == SSE_OK)
        rc = sse__buf_add_str(out, ",\"ts\":");
    if (rc == SSE_OK)
        rc = sse__buf_add_i64(out, ts_ms);
    return rc == SSE_OK ? sse__buf_add(out, "}", 1) : rc;
}

int sse__row_add(sse__buf *out, const char *type, size_t type_len,
                 const char *data, size_t data_len, int64_t ts_ms)
{
    size_t old_len = out->len;
    int    rc = add_row(out, type, type_len, data, data_len, ts_ms);

    if (rc < 0)
        out->len = old_len;
    return rc;
}

static int64_t to_ms(sse__json_slice value)
{
    int64_t ms = 0;

    for (size_t i = 0; i < value.len; i++) {
        if (value.text[i] < '0' || value.text[i] > '9' || ms > MAX_MS)
            return 0;
        ms = ms * 10 + (value.text[i] - '0');
    }
    return ms;
}

int sse__row_parse(sse__row_parts *out, const char *row, size_t len)
{
    const char     *at = row + sse__json_space(row, len), *end = row + len;
    sse__json_slice key, value;
    int             rc;

    *out = (sse__row_parts){0};
    if (at == end || *at++ != '{')
        return SSE_ERR_INVAL;
    while ((rc = sse__json_member(&at, end, &key, &value)) > 0) {
        if (sse__json_is_key(key, "type"))
            out->type = value;
        else if (sse__json_is_key(key, "data"))
            out->data = value;
        else if (sse__json_is_key(key, "ts"))
            out->ts_ms = to_ms(value);
    }
    if (rc < 0 || at + sse__json_space(at, (size_t)(end - at)) != end ||
        out->type.len == 0 || out->type.text[0] != '"')
        return SSE_ERR_INVAL;
    return SSE_OK;
}
