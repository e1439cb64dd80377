/* SPDX-License-Identifier: MIT */
/* store_redis_test.c - streams that a hub owns, and what Redis has of them. */
#include "store_support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* ---- What lies there ---- */

static void writes_the_registration(void **state)
{
    sse_hub    *hub = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    assert_string_equal(store_says(&redis, "HMGET sse:stream:s streamId state"),
                        "s\nactive");
    assert_int_equal(store_number(&redis, "ZCARD sse:active"), 1);
    describe(s);
    UNTIL(strcmp(store_says(&redis, "HMGET sse:stream:s userId streamType "
                                    "metadata"),
                 "ann\nchat\n{\"a\":[1]}") == 0);
    assert_string_equal(store_says(&redis, "SMEMBERS sse:user:ann:streams"),
                        "s");
    OK(sse_stream_set_owner(s, "bob", 3));
    UNTIL(strcmp(store_says(&redis, "SMEMBERS sse:user:bob:streams"), "s") ==
          0);
    assert_int_equal(store_number(&redis, "EXISTS sse:user:ann:streams"), 0);
    assert_in_range(store_number(&redis, "TTL sse:stream:s"), 3500, 3600);
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void writes_rows_byte_for_byte(void **state)
{
    sse_hub    *hub = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    OK(store_append(s, "{\"n\":12345678901234567890}"));
    OK(store_append(s, "two\nlines \"\\\xc3\xa9"));
    OK(sse_stream_append(s, "", 0, "", 0, NULL));
    UNTIL(store_number(&redis, "LLEN sse:events:s") == 3);
    assert_non_null(strstr(
        store_says(&redis, "LRANGE sse:events:s 0 -1"),
        "{\"type\":\"token\",\"data\":{\"n\":12345678901234567890},\"ts\":1"));
    assert_non_null(strstr(store_says(&redis, "LRANGE sse:events:s 0 -1"),
                           "{\"type\":\"token\",\"data\":\"two\\nlines "
                           "\\\"\\\\\xc3\xa9\",\"ts\":1"));
    assert_non_null(strstr(store_says(&redis, "LINDEX sse:events:s 2"),
                           "{\"type\":\"message\",\"data\":\"\",\"ts\":1"));
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void writes_the_end_in_one_step(void **state)
{
    sse_hub    *hub = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 3);
    OK(store_end(s, SSE_STATE_COMPLETED, "{\"usage\":9}"));
    UNTIL(store_number(&redis, "EXISTS sse:completion:s") == 1);
    assert_string_equal(
        store_says(&redis, "HMGET sse:completion:s streamId terminalEventType "
                           "terminalEventData"),
        "s\ncompleted\n{\"usage\":9}");
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "completed");
    assert_int_equal(store_number(&redis, "ZCARD sse:active"), 0);
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"), 4);
    assert_in_range(store_number(&redis, "TTL sse:completion:s"), 290, 300);
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void sends_batches(void **state)
{
    sse_store_options opts = {.size = sizeof(opts), .linger_ms = 200};
    sse_hub          *hub = store_hub(&redis, NULL, &opts);
    sse_stream       *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 640);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 640));
    assert_in_range(store_metric(hub, "sse_store_batches_total"), 10, 60);
    assert_int_equal(store_metric(hub, "sse_store_appended_events_total"), 640);
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* The data of an end is sent as a row and as the result, each six times as long
 * as it is where all of it must be escaped. */
static void stores_the_longest_end(void **state)
{
    enum { LONGEST = 2 << 20 };
    sse_hub_options opts = {.size = sizeof(opts), .max_event_bytes = LONGEST};
    sse_hub        *hub = store_hub(&redis, &opts, NULL);
    sse_stream     *s = store_stream(hub, "s", NULL, 0);
    char           *data = malloc(LONGEST + 1);

    (void)state;
    assert_non_null(data);
    memset(data, 1, LONGEST);
    data[LONGEST] = '\0';
    OK(store_end(s, SSE_STATE_COMPLETED, data));
    assert_int_equal(sse_hub_flush(hub, -1), SSE_OK);
    assert_int_equal(store_number(&redis, "HSTRLEN sse:completion:s "
                                          "terminalEventData"),
                     6 * LONGEST + 2);
    sse_stream_free(s);
    sse_hub_free(hub);
    free(data);
}

