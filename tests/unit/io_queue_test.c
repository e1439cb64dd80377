/* SPDX-License-Identifier: MIT */
/* io_queue_test.c - the one door out of a hub. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "queue_fixture.h"

/* ---- Draining ---- */

static void drains_batches(void **state)
{
    sse_stream     *s;
    sse_subscriber *subs[3];

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    append(s, "one");
    for (uint64_t i = 0; i < 3; i++)
        subs[i] = subscribe(s, q, 100 + i, 0);
    append(s, "two");
    assert_int_equal(drain(0), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_note(i, SSE_NOTE_BYTES, 0, 100 + i);
        assert_true(note_has(i, "data: one\n\nid: 2-"));
        assert_true(note_has(i, "data: two\n\n"));
    }
    assert_int_equal(batch->notes[2].offset + batch->notes[2].len,
                     batch->data_len);
    assert_int_equal(drain(0), 0);
    assert_int_equal(batch->note_count, 0);
    OK(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    assert_int_equal(drain(4), 4);
    assert_note(0, SSE_NOTE_BYTES, 0, 100);
    assert_note(1, SSE_NOTE_END, SSE_REASON_ENDED, 100);
    assert_int_equal(drain(0), 2);
    assert_note(1, SSE_NOTE_END, SSE_REASON_ENDED, 102);
    assert_int_equal(drain(0), 0);
    for (int i = 0; i < 3; i++)
        sse_subscriber_free(subs[i]);
    sse_stream_free(s);
    close_all();
}

static void gives_no_more_notes_than_asked(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;
    int             notes = 0, n;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    OK(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    while ((n = drain(1)) > 0) {
        notes += n;
        assert_int_equal(n, 1);
    }
    assert_int_equal(notes, 2);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

static void bounds_bytes(void **state)
{
    sse_queue_options opts = {
        .size = sizeof(opts), .max_note_bytes = 100, .max_batch_bytes = 250};
    static char     big[5000];
    sse_stream     *s;
    sse_subscriber *subs[5];
    int             n, drains = 0;
    size_t          bytes = 0;

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    open_all();
    sse_queue_free(q);
    OK(sse_queue_new(hub, &opts, &q));
    s = create("s", NULL, 0);
    for (int i = 0; i < 20; i++)
        append(s, "0123456789");
    append(s, big);
    for (uint64_t i = 0; i < 5; i++)
        subs[i] = subscribe(s, q, i, 0);
    while ((n = drain(0)) > 0) {
        drains++;
        bytes += batch->data_len;
        for (int i = 0; i < n; i++)
            assert_true(batch->notes[i].len <= 100 || note_has((size_t)i, big));
        /* a note that begins below the bound may end above it */
        assert_true(batch->data_len - batch->notes[n - 1].len < 250);
    }
    assert_true(drains > 10);
    assert_true(bytes > 5 * 5000 + 5 * 20 * 10);
    for (int i = 0; i < 5; i++)
        sse_subscriber_free(subs[i]);
    sse_stream_free(s);
    close_all();
}

static void holds_until_next(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, SSE_SUBSCRIBER_HOLD);
    assert_int_equal(drain(0), 0); /* nothing to hold for */
    append(s, "one");
    assert_int_equal(drain(0), 1);
    append(s, "two");
    append(s, "three");
    assert_int_equal(drain(0), 0);
    sse_subscriber_next(sub);
    sse_subscriber_next(sub); /* does nothing more */
    assert_int_equal(drain(0), 1);
    assert_true(note_has(0, "data: two\n\n"));
    assert_true(note_has(0, "data: three\n\n"));
    OK(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    assert_int_equal(drain(0), 0);
    sse_subscriber_next(sub);
    assert_int_equal(drain(0), 2);
    assert_note(1, SSE_NOTE_END, SSE_REASON_ENDED, 1);
    sse_subscriber_next(sub);
    assert_int_equal(drain(0), 0);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

static void tells_of_the_end(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    append(s, "one");
    sub = subscribe(s, q, 1, 0);
    OK(sse_hub_remove(hub, "s", 1));
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_END, SSE_REASON_REMOVED, 1);
    assert_int_equal(sse_hub_remove(hub, "s", 1), SSE_ERR_NOT_FOUND);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

/* ---- Stops ---- */

static void tells_producers_to_stop(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .key = 9,
                               .unread_policy_set = 1,
                               .unread_policy = SSE_UNREAD_CANCEL};
    sse_stream        *s, *unread;

    (void)state;
    open_all();
    s = create("s", q, 7);
    OK(sse_hub_stop(hub, "s", 1));
    OK(sse_hub_stop(hub, "s", 1));
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_STOP, SSE_REASON_REQUESTED, 7);
    assert_int_equal(drain(0), 0);
    assert_int_equal(sse_hub_stop(hub, "nobody", 6), SSE_ERR_NOT_FOUND);
    OK(sse_stream_new(hub, "u", 1, q, &opts, &unread));
    sse_subscriber_free(subscribe(unread, q, 1, 0));
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_STOP, SSE_REASON_UNREAD, 9);
    sse_stream_free(unread);
    sse_stream_free(s);
    close_all();
}

/* The header knows two answers. */
static void stops_a_channel_as_it_says(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags = SSE_STREAM_CHANNEL};
    sse_stream        *s;
    int                rc;

    (void)state;
    open_all();
    OK(sse_stream_new(hub, "c", 1, NULL, &opts, &s));
    rc = sse_hub_stop(hub, "c", 1);
    assert_true(rc == SSE_OK || rc == SSE_ERR_NOT_FOUND);
    sse_stream_free(s);
    close_all();
}

