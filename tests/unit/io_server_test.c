/* SPDX-License-Identifier: MIT */
/* io_server_test.c - the life of servers, through real sockets: many, none,
 * slow readers, hooks that free. */
#include "support.h"

#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server_fixture.h"

static int threads; /* before any test */

/* ---- Several of everything ---- */

static void several_servers_share_a_loop(void **state)
{
    sse_hub    *other_hub;
    sse_server *same_hub, *other;
    uint32_t    port, other_port;
    net_peer    a, b, c;

    (void)state;
    net_server_new(&server, NULL, NULL);
    must(sse_hub_new(NULL, &other_hub));
    must(sse_server_new(server.loop, server.hub, NULL, &same_hub));
    must(sse_server_new(server.loop, other_hub, NULL, &other));
    sse_hub_free(other_hub); /* its server keeps it */
    must(sse_server_listen(same_hub, "127.0.0.1", 9, 0, &port));
    must(sse_server_listen(other, "", 0, 0, &other_port));
    net_server_run(&server);
    net_open(&a, server.port);
    net_open(&b, port);
    net_open(&c, other_port);
    post(&a, "/api/stream", "{\"streamId\":\"s\"}");
    net_ask(&b, "GET", "/api/stream/s", "", NULL);
    assert_int_equal(ask(&c, "GET", "/api/stream/s", "", NULL), 404);
    post(&c, "/api/stream", "{\"streamId\":\"s\"}");
    post(&a, "/api/stream/s/complete", "{\"data\":\"from a\"}");
    assert_int_equal(net_answer(&b, false), 200);
    assert_true(has(&b, "data: from a\n"));
    sse_server_close(same_hub); /* the others go on */
    net_close(&b);
    assert_int_equal(ask(&a, "GET", "/health", "", NULL), 200);
    assert_int_equal(ask(&c, "GET", "/health", "", NULL), 200);
    sse_loop_stop(server.loop);
    net_close(&a);
    net_close(&c);
    pthread_join(server.thread, NULL);
    sse_server_free(server.server);
    sse_server_free(other);
    sse_loop_free(server.loop); /* before the last of its servers */
    sse_server_free(same_hub);
    sse_hub_free(server.hub);
}

static void listens_again_after_a_failure(void **state)
{
    net_server second;
    int        rc;

    (void)state;
    net_server_new(&server, NULL, NULL);
    net_server_run(&server);
    net_server_new(&second, NULL, NULL);
    assert_string_equal(sse_server_error_detail(second.server), "");
    assert_int_equal(
        sse_server_listen(second.server, "127.0.0.1", 9, server.port, NULL),
        SSE_ERR_IO);
    assert_string_not_equal(sse_server_error_detail(second.server), "");
    rc = sse_server_listen(second.server, "127.0.0.1", 9, 0, NULL);
    sse_server_free(second.server);
    sse_loop_free(second.loop);
    sse_hub_free(second.hub);
    net_server_stop(&server);
    assert_int_equal(rc, SSE_OK);
}

static void refuses_what_is_no_host(void **state)
{
    (void)state;
    net_server_new(&server, NULL, NULL);
    assert_int_equal(sse_server_listen(server.server, "no host", 7, 0, NULL),
                     SSE_ERR_INVAL);
    assert_int_equal(
        sse_server_listen(server.server, "127.0.0.1", 9, 65536, NULL),
        SSE_ERR_INVAL);
    sse_server_free(server.server);
    sse_loop_free(server.loop);
    sse_hub_free(server.hub);
}

static void never_run(void **state)
{
    (void)state;
    net_server_new(&server, NULL, NULL);
    sse_hub_free(server.hub);
    sse_loop_free(server.loop);
    sse_server_free(server.server);
    net_server_new(&server, NULL, NULL);
    must(sse_server_listen(server.server, "127.0.0.1", 9, 0, NULL));
    sse_server_close(server.server);
    must(sse_loop_run(server.loop));
    sse_server_free(server.server);
    sse_loop_free(server.loop);
    sse_hub_free(server.hub);
}

/* After an orderly end nothing is left: not even the thread of the hub. */
static void leaves_nothing_behind(void **state)
{
    net_peer p;

    (void)state;
    net_server_new(&server, NULL, NULL);
    net_server_run(&server);
    assert_int_equal(net_once(server.port, &p, "POST", "/api/stream", "", NULL),
                     201);
    net_free(&p);
    net_server_stop(&server);
    assert_true(thread_count_becomes(threads));
}

/* ---- Slow readers, over HTTP ---- */

typedef struct jam {
    sse_stream     *s;
    sse_queue      *q;
    sse_subscriber *sub;
} jam;

