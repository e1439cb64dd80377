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

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(adds_rows),
        FAIL_ALLOC_TEST(keeps_odd_data_as_text),
        FAIL_ALLOC_TEST(adds_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
