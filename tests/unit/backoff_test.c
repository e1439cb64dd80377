/* SPDX-License-Identifier: MIT */
/* backoff_test.c - growth, jitter, bounds. */
#include "support.h"

#include "backoff.h"

static void doubles_up_to_the_cap(void **state)
{
    static const uint32_t windows[] = {1000,  2000,  4000,  8000,
                                       16000, 30000, 30000, 30000};
    sse__backoff          b;

    (void)state;
    sse__backoff_init(&b, 1000, 30000, 0);
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        sse__backoff copy = b;

        /* Full jitter: from 0 to the window, both included. */
        assert_int_equal(sse__backoff_next(&copy, windows[i]), windows[i]);
        copy = b;
        assert_int_equal(sse__backoff_next(&copy, windows[i] + 1), 0);
        assert_int_equal(sse__backoff_next(&b, 0), 0);
    }
    assert_int_equal(b.attempts, 8);
    sse__backoff_clear(&b);
    assert_int_equal(b.attempts, 0);
    assert_int_equal(sse__backoff_next(&b, 1000), 1000);
    assert_int_equal(sse__backoff_next(&b, 2000), 2000);
}

static void spreads_evenly(void **state)
{
    uint64_t     random = 1;
    unsigned     buckets[4] = {0};
    sse__backoff b;

    (void)state;
    for (int i = 0; i < 40000; i++) {
        random = random * UINT64_C(6364136223846793005) +
                 UINT64_C(1442695040888963407);
        sse__backoff_init(&b, 999, 30000, 0);
        buckets[sse__backoff_next(&b, random >> 16) / 250]++;
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(buckets[i], 9500, 10500);
}

static void never_goes_below_the_floor(void **state)
{
    sse__backoff b;

    (void)state;
    sse__backoff_init(&b, 1000, 30000, 300);
    assert_int_equal(sse__backoff_next(&b, 0), 300);
    assert_int_equal(sse__backoff_next(&b, 299), 300);
    assert_int_equal(sse__backoff_next(&b, 301), 301);
    sse__backoff_init(&b, 1000, 100, 300); /* the cap is harder */
    assert_int_equal(sse__backoff_next(&b, 0), 100);
    assert_int_equal(sse__backoff_next(&b, 50), 100);
}

/* A server that asks for no delay gets one that grows from the floor. */
static void obeys_the_server(void **state)
{
    sse__backoff b;

    (void)state;
    sse__backoff_init(&b, 1000, 30000, 100);
    sse__backoff_set_base(&b, 5000);
    assert_int_equal(sse__backoff_next(&b, 5000), 5000);
    assert_int_equal(sse__backoff_next(&b, 10000), 10000);
    sse__backoff_set_base(&b, UINT32_MAX);
    assert_int_equal(sse__backoff_next(&b, 30000), 30000);
    sse__backoff_clear(&b);
    sse__backoff_set_base(&b, 0);
    assert_int_equal(sse__backoff_next(&b, 100), 100);
    assert_int_equal(sse__backoff_next(&b, 200), 200);
    assert_int_equal(sse__backoff_next(&b, 400), 400);
}

static void survives_any_number_of_failures(void **state)
{
    sse__backoff b;

    (void)state;
    sse__backoff_init(&b, UINT32_MAX, UINT32_MAX, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(sse__backoff_next(&b, UINT32_MAX), UINT32_MAX);
    b.attempts = UINT32_MAX;
    assert_int_equal(sse__backoff_next(&b, 7), 7);
    assert_int_equal(b.attempts, UINT32_MAX);
    sse__backoff_init(&b, 0, 0, 0);
    assert_int_equal(sse__backoff_next(&b, 7), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_up_to_the_cap),
        cmocka_unit_test(spreads_evenly),
        cmocka_unit_test(never_goes_below_the_floor),
        cmocka_unit_test(obeys_the_server),
        cmocka_unit_test(survives_any_number_of_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