/* One EVALSHA a batch, and nothing else. */
static void costs_one_call(void **state)
{
    sse_store_options opts = {.size = sizeof(opts),
                              .linger_ms = 50,
                              .sweep_ms = SSE_NEVER,
                              .lease_ms = 600000};
    sse_hub          *hub = store_hub(&redis, NULL, &opts);
    sse_stream       *s = store_stream(hub, "s", NULL, 0);
    long long         before, calls;

    (void)state;
    redis_do(&redis, "CONFIG RESETSTAT");
    before = store_metric(hub, "sse_store_commands_total");
    store_append_many(s, 0, 64);
    UNTIL(is_stored(hub));
    calls = store_metric(hub, "sse_store_commands_total") - before;
    assert_int_equal(calls, store_metric(hub, "sse_store_batches_total"));
    assert_int_equal(
        redis_info(&redis, "commandstats", "cmdstat_evalsha:calls="), calls);
    assert_int_equal(redis_info(&redis, "commandstats", "cmdstat_rpush:calls="),
                     calls);
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void keeps_as_many_as_the_log(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 10};
    sse_hub        *hub = store_hub(&redis, &opts, NULL);
    sse_stream     *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    for (unsigned n = 0; n < 25; n += 5) {
        store_append_many(s, n, 5);
        UNTIL(is_stored(hub));
    }
    assert_true(store_holds(&redis, "s", 15, 25));
    assert_int_equal(strncmp(store_says(&redis, "GET sse:meta:s"), "15 25 ", 6),
                     0);
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* ---- Ids ---- */

static void finds_an_id_taken(void **state)
{
    sse_hub    *a = store_hub(&redis, NULL, NULL);
    sse_hub    *b = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(a, "s", NULL, 0), *t;

    (void)state;
    assert_int_equal(sse_stream_new(b, "s", 1, NULL, NULL, &t), SSE_ERR_EXISTS);
    assert_null(t);
    store_append_many(s, 0, 2);
    OK(store_end(s, SSE_STATE_FAILED, "{}"));
    UNTIL(store_number(&redis, "EXISTS sse:completion:s") == 1);
    t = store_stream(b, "s", NULL, 0);
    sse_stream_free(s);
    sse_stream_free(t);
    sse_hub_free(a);
    sse_hub_free(b);
}

static void goes_on_with_the_numbers(void **state)
{
    sse_hub     *hub = store_hub(&redis, NULL, NULL);
    sse_stream  *s = store_stream(hub, "s", NULL, 0);
    sse_event_id id;

    (void)state;
    store_append_many(s, 0, 3);
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    sse_stream_free(s);
    s = store_stream(hub, "s", NULL, 0); /* the end may not be stored yet */
    OK(sse_stream_append(s, "token", 5, "{\"n\":0}", 7, &id));
    assert_int_equal(id.seq, 5);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 1));
    assert_int_equal(store_number(&redis, "EXISTS sse:completion:s"), 0);
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void lists_by_owner(void **state)
{
    sse_hub               *a = store_hub(&redis, NULL, NULL);
    sse_hub               *b = store_hub(&redis, NULL, NULL);
    sse_stream            *s = store_stream(a, "s", NULL, 0);
    sse_stream            *t = store_stream(b, "t", NULL, 0);
    const sse_stream_info *info;
    sse_list              *list;

    (void)state;
    describe(s);
    UNTIL(store_number(&redis, "SCARD sse:user:ann:streams") == 1);
    OK(sse_list_new(b, "ann", 3, &list));
    assert_int_equal(sse_list_next(list, &info), 1);
    assert_string_equal(info->id, "s");
    assert_string_equal(info->owner, "ann");
    assert_string_equal(info->kind, "chat");
    assert_string_equal(info->metadata, "{\"a\":[1]}");
    assert_int_equal(info->state, SSE_STATE_ACTIVE);
    assert_true(info->created_ms > 1700000000000);
    assert_int_equal(sse_list_next(list, &info), 0);
    sse_list_free(list);

    OK(sse_list_new(a, "", 0, &list));
    assert_int_equal(sse_list_next(list, &info), 1);
    assert_int_equal(sse_list_next(list, &info), 1);
    assert_int_equal(sse_list_next(list, &info), 0);
    sse_list_free(list);

    OK(sse_list_new(b, "eve", 3, &list));
    assert_int_equal(sse_list_next(list, &info), 0);
    sse_list_free(list);
    sse_stream_free(s);
    sse_stream_free(t);
    sse_hub_free(a);
    sse_hub_free(b);
}

