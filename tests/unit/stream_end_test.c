/* SPDX-License-Identifier: MIT */
/* stream_end_test.c - how streams end: by their producer, a stop, for want of
 * readers, and in time; on a scripted clock. */
#include <stdio.h>

#include "stream_fixture.h"

#define LATE (2 * SSE__WHEEL_TICK_MS) /* more than a timer may be late */

/* Why the next producer must stop, or SSE_REASON_NONE. */
static uint32_t take_stop(sse__port *p)
{
    uint64_t key;
    uint32_t reason;

    return sse__port_take_stop(p, &key, &reason) ? reason : SSE_REASON_NONE;
}

/* ---- The end ---- */

static void ends_with_a_terminal_event(void **state)
{
    static const uint32_t states[] = {SSE_STATE_COMPLETED, SSE_STATE_FAILED,
                                      SSE_STATE_CANCELLED};
    sse__stream          *s;

    (void)state;
    open_hub(NULL);
    for (int i = 0; i < 3; i++) {
        char want[64];

        s = create("s", NULL, NULL);
        append(s, "a");
        pass(5);
        OK(end_as(s, states[i], "", "{}"));
        assert_int_equal(s->state, states[i]);
        assert_int_equal(s->ended_ms, hub.wall_ms);
        snprintf(want, sizeof(want), "event: %s\ndata: {}\n\n",
                 sse_state_name((int)states[i]));
        assert_non_null(strstr(wire(s), want));
        assert_int_equal(append_as(s, "", "b", 1, NULL), SSE_ERR_ENDED);
        assert_int_equal(end_as(s, states[i], "", "b"), SSE_ERR_ENDED);
        assert_int_equal(sse__stream_stop(s, SSE_REASON_REQUESTED), SSE_OK);
        assert_int_equal(s->log.next_seq, 3);
        assert_int_equal(hub.counters.streams_ended[states[i]], 1);
    }
    s = create("t", NULL, NULL);
    OK(end_as(s, SSE_STATE_COMPLETED, "done", "yes"));
    assert_non_null(strstr(wire(s), "event: done\ndata: yes\n\n"));
    close_hub();
}

static void refuses_other_ends(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    assert_int_equal(end_as(s, SSE_STATE_ACTIVE, "", ""), SSE_ERR_INVAL);
    assert_int_equal(end_as(s, SSE_STATE_ORPHANED, "", ""), SSE_ERR_INVAL);
    assert_int_equal(end_as(s, SSE_STATE_EXPIRED, "", ""), SSE_ERR_INVAL);
    assert_int_equal(end_as(s, 99, "", ""), SSE_ERR_INVAL);
    assert_int_equal(end_as(s, SSE_STATE_FAILED, "a\n", ""), SSE_ERR_INVAL);
    assert_int_equal(end_as(s, SSE_STATE_FAILED, "", "\xff"), SSE_ERR_UTF8);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    append(s, "a");
    sse__stream_ref(s);
    sse__stream_remove(s);
    assert_int_equal(append_as(s, "", "b", 1, NULL), SSE_ERR_NOT_FOUND);
    assert_int_equal(end_as(s, SSE_STATE_FAILED, "", ""), SSE_ERR_NOT_FOUND);
    assert_int_equal(sse__stream_set_owner(s, "u", 1), SSE_ERR_NOT_FOUND);
    sse__stream_unref(s);
    close_hub();
}

static void channels_have_no_end(void **state)
{
    sse_hub_options hub_opts = {.size = sizeof(hub_opts), .channel_events = 3};
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags = SSE_STREAM_CHANNEL};
    sse__stream       *s;

    (void)state;
    open_hub(&hub_opts);
    s = create("s", NULL, &opts);
    assert_int_equal(end_as(s, SSE_STATE_COMPLETED, "", ""), SSE_ERR_INVAL);
    for (int i = 0; i < 5; i++)
        append(s, "a");
    assert_int_equal(s->log.first_seq, 3);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    close_hub();
}

/* ---- Stop ---- */

static void stops_at_once_without_a_producer(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    OK(sse__stream_stop(s, SSE_REASON_REQUESTED));
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    assert_non_null(strstr(wire(s), "event: cancelled\n"
                                    "data: {\"reason\":\"stop\"}\n\n"));
    OK(sse__stream_stop(s, SSE_REASON_REQUESTED));
    assert_int_equal(hub.counters.stops, 1);
    close_hub();
}

