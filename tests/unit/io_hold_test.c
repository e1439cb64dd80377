/* SPDX-License-Identifier: MIT */
/* io_hold_test.c - requests that are answered after their hook has returned,
 * through real sockets. */
#include "support.h"

#include "hold_fixture.h"

/* ---- Answers ---- */

static void is_answered_later(void **state)
{
    net_peer p;

    (void)state;
    serve(NULL);
    net_open(&p, server.port);
    net_ask(&p, "POST", "/hold/0?q=a%20b", "X-A: one\r\n", "a body");
    sem_wait(&kept);
    tell("/answer/0");
    assert_int_equal(net_answer(&p, false), 200);
    assert_string_equal(p.body, "POST /hold/0 q=a%20b one a b a body");
    assert_string_equal(net_header(&p, "X-Late"), "yes");
    assert_string_equal(net_header(&p, "Connection"), "keep-alive");
    assert_int_equal(net_do(&p, "GET", "/health", "", NULL), 200);
    net_ask(&p, "GET", "/hold/0", "", NULL); /* and once more */
    sem_wait(&kept);
    tell("/answer/0");
    assert_int_equal(net_answer(&p, false), 200);
    net_close(&p);
    net_server_stop(&server);
    assert_int_equal(places[0].gone_count, 0);
}

