/* SPDX-License-Identifier: MIT */
/* dedupe_test.c - a window of ids. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "dedupe.h"
#include "fail_alloc.h"

static bool add(sse__dedupe *d, int number)
{
    char id[16];

    snprintf(id, sizeof(id), "%d", number);
    return sse__dedupe_add(d, guarded(id, strlen(id)), strlen(id));
}

static void finds_what_is_in_the_window(void)
{
    sse__dedupe d;

    OK(sse__dedupe_init(&d, 4));
    for (int i = 0; i < 4; i++)
        assert_false(add(&d, i));
    for (int i = 0; i < 4; i++)
        assert_true(add(&d, i));
    assert_false(add(&d, 4)); /* 0 leaves */
    assert_true(add(&d, 1));
    assert_false(add(&d, 0)); /* 1 leaves */
    assert_false(add(&d, 1));
    assert_true(add(&d, 4));
    sse__dedupe_free(&d);
}

static void an_empty_id_is_no_duplicate(void)
{
    sse__dedupe d;

    OK(sse__dedupe_init(&d, 4));
    assert_false(sse__dedupe_add(&d, "", 0));
    assert_false(sse__dedupe_add(&d, NULL, 0));
    assert_int_equal(d.count, 0);
    sse__dedupe_free(&d);
}

static void clears(void)
{
    sse__dedupe d;

    OK(sse__dedupe_init(&d, 4));
    for (int i = 0; i < 7; i++)
        assert_false(add(&d, i));
    sse__dedupe_clear(&d);
    for (int i = 0; i < 7; i++)
        assert_false(add(&d, i));
    assert_true(add(&d, 6));
    sse__dedupe_free(&d);
}

static void takes_any_size(void)
{
    sse__dedupe d;

    OK(sse__dedupe_init(&d, 5));
    assert_int_equal(d.size, 8);
    sse__dedupe_free(&d);
    OK(sse__dedupe_init(&d, 1));
    assert_false(add(&d, 1));
    assert_true(add(&d, 1));
    assert_false(add(&d, 2));
    assert_false(add(&d, 1));
    sse__dedupe_free(&d);
    OK(sse__dedupe_init(&d, 0));
    assert_false(add(&d, 1));
    assert_false(add(&d, 1));
    sse__dedupe_clear(&d);
    sse__dedupe_free(&d);
    sse__dedupe_free(&d);
}

/* Against a window that is searched from end to end. */
static void agrees_with_a_plain_window(void)
{
    enum { SIZE = 64, ROUNDS = 20000 };
    int         window[SIZE], count = 0, head = 0;
    uint32_t    random = 1;
    sse__dedupe d;

    OK(sse__dedupe_init(&d, SIZE));
    for (int i = 0; i < ROUNDS; i++) {
        int number, seen = 0;

        random = random * 1664525 + 1013904223;
        number = (int)(random >> 16) % 150;
        for (int k = 0; k < count; k++)
            seen |= window[k] == number;
        assert_int_equal(add(&d, number), seen);
        if (seen)
            continue;
        window[head] = number;
        head = (head + 1) % SIZE;
        count += count < SIZE;
    }
    sse__dedupe_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(finds_what_is_in_the_window),
        FAIL_ALLOC_TEST(an_empty_id_is_no_duplicate),
        FAIL_ALLOC_TEST(clears),
        FAIL_ALLOC_TEST(takes_any_size),
        FAIL_ALLOC_TEST(agrees_with_a_plain_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
