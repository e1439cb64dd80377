/* SPDX-License-Identifier: MIT */
/* backing_test.c - what an owner keeps for its store. */
#include "alloc.h"
#include "backing.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "fail_alloc.h"
#include "subscriber.h"

#define WALL INT64_C(1800000000000)

static sse__hub  hub;
static sse__port port;
static int64_t   now_ms;

static void open_hub(const sse_hub_options *opts)
{
    now_ms = 1000;
    OK(sse__hub_init(&hub, opts, 7, now_ms, WALL + now_ms));
    sse__port_init(&port, &hub);
}

static void close_hub(void)
{
    sse__port_free(&port);
    sse__hub_free(&hub);
    assert_true(sse__list_empty(&hub.dirty));
    assert_int_equal(hub.counters.log_bytes, 0);
}

static void pass(int64_t ms)
{
    now_ms += ms;
    sse__hub_set_time(&hub, now_ms, WALL + now_ms);
    sse__hub_tick(&hub);
}

static sse__stream *create(const char *id)
{
    sse__stream *s;

    OK(sse__stream_create(&hub, id, strlen(id), NULL, NULL, &s));
    return s;
}

static sse__stream *create_owner(const char *id)
{
    sse__stream *s = create(id);

    OK(sse__backing_new(s, SSE__OWNER, 0, 0));
    return s;
}

static int append_as(sse__stream *s, const char *type, const char *data,
                     sse_event_id *out)
{
    sse__new_event e = {type, strlen(type), data, strlen(data)};

    return sse__stream_append(s, &e, 1, out);
}

static void append(sse__stream *s, const char *data)
{
    OK(append_as(s, "", data, NULL));
}

/* For each event of the log its row, whose hash is the event's tag; no other.
 * Together with the model below, this is what owners' rows are. */
static void check_rows(const sse__stream *s)
{
    const sse__rows *rows = &s->backing->rows;
    uint64_t         bytes = 0;

    assert_true(rows->first_seq == s->log.first_seq);
    assert_true(rows->next_seq == s->log.next_seq);
    for (uint64_t seq = rows->first_seq; seq < rows->next_seq; seq++) {
        const sse__row *row = sse__rows_get(rows, seq);
        uint32_t        tag;

        assert_true(sse__log_get_tag(&s->log, seq, &tag));
        assert_int_equal(row->tag, tag);
        assert_int_equal(sse__fnv1a(SSE__FNV1A_INIT, row->text, row->len), tag);
        bytes += row->len;
    }
    assert_int_equal(rows->bytes, bytes);
}

static void assert_row(const sse__stream *s, uint64_t seq, const char *text)
{
    const sse__row *row = sse__rows_get(&s->backing->rows, seq);

    assert_int_equal(row->len, strlen(text));
    assert_memory_equal(row->text, text, row->len);
}

/* ---- Rows ---- */

static void keeps_rows(void)
{
    static const sse__new_event events[] = {
        {"tick", 4, "[1]", 3}, {"", 0, "\n", 1}, {"message", 7, "", 0}};
    sse_event_id ids[3];
    sse__stream *s;

    open_hub(NULL);
    s = create_owner("s");
    check_rows(s);
    OK(append_as(s, "", "hi", ids));
    assert_row(s, 1,
               "{\"type\":\"message\",\"data\":\"hi\",\"ts\":1800000001000}");
    assert_int_equal(sse__rows_get(&s->backing->rows, 1)->tag, ids[0].tag);
    OK(sse__stream_append(s, events, 3, ids));
    assert_row(s, 2, "{\"type\":\"tick\",\"data\":[1],\"ts\":1800000001000}");
    assert_row(s, 3,
               "{\"type\":\"message\",\"data\":\"\\n\",\"ts\":1800000001000}");
    assert_row(s, 4,
               "{\"type\":\"message\",\"data\":\"\",\"ts\":1800000001000}");
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(sse__rows_get(&s->backing->rows, 2 + i)->tag,
                         ids[i].tag);
    check_rows(s);
    assert_int_equal(s->backing->lost, 0);
    close_hub();
}

static void keeps_rows_of_the_end(void)
{
    sse__new_event last = {"", 0, "{}", 2};
    sse__stream   *s;

    open_hub(NULL);
    s = create_owner("s");
    OK(sse__stream_end(s, SSE_STATE_FAILED, &last, NULL));
    assert_row(s, 1, "{\"type\":\"failed\",\"data\":{},\"ts\":1800000001000}");
    close_hub();
}

