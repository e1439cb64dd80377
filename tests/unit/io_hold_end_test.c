/* SPDX-License-Identifier: MIT */
/* io_hold_end_test.c - what becomes of requests that are held, and of readers,
 * when the server ends, through real sockets. */
#include "support.h"

#include "hold_fixture.h"

/* A request whose body is waited for: a close leaves it the time to come. */
static void begin(net_peer *p, const char *head)
{
    net_open(p, server.port);
    net_say(p, head);
    net_say(p, "Host: t\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
    net_check(net_answer(p, false) == 100, "a word to go on");
}

/* An idle connection is ended as soon as the close begins. */
static void close_and_wait(net_peer *idle)
{
    net_check(net_do(idle, "GET", "/health", "", NULL) == 200, "health");
    sse_server_close(server.server);
    net_check(net_ends(idle), "an end");
    net_close(idle);
}

static void a_close_waits_for_its_answer(void **state)
{
    net_peer p, other, idle;

    (void)state;
    serve(NULL);
    begin(&other, "POST /answer/0 HTTP/1.1\r\n");
    ask_and_wait(&p, "/hold/0", "");
    net_open(&idle, server.port);
    close_and_wait(&idle);
    net_say(&other, "x");
    assert_int_equal(net_answer(&p, false), 200);
    assert_string_equal(net_header(&p, "Connection"), "close");
    assert_true(net_ends(&p));
    net_close(&p);
    net_close(&other);
    net_server_join(&server);
    assert_int_equal(places[0].gone_count, 0);
}

static void no_stream_begins_in_a_close(void **state)
{
    sse_stream *s;
    net_peer    p, other, idle;

    (void)state;
    serve(NULL);
    make_stream(&s);
    begin(&other, "POST /stream/0 HTTP/1.1\r\n");
    ask_and_wait(&p, "/hold/0", "");
    net_open(&idle, server.port);
    close_and_wait(&idle);
    net_say(&other, "x");
    assert_int_equal(net_answer(&p, false), 503);
    assert_true(has(&p, "\"error\":\"closing\""));
    net_close(&p);
    net_close(&other);
    sse_stream_free(s);
    net_server_join(&server);
    assert_int_equal(places[0].gone_count, 0);
}

static void a_close_waits_so_long_and_no_longer(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .shutdown_ms = 100};
    net_peer           p[3];

    (void)state;
    serve(&opts);
    ask_and_wait(&p[0], "/hold/0", "");
    ask_and_wait(&p[1], "/hold/1", "");
    ask_and_wait(&p[2], "/hold/2", "");
    net_server_stop(&server);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(places[i].gone_count, 1);
        assert_true(net_ends(&p[i]));
        net_close(&p[i]);
    }
}

static void a_second_stop_cuts_it(void **state)
{
    net_peer p;

    (void)state;
    serve(NULL);
    ask_and_wait(&p, "/hold/0", "");
    sse_loop_stop(server.loop);
    sse_loop_stop(server.loop);
    sem_wait(&gone);
    assert_true(net_ends(&p));
    net_close(&p);
    net_server_join(&server);
    assert_int_equal(places[0].gone_count, 1);
}

static void join_without_server(void)
{
    pthread_join(server.thread, NULL);
    sse_loop_free(server.loop);
    sse_hub_free(server.hub);
}

static void the_server_is_freed(void **state)
{
    net_peer p[2], other;

    (void)state;
    serve(NULL);
    ask_and_wait(&p[0], "/hold/0", "");
    ask_and_wait(&p[1], "/hold/1", "");
    assert_int_equal(net_once(server.port, &other, "POST", "/free", "", ""), 0);
    net_free(&other);
    join_without_server();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(places[i].gone_count, 1);
        net_close(&p[i]);
    }
}

/* By what comes behind a poll that is answered in the same flush in which a
 * reader was served. */
