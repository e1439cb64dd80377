/* SPDX-License-Identifier: MIT */
/* store_tail_foreign_test.c - readers of what other programs have left in
 * Redis, or taken away. */
#include "store_reader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

#define OK(call) assert_int_equal(call, SSE_OK)

static redis_process redis;
static sse_hub      *a, *b;

static int start(void **state)
{
    (void)state;
    redis_new(&redis, 0, "");
    a = store_hub(&redis, NULL, NULL);
    b = store_hub(&redis, NULL, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sse_hub_free(a);
    sse_hub_free(b);
    redis_remove(&redis);
    return 0;
}

static void reads_rows_that_nobody_publishes(void **state)
{
    reader r;

    (void)state;
    redis_do(&redis, "HSET sse:stream:s streamId s streamType chat userId u "
                     "startedAt 2026-01-01T00:00:00.000Z lastHeartbeat "
                     "2026-01-01T00:00:00.000Z state active metadata {}");
    redis_do(&redis, "RPUSH sse:events:s %s",
             "{\"type\":\"token\",\"data\":1,\"ts\":5}");
    reader_open(&r, b, "s", "");
    UNTIL(reader_count(&r) == 1);
    redis_do(&redis, "RPUSH sse:events:s %s",
             "{\"type\":\"token\",\"data\":{\"x\":[]},\"ts\":6}");
    UNTIL(reader_count(&r) == 2);
    redis_do(&redis, "RPUSH sse:events:s %s", "no row");
    redis_do(&redis, "RPUSH sse:events:s %s", "{\"type\":\"a\",\"data\":2}");
    redis_do(&redis, "PUBLISH sse:ch:s %s", "");
    UNTIL(reader_count(&r) == 3);
    assert_true(reader_has(&r, "event: gap\ndata: {\"from\":3,\"to\":3,"
                               "\"missed\":1,\"reason\":\"unreadable\"}"));
    assert_int_equal(store_metric(b, "sse_store_unreadable_events_total"), 1);
    redis_do(&redis, "HSET sse:completion:s streamId s terminalEventType done "
                     "terminalEventData {\"ok\":1} completedAt "
                     "2026-01-01T00:00:01.000Z");
    redis_do(&redis, "HSET sse:stream:s state completed");
    redis_do(&redis, "PUBLISH sse:ch:s %s", "");
    UNTIL(reader_ended(&r));
    assert_true(reader_has(&r, "event: done\ndata: {\"ok\":1}\n\n"));
    reader_close(&r);
}

static void has_the_result_when_events_are_gone(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    reader      r;
    char        last[40];

    (void)state;
    store_append_many(s, 0, 5);
    reader_open(&r, a, "s", "");
    OK(store_end(s, SSE_STATE_COMPLETED, "{\"usage\":[1,2]}"));
    UNTIL(reader_ended(&r));
    reader_last_id(&r, last, sizeof(last));
    reader_close(&r);
    UNTIL(store_number(&redis, "EXISTS sse:completion:s") == 1);
    assert_int_equal(store_number(&redis, "DEL sse:events:s"), 1);
    reader_open(&r, b, "s", "");
    UNTIL(reader_ended(&r));
    assert_true(reader_has(&r, "event: gap\ndata: {\"from\":1,\"to\":5,"));
    assert_true(reader_has(&r, "event: completed\ndata: {\"usage\":[1,2]}"));
    assert_true(reader_has(&r, last));
    reader_close(&r);
    sse_stream_free(s);
}

static void survives_keys_of_other_types(void **state)
{
    reader r, fine;

    (void)state;
    redis_do(&redis, "SET sse:events:x 1");
    redis_do(&redis, "SET sse:stream:y 1");
    redis_do(&redis, "HSET sse:meta:z a b");
    redis_do(&redis, "RPUSH sse:completion:w a");
    redis_do(&redis, "HSET sse:stream:h lastHeartbeat 1");
    for (const char *id = "xyzw"; *id; id++) {
        char name[2] = {*id, '\0'};

        assert_int_equal(reader_try(&r, b, name, ""), SSE_ERR_STORE);
        reader_close(&r);
    }
    assert_int_equal(reader_try(&r, b, "h", ""), SSE_ERR_NOT_FOUND);
    reader_close(&r);
    redis_do(&redis, "RPUSH sse:events:v {}");
    reader_open(&fine, b, "v", "");
    UNTIL(reader_has(&fine, "unreadable"));
    redis_do(&redis, "DEL sse:events:v");
    redis_do(&redis, "SET sse:events:v 1");
    redis_do(&redis, "PUBLISH sse:ch:v %s", "");
    redis_do(&redis, "PUBLISH sse:ch:v %s", "9 - \nxx");
    redis_do(&redis, "PUBLISH sse:ch:v %s", "1 00000000");
    redis_do(&redis, "DEL sse:events:v");
    redis_do(&redis, "RPUSH sse:events:v {} %s", "{\"type\":\"back\"}");
    UNTIL(reader_has(&fine, "event: back"));
    reader_close(&fine);
}

/* Nobody restores what a stream lost that anybody writes. */
static void announces_what_is_lost(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, SSE_STREAM_SHARED);
    reader      r;

    (void)state;
    store_append_many(s, 0, 10);
    reader_open(&r, b, "s", "");
    UNTIL(reader_count(&r) == 10);
    redis_do(&redis, "FLUSHALL");
    redis_do(&redis, "HSET sse:stream:s streamId s state active");
    store_append_many(s, 100, 3);
    UNTIL(reader_has(&r, "{\"n\":102}"));
    assert_true(reader_has(&r, "\"missed\":null,\"reason\":\"diverged\""));
    assert_int_equal(reader_count(&r), 13);
    reader_close(&r);
    sse_stream_free(s);
}

