/* SPDX-License-Identifier: MIT */
/* subscriber_test.c - readers: whole, in order and once, or told. */
#include "subscriber_fixture.h"

/* ---- Cursors ---- */

static sse_event_id last_id(sse__stream *s)
{
    sse_event_id id;

    sse__stream_last_id(s, &id);
    return id;
}

static void takes_all_kinds_of_cursors(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;
    char            one[32];

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    append(s, "a");
    strcpy(one, last_id(s).text);
    append(s, "b");
    hub.opts.retry_ms = SSE_NEVER;
    for (int i = 0; i < 4; i++) {
        const char *cursors[] = {one, "1", "", "0"};

        subscribe(&sub, s, cursors[i]);
        assert_true((strstr(drain(&sub), "data: a\n") != NULL) == (i > 1));
        sse__subscriber_close(&sub);
    }
    subscribe(&sub, s, "$");
    assert_drained(&sub, "");
    append(s, "c");
    assert_non_null(strstr(drain(&sub), "data: c\n\n"));
    sse__subscriber_close(&sub);
    for (int i = 0; i < 8; i++) {
        const char *wrong[] = {"x",  "-1", "1-",         "01",
                               "$$", "1 ", "1-ABCDEF00", "1-123456789"};

        assert_int_equal(subscribe_to(&sub, s, wrong[i]), SSE_ERR_CURSOR);
        assert_false(sse__subscriber_is_open(&sub));
    }
    assert_int_equal(s->subscriber_count, 0);
    close_hub();
}

#define DIVERGED(to) \
    "event: gap\ndata: {\"from\":1,\"to\":" to ",\"missed\":null," \
    "\"reason\":\"diverged\"}\n\n"

static void tells_of_another_log(void **state)
{
    static const char *const wrong[] = {"1-00000000", "2", "99", "3-0000aaaa"};
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};
    sse__subscriber sub;
    sse__stream    *s;
    char            want[200];

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    append(s, "a");
    snprintf(want, sizeof(want), DIVERGED("0") "id: %s\ndata: a\n\n",
             last_id(s).text);
    for (int i = 0; i < 4; i++) {
        subscribe(&sub, s, wrong[i]);
        assert_drained(&sub, want);
        sse__subscriber_close(&sub);
    }
    assert_int_equal(hub.counters.gaps[SSE_GAP_DIVERGED], 4);
    assert_int_equal(hub.counters.missed[SSE_GAP_DIVERGED], 0);
    close_hub();
}

/* The id that a reader had from the old stream is no place in the new one,
 * even where the data is the same: the time is not. */
static void tells_of_a_created_again_stream(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};
    sse__subscriber sub;
    sse__stream    *s;
    sse_event_id    old;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    append(s, "a");
    old = last_id(s);
    end(s);
    pass(1);
    s = create("s", NULL, NULL);
    append(s, "a");
    subscribe(&sub, s, old.text);
    assert_int_equal(strncmp(drain(&sub), DIVERGED("0"), 40), 0);
    sse__subscriber_close(&sub);
    close_hub();
}

static void knows_the_end(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};
    sse__subscriber sub;
    sse__stream    *s;
    char            want[200];

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    append(s, "a");
    end(s);
    assert_int_equal(subscribe_to(&sub, s, last_id(s).text), SSE_ERR_ENDED);
    assert_int_equal(subscribe_to(&sub, s, "2"), SSE_ERR_ENDED);
    assert_int_equal(subscribe_to(&sub, s, "$"), SSE_ERR_ENDED);
    snprintf(want, sizeof(want), "id: %s\nevent: completed\ndata: {}\n\n[1]",
             last_id(s).text);
    subscribe(&sub, s, "1");
    assert_drained(&sub, want);
    subscribe(&sub, s, "3"); /* beyond the end: not of this log */
    assert_int_equal(strncmp(drain(&sub), DIVERGED("0"), 40), 0);
    subscribe(&sub, s, "");
    assert_non_null(strstr(drain(&sub), "{}\n\n[1]"));
    close_hub();
}

/* The completion outlives the log's age: a late reader gets it. */
static void keeps_the_terminal_event(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .retry_ms = SSE_NEVER,
                            .log_age_ms = 1000,
                            .completion_ttl_ms = 60000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    pass(0);
    s = create("s", NULL, NULL);
    append(s, "a");
    end(s);
    pass(30000);
    subscribe(&sub, s, "");
    drain(&sub);
    assert_int_equal(s->log.first_seq, 2);
    subscribe(&sub, s, "");
    assert_non_null(strstr(drain(&sub), "{\"from\":1,\"to\":1,\"missed\":1,"
                                        "\"reason\":\"expired\"}\n\nid: 2-"));
    close_hub();
}

