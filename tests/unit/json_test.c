/* SPDX-License-Identifier: MIT */
/* json_test.c - scan, unquote, quote, members. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "json.h"

#define FFFD "\xef\xbf\xbd"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static size_t scan(const char *text)
{
    size_t len = strlen(text);

    return sse__json_scan(guarded(text, len), len);
}

static void scans_whole_values(void **state)
{
    static const char *const values[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-12.5e-7",
        "1E+2",
        "9007199254740993",
        "\"\"",
        "\"a\\\"b\"",
        "\"\\u00e9\\ud83d\\ude00\\b\\f\\n\\r\\t\\/\\\\\"",
        "\"\\ud800\"",
        "\"\xc3\xa9\xf0\x9f\x98\x80\x7f\"",
        "\"long enough for more than one look at sixteen bytes\"",
        "[]",
        "{}",
        "[ ]",
        "{\t\r\n }",
        "[1]",
        "[1,\"a\",null,[],{}]",
        "{\"a\":1}",
        "{\"a\":{\"b\":[{\"c\":[1,2]},3]},\"d\":\"e\"}",
        "{ \"a\" : [ 1 , 2 ] , \"b\" : { } }",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        size_t len = strlen(values[i]);
        char   more[128];

        assert_int_equal(scan(values[i]), len);
        memcpy(more, values[i], len);
        memcpy(more + len, " ]", 3); /* it stops behind the first value */
        assert_int_equal(scan(more), len);
    }
}

static void refuses_broken_values(void **state)
{
    static const char *const values[] = {
        "",
        " 1",
        "x",
        "nul",
        "True",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "-x",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\t\"",
        "\"\n\"",
        "\"\x1f\"",
        "\"\xff\"",
        "\"\xc3\"",
        "\"\xed\xa0\x80\"",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1]",
        "{\"a\"}",
        "{,}",
        "]",
        "}",
        ",",
        ":",
        "\"\\",
        "\"\\u",
        "[\"a\":1]",
        "{\"a\",1}",
        "\xef\xbb\xbf[]",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++)
        assert_int_equal(scan(values[i]), 0);
    assert_int_equal(sse__json_scan(NULL, 0), 0);
    assert_int_equal(sse__json_scan("\"a\0b\"", 5), 0);
    assert_int_equal(sse__json_scan("\"\\\0\"", 4), 0);
    assert_int_equal(sse__json_scan("\0", 1), 0);
}

/* What RFC 8259 lets stand at the end is not read. */
static void stops_where_the_value_ends(void **state)
{
    (void)state;
    assert_int_equal(scan("12abc"), 2);
    assert_int_equal(scan("01"), 1);
    assert_int_equal(scan("nullx"), 4);
    assert_int_equal(scan("\"a\"\"b\""), 3);
    assert_int_equal(scan("{}{}"), 2);
}

/* `depth` containers, objects and arrays in turn, around a number. */
static size_t nest(char *text, size_t depth)
{
    size_t at = 0;

    for (size_t i = 0; i < depth; i++) {
        const char *open = i % 2 ? "{\"\":" : "[0,";

        memcpy(text + at, open, strlen(open));
        at += strlen(open);
    }
    text[at++] = '1';
    for (size_t i = depth; i-- > 0;)
        text[at++] = i % 2 ? '}' : ']';
    return at;
}

static void limits_the_depth(void **state)
{
    char   text[5 * 600];
    size_t len;

    (void)state;
    for (size_t depth = 510; depth <= 515; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(sse__json_scan(text, 2 * depth),
                         depth <= 512 ? 2 * depth : 0);
        len = nest(text, depth);
        assert_int_equal(sse__json_scan(text, len), depth <= 512 ? len : 0);
    }
}

static void skips_space(void **state)
{
    (void)state;
    assert_int_equal(sse__json_space(" \t\r\n x", 6), 5);
    assert_int_equal(sse__json_space("x", 1), 0);
    assert_int_equal(sse__json_space("  ", 2), 2);
    assert_int_equal(sse__json_space("\f\v", 2), 0);
    assert_int_equal(sse__json_space("", 0), 0);
}

