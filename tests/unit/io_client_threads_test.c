/* SPDX-License-Identifier: MIT */
/* io_client_threads_test.c - a client among threads: hooks, waits, ends, and a
 * loop that is run, started, stopped or forked. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_support.h"
#include "support.h"

typedef struct watch {
    sse_client *c;
    pthread_t   thread;
    int         rc;
    bool        free_it;
    char        last[64];
    atomic_int  calls;
    atomic_bool ended;
} watch;

static int threads; /* before any test */

/* Reads all there is, on the loop's thread. */
static void read_all(void *user)
{
    watch          *w = user;
    const sse_news *news;

    w->thread = pthread_self();
    atomic_fetch_add(&w->calls, 1);
    while ((w->rc = sse_client_next(w->c, 0, &news)) > 0) {
        if (news->kind == SSE_NEWS_EVENT)
            snprintf(w->last, sizeof(w->last), "%s", news->data);
        if (news->kind == SSE_NEWS_EVENT && w->free_it) {
            sse_client_free(w->c);
            atomic_store(&w->ended, true);
            return;
        }
    }
    assert_int_equal(sse_client_next(w->c, 1, &news),
                     w->rc == 0 ? 0 : SSE_ERR_INVAL);
    if (w->rc == 0)
        atomic_store(&w->ended, true);
}

static void calls_the_hook(void **unused)
{
    watch w = {.rc = 0};
    stage s;
    call  k;

    (void)unused;
    stage_open(&s);
    w.c = client_new(&s, "/", NULL);
    assert_int_equal(sse_client_on_news(w.c, read_all, &w), SSE_OK);
    sse_client_start(w.c);
    assert_int_equal(sse_client_on_news(w.c, NULL, NULL), SSE_ERR_CLOSED);
    k = stage_accept(&s);
    call_say(&k, FINE "data: x\n\n");
    call_say(&k, BYE);
    while (!atomic_load(&w.ended))
        usleep(1000);
    assert_string_equal(w.last, "bye");
    assert_false(pthread_equal(w.thread, pthread_self()));
    call_close(&k);
    sse_client_free(w.c);
    stage_close(&s);
}

static void may_be_freed_by_its_hook(void **unused)
{
    watch w = {.free_it = true};
    stage s;
    call  k;

    (void)unused;
    stage_open(&s);
    w.c = client_new(&s, "/", NULL);
    sse_client_on_news(w.c, read_all, &w);
    sse_client_start(w.c);
    k = stage_accept(&s);
    call_say(&k, FINE "data: x\n\n");
    assert_true(call_is_cut(&k));
    call_close(&k);
    stage_close(&s);
    assert_true(atomic_load(&w.ended));
}

/* The hook drops the last reference to its own thread. */
static void may_end_its_loop(void **unused)
{
    static watch w = {.free_it = true};
    stage        s;
    call         k;

    (void)unused;
    stage_open(&s);
    w.c = client_new(&s, "/", NULL);
    sse_client_on_news(w.c, read_all, &w);
    sse_client_start(w.c);
    k = stage_accept(&s);
    sse_loop_free(s.loop);
    call_say(&k, FINE "data: x\n\n");
    assert_true(call_is_cut(&k));
    assert_true(thread_count_becomes(threads));
    assert_true(atomic_load(&w.ended));
    call_close(&k);
    close(s.listener);
}