/* ---- Ids ---- */

static void makes_up_ids(void **state)
{
    const sse_stream_info *info;
    sse_stream            *streams[100];
    char                   seen[100][32];

    (void)state;
    open_all();
    for (int i = 0; i < 100; i++) {
        OK(sse_stream_new(hub, "", 0, NULL, NULL, &streams[i]));
        OK(sse_stream_get_info(streams[i], &info));
        assert_int_equal(info->id_len, 26);
        assert_int_equal(strspn(info->id, "0123456789abcdefghjkmnpqrstvwxyz"),
                         26);
        memcpy(seen[i], info->id, 27);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(seen[i], seen[j]);
    }
    for (int i = 0; i < 100; i++)
        sse_stream_free(streams[i]);
    close_all();
}

/* ---- Arguments ---- */

static void refuses_what_belongs_elsewhere(void **state)
{
    sse_queue_options      bad = {.size = sizeof(bad), .flags = 1};
    sse_subscriber_options flags = {.size = sizeof(flags), .flags = 2};
    sse_hub               *other_hub;
    sse_queue             *other, *none;
    sse_stream            *s, *mixed;
    sse_subscriber        *sub;

    (void)state;
    open_all();
    OK(sse_hub_new(NULL, &other_hub));
    OK(sse_queue_new(other_hub, NULL, &other));
    s = create("s", NULL, 0);
    assert_int_equal(sse_subscriber_new(s, other, "", 0, NULL, &sub),
                     SSE_ERR_INVAL);
    assert_null(sub);
    assert_int_equal(sse_subscriber_new(s, q, "", 0, &flags, &sub),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_queue_new(hub, &bad, &none), SSE_ERR_INVAL);
    assert_null(none);
    assert_int_equal(sse_stream_new(hub, "x", 1, other, NULL, &mixed),
                     SSE_ERR_INVAL);
    sse_stream_free(mixed);
    sse_queue_free(other);
    sse_hub_free(other_hub);
    sse_stream_free(s);
    close_all();
}

static void checks_batches(void **state)
{
    const uint32_t sizes[] = {1, 2};
    sse_stream    *s;
    sse_event_id   id;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    OK(sse_stream_append_batch(s, "", 0, "abc", 3, sizes, 2, &id));
    assert_int_equal(id.seq, 2);
    assert_int_equal(sse_stream_append_batch(s, "", 0, "ab", 2, sizes, 2, &id),
                     SSE_ERR_INVAL);
    assert_int_equal(
        sse_stream_append_batch(s, "", 0, "abcd", 4, sizes, 2, &id),
        SSE_ERR_INVAL);
    assert_int_equal(sse_stream_append_batch(s, "", 0, "", 0, sizes, 0, &id),
                     SSE_ERR_INVAL);
    append(s, "x");
    sse_stream_free(s);
    close_all();
}

