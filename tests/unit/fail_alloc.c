/* SPDX-License-Identifier: MIT */
/* fail_alloc.c - an allocator that fails once. */
#include "fail_alloc.h"

#include <stdint.h>
#include <stdlib.h>

#include "sse.h"
#include "support.h"

static unsigned left;    /* allocations that succeed before one fails */
static bool     planned; /* one will fail, if there are so many */
static bool     failed;  /* it has failed */
static bool     pending; /* and nobody has been told yet */
static int      live;    /* blocks not freed */
static int      last_rc;

static bool fail_now(void)
{
    if (failed || left-- > 0)
        return false;
    return failed = pending = true;
}

static void *counted_malloc(size_t size)
{
    void *ptr = fail_now() ? NULL : malloc(size);

    live += ptr != NULL;
    return ptr;
}

static void *counted_realloc(void *ptr, size_t size)
{
    return fail_now() ? NULL : realloc(ptr, size);
}

static void counted_free(void *ptr)
{
    live--;
    free(ptr);
}

bool fail_alloc_again(int rc)
{
    last_rc = rc;
    if (rc != SSE_ERR_NOMEM)
        return false;
    assert_true(pending);
    pending = false;
    return true;
}

bool fail_alloc_planned(void)
{
    return planned;
}

int fail_alloc_rc(void)
{
    return last_rc;
}

void fail_alloc_run(void **state)
{
    const fail_alloc_body *body = *state;
    unsigned               n = UINT32_MAX; /* the first time, none fails */

    do {
        planned = n != UINT32_MAX;
        left = n++;
        failed = pending = false;
        live = 0;
        sse_set_allocator(counted_malloc, counted_realloc, counted_free);
        body->run();
        sse_set_allocator(NULL, NULL, NULL);
        assert_int_equal(live, 0);
        assert_false(pending); /* a failure must be told */
    } while (failed || n == 0);
    planned = false;
}