static void signals_by_a_descriptor(void **unused)
{
    stage           s;
    sse_client     *c;
    const sse_news *news;
    call            k;
    int             fd;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    fd = sse_client_fd(c);
    assert_true(fd >= 0);
    assert_int_equal(sse_client_fd(c), fd);
    assert_false(readable(fd, 0));
    sse_client_start(c);
    assert_true(readable(fd, PATIENCE_MS));
    assert_int_equal(sse_client_next(c, 0, &news), 1);
    assert_true(readable(fd, 0));
    k = stage_accept(&s);
    while (sse_client_next(c, 0, &news) > 0)
        ;
    assert_false(readable(fd, 0));
    call_say(&k, FINE);
    assert_true(readable(fd, PATIENCE_MS));
    client_await(c, SSE_NEWS_OPEN);
    sse_client_close(c);
    assert_true(readable(fd, PATIENCE_MS));
    client_end(c);
    assert_false(readable(fd, 0));
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void *close_soon(void *arg)
{
    usleep(20000);
    sse_client_close(arg);
    return NULL;
}

static void wakes_who_waits(void **unused)
{
    stage       s;
    sse_client *c;
    pthread_t   thread;
    call        k;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    assert_int_equal(pthread_create(&thread, NULL, close_soon, c), 0);
    assert_int_equal(client_end(c), SSE_CAUSE_CLOSED);
    pthread_join(thread, NULL);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

/* The first call for this path. There may be others before it, of clients that
 * are no more: cut, and some before they had asked. */
static call accept_path(const stage *s, const char *path)
{
    char line[64];
    call k;

    snprintf(line, sizeof(line), "GET %s HTTP/1.1", path);
    while (assert_true(stage_try_accept(s, &k)), !call_has(&k, line))
        call_close(&k);
    return k;
}

static void may_be_freed_at_any_time(void **unused)
{
    stage       s;
    sse_client *c, *other;
    call        k;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_free(c); /* before start */
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    sse_client_free(c); /* while it begins */
    c = client_new(&s, "/head", NULL);
    sse_client_start(c);
    k = accept_path(&s, "/head");
    sse_client_free(c); /* while it waits for the head */
    call_close(&k);
    c = client_new(&s, "/free", NULL);
    other = client_new(&s, "/", NULL);
    sse_client_start(c);
    sse_loop_free(s.loop); /* the clients hold it */
    sse_client_free(other);
    k = accept_path(&s, "/free");
    call_say(&k, FINE BYE);
    client_expect(c, "bye");
    sse_client_free(c);
    call_close(&k);
    assert_true(thread_count_becomes(threads));
    sse_client_free(NULL);
    close(s.listener);
}

static void *free_it(void *client)
{
    sse_client_free(client);
    return NULL;
}

static void *stop_and_run(void *loop)
{
    sse_loop_run(loop);
    return NULL;
}

/* A loop that its owner runs, that begins and ends while others free. */
static void is_freed_while_loops_begin_and_end(void **unused)
{
    (void)unused;
    for (int i = 0; i < 50; i++) {
        sse_loop   *loop;
        sse_client *a, *b;
        pthread_t   runner, freer;

        assert_int_equal(sse_loop_new(&loop), SSE_OK);
        assert_int_equal(
            sse_client_new(loop, "http://127.0.0.1:1/", 19, NULL, &a), SSE_OK);
        assert_int_equal(
            sse_client_new(loop, "http://127.0.0.1:1/", 19, NULL, &b), SSE_OK);
        sse_client_start(a);
        assert_int_equal(pthread_create(&runner, NULL, stop_and_run, loop), 0);
        assert_int_equal(pthread_create(&freer, NULL, free_it, a), 0);
        pthread_join(freer, NULL);
        sse_loop_stop(loop);
        pthread_join(runner, NULL);
        sse_client_free(b);
        sse_loop_free(loop);
    }
}

/* The owner's thread runs the loop until the client has ended. */
static void ends_the_loop_with_its_clients(void **unused)
{
    watch     w = {.rc = 0};
    stage     s;
    sse_loop *loop;
    pthread_t runner;
    call      k;

    (void)unused;
    stage_open(&s);
    loop = s.loop;
    assert_int_equal(sse_loop_new(&s.loop), SSE_OK);
    w.c = client_new(&s, "/", NULL);
    sse_client_on_news(w.c, read_all, &w);
    sse_client_start(w.c);
    sse_client_suspend(w.c); /* that keeps it running, too */
    assert_int_equal(pthread_create(&runner, NULL, stop_and_run, s.loop), 0);
    while (atomic_load(&w.calls) == 0)
        usleep(1000);
    sse_client_resume(w.c);
    k = stage_accept(&s);
    call_say(&k, FINE BYE);
    pthread_join(runner, NULL);
    assert_true(atomic_load(&w.ended));
    assert_string_equal(w.last, "bye");
    call_close(&k);
    sse_client_free(w.c);
    sse_loop_free(s.loop);
    s.loop = loop;
    stage_close(&s);
}

static void is_closed_by_a_stop(void **unused)
{
    stage           s;
    sse_client     *c, *idle;
    const sse_news *news;
    call            k;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    idle = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    sse_loop_stop(s.loop);
    assert_int_equal(client_end(c), SSE_CAUSE_CLOSED);
    while (sse_client_next(idle, 0, &news) == SSE_ERR_CLOSED)
        usleep(1000); /* its turn comes */
    assert_int_equal(news->kind, SSE_NEWS_END);
    assert_int_equal(sse_client_start(idle), SSE_ERR_CLOSED);
    call_close(&k);
    sse_client_free(c);
    sse_client_free(idle);
    stage_close(&s);
}

static void starts_a_loop_once(void **unused)
{
    sse_loop *loop;

    (void)unused;
    assert_int_equal(sse_loop_new(&loop), SSE_OK);
    assert_int_equal(sse_loop_start(loop), SSE_OK);
    assert_int_equal(sse_loop_start(loop), SSE_ERR_INVAL);
    assert_int_equal(sse_loop_run(loop), SSE_ERR_INVAL);
    assert_true(thread_count_becomes(threads + 1));
    sse_loop_free(loop);
    assert_true(thread_count_becomes(threads));
}

/* ---- Many, and children ---- */

#define CROWD 200

static void follows_many(void **unused)
{
    stage       s;
    sse_client *c[CROWD];
    call        k[CROWD];

    (void)unused;
    stage_open(&s);
    for (int i = 0; i < CROWD; i++) {
        c[i] = client_new(&s, "/", NULL);
        sse_client_start(c[i]);
    }
    for (int i = 0; i < CROWD; i++) {
        k[i] = stage_accept(&s);
        call_say(&k[i], FINE "data: x\n\n");
    }
    for (int i = 0; i < CROWD; i++)
        client_expect(c[i], "x");
    for (int i = 0; i < CROWD; i++)
        call_say(&k[i], BYE);
    for (int i = CROWD - 1; i >= 0; i--) {
        client_expect(c[i], "bye");
        sse_client_free(c[i]);
    }
    for (int i = 0; i < CROWD; i++)
        call_close(&k[i]);
    stage_close(&s);
}

static void a_child_leaves_it_alone(void **unused)
{
    stage           s;
    sse_client     *c;
    const sse_news *news;
    call            k;
    int             status;
    pid_t           pid;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    pid = fork();
    if (pid == 0) {
        bool fine = sse_client_next(c, -1, &news) == SSE_ERR_FORKED &&
                    sse_client_ack(c, "1", 1) == SSE_ERR_FORKED;

        sse_client_close(c);
        sse_client_free(c);
        sse_loop_free(s.loop);
        _exit(fine ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    call_say(&k, FINE BYE);
    client_expect(c, "bye");
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_the_hook),
        cmocka_unit_test(may_be_freed_by_its_hook),
        cmocka_unit_test(may_end_its_loop),
        cmocka_unit_test(signals_by_a_descriptor),
        cmocka_unit_test(wakes_who_waits),
        cmocka_unit_test(may_be_freed_at_any_time),
        cmocka_unit_test(is_freed_while_loops_begin_and_end),
        cmocka_unit_test(ends_the_loop_with_its_clients),
        cmocka_unit_test(is_closed_by_a_stop),
        cmocka_unit_test(starts_a_loop_once),
        cmocka_unit_test(follows_many),
        cmocka_unit_test(a_child_leaves_it_alone),
    };

    threads = thread_count();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