/* What was just said of a stream is in the list, sent or not. */
static void lists_its_own_at_once(void **state)
{
    sse_hub               *hub = store_hub(&redis, NULL, NULL);
    const sse_stream_info *info;
    sse_list              *list;
    char                   id[16];

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        sse_stream *s;

        snprintf(id, sizeof(id), "s%u", i);
        s = store_stream(hub, id, NULL, 0);
        OK(sse_stream_set_owner(s, "ann", 3));
        OK(sse_list_new(hub, "ann", 3, &list));
        for (unsigned n = 0; n <= i; n++)
            assert_int_equal(sse_list_next(list, &info), 1);
        assert_int_equal(sse_list_next(list, &info), 0);
        sse_list_free(list);
        sse_stream_free(s);
    }
    sse_hub_free(hub);
}

/* ---- Removal and stops ---- */

static void removes_a_stream(void **state)
{
    sse_hub    *hub = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    describe(s);
    store_append_many(s, 0, 100);
    OK(sse_hub_remove(hub, "s", 1));
    assert_int_equal(store_append(s, "x"), SSE_ERR_NOT_FOUND);
    assert_string_equal(store_says(&redis, "KEYS *"), "sse:meta:s");
    assert_int_equal(sse_hub_remove(hub, "s", 1), SSE_ERR_NOT_FOUND);
    sse_stream_free(s);
    s = store_stream(hub, "s", NULL, 0);
    OK(store_append(s, "{}"));
    UNTIL(store_number(&redis, "LLEN sse:events:s") == 1);
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void tells_a_producer_of_a_removal(void **state)
{
    sse_hub    *a = store_hub(&redis, NULL, NULL);
    sse_hub    *b = store_hub(&redis, NULL, NULL);
    sse_queue  *q;
    sse_stream *s;
    sse_note    note;

    (void)state;
    OK(sse_queue_new(a, NULL, &q));
    s = store_stream(a, "s", q, 0);
    store_await_listeners(&redis, 2);
    OK(sse_hub_remove(b, "s", 1));
    note = store_note(q, SSE_NOTE_STOP, NULL, 0);
    assert_int_equal(note.key, 7);
    assert_int_equal(note.reason, SSE_REASON_REMOVED);
    assert_int_equal(store_append(s, "x"), SSE_ERR_NOT_FOUND);
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(a);
    sse_hub_free(b);
}

static void stops_a_producer_elsewhere(void **state)
{
    sse_hub    *a = store_hub(&redis, NULL, NULL);
    sse_hub    *b = store_hub(&redis, NULL, NULL);
    sse_queue  *q;
    sse_stream *s;
    sse_note    note;

    (void)state;
    OK(sse_queue_new(a, NULL, &q));
    s = store_stream(a, "s", q, 0);
    store_await_listeners(&redis, 2);
    redis_do(&redis, "CONFIG RESETSTAT");
    OK(sse_hub_stop(b, "s", 1));
    note = store_note(q, SSE_NOTE_STOP, NULL, 0);
    assert_int_equal(note.reason, SSE_REASON_REQUESTED);
    assert_int_equal(
        redis_info(&redis, "commandstats", "cmdstat_publish:calls="), 1);
    OK(store_append(s, "{\"n\":0}")); /* it ends as it likes */
    OK(store_end(s, SSE_STATE_CANCELLED, "{}"));
    UNTIL(store_number(&redis, "EXISTS sse:completion:s") == 1);
    OK(sse_hub_stop(b, "s", 1)); /* there is nothing to stop */
    assert_int_equal(sse_hub_stop(b, "t", 1), SSE_ERR_NOT_FOUND);
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(a);
    sse_hub_free(b);
}

static void ignores_a_stale_stop(void **state)
{
    sse_hub    *a = store_hub(&redis, NULL, NULL);
    sse_queue  *q;
    sse_stream *s;
    char        token[80], channel[80], node[64], message[128];

    (void)state;
    OK(sse_queue_new(a, NULL, &q));
    s = store_stream(a, "s", q, 0);
    store_await_listeners(&redis, 1);
    snprintf(token, sizeof(token), "%s",
             store_says(&redis, "HGET sse:stream:s owner"));
    snprintf(node, sizeof(node), "%.*s", (int)strcspn(token, "."), token);
    snprintf(channel, sizeof(channel), "sse:ctl:%s", node);
    redis_do(&redis, "PUBLISH %s %s", channel, "stop");
    redis_do(&redis, "PUBLISH %s %s", channel, "");
    redis_do(&redis, "PUBLISH %s %b", channel, "stop x.1 s", (size_t)10);
    snprintf(message, sizeof(message), "stop %s9 s", token);
    redis_do(&redis, "PUBLISH %s %s", channel, message);
    snprintf(message, sizeof(message), "stop %s t", token);
    redis_do(&redis, "PUBLISH %s %s", channel, message);
    UNTIL(store_metric(a, "sse_store_messages_total") >= 5);
    assert_int_equal(store_metric(a, "sse_stops_total"), 0);
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(a);
}

/* A stop that finds no producer ends the stream; the producer, back again,
 * is told. */
static void ends_a_stream_nobody_produces(void **state)
{
    sse_hub    *a = store_hub(&redis, NULL, NULL);
    sse_hub    *b = store_hub(&redis, NULL, NULL);
    sse_queue  *q;
    sse_stream *s;
    sse_note    note;

    (void)state;
    OK(sse_queue_new(a, NULL, &q));
    s = store_stream(a, "s", q, 0);
    store_append_many(s, 0, 2);
    UNTIL(is_stored(a));
    redis_do(&redis, "HSET sse:stream:s owner nobody.1");
    OK(sse_hub_stop(b, "s", 1));
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "cancelled");
    assert_string_equal(
        store_says(&redis, "HGET sse:completion:s terminalEventData"),
        "{\"reason\":\"stop\"}");
    OK(store_append(s, "late"));
    note = store_note(q, SSE_NOTE_STOP, NULL, 0);
    assert_int_equal(note.reason, SSE_REASON_REQUESTED);
    UNTIL(store_append(s, "later") == SSE_ERR_NOT_FOUND);
    assert_int_equal(store_metric(a, "sse_store_closed_total"), 1);
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"), 3);
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(a);
    sse_hub_free(b);
}