/* ---- Lives and deaths ---- */

/* Frees a hub, a queue, a stream and a reader in the order that `digits`
 * gives, after each in turn has something to say. */
static void free_in_order(const int *order)
{
    sse_stream     *s;
    sse_subscriber *sub;

    open_all();
    s = create("s", q, 1);
    sub = subscribe(s, q, 1, SSE_SUBSCRIBER_HOLD);
    append(s, "one");
    assert_int_equal(drain(0), 1);
    append(s, "two");
    OK(sse_hub_stop(hub, "s", 1));
    for (int i = 0; i < 4; i++)
        switch (order[i]) {
        case 0: sse_hub_free(hub); break;
        case 1: sse_queue_free(q); break;
        case 2: sse_stream_free(s); break;
        case 3: sse_subscriber_free(sub); break;
        default: fail();
        }
}

static void freed_in_any_order(void **state)
{
    (void)state;
    for (int n = 0; n < 256; n++) {
        const int order[] = {n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6 & 3};
        int       seen = 0;

        for (int i = 0; i < 4; i++)
            seen |= 1 << order[i];
        if (seen == 15)
            free_in_order(order);
    }
}

/* The hub's end waits for its last child, which goes on as before. */
static void children_outlive_the_hub_handle(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    sse_hub_free(hub);
    append(s, "one");
    assert_int_equal(drain(0), 1);
    sse_queue_free(q); /* its subscription ends */
    append(s, "two");
    sse_subscriber_next(sub);
    sse_subscriber_free(sub);
    sse_stream_free(s);
}

static void frees_nothing(void **state)
{
    (void)state;
    sse_hub_free(NULL);
    sse_queue_free(NULL);
    sse_stream_free(NULL);
    sse_subscriber_free(NULL);
    sse_list_free(NULL);
    sse_loop_free(NULL);
    sse_server_free(NULL);
    sse_buffer_free(NULL);
}

static void survives_want_of_memory(void)
{
    sse_stream            *s, *again;
    sse_subscriber        *sub;
    sse_list              *list;
    const sse_stream_info *info;
    const uint32_t         sizes[] = {1, 1};

    open_all();
    s = create("s", q, 1);
    OK(sse_stream_set_owner(s, "ann", 3));
    sub = subscribe(s, q, 1, 0);
    append(s, "one");
    OK(sse_stream_append_batch(s, "", 0, "xy", 2, sizes, 2, NULL));
    assert_int_equal(drain(0), 1);
    assert_true(note_has(0, "data: one\n\n"));
    assert_true(note_has(0, "data: y\n\n"));
    OK(sse_stream_open(hub, "s", 1, &again));
    OK(sse_stream_get_info(again, &info));
    assert_int_equal(info->last_seq, 3);
    OK(sse_list_new(hub, "ann", 3, &list));
    assert_int_equal(sse_list_next(list, &info), 1);
    assert_string_equal(info->id, "s");
    assert_int_equal(sse_list_next(list, &info), 0);
    sse_list_free(list);
    sse_stream_free(again);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drains_batches),
        cmocka_unit_test(gives_no_more_notes_than_asked),
        cmocka_unit_test(bounds_bytes),
        cmocka_unit_test(holds_until_next),
        cmocka_unit_test(tells_of_the_end),
        cmocka_unit_test(tells_producers_to_stop),
        cmocka_unit_test(stops_a_channel_as_it_says),
        cmocka_unit_test(makes_up_ids),
        cmocka_unit_test(refuses_what_belongs_elsewhere),
        cmocka_unit_test(checks_batches),
        cmocka_unit_test(freed_in_any_order),
        cmocka_unit_test(children_outlive_the_hub_handle),
        cmocka_unit_test(frees_nothing),
        FAIL_ALLOC_TEST(survives_want_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
