/* SPDX-License-Identifier: MIT */
/* io_queue_wake_test.c - how a queue wakes: descriptor, function, wait. */
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "net_support.h"
#include "queue_fixture.h"
#include "store.h"

/* ---- Waking ---- */

static void count_wake(void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
}

static void wakes_on_the_edge(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;
    int             fd;

    (void)state;
    open_all();
    fd = sse_queue_fd(q);
    assert_true(fd >= 0);
    assert_int_equal(sse_queue_fd(q), fd);
    assert_false(readable(fd, 0));
    s = create("s", NULL, 0);
    append(s, "nobody reads");
    assert_false(readable(fd, 0));
    sub = subscribe(s, q, 1, 0);
    assert_true(readable(fd, 0));
    assert_int_equal(drain(0), 1);
    assert_true(readable(fd, 0)); /* not until a drain gave nothing */
    assert_int_equal(drain(0), 0);
    assert_false(readable(fd, 0));
    assert_int_equal(drain(0), 0);
    append(s, "one");
    append(s, "two");
    assert_true(readable(fd, 0));
    while (drain(0) > 0)
        ;
    assert_false(readable(fd, 0));
    sse_subscriber_free(sub);
    append(s, "nobody reads");
    assert_false(readable(fd, 0));
    sse_stream_free(s);
    close_all();
}

