/* SPDX-License-Identifier: MIT */
/* store_lease_test.c - producers that come back, and many guardians at once. */
#include "store_producer.h"

#include <stdio.h>
#include <stdlib.h>
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

static void is_overtaken_by_a_life_sign(void **state)
{
    producer   p = producer_run(&redis, 0, 1);
    sse_hub   *hub;
    sse_queue *q;

    (void)state;
    assert_int_equal(producer_hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    OK(sse_queue_new(hub, NULL, &q));
    OK(sse_hub_set_guardian(hub, q));
    producer_pause(&p);
    store_note(q, SSE_NOTE_ORPHAN, NULL, 0);
    producer_resume(&p);
    redis_do(&redis, "CONFIG RESETSTAT");
    UNTIL(redis_info(&redis, "commandstats", "cmdstat_zadd:calls=") > 1);
    assert_int_equal(store_settle(hub, "s0", SSE_STATE_FAILED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                        "active");
    producer_kill(&p);
    sse_queue_free(q);
    sse_hub_free(hub);
}

/* A producer that stood still for too long finds another one at its place. */
static void fences_a_producer_that_comes_back(void **state)
{
    producer    p = producer_run(&redis, 0, 1);
    sse_hub    *hub;
    sse_stream *s;

    (void)state;
    assert_int_equal(producer_hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    producer_pause(&p);
    UNTIL(store_number(&redis, "EXISTS sse:completion:s0") == 1);
    s = store_stream(hub, "s0", NULL, 0);
    store_append_many(s, 0, 3);
    producer_resume(&p);
    assert_int_equal(producer_hear(&p), 'l');
    assert_int_equal(producer_hear(&p), 'n');
    store_append_many(s, 3, 3);
    UNTIL(store_metric(hub, "sse_store_waiting_events") == 0);
    assert_true(store_holds(&redis, "s0", 0, 6));
    producer_kill(&p);
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* ---- Many ---- */

#define PROCESSES 40u
#define EACH 5u
#define KILLED 10u
#define GUARDIANS 3u

static unsigned settle_all(sse_hub *hub, sse_queue *q)
{
    const sse_batch *batch;
    unsigned         settled = 0;

    assert_true(sse_queue_drain(q, 0, &batch) >= 0);
    for (size_t i = 0; i < batch->note_count; i++) {
        const sse_note *n = &batch->notes[i];
        const char     *at;
        char            text[1024], id[16];

        if (n->kind != SSE_NOTE_ORPHAN)
            continue;
        assert_true(n->len < sizeof(text)); /* no NUL ends it in the batch */
        memcpy(text, batch->data + n->offset, n->len);
        text[n->len] = '\0';
        at = strchr(text, ':') + 2;
        snprintf(id, sizeof(id), "%.*s", (int)strcspn(at, "\""), at);
        if (strtoul(id + 1, NULL, 10) < KILLED * EACH) /* not a slow one */
            settled +=
                store_settle(hub, id, SSE_STATE_COMPLETED, "{}") == SSE_OK;
    }
    return settled;
}

static void settles_each_once(void **state)
{
    producer   producers[PROCESSES];
    sse_hub   *hubs[GUARDIANS];
    sse_queue *queues[GUARDIANS];
    unsigned   settled = 0;
    long long  claimed = 0;

    (void)state;
    for (unsigned i = 0; i < PROCESSES; i++)
        producers[i] = producer_run(&redis, i * EACH, EACH);
    for (unsigned i = 0; i < PROCESSES; i++)
        assert_int_equal(producer_hear(&producers[i]), 'r');
    for (unsigned i = 0; i < GUARDIANS; i++) {
        hubs[i] = open_hub(SWEEP_MS);
        OK(sse_queue_new(hubs[i], NULL, &queues[i]));
        OK(sse_hub_set_guardian(hubs[i], queues[i]));
    }
    for (unsigned i = 0; i < KILLED; i++)
        producer_kill(&producers[i]);
    UNTIL((settled += settle_all(hubs[0], queues[0]) +
                      settle_all(hubs[1], queues[1]) +
                      settle_all(hubs[2], queues[2])) >= KILLED * EACH);
    assert_int_equal(settled, KILLED * EACH);
    for (unsigned i = 0; i < PROCESSES * EACH; i++)
        assert_int_equal(store_number(&redis, "LLEN sse:events:s%u", i),
                         i < KILLED * EACH ? 3 : 2);
    assert_int_equal(store_number(&redis, "ZCARD sse:active"),
                     (PROCESSES - KILLED) * EACH);
    for (unsigned i = 0; i < GUARDIANS; i++) {
        claimed += store_metric(hubs[i], "sse_guardian_claimed_total");
        sse_queue_free(queues[i]);
        sse_hub_free(hubs[i]);
    }
    assert_true(claimed >= KILLED * EACH);
    for (unsigned i = KILLED; i < PROCESSES; i++)
        producer_kill(&producers[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(is_overtaken_by_a_life_sign),
        TEST(fences_a_producer_that_comes_back),
        TEST(settles_each_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
