/* SPDX-License-Identifier: MIT */
/* io_server_request_test.c - requests through real sockets: HEAD, framing, and
 * what is the application's. */
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server_fixture.h"

/* ---- HEAD and other lookers-on ---- */

/* The head without what may differ: the date, and the length of a body that
 * tells the time. */
static void normalize(char *head)
{
    for (char *line = strstr(head, "\r\n"); line;) {
        char *next = strstr(line + 2, "\r\n");

        if (next && (strncmp(line, "\r\nDate:", 7) == 0 ||
                     strncmp(line, "\r\nContent-Length:", 17) == 0))
            memmove(line, next, strlen(next) + 1);
        else
            line = next;
    }
}

static void assert_parity(const char *target)
{
    net_peer get, head;
    int      status;

    net_open(&get, server.port);
    net_ask(&get, "GET", target, "", NULL);
    net_check(net_wait_for(&get, "\r\n\r\n"), "a head");
    status = net_answer(&get, true);
    net_open(&head, server.port);
    assert_int_equal(ask(&head, "HEAD", target, "", NULL), status);
    normalize(get.head);
    normalize(head.head);
    if (strcmp(get.head, head.head) != 0)
        fail_msg("%s\nGET:  %s\nHEAD: %s", target, get.head, head.head);
    net_ask(&head, "GET", "/health", "Connection: close\r\n", NULL);
    assert_int_equal(net_answer(&head, false), 200); /* no body before it */
    net_close(&get);
    net_close(&head);
}

static void open_with_streams(void)
{
    net_peer p;

    net_server_new(&server, NULL, NULL);
    net_server_run(&server);
    net_open(&p, server.port);
    post(&p, "/api/stream", "{\"streamId\":\"s\"}");
    post(&p, "/api/stream/s/events", "{\"data\":1}");
    post(&p, "/api/stream", "{\"streamId\":\"e\"}");
    post(&p, "/api/stream/e/complete", "");
    net_close(&p);
}

static void head_answers_as_get(void **state)
{
    static const char *const targets[] = {"/api/stream",
                                          "/api/stream/s",
                                          "/api/stream/s?last_event_id=x",
                                          "/api/stream/s/recover",
                                          "/api/stream/e",
                                          "/api/stream/nobody",
                                          "/api/stream/e?last_event_id=$",
                                          "/metrics",
                                          "/health",
                                          "/nothing",
                                          "/api/stream/s/stop"};

    (void)state;
    open_with_streams();
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++)
        assert_parity(targets[i]);
    net_server_stop(&server);
}

static void head_of_a_poll_answers_as_get(void **state)
{
    (void)state;
    open_with_streams();
    assert_parity("/api/stream/s?transport=poll");
    net_server_stop(&server);
}

/* Neither reads the stream: to ask what it is cancels nothing. */
static void lookers_on_are_no_readers(void **state)
{
    static const char *const requests[][2] = {{"HEAD", "/api/stream/s"},
                                              {"GET", "/api/stream/s/recover"}};
    sse_stream_options       opts = {.size = sizeof(opts),
                                     .unread_policy_set = 1,
                                     .unread_policy = SSE_UNREAD_CANCEL};
    bool                     active[2];

    (void)state;
    net_server_new(&server, NULL, NULL);
    net_server_run(&server);
    for (int i = 0; i < 2; i++) {
        const sse_stream_info *info;
        sse_stream            *s = create("s", &opts);
        net_peer               p;

        assert_int_equal(
            net_once(server.port, &p, requests[i][0], requests[i][1], "", NULL),
            200);
        net_free(&p);
        must(sse_stream_get_info(s, &info));
        active[i] = info->state == SSE_STATE_ACTIVE;
        sse_stream_free(s);
        must(sse_hub_remove(server.hub, "s", 1));
    }
    net_server_stop(&server);
    assert_true(active[0]);
    assert_true(active[1]);
}

/* ---- Framing ---- */

static const char split_request[] =
    "POST /api/stream/s/events?a=b HTTP/1.1\r\n"
    "Host: test\r\n"
    "Content-Type: text/plain;charset=utf-8\r\n"
    "X-Empty:\r\n"
    "Transfer-Encoding: chunked\r\n"
    "\r\n"
    "5\r\nhello\r\n3;x=y\r\n or\r\n0\r\nX-Trailer: 1\r\n\r\n";

