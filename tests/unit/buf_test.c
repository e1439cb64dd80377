/* SPDX-License-Identifier: MIT */
/* buf_test.c - buffers, inside and public, and the allocator hook. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "fail_alloc.h"

static void adds(void)
{
    sse__buf b;

    sse__buf_init(&b, 1000);
    assert_null(b.data);
    OK(sse__buf_add(&b, NULL, 0));
    assert_null(b.data);
    OK(sse__buf_add(&b, "abc", 3));
    OK(sse__buf_add_str(&b, "-"));
    OK(sse__buf_add_u64(&b, 0));
    OK(sse__buf_add_u64(&b, UINT64_MAX));
    OK(sse__buf_add_str(&b, ","));
    OK(sse__buf_add_i64(&b, INT64_MIN));
    OK(sse__buf_add_i64(&b, 7));
    assert_buf_str(&b, "abc-018446744073709551615,-92233720368547758087");
    sse__buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.max, 1000);
}

static void grows(void)
{
    char     text[1000];
    sse__buf b;

    sse__buf_init(&b, sizeof(text));
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('a' + i % 26);
        OK(sse__buf_add(&b, &text[i], 1));
        assert_true(b.cap <= b.max);
    }
    assert_buf(&b, text, sizeof(text));
    sse__buf_free(&b);
}

static void stops_at_its_ceiling(void)
{
    sse__buf b;

    sse__buf_init(&b, 5);
    OK(sse__buf_add_str(&b, "abc"));
    assert_int_equal(sse__buf_add_str(&b, "def"), SSE_ERR_TOO_BIG);
    assert_int_equal(sse__buf_add_u64(&b, 123), SSE_ERR_TOO_BIG);
    assert_int_equal(sse__buf_add_i64(&b, -12), SSE_ERR_TOO_BIG);
    assert_int_equal(sse__buf_reserve(&b, SIZE_MAX), SSE_ERR_TOO_BIG);
    assert_buf_str(&b, "abc");
    OK(sse__buf_add_i64(&b, -1));
    assert_buf_str(&b, "abc-1");
    assert_int_equal(b.cap, 5);
    sse__buf_free(&b);

    sse__buf_init(&b, SIZE_MAX);
    OK(sse__buf_reserve(&b, 100));
    assert_true(b.cap >= 100);
    sse__buf_free(&b);
}

static void drops_off_the_front(void)
{
    sse__buf b;

    sse__buf_init(&b, 100);
    sse__buf_drop(&b, 0);
    OK(sse__buf_add_str(&b, "abcdef"));
    sse__buf_drop(&b, 2);
    assert_buf_str(&b, "cdef");
    sse__buf_drop(&b, 4);
    assert_int_equal(b.len, 0);
    sse__buf_free(&b);
}

static void public_buffer(void)
{
    sse_buffer *b;

    OK(sse_buffer_new(0, &b));
    assert_string_equal(sse_buffer_data(b), "");
    assert_int_equal(sse_buffer_size(b), 0);
    OK(sse_encode_retry(b, 5));
    assert_int_equal(sse_buffer_size(b), 10);
    assert_memory_equal(sse_buffer_data(b), "retry: 5\n\n", 10);
    sse_buffer_clear(b);
    assert_int_equal(sse_buffer_size(b), 0);
    sse_buffer_free(b);
    sse_buffer_free(NULL);
}

static void public_buffer_fails_clean(void)
{
    sse_buffer *b = (sse_buffer *)1;

    if (fail_alloc_again(sse_buffer_new(10, &b))) {
        assert_null(b);
        return;
    }
    OK(sse_encode_retry(b, 5));
    assert_int_equal(sse_encode_retry(b, 5), SSE_ERR_TOO_BIG);
    assert_int_equal(sse_buffer_size(b), 10);
    sse_buffer_free(b);
}

/* `call` gives memory; a second time, if the first one failed. */
#define GET(ptr, call) \
    ((ptr) = (call), (ptr) || (fail_alloc_again(SSE_ERR_NOMEM), (ptr) = (call)))

static void memory(void)
{
    char *ptr, *more, *copy;

    assert_true(GET(ptr, sse__calloc(3, 5)));
    for (int i = 0; i < 15; i++)
        assert_int_equal(ptr[i], 0);
    memcpy(ptr, "0123456789abcd", 15);
    assert_true(GET(more, sse__realloc(ptr, 100)));
    assert_string_equal(more, "0123456789abcd");
    assert_true(GET(copy, sse__memdup("ab\0c", 4)));
    assert_memory_equal(copy, "ab\0c\0", 5);
    sse__free(copy);
    assert_true(GET(copy, sse__memdup(NULL, 0)));
    assert_string_equal(copy, "");
    sse__free(copy);
    sse__free(more);
    assert_true(GET(ptr, sse__malloc(1)));
    sse__free(ptr);
    sse__free(NULL);
}

static void allocator_is_whole(void **state)
{
    (void)state;
    assert_int_equal(sse_set_allocator(malloc, NULL, free), SSE_ERR_INVAL);
    assert_int_equal(sse_set_allocator(NULL, realloc, NULL), SSE_ERR_INVAL);
    assert_int_equal(sse_set_allocator(malloc, realloc, free), SSE_OK);
    assert_int_equal(sse_set_allocator(NULL, NULL, NULL), SSE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(adds),
        FAIL_ALLOC_TEST(grows),
        FAIL_ALLOC_TEST(stops_at_its_ceiling),
        FAIL_ALLOC_TEST(drops_off_the_front),
        FAIL_ALLOC_TEST(public_buffer),
        FAIL_ALLOC_TEST(public_buffer_fails_clean),
        FAIL_ALLOC_TEST(memory),
        cmocka_unit_test(allocator_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
