/* SPDX-License-Identifier: MIT */
/* log_test.c - the retained tail of a stream. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "log_support.h"

#define HOUR 3600000u

/* ---- Bounds ---- */

static void bounded_by_count(void **state)
{
    sse__log log;

    (void)state;
    sse__log_init(&log, 3, 1u << 20, HOUR);
    assert_int_equal(log.first_seq, 1);
    log_fill_many(&log, 3, 10);
    assert_int_equal(log.first_seq, 1);
    log_fill_many(&log, 1, 10);
    assert_int_equal(log.first_seq, 2);
    log_fill_many(&log, 100, 10);
    assert_int_equal(log.first_seq, 102);
    assert_int_equal(log.next_seq, 105);
    assert_int_equal(log.bytes, 30);
    assert_int_equal(log.drop, SSE__DROP_TRIMMED);
    sse__log_free(&log);
}

static void bounded_by_bytes(void **state)
{
    sse__log log;

    (void)state;
    sse__log_init(&log, 1000, 100, HOUR);
    log_fill_many(&log, 10, 10);
    assert_int_equal(log.first_seq, 1);
    log_fill_many(&log, 1, 1);
    assert_int_equal(log.first_seq, 2);
    assert_int_equal(log.bytes, 91);
    log_fill_many(&log, 1, 100);
    assert_int_equal(log.first_seq, 12);
    assert_int_equal(log.bytes, 100);
    sse__log_free(&log);
}

/* An event above the bound pushes out all others, and stays. */
static void keeps_the_newest(void **state)
{
    sse__log log;

    (void)state;
    sse__log_init(&log, 1000, 100, HOUR);
    log_fill_many(&log, 5, 10);
    log_fill_many(&log, 1, 5000);
    assert_int_equal(log.first_seq, 6);
    assert_int_equal(log.bytes, 5000);
    log_fill_many(&log, 1, 10);
    assert_int_equal(log.first_seq, 7);
    assert_int_equal(log.bytes, 10);
    sse__log_free(&log);
}

static void bounded_by_age(void **state)
{
    sse__log log;

    (void)state;
    sse__log_init(&log, 1000, 1000, 50);
    for (int i = 0; i < 5; i++)
        log_fill(&log, 10, 100 + i); /* at 100 to 104 */
    sse__log_trim_age(&log, 150, 1);
    assert_int_equal(log.first_seq, 1); /* as old as it may be */
    sse__log_trim_age(&log, 152, 1);
    assert_int_equal(log.first_seq, 3);
    assert_int_equal(log.drop, SSE__DROP_EXPIRED);
    sse__log_trim_age(&log, 1000, 1);
    assert_int_equal(log.first_seq, 5);
    sse__log_trim_age(&log, 1000, 0);
    assert_int_equal(log.first_seq, 6);
    assert_int_equal(log.bytes, 0);
    log_fill(&log, 10, 1000); /* it goes on from there */
    assert_int_equal(log.first_seq, 6);
    assert_int_equal(log.next_seq, 7);
    assert_int_equal(sse__log_size_at(&log, 1), 10);
    sse__log_free(&log);
}

/* ---- Tags ---- */

static void knows_tags(void **state)
{
    sse__log log;
    uint32_t tag;

    (void)state;
    sse__log_init(&log, 3, 1u << 20, HOUR);
    assert_false(sse__log_get_tag(&log, 0, &tag));
    assert_false(sse__log_get_tag(&log, 1, &tag));
    log_fill_many(&log, 5, 10); /* 3, 4, 5 are left, and the tag of 2 */
    assert_false(sse__log_get_tag(&log, 0, &tag));
    assert_false(sse__log_get_tag(&log, 1, &tag));
    for (uint64_t seq = 2; seq <= 5; seq++) {
        assert_true(sse__log_get_tag(&log, seq, &tag));
        assert_int_equal(tag, seq * 7);
    }
    assert_false(sse__log_get_tag(&log, 6, &tag));
    assert_false(sse__log_get_tag(&log, UINT64_MAX, &tag));
    log.max_age_ms = 1;
    sse__log_trim_age(&log, 1000, 0);
    assert_true(sse__log_get_tag(&log, 5, &tag)); /* the last one dropped */
    assert_int_equal(tag, 35);
    sse__log_free(&log);
}

/* ---- Reading ---- */

static void reads_whole_events(void **state)
{
    sse__log  log;
    sse__span spans[4];
    uint64_t  seq = 1;

    (void)state;
    sse__log_init(&log, 1000, 1u << 20, HOUR);
    log_fill_many(&log, 5, 10);
    assert_int_equal(sse__log_read(&log, &seq, 39, spans, 4), 1);
    assert_int_equal(seq, 4);
    assert_int_equal(spans[0].len, 30);
    log_unpin(spans, 1);
    assert_int_equal(sse__log_read(&log, &seq, 20, spans, 4), 1);
    assert_int_equal(seq, 6);
    assert_int_equal(spans[0].len, 20);
    log_unpin(spans, 1);
    assert_int_equal(sse__log_read(&log, &seq, 20, spans, 4), 0);
    assert_int_equal(seq, 6);
    sse__log_free(&log);
}

