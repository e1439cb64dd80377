/* SPDX-License-Identifier: MIT */
/* store_tail_test.c - readers of streams that another hub writes. */
#include "store_reader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

#define OK(call) assert_int_equal(call, SSE_OK)

static redis_process redis;
static sse_hub      *a, *b;

static int start(void **state)
{
    reader_like_server = *state != NULL;
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

static bool is_stored(sse_hub *hub)
{
    return store_metric(hub, "sse_store_waiting_events") == 0 &&
           store_metric(hub, "sse_store_in_flight") == 0;
}

/* ---- Where a reader begins ---- */

static void reads_from_the_start(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    reader      here, there;

    (void)state;
    store_append_many(s, 0, 20);
    UNTIL(is_stored(a));
    reader_open(&here, a, "s", "");
    reader_open(&there, b, "s", "");
    UNTIL(reader_count(&there) == 20);
    store_append_many(s, 20, 20);
    UNTIL(reader_count(&there) == 40);
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    UNTIL(reader_ended(&here) && reader_ended(&there));
    assert_int_equal(there.reason, SSE_REASON_ENDED);
    readers_agree(&here, &there);
    reader_close(&here);
    reader_close(&there);
    sse_stream_free(s);
}

static void reads_from_the_middle(void **state)
{
    sse_stream  *s = store_stream(a, "s", NULL, 0);
    reader       here, there;
    sse_event_id id;

    (void)state;
    store_append_many(s, 0, 20);
    OK(sse_stream_append(s, "mark", 4, "x", 1, &id));
    store_append_many(s, 20, 20);
    UNTIL(is_stored(a));
    reader_open(&here, a, "s", id.text);
    reader_open(&there, b, "s", id.text);
    UNTIL(reader_count(&there) == 20);
    store_append_many(s, 40, 1);
    UNTIL(reader_count(&there) == 21);
    readers_agree(&here, &there);
    reader_close(&here);
    reader_close(&there);
    sse_stream_free(s);
}

static void reads_only_what_is_new(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    reader      there;

    (void)state;
    store_append_many(s, 0, 20);
    UNTIL(is_stored(a));
    reader_open(&there, b, "s", "$");
    store_append_many(s, 20, 1);
    UNTIL(reader_count(&there) == 1);
    assert_true(reader_has(&there, "{\"n\":20}"));
    reader_close(&there);
    sse_stream_free(s);
}

static void reads_what_has_ended(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    reader      here, there;
    char        last[40];

    (void)state;
    store_append_many(s, 0, 5);
    OK(store_end(s, SSE_STATE_FAILED, "{\"why\":1}"));
    UNTIL(store_number(&redis, "EXISTS sse:completion:s") == 1);
    reader_open(&here, a, "s", "");
    reader_open(&there, b, "s", "");
    UNTIL(reader_ended(&here) && reader_ended(&there));
    readers_agree(&here, &there);
    assert_int_equal(reader_count(&there), 6);
    reader_last_id(&there, last, sizeof(last));
    reader_close(&there);
    assert_int_equal(reader_try(&there, b, "s", last), SSE_ERR_ENDED);
    reader_close(&there);
    assert_int_equal(store_metric(b, "sse_store_subscriptions"), 0);
    reader_close(&here);
    sse_stream_free(s);
}

static void finds_nothing(void **state)
{
    reader r;

    (void)state;
    assert_int_equal(reader_try(&r, b, "none", ""), SSE_ERR_NOT_FOUND);
    reader_close(&r);
    assert_int_equal(reader_try(&r, b, "none", "5-00000000"),
                     SSE_ERR_NOT_FOUND);
    reader_close(&r);
    assert_int_equal(store_metric(b, "sse_store_subscriptions"), 0);
}

static void knows_what_it_is(void **state)
{
    sse_stream            *s = store_stream(a, "s", NULL, 0), *t;
    const sse_stream_info *info;

    (void)state;
    OK(sse_stream_set_owner(s, "ann", 3));
    OK(sse_stream_set_kind(s, "chat", 4));
    OK(sse_stream_set_metadata(s, "{\"a\":1}", 7));
    UNTIL(strcmp(store_says(&redis, "HMGET sse:stream:s userId streamType "
                                    "metadata"),
                 "ann\nchat\n{\"a\":1}") == 0);
    OK(sse_stream_open(b, "s", 1, &t));
    OK(sse_stream_get_info(t, &info));
    assert_string_equal(info->owner, "ann");
    assert_string_equal(info->kind, "chat");
    assert_string_equal(info->metadata, "{\"a\":1}");
    assert_true(info->created_ms > 1700000000000);
    sse_stream_free(t);
    sse_stream_free(s);
}

/* ---- How much is read ---- */

static void reads_what_was_missed_only(void **state)
{
    sse_stream  *s = store_stream(a, "s", NULL, 0);
    reader       near, far;
    sse_event_id id, old;

    (void)state;
    for (int n = 0; n < 9900; n++)
        OK(sse_stream_append(s, "token", 5, "0123456789", 10, &old));
    for (int n = 0; n < 95; n++)
        OK(sse_stream_append(s, "token", 5, "0123456789", 10, &id));
    OK(sse_stream_append(s, "token", 5, "0123456789", 10, &id));
    store_append_many(s, 0, 4);
    UNTIL(is_stored(a));
    reader_open(&near, b, "s", id.text);
    UNTIL(reader_count(&near) == 4);
    assert_in_range(store_metric(b, "sse_store_read_events_total"), 4, 10);
    reader_open(&far, b, "s", old.text);
    UNTIL(reader_count(&far) == 100);
    assert_in_range(store_metric(b, "sse_store_read_events_total"), 100, 120);
    reader_close(&near);
    reader_close(&far);
    sse_stream_free(s);
}

static void subscribes_once(void **state)
{
    enum { READERS = 1000 };
    static sse_subscriber *subs[READERS];
    sse_stream            *s = store_stream(a, "s", NULL, 0), *t;
    sse_queue             *q;

    (void)state;
    store_append_many(s, 0, 3);
    UNTIL(is_stored(a));
    OK(sse_stream_open(b, "s", 1, &t));
    OK(sse_queue_new(b, NULL, &q));
    for (int i = 0; i < READERS; i++)
        OK(sse_subscriber_new(t, q, "", 0, NULL, &subs[i]));
    assert_string_equal(store_says(&redis, "PUBSUB NUMSUB sse:ch:s"),
                        "sse:ch:s\n1");
    assert_in_range(store_metric(b, "sse_store_reads_total"), 1, 4);
    for (int i = 0; i < READERS; i++)
        sse_subscriber_free(subs[i]);
    sse_queue_free(q);
    sse_stream_free(t);
    sse_stream_free(s);
}

static void *open_stream(void *hub)
{
    sse_stream *s;

    if (sse_stream_open(hub, "s", 1, &s) < 0)
        return hub;
    sse_stream_free(s);
    return NULL;
}

static void reads_once_for_many(void **state)
{
    enum { ASKERS = 32 };
    sse_stream *s = store_stream(a, "s", NULL, 0);
    pthread_t   threads[ASKERS];
    void       *failed;

    (void)state;
    store_append_many(s, 0, 3);
    UNTIL(is_stored(a));
    redis_pause(&redis); /* so that all wait */
    for (int i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_stream, b), 0);
    usleep(100000);
    redis_resume(&redis);
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_in_range(store_metric(b, "sse_store_reads_total"), 1, 4);
    sse_stream_free(s);
}

