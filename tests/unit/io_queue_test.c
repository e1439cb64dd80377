/* SPDX-License-Identifier: MIT */
/* io_queue_test.c - the one door out of a hub. */
#include "support.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "net_support.h"
#include "store.h"

static sse_hub   *hub;
static sse_queue *q;

static void open_all(void)
{
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};

    OK(sse_hub_new(&opts, &hub));
    OK(sse_queue_new(hub, NULL, &q));
}

static void close_all(void)
{
    sse_queue_free(q);
    sse_hub_free(hub);
}

static sse_stream *create(const char *id, sse_queue *producer, uint64_t key)
{
    sse_stream_options opts = {.size = sizeof(opts), .key = key};
    sse_stream        *s;

    OK(sse_stream_new(hub, id, strlen(id), producer, &opts, &s));
    return s;
}

static void append(sse_stream *s, const char *data)
{
    OK(sse_stream_append(s, "", 0, data, strlen(data), NULL));
}

static sse_subscriber *subscribe(sse_stream *s, sse_queue *to, uint64_t key,
                                 uint32_t flags)
{
    sse_subscriber_options opts = {
        .size = sizeof(opts), .key = key, .flags = flags};
    sse_subscriber *sub;

    OK(sse_subscriber_new(s, to, "", 0, &opts, &sub));
    return sub;
}

static const sse_batch *batch;

static int drain(uint32_t max_notes)
{
    return RETRY(sse_queue_drain(q, max_notes, &batch));
}

static void assert_note(size_t i, uint32_t kind, uint32_t reason, uint64_t key)
{
    assert_true(i < batch->note_count);
    assert_int_equal(batch->notes[i].kind, kind);
    assert_int_equal(batch->notes[i].reason, reason);
    assert_int_equal(batch->notes[i].key, key);
    assert_true(batch->notes[i].offset + batch->notes[i].len <=
                batch->data_len);
}