static void keeps_rows_of_a_stop(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create_owner("s");
    OK(sse__stream_stop(s, SSE_REASON_UNREAD));
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    assert_row(s, 1,
               "{\"type\":\"cancelled\",\"data\":{\"reason\":\"unread\"},"
               "\"ts\":1800000001000}");
    check_rows(s);
    close_hub();
}

static void keeps_none_without_a_backing(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create("s");
    append(s, "a");
    assert_null(s->backing);
    assert_null(sse__hub_take_dirty(&hub));
    sse__stream_dirty(s);
    assert_null(sse__hub_take_dirty(&hub));
    assert_false(sse__stream_is_mirror(s));
    close_hub();
}

static void keeps_none_of_a_mirror(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create("s");
    OK(sse__backing_new(s, SSE__MIRROR, 0, 0));
    OK(sse__mirror_add(s, "{\"type\":\"a\"}", 12, 1));
    assert_true(sse__stream_is_mirror(s));
    assert_int_equal(s->backing->rows.next_seq, 1);
    sse__stream_trim_age(s, 0);
    close_hub();
}

/* What goes to the store without an owner here is the same row. */
static void makes_rows_for_others(void)
{
    sse__new_event e = {"tick", 4, "[1]", 3}, bad = {"", 0, "\xff", 1};
    sse__stream   *s;
    sse__row      *row;

    open_hub(NULL);
    s = create_owner("s");
    OK(sse__stream_append(s, &e, 1, NULL));
    OK(sse__row_make(&hub, &e, &row));
    assert_row(s, 1, "{\"type\":\"tick\",\"data\":[1],\"ts\":1800000001000}");
    assert_int_equal(row->len, sse__rows_get(&s->backing->rows, 1)->len);
    assert_memory_equal(row->text, sse__rows_get(&s->backing->rows, 1)->text,
                        row->len);
    assert_int_equal(row->tag, sse__rows_get(&s->backing->rows, 1)->tag);
    sse__free(row);
    assert_int_equal(sse__row_make(&hub, &bad, &row), SSE_ERR_UTF8);
    close_hub();
}

/* No event of ours gets into a mirror: the store is asked, and will tell. */
static void leaves_a_mirrors_stop_to_the_store(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create("s");
    OK(sse__backing_new(s, SSE__MIRROR, 7, 0));
    s->unread_policy = SSE_UNREAD_CANCEL; /* as one that many write has */
    OK(sse__subscriber_open(&sub, s, &port, "$", 1, NULL));
    sse__subscriber_close(&sub);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    assert_int_equal(s->log.next_seq, 8);
    assert_true(s->backing->stop);
    assert_ptr_equal(sse__hub_take_dirty(&hub), s);
    sse__mirror_end(s, SSE_STATE_CANCELLED);
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    close_hub();
}

/* The numbering goes on where the store says; a reader who had the event in
 * front comes back with its id. */
static void goes_on_behind_a_number(void)
{
    sse__subscriber sub;
    sse__stream    *s;
    sse_event_id    id;

    open_hub(NULL);
    s = create("s");
    OK(sse__backing_new(s, SSE__OWNER, 41, 0xabcd));
    assert_int_equal(s->backing->stored_seq, 41);
    check_rows(s);
    sse__stream_last_id(s, &id);
    assert_string_equal(id.text, "41-0000abcd");
    OK(append_as(s, "", "a", &id));
    assert_int_equal(id.seq, 42);
    check_rows(s);
    OK(sse__subscriber_look(&sub, s, "41-0000abcd", 11));
    assert_int_equal(sub.seq, 42);
    assert_false(sub.diverged);
    OK(sse__subscriber_look(&sub, s, "41-0000abce", 11));
    assert_true(sub.diverged);
    close_hub();
}

/* ---- Rows follow the log ---- */

static void follows_the_count(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 3};
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create_owner("s");
    for (int i = 0; i < 40; i++) {
        append(s, "x");
        check_rows(s);
        assert_int_equal(s->backing->lost, i < 3 ? 0 : i - 2);
    }
    assert_int_equal(s->backing->rows.first_seq, 38);
    close_hub();
}

