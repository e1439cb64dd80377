/* SPDX-License-Identifier: MIT */
/* io_threads_slow_test.c - appends of many threads wait for slow readers. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "must.h"

#define EVENTS 600 /* of each of two writers */

static sse_hub *hub;

static sse_stream *create_blocking(uint32_t log_events)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .log_events = log_events,
                               .slow_policy_set = 1,
                               .slow_policy = SSE_SLOW_BLOCK};
    sse_stream        *s;

    must(sse_stream_new(hub, "slow", 4, NULL, &opts, &s));
    return s;
}

static void *write_fast(void *arg)
{
    sse_stream *s = arg;

    for (int i = 0; i < EVENTS; i++)
        must(sse_stream_append(s, "", 0, "x", 1, NULL));
    return NULL;
}

/* Two writers, a log of eight events and a reader that takes a few bytes at a
 * time: nothing is lost, as the writers wait. */
static void writers_wait_for_a_slow_reader(void **state)
{
    sse_hub_options   hub_opts = {.size = sizeof(hub_opts),
                                  .block_timeout_ms = SSE_NEVER};
    sse_queue_options q_opts = {.size = sizeof(q_opts), .max_note_bytes = 100};
    sse_subscriber_options opts = {.size = sizeof(opts),
                                   .flags = SSE_SUBSCRIBER_HOLD};
    uint64_t               seq = 0;
    sse_parser            *parser;
    sse_stream            *s;
    sse_queue             *q;
    sse_subscriber        *sub;
    const sse_batch       *batch;
    const sse_item        *item;
    pthread_t              writers[2];

    (void)state;
    must(sse_hub_new(&hub_opts, &hub));
    s = create_blocking(8);
    must(sse_queue_new(hub, &q_opts, &q));
    must(sse_subscriber_new(s, q, "", 0, &opts, &sub));
    must(sse_parser_new(NULL, &parser));
    for (int i = 0; i < 2; i++)
        writers[i] = start(write_fast, s);
    while (seq < 2 * EVENTS) {
        must(sse_queue_wait(q, NET_PATIENCE_MS));
        if (sse_queue_drain(q, 0, &batch) <= 0)
            continue;
        must(sse_parser_feed(parser, batch->data, batch->data_len));
        while (sse_parser_next(parser, &item) > 0)
            assert_int_equal(strtoull(item->id, NULL, 10), ++seq);
        sse_subscriber_next(sub);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(writers[i], NULL);
    sse_parser_free(parser);
    sse_subscriber_free(sub);
    sse_queue_free(q);
    sse_stream_free(s);
    sse_hub_free(hub);
}

static bool join_in_time(pthread_t thread)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += NET_PATIENCE_MS / 1000;
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

static long blocked_appends(void)
{
    static const char name[] = "\nsse_blocked_appends_total ";
    sse_buffer       *text;
    char             *copy;
    long              n;

    must(sse_buffer_new(0, &text));
    must(sse_hub_metrics(hub, text));
    copy = calloc(1, sse_buffer_size(text) + 1);
    assert_non_null(copy);
    memcpy(copy, sse_buffer_data(text), sse_buffer_size(text));
    n = strtol(strstr(copy, name) + sizeof(name) - 1, NULL, 10);
    free(copy);
    sse_buffer_free(text);
    return n;
}

static atomic_int result;

static void *write_one(void *arg)
{
    atomic_store(&result, sse_stream_append(arg, "", 0, "x", 1, NULL));
    return NULL;
}

static void *write_the_end(void *arg)
{
    atomic_store(&result,
                 sse_stream_end(arg, SSE_STATE_COMPLETED, "", 0, "", 0, NULL));
    return NULL;
}

/* A full log of two events that nobody has had, and a writer on a thread that
 * waits for the reader, for as long as it takes. */
typedef struct jam {
    sse_stream     *s;
    sse_queue      *q;
    sse_subscriber *sub;
    pthread_t       writer;
} jam;

static void jam_new(jam *j, uint32_t ttl_ms, void *(*write)(void *))
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .retry_ms = SSE_NEVER,
                            .stream_ttl_ms = ttl_ms,
                            .block_timeout_ms = SSE_NEVER};

    must(sse_hub_new(&opts, &hub));
    j->s = create_blocking(2);
    must(sse_queue_new(hub, NULL, &j->q));
    must(sse_subscriber_new(j->s, j->q, "", 0, NULL, &j->sub));
    for (int i = 0; i < 2; i++)
        must(sse_stream_append(j->s, "", 0, "x", 1, NULL));
    atomic_store(&result, 1);
    j->writer = start(write, j->s);
    while (blocked_appends() == 0 && atomic_load(&result) == 1)
        usleep(1000);
}

