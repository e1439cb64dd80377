/* SPDX-License-Identifier: MIT */
/* hub_test.c - the hub's options, time, random numbers and ports. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "subscriber.h"

static sse__hub hub;

static sse__stream *create(const char *id)
{
    sse__stream *s;

    OK(sse__stream_create(&hub, id, strlen(id), NULL, NULL, &s));
    return s;
}

static void append(sse__stream *s, const char *data)
{
    sse__new_event e = {"", 0, data, strlen(data)};

    OK(sse__stream_append(s, &e, 1, NULL));
}

static void fills_in_defaults(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .log_events = 5, .retry_ms = SSE_NEVER};

    (void)state;
    OK(sse__hub_init(&hub, NULL, 1, 0, 0));
    assert_int_equal(hub.opts.log_events, 10000);
    assert_int_equal(hub.opts.log_bytes, 4 << 20);
    assert_int_equal(hub.opts.log_age_ms, 3600000);
    assert_int_equal(hub.opts.channel_events, 1000);
    assert_int_equal(hub.opts.stream_ttl_ms, 3600000);
    assert_int_equal(hub.opts.completion_ttl_ms, 300000);
    assert_int_equal(hub.opts.heartbeat_ms, 15000);
    assert_int_equal(hub.opts.max_event_bytes, 1 << 20);
    sse__hub_free(&hub);
    OK(sse__hub_init(&hub, &opts, 1, 0, 0));
    assert_int_equal(hub.opts.log_events, 5);
    assert_int_equal(hub.opts.retry_ms, SSE_NEVER);
    sse__hub_free(&hub);
}

static void refuses_bad_options(void **state)
{
    sse_hub_options bad[] = {
        {.size = 3},
        {.size = sizeof(bad[0]), .flags = 1},
        {.size = sizeof(bad[0]), .reserved = 1},
        {.size = sizeof(bad[0]), .heartbeat = 3},
        {.size = sizeof(bad[0]), .id_format = 2},
        {.size = sizeof(bad[0]), .slow_policy = 3},
        {.size = sizeof(bad[0]), .unread_policy = 3},
        {.size = sizeof(bad[0]), .log_events = (1u << 24) + 1},
        {.size = sizeof(bad[0]), .log_bytes = (1u << 30) + 1},
        {.size = sizeof(bad[0]), .max_event_bytes = (1u << 28) + 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(sse__hub_init(&hub, &bad[i], 1, 0, 0), SSE_ERR_INVAL);
}

static void time_never_goes_back(void **state)
{
    (void)state;
    OK(sse__hub_init(&hub, NULL, 1, 1000, 5000));
    sse__hub_set_time(&hub, 900, 4000);
    assert_int_equal(hub.mono_ms, 1000);
    assert_int_equal(hub.wall_ms, 4000); /* people set this one */
    sse__hub_set_time(&hub, 1100, 6000);
    assert_int_equal(hub.mono_ms, 1100);
    sse__hub_free(&hub);
}

static void draws_other_numbers_for_other_seeds(void **state)
{
    uint64_t a, b;

    (void)state;
    OK(sse__hub_init(&hub, NULL, 1, 0, 0));
    a = sse__hub_random(&hub);
    b = sse__hub_random(&hub);
    assert_true(a != b);
    sse__hub_free(&hub);
    OK(sse__hub_init(&hub, NULL, 2, 0, 0));
    assert_true(sse__hub_random(&hub) != a);
    sse__hub_free(&hub);
    OK(sse__hub_init(&hub, NULL, 1, 0, 0));
    assert_true(sse__hub_random(&hub) == a);
    sse__hub_free(&hub);
}

static void ports_take_in_order(void **state)
{
    enum { COUNT = 5 };
    sse__subscriber subs[COUNT];
    sse__port       port;
    sse__take       take;
    uint64_t        key;
    uint32_t        reason;

    (void)state;
    OK(sse__hub_init(&hub, NULL, 1, 0, 0));
    sse__port_init(&port, &hub);
    assert_null(sse__port_take(&port));
    assert_false(sse__port_take_stop(&port, &key, &reason));
    for (int i = 0; i < COUNT; i++) {
        char id[2] = {(char)('a' + i), '\0'};

        OK(sse__subscriber_open(&subs[i], create(id), &port, "", 0, NULL));
    }
    for (int i = 0; i < COUNT; i++) { /* first come, first served */
        assert_ptr_equal(sse__port_take(&port), &subs[i]);
        sse__subscriber_take(&subs[i], 100, &take);
        sse__take_drop(&take);
        sse__subscriber_give(&subs[i]);
    }
    assert_null(sse__port_take(&port));
    sse__port_free(&port);
    sse__hub_free(&hub);
}

