/* SPDX-License-Identifier: MIT */
/* id_test.c - event ids, cursors, names of streams. */
#include "support.h"

#include <string.h>

#include "id.h"

/* From the test suite of the algorithm's authors. */
static void hashes_as_fnv1a(void **state)
{
    (void)state;
    assert_int_equal(sse__fnv1a(SSE__FNV1A_INIT, "", 0), 0x811c9dc5);
    assert_int_equal(sse__fnv1a(SSE__FNV1A_INIT, "a", 1), 0xe40c292c);
    assert_int_equal(sse__fnv1a(SSE__FNV1A_INIT, "foobar", 6), 0xbf9cf968);
    assert_int_equal(
        sse__fnv1a(sse__fnv1a(SSE__FNV1A_INIT, "foo", 3), "bar", 3),
        0xbf9cf968);
}

static void assert_id(uint64_t seq, uint32_t tag, uint32_t format,
                      const char *text)
{
    sse_event_id id;

    sse__id_make(&id, seq, tag, format);
    assert_int_equal(id.seq, seq);
    assert_int_equal(id.tag, tag);
    assert_string_equal(id.text, text);
    assert_int_equal(id.text_len, strlen(text));
}

static void makes_ids(void **state)
{
    (void)state;
    assert_id(42, 0x9f3a1c2b, SSE_ID_TAGGED, "42-9f3a1c2b");
    assert_id(1, 0, SSE_ID_TAGGED, "1-00000000");
    assert_id(0, 0xffffffff, SSE_ID_TAGGED, "0-ffffffff");
    assert_id(42, 0x9f3a1c2b, SSE_ID_PLAIN, "42");
    assert_id(UINT64_MAX, 0xabcdef01, SSE_ID_TAGGED,
              "18446744073709551615-abcdef01");
}

static int parse(sse__cursor *c, const char *text)
{
    return sse__cursor_parse(c, guarded(text, strlen(text)), strlen(text));
}

static void parses_cursors(void **state)
{
    sse__cursor c;

    (void)state;
    assert_int_equal(sse__cursor_parse(&c, NULL, 0), SSE_OK);
    assert_int_equal(c.kind, SSE__CURSOR_START);
    assert_int_equal(parse(&c, "0"), SSE_OK);
    assert_int_equal(c.kind, SSE__CURSOR_START);
    assert_int_equal(parse(&c, "$"), SSE_OK);
    assert_int_equal(c.kind, SSE__CURSOR_NEW);
    assert_int_equal(parse(&c, "42"), SSE_OK);
    assert_int_equal(c.kind, SSE__CURSOR_AFTER);
    assert_int_equal(c.seq, 42);
    assert_false(c.tagged);
    assert_int_equal(parse(&c, "42-9f3a1c2b"), SSE_OK);
    assert_int_equal(c.seq, 42);
    assert_true(c.tagged);
    assert_int_equal(c.tag, 0x9f3a1c2b);
    assert_int_equal(parse(&c, "100000000000000-00000000"), SSE_OK);
    assert_int_equal(c.seq, 100000000000000);
}

static void refuses_what_is_no_cursor(void **state)
{
    static const char *const bad[] = {
        "x",
        "-",
        "-1",
        "+1",
        " 1",
        "1 ",
        "01",
        "00",
        "0-00000000",
        "$1",
        "$$",
        "1-",
        "1-9f3a1c2",
        "1-9f3a1c2bb",
        "1-9F3A1C2B",
        "1-9f3a1c2g",
        "1_9f3a1c2b",
        "1--9f3a1c2b",
        "1.0",
        "1e3",
        "100000000000001",
        "999999999999999",
        "1000000000000000",
        "18446744073709551617",
        "99999999999999999999999999999999999999",
    };
    sse__cursor c;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse(&c, bad[i]), SSE_ERR_CURSOR);
    assert_int_equal(sse__cursor_parse(&c, "1\0", 2), SSE_ERR_CURSOR);
    assert_int_equal(sse__cursor_parse(&c, "\0", 1), SSE_ERR_CURSOR);
}

static void ids_are_cursors(void **state)
{
    (void)state;
    for (uint64_t seq = 1; seq <= 100000000000000; seq = seq * 7 + 3) {
        sse_event_id id;
        sse__cursor  c;

        sse__id_make(&id, seq, (uint32_t)(seq * 2654435761u), SSE_ID_TAGGED);
        assert_int_equal(sse__cursor_parse(&c, id.text, id.text_len), SSE_OK);
        assert_int_equal(c.seq, seq);
        assert_int_equal(c.tag, id.tag);
    }
}

static void knows_names_of_streams(void **state)
{
    static const char good[] = "azAZ09._~:@+-";
    char              longest[256];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    assert_true(sse__stream_id_valid(good, sizeof(good) - 1));
    assert_true(sse__stream_id_valid("a", 1));
    assert_true(sse__stream_id_valid(longest, 255));
    assert_false(sse__stream_id_valid(longest, 256));
    assert_false(sse__stream_id_valid("", 0));
    for (int c = 0; c < 256; c++) {
        char one = (char)c;

        assert_int_equal(sse__stream_id_valid(&one, 1),
                         (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             (c != 0 && strchr("0123456789._~:@+-", c)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_as_fnv1a),
        cmocka_unit_test(makes_ids),
        cmocka_unit_test(parses_cursors),
        cmocka_unit_test(refuses_what_is_no_cursor),
        cmocka_unit_test(ids_are_cursors),
        cmocka_unit_test(knows_names_of_streams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
