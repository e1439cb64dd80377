/* SPDX-License-Identifier: MIT */
/* io_hold_test.c - requests that are answered after their hook has returned,
 * through real sockets. */
#include "support.h"

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "net_support.h"

/* One request of the path /hold/N is kept in place N. Others, on connections
 * of their own, say on the loop's thread what becomes of it. */
typedef struct place {
    sse_request *request;
    int          gone_count;
    char         seen[256]; /* what its getters said                        */
} place;

static net_server server;
static place      places[8];
static sem_t      kept, gone; /* posted when one is; `gone` in its hook */
static sem_t      asked;      /* posted by the authorize hook              */
static bool       answering, hook_inside_answer, free_when_gone;

static void must(int rc)
{
    net_check(rc >= 0, sse_strerror(rc));
}

static void must_not(int rc)
{
    net_check(rc == SSE_ERR_INVAL, "an argument that breaks a rule");
}

static int respond(sse_request *r, const char *text)
{
    return sse_request_respond(r, 200, "text/plain", 10, text, strlen(text));
}

/* ---- The application ---- */

static void look(place *at)
{
    sse_request *r = at->request;
    size_t       path_len, query_len, header_len, body_len, value_len;
    const char  *path = sse_request_path(r, &path_len);
    const char  *query = sse_request_query(r, &query_len);
    const char  *header = sse_request_header(r, "x-a", 3, &header_len);
    const char  *body = sse_request_body(r, &body_len);
    const char  *value = sse_request_query_value(r, "q", 1, &value_len);

    snprintf(at->seen, sizeof(at->seen), "%s %.*s %.*s %.*s %.*s %.*s",
             sse_request_method(r), (int)path_len, path, (int)query_len, query,
             (int)header_len, header, (int)value_len, value, (int)body_len,
             body);
}

static void on_gone(sse_request *r, void *user)
{
    place *at = user;

    net_check(at->request == r, "the same request");
    look(at);
    must_not(respond(r, "too late"));
    must_not(sse_request_hold(r, on_gone, at));
    at->request = NULL;
    at->gone_count++;
    if (free_when_gone)
        sse_server_free(server.server);
    sem_post(&gone);
}

static void keep(sse_request *r, place *at)
{
    at->request = r;
    at->gone_count = 0;
    must_not(sse_request_hold(r, NULL, at)); /* it could not be told */
    must(sse_request_hold(r, on_gone, at));
    must_not(sse_request_hold(r, on_gone, at));
    sem_post(&kept);
}

static void answer(place *at)
{
    sse_request *r = at->request;

    look(at);
    at->request = NULL;
    answering = true;
    must(sse_request_add_header(r, "X-Late", 6, "yes", 3));
    must_not(sse_request_respond(r, 99, "a", 1, "", 0)); /* it is still held */
    must(respond(r, at->seen));
    answering = false;
}

static void answer_with_stream(place *at)
{
    sse_request *r = at->request;
    sse_stream  *s;

    at->request = NULL;
    must(sse_stream_open(server.hub, "s", 1, &s));
    must(sse_request_add_header(r, "X-Late", 6, "yes", 3));
    must(sse_request_respond_stream(r, s));
    sse_stream_free(s);
}

static void answer_in_the_hook(sse_request *r, place *at, bool stream)
{
    at->request = r;
    must(sse_request_hold(r, on_gone, at));
    if (stream)
        answer_with_stream(at);
    else
        answer(at);
    must_not(respond(r, "twice"));
    must_not(sse_request_hold(r, on_gone, at));
}

static void on_request(sse_request *r, void *user)
{
    size_t      len;
    const char *path = sse_request_path(r, &len);
    char        what[32] = "";
    unsigned    n = 0;

    (void)user;
    hook_inside_answer = hook_inside_answer || answering;
    if (sscanf(path, "/%31[a-z]/%u", what, &n) < 1 || n >= 8)
        return;
    if (strcmp(what, "hold") == 0)
        keep(r, &places[n]);
    else if (strcmp(what, "hook") == 0)
        answer_in_the_hook(r, &places[n], false);
    else if (strcmp(what, "hookstream") == 0)
        answer_in_the_hook(r, &places[n], true);
    else if (strcmp(what, "answer") == 0)
        answer(&places[n]);
    else if (strcmp(what, "stream") == 0)
        answer_with_stream(&places[n]);
    else if (strcmp(what, "free") == 0)
        sse_server_free(server.server);
    if (strcmp(what, "answer") == 0 || strcmp(what, "stream") == 0 ||
        strcmp(what, "say") == 0)
        must(respond(r, "done"));
}

/* ---- What tests say ---- */

static void serve(const sse_server_options *opts)
{
    memset(places, 0, sizeof(places));
    hook_inside_answer = free_when_gone = false;
    sem_init(&kept, 0, 0);
    sem_init(&gone, 0, 0);
    net_server_new(&server, NULL, opts);
    must(sse_server_on_request(server.server, on_request, NULL));
    net_server_run(&server);
}

static void ask_and_wait(net_peer *p, const char *target, const char *headers)
{
    net_open(p, server.port);
    net_ask(p, "GET", target, headers, NULL);
    sem_wait(&kept);
}

/* On a connection of its own. */
static void tell(const char *target)
{
    net_peer p;

    net_check(net_once(server.port, &p, "POST", target, "", "") == 200, target);
    net_free(&p);
}

static bool has(const net_peer *p, const char *text)
{
    return strstr(p->body, text) != NULL;
}

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

static void make_stream(sse_stream **out)
{
    must(sse_stream_new(server.hub, "s", 1, NULL, NULL, out));
    must(sse_stream_append(*out, "", 0, "one", 3, NULL));
    must(sse_stream_append(*out, "", 0, "two", 3, NULL));
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

#define GET(target) "GET " target " HTTP/1.1\r\nHost: t\r\n\r\n"

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
                               .head_timeout_ms = 1000,
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

/* ---- Ends ---- */

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

/* By what comes behind the first of two appends that wait for a slow reader:
 * nobody is left behind. */
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
    assert_int_equal(net_answer(&p[0], false), 202);
    assert_true(net_ends(&p[1]));
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

/* ---- Where there is nothing to hold ---- */

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
        cmocka_unit_test(a_close_waits_for_its_answer),
        cmocka_unit_test(no_stream_begins_in_a_close),
        cmocka_unit_test(a_close_waits_so_long_and_no_longer),
        cmocka_unit_test(a_second_stop_cuts_it),
        cmocka_unit_test(the_server_is_freed),
        cmocka_unit_test(the_server_is_freed_while_readers_are_served),
        cmocka_unit_test(the_server_is_freed_while_appends_wait),
        cmocka_unit_test(the_server_is_freed_by_its_end),
        cmocka_unit_test(an_authorize_hook_keeps_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
