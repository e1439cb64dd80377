/* SPDX-License-Identifier: MIT */
/* store_writer_test.c - a Redis that is away, loses things, or refuses them:
 * what producers have appended is there in the end, in order and once. */
#include "store_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

#define OK(call) assert_int_equal(call, SSE_OK)

static redis_process redis;

static int prepare(void **state)
{
    (void)state;
    redis_prepare(&redis, 0, "");
    return 0;
}

static int start(void **state)
{
    store_timeout_ms = *state ? IMPATIENT : PATIENT;
    redis_new(&redis, 0, "");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    redis_remove(&redis);
    return 0;
}

/* Without guardians, so that nobody settles what these tests leave alone. */
static sse_hub *open_hub(const sse_hub_options *hub_opts, uint32_t lease_ms)
{
    sse_store_options opts = {.size = sizeof(opts),
                              .start_ms = lease_ms == 1 ? SSE_NEVER : 0,
                              .lease_ms = lease_ms > 1 ? lease_ms : 0,
                              .sweep_ms = SSE_NEVER};

    return store_hub(&redis, hub_opts, &opts);
}

static bool is_stored(sse_hub *hub)
{
    return store_metric(hub, "sse_store_waiting_events") == 0 &&
           store_metric(hub, "sse_store_in_flight") == 0;
}

/* ---- Away ---- */

static void begins_without_redis(void **state)
{
    sse_hub    *hub = open_hub(NULL, 1);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    assert_string_not_equal(sse_hub_store_error(hub), "");
    store_append_many(s, 0, 500);
    OK(store_end(s, SSE_STATE_COMPLETED, "{\"n\":500}"));
    assert_int_equal(store_metric(hub, "sse_store_waiting_events"), 501);
    assert_int_equal(store_metric(hub, "sse_store_up"), 0);
    redis_start(&redis);
    UNTIL(is_stored(hub));
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"), 501);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "completed");
    UNTIL(store_metric(hub, "sse_store_up") == 1);
    assert_string_equal(sse_hub_store_error(hub), "");
    sse_stream_free(s);
    sse_hub_free(hub);
}

static int set_store(sse_hub *hub, const char *url)
{
    sse_store_options opts = {.size = sizeof(opts), .start_ms = 60000};

    return sse_hub_set_store(hub, url, strlen(url), &opts);
}

static void says_why_it_is_refused(void **state)
{
    sse_hub *hub;
    char     url[160];

    (void)state;
    redis_remove(&redis);
    redis_prepare(&redis, 0, "requirepass secret");
    redis.password = "secret";
    redis_start(&redis);
    OK(sse_hub_new(NULL, &hub));
    assert_int_equal(set_store(hub, "http://localhost"), SSE_ERR_INVAL);
    assert_string_not_equal(sse_hub_store_error(hub), "");
    snprintf(url, sizeof(url), "unix://%s", redis.socket);
    assert_int_equal(set_store(hub, url), SSE_ERR_STORE);
    assert_non_null(strstr(sse_hub_store_error(hub), "NOAUTH"));
    snprintf(url, sizeof(url), "unix://:secret@%s", redis.socket);
    OK(set_store(hub, url));
    assert_string_equal(sse_hub_store_error(hub), "");
    assert_int_equal(set_store(hub, url), SSE_ERR_INVAL);
    sse_hub_free(hub);
}

/* What was made up while nobody could be asked is put right behind what the
 * id had before. */
