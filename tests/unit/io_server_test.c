/* SPDX-License-Identifier: MIT */
/* io_server_test.c - the server through real sockets: hooks, owners, framing. */
#include "support.h"

#include <dirent.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net_support.h"

static net_server server;

static void must(int rc)
{
    net_check(rc >= 0, sse_strerror(rc));
}

static int ask(net_peer *p, const char *method, const char *target,
               const char *headers, const char *body)
{
    return net_do(p, method, target, headers, body);
}

static void post(net_peer *p, const char *target, const char *body)
{
    int status = net_do(p, "POST", target, "", body);

    net_check(status >= 200 && status < 300, p->body);
}

static bool has(const net_peer *p, const char *text)
{
    return strstr(p->body, text) != NULL;
}

static sse_stream *create(const char *id, const sse_stream_options *opts)
{
    sse_stream *s;

    must(sse_stream_new(server.hub, id, strlen(id), NULL, opts, &s));
    return s;
}

/* ---- Who may do what ---- */

typedef struct asked {
    int    verb;
    char   id[32];
    size_t count;
} asked;

/* X-User says who asks; X-Deny says what the hook returns. */
static int authorize(sse_request *r, int verb, const char *id, size_t id_len,
                     void *user)
{
    asked      *a = user;
    size_t      len;
    const char *name = sse_request_header(r, "x-user", 6, &len);

    a->verb = verb;
    a->count++;
    snprintf(a->id, sizeof(a->id), "%.*s", (int)id_len, id);
    if (len > 0)
        must(sse_request_set_user(r, name, len));
    if (*sse_request_header(r, "X-Challenge", 11, &len))
        must(sse_request_add_header(r, "WWW-Authenticate", 16, "Basic", 5));
    if (*sse_request_header(r, "X-Deny", 6, &len))
        return SSE_ERR_DENIED;
    return *sse_request_header(r, "X-Refuse", 8, &len) ? -99 : 0;
}

static void the_hook_decides(void **state)
{
    static const struct {
        const char *method, *target;
        int         verb;
        const char *id;
    } requests[] = {
        {"POST", "/api/stream", SSE_VERB_CREATE, ""},
        {"GET", "/api/stream/s", SSE_VERB_READ, "s"},
        {"GET", "/api/stream/s?transport=poll", SSE_VERB_READ, "s"},
        {"HEAD", "/api/stream/s", SSE_VERB_READ, "s"},
        {"POST", "/api/stream/s/events", SSE_VERB_APPEND, "s"},
        {"POST", "/api/stream/s/complete", SSE_VERB_APPEND, "s"},
        {"POST", "/api/stream/s/fail", SSE_VERB_APPEND, "s"},
        {"POST", "/api/stream/%73/stop", SSE_VERB_STOP, "s"},
        {"GET", "/api/stream/s/recover", SSE_VERB_RECOVER, "s"},
        {"GET", "/api/stream?userId=u", SSE_VERB_LIST, ""},
        {"DELETE", "/api/stream/s", SSE_VERB_REMOVE, "s"},
        {"GET", "/metrics", SSE_VERB_METRICS, ""},
    };
    asked    a = {.count = 0};
    net_peer p;

    (void)state;
    net_server_new(&server, NULL, NULL);
    must(sse_server_on_authorize(server.server, authorize, &a));
    net_server_run(&server);
    net_open(&p, server.port);
    post(&p, "/api/stream", "{\"streamId\":\"s\"}");
    for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
        const char *method = requests[i].method;
        const char *body = *method == 'P' ? "{\"data\":1}" : NULL;

        assert_int_equal(
            ask(&p, method, requests[i].target, "X-Refuse: 1\r\n", body), 403);
        assert_int_equal(a.verb, requests[i].verb);
        assert_string_equal(a.id, requests[i].id);
        assert_true(*method == 'H' || has(&p, "\"error\":\"forbidden\""));
    }
    assert_int_equal(
        ask(&p, "GET", "/api/stream/s/recover", "X-Deny: 1\r\n", NULL), 403);
    assert_int_equal(ask(&p, "GET", "/api/stream/s/recover",
                         "X-Deny: 1\r\nX-Challenge: 1\r\n", NULL),
                     401);
    assert_string_equal(net_header(&p, "www-authenticate"), "Basic");
    assert_true(has(&p, "\"error\":\"unauthorized\""));
    assert_int_equal(ask(&p, "GET", "/api/stream/s/recover", "", NULL), 200);
    assert_true(has(&p, "\"events\":[]")); /* nothing was done by all that */
    a.count = 0;
    assert_int_equal(ask(&p, "GET", "/health", "X-Refuse: 1\r\n", NULL), 200);
    assert_int_equal(ask(&p, "OPTIONS", "/api/stream", "X-Refuse: 1\r\n", NULL),
                     204);
    assert_int_equal(a.count, 0);
    net_close(&p);
    net_server_stop(&server);
}