/* One event always comes, however small the limit; and comes alone. */
static void reads_a_big_event_alone(void **state)
{
    sse__log  log;
    sse__span spans[4];
    uint64_t  seq = 2;

    (void)state;
    sse__log_init(&log, 1000, 1u << 20, HOUR);
    log_fill_many(&log, 1, 10);
    log_fill_many(&log, 1, 200000);
    log_fill_many(&log, 2, 10);
    assert_int_equal(sse__log_size_at(&log, 2), 200000);
    assert_int_equal(sse__log_read(&log, &seq, 1000, spans, 4), 1);
    assert_int_equal(seq, 3);
    assert_int_equal(log_bytes_of(spans, 1), 200000);
    log_unpin(spans, 1);
    assert_int_equal(sse__log_read(&log, &seq, 0, spans, 4), 1);
    assert_int_equal(seq, 4);
    assert_int_equal(log_bytes_of(spans, 1), 10);
    log_unpin(spans, 1);
    sse__log_free(&log);
}

static void reads_across_segments(void **state)
{
    sse__log  log;
    sse__span spans[4];
    uint64_t  seq = 1;
    uint32_t  n;
    size_t    bytes = 0;

    (void)state;
    sse__log_init(&log, 1000, 1u << 20, HOUR);
    log_fill_many(&log, 300, 1000); /* in more segments than one read takes */
    n = sse__log_read(&log, &seq, SIZE_MAX, spans, 4);
    assert_int_equal(n, 4);
    assert_ptr_not_equal(spans[0].seg, spans[1].seg);
    log_unpin(spans, n);
    bytes = log_bytes_of(spans, n);
    assert_int_equal(bytes, (seq - 1) * 1000);
    while ((n = sse__log_read(&log, &seq, SIZE_MAX, spans, 4)) > 0) {
        bytes += log_bytes_of(spans, n);
        log_unpin(spans, n);
    }
    assert_int_equal(bytes, 300000);
    assert_int_equal(seq, 301);
    sse__log_free(&log);
}

/* Segments are small for a short stream, and larger for a long one, so that a
 * thousand streams of ten events each are cheap and a long log is few spans. */
static void segments_grow(void **state)
{
    sse__log log;
    uint32_t first;

    (void)state;
    sse__log_init(&log, 1u << 20, 1u << 30, HOUR);
    log_fill_many(&log, 1, 10);
    first = log.tail->cap;
    assert_true(first <= 8192);
    log_fill_many(&log, 4000, 100);
    assert_true(log.tail->cap > first);
    assert_true(log.tail->cap <= 65536);
    sse__log_free(&log);
}

static void pins_outlive_the_log(void **state)
{
    sse__log  log;
    sse__span spans[4];
    uint64_t  seq = 1;
    uint32_t  n;
    char      before[10000];

    (void)state;
    sse__log_init(&log, 10, 1u << 20, HOUR);
    log_fill_many(&log, 10, 1000);
    n = sse__log_read(&log, &seq, SIZE_MAX, spans, 4);
    assert_int_equal(log_bytes_of(spans, n), sizeof(before));
    log_copy_of(before, spans, n);
    log_fill_many(&log, 500, 1000); /* all of that is dropped, and more */
    log_assert_copy(before, spans, n);
    sse__log_free(&log);
    log_assert_copy(before, spans, n);
    log_unpin(spans, n);
}

/* ---- What an append would drop ---- */

static void foresees_drops(void **state)
{
    sse__log log;
    uint32_t random = 1;

    (void)state;
    sse__log_init(&log, 20, 3000, HOUR);
    for (int i = 0; i < 2000; i++) {
        uint64_t first;
        size_t   len = 1 + (random = random * 1664525 + 1013904223) % 400;

        first = sse__log_first_after(&log, 1, len);
        log_fill(&log, len, 0);
        sse__log_trim(&log);
        assert_int_equal(log.first_seq, first);
    }
    assert_int_equal(sse__log_first_after(&log, 1000, 1), log.next_seq);
    assert_int_equal(sse__log_first_after(&log, 1, 100000), log.next_seq);
    sse__log_free(&log);
}

/* ---- All of it at random, against the rule for an event's bytes ---- */

#define HELD 8

typedef struct held {
    sse__span spans[4];
    uint32_t  count;
    uint64_t  from, to; /* events from <= seq < to */
} held;

static size_t len_of(uint64_t seq)
{
    size_t mixed = (size_t)(seq * 2654435761u % 1000);

    return mixed == 7 ? 150000 : 1 + mixed;
}