/* ---- An event while its reader joins ---- */

enum { MOMENTS = 2000 };

typedef struct moments {
    sse_stream *streams[MOMENTS];
    atomic_uint at;
} moments;

static void *append_each(void *arg)
{
    moments *m = arg;
    unsigned seed = 3;

    for (unsigned i = 0; i < MOMENTS; i++) {
        while (atomic_load(&m->at) <= i)
            usleep(20);
        usleep((unsigned)rand_r(&seed) % 400);
        if (store_append(m->streams[i], "{}") < 0)
            return arg;
    }
    return NULL;
}

/* No later event shows that it was missed. */
static void misses_no_moment(void **state)
{
    static reader there[MOMENTS];
    moments       m = {.at = 0};
    pthread_t     thread;
    char          id[16];
    unsigned      seed = 4;
    void         *failed;

    (void)state;
    for (int i = 0; i < MOMENTS; i++) {
        snprintf(id, sizeof(id), "s%d", i);
        m.streams[i] = store_stream(a, id, NULL, 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, append_each, &m), 0);
    for (int i = 0; i < MOMENTS; i++) {
        snprintf(id, sizeof(id), "s%d", i);
        atomic_store(&m.at, (unsigned)i + 1);
        usleep((unsigned)rand_r(&seed) % 600);
        reader_open(&there[i], b, id, "");
    }
    pthread_join(thread, &failed);
    assert_null(failed);
    for (int i = 0; i < MOMENTS; i++) {
        UNTIL(reader_count(&there[i]) == 1);
        reader_close(&there[i]);
        sse_stream_free(m.streams[i]);
    }
}

/* ---- Comings and goings ---- */

static void hears_of_a_removal(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    reader      r;

    (void)state;
    store_append_many(s, 0, 3);
    UNTIL(is_stored(a));
    reader_open(&r, b, "s", "");
    UNTIL(reader_count(&r) == 3);
    OK(sse_hub_remove(a, "s", 1));
    UNTIL(reader_ended(&r));
    assert_int_equal(r.reason, SSE_REASON_REMOVED);
    reader_close(&r);
    assert_int_equal(reader_try(&r, b, "s", ""), SSE_ERR_NOT_FOUND);
    reader_close(&r);
    UNTIL(store_metric(b, "sse_store_subscriptions") == 0);
    sse_stream_free(s);
}