/* A log of two events that one reader, on a queue, has not had. */
static void jam_new(jam *j, uint32_t block_timeout_ms)
{
    sse_hub_options    hub_opts = {.size = sizeof(hub_opts),
                                   .retry_ms = SSE_NEVER,
                                   .block_timeout_ms = block_timeout_ms};
    sse_stream_options opts = {.size = sizeof(opts),
                               .log_events = 2,
                               .slow_policy_set = 1,
                               .slow_policy = SSE_SLOW_BLOCK};

    net_server_new(&server, &hub_opts, NULL);
    net_server_run(&server);
    j->s = create("s", &opts);
    must(sse_queue_new(server.hub, NULL, &j->q));
    must(sse_subscriber_new(j->s, j->q, "", 0, NULL, &j->sub));
    for (int i = 0; i < 2; i++)
        must(sse_stream_append(j->s, "", 0, "x", 1, NULL));
}

static void jam_free(jam *j)
{
    sse_subscriber_free(j->sub);
    sse_queue_free(j->q);
    sse_stream_free(j->s);
    net_server_stop(&server);
}

static void drained(jam *j, const char *first, size_t len)
{
    const sse_batch *batch;

    assert_true(sse_queue_drain(j->q, 0, &batch) > 0);
    assert_memory_equal(batch->data, first, len);
}

static void a_post_waits_for_a_slow_reader(void **state)
{
    static const char *const targets[] = {"/api/stream/s/events",
                                          "/api/stream/s/complete"};
    net_peer                 p;
    jam                      j;

    (void)state;
    for (int i = 0; i < 2; i++) {
        jam_new(&j, SSE_NEVER);
        net_open(&p, server.port);
        net_ask(&p, "POST", targets[i], "", "{\"data\":1}");
        net_say(&p, GET_HEALTH); /* stands behind it */
        net_await_metric(server.port, "sse_blocked_appends_total", 1);
        drained(&j, "id: 1-", 6);
        assert_int_equal(net_answer(&p, false), i ? 200 : 202);
        assert_true(has(&p, "{\"id\":\"3-"));
        assert_int_equal(net_answer(&p, false), 200);
        net_close(&p);
        drained(&j, "id: 3-", 6);
        jam_free(&j);
    }
}

static void a_post_waits_so_long_and_no_longer(void **state)
{
    net_peer p;
    jam      j;

    (void)state;
    jam_new(&j, 60);
    net_open(&p, server.port);
    assert_int_equal(
        ask(&p, "POST", "/api/stream/s/events", "", "{\"data\":1}"), 202);
    net_close(&p);
    drained(&j, "event: gap\ndata: {\"from\":1,\"to\":1,\"missed\":1,", 45);
    jam_free(&j);
}

static void a_waiting_post_may_leave(void **state)
{
    net_peer p;
    jam      j;

    (void)state;
    jam_new(&j, SSE_NEVER);
    net_open(&p, server.port);
    net_ask(&p, "POST", "/api/stream/s/events", "", "{\"data\":1}");
    net_await_metric(server.port, "sse_blocked_appends_total", 1);
    net_reset(&p);
    net_await_metric(server.port, "sse_connections", 1);
    drained(&j, "id: 1-", 6);
    jam_free(&j);
}

/* ---- Nothing is lost in silence ---- */

/* An event that comes together with the end of a poll is in its answer, or
 * behind the cursor that the answer gives. */
static void a_poll_ends_without_a_loss(void **state)
{
    int lost = 0;

    (void)state;
    for (int round = 0; round < 30; round++) {
        sse_stream *s;
        net_peer    p;

        net_server_new(&server, NULL, NULL);
        s = create("s", NULL);
        must(sse_stream_append(s, "", 0, "one", 3, NULL));
        net_server_run(&server);
        net_open(&p, server.port);
        net_ask(&p, "GET", "/api/stream/s?transport=poll&last_event_id=1", "",
                NULL);
        net_await_metric(server.port, "sse_polls_total", 1);
        must(sse_stream_append(s, "", 0, "two", 3, NULL));
        sse_server_close(server.server);
        assert_int_equal(net_answer(&p, false), 200);
        lost +=
            !has(&p, "\"data\":\"two\"") && !has(&p, "\"lastEventId\":\"1-");
        net_close(&p);
        sse_stream_free(s);
        net_server_join(&server);
    }
    assert_int_equal(lost, 0);
}

/* ---- In a child, as these may end the program ---- */

static void assert_survives(void (*body)(void))
{
    int   status;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(120);
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the program ended with status %#x", (unsigned)status);
}

static sem_t entered, go_on;