static void check(const held *h)
{
    uint32_t i = 0;
    size_t   at = 0;

    for (uint64_t seq = h->from; seq < h->to; seq++) {
        for (size_t j = 0; j < len_of(seq); j++) {
            if (at == h->spans[i].len) {
                assert_int_equal(j, 0); /* an event is never cut */
                at = 0;
                i++;
            }
            if (h->spans[i].data[at++] != (char)(seq * 31 + j))
                fail_msg("event %d is damaged", (int)seq);
        }
    }
    assert_int_equal(i + 1, h->count);
    assert_int_equal(at, h->spans[i].len);
}

static void hold(held *h, const sse__log *log, uint32_t random)
{
    uint64_t kept = log->next_seq - log->first_seq;

    h->from = h->to = log->first_seq + random % kept;
    h->count = sse__log_read(log, &h->to, random >> 8 & 0x3fff, h->spans,
                             1 + (random >> 24) % 4);
    assert_true(h->to > h->from);
    check(h);
}

static void prepend_some(sse__log *log, uint64_t count)
{
    sse__log older;

    if (count >= log->first_seq)
        return;
    sse__log_init(&older, 1000, 1u << 30, HOUR);
    sse__log_seek(&older, log->first_seq - count - 1, 0);
    while (older.next_seq < log->first_seq)
        log_fill(&older, len_of(older.next_seq), 0);
    OK(sse__log_prepend(log, &older));
    sse__log_free(&older);
}

static void survives_anything(void)
{
    sse__log log;
    held     ring[HELD] = {{.count = 0}};
    uint32_t random = 5;

    sse__log_init(&log, 200, 70000, HOUR);
    for (int i = 0; i < 1500; i++) {
        held *h = &ring[i % HELD];

        random = random * 1664525 + 1013904223;
        if (h->count > 0) {
            check(h);
            log_unpin(h->spans, h->count);
            h->count = 0;
        }
        log_fill(&log, len_of(log.next_seq), 0);
        sse__log_trim(&log);
        hold(h, &log, random);
    }
    sse__log_free(&log);
    for (int i = 0; i < HELD; i++) {
        check(&ring[i]);
        log_unpin(ring[i].spans, ring[i].count);
    }
}

/* The middle, one end and the other of a log that grows at both. */
static void grows_at_both_ends(void **state)
{
    uint32_t random = 11;

    (void)state;
    for (int round = 0; round < 40; round++) {
        sse__log log;
        held     ring[HELD] = {{.count = 0}};

        sse__log_init(&log, 1000, 1u << 30, HOUR);
        sse__log_seek(&log, 1499, 0);
        for (int i = 0; i < 200; i++) {
            held *h = &ring[i % HELD];

            random = random * 1664525 + 1013904223;
            if (h->count > 0) {
                check(h);
                log_unpin(h->spans, h->count);
                h->count = 0;
            }
            if (random >> 30 == 0)
                prepend_some(&log, 1 + random % 30);
            else
                log_fill(&log, len_of(log.next_seq), 0);
            if (random >> 28 == 15) {
                log.max_events = 1 + random % 200;
                sse__log_trim(&log);
            }
            hold(h, &log, random);
        }
        sse__log_free(&log);
        for (int i = 0; i < HELD; i++) {
            check(&ring[i]);
            log_unpin(ring[i].spans, ring[i].count);
        }
    }
}

static void survives_anything_at_random(void **state)
{
    (void)state;
    survives_anything();
}

/* A failed reserve changes nothing: log_fill() makes it again. */
static void survives_want_of_memory(void)
{
    sse__log log;

    sse__log_init(&log, 40, 1u << 20, HOUR);
    log_fill_many(&log, 50, 700);
    log_fill_many(&log, 1, 100000);
    assert_int_equal(log.first_seq, 12);
    assert_int_equal(log.bytes, 39 * 700 + 100000);
    sse__log_free(&log);
}

static void reserves_for_batches(void)
{
    sse__log log;
    char     data[4] = "abcd";

    sse__log_init(&log, 1000, 1u << 20, HOUR);
    log_fill_many(&log, 3, 1000);
    OK(sse__log_reserve(&log, 500, 2000));
    for (uint32_t i = 0; i < 500; i++)
        sse__log_add(&log, data, sizeof(data), i, 0);
    assert_int_equal(log.next_seq, 504);
    assert_int_equal(log.bytes, 5000);
    sse__log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounded_by_count),
        cmocka_unit_test(bounded_by_bytes),
        cmocka_unit_test(keeps_the_newest),
        cmocka_unit_test(bounded_by_age),
        cmocka_unit_test(knows_tags),
        cmocka_unit_test(reads_whole_events),
        cmocka_unit_test(reads_a_big_event_alone),
        cmocka_unit_test(reads_across_segments),
        cmocka_unit_test(segments_grow),
        cmocka_unit_test(pins_outlive_the_log),
        cmocka_unit_test(foresees_drops),
        cmocka_unit_test(survives_anything_at_random),
        cmocka_unit_test(grows_at_both_ends),
        FAIL_ALLOC_TEST(survives_want_of_memory),
        FAIL_ALLOC_TEST(reserves_for_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
