/* SPDX-License-Identifier: MIT */
/* log_prepend_test.c - logs that begin elsewhere, and grow at their front. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "log_support.h"

#define HOUR 3600000u

/* ---- Other beginnings ---- */

static void assert_tag(const sse__log *log, uint64_t seq, uint32_t want)
{
    uint32_t tag;

    assert_true(sse__log_get_tag(log, seq, &tag));
    assert_int_equal(tag, want);
}

static void seeks(void)
{
    sse__log  log;
    sse__span spans[4];
    uint64_t  seq = 101;
    uint32_t  tag;

    sse__log_init(&log, 3, 1u << 20, HOUR);
    sse__log_seek(&log, 100, 5);
    assert_int_equal(log.first_seq, 101);
    assert_int_equal(log.next_seq, 101);
    assert_tag(&log, 100, 5);
    assert_false(sse__log_get_tag(&log, 99, &tag));
    assert_false(sse__log_get_tag(&log, 101, &tag));
    assert_int_equal(sse__log_read(&log, &seq, 100, spans, 4), 0);
    log_fill_many(&log, 3, 10);
    assert_tag(&log, 100, 5);
    for (seq = 101; seq <= 103; seq++)
        assert_tag(&log, seq, (uint32_t)seq * 7);
    seq = 101;
    assert_int_equal(sse__log_read(&log, &seq, 100, spans, 4), 1);
    assert_int_equal(seq, 104);
    assert_int_equal(spans[0].seg->first_seq, 101);
    log_unpin(spans, 1);
    log_fill_many(&log, 1, 10);
    assert_false(sse__log_get_tag(&log, 100, &tag));
    sse__log_free(&log);
}

/* Where the tag in front of the first event is not known, none is given; the
 * first event that is dropped makes it known. */
static void knows_not_every_base(void **state)
{
    sse__log log;
    uint32_t tag;

    (void)state;
    sse__log_init(&log, 2, 1u << 20, HOUR);
    sse__log_seek(&log, 100, 0);
    log.base_known = false;
    assert_false(sse__log_get_tag(&log, 100, &tag));
    log_fill_many(&log, 2, 10);
    assert_false(sse__log_get_tag(&log, 100, &tag));
    log_fill_many(&log, 1, 10);
    assert_tag(&log, 101, 707);
    log.base_known = false;
    sse__log_clear(&log);
    assert_tag(&log, 103, 721); /* of those it had */
    log.base_known = false;
    sse__log_seek(&log, 50, 5);
    assert_tag(&log, 50, 5); /* said to be known */
    sse__log_seek(&log, 0, 5);
    assert_false(sse__log_get_tag(&log, 0, &tag)); /* there is no event 0 */
    sse__log_free(&log);
}

/* The events behind a seek are not taken for those that stood in front of it,
 * in whatever state the log was. */
static void seeks_from_anywhere(void)
{
    for (int i = 0; i < 4; i++) {
        sse__log  log;
        sse__span spans[4];
        uint64_t  seq = 8;

        sse__log_init(&log, 1000, 1u << 20, HOUR);
        if (i == 1)
            OK(sse__log_reserve(&log, 1, 10));
        if (i == 2)
            log_fill_many(&log, 300, 1000);
        if (i == 3)
            log_fill_many(&log, 3, 10);
        if (i == 2)
            sse__log_clear(&log);
        sse__log_trim_age(&log, INT64_MAX, 0);
        assert_int_equal(log.bytes, 0);
        sse__log_seek(&log, 7, 1);
        log_fill_many(&log, 20, 10);
        assert_int_equal(sse__log_read(&log, &seq, 10, spans, 4), 1);
        assert_int_equal(spans[0].data[0], (char)(8 * 31));
        assert_ptr_equal(spans[0].data, spans[0].seg->data);
        log_unpin(spans, 1);
        assert_int_equal(log.bytes, 200);
        sse__log_free(&log);
    }
}