/* ---- Gaps and policies ---- */

static void fill(sse__stream *s, int count)
{
    while (count-- > 0)
        append(s, "x");
}

static void says_why_events_are_gone(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .retry_ms = SSE_NEVER,
                            .log_events = 3,
                            .log_age_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    pass(0);
    s = create("s", NULL, NULL);
    fill(s, 10);
    subscribe(&sub, s, "2");
    assert_int_equal(strncmp(drain(&sub),
                             "event: gap\ndata: {\"from\":3,\"to\":7,"
                             "\"missed\":5,\"reason\":\"trimmed\"}\n\nid: 8-",
                             70),
                     0);
    sse__port_take(&port); /* nothing */
    fill(s, 4);            /* one more than the log keeps */
    assert_int_equal(strncmp(drain(&sub),
                             "event: gap\ndata: {\"from\":11,\"to\":11,"
                             "\"missed\":1,\"reason\":\"lagged\"}\n\nid: 12-",
                             72),
                     0);
    sse__subscriber_close(&sub);
    pass(2000);
    subscribe(&sub, s, "14");
    assert_drained(&sub, "");
    sse__subscriber_close(&sub);
    subscribe(&sub, s, "12"); /* all are too old by now */
    assert_drained(&sub, "event: gap\ndata: {\"from\":13,\"to\":14,"
                         "\"missed\":2,\"reason\":\"expired\"}\n\n");
    sse__subscriber_close(&sub);
    assert_int_equal(hub.counters.gaps[SSE_GAP_TRIMMED], 1);
    assert_int_equal(hub.counters.missed[SSE_GAP_TRIMMED], 5);
    assert_int_equal(hub.counters.gaps[SSE_GAP_LAGGED], 1);
    assert_int_equal(hub.counters.missed[SSE_GAP_LAGGED], 1);
    assert_int_equal(hub.counters.missed[SSE_GAP_EXPIRED], 2);
    close_hub();
}

static void disconnects_slow_readers(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .log_events = 3,
                            .slow_policy = SSE_SLOW_DISCONNECT};
    sse__subscriber fast, slow;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    fill(s, 5);
    subscribe(&slow, s, ""); /* to be behind at first is not to be slow */
    assert_non_null(strstr(drain(&slow), "trimmed"));
    subscribe(&fast, s, "$");
    drain(&fast);
    for (int i = 0; i < 4; i++) {
        sse__subscriber *sub;

        fill(s, 1);
        while ((sub = sse__port_take(&port)) != &fast)
            assert_ptr_equal(sub, &slow); /* stays taken */
        take_text(&fast, 1000);
        sse__subscriber_give(&fast);
    }
    sse__subscriber_give(&slow);
    assert_drained(&slow, "[2]");
    assert_int_equal(hub.counters.lagged_ends, 1);
    assert_int_equal(hub.counters.gaps[SSE_GAP_LAGGED], 0);
    sse__subscriber_close(&fast);
    close_hub();
}

static sse__stream *create_blocking(uint32_t events, uint32_t bytes)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .log_events = events,
                               .log_bytes = bytes,
                               .slow_policy_set = 1,
                               .slow_policy = SSE_SLOW_BLOCK};

    return create("s", NULL, &opts);
}

/* Whether an append of that many events of one byte must. */
static bool must_wait(sse__stream *s, size_t count)
{
    const sse__new_event events[3] = {
        {"", 0, "x", 1}, {"", 0, "x", 1}, {"", 0, "x", 1}};

    return sse__stream_must_wait(s, events, count);
}

static void blocks_for_slow_readers(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_blocking(3, 0);
    fill(s, 5);
    assert_false(must_wait(s, 1)); /* nobody reads */
    subscribe(&sub, s, "$");
    drain(&sub);
    fill(s, 3);
    assert_true(must_wait(s, 1));
    hub.progress = false;
    sse__port_take(&port);
    take_text(&sub, 1); /* one of the three */
    assert_true(hub.progress);
    assert_false(must_wait(s, 1));
    assert_true(must_wait(s, 2));
    take_text(&sub, 10000);
    assert_false(must_wait(s, 3));
    sse__subscriber_give(&sub);
    fill(s, 3);
    assert_true(must_wait(s, 1));
    hub.progress = false;
    sse__subscriber_close(&sub);
    assert_true(hub.progress);
    assert_false(must_wait(s, 1));
    close_hub();
}

/* What counts against log_bytes is the event on the wire, id and all: an
 * append that would push out what a reader has not had must wait. */
