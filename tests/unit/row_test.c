/* SPDX-License-Identifier: MIT */
/* row_test.c - events as stores keep them. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "json.h"
#include "row.h"

static const struct {
    const char *type, *data;
    int64_t     ts_ms;
    const char *row;
} rows[] = {
    {"message", "hello", 1,
     "{\"type\":\"message\",\"data\":\"hello\",\"ts\":1}"},
    {"t", "", 0, "{\"type\":\"t\",\"data\":\"\",\"ts\":0}"},
    {"t", "{\"a\":[1,\"x y\"]}", 5,
     "{\"type\":\"t\",\"data\":{\"a\":[1,\"x y\"]},\"ts\":5}"},
    {"t", "[]", 5, "{\"type\":\"t\",\"data\":[],\"ts\":5}"},
    {"t", "{\"a\": 1}", 5,
     "{\"type\":\"t\",\"data\":\"{\\\"a\\\": 1}\",\"ts\":5}"},
    {"t", "[1,\n2]", 5, "{\"type\":\"t\",\"data\":\"[1,\\n2]\",\"ts\":5}"},
    {"t", "[1]\n", 5, "{\"type\":\"t\",\"data\":\"[1]\\n\",\"ts\":5}"},
    {"t", "[1\r]", 5, "{\"type\":\"t\",\"data\":\"[1\\r]\",\"ts\":5}"},
    {"t", "[1]x", 5, "{\"type\":\"t\",\"data\":\"[1]x\",\"ts\":5}"},
    {"t", "{broken", 5, "{\"type\":\"t\",\"data\":\"{broken\",\"ts\":5}"},
    {"t", "[\"\\\" \\\\\"]", 5,
     "{\"type\":\"t\",\"data\":[\"\\\" \\\\\"],\"ts\":5}"},
    {"t", "[\"\\\\\", 1]", 5,
     "{\"type\":\"t\",\"data\":\"[\\\"\\\\\\\\\\\", 1]\",\"ts\":5}"},
    {"t", "42", 5, "{\"type\":\"t\",\"data\":\"42\",\"ts\":5}"},
    {"t", "null", 5, "{\"type\":\"t\",\"data\":\"null\",\"ts\":5}"},
    {"t", "\"s\"", 5, "{\"type\":\"t\",\"data\":\"\\\"s\\\"\",\"ts\":5}"},
    {"a\"b\\\t", "x", -3,
     "{\"type\":\"a\\\"b\\\\\\t\",\"data\":\"x\",\"ts\":-3}"},
    {"\xc3\xa9", "\xf0\x9f\x98\x80", INT64_MAX,
     "{\"type\":\"\xc3\xa9\",\"data\":\"\xf0\x9f\x98\x80\","
     "\"ts\":9223372036854775807}"},
};

static void adds_rows(void)
{
    sse__buf b;

    sse__buf_init(&b, 1000);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = strlen(rows[i].data);

        b.len = 0;
        OK(sse__row_add(&b, rows[i].type, strlen(rows[i].type),
                        guarded(rows[i].data, len), len, rows[i].ts_ms));
        assert_buf(&b, rows[i].row, strlen(rows[i].row));
        assert_int_equal(sse__json_scan(b.data, b.len), b.len);
    }
    sse__buf_free(&b);
}

/* A value deeper than we scan, and one with a NUL, are text. */
static void keeps_odd_data_as_text(void)
{
    char     deep[1026];
    sse__buf b;

    memset(deep, '[', 513);
    memset(deep + 513, ']', 513);
    sse__buf_init(&b, 2000);
    OK(sse__row_add(&b, "t", 1, deep, sizeof(deep), 5));
    assert_memory_equal(b.data, "{\"type\":\"t\",\"data\":\"[[[", 23);
    b.len = 0;
    OK(sse__row_add(&b, "t", 1, "[\0]", 3, 5));
    assert_buf_str(&b, "{\"type\":\"t\",\"data\":\"[\\u0000]\",\"ts\":5}");
    b.len = 0;
    OK(sse__row_add(&b, NULL, 0, NULL, 0, 5));
    assert_buf_str(&b, "{\"type\":\"\",\"data\":\"\",\"ts\":5}");
    sse__buf_free(&b);
}

static void adds_all_or_nothing(void)
{
    static const char row[] = "{\"type\":\"t\",\"data\":\"x\",\"ts\":5}";
    sse__buf          b;

    for (size_t max = 1; max < sizeof(row); max++) {
        sse__buf_init(&b, max);
        OK(sse__buf_add_str(&b, "<"));
        assert_int_equal(RETRY(sse__row_add(&b, "t", 1, "x", 1, 5)),
                         SSE_ERR_TOO_BIG);
        assert_buf_str(&b, "<");
        sse__buf_free(&b);
    }
}

/* ---- Taking apart ---- */

#define ROW(type, data, ts) \
    "{\"type\":" type ",\"data\":" data ",\"ts\":" ts "}"

/* On a guard page: one byte too far is a crash. */
static int parse(sse__row_parts *out, const char *row, size_t len)
{
    return sse__row_parse(out, guarded(row, len), len);
}

static bool is_slice(sse__json_slice slice, const char *text)
{
    return slice.len == strlen(text) &&
           (slice.len == 0 || memcmp(slice.text, text, slice.len) == 0);
}

