/* SPDX-License-Identifier: MIT */
/* options_test.c - option structs of callers older and newer than us. */
#include "support.h"

#include <string.h>

#include "options.h"

typedef struct options {
    uint32_t size;
    uint32_t flags;
    uint64_t limit;
} options;

static void copies_its_own_age(void **state)
{
    options dst = {0}, src = {sizeof(src), 3, 500};

    (void)state;
    assert_int_equal(sse__options_copy(&dst, sizeof(dst), &src), SSE_OK);
    assert_memory_equal(&dst, &src, sizeof(dst));
}

static void null_means_defaults(void **state)
{
    options dst = {0}, zeros = {0};

    (void)state;
    assert_int_equal(sse__options_copy(&dst, sizeof(dst), NULL), SSE_OK);
    assert_memory_equal(&dst, &zeros, sizeof(dst));
}

static void completes_an_older_one(void **state)
{
    uint32_t       older[2] = {8, 3};
    options        dst = {0};
    const uint32_t just_size[1] = {4};

    (void)state;
    assert_int_equal(
        sse__options_copy(&dst, sizeof(dst), guarded(older, sizeof(older))),
        SSE_OK);
    assert_int_equal(dst.flags, 3);
    assert_int_equal(dst.limit, 0);
    dst = (options){0};
    assert_int_equal(sse__options_copy(&dst, sizeof(dst),
                                       guarded(just_size, sizeof(just_size))),
                     SSE_OK);
    assert_int_equal(dst.flags, 0);
}

static void refuses_what_a_newer_one_asks(void **state)
{
    struct newer {
        options  known;
        uint64_t asked;
    } src = {{sizeof(src), 3, 500}, 0};
    options dst = {0};

    (void)state;
    assert_int_equal(sse__options_copy(&dst, sizeof(dst), &src), SSE_OK);
    assert_int_equal(dst.limit, 500);
    src.asked = 1;
    dst = (options){0};
    assert_int_equal(sse__options_copy(&dst, sizeof(dst), &src), SSE_ERR_INVAL);
    assert_int_equal(dst.limit, 0);
}

static void refuses_a_size_that_is_none(void **state)
{
    options dst = {0};

    (void)state;
    for (uint32_t size = 0; size < 4; size++)
        assert_int_equal(
            sse__options_copy(&dst, sizeof(dst), &(options){.size = size}),
            SSE_ERR_INVAL);
    assert_int_equal(
        sse__options_copy(&dst, sizeof(dst), &(options){.size = UINT32_MAX}),
        SSE_ERR_INVAL);
}

static void chooses_the_standard_for_zero(void **state)
{
    (void)state;
    assert_int_equal(sse__option(0, 7), 7);
    assert_int_equal(sse__option(5, 7), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_its_own_age),
        cmocka_unit_test(null_means_defaults),
        cmocka_unit_test(completes_an_older_one),
        cmocka_unit_test(refuses_what_a_newer_one_asks),
        cmocka_unit_test(refuses_a_size_that_is_none),
        cmocka_unit_test(chooses_the_standard_for_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