static void takes_requests_in_pieces(void **state)
{
    net_peer p;

    (void)state;
    open_with_streams();
    net_open(&p, server.port);
    for (size_t at = 1; at < sizeof(split_request) - 1; at++) {
        net_send(&p, split_request, at);
        if (at % 8 == 0)
            usleep(1000); /* sometimes the server sees them apart, too */
        net_send(&p, split_request + at, sizeof(split_request) - 1 - at);
        assert_int_equal(net_answer(&p, false), 202);
    }
    for (size_t at = 0; at < sizeof(split_request) - 1; at++) {
        net_send(&p, split_request + at, 1);
        usleep(100);
    }
    assert_int_equal(net_answer(&p, false), 202);
    assert_int_equal(ask(&p, "GET", "/api/stream/s/recover?after=1", "", NULL),
                     200);
    for (size_t n = 0; n < sizeof(split_request) - 1; n++) {
        char *at = strstr(p.body, "\"data\":\"hello or\"");

        assert_non_null(at);
        *at = '.';
    }
    net_close(&p);
    net_server_stop(&server);
}

static void answers_in_order(void **state)
{
    static const char requests[] = GET_HEALTH
        "POST /api/stream/s/events HTTP/1.1\r\nHost: t\r\n"
        "Content-Length: 10\r\n\r\n{\"data\":2}"
        "GET /api/stream/s?transport=poll&last_event_id=1 HTTP/1.1\r\n"
        "Host: t\r\n\r\n"
        "GET /api/stream/e HTTP/1.1\r\nHost: t\r\n\r\n"
        "GET /api/stream/nobody HTTP/1.1\r\nHost: t\r\n\r\n"
        "GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    net_peer p;

    (void)state;
    open_with_streams();
    net_open(&p, server.port);
    net_say(&p, requests);
    assert_int_equal(net_answer(&p, false), 200);
    assert_int_equal(net_answer(&p, false), 202);
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(has(&p, "\"data\":\"2\""));
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(has(&p, "event: completed\n"));
    assert_int_equal(net_answer(&p, false), 404);
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(net_ends(&p));
    net_close(&p);
    net_server_stop(&server);
}

/* A request that must wait its turn waits for a poll, too. */
static void a_poll_holds_what_comes_behind_it(void **state)
{
    net_peer p, other;

    (void)state;
    open_with_streams();
    net_open(&p, server.port);
    net_open(&other, server.port);
    net_say(&p, "GET /api/stream/s?transport=poll&last_event_id=1 HTTP/1.1\r\n"
                "Host: t\r\n\r\n" GET_HEALTH);
    net_await_metric(server.port, "sse_polls_total", 1);
    post(&other, "/api/stream/s/events", "{\"data\":\"now\"}");
    assert_int_equal(net_answer(&p, false), 200);
    assert_true(has(&p, "\"data\":\"now\""));
    assert_int_equal(net_answer(&p, false), 200);
    assert_string_equal(p.body, "{\"status\":\"ok\"}");
    net_close(&other);
    net_close(&p);
    net_server_stop(&server);
}

/* However the head and the first chunk arrive, the client is asked once. */
static void says_continue_once(void **state)
{
    static const char head[] =
        "POST /api/stream/s/events HTTP/1.1\r\nHost: t\r\n"
        "Content-Type: text/plain\r\nExpect: 100-continue\r\n"
        "Transfer-Encoding: chunked\r\n\r\n";
    static const char body[] = "00005;a=b\r\nhello\r\n0\r\n\r\n";
    net_peer          p;
    int               status, continues = 0;

    (void)state;
    open_with_streams();
    net_open(&p, server.port);
    net_say(&p, head);
    for (size_t i = 0; i < sizeof(body) - 1; i++) {
        net_send(&p, body + i, 1);
        usleep(2000);
    }
    while ((status = net_answer(&p, false)) == 100)
        continues++;
    assert_int_equal(status, 202);
    net_close(&p);
    net_server_stop(&server);
    assert_int_equal(continues, 1);
}

/* ---- Requests for the application ---- */