static void is_answered_later_with_a_stream(void **state)
{
    sse_stream *s;
    net_peer    p;

    (void)state;
    serve(NULL);
    make_stream(&s);
    ask_and_wait(&p, "/hold/0", "Last-Event-ID: 1\r\n");
    tell("/stream/0");
    assert_true(net_wait_for(&p, "data: two\n"));
    must(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    assert_int_equal(net_answer(&p, false), 200);
    assert_false(has(&p, "data: one\n"));
    assert_true(has(&p, "event: completed\n"));
    assert_string_equal(net_header(&p, "X-Late"), "yes");
    assert_string_equal(net_header(&p, "X-Stream-Id"), "s");
    assert_string_equal(net_header(&p, "Content-Type"), "text/event-stream");
    assert_int_equal(net_do(&p, "GET", "/health", "", NULL), 200);
    net_close(&p);
    sse_stream_free(s);
    net_server_stop(&server);
    assert_int_equal(places[0].gone_count, 0);
}

/* The request carries what a GET of the stream would, a poll too. */
static void is_answered_later_with_a_poll(void **state)
{
    sse_stream *s;
    net_peer    p;

    (void)state;
    serve(NULL);
    make_stream(&s);
    ask_and_wait(&p, "/hold/0?transport=poll&last_event_id=2", "");
    tell("/stream/0");
    must(sse_stream_append(s, "", 0, "three", 5, NULL));
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(has(&p, "\"data\":\"three\""));
    assert_int_equal(net_do(&p, "GET", "/health", "", NULL), 200);
    net_close(&p);
    sse_stream_free(s);
    net_server_stop(&server);
}

static void may_be_answered_in_its_hook(void **state)
{
    sse_stream *s;
    net_peer    p;

    (void)state;
    serve(NULL);
    make_stream(&s);
    must(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    sse_stream_free(s);
    net_open(&p, server.port);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(net_do(&p, "GET", "/hook/0?q=x", "", NULL), 200);
        assert_string_equal(p.body, "GET /hook/0 q=x  x ");
        assert_int_equal(net_do(&p, "GET", "/hookstream/0", "", NULL), 200);
        assert_true(has(&p, "data: one\n"));
        assert_int_equal(
            net_do(&p, "GET", "/hookstream/0?transport=poll", "", NULL), 200);
        assert_true(has(&p, "\"data\":\"one\""));
    }
    net_close(&p);
    net_server_stop(&server);
    assert_int_equal(places[0].gone_count, 0);
}

static void heads_and_old_clients(void **state)
{
    static const char old[] = "GET /hold/1 HTTP/1.0\r\n\r\n";
    sse_stream       *s;
    net_peer          p;

    (void)state;
    serve(NULL);
    make_stream(&s);
    must(sse_stream_end(s, SSE_STATE_COMPLETED, "", 0, "{}", 2, NULL));
    sse_stream_free(s);
    net_open(&p, server.port);
    for (int i = 0; i < 2; i++) {
        net_ask(&p, "HEAD", "/hold/0", "", NULL);
        sem_wait(&kept);
        tell(i ? "/stream/0" : "/answer/0");
        assert_int_equal(net_answer(&p, true), 200);
        assert_string_equal(net_header(&p, "X-Late"), "yes");
    }
    assert_int_equal(net_do(&p, "GET", "/health", "", NULL), 200);
    net_close(&p);
    for (int i = 0; i < 2; i++) {
        net_open(&p, server.port);
        net_say(&p, old);
        sem_wait(&kept);
        tell(i ? "/stream/1" : "/answer/1");
        assert_true(
            net_wait_for(&p, i ? "event: completed\n" : "GET /hold/1 "));
        p.len = 0;
        while (!net_ends(&p))
            p.len = 0;
        net_close(&p);
    }
    net_server_stop(&server);
}

/* ---- What comes behind it ---- */

static void what_comes_behind_it_waits(void **state)
{
    net_peer p;

    (void)state;
    serve(NULL);
    net_open(&p, server.port);
    net_say(&p, GET("/hold/0") GET("/hold/1"));
    sem_wait(&kept);
    net_say(&p, GET("/say") GET("/health"));
    assert_null(places[1].request);
    tell("/answer/0");
    sem_wait(&kept);
    assert_non_null(places[1].request);
    tell("/answer/1");
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(has(&p, "/hold/0"));
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(has(&p, "/hold/1"));
    assert_int_equal(net_answer(&p, false), 200);
    assert_string_equal(p.body, "done");
    assert_int_equal(net_answer(&p, false), 200);
    assert_string_equal(p.body, "{\"status\":\"ok\"}");
    net_close(&p);
    net_server_stop(&server);
    assert_false(hook_inside_answer);
}

/* Whatever comes in between, the order stays. */
static void pieces_behind_it_keep_their_order(void **state)
{
    static const char next[] = "POST /say HTTP/1.1\r\nHost: t\r\n"
                               "Content-Length: 4\r\n\r\nbody" GET("/health");
    net_peer          p;

    (void)state;
    serve(NULL);
    net_open(&p, server.port);
    for (size_t at = 0; at < sizeof(next); at++) {
        net_say(&p, GET("/hold/0"));
        net_send(&p, next, at);
        sem_wait(&kept);
        tell("/answer/0");
        net_send(&p, next + at, sizeof(next) - 1 - at);
        assert_int_equal(net_answer(&p, false), 200);
        assert_int_equal(net_answer(&p, false), 200);
        assert_string_equal(p.body, "done");
        assert_int_equal(net_answer(&p, false), 200);
        assert_string_equal(p.body, "{\"status\":\"ok\"}");
    }
    net_close(&p);
    net_server_stop(&server);
}

/* ---- Callers that leave ---- */

static void its_caller_leaves(void **state)
{
    net_peer p;

    (void)state;
    serve(NULL);
    for (int i = 0; i < 2; i++) {
        ask_and_wait(&p, "/hold/0?q=x", "X-A: one\r\n");
        if (i)
            net_reset(&p);
        else
            net_close(&p);
        sem_wait(&gone);
        assert_int_equal(places[0].gone_count, 1);
        assert_string_equal(places[0].seen, "GET /hold/0 q=x one x ");
    }
    net_server_stop(&server);
    assert_int_equal(places[0].gone_count, 1);
}

static void its_caller_sends_too_much(void **state)
{
    char     junk[65536];
    net_peer p;

    (void)state;
    memset(junk, 'x', sizeof(junk));
    serve(NULL);
    ask_and_wait(&p, "/hold/0", "");
    net_send(&p, junk, sizeof(junk));
    net_send(&p, junk, sizeof(junk));
    sem_wait(&gone);
    net_close(&p);
    net_server_stop(&server);
}

/* Another connection shows that the time is over. */
static void no_time_out_hits_it(void **state)
{
    sse_server_options opts = {.size = sizeof(opts),
                               .body_timeout_ms = 50,
                               .idle_timeout_ms = 50,
                               .poll_timeout_ms = 50,
                               .unacked_timeout_ms = 50};
    net_peer           p, idle;

    (void)state;
    serve(&opts);
    ask_and_wait(&p, "/hold/0", "");
    for (int i = 0; i < 4; i++) {
        net_open(&idle, server.port);
        assert_int_equal(net_do(&idle, "GET", "/health", "", NULL), 200);
        assert_true(net_ends(&idle));
        net_close(&idle);
    }
    tell("/answer/0");
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(net_ends(&p)); /* now it is idle */
    net_close(&p);
    net_server_stop(&server);
    assert_int_equal(places[0].gone_count, 0);
}

/* ---- Where there is nothing to hold ---- */

static sem_t asked; /* posted by the authorize hook */

static int hold_it(sse_request *r, int verb, const char *id, size_t id_len,
                   void *user)
{
    (void)verb;
    (void)id;
    (void)id_len;
    (void)user;
    must_not(sse_request_hold(r, on_gone, &places[0]));
    sem_post(&asked);
    return 0;
}

static void an_authorize_hook_keeps_nothing(void **state)
{
    net_peer p;

    (void)state;
    memset(places, 0, sizeof(places));
    sem_init(&asked, 0, 0);
    net_server_new(&server, NULL, NULL);
    must(sse_server_on_authorize(server.server, hold_it, NULL));
    net_server_run(&server);
    assert_int_equal(net_once(server.port, &p, "GET", "/api/stream", "", NULL),
                     200);
    assert_int_equal(sem_trywait(&asked), 0);
    net_free(&p);
    net_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_answered_later),
        cmocka_unit_test(is_answered_later_with_a_stream),
        cmocka_unit_test(is_answered_later_with_a_poll),
        cmocka_unit_test(may_be_answered_in_its_hook),
        cmocka_unit_test(heads_and_old_clients),
        cmocka_unit_test(what_comes_behind_it_waits),
        cmocka_unit_test(pieces_behind_it_keep_their_order),
        cmocka_unit_test(its_caller_leaves),
        cmocka_unit_test(its_caller_sends_too_much),
        cmocka_unit_test(no_time_out_hits_it),
        cmocka_unit_test(an_authorize_hook_keeps_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