static bool note_has(size_t i, const char *text)
{
    const sse_note *note = &batch->notes[i];

    return memmem(batch->data + note->offset, note->len, text, strlen(text)) !=
           NULL;
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* ---- Draining ---- */

static void drains_batches(void **state)
{
    sse_stream     *s;
    sse_subscriber *subs[3];

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    append(s, "one");
    for (uint64_t i = 0; i < 3; i++)
        subs[i] = subscribe(s, q, 100 + i, 0);
    append(s, "two");
    assert_int_equal(drain(0), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_note(i, SSE_NOTE_BYTES, 0, 100 + i);
        assert_true(note_has(i, "data: one\n\nid: 2-"));
        assert_true(note_has(i, "data: two\n\n"));
    }
    assert_int_equal(batch->notes[2].offset + batch->notes[2].len,
                     batch->data_len);
    assert_int_equal(drain(0), 0);
    assert_int_equal(batch->note_count, 0);
    OK(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    assert_int_equal(drain(4), 4);
    assert_note(0, SSE_NOTE_BYTES, 0, 100);
    assert_note(1, SSE_NOTE_END, SSE_REASON_ENDED, 100);
    assert_int_equal(drain(0), 2);
    assert_note(1, SSE_NOTE_END, SSE_REASON_ENDED, 102);
    assert_int_equal(drain(0), 0);
    for (int i = 0; i < 3; i++)
        sse_subscriber_free(subs[i]);
    sse_stream_free(s);
    close_all();
}

static void gives_no_more_notes_than_asked(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;
    int             notes = 0, n;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    OK(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    while ((n = drain(1)) > 0) {
        notes += n;
        assert_int_equal(n, 1);
    }
    assert_int_equal(notes, 2);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

static void bounds_bytes(void **state)
{
    sse_queue_options opts = {
        .size = sizeof(opts), .max_note_bytes = 100, .max_batch_bytes = 250};
    static char     big[5000];
    sse_stream     *s;
    sse_subscriber *subs[5];
    int             n, drains = 0;
    size_t          bytes = 0;

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    open_all();
    sse_queue_free(q);
    OK(sse_queue_new(hub, &opts, &q));
    s = create("s", NULL, 0);
    for (int i = 0; i < 20; i++)
        append(s, "0123456789");
    append(s, big);
    for (uint64_t i = 0; i < 5; i++)
        subs[i] = subscribe(s, q, i, 0);
    while ((n = drain(0)) > 0) {
        drains++;
        bytes += batch->data_len;
        for (int i = 0; i < n; i++)
            assert_true(batch->notes[i].len <= 100 || note_has((size_t)i, big));
        /* a note that begins below the bound may end above it */
        assert_true(batch->data_len - batch->notes[n - 1].len < 250);
    }
    assert_true(drains > 10);
    assert_true(bytes > 5 * 5000 + 5 * 20 * 10);
    for (int i = 0; i < 5; i++)
        sse_subscriber_free(subs[i]);
    sse_stream_free(s);
    close_all();
}

static void holds_until_next(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, SSE_SUBSCRIBER_HOLD);
    assert_int_equal(drain(0), 0); /* nothing to hold for */
    append(s, "one");
    assert_int_equal(drain(0), 1);
    append(s, "two");
    append(s, "three");
    assert_int_equal(drain(0), 0);
    sse_subscriber_next(sub);
    sse_subscriber_next(sub); /* does nothing more */
    assert_int_equal(drain(0), 1);
    assert_true(note_has(0, "data: two\n\n"));
    assert_true(note_has(0, "data: three\n\n"));
    OK(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    assert_int_equal(drain(0), 0);
    sse_subscriber_next(sub);
    assert_int_equal(drain(0), 2);
    assert_note(1, SSE_NOTE_END, SSE_REASON_ENDED, 1);
    sse_subscriber_next(sub);
    assert_int_equal(drain(0), 0);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

static void tells_of_the_end(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    append(s, "one");
    sub = subscribe(s, q, 1, 0);
    OK(sse_hub_remove(hub, "s", 1));
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_END, SSE_REASON_REMOVED, 1);
    assert_int_equal(sse_hub_remove(hub, "s", 1), SSE_ERR_NOT_FOUND);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

/* ---- Stops ---- */

static void tells_producers_to_stop(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .key = 9,
                               .unread_policy_set = 1,
                               .unread_policy = SSE_UNREAD_CANCEL};
    sse_stream        *s, *unread;

    (void)state;
    open_all();
    s = create("s", q, 7);
    OK(sse_hub_stop(hub, "s", 1));
    OK(sse_hub_stop(hub, "s", 1));
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_STOP, SSE_REASON_REQUESTED, 7);
    assert_int_equal(drain(0), 0);
    assert_int_equal(sse_hub_stop(hub, "nobody", 6), SSE_ERR_NOT_FOUND);
    OK(sse_stream_new(hub, "u", 1, q, &opts, &unread));
    sse_subscriber_free(subscribe(unread, q, 1, 0));
    assert_int_equal(drain(0), 1);
    assert_note(0, SSE_NOTE_STOP, SSE_REASON_UNREAD, 9);
    sse_stream_free(unread);
    sse_stream_free(s);
    close_all();
}

/* The header knows two answers. */
static void stops_a_channel_as_it_says(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags = SSE_STREAM_CHANNEL};
    sse_stream        *s;
    int                rc;

    (void)state;
    open_all();
    OK(sse_stream_new(hub, "c", 1, NULL, &opts, &s));
    rc = sse_hub_stop(hub, "c", 1);
    assert_true(rc == SSE_OK || rc == SSE_ERR_NOT_FOUND);
    sse_stream_free(s);
    close_all();
}

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
    assert_false(readable(fd));
    s = create("s", NULL, 0);
    append(s, "nobody reads");
    assert_false(readable(fd));
    sub = subscribe(s, q, 1, 0);
    assert_true(readable(fd));
    assert_int_equal(drain(0), 1);
    assert_true(readable(fd)); /* not until a drain gave nothing */
    assert_int_equal(drain(0), 0);
    assert_false(readable(fd));
    assert_int_equal(drain(0), 0);
    append(s, "one");
    append(s, "two");
    assert_true(readable(fd));
    while (drain(0) > 0)
        ;
    assert_false(readable(fd));
    sse_subscriber_free(sub);
    append(s, "nobody reads");
    assert_false(readable(fd));
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
    assert_false(readable(fd));
    assert_int_equal(drain(0), 2);
    append(s, "two");
    assert_false(readable(fd));
    assert_int_equal(drain(0), 1);
    assert_int_equal(drain(0), 0);
    assert_int_equal(atomic_load(&wakes), 0);
    append(s, "three"); /* that drain has armed it again */
    assert_true(readable(fd));
    assert_int_equal(atomic_load(&wakes), 1);
    sse_queue_hush(q); /* what has been told is not taken back */
    assert_true(readable(fd));
    while (drain(0) > 0)
        ;
    assert_false(readable(fd));
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
    assert_false(readable(p.fd)); /* nor does one stay */
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
    assert_true(readable(sse_queue_fd(q)));
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
    assert_true(readable(fd));
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
    assert_int_equal(drain(0), 0);
    assert_int_equal(sse_queue_wait(q, NET_PATIENCE_MS), SSE_OK);
    assert_int_equal(drain(0), 1);
    assert_true(note_has(0, ": heartbeat\n\n"));
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

/* ---- Ids ---- */

static void makes_up_ids(void **state)
{
    const sse_stream_info *info;
    sse_stream            *streams[100];
    char                   seen[100][32];

    (void)state;
    open_all();
    for (int i = 0; i < 100; i++) {
        OK(sse_stream_new(hub, "", 0, NULL, NULL, &streams[i]));
        OK(sse_stream_get_info(streams[i], &info));
        assert_int_equal(info->id_len, 26);
        assert_int_equal(strspn(info->id, "0123456789abcdefghjkmnpqrstvwxyz"),
                         26);
        memcpy(seen[i], info->id, 27);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(seen[i], seen[j]);
    }
    for (int i = 0; i < 100; i++)
        sse_stream_free(streams[i]);
    close_all();
}

/* ---- Arguments ---- */

static void refuses_what_belongs_elsewhere(void **state)
{
    sse_queue_options      bad = {.size = sizeof(bad), .flags = 1};
    sse_subscriber_options flags = {.size = sizeof(flags), .flags = 2};
    sse_hub               *other_hub;
    sse_queue             *other, *none;
    sse_stream            *s, *mixed;
    sse_subscriber        *sub;

    (void)state;
    open_all();
    OK(sse_hub_new(NULL, &other_hub));
    OK(sse_queue_new(other_hub, NULL, &other));
    s = create("s", NULL, 0);
    assert_int_equal(sse_subscriber_new(s, other, "", 0, NULL, &sub),
                     SSE_ERR_INVAL);
    assert_null(sub);
    assert_int_equal(sse_subscriber_new(s, q, "", 0, &flags, &sub),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_queue_new(hub, &bad, &none), SSE_ERR_INVAL);
    assert_null(none);
    assert_int_equal(sse_stream_new(hub, "x", 1, other, NULL, &mixed),
                     SSE_ERR_INVAL);
    sse_stream_free(mixed);
    sse_queue_free(other);
    sse_hub_free(other_hub);
    sse_stream_free(s);
    close_all();
}

static void checks_batches(void **state)
{
    const uint32_t sizes[] = {1, 2};
    sse_stream    *s;
    sse_event_id   id;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    OK(sse_stream_append_batch(s, "", 0, "abc", 3, sizes, 2, &id));
    assert_int_equal(id.seq, 2);
    assert_int_equal(sse_stream_append_batch(s, "", 0, "ab", 2, sizes, 2, &id),
                     SSE_ERR_INVAL);
    assert_int_equal(
        sse_stream_append_batch(s, "", 0, "abcd", 4, sizes, 2, &id),
        SSE_ERR_INVAL);
    assert_int_equal(sse_stream_append_batch(s, "", 0, "", 0, sizes, 0, &id),
                     SSE_ERR_INVAL);
    append(s, "x");
    sse_stream_free(s);
    close_all();
}

/* ---- Lives and deaths ---- */

/* Frees a hub, a queue, a stream and a reader in the order that `digits`
 * gives, after each in turn has something to say. */
static void free_in_order(const int *order)
{
    sse_stream     *s;
    sse_subscriber *sub;

    open_all();
    s = create("s", q, 1);
    sub = subscribe(s, q, 1, SSE_SUBSCRIBER_HOLD);
    append(s, "one");
    assert_int_equal(drain(0), 1);
    append(s, "two");
    OK(sse_hub_stop(hub, "s", 1));
    for (int i = 0; i < 4; i++)
        switch (order[i]) {
        case 0: sse_hub_free(hub); break;
        case 1: sse_queue_free(q); break;
        case 2: sse_stream_free(s); break;
        case 3: sse_subscriber_free(sub); break;
        default: fail();
        }
}

static void freed_in_any_order(void **state)
{
    (void)state;
    for (int n = 0; n < 256; n++) {
        const int order[] = {n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6 & 3};
        int       seen = 0;

        for (int i = 0; i < 4; i++)
            seen |= 1 << order[i];
        if (seen == 15)
            free_in_order(order);
    }
}

/* The hub's end waits for its last child, which goes on as before. */
static void children_outlive_the_hub_handle(void **state)
{
    sse_stream     *s;
    sse_subscriber *sub;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    sse_hub_free(hub);
    append(s, "one");
    assert_int_equal(drain(0), 1);
    sse_queue_free(q); /* its subscription ends */
    append(s, "two");
    sse_subscriber_next(sub);
    sse_subscriber_free(sub);
    sse_stream_free(s);
}

static void frees_nothing(void **state)
{
    (void)state;
    sse_hub_free(NULL);
    sse_queue_free(NULL);
    sse_stream_free(NULL);
    sse_subscriber_free(NULL);
    sse_list_free(NULL);
    sse_loop_free(NULL);
    sse_server_free(NULL);
    sse_buffer_free(NULL);
}

static void survives_want_of_memory(void)
{
    sse_stream            *s, *again;
    sse_subscriber        *sub;
    sse_list              *list;
    const sse_stream_info *info;
    const uint32_t         sizes[] = {1, 1};

    open_all();
    s = create("s", q, 1);
    OK(sse_stream_set_owner(s, "ann", 3));
    sub = subscribe(s, q, 1, 0);
    append(s, "one");
    OK(sse_stream_append_batch(s, "", 0, "xy", 2, sizes, 2, NULL));
    assert_int_equal(drain(0), 1);
    assert_true(note_has(0, "data: one\n\n"));
    assert_true(note_has(0, "data: y\n\n"));
    OK(sse_stream_open(hub, "s", 1, &again));
    OK(sse_stream_get_info(again, &info));
    assert_int_equal(info->last_seq, 3);
    OK(sse_list_new(hub, "ann", 3, &list));
    assert_int_equal(sse_list_next(list, &info), 1);
    assert_string_equal(info->id, "s");
    assert_int_equal(sse_list_next(list, &info), 0);
    sse_list_free(list);
    sse_stream_free(again);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

/* ---- Fork, signals ---- */

#ifdef __SANITIZE_THREAD__
/* A child may start threads. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}
#endif

/* What `body` returns in a child; it must not use the macros of cmocka. */
static int in_child(int (*body)(sse_stream *s), sse_stream *s)
{
    int   status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(body(s));
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The number of the first call that did not say SSE_ERR_FORKED. */
static int child_uses_all(sse_stream *s)
{
    const sse_stream_info *info;
    sse_subscriber        *sub;
    sse_stream            *made;
    sse_buffer            *text;
    sse_list              *list;
    int                    n = 0;

    if (sse_buffer_new(0, &text) < 0)
        return 100;
    const int rcs[] = {
        sse_stream_append(s, "", 0, "x", 1, NULL),
        sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "", 0, NULL),
        sse_stream_get_info(s, &info),
        sse_stream_set_owner(s, "a", 1),
        sse_stream_new(hub, "", 0, NULL, NULL, &made),
        sse_stream_open(hub, "s", 1, &made),
        sse_subscriber_new(s, q, "", 0, NULL, &sub),
        sse_queue_drain(q, 0, &batch),
        sse_queue_wait(q, 1000),
        sse_queue_on_wake(q, NULL, NULL),
        sse_hub_stop(hub, "s", 1),
        sse_hub_remove(hub, "s", 1),
        sse_hub_metrics(hub, text),
        sse_list_new(hub, "", 0, &list),
    };

    for (; n < (int)(sizeof(rcs) / sizeof(*rcs)); n++)
        if (rcs[n] != SSE_ERR_FORKED)
            return n + 1;
    sse_queue_wake(q);
    sse_buffer_free(text);
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(hub);
    return 0;
}

static void a_child_is_told(void **state)
{
    sse_subscriber *sub;
    sse_stream     *s;
    int             fd;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    sub = subscribe(s, q, 1, 0);
    while (drain(0) > 0)
        ;
    fd = sse_queue_fd(q);
    append(s, "one");
    assert_true(readable(fd));
    assert_int_equal(in_child(child_uses_all, s), 0);
    assert_true(readable(fd)); /* the parent's wake-up is still there */
    assert_int_equal(drain(0), 1);
    assert_true(note_has(0, "data: one\n\n"));
    append(s, "two");
    assert_int_equal(drain(0), 1);
    sse_subscriber_free(sub);
    sse_stream_free(s);
    close_all();
}

/* A hub that has not begun may be taken along into a child; but a descriptor
 * is one for both, so that a queue that has one may not. */
static int child_drains(sse_stream *s)
{
    (void)s;
    sse_queue_drain(q, 0, &batch);
    sse_queue_drain(q, 0, &batch);
    return 0;
}

static void a_child_steals_no_wake_up(void **state)
{
    int fd;

    (void)state;
    open_all();
    fd = sse_queue_fd(q);
    sse_queue_wake(q);
    assert_true(readable(fd));
    assert_int_equal(in_child(child_drains, NULL), 0);
    assert_true(readable(fd));
    assert_int_equal(drain(0), 1);
    close_all();
}

static int child_uses_its_own(sse_stream *s)
{
    sse_subscriber *sub;

    if (sse_stream_new(hub, "s", 1, NULL, NULL, &s) != SSE_OK ||
        sse_queue_new(hub, NULL, &q) != SSE_OK)
        return 1;
    if (sse_subscriber_new(s, q, "", 0, NULL, &sub) != SSE_OK ||
        sse_stream_append(s, "", 0, "one", 3, NULL) != SSE_OK ||
        sse_queue_drain(q, 0, &batch) != 1)
        return 2;
    sse_subscriber_free(sub);
    sse_stream_free(s);
    sse_queue_free(q);
    sse_hub_free(hub);
    return 0;
}

static void a_hub_not_begun_may_be_taken_along(void **state)
{
    (void)state;
    OK(sse_hub_new(NULL, &hub));
    assert_int_equal(in_child(child_uses_its_own, NULL), 0);
    sse_hub_free(hub);
}

static unsigned long long blocked_signals(const char *tid)
{
    char               path[64], line[256];
    unsigned long long mask = 0;
    FILE              *file;

    snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", tid);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file))
        sscanf(line, "SigBlk: %llx", &mask);
    if (file)
        fclose(file);
    return mask;
}

static int threads_that_block_all(void)
{
    /* Two belong to the C library; KILL and STOP cannot be blocked. */
    const unsigned long long all =
        ~(3ull << 31 | 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1));
    DIR           *dir = opendir("/proc/self/task");
    struct dirent *entry;
    int            n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += entry->d_name[0] != '.' &&
             (blocked_signals(entry->d_name) & all) == all;
    closedir(dir);
    return n;
}

static void the_hubs_thread_takes_no_signals(void **state)
{
    int         before = threads_that_block_all();
    sse_stream *s;

    (void)state;
    open_all();
    s = create("s", NULL, 0);
    assert_int_equal(threads_that_block_all(), before + 1);
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
    alarm(6); /* where it never ends, the program does */
    assert_true(sse_queue_fd(queues[QUEUES - 1]) >= 0);
    sem_post(&go_on);
    pthread_join(thread, NULL);
    alarm(0);
    assert_true(readable(sse_queue_fd(queues[QUEUES - 1])));
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
        cmocka_unit_test(drains_batches),
        cmocka_unit_test(gives_no_more_notes_than_asked),
        cmocka_unit_test(bounds_bytes),
        cmocka_unit_test(holds_until_next),
        cmocka_unit_test(tells_of_the_end),
        cmocka_unit_test(tells_producers_to_stop),
        cmocka_unit_test(stops_a_channel_as_it_says),
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
        cmocka_unit_test(makes_up_ids),
        cmocka_unit_test(refuses_what_belongs_elsewhere),
        cmocka_unit_test(checks_batches),
        cmocka_unit_test(freed_in_any_order),
        cmocka_unit_test(children_outlive_the_hub_handle),
        cmocka_unit_test(frees_nothing),
        FAIL_ALLOC_TEST(survives_want_of_memory),
        cmocka_unit_test(a_child_is_told),
        cmocka_unit_test(a_child_steals_no_wake_up),
        cmocka_unit_test(a_hub_not_begun_may_be_taken_along),
        cmocka_unit_test(the_hubs_thread_takes_no_signals),
        cmocka_unit_test(waits_as_long_as_anybody_says),
        cmocka_unit_test(asks_for_a_descriptor_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