static const struct {
    const char *quoted, *text;
} strings[] = {
    {"\"\"", ""},
    {"\"plain\"", "plain"},
    {"\"a\\\"b\\\\c\\/d\"", "a\"b\\c/d"},
    {"\"\\b\\f\\n\\r\\t\"", "\b\f\n\r\t"},
    {"\"\\u0041\\u00e9\\u00E9\\u20AC\"", "A\xc3\xa9\xc3\xa9\xe2\x82\xac"},
    {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
     "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
    {"\"\\ud800\\udc00\\ud83d\\ude00\\udbff\\udfff\"",
     "\xf0\x90\x80\x80\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"},
    {"\"\\uABCD\\uEFef\"", "\xea\xaf\x8d\xee\xbf\xaf"},
    {"\"\\udfff\"", FFFD},
    {"\"\\ud83d\"", FFFD},
    {"\"\\ud83dx\\ude00\"", FFFD "x" FFFD},
    {"\"\\ude00\\ud83d\"", FFFD FFFD},
    {"\"\\ud83d\\ud83d\\ude00\"", FFFD "\xf0\x9f\x98\x80"},
    {"\"\\ud83d\\n\"", FFFD "\n"},
    {"\"\\ud83d\\u0041\"", FFFD "A"},
    {"\"\xc3\xa9 raw\"", "\xc3\xa9 raw"},
};

static void unquotes(void)
{
    sse__buf b;

    sse__buf_init(&b, 100);
    for (size_t i = 0; i < COUNT(strings); i++) {
        const char *quoted = strings[i].quoted;
        size_t      len = strlen(quoted);

        assert_int_equal(scan(quoted), len);
        b.len = 0;
        OK(sse__json_unquote(&b, guarded(quoted, len), len));
        assert_buf(&b, strings[i].text, strlen(strings[i].text));
    }
    OK(sse__json_unquote(&b, "\"\\u0000!\"", 9));
    assert_buf_str(&b, "\xc3\xa9 raw\0!");
    sse__buf_free(&b);
}

static void unquotes_all_or_nothing(void)
{
    sse__buf b;

    sse__buf_init(&b, 4);
    OK(sse__buf_add_str(&b, "<"));
    assert_int_equal(RETRY(sse__json_unquote(&b, "\"a\\n\\u20ac\"", 11)),
                     SSE_ERR_TOO_BIG);
    assert_buf_str(&b, "<");
    OK(sse__json_unquote(&b, "\"\\u20ac\"", 8)); /* what is needed fits */
    assert_buf_str(&b, "<\xe2\x82\xac");
    sse__buf_free(&b);
}

static void quotes_like_stringify(void)
{
    sse__buf b;

    sse__buf_init(&b, 200);
    OK(sse__json_quote(&b, NULL, 0));
    assert_buf_str(&b, "\"\"");
    b.len = 0;
    OK(sse__json_quote(&b, "a\"b\\c/d\x7f\xc3\xa9\xe2\x80\xa8", 13));
    assert_buf_str(&b, "\"a\\\"b\\\\c/d\x7f\xc3\xa9\xe2\x80\xa8\"");
    b.len = 0;
    OK(sse__json_quote(&b, "\0\x01\b\t\n\x0b\f\r\x0e\x1f ", 11));
    assert_buf_str(&b,
                   "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u000e\\u001f \"");
    sse__buf_free(&b);
}

static void quotes_all_or_nothing(void)
{
    sse__buf b;

    for (size_t max = 1; max < 9; max++) {
        sse__buf_init(&b, max);
        OK(sse__buf_add_str(&b, "<"));
        assert_int_equal(RETRY(sse__json_quote(&b, "ab\nde", 5)),
                         SSE_ERR_TOO_BIG);
        assert_buf_str(&b, "<");
        sse__buf_free(&b);
    }
}

/* Every byte at every place of a text longer than one look. */
static void quoting_comes_back(void)
{
    sse__buf quoted, text;
    char     plain[40];

    sse__buf_init(&quoted, 1000);
    sse__buf_init(&text, 1000);
    for (unsigned c = 0; c < 128; c++)
        for (size_t at = 0; at < sizeof(plain); at++) {
            memset(plain, 'x', sizeof(plain));
            plain[at] = (char)c;
            quoted.len = text.len = 0;
            OK(sse__json_quote(&quoted, guarded(plain, 40), 40));
            assert_int_equal(sse__json_scan(quoted.data, quoted.len),
                             quoted.len);
            OK(sse__json_unquote(&text, quoted.data, quoted.len));
            assert_buf(&text, plain, sizeof(plain));
        }
    sse__buf_free(&quoted);
    sse__buf_free(&text);
}

static void assert_slice(sse__json_slice slice, const char *text)
{
    assert_int_equal(slice.len, strlen(text));
    assert_memory_equal(slice.text, text, slice.len);
}

static void steps_through_members(void **state)
{
    static const char text[] =
        "{ \"a\" : 1 ,\"b\\u0021\":{\"c\":[]}, \"a\":\"}\" } rest";
    const char     *at = text + 1, *end = text + sizeof(text) - 1;
    sse__json_slice key, value;

    (void)state;
    assert_int_equal(sse__json_member(&at, end, &key, &value), 1);
    assert_slice(key, "\"a\"");
    assert_slice(value, "1");
    assert_int_equal(sse__json_member(&at, end, &key, &value), 1);
    assert_slice(key, "\"b\\u0021\"");
    assert_slice(value, "{\"c\":[]}");
    assert_int_equal(sse__json_member(&at, end, &key, &value), 1);
    assert_slice(value, "\"}\"");
    assert_int_equal(sse__json_member(&at, end, &key, &value), 0);
    assert_string_equal(at, " rest");
}

static void refuses_broken_members(void **state)
{
    static const char *const bad[] = {
        "{",         "{ ",         "{,}",
        "{:1}",      "{\"\\:1}",   "{\"\xff\":1}",
        "{a:1}",     "{\"a\"}",    "{\"a\":}",
        "{\"a\":x",  "{\"a\":1",   "{\"a\":1 ",
        "{\"a\":1,", "{\"a\":1,}", "{\"a\":1 \"b\":2}",
        "{\"a\":1]", "{1:2}",      "{\"a\":1,,\"b\":2}",
        "{\"a\":[}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        size_t          len = strlen(bad[i]);
        const char     *text = guarded(bad[i], len), *at = text + 1;
        sse__json_slice key, value;
        int             rc;

        while ((rc = sse__json_member(&at, text + len, &key, &value)) > 0)
            ;
        assert_int_equal(rc, SSE_ERR_INVAL);
    }
}

static bool is_key(const char *key, const char *name)
{
    return sse__json_is_key((sse__json_slice){key, strlen(key)}, name);
}

static void finds_unpaired_surrogates(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(strings); i++) {
        const char *quoted = strings[i].quoted;
        bool        lone = strstr(strings[i].text, FFFD) != NULL;

        assert_int_equal(sse__json_is_text(quoted, strlen(quoted)), !lone);
    }
    assert_true(sse__json_is_text("\"\\ufffd\"", 8));
    assert_true(sse__json_is_text("\"" FFFD "\"", 5));
}

