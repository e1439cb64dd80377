/* SPDX-License-Identifier: MIT */
/* io_server_access_test.c - who may do what, through real sockets; what is
 * refused changes nothing. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "server_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hook_decides),
        cmocka_unit_test(owners_streams_are_not_there_for_others),
        cmocka_unit_test(creates_for_nobody_else),
        cmocka_unit_test(nobody_else_takes_an_ended_ones_place),
        cmocka_unit_test(a_refused_create_changes_nothing),
        cmocka_unit_test(appends_lines_whole_or_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
