/* SPDX-License-Identifier: MIT */
/* store_shared_test.c - streams that any hub may append to. */
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
static sse_stream   *s, *t; /* the same, on either                           */

static char hasty[] = "links that wait for less than hang() takes";
static char impatient[] = "commands on b that soon give up";

static int start(void **state)
{
    sse_store_options opts = {.size = sizeof(opts), .command_ms = 2500};

    store_timeout_ms = *state == hasty ? IMPATIENT : PATIENT;
    redis_new(&redis, 0, "");
    a = store_hub(&redis, NULL, NULL);
    b = store_hub(&redis, NULL, *state == impatient ? &opts : NULL);
    s = store_stream(a, "s", NULL, SSE_STREAM_SHARED);
    assert_int_equal(sse_stream_open(b, "s", 1, &t), SSE_OK);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sse_stream_free(s);
    sse_stream_free(t);
    sse_hub_free(a);
    sse_hub_free(b);
    redis_remove(&redis);
    return 0;
}

/* ---- One append ---- */

static void gives_the_id_that_readers_get(void **state)
{
    sse_event_id id, batch;
    reader       here, there;
    uint32_t     sizes[] = {1, 1, 1};
    char         line[64];

    (void)state;
    OK(sse_stream_append(s, "x", 1, "one", 3, &id));
    assert_int_equal(id.seq, 1);
    OK(sse_stream_append_batch(t, "x", 1, "abc", 3, sizes, 3, &batch));
    assert_int_equal(batch.seq, 4);
    OK(sse_stream_append(s, "x", 1, "two", 3, &id));
    assert_int_equal(id.seq, 5);
    reader_open(&here, a, "s", "");
    reader_open(&there, b, "s", "");
    UNTIL(reader_count(&here) == 5 && reader_count(&there) == 5);
    readers_agree(&here, &there);
    snprintf(line, sizeof(line), "id: %s\nevent: x\ndata: two\n\n", id.text);
    assert_true(reader_has(&there, line));
    snprintf(line, sizeof(line), "id: %s\nevent: x\ndata: c\n\n", batch.text);
    assert_true(reader_has(&here, line));
    reader_close(&here);
    reader_close(&there);
}

static void refreshes_what_is_behind(void **state)
{
    reader                 there;
    sse_event_id           id;
    const sse_stream_info *info;

    (void)state;
    OK(sse_hub_refresh(a, "nobody", 6));
    reader_open(&there, b, "s", "");
    for (unsigned n = 0; n < 200; n++) {
        OK(sse_stream_append(s, "", 0, "x", 1, &id));
        OK(sse_hub_refresh(b, "s", 1));
        OK(sse_stream_get_info(t, &info));
        assert_int_equal(info->last_seq, id.seq);
    }
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    OK(sse_hub_refresh(b, "s", 1));
    OK(sse_stream_get_info(t, &info));
    assert_int_equal(info->state, SSE_STATE_COMPLETED);
    reader_close(&there);
}

static void ends_everywhere(void **state)
{
    reader here, there;

    (void)state;
    store_append_many(s, 0, 2);
    reader_open(&here, a, "s", "");
    reader_open(&there, b, "s", "");
    OK(store_end(t, SSE_STATE_COMPLETED, "{\"by\":\"b\"}"));
    UNTIL(reader_ended(&here) && reader_ended(&there));
    readers_agree(&here, &there);
    assert_true(reader_has(&here, "event: completed\ndata: {\"by\":\"b\"}"));
    assert_int_equal(store_append(s, "x"), SSE_ERR_ENDED);
    assert_int_equal(store_append(t, "x"), SSE_ERR_ENDED);
    assert_int_equal(store_number(&redis, "EXISTS sse:completion:s"), 1);
    reader_close(&here);
    reader_close(&there);
}

/* The message that tells of the end comes over another connection, and may be on
 * its way to either hub. */
static void makes_room_for_the_next_at_once(void **state)
{
    (void)state;
    for (int n = 0; n < 200; n++) {
        sse_hub    *next = n % 2 ? a : b;
        sse_stream *made;
        reader      there;

        reader_open(&there, next, "s", "");
        OK(store_end(n % 2 ? t : s, SSE_STATE_COMPLETED, "{}"));
        made = store_stream(next, "s", NULL, SSE_STREAM_SHARED);
        reader_close(&there);
        sse_stream_free(s);
        sse_stream_free(t);
        s = t = NULL;
        OK(sse_stream_open(a, "s", 1, &s));
        OK(sse_stream_open(b, "s", 1, &t));
        sse_stream_free(made);
    }
    assert_int_equal(
        sse_stream_new(b, "s", 1, NULL,
                       &(sse_stream_options){.size = sizeof(sse_stream_options),
                                             .flags = SSE_STREAM_SHARED},
                       &(sse_stream *){NULL}),
        SSE_ERR_EXISTS);
}