static void block(sse_request *r, void *user)
{
    (void)user;
    sem_post(&entered);
    sem_wait(&go_on);
    must(sse_request_respond(r, 200, "text/plain", 10, "", 0));
}

/* A reader that is gone before its first byte is written, with more to come
 * than one write takes. */
static void serve_a_reader_that_went(void)
{
    static char data[1 << 20];
    net_peer    blocker, p;
    sse_stream *s;

    signal(SIGPIPE, SIG_DFL);
    memset(data, 'x', sizeof(data));
    sem_init(&entered, 0, 0);
    sem_init(&go_on, 0, 0);
    net_server_new(&server, NULL, NULL);
    must(sse_server_on_request(server.server, block, NULL));
    s = create("s", NULL);
    for (int i = 0; i < 3; i++)
        must(sse_stream_append(s, "", 0, data, sizeof(data) - 1, NULL));
    net_server_run(&server);
    net_open(&blocker, server.port);
    for (int i = 0; i < 10; i++) {
        net_ask(&blocker, "GET", "/block", "", NULL);
        sem_wait(&entered);
        net_open(&p, server.port);
        net_ask(&p, "GET", "/api/stream/s", "", NULL);
        net_close(&p);
        sem_post(&go_on);
        net_check(net_answer(&blocker, false) == 200, "an answer");
    }
    net_close(&blocker);
    sse_stream_free(s);
    net_server_stop(&server);
}

static void readers_that_go_raise_no_signal(void **state)
{
    (void)state;
    assert_survives(serve_a_reader_that_went);
}

static int answer_by_itself(sse_request *r, int verb, const char *id,
                            size_t id_len, void *user)
{
    (void)verb;
    (void)id;
    (void)id_len;
    (void)user;
    (void)sse_request_respond(r, 402, "text/plain", 10, "pay", 3);
    return SSE_ERR_DENIED;
}

static void answer_in_the_hook(void)
{
    net_peer p;
    int      status;

    net_server_new(&server, NULL, NULL);
    must(sse_server_on_authorize(server.server, answer_by_itself, NULL));
    net_server_run(&server);
    net_open(&p, server.port);
    for (int i = 0; i < 10; i++) {
        status = ask(&p, "GET", "/api/stream/s", "", NULL);
        net_check(status == 402 || status == 403, "one answer");
    }
    net_close(&p);
    net_server_stop(&server);
}

static void the_hook_may_answer(void **state)
{
    (void)state;
    assert_survives(answer_in_the_hook);
}

static int free_it_now(sse_request *r, int verb, const char *id, size_t id_len,
                       void *user)
{
    (void)r;
    (void)verb;
    (void)id;
    (void)id_len;
    (void)user;
    sse_server_free(server.server);
    return 0;
}

static void free_it(sse_request *r, void *user)
{
    (void)free_it_now(r, 0, NULL, 0, user);
}

static void free_in_a_hook(const char *target, bool authorizing)
{
    net_peer p;

    net_server_new(&server, NULL, NULL);
    if (authorizing)
        must(sse_server_on_authorize(server.server, free_it_now, NULL));
    must(sse_server_on_request(server.server, free_it, NULL));
    net_server_run(&server);
    net_check(net_once(server.port, &p, "GET", target, "", NULL) == 0,
              "a cut connection");
    net_free(&p);
    pthread_join(server.thread, NULL);
    sse_loop_free(server.loop);
    sse_hub_free(server.hub);
}

static void free_in_a_request_hook(void)
{
    free_in_a_hook("/page", false);
}

static void free_in_an_authorize_hook(void)
{
    free_in_a_hook("/api/stream/s", true);
}

static void freed_in_a_request_hook(void **state)
{
    (void)state;
    assert_survives(free_in_a_request_hook);
}

static void freed_in_an_authorize_hook(void **state)
{
    (void)state;
    assert_survives(free_in_an_authorize_hook);
}

#ifdef __SANITIZE_THREAD__
/* A child may start threads. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_servers_share_a_loop),
        cmocka_unit_test(listens_again_after_a_failure),
        cmocka_unit_test(refuses_what_is_no_host),
        cmocka_unit_test(never_run),
        cmocka_unit_test(leaves_nothing_behind),
        cmocka_unit_test(a_post_waits_for_a_slow_reader),
        cmocka_unit_test(a_post_waits_so_long_and_no_longer),
        cmocka_unit_test(a_waiting_post_may_leave),
        cmocka_unit_test(a_poll_ends_without_a_loss),
        cmocka_unit_test(readers_that_go_raise_no_signal),
        cmocka_unit_test(the_hook_may_answer),
        cmocka_unit_test(freed_in_a_request_hook),
        cmocka_unit_test(freed_in_an_authorize_hook),
    };

    threads = thread_count();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
