/* SPDX-License-Identifier: MIT */
/* random_test.c - SplitMix64 against the numbers of its reference program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "random.h"

static void gives_the_reference_numbers(void **state)
{
    uint64_t s = 0;

    (void)state;
    assert_true(sse__random_next(&s) == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(sse__random_next(&s) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(sse__random_next(&s) == UINT64_C(0x06c45d188009454f));
}

static void repeats_for_a_seed(void **state)
{
    uint64_t a = 7, b = 7, c = 8;

    (void)state;
    for (int i = 0; i < 100; i++) {
        uint64_t x = sse__random_next(&a);

        assert_true(x == sse__random_next(&b));
        assert_true(x != sse__random_next(&c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_reference_numbers),
        cmocka_unit_test(repeats_for_a_seed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
