/* SPDX-License-Identifier: MIT */
/* rows_test.c - the ring of rows that an owner keeps for its store. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "fail_alloc.h"
#include "rows.h"

#define FAR UINT64_C(100000000000000) /* no stream gets there */

/* The row of event `seq`: its length and its text follow from the number. */
static size_t text_of(uint64_t seq, char *out)
{
    size_t len = (size_t)(seq * 2654435761u % 90);

    for (size_t i = 0; i < len; i++)
        out[i] = (char)(seq * 31 + i);
    return len;
}

static int new_row(uint64_t seq, sse__row **out)
{
    char   text[100];
    size_t len = text_of(seq, text);

    *out = sse__row_new(guarded(text, len), len, (uint32_t)seq * 7);
    return *out ? SSE_OK : SSE_ERR_NOMEM;
}

static void add(sse__rows *rows, size_t count)
{
    sse__row *row;

    OK(sse__rows_reserve(rows, count));
    while (count-- > 0) {
        OK(new_row(rows->next_seq, &row));
        sse__rows_add(rows, row);
    }
}

static void drop(sse__rows *rows, size_t count)
{
    while (count-- > 0)
        sse__rows_drop_first(rows);
}

/* Holds events `first` to `next` - 1, each as it was added. */
static void check(const sse__rows *rows, uint64_t first, uint64_t next)
{
    uint64_t bytes = 0;

    assert_true(rows->first_seq == first && rows->next_seq == next);
    for (uint64_t seq = first; seq < next; seq++) {
        const sse__row *row = sse__rows_get(rows, seq);
        char            text[100];
        size_t          len = text_of(seq, text);

        assert_int_equal(row->len, len);
        assert_int_equal(row->tag, (uint32_t)seq * 7);
        if (len > 0)
            assert_memory_equal(row->text, text, len);
        bytes += len;
    }
    assert_int_equal(rows->bytes, bytes);
}

static void starts_empty(void)
{
    sse__rows rows;

    sse__rows_init(&rows, 1);
    check(&rows, 1, 1);
    sse__rows_free(&rows);
    OK(sse__rows_reserve(&rows, 0));
    check(&rows, 1, 1);
    sse__rows_free(&rows);
}

static void grows(void)
{
    sse__rows rows;

    sse__rows_init(&rows, 1);
    for (int i = 0; i < 70; i++) {
        add(&rows, 1);
        check(&rows, 1, (uint64_t)i + 2);
    }
    add(&rows, 500); /* more than twice what there is */
    check(&rows, 1, 571);
    assert_int_equal(rows.cap, 1024);
    sse__rows_free(&rows);
}

/* As long as no more are kept than before, there is nothing to allocate. */
static void wraps(void)
{
    sse__rows rows;
    uint32_t  cap;

    sse__rows_init(&rows, FAR);
    add(&rows, 10);
    cap = rows.cap;
    for (uint64_t seq = FAR; seq < FAR + 100; seq++) {
        check(&rows, seq, seq + 10);
        drop(&rows, 1);
        add(&rows, 1);
    }
    assert_int_equal(rows.cap, cap);
    sse__rows_free(&rows);
}

/* Those at the end of the ring and those at its start keep their order. */
static void grows_when_wrapped(void)
{
    for (uint64_t at = 0; at <= 16; at++) {
        sse__rows  rows;
        sse__row **ring;

        sse__rows_init(&rows, 1);
        add(&rows, 16);
        assert_int_equal(rows.cap, 16);
        ring = rows.ring;
        drop(&rows, at);
        add(&rows, at);
        assert_ptr_equal(rows.ring, ring); /* there was room */
        check(&rows, 1 + at, 17 + at);
        add(&rows, 1);
        assert_int_equal(rows.cap, 32);
        check(&rows, 1 + at, 18 + at);
        sse__rows_free(&rows);
    }
}

static void goes_on_after_it_was_emptied(void)
{
    sse__rows rows;

    sse__rows_init(&rows, 5);
    add(&rows, 3);
    drop(&rows, 3);
    check(&rows, 8, 8);
    add(&rows, 2);
    check(&rows, 8, 10);
    sse__rows_free(&rows);
    assert_null(rows.ring);
    check(&rows, 10, 10);
    add(&rows, 2); /* as good as new */
    check(&rows, 10, 12);
    sse__rows_free(&rows);
}

static void has_a_ceiling(void **state)
{
    sse__rows rows;

    (void)state;
    sse__rows_init(&rows, 1);
    add(&rows, 1);
    assert_int_equal(sse__rows_reserve(&rows, 1u << 30), SSE_ERR_NOMEM);
    assert_int_equal(sse__rows_reserve(&rows, UINT32_MAX), SSE_ERR_NOMEM);
    check(&rows, 1, 2);
    sse__rows_free(&rows);
}

static void anything_at_random(void **state)
{
    uint32_t random = 3;

    (void)state;
    for (int round = 0; round < 20; round++) {
        sse__rows rows;
        uint64_t  first = round % 2 ? FAR : 1, next = first;

        sse__rows_init(&rows, first);
        for (int step = 0; step < 500; step++) {
            size_t count = (random = random * 1664525 + 1013904223) >> 8;

            if (random >> 31) {
                add(&rows, count %= 30);
                next += count;
            } else {
                count %= next - first + 1;
                drop(&rows, count);
                first += count;
            }
            check(&rows, first, next);
        }
        sse__rows_free(&rows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(starts_empty),
        FAIL_ALLOC_TEST(grows),
        FAIL_ALLOC_TEST(wraps),
        FAIL_ALLOC_TEST(grows_when_wrapped),
        FAIL_ALLOC_TEST(goes_on_after_it_was_emptied),
        cmocka_unit_test(has_a_ceiling),
        cmocka_unit_test(anything_at_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