#define ANN "X-User: ann\r\n"
#define BOB "X-User: bob\r\n"

static void open_owned(net_peer *p, asked *a)
{
    net_server_new(&server, NULL, NULL);
    must(sse_server_on_authorize(server.server, authorize, a));
    net_server_run(&server);
    net_open(p, server.port);
    net_check(ask(p, "POST", "/api/stream", ANN, "{\"streamId\":\"s\"}") == 201,
              "a stream of ann's");
}

static void owners_streams_are_not_there_for_others(void **state)
{
    static const char *const requests[][3] = {
        {"GET", "/api/stream/s", NULL},
        {"HEAD", "/api/stream/s", NULL},
        {"GET", "/api/stream/s?transport=poll", NULL},
        {"POST", "/api/stream/s/events", "{\"data\":1}"},
        {"POST", "/api/stream/s/complete", ""},
        {"POST", "/api/stream/s/fail", ""},
        {"POST", "/api/stream/s/stop", ""},
        {"GET", "/api/stream/s/recover", NULL},
        {"GET", "/api/stream?userId=ann", NULL},
        {"DELETE", "/api/stream/s", NULL},
    };
    asked    a;
    net_peer p, absent;

    (void)state;
    open_owned(&p, &a);
    net_open(&absent, server.port);
    for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
        assert_int_equal(
            ask(&p, requests[i][0], requests[i][1], BOB, requests[i][2]), 404);
        if (i == 8)
            continue;
        /* It is as if there were none: the same answer, word for word. */
        char target[64];

        snprintf(target, sizeof(target), "/api/stream/t%s",
                 requests[i][1] + 13);
        assert_int_equal(
            ask(&absent, requests[i][0], target, BOB, requests[i][2]), 404);
        assert_string_equal(p.body, absent.body);
    }
    assert_int_equal(ask(&p, "GET", "/api/stream", BOB, NULL), 200);
    assert_string_equal(p.body, "{\"streams\":[]}");
    assert_int_equal(ask(&p, "GET", "/api/stream", ANN, NULL), 200);
    assert_true(has(&p, "\"streamId\":\"s\""));
    assert_int_equal(
        ask(&p, "POST", "/api/stream/s/events", ANN, "{\"data\":1}"), 202);
    assert_int_equal(ask(&p, "POST", "/api/stream/s/complete", ANN, ""), 200);
    assert_int_equal(ask(&p, "GET", "/api/stream/s", ANN, NULL), 200);
    assert_int_equal(ask(&p, "DELETE", "/api/stream/s", ANN, NULL), 204);
    net_close(&absent);
    net_close(&p);
    net_server_stop(&server);
}

static void creates_for_nobody_else(void **state)
{
    asked    a;
    net_peer p;

    (void)state;
    open_owned(&p, &a);
    assert_int_equal(ask(&p, "POST", "/api/stream", BOB,
                         "{\"streamId\":\"x\",\"userId\":\"ann\"}"),
                     403);
    assert_int_equal(ask(&p, "GET", "/api/stream/x/recover", ANN, NULL), 404);
    assert_int_equal(ask(&p, "POST", "/api/stream", BOB,
                         "{\"streamId\":\"x\",\"userId\":\"bob\"}"),
                     201);
    assert_int_equal(ask(&p, "GET", "/api/stream?userId=bob", BOB, NULL), 200);
    assert_true(has(&p, "\"userId\":\"bob\""));
    net_close(&p);
    net_server_stop(&server);
}

/* What has ended is still its owner's: nobody else may put another in its
 * place, and so delete it. */
static void nobody_else_takes_an_ended_ones_place(void **state)
{
    asked    a;
    net_peer p;

    (void)state;
    open_owned(&p, &a);
    assert_int_equal(ask(&p, "POST", "/api/stream/s/complete", ANN, ""), 200);
    assert_int_not_equal(
        ask(&p, "POST", "/api/stream", BOB, "{\"streamId\":\"s\"}"), 201);
    assert_int_equal(ask(&p, "GET", "/api/stream/s/recover", ANN, NULL), 200);
    assert_true(has(&p, "\"status\":\"completed\""));
    net_close(&p);
    net_server_stop(&server);
}