static void asks_the_producer_to_stop(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create("s", &boss, NULL);
    OK(sse__stream_stop(s, SSE_REASON_REQUESTED));
    OK(sse__stream_stop(s, SSE_REASON_SHUTDOWN)); /* once is enough */
    assert_ptr_equal(hub.wakes.next, &boss.wake_link);
    assert_int_equal(take_stop(&boss), SSE_REASON_REQUESTED);
    assert_int_equal(take_stop(&boss), SSE_REASON_NONE);
    append(s, "one more"); /* it has time to end by itself */
    pass(4900);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    OK(end_as(s, SSE_STATE_CANCELLED, "", "mine"));
    pass(10000);
    assert_non_null(strstr(wire(s), "event: cancelled\ndata: mine\n\n"));
    assert_null(strstr(wire(s), "reason"));
    close_hub();
}

/* The stream is gone at once; its producer hears of it all the same. */
static void tells_a_producer_what_it_lost(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create("s", &boss, NULL);
    sse__stream_lose(s, SSE_REASON_REMOVED);
    assert_null(sse__hub_find(&hub, "s", 1));
    assert_int_equal(take_stop(&boss), SSE_REASON_REMOVED);
    assert_int_equal(take_stop(&boss), SSE_REASON_NONE);

    s = create("s", &boss, NULL); /* had been asked to stop before */
    OK(sse__stream_stop(s, SSE_REASON_REQUESTED));
    sse__stream_lose(s, SSE_REASON_REMOVED);
    assert_int_equal(take_stop(&boss), SSE_REASON_REMOVED);
    assert_int_equal(take_stop(&boss), SSE_REASON_NONE);

    s = create("s", NULL, NULL); /* nobody to tell */
    sse__stream_lose(s, SSE_REASON_REMOVED);
    s = create("s", &boss, NULL); /* nothing to stop */
    OK(end_as(s, SSE_STATE_COMPLETED, "", ""));
    sse__stream_lose(s, SSE_REASON_REMOVED);
    assert_int_equal(take_stop(&boss), SSE_REASON_NONE);

    s = create("s", &boss, NULL); /* never taken */
    sse__stream_lose(s, SSE_REASON_REMOVED);
    close_hub();
}

static void ends_it_after_the_grace(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .stop_grace_ms = 700};
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", &boss, NULL);
    OK(sse__stream_stop(s, SSE_REASON_SHUTDOWN));
    pass(699);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    pass(LATE);
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    assert_non_null(strstr(wire(s), "{\"reason\":\"shutdown\"}"));
    assert_int_equal(take_stop(&boss),
                     SSE_REASON_NONE); /* there is nothing to stop */
    close_hub();
}

/* A producer that goes leaves its streams; those it was to stop end. */
static void outlives_its_producer(void **state)
{
    sse__stream *stopped, *other;

    (void)state;
    open_hub(NULL);
    stopped = create("a", &boss, NULL);
    other = create("b", &boss, NULL);
    OK(sse__stream_stop(stopped, SSE_REASON_REQUESTED));
    sse__port_free(&boss);
    sse__port_init(&boss, &hub);
    assert_int_equal(stopped->state, SSE_STATE_ACTIVE);
    append(other, "a");
    pass(5000 + LATE);
    assert_int_equal(stopped->state, SSE_STATE_CANCELLED);
    OK(sse__stream_stop(other, SSE_REASON_REQUESTED));
    assert_int_equal(other->state, SSE_STATE_CANCELLED);
    close_hub();
}

static void frees_a_producing_port_with_its_readers(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .unread_policy_set = 1,
                               .unread_policy = SSE_UNREAD_CANCEL};
    sse__subscriber    a, b;
    sse__stream       *s;

    (void)state;
    open_hub(NULL);
    s = create("s", &port, &opts); /* reads what it writes */
    subscribe(&a, s);
    subscribe(&b, s);
    sse__port_free(&port);
    assert_false(sse__subscriber_is_open(&a));
    assert_false(sse__subscriber_is_open(&b));
    assert_true(sse__list_empty(&hub.wakes));
    sse__port_init(&port, &hub);
    pass(5000 + LATE);
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    close_hub();
}

/* However small its events must be, a stop ends a stream. */
static void stops_in_spite_of_limits(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .max_event_bytes = 8};
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    append(s, "12345678");
    OK(sse__stream_stop(s, SSE_REASON_REQUESTED));
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    close_hub();
}

static void stops_in_spite_of_a_small_log(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts), .log_bytes = 40};
    sse__stream       *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, &opts);
    append(s, "a");
    OK(sse__stream_stop(s, SSE_REASON_REQUESTED));
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    close_hub();
}

/* ---- Nobody reads ---- */

