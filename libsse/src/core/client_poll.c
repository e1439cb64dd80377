/* SPDX-License-Identifier: MIT */
/* client_poll.c - the answer of a long poll, as the body of an event stream
 * with the same events. */
#include <string.h>

#include "client.h"
#include "encoder.h"
#include "json.h"
#include "utf8.h"

/* One field of an event; a value that is no string stays as it is. */
static int add_value(sse__buf *text, sse__json_slice value)
{
    if (value.len == 4 && memcmp(value.text, "null", 4) == 0)
        return SSE_OK;
    if (value.text[0] == '"')
        return sse__json_unquote(text, value.text, value.len);
    return sse__buf_add(text, value.text, value.len);
}

/* Collects id, type and data end to end in `text`; `ends` says where each
 * ends. */
static int collect(sse__buf *text, size_t ends[3], sse__json_slice object)
{
    static const char *const names[] = {"id", "type", "data"};
    const char              *end = object.text + object.len;

    text->len = 0;
    if (object.text[0] != '{')
        return SSE_ERR_INVAL;
    for (int i = 0; i < 3; i++) {
        const char     *at = object.text + 1;
        sse__json_slice key, value;
        size_t          start = text->len;
        int             rc;

        while ((rc = sse__json_member(&at, end, &key, &value)) > 0) {
            if (!sse__json_is_key(key, names[i]))
                continue;
            text->len = start; /* the last one of a name counts */
            rc = add_value(text, value);
            if (rc < 0)
                return rc;
        }
        if (rc < 0)
            return rc;
        ends[i] = text->len;
    }
    return SSE_OK;
}

static int add_event(sse__buf *out, sse__buf *text, sse__json_slice object)
{
    size_t      ends[3];
    int         rc = collect(text, ends, object);
    const char *id = text->len > 0 ? text->data : "";

    if (rc < 0)
        return rc;
    if (sse__encode_check_name(id, ends[1]) < 0)
        return SSE_ERR_INVAL; /* id and type in one go */
    return sse__encode_event(out, id + ends[0], ends[1] - ends[0], id + ends[1],
                             ends[2] - ends[1], id, ends[0]);
}

static int add_events(sse__buf *out, sse__buf *text, sse__json_slice array)
{
    const char *at = array.text + 1, *end = array.text + array.len - 1;

    if (array.text[0] != '[')
        return SSE_ERR_INVAL;
    for (;;) {
        sse__json_slice object;
        int             rc;

        while (at < end && (*at == ',' || sse__json_space(at, 1) > 0))
            at++; /* the array was scanned before */
        if (at == end)
            return SSE_OK;
        object = (sse__json_slice){at, sse__json_scan(at, (size_t)(end - at))};
        rc = add_event(out, text, object);
        if (rc < 0)
            return rc;
        at += object.len;
    }
}

/* A block that only moves the cursor. */
static int add_cursor(sse__buf *out, sse__buf *text, sse__json_slice value)
{
    int rc;

    text->len = 0;
    rc = add_value(text, value);
    if (rc < 0 || text->len == 0)
        return rc;
    if (sse__encode_check_name(text->data, text->len) < 0)
        return SSE_ERR_INVAL;
    rc = sse__buf_add(out, "id: ", 4);
    if (rc == SSE_OK)
        rc = sse__buf_add(out, text->data, text->len);
    return rc == SSE_OK ? sse__buf_add(out, "\n\n", 2) : rc;
}

static int read_answer(sse__buf *out, sse__buf *text, const char *answer,
                       size_t len)
{
    const char     *at = answer, *end = answer + len;
    sse__json_slice key, value, cursor = {"null", 4};
    bool            found = false;
    int             rc;

    at += sse__json_space(at, len);
    if (at == end || *at++ != '{')
        return SSE_ERR_INVAL;
    while ((rc = sse__json_member(&at, end, &key, &value)) > 0) {
        if (sse__json_is_key(key, "lastEventId")) {
            cursor = value;
        } else if (sse__json_is_key(key, "events") && !found) {
            found = true;
            rc = add_events(out, text, value);
        }
        if (rc < 0)
            return rc;
    }
    if (rc < 0 || !found)
        return SSE_ERR_INVAL;
    return add_cursor(out, text, cursor);
}

int sse__poll_read(sse__buf *out, const char *answer, size_t len)
{
    size_t   old_len = out->len;
    sse__buf text;
    int      rc;

    sse__buf_init(&text, SIZE_MAX);
    rc = len > 0 ? read_answer(out, &text, answer, len) : SSE_ERR_INVAL;
    sse__buf_free(&text);
    if (rc < 0)
        out->len = old_len;
    return rc == SSE_OK || rc == SSE_ERR_NOMEM ? rc : SSE_ERR_INVAL;
}
