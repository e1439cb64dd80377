/* SPDX-License-Identifier: MIT */
/* fail_alloc.h - runs a test again and again, each time failing another of
 * the library's allocations, until none is left to fail.
 *
 * A call that meets the failure returns SSE_ERR_NOMEM and must have changed
 * nothing: RETRY makes it once more, and the test goes on as if nothing had
 * happened. When the test ends, no memory may be left. */
#ifndef FAIL_ALLOC_H
#define FAIL_ALLOC_H

#include <stdbool.h>

typedef struct fail_alloc_body {
    void (*run)(void);
} fail_alloc_body;

/* An entry for cmocka's list of tests. */
#define FAIL_ALLOC_TEST(f) \
    { \
        .name = #f, .test_func = fail_alloc_run, \
        .initial_state = &(fail_alloc_body) \
        { \
            f \
        } \
    }

void fail_alloc_run(void **state);

/* Whether an allocation is to fail in this run: false in the first one. */
bool fail_alloc_planned(void);

/* Whether to make a call again that returned `rc`. */
bool fail_alloc_again(int rc);
int  fail_alloc_rc(void); /* what the last call returned */

#define RETRY(call) (fail_alloc_again(call) ? (call) : fail_alloc_rc())
#define OK(call) assert_int_equal(RETRY(call), 0)

#endif