/* ---- The end of a hub ---- */

static void drains_when_it_is_freed(void **state)
{
    sse_hub    *hub = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 5000);
    sse_stream_free(s);
    sse_hub_free(hub);
    assert_true(store_holds(&redis, "s", 0, 5000));
}

static void stays_out_of_a_child(void **state)
{
    sse_hub    *hub = store_hub(&redis, NULL, NULL);
    sse_stream *s = store_stream(hub, "s", NULL, 0);
    int         status;
    pid_t       pid;

    (void)state;
    store_append_many(s, 0, 10);
    pid = fork();
    if (pid == 0) {
        bool right = store_append(s, "x") == SSE_ERR_FORKED;

        sse_stream_free(s);
        sse_hub_free(hub);
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    store_append_many(s, 10, 10);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 20));
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* ---- Many at once ---- */

#define THREADS 4
#define EACH 25

static void *produce(void *arg)
{
    sse_hub *hub = arg;

    for (unsigned i = 0; i < EACH; i++) {
        sse_stream *s = NULL;

        if (sse_stream_new(hub, "", 0, NULL, NULL, &s) < 0)
            return "new";
        for (unsigned n = 0; n < 100; n++)
            if (store_append(s, "{\"n\":1}") < 0)
                return "append";
        if (store_end(s, SSE_STATE_COMPLETED, "{}") < 0)
            return "end";
        sse_stream_free(s);
    }
    return NULL;
}

static void serves_many_threads(void **state)
{
    sse_hub  *hub = store_hub(&redis, NULL, NULL);
    pthread_t threads[THREADS];
    void     *wrong;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, produce, hub), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    sse_hub_free(hub);
    assert_int_equal(store_number(&redis, "ZCARD sse:active"), 0);
    assert_int_equal(
        store_number(
            &redis, "EVAL %s 0",
            "local n = 0 "
            "for _, k in ipairs(redis.call('KEYS', 'sse:events:*')) do "
            "n = n + redis.call('LLEN', k) end return n"),
        THREADS * EACH * 101);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writes_the_registration),
        TEST(writes_rows_byte_for_byte),
        TEST(writes_the_end_in_one_step),
        TEST(sends_batches),
        TEST(stores_the_longest_end),
        TEST(costs_one_call),
        TEST(keeps_as_many_as_the_log),
        TEST(finds_an_id_taken),
        TEST(goes_on_with_the_numbers),
        TEST(lists_by_owner),
        TEST(lists_its_own_at_once),
        TEST(removes_a_stream),
        TEST(tells_a_producer_of_a_removal),
        TEST(stops_a_producer_elsewhere),
        TEST(ignores_a_stale_stop),
        TEST(ends_a_stream_nobody_produces),
        TEST(drains_when_it_is_freed),
        TEST(stays_out_of_a_child),
        TEST(serves_many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