/* An id that has ended lives again, on the other hub. */
static void follows_a_new_life(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    reader      r;

    (void)state;
    store_append_many(s, 0, 3);
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    UNTIL(store_number(&redis, "EXISTS sse:completion:s") == 1);
    reader_open(&r, b, "s", "");
    UNTIL(reader_ended(&r));
    reader_close(&r);
    sse_stream_free(s);
    s = store_stream(a, "s", NULL, 0);
    store_append_many(s, 50, 2);
    UNTIL(is_stored(a));
    reader_open(&r, b, "s", "");
    UNTIL(reader_count(&r) == 2);
    assert_true(reader_has(&r, "{\"n\":51}"));
    assert_false(reader_has(&r, "{\"n\":2}"));
    reader_close(&r);
    sse_stream_free(s);
}

static void lets_go_of_what_nobody_reads(void **state)
{
    sse_store_options opts = {.size = sizeof(opts), .idle_ms = 100};
    sse_hub          *c = store_hub(&redis, NULL, &opts);
    sse_stream       *s = store_stream(a, "s", NULL, 0);
    reader            r;

    (void)state;
    reader_open(&r, c, "s", "");
    store_append_many(s, 0, 3);
    UNTIL(reader_count(&r) == 3);
    assert_int_equal(store_metric(c, "sse_store_subscriptions"), 1);
    reader_close(&r);
    UNTIL(store_metric(c, "sse_store_subscriptions") == 0);
    UNTIL(store_number(&redis, "PUBSUB NUMSUB sse:ch:s") == 0 &&
          strcmp(store_says(&redis, "PUBSUB NUMSUB sse:ch:s"), "sse:ch:s\n0") ==
              0);
    reader_open(&r, c, "s", "");
    UNTIL(reader_count(&r) == 3);
    reader_close(&r);
    sse_hub_free(c);
    sse_stream_free(s);
}

/* With Redis away, what is here can be read. */
static void serves_what_is_here(void **state)
{
    sse_store_options opts = {.size = sizeof(opts), .command_ms = 500};
    sse_hub          *c = store_hub(&redis, NULL, NULL);
    sse_hub          *impatient = store_hub(&redis, NULL, &opts);
    sse_stream       *s = store_stream(a, "s", NULL, 0);
    reader            r, late, none;

    (void)state;
    store_append_many(s, 0, 3);
    UNTIL(is_stored(a));
    reader_open(&r, c, "s", "");
    UNTIL(reader_count(&r) == 3);
    redis_kill(&redis);
    UNTIL(store_metric(c, "sse_store_up") == 0);
    reader_open(&late, c, "s", "");
    UNTIL(reader_count(&late) == 3);
    assert_int_equal(reader_try(&none, impatient, "t", ""), SSE_ERR_STORE);
    reader_close(&none);
    redis_start(&redis);
    store_append_many(s, 3, 2);
    UNTIL(reader_count(&late) == 5 && reader_count(&r) == 5);
    readers_agree(&r, &late);
    reader_close(&r);
    reader_close(&late);
    sse_hub_free(c);
    sse_hub_free(impatient);
    sse_stream_free(s);
}

/* Events larger than a page's bytes, and older pages that these cut short. */
static void reads_large_events(void **state)
{
    enum { LARGE = 300000 };
    sse_hub_options opts = {.size = sizeof(opts), .log_bytes = 64 << 20};
    sse_hub        *c = store_hub(&redis, &opts, NULL);
    sse_hub        *d = store_hub(&redis, &opts, NULL);
    sse_stream     *s = store_stream(c, "s", NULL, 0);
    char           *data = malloc(LARGE);
    reader          here, near, far;

    (void)state;
    assert_non_null(data);
    for (int n = 0; n < 60; n++) {
        memset(data, 'a' + n % 26, LARGE);
        OK(sse_stream_append(s, "", 0, data, LARGE, NULL));
    }
    UNTIL(is_stored(c));
    reader_open(&near, d, "s", "58");
    UNTIL(reader_count(&near) == 2);
    reader_open(&far, d, "s", "");
    reader_open(&here, c, "s", "");
    readers_agree(&here, &far);
    assert_int_equal(reader_count(&far), 60);
    reader_close(&near);
    reader_close(&far);
    reader_close(&here);
    free(data);
    sse_stream_free(s);
    sse_hub_free(c);
    sse_hub_free(d);
}

/* As a program, and as a server. */
#define TESTS(name) \
    cmocka_unit_test_setup_teardown(name, start, stop), \
        cmocka_unit_test_prestate_setup_teardown(name, start, stop, &redis)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(reads_from_the_start),
        TESTS(reads_from_the_middle),
        TESTS(reads_only_what_is_new),
        TESTS(reads_what_has_ended),
        TESTS(finds_nothing),
        TESTS(knows_what_it_is),
        TESTS(reads_what_was_missed_only),
        TESTS(subscribes_once),
        cmocka_unit_test_setup_teardown(misses_no_moment, start, stop),
        cmocka_unit_test_setup_teardown(reads_once_for_many, start, stop),
        cmocka_unit_test_setup_teardown(hears_of_a_removal, start, stop),
        TESTS(follows_a_new_life),
        cmocka_unit_test_setup_teardown(lets_go_of_what_nobody_reads, start,
                                        stop),
        cmocka_unit_test_setup_teardown(serves_what_is_here, start, stop),
        TESTS(reads_large_events),
    };

    cmocka_set_test_filter(getenv("TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