static void finds_an_earlier_run_too_late(void **state)
{
    sse_hub    *hub;
    sse_stream *s;

    (void)state;
    redis_start(&redis);
    hub = open_hub(NULL, 0);
    s = store_stream(hub, "s", NULL, 0);
    store_append_many(s, 0, 9);
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    sse_stream_free(s);
    sse_hub_free(hub);
    redis_do(&redis, "SAVE");
    redis_kill(&redis);

    hub = open_hub(NULL, 1);
    s = store_stream(hub, "s", NULL, 0);
    store_append_many(s, 0, 5);
    redis_start(&redis);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 5));
    assert_int_equal(strncmp(store_says(&redis, "GET sse:meta:s"), "10 15 ", 6),
                     0);
    store_append_many(s, 5, 5);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 10));
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void finds_an_id_taken_too_late(void **state)
{
    sse_hub    *a, *b;
    sse_stream *s, *t;
    sse_queue  *q;
    sse_note    note;

    (void)state;
    redis_start(&redis);
    a = open_hub(NULL, 0);
    s = store_stream(a, "s", NULL, 0);
    store_append_many(s, 0, 3);
    UNTIL(is_stored(a));
    redis_do(&redis, "SAVE");
    redis_kill(&redis);
    b = open_hub(NULL, 1);
    OK(sse_queue_new(b, NULL, &q));
    t = store_stream(b, "s", q, 0);
    OK(store_append(t, "in vain"));
    redis_start(&redis);
    note = store_note(q, SSE_NOTE_STOP, NULL, 0);
    assert_int_equal(note.reason, SSE_REASON_REMOVED);
    assert_int_equal(store_append(t, "x"), SSE_ERR_NOT_FOUND);
    store_append_many(s, 3, 3);
    UNTIL(is_stored(a));
    assert_true(store_holds(&redis, "s", 0, 6));
    sse_stream_free(s);
    sse_stream_free(t);
    sse_queue_free(q);
    sse_hub_free(a);
    sse_hub_free(b);
}

static void comes_back_empty(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 300);
    UNTIL(is_stored(hub));
    redis_kill(&redis);
    store_append_many(s, 300, 100);
    redis_start(&redis);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 400));
    assert_int_equal(store_metric(hub, "sse_store_restores_total"), 1);
    assert_int_equal(store_metric(hub, "sse_store_lost_events_total"), 0);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "active");
    store_append_many(s, 400, 10);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 410));
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void comes_back_with_old_data(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 100);
    UNTIL(is_stored(hub));
    redis_do(&redis, "SAVE");
    store_append_many(s, 100, 100);
    UNTIL(is_stored(hub));
    redis_kill(&redis);
    redis_start(&redis);
    OK(store_end(s, SSE_STATE_COMPLETED, "{\"n\":200}"));
    UNTIL(is_stored(hub));
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"), 201);
    assert_int_equal(strncmp(store_says(&redis, "GET sse:meta:s"), "0 201 ", 6),
                     0);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "completed");
    redis_do(&redis, "RPOP sse:events:s");
    assert_true(store_holds(&redis, "s", 0, 200));
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* A stream that is silent learns by its life sign. */
static void restores_what_was_flushed(void **state)
{
    sse_hub    *hub = open_hub(NULL, 150);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    OK(sse_stream_set_owner(s, "ann", 3));
    store_append_many(s, 0, 50);
    UNTIL(is_stored(hub));
    redis_do(&redis, "FLUSHALL");
    UNTIL(store_holds(&redis, "s", 0, 50));
    assert_string_equal(store_says(&redis, "HMGET sse:stream:s state userId"),
                        "active\nann");
    redis_do(&redis, "DEL sse:stream:s"); /* as others unregister it */
    UNTIL(store_number(&redis, "EXISTS sse:stream:s") == 1);
    assert_true(store_holds(&redis, "s", 0, 50));
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* More was appended than the log holds: the numbers jump, and what is lost is
 * counted. */
static void announces_what_did_not_fit(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 100};
    sse_hub        *hub = open_hub(&opts, 0);
    sse_stream     *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 50);
    UNTIL(is_stored(hub));
    redis_pause(&redis);
    store_append_many(s, 50, 450);
    redis_resume(&redis);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 400, 500));
    assert_int_equal(
        strncmp(store_says(&redis, "GET sse:meta:s"), "400 500 ", 8), 0);
    assert_in_range(store_metric(hub, "sse_store_lost_events_total"), 1, 350);

    redis_kill(&redis);
    store_append_many(s, 500, 300);
    OK(store_end(s, SSE_STATE_FAILED, "{\"n\":800}"));
    redis_start(&redis);
    UNTIL(is_stored(hub));
    assert_int_equal(
        strncmp(store_says(&redis, "GET sse:meta:s"), "701 801 ", 8), 0);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "failed");
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* ---- Refusals ---- */