static sse_stream_info info_of(sse_stream *stream)
{
    const sse_stream_info *info;

    OK(sse_stream_get_info(stream, &info));
    return *info;
}

/* On the hub that appends, nothing waits for the message of the store, which
 * comes over another connection; and it adds nothing a second time. */
static void has_at_once_what_it_appends(void **state)
{
    reader here, there;

    (void)state;
    reader_open(&here, a, "s", "");
    reader_open(&there, b, "s", "");
    for (unsigned i = 1; i <= 300; i++) {
        OK(store_append(s, "x"));
        assert_int_equal(info_of(s).last_seq, i);
    }
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    assert_int_equal(info_of(s).state, SSE_STATE_COMPLETED);
    assert_int_equal(info_of(s).last_seq, 301);
    UNTIL(reader_ended(&here) && reader_ended(&there));
    readers_agree(&here, &there);
    reader_close(&here);
    reader_close(&there);
}

static void refuses_what_is_not_there(void **state)
{
    sse_stream *owned = store_stream(a, "o", NULL, 0), *u;

    (void)state;
    OK(store_append(owned, "x"));
    UNTIL(store_number(&redis, "LLEN sse:events:o") == 1);
    OK(sse_stream_open(b, "o", 1, &u));
    assert_int_equal(store_append(u, "y"), SSE_ERR_EXISTS);
    redis_do(&redis, "DEL sse:stream:s");
    assert_int_equal(store_append(t, "y"), SSE_ERR_NOT_FOUND);
    redis_do(&redis, "SET sse:events:s 1");
    assert_int_equal(store_append(t, "y"), SSE_ERR_STORE);
    sse_stream_free(u);
    sse_stream_free(owned);
}

/* ---- Many ---- */

typedef struct writer {
    sse_stream *stream;
    const char *name;
    unsigned    count;
    atomic_uint written, failed;
} writer;

static void *write_all(void *arg)
{
    writer      *w = arg;
    char         data[64];
    sse_event_id id;
    uint64_t     last = 0;

    for (unsigned n = 0; n < w->count; n++) {
        int len = snprintf(data, sizeof(data), "%s%u", w->name, n);

        if (sse_stream_append(w->stream, "", 0, data, (size_t)len, &id) < 0 ||
            id.seq <= last)
            atomic_fetch_add(&w->failed, 1);
        last = id.seq;
        atomic_store(&w->written, n + 1);
    }
    return NULL;
}

/* Each writer's events are there once and in its order. */
static void check(reader *r, const writer *w)
{
    char        line[64];
    const char *at = r->text;

    for (unsigned n = 0; n < w->count; n++) {
        snprintf(line, sizeof(line), "data: %s%u\n", w->name, n);
        at = strstr(at, line);
        if (!at)
            fail_msg("%s%u is not there, or not in its place", w->name, n);
        at += strlen(line);
        if (strstr(at, line))
            fail_msg("%s%u is there twice", w->name, n);
    }
}

#define WRITERS 8

/* While `harm` is done after every so many appends of the first writer. */
static void write_under(void (*harm)(void), unsigned every, unsigned count)
{
    static const char *const names[WRITERS] = {"a-", "b-", "c-", "d-",
                                               "e-", "f-", "g-", "h-"};
    writer                   writers[WRITERS];
    pthread_t                threads[WRITERS];
    reader                   here, there;

    reader_open(&here, a, "s", "");
    reader_open(&there, b, "s", "");
    for (int i = 0; i < WRITERS; i++) {
        writers[i] =
            (writer){.stream = i % 2 ? s : t, .name = names[i], .count = count};
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_all, &writers[i]), 0);
    }
    for (unsigned n = every; harm && n < count; n += every) {
        UNTIL(atomic_load(&writers[0].written) >= n);
        harm();
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&writers[i].failed), 0);
    }
    UNTIL(reader_count(&here) == WRITERS * count);
    readers_agree(&here, &there);
    for (int i = 0; i < WRITERS; i++)
        check(&there, &writers[i]);
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"),
                     WRITERS * count);
    reader_close(&here);
    reader_close(&there);
}

static void keeps_the_order_of_each(void **state)
{
    (void)state;
    write_under(NULL, 0, 500);
}

static void kill_links(void)
{
    redis_do(&redis, "CLIENT KILL TYPE normal SKIPME yes");
    UNTIL(store_metric(a, "sse_store_up") == 1 &&
          store_metric(b, "sse_store_up") == 1);
}

static void appends_once_whatever_is_cut(void **state)
{
    (void)state;
    write_under(kill_links, 50, 300);
}