static void pins_outlive_a_clear(void **state)
{
    sse__log  log;
    sse__span spans[4];
    uint64_t  seq = 1;
    uint32_t  n;
    char      before[3000];

    (void)state;
    sse__log_init(&log, 10, 1u << 20, HOUR);
    log_fill_many(&log, 3, 1000);
    n = sse__log_read(&log, &seq, SIZE_MAX, spans, 4);
    log_copy_of(before, spans, n);
    sse__log_clear(&log);
    sse__log_seek(&log, 500, 1);
    log_fill_many(&log, 30, 1000);
    log_assert_copy(before, spans, n);
    log_unpin(spans, n);
    sse__log_free(&log);
}

/* ---- Older events in front ---- */

/* A log of `count` events of `len` bytes from `first` on. */
static void make_log(sse__log *log, uint64_t first, int count, size_t len)
{
    sse__log_init(log, 1000, 1u << 20, HOUR);
    sse__log_seek(log, first - 1, (uint32_t)(first - 1) * 7);
    log_fill_many(log, count, len);
}

/* Holds `first` to `next` - 1, each of `len` bytes; none is cut, each has its
 * tag, as has the one in front of them. */
static void check_log(const sse__log *log, uint64_t first, uint64_t next,
                      size_t len)
{
    assert_true(log->first_seq == first && log->next_seq == next);
    assert_int_equal(log->bytes, (next - first) * len);
    for (uint64_t seq = first - 1; seq < next; seq++)
        if (seq > 0)
            assert_tag(log, seq, (uint32_t)seq * 7);
    for (uint64_t seq = first, at = first; seq < next; seq = at) {
        sse__span span;

        assert_int_equal(sse__log_read(log, &at, 1, &span, 1), 1);
        assert_int_equal(at, seq + 1);
        assert_int_equal(span.len, len);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(span.data[i], (char)(seq * 31 + i));
        log_unpin(&span, 1);
    }
}

/* The same in one go, as a reader does it. */
static void check_reads(const sse__log *log)
{
    uint64_t  seq = log->first_seq;
    sse__span spans[4];
    size_t    bytes = 0;
    uint32_t  n;

    while ((n = sse__log_read(log, &seq, 3000, spans, 4)) > 0) {
        bytes += log_bytes_of(spans, n);
        log_unpin(spans, n);
    }
    assert_true(seq == log->next_seq);
    assert_int_equal(bytes, log->bytes);
}

static void prepends(void)
{
    sse__log log, older;

    make_log(&log, 101, 50, 100);
    make_log(&older, 71, 30, 100);
    OK(sse__log_prepend(&log, &older));
    check_log(&log, 71, 151, 100);
    assert_true(older.first_seq == 101 && older.next_seq == 101);
    assert_int_equal(older.bytes, 0);
    log_fill_many(&older, 3, 90); /* goes on in a segment of its own */
    check_reads(&log);
    sse__log_free(&older);
    make_log(&older, 1, 70, 100); /* and once more */
    OK(sse__log_prepend(&log, &older));
    sse__log_free(&older);
    check_log(&log, 1, 151, 100);
    check_reads(&log);
    log_fill_many(&log, 100, 100); /* it goes on at its end */
    check_log(&log, 1, 251, 100);
    check_reads(&log);
    sse__log_free(&log);
}

static void prepends_to_an_empty_log(void)
{
    for (int i = 0; i < 3; i++) {
        sse__log log, older;

        make_log(&log, 8, 0, 100);
        if (i == 1)
            OK(sse__log_reserve(&log, 1, 10)); /* it has its next segment */
        if (i == 2) {
            log_fill_many(&log, 2, 100);
            sse__log_trim_age(&log, INT64_MAX, 0);
        }
        make_log(&older, 1, i == 2 ? 9 : 7, 100);
        OK(sse__log_prepend(&log, &older));
        sse__log_free(&older);
        check_log(&log, 1, i == 2 ? 10 : 8, 100);
        log_fill_many(&log, 5, 100);
        check_log(&log, 1, i == 2 ? 15 : 13, 100);
        check_reads(&log);
        sse__log_free(&log);
    }
}