static void waits_for_memory(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 10);
    UNTIL(is_stored(hub));
    redis_do(&redis, "CONFIG SET maxmemory 1");
    store_append_many(s, 10, 10);
    UNTIL(store_metric(hub, "sse_store_up") == 0);
    assert_non_null(strstr(sse_hub_store_error(hub), "OOM"));
    redis_do(&redis, "CONFIG SET maxmemory 0");
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 20));
    assert_string_equal(sse_hub_store_error(hub), "");
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void waits_for_the_master(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 10);
    UNTIL(is_stored(hub));
    redis_do(&redis, "REPLICAOF 127.0.0.1 1");
    store_append_many(s, 10, 10);
    UNTIL(store_metric(hub, "sse_store_up") == 0);
    redis_do(&redis, "REPLICAOF NO ONE");
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 20));
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void loads_its_scripts_again(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    for (unsigned n = 0; n < 30; n += 10) {
        redis_do(&redis, "SCRIPT FLUSH");
        store_append_many(s, n, 10);
        UNTIL(is_stored(hub));
    }
    assert_true(store_holds(&redis, "s", 0, 30));
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* A key of another type is one stream's trouble. */
static void leaves_others_in_peace(void **state)
{
    sse_hub    *hub = open_hub(NULL, 150);
    sse_stream *s, *t;

    (void)state;
    s = store_stream(hub, "s", NULL, 0);
    t = store_stream(hub, "t", NULL, 0);
    redis_do(&redis, "SET sse:events:s wrong");
    store_append_many(s, 0, 10);
    store_append_many(t, 0, 10);
    UNTIL(store_holds(&redis, "t", 0, 10));
    assert_int_equal(store_metric(hub, "sse_store_up"), 1);
    redis_do(&redis, "DEL sse:events:s");
    UNTIL(store_holds(&redis, "s", 0, 10));
    sse_stream_free(s);
    sse_stream_free(t);
    sse_hub_free(hub);
}

/* ---- Others ---- */

static void takes_others_rows_into_account(void **state)
{
    sse_hub        *hub = open_hub(NULL, 0);
    sse_stream     *s = store_stream(hub, "s", NULL, 0);
    sse_subscriber *sub;
    sse_queue      *q;
    sse_event_id    id;
    char            text[4096];

    (void)state;
    OK(sse_queue_new(hub, NULL, &q));
    store_append_many(s, 0, 3);
    OK(sse_subscriber_new(s, q, "", 0, NULL, &sub));
    store_note(q, SSE_NOTE_BYTES, text, sizeof(text));
    assert_non_null(strstr(text, "data: {\"n\":2}"));
    UNTIL(is_stored(hub));
    redis_do(&redis, "RPUSH sse:events:s %s",
             "{\"type\":\"x\",\"data\":1,\"ts\":1}");
    OK(sse_stream_append(s, "token", 5, "{\"n\":3}", 7, &id));
    assert_int_equal(id.seq, 4); /* nobody knows yet */
    UNTIL(is_stored(hub));
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"), 5);
    assert_int_equal(strncmp(store_says(&redis, "GET sse:meta:s"), "0 5 ", 4),
                     0);
    assert_int_equal(store_metric(hub, "sse_store_renumbered_total"), 1);
    do
        store_note(q, SSE_NOTE_BYTES, text, sizeof(text));
    while (!strstr(text, "id: 5-"));
    assert_non_null(strstr(text, "event: gap\n"));
    OK(sse_stream_append(s, "token", 5, "{\"n\":4}", 7, &id));
    assert_int_equal(id.seq, 6);
    UNTIL(is_stored(hub));
    sse_subscriber_free(sub);
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(hub);
}

/* Another run has the id: the first one is told, and writes no more. */
static void is_fenced(void **state)
{
    sse_hub    *a = open_hub(NULL, 0), *b = open_hub(NULL, 0);
    sse_stream *s, *t;
    sse_queue  *q;
    sse_note    note;

    (void)state;
    OK(sse_queue_new(a, NULL, &q));
    s = store_stream(a, "s", q, 0);
    store_append_many(s, 0, 3);
    UNTIL(is_stored(a));
    redis_do(&redis, "DEL sse:stream:s");
    t = store_stream(b, "s", NULL, 0);
    store_append_many(t, 3, 3);
    UNTIL(is_stored(b));
    store_append_many(s, 100, 1);
    note = store_note(q, SSE_NOTE_STOP, NULL, 0);
    assert_int_equal(note.reason, SSE_REASON_REMOVED);
    assert_int_equal(note.key, 7);
    assert_int_equal(store_append(s, "x"), SSE_ERR_NOT_FOUND);
    assert_int_equal(store_metric(a, "sse_store_stolen_total"), 1);
    store_append_many(t, 6, 3);
    UNTIL(is_stored(b));
    assert_true(store_holds(&redis, "s", 0, 9));
    sse_stream_free(s);
    sse_stream_free(t);
    sse_queue_free(q);
    sse_hub_free(a);
    sse_hub_free(b);
}

#define OTHERS 4

/* While Redis is away nobody can give life signs: those who live are no orphans
 * when it is back with old data, whoever finds it first. */
static void is_no_orphan_after_an_outage(void **state)
{
    sse_store_options opts = {
        .size = sizeof(opts), .lease_ms = 1200, .sweep_ms = 100};
    sse_hub    *hub = store_hub(&redis, NULL, &opts), *others[OTHERS];
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    for (int i = 0; i < OTHERS; i++)
        others[i] = store_hub(&redis, NULL, &opts);
    store_append_many(s, 0, 3);
    UNTIL(is_stored(hub));
    redis_do(&redis, "SAVE");
    redis_kill(&redis);
    usleep(3000000); /* two leases, and more: time itself is what is tested */
    redis_start(&redis);
    UNTIL(store_metric(hub, "sse_store_up") == 1);
    for (int i = 0; i < OTHERS; i++)
        UNTIL(store_metric(others[i], "sse_store_up") == 1);
    store_append_many(s, 3, 3);
    UNTIL(is_stored(hub));
    assert_true(store_holds(&redis, "s", 0, 6));
    assert_string_equal(store_says(&redis, "HGET sse:stream:s state"),
                        "active");
    sse_stream_free(s);
    sse_hub_free(hub);
    for (int i = 0; i < OTHERS; i++)
        sse_hub_free(others[i]);
}

/* ---- Under fire ---- */

#define STREAMS 8u
#define EVENTS 3000u

typedef struct producer {
    sse_stream *streams[STREAMS];
    atomic_uint done;
} producer;

static void *produce(void *arg)
{
    producer *p = arg;
    char      data[32];

    for (unsigned n = 0; n < EVENTS; n++) {
        snprintf(data, sizeof(data), "{\"n\":%u}", n);
        for (unsigned i = 0; i < STREAMS; i++)
            if (store_append(p->streams[i], data) < 0)
                return "append";
        atomic_store(&p->done, n + 1);
        if (n % 10 == 0)
            usleep(1000);
    }
    return NULL;
}

static void do_harm(unsigned turn)
{
    switch (turn % 4) {
    case 0: redis_do(&redis, "CLIENT KILL TYPE normal"); break;
    case 1: redis_do(&redis, "SCRIPT FLUSH"); break;
    case 2:
        redis_kill(&redis);
        redis_start(&redis);
        break;
    default:
        redis_pause(&redis);
        usleep(20000); /* long enough for batches to be on their way */
        redis_resume(&redis);
        redis_do(&redis, "CLIENT KILL TYPE normal");
        break;
    }
}

static void loses_and_doubles_nothing(void **state)
{
    sse_hub  *hub = open_hub(NULL, 300);
    producer  p = {.done = 0};
    pthread_t thread;
    void     *wrong;
    char      id[8];

    (void)state;
    for (unsigned i = 0; i < STREAMS; i++) {
        snprintf(id, sizeof(id), "s%u", i);
        p.streams[i] = store_stream(hub, id, NULL, 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, produce, &p), 0);
    for (unsigned turn = 0; atomic_load(&p.done) < EVENTS; turn++) {
        unsigned from = atomic_load(&p.done);

        UNTIL(atomic_load(&p.done) >= from + 150 ||
              atomic_load(&p.done) == EVENTS);
        do_harm(turn);
    }
    pthread_join(thread, &wrong);
    assert_null(wrong);
    UNTIL(is_stored(hub));
    for (unsigned i = 0; i < STREAMS; i++) {
        snprintf(id, sizeof(id), "s%u", i);
        UNTIL(store_holds(&redis, id, 0, EVENTS));
        sse_stream_free(p.streams[i]);
    }
    assert_int_equal(store_metric(hub, "sse_store_lost_events_total"), 0);
    assert_int_equal(store_metric(hub, "sse_store_renumbered_total"), 0);
    sse_hub_free(hub);
}

/* Redis stood still for so long that the link was given up, with a batch on
 * its way that it then finds. */
static void sends_a_batch_again(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 5);
    UNTIL(is_stored(hub));
    redis_pause(&redis);
    store_append_many(s, 5, 5);
    UNTIL(store_metric(hub, "sse_store_lost_replies_total") > 0);
    store_append_many(s, 10, 5);
    redis_resume(&redis);
    UNTIL(is_stored(hub));
    assert_int_equal(store_metric(hub, "sse_store_duplicates_total"), 1);
    assert_true(store_holds(&redis, "s", 0, 15));
    sse_stream_free(s);
    sse_hub_free(hub);
}

