/* SPDX-License-Identifier: MIT */
/* mirror_rows_test.c - rows of a store become the events they were. */
#include "backing.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "fail_alloc.h"

#define WALL INT64_C(1800000000000)

static sse__hub hub;

static void open_hub(const sse_hub_options *opts)
{
    OK(sse__hub_init(&hub, opts, 7, 1000, WALL));
}

static void close_hub(void)
{
    sse__hub_free(&hub);
    assert_true(sse__list_empty(&hub.dirty));
    assert_int_equal(hub.counters.log_bytes, 0);
    assert_int_equal(hub.counters.active, 0);
}

static sse__stream *create(const char *id)
{
    sse__stream *s;

    OK(sse__stream_create(&hub, id, strlen(id), NULL, NULL, &s));
    return s;
}

/* A mirror whose first event will be `seq` + 1. */
static sse__stream *create_mirror(uint64_t seq, uint32_t tag)
{
    sse__stream *s = create("mirror");

    OK(sse__backing_new(s, SSE__MIRROR, seq, tag));
    return s;
}

static int add_row(sse__stream *s, const char *row)
{
    size_t len = strlen(row);

    return sse__mirror_add(s, guarded(row, len), len, 0x1111);
}

/* The whole log in one piece. */
static size_t wire_of(const sse__stream *s, char *out)
{
    uint64_t  seq = s->log.first_seq;
    sse__span spans[4];
    size_t    len = 0;
    uint32_t  n;

    while ((n = sse__log_read(&s->log, &seq, SIZE_MAX, spans, 4)) > 0)
        for (uint32_t i = 0; i < n; len += spans[i++].len) {
            memcpy(out + len, spans[i].data, spans[i].len);
            sse__segment_unpin(spans[i].seg);
        }
    return len;
}

/* ---- Our rows ---- */