static void follows_the_bytes(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_bytes = 100};
    sse__stream    *s;
    char            big[80];

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    open_hub(&opts);
    s = create_owner("s");
    append(s, "x");
    append(s, "x");
    append(s, "x");
    check_rows(s);
    assert_int_equal(s->backing->rows.first_seq, 1);
    assert_int_equal(append_as(s, "t", big, NULL), SSE_ERR_TOO_BIG);
    check_rows(s);
    big[70] = '\0';
    append(s, big);
    check_rows(s);
    assert_int_equal(s->backing->rows.first_seq, 4);
    assert_int_equal(s->backing->lost, 3);
    close_hub();
}

static void follows_the_age(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_age_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create_owner("s");
    append(s, "x");
    pass(600);
    append(s, "x");
    pass(600);
    append(s, "x"); /* an append drops what is too old */
    check_rows(s);
    assert_int_equal(s->backing->rows.first_seq, 2);
    pass(5000);
    OK(sse__subscriber_look(&sub, s, "", 0)); /* so does a reader */
    check_rows(s);
    assert_int_equal(s->backing->rows.first_seq, 4);
    assert_int_equal(s->backing->lost, 3);
    append(s, "x");
    check_rows(s);
    close_hub();
}

/* What the store has had may go. */
static void counts_what_is_lost(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 2};
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create_owner("s");
    append(s, "x");
    append(s, "x");
    s->backing->stored_seq = 1;
    append(s, "x"); /* drops 1 */
    assert_int_equal(s->backing->lost, 0);
    append(s, "x"); /* drops 2 */
    assert_int_equal(s->backing->lost, 1);
    s->backing->stored_seq = 4;
    append(s, "x"); /* drops 3 */
    append(s, "x"); /* drops 4 */
    assert_int_equal(s->backing->lost, 1);
    append(s, "x"); /* drops 5 */
    assert_int_equal(s->backing->lost, 2);
    close_hub();
}

/* More than the log keeps: the first of a batch have rows no longer than it
 * has them. */
static void follows_a_batch(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 5};
    sse__new_event  events[40];
    sse__stream    *s;

    (void)state;
    for (int i = 0; i < 40; i++)
        events[i] = (sse__new_event){"", 0, "x", 1};
    open_hub(&opts);
    s = create_owner("s");
    OK(sse__stream_append(s, events, 40, NULL));
    check_rows(s);
    assert_int_equal(s->backing->rows.first_seq, 36);
    assert_int_equal(s->backing->lost, 35);
    close_hub();
}

/* ---- Others wrote meanwhile ---- */

static const struct {
    uint64_t    made, stored;
    const char *cursor;
    uint64_t    base;
    bool        fresh;
    const char *gap; /* what is in front of the first event that is moved */
} moves[] = {
    {12, 10, "10", 15, false, "{\"from\":11,\"to\":15,\"missed\":5,"},
    {12, 10, "7", 15, false, "{\"from\":8,\"to\":15,\"missed\":8,"},
    {12, 10, "11", 15, false, "{\"from\":1,\"to\":15,\"missed\":null,"},
    {2, 0, "", 15, true, NULL},
    {2, 0, "1", 15, true, "{\"from\":1,\"to\":15,\"missed\":null,"},
    /* the store is an older copy, or two were lost on the way to it */
    {12, 10, "7", 5, false, "{\"from\":1,\"to\":5,\"missed\":null,"},
    {102, 0, "", 3, true, "{\"from\":1,\"to\":3,\"missed\":3,"},
};

static void moves_one(size_t i)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .log_events = 100, .retry_ms = SSE_NEVER};
    sse__subscriber sub;
    sse__stream    *s;
    sse__take       take;

    open_hub(&opts);
    s = create_owner("s");
    for (uint64_t n = 0; n < moves[i].made; n++)
        append(s, "x");
    s->backing->stored_seq = moves[i].stored;
    OK(sse__subscriber_open(&sub, s, &port, moves[i].cursor,
                            strlen(moves[i].cursor), NULL));
    OK(sse__owner_move(s, moves[i].base, 7, true, moves[i].fresh));
    check_rows(s);
    assert_true(s->log.first_seq == moves[i].base + 1);
    assert_int_equal(hub.counters.log_bytes, s->log.bytes);
    assert_ptr_equal(sse__port_take(&port), &sub);
    sse__subscriber_take(&sub, 100000, &take);
    take.prefix[take.prefix_len] = '\0';
    assert_int_equal(take.prefix_len > 0, moves[i].gap != NULL);
    if (moves[i].gap)
        assert_non_null(strstr(take.prefix, moves[i].gap));
    assert_int_equal(take.bytes - take.prefix_len, s->log.bytes);
    sse__take_drop(&take);
    close_hub();
}

