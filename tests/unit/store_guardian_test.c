/* SPDX-License-Identifier: MIT */
/* store_guardian_test.c - producers that die or stand still, in processes of
 * their own, and the hubs that look after their streams. */
#include "store_support.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define OK(call) assert_int_equal(call, SSE_OK)
#define LEASE_MS 300u
#define SWEEP_MS 150u

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
    sse_store_options opts = {
        .size = sizeof(opts), .lease_ms = LEASE_MS, .sweep_ms = sweep_ms};

    return store_hub(&redis, NULL, &opts);
}

/* ---- Producers ---- */

typedef struct producer {
    pid_t pid;
    int   said; /* what it has to say                                       */
} producer;

static void say(int fd, char c)
{
    if (write(fd, &c, 1) != 1)
        _exit(2);
}

/* The producer of `count` streams, from number `first` on: two events each,
 * then it waits, and tells what becomes of the first one. */
static void produce(int fd, unsigned first, unsigned count)
{
    sse_hub    *hub = open_hub(SSE_NEVER);
    sse_stream *streams[16];
    sse_queue  *q;
    sse_note    note;
    char        id[16];

    OK(sse_queue_new(hub, NULL, &q));
    for (unsigned i = 0; i < count; i++) {
        snprintf(id, sizeof(id), "s%u", first + i);
        streams[i] = store_stream(hub, id, q, 0);
        store_append_many(streams[i], 0, 2);
    }
    UNTIL(store_metric(hub, "sse_store_waiting_events") == 0);
    say(fd, 'r');
    note = store_note(q, SSE_NOTE_STOP, NULL, 0);
    say(fd, note.reason == SSE_REASON_REMOVED ? 'l' : '?');
    say(fd, store_append(streams[0], "x") == SSE_ERR_NOT_FOUND ? 'n' : '?');
    pause();
}

static producer run(unsigned first, unsigned count)
{
    producer p;
    int      fds[2];

    assert_int_equal(pipe(fds), 0);
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        produce(fds[1], first, count);
        _exit(0);
    }
    close(fds[1]);
    p.said = fds[0];
    return p;
}

static char hear(const producer *p)
{
    struct pollfd ready = {.fd = p->said, .events = POLLIN};
    char          c = 0;

    if (poll(&ready, 1, 30000) != 1 || read(p->said, &c, 1) != 1)
        fail_msg("a producer said nothing");
    return c;
}

static void kill_producer(producer *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    close(p->said);
}

static void pause_producer(const producer *p)
{
    kill(p->pid, SIGSTOP);
    assert_int_equal(waitpid(p->pid, NULL, WUNTRACED), p->pid);
}

/* ---- Without anybody to ask ---- */

