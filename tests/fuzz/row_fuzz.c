/* SPDX-License-Identifier: MIT */
/* row_fuzz.c - whatever stands in a store becomes one event, or a gap; and
 * what we put there becomes what it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backing.h"
#include "encoder.h"
#include "row.h"
#include "utf8.h"

#define TAG 0x9f3a1c2bu
#define ID "8-9f3a1c2b" /* of the one event that is added */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

/* ---- Rows of anybody ---- */

static bool inside(sse__json_slice slice, const char *text, size_t len)
{
    return slice.len == 0 ||
           (slice.text >= text && slice.text + slice.len <= text + len &&
            sse__json_scan(slice.text, slice.len) == slice.len);
}

static int parse(const char *text, size_t len)
{
    sse__row_parts parts;
    int            rc = sse__row_parse(&parts, text, len);

    check(rc == SSE_OK || rc == SSE_ERR_INVAL);
    check(parts.ts_ms >= 0);
    check(inside(parts.type, text, len) && inside(parts.data, text, len));
    return rc;
}

/* The bytes of the one event in the log. */
static sse__span wire_of(const sse__stream *s)
{
    uint64_t  seq = s->log.first_seq;
    sse__span span;

    check(s->log.next_seq == seq + 1);
    check(sse__log_read(&s->log, &seq, 1, &span, 1) == 1);
    check(span.len == s->log.bytes);
    return span;
}

/* A reader finds one event, with its id, or one gap without; nothing else. */
static void check_wire(const sse__stream *s, bool is_gap)
{
    sse__span       span = wire_of(s);
    const char     *id = is_gap ? "" : ID;
    sse_parser     *p;
    const sse_item *item;

    check(sse_parser_new(NULL, &p) == SSE_OK);
    check(sse_parser_feed(p, span.data, span.len) == SSE_OK);
    check(sse_parser_next(p, &item) == 1 && item->kind == SSE_ITEM_EVENT);
    check(same(item->id, item->id_len, id, strlen(id)));
    if (is_gap)
        check(same(item->type, item->type_len, "gap", 3));
    check(sse_parser_next(p, &item) == 0);
    sse_parser_free(p);
    sse__segment_unpin(span.seg);
}

static sse__stream *mirror_new(sse__hub *h)
{
    sse__stream *s;

    check(sse__stream_create(h, "s", 1, NULL, NULL, &s) == SSE_OK);
    check(sse__backing_new(s, SSE__MIRROR, 7, 0) == SSE_OK);
    return s;
}

static void mirror(sse__hub *h, const char *text, size_t len)
{
    sse__old_row old = {text, len, TAG};
    sse__stream *s = mirror_new(h);
    int          rc = sse__mirror_add(s, text, len, TAG);

    check(rc == SSE_OK || rc == 1);
    if (parse(text, len) < 0)
        check(rc == 1);
    check_wire(s, rc == 1);
    sse__mirror_skip(s, 8);
    check(sse__mirror_add_old(s, &old, 1, 0) == SSE_OK);
    check_wire(s, rc == 1);
    sse__stream_remove(s);
}

/* ---- Rows of ours ---- */

static void check_text(sse__json_slice value, const char *text, size_t len)
{
    sse__buf back;

    sse__buf_init(&back, SIZE_MAX);
    if (value.text[0] == '"') {
        check(sse__json_unquote(&back, value.text, value.len) == SSE_OK);
        check(same(back.data, back.len, text, len));
    } else {
        check(same(value.text, value.len, text, len));
    }
    sse__buf_free(&back);
}

/* A mirror has the bytes that the owner of the event has. */
static void check_mirrored(sse__hub *h, const sse__buf *row, const char *type,
                           size_t type_len, const char *data, size_t data_len)
{
    sse__stream *s = mirror_new(h);
    sse__span    span;
    sse__buf     wire;

    sse__buf_init(&wire, SIZE_MAX);
    check(sse__encode_event(&wire, type, type_len, data, data_len, ID,
                            strlen(ID)) == SSE_OK);
    check(sse__mirror_add(s, row->data, row->len, TAG) == SSE_OK);
    span = wire_of(s);
    check(same(span.data, span.len, wire.data, wire.len));
    sse__segment_unpin(span.seg);
    sse__buf_free(&wire);
    sse__stream_remove(s);
}

/* The type is what stands in front of the first 0xff, which no UTF-8 has. */
static void store(sse__hub *h, const char *text, size_t len)
{
    const char    *stop = memchr(text, 0xff, len);
    const char    *data = stop ? stop + 1 : text;
    size_t         type_len = stop ? (size_t)(stop - text) : 0;
    size_t         data_len = (size_t)(text + len - data);
    sse__row_parts parts;
    sse__buf       row;

    if (sse__encode_check_name(text, type_len) < 0 ||
        !sse__utf8_valid(data, data_len))
        return;
    sse__buf_init(&row, SIZE_MAX);
    check(sse__row_add(&row, text, type_len, data, data_len, 17) == SSE_OK);
    check(sse__row_parse(&parts, row.data, row.len) == SSE_OK);
    check(parts.ts_ms == 17);
    check_text(parts.type, text, type_len);
    check_text(parts.data, data, data_len);
    check_mirrored(h, &row, text, type_len, data, data_len);
    sse__buf_free(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    sse__hub    hub;

    check(sse__hub_init(&hub, NULL, 1, 1, 1) == SSE_OK);
    mirror(&hub, text, size);
    store(&hub, text, size);
    sse__hub_free(&hub);
    return 0;
}