static void is_hushed_until_it_is_drained(void **state)
{
    atomic_int      wakes = 0;
    sse_stream     *s;
    sse_subscriber *sub;
    int             fd;

    (void)state;
    open_all();
    fd = sse_queue_fd(q);
    OK(sse_queue_on_wake(q, count_wake, &wakes));
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    assert_int_equal(drain(0), 0);
    atomic_store(&wakes, 0); /* it was called for what came before it */
    sse_queue_hush(q);
    append(s, "one");
    sse_queue_wake(q);
    assert_false(readable(fd, 0));
    assert_int_equal(drain(0), 2);
    append(s, "two");
    assert_false(readable(fd, 0));
    assert_int_equal(drain(0), 1);
    assert_int_equal(drain(0), 0);
    assert_int_equal(atomic_load(&wakes), 0);
    append(s, "three"); /* that drain has armed it again */
    assert_true(readable(fd, 0));
    assert_int_equal(atomic_load(&wakes), 1);
    sse_queue_hush(q); /* what has been told is not taken back */
    assert_true(readable(fd, 0));
    while (drain(0) > 0)
        ;
    assert_false(readable(fd, 0));
    assert_int_equal(sse_queue_wait(q, 5), SSE_ERR_TIMEOUT);
    sse_queue_hush(q);
    append(s, "four");
    assert_int_equal(sse_queue_wait(q, -1), SSE_OK);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

enum { APPENDS = 2000 };

static void *append_many(void *s)
{
    for (int i = 0; i < APPENDS; i++) { /* OK() is for the test's thread */
        (void)sse_stream_append(s, "", 0, "theirs", 6, NULL);
        if (i % 7 == 0)
            usleep(20);
    }
    return NULL;
}

static size_t count_events(void)
{
    size_t      count = 0;
    const char *at = batch->data, *end = at + batch->data_len;

    while ((at = memmem(at, (size_t)(end - at), "data: ", 6)) != NULL) {
        count++;
        at += 6;
    }
    return count;
}

/* A host hushes what it sends itself, and sleeps whenever a drain has given
 * nothing: whatever others append meanwhile must wake it. */
static void loses_no_wake_up_of_others_when_hushed(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;
    pthread_t       thread;
    struct pollfd   p = {.events = POLLIN};
    size_t          seen = 0, mine = 0;

    (void)state;
    open_all();
    p.fd = sse_queue_fd(q);
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    pthread_create(&thread, NULL, append_many, s);
    while (seen < APPENDS + mine) {
        if (mine < APPENDS) {
            sse_queue_hush(q);
            append(s, "mine");
            mine++;
        } else if (poll(&p, 1, NET_PATIENCE_MS) != 1) {
            fail_msg("%zu events were not told", APPENDS + mine - seen);
        }
        while (drain(1) > 0)
            seen += count_events();
        if (mine % 3 == 0)
            (void)poll(&p, 1, 1);
    }
    pthread_join(thread, NULL);
    while (drain(0) > 0)
        ;
    assert_false(readable(p.fd, 0)); /* nor does one stay */
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

static void wakes_for_what_came_before_the_descriptor(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    append(s, "one");
    sub = subscribe(s, q, 1, 0);
    assert_true(readable(sse_queue_fd(q), 0));
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

/* What one guardian has not taken is the next one's, who hears of it. */
static void wakes_a_guardian_for_what_another_left(void **state)
{
    const sse_stream_info info = {
        .id = "s", .id_len = 1, .owner = "", .kind = "", .metadata = ""};
    sse_queue *other;
    int        fd;

    (void)state;
    open_all();
    OK(sse_queue_new(hub, NULL, &other));
    OK(sse_hub_set_guardian(hub, other));
    OK(sse__hub_enter(hub));
    assert_true(sse__store_tell_orphan(hub, &info));
    sse__hub_leave(hub);
    sse_queue_free(other);
    fd = sse_queue_fd(q);
    assert_int_equal(drain(0), 0);
    OK(sse_hub_set_guardian(hub, q));
    assert_true(readable(fd, 0));
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_ORPHAN, 0, 0);
    close_all();
}

static void calls_once_an_edge(void **state)
{
    atomic_int      wakes = 0;
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    OK(sse_queue_on_wake(q, count_wake, &wakes));
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    for (int i = 1; i <= 10; i++) {
        append(s, "one");
        append(s, "two");
        assert_int_equal(atomic_load(&wakes), i);
        assert_true(drain(0) > 0);
        append(s, "three");
        assert_int_equal(atomic_load(&wakes), i);
        while (drain(0) > 0)
            ;
    }
    sse_queue_wake(q);
    sse_queue_wake(q);
    assert_int_equal(atomic_load(&wakes), 11);
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_WAKE, 0, 0);
    OK(sse_queue_on_wake(q, NULL, NULL));
    while (drain(0) > 0)
        ;
    append(s, "four");
    assert_int_equal(atomic_load(&wakes), 11);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

static void calls_for_what_came_before_the_function(void **state)
{
    atomic_int wakes = 0;

    (void)state;
    open_all();
    sse_queue_wake(q);
    OK(sse_queue_on_wake(q, count_wake, &wakes));
    assert_int_equal(atomic_load(&wakes), 1);
    close_all();
}

static sem_t       entered;
static atomic_bool left;

static void wake_slowly(void *user)
{
    (void)user;
    sem_post(&entered);
    usleep(300000); /* whoever frees the queue has the time to be wrong */
    atomic_store(&left, true);
}

static void *append_one(void *s)
{
    append(s, "one");
    return NULL;
}

/* Once sse_queue_free() has returned, the host frees what `user` points to. */
static void calls_nobody_who_is_gone(void **state)
{
    sse_subscriber *sub;
    sse_stream     *s;
    pthread_t       thread;
    bool            was_left;

    (void)state;
    sem_init(&entered, 0, 0);
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    while (drain(0) > 0)
        ;
    atomic_store(&left, false);
    OK(sse_queue_on_wake(q, wake_slowly, NULL));
    pthread_create(&thread, NULL, append_one, s);
    sem_wait(&entered);
    sse_subscriber_free(sub);
    sse_queue_free(q);
    was_left = atomic_load(&left);
    pthread_join(thread, NULL);
    sse_stream_free(s);
    sse_hub_free(hub);
    sem_destroy(&entered);
    assert_true(was_left);
}

/* ---- Waiting ---- */

static void *wake_it(void *arg)
{
    usleep(20000);
    sse_queue_wake(arg);
    return NULL;
}

static void wait_for_a_wake(int64_t timeout_ms)
{
    pthread_t thread;
    int       rc;

    pthread_create(&thread, NULL, wake_it, q);
    rc = sse_queue_wait(q, timeout_ms);
    pthread_join(thread, NULL);
    assert_int_equal(rc, SSE_OK);
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_WAKE, 0, 0);
}

static void waits(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    assert_int_equal(sse_queue_wait(q, 0), SSE_ERR_TIMEOUT);
    assert_int_equal(sse_queue_wait(q, 5), SSE_ERR_TIMEOUT);
    s = create("s", NULL, 0);
    append(s, "one");
    sub = subscribe(s, q, 1, 0);
    assert_int_equal(sse_queue_wait(q, 0), SSE_OK);
    assert_int_equal(sse_queue_wait(q, -1), SSE_OK);
    assert_int_equal(drain(0), 1);
    assert_int_equal(sse_queue_wait(q, 5), SSE_ERR_TIMEOUT);
    wait_for_a_wake(-1);
    wait_for_a_wake(NET_PATIENCE_MS);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

static void waits_as_long_as_anybody_says(void **state)
{
    (void)state;
    open_all();
    wait_for_a_wake(INT64_MAX);
    wait_for_a_wake(INT64_MIN);
    close_all();
}

/* A heartbeat comes from the hub's thread, on the real clock. */
static void gets_heartbeats(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = 10};
    sse_subscriber *sub;
    sse_stream     *s;

    (void)state;
    OK(sse_hub_new(&opts, &hub));
    OK(sse_queue_new(hub, NULL, &q));
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    while (drain(0) == 0) /* at first there is nothing, usually */
        assert_int_equal(sse_queue_wait(q, NET_PATIENCE_MS), SSE_OK);
    assert_int_equal(batch->note_count, 1);
    assert_true(note_has(0, ": heartbeat\n\n"));
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

/* ---- Many queues ---- */

#define QUEUES 20

static sem_t go_on;

static void wake_and_pause(void *user)
{
    if (user) {
        sem_post(&entered);
        sem_wait(&go_on);
    }
}

/* More queues than are woken in one go, while one of those that are still to
 * be woken asks for its descriptor. Stays last. */
static void asks_for_a_descriptor_in_between(void **state)
{
    sse_queue      *queues[QUEUES];
    sse_subscriber *subs[QUEUES];
    sse_stream     *s;
    pthread_t       thread;

    (void)state;
    sem_init(&entered, 0, 0);
    sem_init(&go_on, 0, 0);
    open_all();
    s = create("s", NULL, 0);
    for (int i = 0; i < QUEUES; i++) {
        OK(sse_queue_new(hub, NULL, &queues[i]));
        subs[i] = subscribe(s, queues[i], 1, 0);
        while (sse_queue_drain(queues[i], 0, &batch) > 0)
            ;
        OK(sse_queue_on_wake(queues[i], wake_and_pause, i == 0 ? s : NULL));
    }
    pthread_create(&thread, NULL, append_one, s);
    sem_wait(&entered);
    alarm(60); /* where it never ends, the program does */
    assert_true(sse_queue_fd(queues[QUEUES - 1]) >= 0);
    sem_post(&go_on);
    pthread_join(thread, NULL);
    alarm(0);
    assert_true(readable(sse_queue_fd(queues[QUEUES - 1]), 0));
    for (int i = 0; i < QUEUES; i++) {
        assert_int_equal(sse_queue_drain(queues[i], 0, &batch), 1);
        sse_subscriber_free(subs[i]);
        sse_queue_free(queues[i]);
    }
    sse_stream_free(s);
    close_all();
    sem_destroy(&entered);
    sem_destroy(&go_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wakes_on_the_edge),
        cmocka_unit_test(is_hushed_until_it_is_drained),
        cmocka_unit_test(loses_no_wake_up_of_others_when_hushed),
        cmocka_unit_test(wakes_for_what_came_before_the_descriptor),
        cmocka_unit_test(wakes_a_guardian_for_what_another_left),
        cmocka_unit_test(calls_once_an_edge),
        cmocka_unit_test(calls_for_what_came_before_the_function),
        cmocka_unit_test(calls_nobody_who_is_gone),
        cmocka_unit_test(waits),
        cmocka_unit_test(gets_heartbeats),
        cmocka_unit_test(waits_as_long_as_anybody_says),
        cmocka_unit_test(asks_for_a_descriptor_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