/* With nothing to put in front, what stands in front is known no better. */
static void prepends_nothing(void)
{
    sse__log log, older;
    uint32_t tag;

    make_log(&log, 11, 5, 100);
    log.base_known = false;
    make_log(&older, 11, 0, 100);
    OK(sse__log_prepend(&log, &older));
    sse__log_free(&older);
    assert_int_equal(log.first_seq, 11);
    assert_false(sse__log_get_tag(&log, 10, &tag));
    make_log(&older, 6, 5, 100);
    older.base_known = false;
    log.base_known = true;
    OK(sse__log_prepend(&log, &older));
    sse__log_free(&older);
    assert_false(sse__log_get_tag(&log, 5, &tag)); /* as the older one said */
    assert_tag(&log, 6, 42);
    sse__log_free(&log);
}

/* Some events of the first segment have left the older log already, and its
 * last segment has no event yet. */
static void prepends_half_a_segment(void)
{
    sse__log log, older;

    make_log(&log, 101, 5, 1000);
    make_log(&older, 51, 50, 1000);
    older.max_events = 49;
    sse__log_trim(&older);
    OK(sse__log_reserve(&older, 1, 60000));
    OK(sse__log_prepend(&log, &older));
    sse__log_free(&older);
    check_log(&log, 52, 106, 1000);
    check_reads(&log);
    sse__log_free(&log);
}

/* Trimming goes through the older segments one by one, and on. */
static void trims_what_was_prepended(void)
{
    sse__log log, older;

    make_log(&log, 101, 20, 1000);
    make_log(&older, 1, 100, 1000);
    OK(sse__log_prepend(&log, &older));
    sse__log_free(&older);
    for (uint32_t keep = 119; keep > 0; keep--) {
        log.max_events = keep;
        sse__log_trim(&log);
        check_log(&log, 121 - keep, 121, 1000);
    }
    sse__log_trim_age(&log, INT64_MAX, 0);
    check_log(&log, 121, 121, 1000);
    log_fill_many(&log, 1, 1000);
    check_log(&log, 121, 122, 1000);
    sse__log_free(&log);
}

static void pins_outlive_a_prepend(void **state)
{
    sse__log  log, older;
    sse__span spans[2][4];
    uint64_t  seq[2] = {1, 51};
    uint32_t  n[2];
    char      before[2][10000];

    (void)state;
    make_log(&older, 1, 50, 200);
    make_log(&log, 51, 50, 200);
    n[0] = sse__log_read(&older, &seq[0], SIZE_MAX, spans[0], 4);
    n[1] = sse__log_read(&log, &seq[1], SIZE_MAX, spans[1], 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(log_bytes_of(spans[i], n[i]), sizeof(before[i]));
        log_copy_of(before[i], spans[i], n[i]);
    }
    OK(sse__log_prepend(&log, &older));
    sse__log_free(&older);
    log.max_events = 70;
    sse__log_trim(&log); /* drops a half of what the first has pinned */
    log_assert_copy(before[0], spans[0], n[0]);
    log_assert_copy(before[1], spans[1], n[1]);
    sse__log_free(&log);
    for (int i = 0; i < 2; i++) {
        log_assert_copy(before[i], spans[i], n[i]);
        log_unpin(spans[i], n[i]);
    }
}

/* A failed prepend leaves both as they were. */
static void prepends_all_or_nothing(void)
{
    sse__log log, older;

    make_log(&log, 101, 10, 100);
    make_log(&older, 1, 100, 100);
    if (fail_alloc_again(sse__log_prepend(&log, &older))) {
        check_log(&log, 101, 111, 100);
        check_log(&older, 1, 101, 100);
        OK(sse__log_prepend(&log, &older));
    }
    sse__log_free(&older);
    check_log(&log, 1, 111, 100);
    sse__log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(seeks),
        cmocka_unit_test(knows_not_every_base),
        FAIL_ALLOC_TEST(seeks_from_anywhere),
        cmocka_unit_test(pins_outlive_a_clear),
        FAIL_ALLOC_TEST(prepends),
        FAIL_ALLOC_TEST(prepends_to_an_empty_log),
        FAIL_ALLOC_TEST(prepends_nothing),
        FAIL_ALLOC_TEST(prepends_half_a_segment),
        FAIL_ALLOC_TEST(trims_what_was_prepended),
        cmocka_unit_test(pins_outlive_a_prepend),
        FAIL_ALLOC_TEST(prepends_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