/* A server that stood still took what it had, and gets it again. */
static void hang(void)
{
    redis_pause(&redis);
    usleep(IMPATIENT * 1300);
    redis_resume(&redis);
}

static void appends_once_whatever_hangs(void **state)
{
    (void)state;
    write_under(hang, 60, 150);
}

static void batches_what_waits(void **state)
{
    sse_store_options opts = {.size = sizeof(opts), .sweep_ms = SSE_NEVER};
    sse_hub          *c = store_hub(&redis, NULL, &opts);
    sse_stream       *u;
    writer            writers[WRITERS];
    pthread_t         threads[WRITERS];
    long long         calls;

    (void)state;
    OK(sse_stream_open(c, "s", 1, &u));
    calls = store_metric(c, "sse_store_commands_total");
    redis_pause(&redis); /* so that no writer goes on alone */
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){.stream = u, .name = "x", .count = 200};
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_all, &writers[i]), 0);
    }
    UNTIL(store_metric(c, "sse_store_in_flight") > 0);
    redis_resume(&redis);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    calls = store_metric(c, "sse_store_commands_total") - calls;
    assert_in_range(calls, 1, WRITERS * 200 / 2);
    sse_stream_free(u);
    sse_hub_free(c);
}

/* ---- Redis away ---- */

/* What is still there is registered again with a Redis that lost all. */
static void stays_removed(void **state)
{
    const sse_store_options opts = {
        .size = sizeof(opts), .lease_ms = 600, .sweep_ms = SSE_NEVER};
    sse_hub    *c = store_hub(&redis, NULL, &opts);
    sse_stream *gone = store_stream(c, "gone", NULL, SSE_STREAM_SHARED);
    sse_stream *kept = store_stream(c, "kept", NULL, SSE_STREAM_SHARED);
    long long   signs;

    (void)state;
    OK(sse_hub_remove(c, "gone", 4));
    redis_do(&redis, "FLUSHALL");
    signs = store_metric(c, "sse_store_life_signs_total");
    UNTIL(store_metric(c, "sse_store_life_signs_total") >= signs + 4);
    assert_int_equal(store_number(&redis, "EXISTS sse:stream:kept"), 1);
    assert_int_equal(store_number(&redis, "EXISTS sse:stream:gone"), 0);
    sse_stream_free(gone);
    sse_stream_free(kept);
    sse_hub_free(c);
}

static void waits_for_redis(void **state)
{
    (void)state;
    OK(store_append(t, "one"));
    redis_do(&redis, "CONFIG SET maxmemory 1");
    redis_do(&redis, "CONFIG SET maxmemory-policy noeviction");
    assert_int_equal(store_append(t, "two"), SSE_ERR_STORE);
    redis_do(&redis, "CONFIG SET maxmemory 0");
    UNTIL(store_append(t, "three") == SSE_OK);
    assert_int_equal(store_number(&redis, "LLEN sse:events:s"), 2);
    redis_kill(&redis);
    assert_int_equal(store_append(t, "four"), SSE_ERR_STORE);
}

static void ends_what_waits(void **state)
{
    writer    w = {.stream = t, .name = "x", .count = 1};
    pthread_t thread;

    (void)state;
    redis_kill(&redis);
    UNTIL(store_metric(b, "sse_store_up") == 0);
    assert_int_equal(pthread_create(&thread, NULL, write_all, &w), 0);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&w.failed), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_the_id_that_readers_get, start,
                                        stop),
        cmocka_unit_test_setup_teardown(refreshes_what_is_behind, start, stop),
        cmocka_unit_test_setup_teardown(ends_everywhere, start, stop),
        cmocka_unit_test_setup_teardown(has_at_once_what_it_appends, start,
                                        stop),
        cmocka_unit_test_setup_teardown(refuses_what_is_not_there, start, stop),
        cmocka_unit_test_setup_teardown(keeps_the_order_of_each, start, stop),
        cmocka_unit_test_setup_teardown(appends_once_whatever_is_cut, start,
                                        stop),
        cmocka_unit_test_prestate_setup_teardown(appends_once_whatever_hangs,
                                                 start, stop, hasty),
        cmocka_unit_test_setup_teardown(batches_what_waits, start, stop),
        cmocka_unit_test_setup_teardown(stays_removed, start, stop),
        cmocka_unit_test_setup_teardown(makes_room_for_the_next_at_once, start,
                                        stop),
        cmocka_unit_test_prestate_setup_teardown(waits_for_redis, start, stop,
                                                 impatient),
        cmocka_unit_test_prestate_setup_teardown(ends_what_waits, start, stop,
                                                 impatient),
    };

    cmocka_set_test_filter(getenv("TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