static void on_request(sse_request *r, void *user)
{
    size_t      len;
    const char *path = sse_request_path(r, &len);

    (void)user;
    if (len == 6 && memcmp(path, "/hello", 6) == 0) {
        net_check(
            sse_request_add_header(r, "X-A", 3, "a\r\nX-B: b", 9) ==
                    SSE_ERR_INVAL &&
                sse_request_add_header(r, "X\nA", 3, "a", 1) == SSE_ERR_INVAL &&
                sse_request_add_header(r, "X:A", 3, "a", 1) == SSE_ERR_INVAL &&
                sse_request_add_header(r, "", 0, "a", 1) == SSE_ERR_INVAL &&
                sse_request_add_header(r, "X-A", 3, "\0", 1) == SSE_ERR_INVAL,
            "bad headers");
        must(sse_request_add_header(r, "X-A", 3, "fine", 4));
        net_check(
            sse_request_respond(r, 200, "a\r\nb", 4, "", 0) == SSE_ERR_INVAL &&
                sse_request_respond(r, 99, "a", 1, "", 0) == SSE_ERR_INVAL,
            "bad answers");
        path = sse_request_query_value(r, "q", 1, &len);
        must(sse_request_respond(r, 200, "text/plain", 10, path, len));
    } else if (len == 7 && memcmp(path, "/stream", 7) == 0) {
        sse_stream *s;

        must(sse_stream_open(server.hub, "e", 1, &s));
        must(sse_request_add_header(r, "X-A", 3, "fine", 4));
        must(sse_request_respond_stream(r, s));
        sse_stream_free(s);
    }
}

static void hands_over_other_requests(void **state)
{
    net_peer p;

    (void)state;
    net_server_new(&server, NULL, NULL);
    must(sse_server_on_request(server.server, on_request, NULL));
    net_server_run(&server);
    net_open(&p, server.port);
    post(&p, "/api/stream", "{\"streamId\":\"e\"}");
    post(&p, "/api/stream/e/complete", "");
    assert_int_equal(ask(&p, "GET", "/hello?a=1&q=x%20%2by+z", "", NULL), 200);
    assert_string_equal(p.body, "x +y z");
    assert_string_equal(net_header(&p, "X-A"), "fine");
    assert_string_equal(net_header(&p, "X-B"), "");
    assert_int_equal(ask(&p, "HEAD", "/hello?q=abc", "", NULL), 200);
    assert_string_equal(net_header(&p, "Content-Length"), "3");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            ask(&p, i ? "POST" : "GET", "/stream", "", i ? "{}" : NULL), 200);
        assert_string_equal(net_header(&p, "X-A"), "fine");
        assert_string_equal(net_header(&p, "Content-Type"),
                            "text/event-stream");
        assert_true(has(&p, "event: completed\n"));
    }
    assert_int_equal(ask(&p, "GET", "/stream", "Last-Event-ID: 1\r\n", NULL),
                     204);
    assert_int_equal(ask(&p, "GET", "/unanswered", "", NULL), 404);
    net_close(&p);
    net_server_stop(&server);
}

static void lives_below_another_prefix(void **state)
{
    static const char *const bad[] = {"", "/", "x", "/a/", "/a?b", "/%61"};
    net_peer                 p;

    (void)state;
    net_server_new(&server, NULL, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(
            sse_server_set_prefix(server.server, bad[i], strlen(bad[i])),
            SSE_ERR_INVAL);
    must(sse_server_set_prefix(server.server, "/a/b", 4));
    net_server_run(&server);
    net_open(&p, server.port);
    post(&p, "/a/b", "{\"streamId\":\"s\"}");
    assert_string_equal(net_header(&p, "Location"), "/a/b/s");
    post(&p, "/a/b/s/complete", "");
    assert_int_equal(ask(&p, "GET", "/a/b/s", "", NULL), 200);
    assert_int_equal(ask(&p, "GET", "/a/bs", "", NULL), 404);
    assert_int_equal(ask(&p, "GET", "/api/stream/s", "", NULL), 404);
    net_close(&p);
    net_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_answers_as_get),
        cmocka_unit_test(head_of_a_poll_answers_as_get),
        cmocka_unit_test(lookers_on_are_no_readers),
        cmocka_unit_test(takes_requests_in_pieces),
        cmocka_unit_test(answers_in_order),
        cmocka_unit_test(a_poll_holds_what_comes_behind_it),
        cmocka_unit_test(says_continue_once),
        cmocka_unit_test(hands_over_other_requests),
        cmocka_unit_test(lives_below_another_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