/* ---- Flush ---- */

static void flushes(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s[20];
    char        id[8];

    (void)state;
    assert_int_equal(sse_hub_flush(hub, 0), SSE_OK); /* there is nothing */
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof(id), "s%d", i);
        s[i] = store_stream(hub, id, NULL, 0);
        store_append_many(s[i], 0, 500);
        OK(store_end(s[i], SSE_STATE_COMPLETED, "{}"));
    }
    OK(sse_hub_flush(hub, -1));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(store_number(&redis, "LLEN sse:events:s%d", i), 501);
        assert_int_equal(store_number(&redis, "EXISTS sse:completion:s%d", i),
                         1);
        sse_stream_free(s[i]);
    }
    sse_hub_free(hub);
}

/* What lets events collect is not done with them. */
static void flushes_what_lingers(void **state)
{
    const sse_store_options opts = {.size = sizeof(opts), .linger_ms = 300};
    sse_hub                *hub = store_hub(&redis, NULL, &opts);
    sse_stream             *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 10);
    OK(sse_hub_flush(hub, -1));
    assert_true(store_holds(&redis, "s", 0, 10));
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void flushes_when_redis_is_back(void **state)
{
    sse_hub    *hub = open_hub(NULL, 0);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    redis_pause(&redis);
    store_append_many(s, 0, 10);
    assert_int_equal(sse_hub_flush(hub, 0), SSE_ERR_TIMEOUT);
    assert_int_equal(sse_hub_flush(hub, 20), SSE_ERR_TIMEOUT);
    redis_resume(&redis);
    OK(sse_hub_flush(hub, -1));
    assert_true(store_holds(&redis, "s", 0, 10));
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void flushes_nothing_where_none_is_reached(void **state)
{
    sse_hub    *hub = open_hub(NULL, 1);
    sse_stream *s = store_stream(hub, "s", NULL, 0);

    (void)state;
    store_append_many(s, 0, 10);
    assert_int_equal(sse_hub_flush(hub, -1), SSE_ERR_STORE);
    redis_start(&redis);
    UNTIL(sse_hub_flush(hub, -1) == SSE_OK);
    assert_true(store_holds(&redis, "s", 0, 10));
    sse_stream_free(s);
    sse_hub_free(hub);
}

static void flushes_without_a_store(void **state)
{
    sse_hub *hub;

    (void)state;
    OK(sse_hub_new(NULL, &hub));
    OK(sse_hub_flush(hub, -1));
    sse_hub_free(hub);
}

#define AWAY(name) cmocka_unit_test_setup_teardown(name, prepare, stop)
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AWAY(begins_without_redis),
        AWAY(says_why_it_is_refused),
        AWAY(finds_an_earlier_run_too_late),
        AWAY(finds_an_id_taken_too_late),
        TEST(comes_back_empty),
        TEST(comes_back_with_old_data),
        TEST(restores_what_was_flushed),
        TEST(announces_what_did_not_fit),
        TEST(waits_for_memory),
        TEST(waits_for_the_master),
        TEST(loads_its_scripts_again),
        TEST(leaves_others_in_peace),
        TEST(takes_others_rows_into_account),
        TEST(is_fenced),
        TEST(is_no_orphan_after_an_outage),
        TEST(loses_and_doubles_nothing),
        cmocka_unit_test_prestate_setup_teardown(sends_a_batch_again, start,
                                                 stop, &redis),
        TEST(flushes),
        TEST(flushes_what_lingers),
        TEST(flushes_when_redis_is_back),
        AWAY(flushes_nothing_where_none_is_reached),
        cmocka_unit_test(flushes_without_a_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