static void moves_behind_others(void)
{
    for (size_t i = 0; i < sizeof(moves) / sizeof(*moves); i++)
        moves_one(i);
}

/* ---- All or nothing ---- */

static void keeps_no_row_of_a_bad_batch(void)
{
    static const sse__new_event bad[] = {
        {"", 0, "\xff", 1}, {"a\nb", 3, "", 0}, {"\xc3", 1, "", 0}};
    sse__stream *s;

    open_hub(NULL);
    s = create_owner("s");
    append(s, "x");
    sse__hub_take_dirty(&hub);
    for (size_t i = 0; i < 3; i++) {
        sse__new_event events[3] = {
            {"", 0, "a", 1}, {"t", 1, "b", 1}, {"", 0, "c", 1}};

        for (size_t at = 0; at < 3; at++) {
            sse__new_event good = events[at];

            events[at] = bad[i];
            assert_true(RETRY(sse__stream_append(s, events, 3, NULL)) < 0);
            assert_true(RETRY(sse__stream_append(s, &bad[i], 1, NULL)) < 0);
            events[at] = good;
            assert_int_equal(s->log.next_seq, 2);
            check_rows(s);
        }
    }
    assert_null(sse__hub_take_dirty(&hub));
    append(s, "x");
    check_rows(s);
    close_hub();
}

/* With a failed allocation, stream and rows are as they were. */
static void appends_all_or_nothing(void)
{
    sse__new_event events[20];
    sse__stream   *s;

    for (int i = 0; i < 20; i++)
        events[i] = (sse__new_event){"", 0, "some text", 9};
    open_hub(NULL);
    s = create("s");
    if (fail_alloc_again(sse__backing_new(s, SSE__OWNER, 0, 0))) {
        assert_null(s->backing);
        OK(sse__backing_new(s, SSE__OWNER, 0, 0));
    }
    for (size_t count = 1; count <= 20; count += 19) {
        uint64_t next = s->log.next_seq;

        if (fail_alloc_again(sse__stream_append(s, events, count, NULL))) {
            assert_true(s->log.next_seq == next);
            check_rows(s);
            OK(sse__stream_append(s, events, count, NULL));
        }
        check_rows(s);
        assert_true(s->log.next_seq == next + count);
    }
    close_hub();
}

/* ---- The dirty list ---- */

static void lists_the_dirty(void **state)
{
    sse__new_event last = {"", 0, "{}", 2};
    sse__stream   *a, *b;

    (void)state;
    open_hub(NULL);
    a = create_owner("a");
    b = create_owner("b");
    assert_null(sse__hub_take_dirty(&hub)); /* its maker says so, or not */
    append(b, "x");
    append(a, "x");
    append(b, "x");
    assert_ptr_equal(sse__hub_take_dirty(&hub), b); /* in order, and once */
    append(b, "x");
    assert_ptr_equal(sse__hub_take_dirty(&hub), a);
    assert_ptr_equal(sse__hub_take_dirty(&hub), b);
    assert_null(sse__hub_take_dirty(&hub));
    sse__stream_dirty(a);
    sse__stream_dirty(a);
    assert_ptr_equal(sse__hub_take_dirty(&hub), a);
    assert_null(sse__hub_take_dirty(&hub));
    OK(sse__stream_end(a, SSE_STATE_COMPLETED, &last, NULL));
    assert_ptr_equal(sse__hub_take_dirty(&hub), a);
    assert_null(sse__hub_take_dirty(&hub));
    close_hub();
}

/* Nobody takes a stream that is not there any more. */
static void forgets_removed_streams(void)
{
    sse__stream *a, *b;

    open_hub(NULL);
    a = create_owner("a");
    b = create_owner("b");
    append(a, "x");
    append(b, "x");
    sse__stream_remove(a);
    assert_ptr_equal(sse__hub_take_dirty(&hub), b);
    assert_null(sse__hub_take_dirty(&hub));
    sse__stream_remove(b);
    assert_null(sse__hub_take_dirty(&hub));
    close_hub();
}

