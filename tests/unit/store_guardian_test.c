/* SPDX-License-Identifier: MIT */
/* store_guardian_test.c - streams whose producer has died, and what becomes of
 * them. */
#include "store_producer.h"
#include "store_reader.h"

#include <stdio.h>
#include <string.h>

#include "support.h"

#define OK(call) assert_int_equal(call, SSE_OK)

static redis_process redis;

static int start(void **state)
{
    (void)state;
    redis_new(&redis, 0, "");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    redis_remove(&redis);
    return 0;
}

static sse_hub *open_hub(uint32_t sweep_ms)
{
    return store_lease_hub(&redis, sweep_ms);
}

/* ---- Without anybody to ask ---- */

static void fails_a_lost_stream(void **state)
{
    producer p = producer_run(&redis, 0, 1);
    sse_hub *hub;

    (void)state;
    assert_int_equal(producer_hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    producer_kill(&p);
    UNTIL(store_number(&redis, "EXISTS sse:completion:s0") == 1);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                        "failed");
    assert_string_equal(store_says(&redis,
                                   "HMGET sse:completion:s0 terminalEventType "
                                   "terminalEventData"),
                        "failed\n{\"reason\":\"producer lost\"}");
    assert_int_equal(store_number(&redis, "LLEN sse:events:s0"), 3);
    assert_int_equal(store_number(&redis, "ZCARD sse:active"), 0);
    UNTIL(store_metric(hub, "sse_guardian_settled_total") == 1);
    sse_hub_free(hub);
}

/* Readers on other hubs are not left waiting. */
static void ends_the_readers_of_a_lost_stream(void **state)
{
    producer p = producer_run(&redis, 0, 1);
    sse_hub *hub, *readers;
    reader   r;

    (void)state;
    assert_int_equal(producer_hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    readers = open_hub(SSE_NEVER);
    reader_open(&r, readers, "s0", "");
    UNTIL(reader_has(&r, "{\"n\":1}"));
    producer_kill(&p);
    UNTIL(reader_ended(&r));
    assert_true(
        reader_has(&r, "event: failed\ndata: {\"reason\":\"producer lost\"}"));
    reader_close(&r);
    sse_hub_free(hub);
    sse_hub_free(readers);
}

/* A program that knows only the plain layout stored the result and died before
 * it had set the state; another one never sent a life sign. */
static void settles_what_others_leave(void **state)
{
    sse_hub *hub;

    (void)state;
    redis_do(&redis, "HSET sse:stream:a streamId a streamType x userId u "
                     "state active metadata {} startedAt x lastHeartbeat x");
    redis_do(&redis, "HSET sse:completion:a streamId a terminalEventType done "
                     "terminalEventData 1 completedAt x");
    redis_do(&redis, "HSET sse:stream:b streamId b streamType x userId u "
                     "state orphaned metadata {} startedAt x lastHeartbeat x");
    redis_do(&redis, "ZADD sse:active 5 a 5 b 5 nothing");
    hub = open_hub(SWEEP_MS);
    UNTIL(store_number(&redis, "ZCARD sse:active") == 0);
    assert_string_equal(store_says(&redis, "HGET sse:stream:a state"),
                        "completed");
    assert_int_equal(store_number(&redis, "EXISTS sse:events:a"), 0);
    assert_string_equal(store_says(&redis, "HGET sse:stream:b state"),
                        "failed");
    assert_int_equal(store_number(&redis, "LLEN sse:events:b"), 1);
    sse_hub_free(hub);
}

static void keeps_its_own(void **state)
{
    sse_hub    *hub = open_hub(SWEEP_MS);
    sse_stream *s = store_stream(hub, "s", NULL, 0);
    sse_stream *t = store_stream(hub, "t", NULL, SSE_STREAM_SHARED);

    (void)state;
    for (unsigned turn = 0; turn < 5; turn++) {
        long long beats = store_metric(hub, "sse_store_life_signs_total");

        redis_do(&redis, "ZADD sse:active 5 s 5 t"); /* as if it were late */
        UNTIL(store_metric(hub, "sse_store_life_signs_total") >= beats + 2);
    }
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "active");
    assert_string_equal(store_says(&redis, "HGET sse:stream:t state"),
                        "active");
    assert_int_equal(store_metric(hub, "sse_guardian_settled_total"), 0);
    sse_stream_free(s);
    sse_stream_free(t);
    sse_hub_free(hub);
}

/* ---- With an application that judges ---- */

static void asks_the_application(void **state)
{
    producer   p = producer_run(&redis, 0, 1);
    sse_hub   *hub, *other;
    sse_queue *q;
    char       text[1024];

    (void)state;
    assert_int_equal(producer_hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    OK(sse_queue_new(hub, NULL, &q));
    OK(sse_hub_set_guardian(hub, q));
    UNTIL(store_number(&redis, "EXISTS sse:guardian") == 1);
    other = open_hub(SWEEP_MS); /* which leaves it to the first one */
    producer_kill(&p);
    store_note(q, SSE_NOTE_ORPHAN, text, sizeof(text));
    assert_non_null(strstr(text, "\"s0\""));
    assert_int_equal(store_settle(hub, "s1", SSE_STATE_COMPLETED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_int_equal(store_settle(other, "s0", SSE_STATE_COMPLETED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                        "active");
    while (store_settle(hub, "s0", SSE_STATE_COMPLETED, "{\"done\":1}") !=
           SSE_OK) /* an answer may come when the claim is over */
        store_note(q, SSE_NOTE_ORPHAN, NULL, 0);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                        "completed");
    assert_string_equal(
        store_says(&redis, "HGET sse:completion:s0 terminalEventData"),
        "{\"done\":1}");
    assert_int_equal(store_settle(hub, "s0", SSE_STATE_COMPLETED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_int_equal(store_metric(other, "sse_guardian_claimed_total"), 0);
    sse_queue_free(q);
    sse_hub_free(hub);
    sse_hub_free(other);
}

static void asks_again(void **state)
{
    producer   p = producer_run(&redis, 0, 1);
    sse_hub   *hub;
    sse_queue *q;

    (void)state;
    assert_int_equal(producer_hear(&p), 'r');
    producer_kill(&p);
    hub = open_hub(SWEEP_MS);
    OK(sse_queue_new(hub, NULL, &q));
    OK(sse_hub_set_guardian(hub, q));
    for (int i = 0; i < 2; i++) {
        do /* an answer may come when the claim is over */
            store_note(q, SSE_NOTE_ORPHAN, NULL, 0);
        while (store_settle(hub, "s0", SSE_STATE_ACTIVE, "") != SSE_OK);
        assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                            "orphaned");
    }
    assert_int_equal(store_number(&redis, "LLEN sse:events:s0"), 2);
    sse_queue_free(q);
    sse_hub_free(hub);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fails_a_lost_stream),
        TEST(ends_the_readers_of_a_lost_stream),
        TEST(settles_what_others_leave),
        TEST(keeps_its_own),
        TEST(asks_the_application),
        TEST(asks_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
