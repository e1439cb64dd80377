/* SPDX-License-Identifier: MIT */
/* io_queue_fork_test.c - hubs and queues in a child; the signals of a hub. */
#include "support.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "queue_fixture.h"

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
    assert_true(readable(fd, 0));
    assert_int_equal(in_child(child_uses_all, s), 0);
    assert_true(readable(fd, 0)); /* the parent's wake-up is still there */
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
    assert_true(readable(fd, 0));
    assert_int_equal(in_child(child_drains, NULL), 0);
    assert_true(readable(fd, 0));
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
    sse_stream *s;
    int         before;

    (void)state;
    assert_true(thread_count_becomes(1)); /* those of other tests are gone */
    before = threads_that_block_all();
    open_all();
    s = create("s", NULL, 0);
    assert_int_equal(threads_that_block_all(), before + 1);
    sse_stream_free(s);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_is_told),
        cmocka_unit_test(a_child_steals_no_wake_up),
        cmocka_unit_test(a_hub_not_begun_may_be_taken_along),
        cmocka_unit_test(the_hubs_thread_takes_no_signals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