/* An event that is appended here and one that is mirrored are the same. */
static void assert_same(const char *type, const char *data, size_t len)
{
    static char     wire[2][200000];
    sse__stream    *owner = create("owner"), *mirror = create_mirror(0, 0);
    sse__new_event  e = {type, strlen(type), data, len};
    const sse__row *row;
    size_t          size[2];

    OK(sse__backing_new(owner, SSE__OWNER, 0, 0));
    OK(sse__stream_append(owner, &e, 1, NULL));
    row = sse__rows_get(&owner->backing->rows, 1);
    OK(sse__mirror_add(mirror, guarded(row->text, row->len), row->len,
                       row->tag));
    size[0] = wire_of(owner, wire[0]);
    size[1] = wire_of(mirror, wire[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(wire[0], wire[1], size[0]);
    sse__stream_remove(owner);
    sse__stream_remove(mirror);
}

static void are_the_owners_events(void)
{
    static const char *const texts[] = {"",
                                        "a",
                                        " a ",
                                        "a\nb",
                                        "a\rb",
                                        "a\r\nb",
                                        "\n",
                                        "\r",
                                        "\r\n",
                                        "\n\r",
                                        "\r\n\r\n",
                                        "a\n",
                                        "\n\n\n",
                                        "42",
                                        "null",
                                        "true",
                                        "-1.5e3",
                                        "\"s\"",
                                        "{}",
                                        "[]",
                                        "{\"a\":[1,\"x y\",{\"b\":null}]}",
                                        "{\"a\": 1}",
                                        "[1,\n2]",
                                        "[\"a\\nb\"]",
                                        "[1]\n",
                                        "{broken",
                                        "[\"\\ud800\"]",
                                        "\\",
                                        "\"",
                                        "\\u0041",
                                        "\t\b\f\x01\x1f\x7f",
                                        "caf\xc3\xa9",
                                        "\xe2\x80\xa8\xe2\x80\xa9\xc2\x85",
                                        "\xf0\x9f\x98\x80\xef\xbf\xbd",
                                        "\xef\xbb\xbf",
                                        "data: x",
                                        ": x",
                                        "id: 7\n\nevent: gap",
                                        "[DONE]"};

    open_hub(NULL);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_same("", texts[i], strlen(texts[i]));
        assert_same("message", texts[i], strlen(texts[i]));
        assert_same("a \"type\" \\ \xc3\xa9\t", texts[i], strlen(texts[i]));
    }
    assert_same("", "a\0b\0", 4);
    assert_same("", "[\0]", 3);
    close_hub();
}

/* Texts of pieces that are special to one format or the other. */
static void are_the_owners_events_at_random(void **state)
{
    static const char *const pieces[] = {"\r",
                                         "\n",
                                         "\r\n",
                                         "",
                                         "\"",
                                         "\\",
                                         "{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         " ",
                                         "\t",
                                         "1",
                                         "\"a\"",
                                         "null",
                                         "\xc3\xa9",
                                         "\xf0\x9f\x98\x80",
                                         "\xe2\x80\xa8",
                                         "\x01",
                                         "data: ",
                                         "id: 1",
                                         "\\u0000",
                                         "{\"a\":1}"};
    uint32_t                 random = 17;

    (void)state;
    open_hub(NULL);
    for (int i = 0; i < 30000; i++) {
        char   data[300];
        size_t len = 0;
        int    count = (int)((random = random * 1664525 + 1013904223) >> 28);

        while (count-- > 0) {
            const char *piece;

            random = random * 1664525 + 1013904223;
            piece = pieces[(random >> 8) % (sizeof(pieces) / sizeof(*pieces))];
            if (*piece == '\0') /* stands for a NUL */
                data[len++] = '\0';
            memcpy(data + len, piece, strlen(piece));
            len += strlen(piece);
        }
        assert_same(i % 2 ? "t" : "", data, len);
    }
    close_hub();
}

static void are_the_owners_events_in_any_size(void **state)
{
    static char big[90000];

    (void)state;
    open_hub(NULL);
    memset(big, '\n', sizeof(big)); /* two bytes each in a row */
    assert_same("", big, 15000);
    memset(big, '\x1f', sizeof(big)); /* six bytes */
    assert_same("", big, sizeof(big));
    memset(big, '[', 600);
    memset(big + 600, ']', 600);
    for (size_t depth = 510; depth < 515; depth++)
        assert_same("", big + 600 - depth, 2 * depth);
    close_hub();
}

/* ---- Others' rows ---- */

/* Other programs write rows in other ways. */
static void reads_foreign_rows(void)
{
    static const struct {
        const char *row, *text;
    } foreign[] = {
        {" { \"ts\" : 5 , \"data\" : [ 1,\r\n 2 ] , \"type\" : \"t\" } ",
         "event: t\ndata: [ 1,\ndata:  2 ]\n\n"},
        {"{\"type\":\"t\"}", "event: t\ndata: null\n\n"},
        {"{\"type\":\"t\",\"data\":null}", "event: t\ndata: null\n\n"},
        {"{\"type\":\"\",\"data\":1.50}", "data: 1.50\n\n"},
        {"{\"type\":\"m\\u0065ssage\",\"data\":\"\\u0061\\/\"}",
         "data: a/\n\n"},
        {"{\"type\":\"t\",\"data\":\"\\ud83d\\ude00\\ud800\"}",
         "event: t\ndata: \xf0\x9f\x98\x80\xef\xbf\xbd\n\n"},
    };

    open_hub(NULL);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++) {
        sse__stream *s = create_mirror(0, 0);
        char         want[200], wire[200];

        OK(add_row(s, foreign[i].row));
        sprintf(want, "id: 1-00001111\n%s", foreign[i].text);
        wire[wire_of(s, wire)] = '\0';
        assert_string_equal(wire, want);
        sse__stream_remove(s);
    }
    close_hub();
}

static void gives_plain_ids(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .id_format = SSE_ID_PLAIN};
    sse__stream    *s;
    char            wire[200];

    (void)state;
    open_hub(&opts);
    s = create_mirror(6, 0);
    OK(add_row(s, "{\"type\":\"message\",\"data\":7}"));
    wire[wire_of(s, wire)] = '\0';
    assert_string_equal(wire, "id: 7\ndata: 7\n\n");
    close_hub();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(are_the_owners_events),
        cmocka_unit_test(are_the_owners_events_at_random),
        cmocka_unit_test(are_the_owners_events_in_any_size),
        FAIL_ALLOC_TEST(reads_foreign_rows),
        cmocka_unit_test(gives_plain_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