/* The engine counts itself in, and gets to know. */
static void tells_of_removed_streams(void)
{
    sse__stream *s;

    open_hub(NULL);
    s = create_owner("s");
    sse__stream_ref(s);
    append(s, "x");
    assert_ptr_equal(sse__hub_take_dirty(&hub), s);
    sse__stream_remove(s);
    assert_ptr_equal(sse__hub_take_dirty(&hub), s);
    assert_true(s->gone);
    check_rows(s);
    sse__stream_dirty(s);
    sse__stream_unref(s); /* the last one takes it off the list */
    assert_null(sse__hub_take_dirty(&hub));
    close_hub();
}

static void gives_way_to_the_next_life(void)
{
    sse__new_event last = {"", 0, "{}", 2};
    sse__stream   *s;

    open_hub(NULL);
    s = create_owner("s");
    append(s, "x");
    OK(sse__stream_end(s, SSE_STATE_COMPLETED, &last, NULL));
    s = create_owner("s");
    assert_null(sse__hub_take_dirty(&hub));
    append(s, "y");
    check_rows(s);
    assert_int_equal(s->log.next_seq, 2);
    assert_ptr_equal(sse__hub_take_dirty(&hub), s);
    close_hub();
}

/* ---- All of it at random ---- */

static uint32_t seed;

static uint32_t pick(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

static void append_some(sse__stream *s)
{
    static const char data[] = "[\"0123456789\n\r\n";
    sse__new_event    events[20];
    size_t            count = 1 + pick(pick(3) ? 2 : 20);
    bool              bad = pick(5) == 0;
    int               rc;

    for (size_t i = 0; i < count; i++)
        events[i] = (sse__new_event){"t", pick(2), data, pick(16)};
    if (bad)
        events[pick((uint32_t)count)].data = "\xff\xff\xff\xff\xff\xff\xff\xff"
                                             "\xff\xff\xff\xff\xff\xff\xff\xff";
    rc = sse__stream_append(s, events, count, NULL);
    assert_true(rc == SSE_OK || (bad && rc == SSE_ERR_UTF8));
}

/* `stored` goes with what the store has had; what is between it and the log
 * is lost. */
static void follows_anything(void **state)
{
    (void)state;
    for (uint32_t round = 1; round <= 60; round++) {
        sse_hub_options opts = {.size = sizeof(opts), .log_age_ms = 2000};
        sse__stream    *s;
        uint64_t        lost = 0, first = 1;

        seed = round * 7919;
        opts.log_events = 1 + pick(60);
        opts.log_bytes = 200 + pick(2000);
        open_hub(&opts);
        s = create_owner("s");
        for (int step = 0; step < 400; step++) {
            switch (pick(8)) {
            case 0: pass(pick(1500)); break;
            case 1: sse__stream_trim_age(s, pick(3)); break;
            case 2:
                s->backing->stored_seq +=
                    pick((uint32_t)(s->log.next_seq - s->backing->stored_seq));
                break;
            default: append_some(s); break;
            }
            for (; first < s->log.first_seq; first++)
                lost += first > s->backing->stored_seq;
            check_rows(s);
            assert_int_equal(s->backing->lost, lost);
        }
        close_hub();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(keeps_rows),
        FAIL_ALLOC_TEST(keeps_rows_of_the_end),
        cmocka_unit_test(keeps_rows_of_a_stop),
        cmocka_unit_test(leaves_a_mirrors_stop_to_the_store),
        cmocka_unit_test(keeps_none_without_a_backing),
        cmocka_unit_test(keeps_none_of_a_mirror),
        FAIL_ALLOC_TEST(makes_rows_for_others),
        FAIL_ALLOC_TEST(goes_on_behind_a_number),
        cmocka_unit_test(follows_the_count),
        cmocka_unit_test(follows_the_bytes),
        cmocka_unit_test(follows_the_age),
        cmocka_unit_test(counts_what_is_lost),
        cmocka_unit_test(follows_a_batch),
        FAIL_ALLOC_TEST(moves_behind_others),
        FAIL_ALLOC_TEST(keeps_no_row_of_a_bad_batch),
        FAIL_ALLOC_TEST(appends_all_or_nothing),
        cmocka_unit_test(lists_the_dirty),
        FAIL_ALLOC_TEST(forgets_removed_streams),
        FAIL_ALLOC_TEST(tells_of_removed_streams),
        FAIL_ALLOC_TEST(gives_way_to_the_next_life),
        cmocka_unit_test(follows_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