/* ---- Writers that only say that there is something ---- */

typedef struct shouter {
    atomic_bool stop;
    atomic_uint written; /* not more than a log holds                        */
} shouter;

static void *shout(void *arg)
{
    enum { BURST = 32 };
    redisContext *c = redisConnectUnix(redis.socket);
    shouter      *w = arg;
    void         *reply;

    while (!atomic_load(&w->stop) && atomic_load(&w->written) < 3000) {
        redisAppendCommand(c, "RPUSH sse:events:s %s",
                           "{\"type\":\"token\",\"data\":1,\"ts\":1}");
        for (int i = 0; i < BURST; i++)
            redisAppendCommand(c, "PUBLISH sse:ch:s %s", "");
        for (int i = 0; i < BURST + 1; i++) {
            if (redisGetReply(c, &reply) != REDIS_OK)
                return arg;
            freeReplyObject(reply);
        }
        atomic_fetch_add(&w->written, 1);
    }
    redisFree(c);
    return NULL;
}

/* A reader need not wait until they are silent. */
static void joins_shouters(void **state)
{
    enum { READERS = 10, SHOUTERS = 3 };
    static reader r[READERS];
    shouter       w[SHOUTERS] = {{.written = 0}};
    pthread_t     threads[SHOUTERS];
    unsigned      written = 0;
    void         *failed;

    (void)state;
    redis_do(&redis, "RPUSH sse:events:s {}");
    for (int i = 0; i < SHOUTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, shout, &w[i]), 0);
    for (int i = 0; i < SHOUTERS; i++)
        UNTIL(atomic_load(&w[i].written) > 20);
    for (int i = 0; i < READERS; i++)
        reader_open(&r[i], i % 2 ? a : b, "s", i % 3 ? "" : "1");
    for (int i = 0; i < SHOUTERS; i++) {
        atomic_store(&w[i].stop, true);
        pthread_join(threads[i], &failed);
        assert_null(failed);
        written += atomic_load(&w[i].written);
    }
    for (int i = 0; i < READERS; i++)
        UNTIL(reader_count(&r[i]) == written);
    for (int i = 0; i < READERS; i++)
        reader_close(&r[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_rows_that_nobody_publishes, start,
                                        stop),
        cmocka_unit_test_setup_teardown(has_the_result_when_events_are_gone,
                                        start, stop),
        cmocka_unit_test_setup_teardown(survives_keys_of_other_types, start,
                                        stop),
        cmocka_unit_test_setup_teardown(announces_what_is_lost, start, stop),
        cmocka_unit_test_setup_teardown(joins_shouters, start, stop),
    };

    cmocka_set_test_filter(getenv("TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
