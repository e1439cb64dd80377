/* SPDX-License-Identifier: MIT */
/* encoder_test.c - blocks as they go on the wire. */
#include "support.h"

#include <string.h>

#include "buffer.h"
#include "encoder.h"
#include "fail_alloc.h"

static const struct {
    const char *type, *data, *id, *wire;
} events[] = {
    {"", "hello", "", "data: hello\n\n"},
    {"message", "hello", "1", "id: 1\ndata: hello\n\n"},
    {"Message", "x", "", "event: Message\ndata: x\n\n"},
    {"token", "x", "42-9f3a1c2b", "id: 42-9f3a1c2b\nevent: token\ndata: x\n\n"},
    {"", "", "", "data: \n\n"},
    {"", "\n", "", "data: \ndata: \n\n"},
    {"", "a\nb\rc\r\nd", "", "data: a\ndata: b\ndata: c\ndata: d\n\n"},
    {"", "a\n\rb", "", "data: a\ndata: \ndata: b\n\n"},
    {"", "a\r", "", "data: a\ndata: \n\n"},
    {"", "a\r\n", "", "data: a\ndata: \n\n"},
    {"", " a", "", "data:  a\n\n"},
    {"", "id: 7\n\nevent: x", "", "data: id: 7\ndata: \ndata: event: x\n\n"},
    {"\xe2\x80\xa6", "\xf0\x9f\x98\x80", "\xc3\xa9",
     "id: \xc3\xa9\nevent: \xe2\x80\xa6\ndata: \xf0\x9f\x98\x80\n\n"},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int encode(sse_buffer *b, const char *type, const char *data,
                  const char *id)
{
    return sse_encode_event(b, type, strlen(type), data, strlen(data), id,
                            strlen(id));
}

static void encodes_events(void)
{
    sse_buffer *b;

    OK(sse_buffer_new(0, &b));
    for (size_t i = 0; i < COUNT(events); i++) {
        sse_buffer_clear(b);
        OK(encode(b, events[i].type, events[i].data, events[i].id));
        assert_buf(&b->buf, events[i].wire, strlen(events[i].wire));
    }
    sse_buffer_free(b);
}

static void strings_need_no_end(void)
{
    sse__buf b;

    sse__buf_init(&b, 100);
    OK(sse__encode_event(&b, NULL, 0, guarded("ab\nc\r", 5), 5, NULL, 0));
    assert_buf_str(&b, "data: ab\ndata: c\ndata: \n\n");
    b.len = 0;
    OK(sse__encode_event(&b, NULL, 0, NULL, 0, NULL, 0));
    assert_buf_str(&b, "data: \n\n");
    b.len = 0;
    OK(sse__encode_event(&b, NULL, 0, "a\0b", 3, NULL, 0));
    assert_buf_str(&b, "data: a\0b\n\n");
    sse__buf_free(&b);
}

static void encodes_comments(void)
{
    sse_buffer *b;

    OK(sse_buffer_new(0, &b));
    OK(sse_encode_comment(b, "heartbeat", 9));
    assert_buf_str(&b->buf, ": heartbeat\n\n");
    sse_buffer_clear(b);
    OK(sse_encode_comment(b, "a\r\ndata: b\n", 11));
    assert_buf_str(&b->buf, ": a\n: data: b\n: \n\n");
    sse_buffer_clear(b);
    OK(sse_encode_comment(b, NULL, 0));
    assert_buf_str(&b->buf, ": \n\n");
    sse_buffer_free(b);
}

static void encodes_retry(void)
{
    sse_buffer *b;

    OK(sse_buffer_new(0, &b));
    OK(sse_encode_retry(b, 0));
    OK(sse_encode_retry(b, UINT32_MAX));
    assert_buf_str(&b->buf, "retry: 0\n\nretry: 4294967295\n\n");
    sse_buffer_free(b);
}

static void refuses_what_would_inject(void)
{
    static const char *const bad[] = {"a\nb", "a\rb", "\n", "a\r\n"};
    sse_buffer              *b;

    OK(sse_buffer_new(0, &b));
    OK(encode(b, "", "before", ""));
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(encode(b, bad[i], "x", "1"), SSE_ERR_INVAL);
        assert_int_equal(encode(b, "t", "x", bad[i]), SSE_ERR_INVAL);
    }
    assert_int_equal(sse_encode_event(b, "a\0", 2, "x", 1, "", 0),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_encode_event(b, "", 0, "x", 1, "\0", 1),
                     SSE_ERR_INVAL);
    assert_buf_str(&b->buf, "data: before\n\n");
    sse_buffer_free(b);
}

static void refuses_what_is_not_utf8(void)
{
    sse_buffer *b;

    OK(sse_buffer_new(0, &b));
    assert_int_equal(encode(b, "\xff", "x", ""), SSE_ERR_UTF8);
    assert_int_equal(encode(b, "t", "\xe2\x80", ""), SSE_ERR_UTF8);
    assert_int_equal(encode(b, "t", "x", "\xc0\x80"), SSE_ERR_UTF8);
    assert_int_equal(sse_encode_comment(b, "\xed\xa0\x80", 3), SSE_ERR_UTF8);
    assert_int_equal(sse_buffer_size(b), 0);
    sse_buffer_free(b);
}

/* With every ceiling below what is needed, nothing is added. */
static void a_full_buffer_stays_as_it_was(void)
{
    static const char wire[] = "id: 1\nevent: t\ndata: a\ndata: b\n\n";
    sse__buf          b;

    for (size_t max = 2; max < sizeof(wire) + 1; max++) {
        sse__buf_init(&b, max);
        OK(sse__buf_add_str(&b, "<<"));
        assert_int_equal(
            RETRY(sse__encode_event(&b, "t", 1, "a\nb", 3, "1", 1)),
            SSE_ERR_TOO_BIG);
        assert_int_equal(RETRY(sse__encode_comment(
                             &b, "a comment, longer than the buffer", 33)),
                         SSE_ERR_TOO_BIG);
        assert_buf_str(&b, "<<");
        sse__buf_free(&b);
    }
    sse__buf_init(&b, 9);
    assert_int_equal(RETRY(sse__encode_retry(&b, 5)), SSE_ERR_TOO_BIG);
    assert_int_equal(RETRY(sse__encode_retry(&b, 55555)), SSE_ERR_TOO_BIG);
    assert_int_equal(b.len, 0);
    sse__buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(encodes_events),
        FAIL_ALLOC_TEST(strings_need_no_end),
        FAIL_ALLOC_TEST(encodes_comments),
        FAIL_ALLOC_TEST(encodes_retry),
        FAIL_ALLOC_TEST(refuses_what_would_inject),
        FAIL_ALLOC_TEST(refuses_what_is_not_utf8),
        FAIL_ALLOC_TEST(a_full_buffer_stays_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