static const struct {
    const char *row, *type, *data;
    int64_t     ts_ms;
} foreign[] = {
    {ROW("\"a\"", "\"b\"", "17"), "\"a\"", "\"b\"", 17},
    {"{\"ts\":17,\"data\":{\"b\":1},\"type\":\"a\"}", "\"a\"", "{\"b\":1}", 17},
    {"\t{ \"type\" :\r\n\"a\" , \"data\": [ 1 ] ,\"ts\" : 17 } \n", "\"a\"",
     "[ 1 ]", 17},
    {"{\"v\":{\"type\":1},\"type\":\"a\",\"id\":\"data\",\"data\":1.5e3}",
     "\"a\"", "1.5e3", 0},
    {"{\"\\u0074ype\":\"a\",\"d\\u0061ta\":\"\\n\"}", "\"a\"", "\"\\n\"", 0},
    {"{\"type\":\"a\",\"type\":\"b\",\"data\":1,\"data\":2}", "\"b\"", "2", 0},
    {"{\"type\":\"\"}", "\"\"", "", 0}, /* no data */
    {"{\"type\":\"a\",\"data\":null}", "\"a\"", "null", 0},
    {"{\"Type\":1,\"typ\":1,\"types\":1,\"type\":\"a\"}", "\"a\"", "", 0},
    {ROW("\"a\"", "0", "-1"), "\"a\"", "0", 0}, /* no time of ours */
    {ROW("\"a\"", "0", "1.5"), "\"a\"", "0", 0},
    {ROW("\"a\"", "0", "\"17\""), "\"a\"", "0", 0},
    {ROW("\"a\"", "0", "{}"), "\"a\"", "0", 0},
    {ROW("\"a\"", "0", "100000000000000000"), "\"a\"", "0", 100000000000000000},
    {ROW("\"a\"", "0", "99999999999999999999999"), "\"a\"", "0", 0},
};

static void takes_rows_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        sse__row_parts parts;

        assert_int_equal(parse(&parts, foreign[i].row, strlen(foreign[i].row)),
                         SSE_OK);
        assert_true(is_slice(parts.type, foreign[i].type));
        assert_true(is_slice(parts.data, foreign[i].data));
        assert_int_equal(parts.ts_ms, foreign[i].ts_ms);
    }
}

static void refuses_what_is_no_row(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "\"type\"",
        "[\"type\",\"a\"]",
        "{}",
        "{\"data\":1}",
        "{\"type\":1}",
        "{\"type\":null,\"data\":1}",
        "{\"type\":{\"a\":\"b\"}}",
        "{\"type\":\"a\",\"type\":1}",
        "{\"type\":\"a\"",
        "{\"type\":\"a\",}",
        "{,\"type\":\"a\"}",
        "{\"type\":\"a\" \"data\":1}",
        "{\"type\":\"a\";\"data\":1}",
        "{\"type\" \"a\"}",
        "{type:\"a\"}",
        "{'type':'a'}",
        "{\"type\":\"a\"}}",
        "{\"type\":\"a\"} x",
        "{\"type\":\"a\"}{\"type\":\"a\"}",
        "{\"type\":\"a\",\"data\":nul}",
        "{\"type\":\"a\",\"data\":01}",
        "{\"type\":\"a\nb\"}",
        "{\"type\":\"\xff\"}",
        "{\"type\":\"a\",\"data\":\"\xc3\"}",
        "{\"type\":\"a\",\"data\":\"\\ud83\"}",
        "\xef\xbb\xbf{\"type\":\"a\"}",
    };
    sse__row_parts parts;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (parse(&parts, bad[i], strlen(bad[i])) != SSE_ERR_INVAL)
            fail_msg("took %s", bad[i]);
    assert_int_equal(parse(&parts, "{\"type\":\"a\"}\0", 13), SSE_ERR_INVAL);
}

/* A row that was cut is none, wherever it was. */
static void refuses_the_front_of_a_row(void **state)
{
    sse__row_parts parts;

    (void)state;
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        const char *row = foreign[i].row;
        size_t      end = (size_t)(strrchr(row, '}') - row);

        for (size_t len = 0; len <= end; len++)
            assert_int_equal(parse(&parts, row, len), SSE_ERR_INVAL);
    }
}

static bool says(sse__json_slice slice, const char *text, size_t len)
{
    sse__buf b;
    bool     same;

    if (slice.text[0] != '"')
        return slice.len == len && memcmp(slice.text, text, len) == 0;
    sse__buf_init(&b, 10000);
    OK(sse__json_unquote(&b, slice.text, slice.len));
    same = b.len == len && (len == 0 || memcmp(b.data, text, len) == 0);
    sse__buf_free(&b);
    return same;
}

static void reads_back(const char *type, const char *data, size_t len,
                       int64_t ts_ms)
{
    sse__row_parts parts;
    sse__buf       b;

    sse__buf_init(&b, 10000);
    OK(sse__row_add(&b, type, strlen(type), data, len, ts_ms));
    assert_int_equal(parse(&parts, b.data, b.len), SSE_OK);
    assert_true(says(parts.type, type, strlen(type)));
    assert_true(says(parts.data, data, len));
    assert_int_equal(parts.ts_ms, ts_ms < 0 || ts_ms == INT64_MAX ? 0 : ts_ms);
    sse__buf_free(&b);
}

static void reads_what_it_added(void)
{
    char deep[1026];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        reads_back(rows[i].type, rows[i].data, strlen(rows[i].data),
                   rows[i].ts_ms);
    reads_back("t", "a\0\r\n\x1f", 5, 1800000000000);
    memset(deep, '[', 513);
    memset(deep + 513, ']', 513);
    reads_back("t", deep, 1026, 1);     /* text, being too deep */
    reads_back("t", deep + 1, 1024, 1); /* as deep as a value may be */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(adds_rows),
        FAIL_ALLOC_TEST(keeps_odd_data_as_text),
        FAIL_ALLOC_TEST(adds_all_or_nothing),
        cmocka_unit_test(takes_rows_apart),
        cmocka_unit_test(refuses_what_is_no_row),
        cmocka_unit_test(refuses_the_front_of_a_row),
        FAIL_ALLOC_TEST(reads_what_it_added),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