static void blocks_by_bytes_as_the_log_counts_them(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_blocking(1000, 300);
    subscribe(&sub, s, "");
    drain(&sub);
    for (int i = 0; i < 100; i++)
        if (!must_wait(s, 1))
            append(s, "x");
    assert_null(strstr(drain(&sub), "event: gap"));
    sse__subscriber_close(&sub);
    close_hub();
}

/* Each line of data takes more of the log than its text. */
static void blocks_for_line_ends_too(void **state)
{
    static const char    data[] = "a\nb\r\nc\rd\n\n\n\r\n\r";
    const sse__new_event event = {"kind", 4, data, sizeof(data) - 1};
    sse__subscriber      sub;
    sse__stream         *s;

    (void)state;
    open_hub(NULL);
    s = create_blocking(1000, 1000);
    subscribe(&sub, s, "");
    drain(&sub);
    for (int i = 0; i < 30; i++) {
        uint64_t first = s->log.first_seq;

        if (sse__stream_must_wait(s, &event, 1))
            break;
        OK(sse__stream_append(s, &event, 1, NULL));
        assert_int_equal(s->log.first_seq, first);
    }
    assert_true(s->log.bytes > 850); /* it did not wait before it had to */
    assert_true(sse__stream_must_wait(s, &event, 1));
    sse__subscriber_close(&sub);
    close_hub();
}

/* Events that are gone already are no reason to wait. */
static void does_not_block_for_what_is_gone(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_age_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    pass(0);
    s = create_blocking(100, 0);
    fill(s, 10);
    pass(2000);
    subscribe(&sub, s, "");
    assert_int_equal(s->log.first_seq, 11);
    assert_false(must_wait(s, 1));
    sse__subscriber_close(&sub);
    close_hub();
}

/* ---- Limits, memory ---- */

static void limits_their_number(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .max_subscribers = 2};
    sse__subscriber a, b, c;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    subscribe(&a, s, "");
    subscribe(&b, s, "");
    assert_int_equal(subscribe_to(&c, s, ""), SSE_ERR_LIMIT);
    assert_false(sse__subscriber_is_open(&c));
    sse__subscriber_close(&a);
    sse__subscriber_close(&a); /* does nothing */
    subscribe(&c, s, "");
    sse__subscriber_close(&b);
    sse__subscriber_close(&c);
    close_hub();
}

static void ends_with_its_stream(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    sse__stream_ref(s);
    append(s, "a");
    subscribe(&sub, s, "");
    drain(&sub);
    sse__stream_remove(s);
    assert_drained(&sub, "[3]");
    assert_int_equal(subscribe_to(&sub, s, ""), SSE_ERR_NOT_FOUND);
    sse__stream_unref(s);
    close_hub();
}

/* While the last take is being written, all sorts of things may happen. */
static void survives_a_close_while_taken(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;
    sse__take       take;
    char            first;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    append(s, "a");
    subscribe(&sub, s, "");
    sse__port_take(&port);
    sse__subscriber_take(&sub, 1000, &take);
    first = take.spans[0].data[0];
    sse__subscriber_close(&sub);
    sse__stream_remove(s);
    assert_int_equal(take.spans[0].data[0], first);
    sse__take_drop(&take);
    close_hub();
}

static void survives_want_of_memory(void)
{
    sse__subscriber a, b;
    sse__stream    *s;

    open_hub(NULL);
    s = create("s", NULL, NULL);
    append(s, "a");
    subscribe(&a, s, "");
    subscribe(&b, s, "$");
    assert_int_equal(s->subscriber_count, 2);
    assert_int_equal(hub.counters.subscribed, 2);
    append(s, "b");
    sse__subscriber_close(&a);
    sse__subscriber_close(&b);
    close_hub();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_all_kinds_of_cursors),
        cmocka_unit_test(tells_of_another_log),
        cmocka_unit_test(tells_of_a_created_again_stream),
        cmocka_unit_test(knows_the_end),
        cmocka_unit_test(keeps_the_terminal_event),
        cmocka_unit_test(says_why_events_are_gone),
        cmocka_unit_test(disconnects_slow_readers),
        cmocka_unit_test(blocks_for_slow_readers),
        cmocka_unit_test(blocks_by_bytes_as_the_log_counts_them),
        cmocka_unit_test(blocks_for_line_ends_too),
        cmocka_unit_test(does_not_block_for_what_is_gone),
        cmocka_unit_test(limits_their_number),
        cmocka_unit_test(ends_with_its_stream),
        cmocka_unit_test(survives_a_close_while_taken),
        FAIL_ALLOC_TEST(survives_want_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