/* ---- Refused requests change nothing ---- */

static void a_refused_create_changes_nothing(void **state)
{
    char     body[18000] = "{\"streamId\":\"s\",\"metadata\":\"";
    size_t   len = strlen(body);
    net_peer p;

    (void)state;
    memset(body + len, 'x', 17000);
    strcpy(body + len + 17000, "\"}");
    net_server_new(&server, NULL, NULL);
    net_server_run(&server);
    net_open(&p, server.port);
    post(&p, "/api/stream", "{\"streamId\":\"s\"}");
    post(&p, "/api/stream/s/complete", "");
    assert_int_equal(ask(&p, "POST", "/api/stream", "", body), 413);
    assert_int_equal(ask(&p, "GET", "/api/stream/s/recover", "", NULL), 200);
    net_close(&p);
    net_server_stop(&server);
}

#define NDJSON "Content-Type: application/x-ndjson\r\n"

static void appends_lines_whole_or_not(void **state)
{
    static const char *const bad[] = {
        "{\"data\":1}\n{\"data\":\n{\"data\":3}\n",
        "{\"data\":1}\n{\"type\":\"a\"}\n",
        "{\"data\":1}\n{\"data\":2,\"type\":\"a\\nb\"}\n",
        "{\"data\":1}\n{\"data\":\"\xff\"}\n",
        "{\"data\":1}\n{\"data\":\"0123456789012345678901\"}\n",
        "{\"data\":1} {\"data\":2}\n",
    };
    sse_hub_options opts = {.size = sizeof(opts), .max_event_bytes = 20};
    net_peer        p;

    (void)state;
    net_server_new(&server, &opts, NULL);
    net_server_run(&server);
    net_open(&p, server.port);
    post(&p, "/api/stream", "{\"streamId\":\"s\"}");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        int status = ask(&p, "POST", "/api/stream/s/events", NDJSON, bad[i]);

        assert_int_equal(status, i == 4 ? 413 : 400);
        assert_int_equal(ask(&p, "GET", "/api/stream/s/recover", "", NULL),
                         200);
        assert_true(has(&p, "\"events\":[]"));
    }
    assert_int_equal(ask(&p, "POST", "/api/stream/s/events", NDJSON,
                         "{\"data\":1}\r\n\n{\"data\":\"two\"}"),
                     202);
    assert_true(has(&p, "{\"ids\":[\"1-"));
    assert_true(has(&p, "\",\"2-"));
    assert_int_equal(ask(&p, "GET", "/api/stream/s/recover", "", NULL), 200);
    assert_true(has(&p, "\"data\":\"two\""));
    net_close(&p);
    net_server_stop(&server);
}

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

#define GET_HEALTH "GET /health HTTP/1.1\r\nHost: t\r\n\r\n"

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

static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int  n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* After an orderly end nothing is left: not even the thread of the hub. */
static void leaves_nothing_behind(void **state)
{
    int      before = count_threads(), tries = 0;
    net_peer p;

    (void)state;
    net_server_new(&server, NULL, NULL);
    net_server_run(&server);
    assert_int_equal(net_once(server.port, &p, "POST", "/api/stream", "", NULL),
                     201);
    net_free(&p);
    net_server_stop(&server);
    while (count_threads() > before && ++tries < 3000)
        usleep(1000);
    assert_int_equal(count_threads(), before);
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
        alarm(20);
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
        cmocka_unit_test(the_hook_decides),
        cmocka_unit_test(owners_streams_are_not_there_for_others),
        cmocka_unit_test(creates_for_nobody_else),
        cmocka_unit_test(nobody_else_takes_an_ended_ones_place),
        cmocka_unit_test(a_refused_create_changes_nothing),
        cmocka_unit_test(appends_lines_whole_or_not),
        cmocka_unit_test(head_answers_as_get),
        cmocka_unit_test(head_of_a_poll_answers_as_get),
        cmocka_unit_test(lookers_on_are_no_readers),
        cmocka_unit_test(takes_requests_in_pieces),
        cmocka_unit_test(answers_in_order),
        cmocka_unit_test(a_poll_holds_what_comes_behind_it),
        cmocka_unit_test(says_continue_once),
        cmocka_unit_test(hands_over_other_requests),
        cmocka_unit_test(lives_below_another_prefix),
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

    return cmocka_run_group_tests(tests, NULL, NULL);
}