static sse__stream *create_unread(uint32_t policy, sse__port *producer)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .unread_policy_set = 1,
                               .unread_policy = policy,
                               .unread_ms = 1000};

    return create("s", producer, &opts);
}

static void goes_on_unread(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_unread(SSE_UNREAD_CONTINUE, NULL);
    subscribe(&sub, s);
    sse__subscriber_close(&sub);
    pass(100000);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    close_hub();
}

static void cancels_unread(void **state)
{
    sse__subscriber a, b;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_unread(SSE_UNREAD_CANCEL, NULL);
    pass(100000); /* nobody has come yet: nobody has left */
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    subscribe(&a, s);
    subscribe(&b, s);
    sse__subscriber_close(&a);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    sse__subscriber_close(&b);
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    assert_non_null(strstr(wire(s), "{\"reason\":\"unread\"}"));
    close_hub();
}

static void cancels_after_a_while_unread(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_unread(SSE_UNREAD_CANCEL_AFTER, &boss);
    pass(900);
    subscribe(&sub, s); /* just in time */
    pass(100000);
    assert_int_equal(take_stop(&boss), SSE_REASON_NONE);
    sse__subscriber_close(&sub);
    pass(900);
    subscribe(&sub, s);
    pass(5000);
    sse__subscriber_close(&sub);
    pass(999);
    assert_int_equal(take_stop(&boss), SSE_REASON_NONE);
    pass(LATE);
    assert_int_equal(take_stop(&boss), SSE_REASON_UNREAD);
    subscribe(&sub, s); /* too late: it was told */
    pass(5000 + LATE);
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    sse__subscriber_close(&sub);
    close_hub();
}

static void cancels_what_nobody_ever_read(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create_unread(SSE_UNREAD_CANCEL_AFTER, NULL);
    pass(1000 + LATE);
    assert_int_equal(s->state, SSE_STATE_CANCELLED);
    close_hub();
}

/* ---- Time to live ---- */

static void expires_without_events(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .stream_ttl_ms = 10000,
                            .completion_ttl_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    for (int i = 0; i < 5; i++) {
        pass(9000);
        append(s, "a");
    }
    subscribe(&sub, s); /* readers do not keep it */
    pass(9999);
    assert_true(exists("s"));
    pass(LATE);
    assert_false(exists("s"));
    assert_int_equal(hub.counters.streams_ended[SSE_STATE_EXPIRED], 1);
    assert_int_equal(sub.end, SSE_REASON_REMOVED);
    sse__subscriber_close(&sub);
    close_hub();
}

static void forgets_a_completion_in_its_time(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .stream_ttl_ms = 10000,
                            .completion_ttl_ms = 1000};
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    pass(500);
    OK(end_as(s, SSE_STATE_COMPLETED, "", ""));
    pass(999);
    assert_true(exists("s"));
    pass(LATE);
    assert_false(exists("s"));
    assert_int_equal(hub.counters.streams_ended[SSE_STATE_EXPIRED], 0);
    close_hub();
}

static void keeps_a_channel_that_is_read(void **state)
{
    sse_hub_options    hub_opts = {.size = sizeof(hub_opts),
                                   .stream_ttl_ms = 1000,
                                   .heartbeat_ms = SSE_NEVER};
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags = SSE_STREAM_CHANNEL};
    sse__subscriber    sub;

    (void)state;
    open_hub(&hub_opts);
    subscribe(&sub, create("s", NULL, &opts));
    for (int i = 0; i < 20; i++)
        pass(500);
    assert_true(exists("s"));
    sse__subscriber_close(&sub);
    pass(1000 + LATE);
    assert_false(exists("s"));
    close_hub();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_with_a_terminal_event),
        cmocka_unit_test(refuses_other_ends),
        cmocka_unit_test(channels_have_no_end),
        cmocka_unit_test(stops_at_once_without_a_producer),
        cmocka_unit_test(asks_the_producer_to_stop),
        cmocka_unit_test(tells_a_producer_what_it_lost),
        cmocka_unit_test(ends_it_after_the_grace),
        cmocka_unit_test(outlives_its_producer),
        cmocka_unit_test(frees_a_producing_port_with_its_readers),
        cmocka_unit_test(stops_in_spite_of_limits),
        cmocka_unit_test(stops_in_spite_of_a_small_log),
        cmocka_unit_test(goes_on_unread),
        cmocka_unit_test(cancels_unread),
        cmocka_unit_test(cancels_after_a_while_unread),
        cmocka_unit_test(cancels_what_nobody_ever_read),
        cmocka_unit_test(expires_without_events),
        cmocka_unit_test(forgets_a_completion_in_its_time),
        cmocka_unit_test(keeps_a_channel_that_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
