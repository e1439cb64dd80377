/* SPDX-License-Identifier: MIT */
/* store_tail_fault_test.c - what happens to Redis and its links while one hub
 * writes must not be seen by readers on another. */
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
    store_timeout_ms = *state ? IMPATIENT : PATIENT;
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

typedef struct writer {
    sse_stream *stream;
    atomic_uint written;
    unsigned    count;
    unsigned    pause_us; /* now and then                                    */
} writer;

static void *write_all(void *arg)
{
    writer *w = arg;
    char    data[64];

    for (unsigned n = 0; n < w->count; n++) {
        snprintf(data, sizeof(data), "{\"n\":%u}", n);
        if (store_append(w->stream, data) < 0)
            return arg;
        atomic_store(&w->written, n + 1);
        if (n % 8 == 7)
            usleep(w->pause_us);
    }
    return NULL;
}

static void writer_start(writer *w, pthread_t *thread)
{
    assert_int_equal(pthread_create(thread, NULL, write_all, w), 0);
}

static void writer_join(pthread_t thread)
{
    void *failed;

    pthread_join(thread, &failed);
    assert_null(failed);
}

static void joins_under_load(void **state)
{
    enum { READERS = 40 };
    static reader there[READERS];
    sse_stream   *s = store_stream(a, "s", NULL, 0);
    writer        w = {.stream = s, .count = 6000, .pause_us = 500};
    reader        here;
    pthread_t     thread;
    unsigned      seed = 1;

    (void)state;
    reader_open(&here, a, "s", "");
    writer_start(&w, &thread);
    for (int i = 0; i < READERS; i++) {
        usleep((unsigned)rand_r(&seed) % 8000);
        reader_open(&there[i], b, "s", "");
    }
    writer_join(thread);
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    UNTIL(reader_ended(&here));
    for (int i = 0; i < READERS; i++) {
        UNTIL(reader_ended(&there[i]));
        readers_agree(&here, &there[i]);
        reader_close(&there[i]);
    }
    assert_int_equal(reader_count(&here), 6001);
    assert_false(reader_has(&here, "event: gap"));
    reader_close(&here);
    sse_stream_free(s);
}

/* Of what was drained so far; the same as before where that is nothing. */
static void last_id(const reader *r, char *out, size_t size)
{
    for (const char *at = r->text; (at = strstr(at, "id: ")); at++)
        snprintf(out, size, "%.*s", (int)strcspn(at + 4, "\n"), at + 4);
}

/* Mirrors come and go meanwhile, each reader where the last one left off. */
static void comes_back_under_load(void **state)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    writer      w = {.stream = s, .count = 4000, .pause_us = 500};
    reader      here, there, whole = {0};
    pthread_t   thread;
    char        last[40] = "";
    unsigned    seed = 2, turns = 0;
    bool        written;

    (void)state;
    whole.text = calloc(1, 1 << 20);
    assert_non_null(whole.text);
    reader_open(&here, a, "s", "");
    writer_start(&w, &thread);
    do {
        written = atomic_load(&w.written) == w.count;
        reader_open(&there, seed % 2 ? a : b, "s", last);
        usleep((unsigned)rand_r(&seed) % 10000);
        reader_drain(&there);
        memcpy(whole.text + whole.len, there.text, there.len + 1);
        whole.len += there.len;
        last_id(&there, last, sizeof(last));
        reader_close(&there);
        if (!written && rand_r(&seed) % 4 == 0)
            redis_do(&redis, "PUBLISH sse:ch:s removed"); /* a lie */
        reader_drain(&here);
        assert_true(whole.len <= here.len && store_patient(&turns));
    } while (!written || whole.len < here.len);
    writer_join(thread);
    assert_string_equal(whole.text, here.text);
    reader_close(&here);
    free(whole.text);
    sse_stream_free(s);
}

/* Whatever happens to Redis while `w` writes, all comes once and in order. */
static void survive(void (*harm)(unsigned round), unsigned rounds)
{
    sse_stream *s = store_stream(a, "s", NULL, 0);
    writer      w = {.stream = s, .count = 3000, .pause_us = 1000};
    reader      here, there[3];
    pthread_t   thread;

    reader_open(&here, a, "s", "");
    reader_open(&there[0], b, "s", "");
    reader_open(&there[1], b, "s", "$");
    writer_start(&w, &thread);
    for (unsigned round = 0; round < rounds; round++) {
        unsigned at = w.count / (rounds + 1) * (round + 1);

        UNTIL(atomic_load(&w.written) >= at);
        harm(round);
    }
    writer_join(thread);
    OK(store_end(s, SSE_STATE_COMPLETED, "{}"));
    reader_open(&there[2], b, "s", "");
    UNTIL(reader_ended(&here));
    for (int i = 0; i < 3; i++) {
        UNTIL(reader_ended(&there[i]));
        readers_agree(&here, &there[i]);
        reader_close(&there[i]);
    }
    reader_close(&here);
    sse_stream_free(s);
}