static void compares_keys(void **state)
{
    (void)state;
    assert_true(is_key("\"data\"", "data"));
    assert_true(is_key("\"d\\u0061ta\"", "data"));
    assert_true(is_key("\"\\u00e9\"", "\xc3\xa9"));
    assert_true(is_key("\"\xc3\xa9\"", "\xc3\xa9"));
    assert_true(is_key("\"\"", ""));
    assert_false(is_key("\"dat\"", "data"));
    assert_false(is_key("\"data2\"", "data"));
    assert_false(is_key("\"data\\u0000\"", "data"));
    assert_false(is_key("\"\"", "data"));
    assert_false(is_key("\"Data\"", "data"));
    assert_false(is_key("\"\\u00e9\"", "\xc3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans_whole_values),
        cmocka_unit_test(refuses_broken_values),
        cmocka_unit_test(stops_where_the_value_ends),
        cmocka_unit_test(limits_the_depth),
        cmocka_unit_test(skips_space),
        FAIL_ALLOC_TEST(unquotes),
        FAIL_ALLOC_TEST(unquotes_all_or_nothing),
        FAIL_ALLOC_TEST(quotes_like_stringify),
        FAIL_ALLOC_TEST(quotes_all_or_nothing),
        FAIL_ALLOC_TEST(quoting_comes_back),
        cmocka_unit_test(steps_through_members),
        cmocka_unit_test(refuses_broken_members),
        cmocka_unit_test(finds_unpaired_surrogates),
        cmocka_unit_test(compares_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