/* One reader with much to take does not keep the others waiting. */
static void ports_take_turns(void **state)
{
    sse__subscriber greedy, modest;
    sse__stream    *s;
    sse__port       port;
    sse__take       take;

    (void)state;
    OK(sse__hub_init(&hub, NULL, 1, 0, 0));
    sse__port_init(&port, &hub);
    s = create("s");
    for (int i = 0; i < 100; i++)
        append(s, "x");
    OK(sse__subscriber_open(&greedy, s, &port, "", 0, NULL));
    OK(sse__subscriber_open(&modest, s, &port, "99", 2, NULL));
    assert_ptr_equal(sse__port_take(&port), &greedy);
    sse__subscriber_take(&greedy, 1, &take);
    sse__take_drop(&take);
    sse__subscriber_give(&greedy);
    assert_ptr_equal(sse__port_take(&port), &modest);
    sse__port_free(&port);
    sse__hub_free(&hub);
}

/* Whoever has woken many is still telling the others when this one finds that
 * there is nothing left, and is woken again. */
static void ports_are_woken_again_before_they_are_told(void **state)
{
    sse__port port;

    (void)state;
    OK(sse__hub_init(&hub, NULL, 1, 0, 0));
    sse__port_init(&port, &hub);
    sse__port_wake(&port);
    port.armed = true;
    sse__port_wake(&port);
    assert_ptr_equal(hub.wakes.next, &port.wake_link);
    sse__list_drop(hub.wakes.next);
    assert_true(sse__list_empty(&hub.wakes));
    sse__port_free(&port);
    sse__hub_free(&hub);
}

/* A port frees its readers, on however many streams; others' stay. */
static void ports_free_their_readers(void **state)
{
    sse__subscriber mine[10], other;
    sse__port       port, second;
    sse__stream    *a, *b;

    (void)state;
    OK(sse__hub_init(&hub, NULL, 1, 0, 0));
    sse__port_init(&port, &hub);
    sse__port_init(&second, &hub);
    a = create("a");
    b = create("b");
    OK(sse__subscriber_open(&other, a, &second, "", 0, NULL));
    for (int i = 0; i < 10; i++)
        OK(sse__subscriber_open(&mine[i], i % 2 ? a : b, &port, "", 0, NULL));
    assert_ptr_equal(sse__port_take(&port), &mine[0]); /* one is taken */
    sse__stream_remove(b);
    sse__port_free(&port);
    for (int i = 0; i < 10; i++)
        assert_false(sse__subscriber_is_open(&mine[i]));
    assert_true(sse__subscriber_is_open(&other));
    assert_int_equal(a->subscriber_count, 1);
    assert_int_equal(hub.counters.subscribers, 1);
    sse__subscriber_close(&other);
    sse__port_free(&second);
    sse__hub_free(&hub);
}

/* The gauge follows the logs: by count, by age, on removal. */
static void counts_log_bytes(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .log_events = 3, .log_age_ms = 1000};
    sse__subscriber sub;
    sse__port       port;
    sse__stream    *s;

    (void)state;
    OK(sse__hub_init(&hub, &opts, 1, 0, 5000));
    sse__port_init(&port, &hub);
    s = create("s");
    for (int i = 0; i < 5; i++)
        append(s, "x");
    assert_int_equal(hub.counters.log_bytes, s->log.bytes);
    sse__hub_set_time(&hub, 2000, 7000);
    append(s, "x");
    assert_int_equal(s->log.first_seq, 6);
    assert_int_equal(hub.counters.log_bytes, s->log.bytes);
    sse__hub_set_time(&hub, 4000, 9000);
    OK(sse__subscriber_open(&sub, s, &port, "", 0, NULL));
    assert_int_equal(s->log.bytes, 0); /* a reader finds nothing too old */
    assert_int_equal(hub.counters.log_bytes, 0);
    sse__port_free(&port);
    sse__hub_free(&hub);
    assert_int_equal(hub.counters.log_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(draws_other_numbers_for_other_seeds),
        cmocka_unit_test(ports_take_in_order),
        cmocka_unit_test(ports_take_turns),
        cmocka_unit_test(ports_are_woken_again_before_they_are_told),
        cmocka_unit_test(ports_free_their_readers),
        cmocka_unit_test(counts_log_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