static void fails_a_lost_stream(void **state)
{
    producer p = run(0, 1);
    sse_hub *hub;

    (void)state;
    assert_int_equal(hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    kill_producer(&p);
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
    producer        p = run(0, 1);
    sse_hub        *hub, *readers;
    sse_stream     *s;
    sse_subscriber *sub;
    sse_queue      *q;
    char            text[4096] = "";

    (void)state;
    assert_int_equal(hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    readers = open_hub(SSE_NEVER);
    OK(sse_queue_new(readers, NULL, &q));
    OK(sse_stream_open(readers, "s0", 2, &s));
    OK(sse_subscriber_new(s, q, "", 0, NULL, &sub));
    store_note(q, SSE_NOTE_BYTES, text, sizeof(text));
    assert_non_null(strstr(text, "{\"n\":1}"));
    kill_producer(&p);
    store_note(q, SSE_NOTE_BYTES, text, sizeof(text));
    assert_non_null(
        strstr(text, "event: failed\ndata: {\"reason\":\"producer lost\"}"));
    sse_subscriber_free(sub);
    sse_stream_free(s);
    sse_queue_free(q);
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

static int settle(sse_hub *hub, const char *id, int state, const char *data)
{
    return sse_hub_settle(hub, id, strlen(id), state, "", 0, data,
                          strlen(data));
}

static void asks_the_application(void **state)
{
    producer   p = run(0, 1);
    sse_hub   *hub, *other;
    sse_queue *q;
    char       text[1024];

    (void)state;
    assert_int_equal(hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    OK(sse_queue_new(hub, NULL, &q));
    OK(sse_hub_set_guardian(hub, q));
    UNTIL(store_number(&redis, "EXISTS sse:guardian") == 1);
    other = open_hub(SWEEP_MS); /* which leaves it to the first one */
    kill_producer(&p);
    store_note(q, SSE_NOTE_ORPHAN, text, sizeof(text));
    assert_non_null(strstr(text, "\"s0\""));
    assert_int_equal(settle(hub, "s1", SSE_STATE_COMPLETED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_int_equal(settle(other, "s0", SSE_STATE_COMPLETED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                        "active");
    OK(settle(hub, "s0", SSE_STATE_COMPLETED, "{\"done\":1}"));
    assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                        "completed");
    assert_string_equal(
        store_says(&redis, "HGET sse:completion:s0 terminalEventData"),
        "{\"done\":1}");
    assert_int_equal(settle(hub, "s0", SSE_STATE_COMPLETED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_int_equal(store_metric(other, "sse_guardian_claimed_total"), 0);
    sse_queue_free(q);
    sse_hub_free(hub);
    sse_hub_free(other);
}

static void asks_again(void **state)
{
    producer   p = run(0, 1);
    sse_hub   *hub;
    sse_queue *q;

    (void)state;
    assert_int_equal(hear(&p), 'r');
    kill_producer(&p);
    hub = open_hub(SWEEP_MS);
    OK(sse_queue_new(hub, NULL, &q));
    OK(sse_hub_set_guardian(hub, q));
    for (int i = 0; i < 2; i++) {
        do /* an answer may come when the claim is over */
            store_note(q, SSE_NOTE_ORPHAN, NULL, 0);
        while (settle(hub, "s0", SSE_STATE_ACTIVE, "") != SSE_OK);
        assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                            "orphaned");
    }
    assert_int_equal(store_number(&redis, "LLEN sse:events:s0"), 2);
    sse_queue_free(q);
    sse_hub_free(hub);
}

static void is_overtaken_by_a_life_sign(void **state)
{
    producer   p = run(0, 1);
    sse_hub   *hub;
    sse_queue *q;

    (void)state;
    assert_int_equal(hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    OK(sse_queue_new(hub, NULL, &q));
    OK(sse_hub_set_guardian(hub, q));
    pause_producer(&p);
    store_note(q, SSE_NOTE_ORPHAN, NULL, 0);
    kill(p.pid, SIGCONT);
    redis_do(&redis, "CONFIG RESETSTAT");
    UNTIL(redis_info(&redis, "commandstats", "cmdstat_zadd:calls=") > 1);
    assert_int_equal(settle(hub, "s0", SSE_STATE_FAILED, "{}"),
                     SSE_ERR_NOT_FOUND);
    assert_string_equal(store_says(&redis, "HGET sse:stream:s0 state"),
                        "active");
    kill_producer(&p);
    sse_queue_free(q);
    sse_hub_free(hub);
}

/* A producer that stood still for too long finds another one at its place. */
static void fences_a_producer_that_comes_back(void **state)
{
    producer    p = run(0, 1);
    sse_hub    *hub;
    sse_stream *s;

    (void)state;
    assert_int_equal(hear(&p), 'r');
    hub = open_hub(SWEEP_MS);
    pause_producer(&p);
    UNTIL(store_number(&redis, "EXISTS sse:completion:s0") == 1);
    s = store_stream(hub, "s0", NULL, 0);
    store_append_many(s, 0, 3);
    kill(p.pid, SIGCONT);
    assert_int_equal(hear(&p), 'l');
    assert_int_equal(hear(&p), 'n');
    store_append_many(s, 3, 3);
    UNTIL(store_metric(hub, "sse_store_waiting_events") == 0);
    assert_true(store_holds(&redis, "s0", 0, 6));
    kill_producer(&p);
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
        char            id[16];

        if (n->kind != SSE_NOTE_ORPHAN)
            continue;
        at = strstr(batch->data + n->offset, "\"s");
        at = strchr(batch->data + n->offset, ':') + 2;
        snprintf(id, sizeof(id), "%.*s", (int)strcspn(at, "\""), at);
        settled += settle(hub, id, SSE_STATE_COMPLETED, "{}") == SSE_OK;
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
        producers[i] = run(i * EACH, EACH);
    for (unsigned i = 0; i < PROCESSES; i++)
        assert_int_equal(hear(&producers[i]), 'r');
    for (unsigned i = 0; i < GUARDIANS; i++) {
        hubs[i] = open_hub(SWEEP_MS);
        OK(sse_queue_new(hubs[i], NULL, &queues[i]));
        OK(sse_hub_set_guardian(hubs[i], queues[i]));
    }
    for (unsigned i = 0; i < KILLED; i++)
        kill_producer(&producers[i]);
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
        kill_producer(&producers[i]);
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
        TEST(is_overtaken_by_a_life_sign),
        TEST(fences_a_producer_that_comes_back),
        TEST(settles_each_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