static void jam_free(jam *j)
{
    sse_subscriber_free(j->sub);
    sse_queue_free(j->q);
    sse_stream_free(j->s);
    sse_hub_free(hub);
}

static void a_waiting_append_goes_on_when_read(void **state)
{
    const sse_batch *batch;
    jam              j;

    (void)state;
    jam_new(&j, 0, write_one);
    must(sse_queue_drain(j.q, 0, &batch));
    pthread_join(j.writer, NULL);
    assert_int_equal(atomic_load(&result), SSE_OK);
    jam_free(&j);
}

static void a_waiting_append_goes_on_when_the_reader_goes(void **state)
{
    jam j;

    (void)state;
    jam_new(&j, 0, write_one);
    sse_subscriber_free(j.sub);
    j.sub = NULL;
    pthread_join(j.writer, NULL);
    assert_int_equal(atomic_load(&result), SSE_OK);
    jam_free(&j);
}

/* The terminal event, too, must not push out what a reader has not had. */
static void the_end_waits_for_a_slow_reader(void **state)
{
    const sse_batch *batch;
    bool             gap = false;
    jam              j;

    (void)state;
    jam_new(&j, 0, write_the_end);
    while (sse_queue_drain(j.q, 0, &batch) > 0)
        gap |= memmem(batch->data, batch->data_len, "event: gap", 10) != NULL;
    pthread_join(j.writer, NULL);
    jam_free(&j);
    assert_false(gap);
}

/* There is nothing to wait for in a stream that is no more. */
static void a_waiting_append_ends_with_its_stream(void **state)
{
    jam j;

    (void)state;
    jam_new(&j, 0, write_one);
    must(sse_hub_remove(hub, "slow", 4));
    if (!join_in_time(j.writer)) {
        const sse_batch *batch;

        must(sse_queue_drain(j.q, 0, &batch)); /* wakes it after all */
        sse_subscriber_free(j.sub);
        j.sub = NULL;
        pthread_join(j.writer, NULL);
        jam_free(&j);
        fail_msg("the append slept on after its stream was removed");
    }
    assert_int_equal(atomic_load(&result), SSE_ERR_NOT_FOUND);
    jam_free(&j);
}

/* Nobody but the hub's own thread has a part in that. */
static void a_waiting_append_ends_when_its_stream_expires(void **state)
{
    jam j;

    (void)state;
    jam_new(&j, 3000, write_one); /* more than it takes until it waits */
    if (!join_in_time(j.writer)) {
        sse_hub_stop(hub, "none", 4); /* wakes it after all */
        pthread_join(j.writer, NULL);
        jam_free(&j);
        fail_msg("the append slept on after its stream had expired");
    }
    assert_int_equal(atomic_load(&result), SSE_ERR_NOT_FOUND);
    jam_free(&j);
}

static void a_waiting_append_ends_with_a_stop(void **state)
{
    jam j;

    (void)state;
    jam_new(&j, 0, write_one);
    must(sse_hub_stop(hub, "slow", 4));
    if (!join_in_time(j.writer)) {
        sse_subscriber_free(j.sub);
        j.sub = NULL;
        pthread_join(j.writer, NULL);
        jam_free(&j);
        fail_msg("the append slept on after its stream was stopped");
    }
    assert_int_equal(atomic_load(&result), SSE_ERR_ENDED);
    jam_free(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writers_wait_for_a_slow_reader),
        cmocka_unit_test(a_waiting_append_goes_on_when_read),
        cmocka_unit_test(a_waiting_append_goes_on_when_the_reader_goes),
        cmocka_unit_test(the_end_waits_for_a_slow_reader),
        cmocka_unit_test(a_waiting_append_ends_with_its_stream),
        cmocka_unit_test(a_waiting_append_ends_when_its_stream_expires),
        cmocka_unit_test(a_waiting_append_ends_with_a_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