static void the_server_is_freed_while_readers_are_served(void **state)
{
    static const char poll[] =
        GET("/api/stream/s?transport=poll&last_event_id=$") GET("/free");
    sse_stream *s;
    net_peer    p[2];

    (void)state;
    serve(NULL);
    make_stream(&s);
    net_open(&p[0], server.port);
    net_ask(&p[0], "GET", "/api/stream/s", "", NULL);
    assert_true(net_wait_for(&p[0], "data: two\n"));
    net_open(&p[1], server.port);
    net_say(&p[1], poll);
    net_await_metric(server.port, "sse_subscribers", 2);
    tell("/say"); /* a turn later, the poll waits behind the reader */
    must(sse_stream_append(s, "", 0, "three", 5, NULL));
    assert_true(net_wait_for(&p[0], "data: three\n"));
    assert_int_equal(net_answer(&p[1], false), 200);
    sse_stream_free(s);
    join_without_server();
    net_close(&p[0]);
    net_close(&p[1]);
}

static sse_stream *make_full(sse_queue *q, sse_subscriber **out)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .log_events = 1,
                               .slow_policy_set = 1,
                               .slow_policy = SSE_SLOW_BLOCK};
    sse_stream        *s;

    must(sse_stream_new(server.hub, "full", 4, NULL, &opts, &s));
    must(sse_subscriber_new(s, q, "", 0, NULL, out));
    must(sse_stream_append(s, "", 0, "x", 1, NULL));
    return s;
}

/* By what comes behind one of two appends that wait for a slow reader, usually
 * the first: nobody is left behind. */
static void the_server_is_freed_while_appends_wait(void **state)
{
    static const char body[] = "POST /api/stream/full/events HTTP/1.1\r\n"
                               "Host: t\r\nContent-Length: 10\r\n\r\n"
                               "{\"data\":1}" GET("/free");
    const sse_batch  *batch;
    sse_subscriber   *sub;
    sse_queue        *q;
    sse_stream       *s, *full;
    net_peer          p[2], reader;
    int               status[2];

    (void)state;
    serve(NULL);
    make_stream(&s);
    must(sse_queue_new(server.hub, NULL, &q));
    full = make_full(q, &sub);
    net_open(&reader, server.port);
    net_ask(&reader, "GET", "/api/stream/s", "", NULL);
    assert_true(net_wait_for(&reader, "data: two\n"));
    for (int i = 0; i < 2; i++) {
        net_open(&p[i], server.port);
        net_say(&p[i], body);
        net_await_metric(server.port, "sse_blocked_appends_total", i + 1);
    }
    must(sse_queue_drain(q, 0, &batch));
    must(sse_stream_append(s, "", 0, "a turn", 6, NULL));
    for (int i = 0; i < 2; i++)
        status[i] = net_answer(&p[i], false);
    assert_int_equal(status[0] + status[1], 202); /* the other one is cut */
    sse_subscriber_free(sub);
    sse_queue_free(q);
    sse_stream_free(full);
    sse_stream_free(s);
    join_without_server();
    net_close(&p[0]);
    net_close(&p[1]);
    net_close(&reader);
}

/* The hook that hears of it may end everything. */
static void the_server_is_freed_by_its_end(void **state)
{
    net_peer p;

    (void)state;
    serve(NULL);
    free_when_gone = true;
    ask_and_wait(&p, "/hold/0", "");
    net_close(&p);
    join_without_server();
    assert_int_equal(places[0].gone_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_close_waits_for_its_answer),
        cmocka_unit_test(no_stream_begins_in_a_close),
        cmocka_unit_test(a_close_waits_so_long_and_no_longer),
        cmocka_unit_test(a_second_stop_cuts_it),
        cmocka_unit_test(the_server_is_freed),
        cmocka_unit_test(the_server_is_freed_while_readers_are_served),
        cmocka_unit_test(the_server_is_freed_while_appends_wait),
        cmocka_unit_test(the_server_is_freed_by_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
