/* SPDX-License-Identifier: MIT */
/* store_hubs_test.c - what one hub does to the streams of another. */
#include "store_support.h"

#include <string.h>

#include "redis.h"
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

/* All that was appended is in Redis. */
static bool is_stored(sse_hub *hub)
{
    return store_metric(hub, "sse_store_waiting_events") == 0 &&
           store_metric(hub, "sse_store_in_flight") == 0;
}

static void describe(sse_stream *s)
{
    OK(sse_stream_set_owner(s, "ann", 3));
    OK(sse_stream_set_kind(s, "chat", 4));
    OK(sse_stream_set_metadata(s, "{\"a\":[1]}", 9));
}

/* What a new reader of a stream gets first; "" where there is no stream. */
static void read_first(sse_hub *hub, const char *id, char *text, size_t size)
{
    sse_stream     *s;
    sse_subscriber *sub = NULL;
    sse_queue      *q;

    text[0] = '\0';
    OK(sse_queue_new(hub, NULL, &q));
    if (sse_stream_open(hub, id, strlen(id), &s) == SSE_OK) {
        if (sse_subscriber_new(s, q, "", 0, NULL, &sub) == SSE_OK)
            store_note(q, SSE_NOTE_BYTES, text, size);
        sse_subscriber_free(sub);
        sse_stream_free(s);
    }
    sse_queue_free(q);
}

/* The hub on which the first run ended shows the second one, which is another
 * hub's. */
static void shows_the_next_run(void **state)
{
    sse_store_options opts = {
        .size = sizeof(opts), .lease_ms = 150, .sweep_ms = SSE_NEVER};
    sse_hub    *a = store_hub(&redis, NULL, &opts);
    sse_hub    *b = store_hub(&redis, NULL, &opts);
    sse_stream *s = store_stream(a, "s", NULL, 0);
    char        text[4096];

    (void)state;
    store_append_many(s, 0, 1);
    OK(store_end(s, SSE_STATE_COMPLETED, "first"));
    sse_stream_free(s);
    UNTIL(store_number(&redis, "EXISTS sse:completion:s") == 1);
    read_first(a, "s", text, sizeof(text));
    assert_non_null(strstr(text, "first"));
    s = store_stream(b, "s", NULL, 0);
    OK(store_append(s, "second"));
    UNTIL((read_first(a, "s", text, sizeof(text)), strstr(text, "second")));
    assert_null(strstr(text, "first"));
    sse_stream_free(s);
    sse_hub_free(a);
    sse_hub_free(b);
}

static void ends_the_readers_of_a_stream_it_lost(void **state)
{
    sse_hub        *a = store_hub(&redis, NULL, NULL);
    sse_hub        *b = store_hub(&redis, NULL, NULL);
    sse_stream     *s = store_stream(a, "s", NULL, 0);
    sse_subscriber *sub;
    sse_queue      *q;
    char            text[4096];

    (void)state;
    OK(sse_queue_new(a, NULL, &q));
    OK(sse_subscriber_new(s, q, "", 0, NULL, &sub));
    store_append_many(s, 0, 2);
    UNTIL(is_stored(a));
    redis_do(&redis, "HSET sse:stream:s owner nobody.1");
    OK(sse_hub_stop(b, "s", 1));
    OK(store_append(s, "late"));
    assert_int_equal(store_note(q, SSE_NOTE_END, NULL, 0).reason,
                     SSE_REASON_REMOVED);
    sse_subscriber_free(sub);
    read_first(a, "s", text, sizeof(text)); /* they come back */
    assert_non_null(strstr(text, "{\"n\":1}"));
    assert_non_null(strstr(text, "event: cancelled"));
    assert_null(strstr(text, "late"));
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(a);
    sse_hub_free(b);
}

/* A shared stream has no producer: whoever stops it ends it. */
static void stops_a_shared_stream(void **state)
{
    sse_hub    *a = store_hub(&redis, NULL, NULL);
    sse_hub    *b = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(a, "s", NULL, SSE_STREAM_SHARED);

    (void)state;
    OK(store_append(s, "{\"n\":0}"));
    OK(sse_hub_stop(b, "s", 1));
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "cancelled");
    UNTIL(store_append(s, "x") == SSE_ERR_ENDED);
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"), 2);
    sse_stream_free(s);
    sse_hub_free(a);
    sse_hub_free(b);
}

/* Streams that the engine still has to do with. */
static uint32_t count_writers(sse_hub *hub)
{
    uint32_t count;

    OK(sse__hub_enter(hub));
    count = sse__redis_of(hub->store)->writers.count;
    sse__hub_leave(hub);
    return count;
}

static void lets_go_of_what_has_ended(void **state)
{
    sse_store_options opts = {
        .size = sizeof(opts), .lease_ms = 90, .sweep_ms = SSE_NEVER};
    sse_hub    *hub = store_hub(&redis, NULL, &opts);
    sse_stream *s = store_stream(hub, "s", NULL, SSE_STREAM_SHARED);
    sse_stream *t = store_stream(hub, "t", NULL, 0);
    sse_stream *u = store_stream(hub, "u", NULL, SSE_STREAM_SHARED);

    (void)state;
    assert_int_equal(count_writers(hub), 3);
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    UNTIL(count_writers(hub) == 2);
    OK(store_end(t, SSE_STATE_COMPLETED, "{}"));
    UNTIL(count_writers(hub) == 1);
    OK(sse_hub_remove(hub, "u", 1));
    UNTIL(count_writers(hub) == 0);
    sse_stream_free(s);
    sse_stream_free(t);
    sse_stream_free(u);
    sse_hub_free(hub);
}

static void describes_a_shared_stream(void **state)
{
    sse_hub    *a = store_hub(&redis, NULL, NULL);
    sse_hub    *b = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(a, "s", NULL, SSE_STREAM_SHARED), *t;

    (void)state;
    describe(s);
    UNTIL(strcmp(store_says(&redis, "HMGET sse:stream:s userId streamType "
                                    "metadata"),
                 "ann\nchat\n{\"a\":[1]}") == 0);
    assert_string_equal(store_says(&redis, "SMEMBERS sse:user:ann:streams"),
                        "s");
    assert_string_equal(store_says(&redis, "HEXISTS sse:stream:s owner"), "0");
    OK(sse_stream_open(b, "s", 1, &t));
    assert_int_equal(sse_stream_new(b, "s", 1, NULL, NULL, &(sse_stream *){0}),
                     SSE_ERR_EXISTS);
    OK(sse_hub_remove(b, "s", 1));
    assert_int_equal(store_number(&redis, "EXISTS sse:stream:s"), 0);
    UNTIL(store_append(s, "x") < 0);
    sse_stream_free(s);
    sse_stream_free(t);
    sse_hub_free(a);
    sse_hub_free(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shows_the_next_run),
        TEST(ends_the_readers_of_a_stream_it_lost),
        TEST(stops_a_shared_stream),
        TEST(lets_go_of_what_has_ended),
        TEST(describes_a_shared_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