static void kill_links(unsigned round)
{
    static const char subscriptions[] =
        "sse_store_disconnects_total{link=\"subscriptions\"}";
    long long cuts;

    store_await_listeners(&redis, 2); /* there is something to cut */
    cuts = store_metric(b, subscriptions) + round % 2;
    if (round % 2)
        redis_do(&redis, "CLIENT KILL TYPE pubsub");
    else
        redis_do(&redis, "CLIENT KILL TYPE normal SKIPME yes");
    UNTIL(store_metric(b, subscriptions) >= cuts &&
          store_metric(b, "sse_store_up") == 1);
}

static void survives_cut_links(void **state)
{
    (void)state;
    survive(kill_links, 12);
}

static void flush_scripts(unsigned round)
{
    (void)round;
    redis_do(&redis, "SCRIPT FLUSH");
}

static void survives_forgotten_scripts(void **state)
{
    (void)state;
    survive(flush_scripts, 5);
}

static void hang(unsigned round)
{
    (void)round;
    redis_pause(&redis);
    usleep(IMPATIENT * 1500); /* longer than links wait */
    redis_resume(&redis);
}

static void survives_silence(void **state)
{
    (void)state;
    survive(hang, 1);
}

/* What is lost is restored by its owner. */
static void restart(unsigned round)
{
    (void)round;
    redis_kill(&redis);
    redis_start(&redis);
}

static void survives_empty_restarts(void **state)
{
    (void)state;
    survive(restart, 3);
}

/* With what Redis had saved: the rest is restored. */
static void restart_saved(unsigned round)
{
    (void)round;
    redis_do(&redis, "SAVE");
    usleep(20000); /* some that it will not have */
    redis_kill(&redis);
    redis_start(&redis);
}

static void survives_restarts(void **state)
{
    (void)state;
    survive(restart_saved, 3);
}

static void flush_all(unsigned round)
{
    (void)round;
    redis_do(&redis, "FLUSHALL");
}

static void survives_flushes(void **state)
{
    (void)state;
    survive(flush_all, 3);
}

/* Redis hears of all channels at once, and readers of what they missed. */
static void subscribes_again_in_one_go(void **state)
{
    enum { STREAMS = 200 };
    static reader there[STREAMS];
    sse_stream   *s[STREAMS];
    char          id[16];

    (void)state;
    for (int i = 0; i < STREAMS; i++) {
        snprintf(id, sizeof(id), "s%d", i);
        s[i] = store_stream(a, id, NULL, 0);
        store_append_many(s[i], 0, 1);
        UNTIL(store_number(&redis, "LLEN sse:events:%s", id) == 1);
        reader_open(&there[i], b, id, "");
    }
    UNTIL(store_metric(b, "sse_store_subscriptions") == STREAMS);
    store_await_listeners(&redis, 2);
    redis_do(&redis, "CONFIG RESETSTAT");
    redis_do(&redis, "CLIENT KILL TYPE pubsub");
    for (int i = 0; i < STREAMS; i++)
        store_append_many(s[i], 1, 1);
    for (int i = 0; i < STREAMS; i++)
        UNTIL(reader_count(&there[i]) == 2);
    /* One each for what the two hubs are told themselves. */
    assert_in_range(
        redis_info(&redis, "commandstats", "cmdstat_subscribe:calls="), 1, 3);
    for (int i = 0; i < STREAMS; i++) {
        reader_close(&there[i]);
        sse_stream_free(s[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(joins_under_load, start, stop),
        cmocka_unit_test_setup_teardown(comes_back_under_load, start, stop),
        cmocka_unit_test_setup_teardown(survives_cut_links, start, stop),
        cmocka_unit_test_setup_teardown(survives_forgotten_scripts, start,
                                        stop),
        cmocka_unit_test_prestate_setup_teardown(survives_silence, start, stop,
                                                 &redis),
        cmocka_unit_test_setup_teardown(survives_empty_restarts, start, stop),
        cmocka_unit_test_setup_teardown(survives_restarts, start, stop),
        cmocka_unit_test_setup_teardown(survives_flushes, start, stop),
        cmocka_unit_test_setup_teardown(subscribes_again_in_one_go, start,
                                        stop),
    };

    cmocka_set_test_filter(getenv("TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
