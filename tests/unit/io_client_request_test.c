/* SPDX-License-Identifier: MIT */
/* io_client_request_test.c - what a client asks for, and what it makes of the
 * answers: headers, redirects, refusals. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client_support.h"
#include "support.h"

static void sends_what_eventsource_sends(void **state)
{
    stage       s;
    sse_client *c;
    call        k;

    (void)state;
    stage_open(&s);
    c = client_new(&s, "/a/b?c=d#e", NULL);
    assert_int_equal(sse_client_start(c), SSE_OK);
    stage_finish(&s, c, &k);
    assert_true(call_has(&k, "GET /a/b?c=d HTTP/1.1"));
    assert_true(call_has(&k, "Accept: text/event-stream"));
    assert_true(call_has(&k, "Cache-Control: no-cache"));
    assert_true(call_has_name(&k, "Host"));
    assert_true(call_has_name(&k, "Accept-Encoding"));
    assert_false(call_has_name(&k, "Last-Event-ID"));
    assert_false(call_has_name(&k, "User-Agent"));
    assert_false(call_has_name(&k, "Content-Type"));
    assert_false(call_has_name(&k, "Expect"));
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void header(sse_client *c, const char *name, const char *value)
{
    assert_int_equal(
        sse_client_set_header(c, name, strlen(name), value, strlen(value)),
        SSE_OK);
}

static void sends_what_it_is_told(void **state)
{
    stage       s;
    sse_client *c;
    call        k;

    (void)state;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    client_set(c, SSE_SETTING_BODY, " {\"prompt\":1}");
    client_set(c, SSE_SETTING_CURSOR, "17-\xc3\xa4");
    client_set(c, SSE_SETTING_USER_AGENT, "tests/1");
    header(c, "X-One", "1");
    header(c, "x-one", "2");
    header(c, "X-Two", "gone");
    header(c, "X-Two", "");
    header(c, "Cache-Control", "");
    header(c, "Accept", "text/event-stream;q=1");
    sse_client_start(c);
    stage_finish(&s, c, &k);
    assert_true(call_has(&k, "POST / HTTP/1.1"));
    assert_true(call_has(&k, "Content-Type: application/json"));
    assert_true(call_has(&k, "Last-Event-ID: 17-\xc3\xa4"));
    assert_true(call_has(&k, "User-Agent: tests/1"));
    assert_true(call_has(&k, "x-one: 2"));
    assert_false(call_has(&k, "X-One: 1"));
    assert_false(call_has_name(&k, "X-Two"));
    assert_false(call_has_name(&k, "Cache-Control"));
    assert_true(call_has(&k, "Accept: text/event-stream;q=1"));
    assert_string_equal(call_body(&k), " {\"prompt\":1}");
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void refuses_what_cannot_be_sent(void **state)
{
    static const char *const urls[] = {"",
                                       "x",
                                       "ftp://a/",
                                       "http://",
                                       "http://a/\n",
                                       "http://a b/",
                                       "//a/",
                                       "file:///etc/passwd",
                                       "http://a:99999/"};
    static const char *const names[] = {
        "", "a b", "a:", "a\r\nb", "Last-Event-ID", "content-length"};
    sse_client_options bad = {.size = sizeof(bad), .profile = 3};
    char               big[9000];
    sse_loop          *loop;
    sse_client        *c;

    (void)state;
    assert_int_equal(sse_loop_new(&loop), SSE_OK);
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        assert_int_equal(
            sse_client_new(loop, urls[i], strlen(urls[i]), NULL, &c),
            SSE_ERR_INVAL);
        assert_null(c);
    }
    memset(big, 'a', sizeof(big));
    memcpy(big, "http://", 7);
    assert_int_equal(sse_client_new(loop, big, 8193, NULL, &c), SSE_ERR_INVAL);
    assert_int_equal(sse_client_new(loop, "http://a/", 9, &bad, &c),
                     SSE_ERR_INVAL);
    bad = (sse_client_options){.size = sizeof(bad), .flags = 8};
    assert_int_equal(sse_client_new(loop, "http://a/", 9, &bad, &c),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_client_new(loop, "http://a/", 9, NULL, &c), SSE_OK);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(
            sse_client_set_header(c, names[i], strlen(names[i]), "x", 1),
            SSE_ERR_INVAL);
    assert_int_equal(sse_client_set_header(c, "a", 1, "x\r\ny", 4),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_client_set(c, SSE_SETTING_METHOD, "HEAD", 4),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_client_set(c, SSE_SETTING_METHOD, "", 0),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_client_set(c, SSE_SETTING_RECOVERY_URL, "x", 1),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_client_set(c, SSE_SETTING_CURSOR, "a\nb", 3),
                     SSE_ERR_INVAL);
    assert_int_equal(sse_client_set(c, 0, "x", 1), SSE_ERR_INVAL);
    assert_int_equal(sse_client_set(c, 99, "x", 1), SSE_ERR_INVAL);
    assert_int_equal(sse_client_set_token(c, "a\nb", 3, 0), SSE_ERR_INVAL);
    sse_client_free(c);
    sse_loop_free(loop);
}

/* ---- Redirects ---- */

typedef struct hop {
    int         status;
    const char *body;   /* sent with the request, or NULL */
    const char *method; /* expected behind the redirect */
} hop;

static const hop hops[] = {
    {301, NULL, "GET"},   {302, NULL, "GET"}, {303, NULL, "GET"},
    {307, NULL, "GET"},   {308, NULL, "GET"}, {301, "b", "GET"},
    {302, "b", "GET"},    {303, "b", "GET"},  {307, "b", "POST"},
    {308, "[1]", "POST"},
};

static void redirect(const call *c, int status, const char *location)
{
    char text[512];

    snprintf(
        text, sizeof(text),
        "HTTP/1.1 %d moved\r\nLocation: %s\r\nContent-Length: 3\r\n\r\nabc",
        status, location);
    call_say(c, text);
}

/* One origin: everything goes along. */
static void check_same_origin(const hop *h)
{
    stage       s;
    sse_client *c;
    call        first, k;
    char        line[64];

    stage_open(&s);
    c = client_new(&s, "/one?x", NULL);
    header(c, "Authorization", "Basic abc");
    client_set(c, SSE_SETTING_CURSOR, "9");
    if (h->body)
        client_set(c, SSE_SETTING_BODY, h->body);
    sse_client_start(c);
    first = stage_accept(&s);
    redirect(&first, h->status, "two?y#z");
    stage_finish(&s, c, &k);
    snprintf(line, sizeof(line), "%s /two?y HTTP/1.1", h->method);
    assert_true(call_has(&k, line));
    assert_true(call_has(&k, "Authorization: Basic abc"));
    assert_true(call_has(&k, "Last-Event-ID: 9"));
    assert_string_equal(call_body(&k), h->method[0] == 'P' ? h->body : "");
    assert_int_equal(call_has_name(&k, "Content-Length"), h->method[0] == 'P');
    call_close(&first);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void follows_redirects(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hops) / sizeof(hops[0]); i++)
        check_same_origin(&hops[i]);
}

/* Another port is another origin: nothing that tells who asks goes along. */
static void check_other_origin(const hop *h)
{
    stage       s, other;
    sse_client *c;
    call        k;
    char        place[300], line[64];

    stage_open(&s);
    stage_open(&other);
    c = client_new(&s, "/one", &quick);
    header(c, "Authorization", "Basic abc");
    header(c, "Cookie", "a=b");
    header(c, "X-Mine", "1");
    client_set(c, SSE_SETTING_CURSOR, "9");
    sse_client_set_token(c, "secret", 6, 0);
    if (h->body)
        client_set(c, SSE_SETTING_BODY, h->body);
    sse_client_start(c);
    k = stage_accept(&s);
    assert_true(call_has(&k, "Authorization: Bearer secret"));
    snprintf(place, sizeof(place), "http://me:too@127.0.0.1:%u/two",
             other.port);
    redirect(&k, h->status, place);
    call_close(&k);
    k = stage_accept(&other);
    snprintf(line, sizeof(line), "%s /two HTTP/1.1", h->method);
    assert_true(call_has(&k, line));
    assert_true(call_has(&k, "Accept: text/event-stream"));
    assert_true(call_has(&k, "Cache-Control: no-cache"));
    assert_false(call_has_name(&k, "Authorization"));
    assert_false(call_has_name(&k, "Cookie"));
    assert_false(call_has_name(&k, "X-Mine"));
    assert_false(call_has_name(&k, "Last-Event-ID"));
    assert_string_equal(call_body(&k), h->method[0] == 'P' ? h->body : "");
    call_say(&k, FINE "id: 10\ndata: x\n\n");
    client_expect(c, "x");
    call_close(&k);
    client_await(c, SSE_NEWS_RETRY);
    /* The next attempt begins at the first URL again, with all of it. */
    k = stage_accept(&s);
    assert_true(call_has(&k, "Authorization: Bearer secret"));
    assert_true(call_has(&k, "Last-Event-ID: 10"));
    assert_true(call_has(&k, "X-Mine: 1"));
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
    stage_close(&other);
}

static void tells_other_origins_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hops) / sizeof(hops[0]); i++)
        check_other_origin(&hops[i]);
}

static void check_bad_redirect(const char *head, const char *what)
{
    stage           s;
    sse_client     *c;
    const sse_news *news;
    call            k;

    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, head);
    news = client_await(c, SSE_NEWS_ERROR);
    assert_int_equal(news->cause, SSE_CAUSE_REDIRECT);
    assert_string_equal(news->detail, what);
    assert_int_equal(client_end(c), SSE_CAUSE_REDIRECT);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void refuses_bad_redirects(void **state)
{
    (void)state;
    check_bad_redirect("HTTP/1.1 302 x\r\nContent-Length: 0\r\n\r\n",
                       "the redirect has no Location");
    check_bad_redirect(
        "HTTP/1.1 308 x\r\nLocation: \r\nContent-Length: 0\r\n\r\n",
        "the redirect has no Location");
    check_bad_redirect("HTTP/1.1 307 x\r\nLocation: http://\r\n\r\n",
                       "the redirect's Location is no URL");
    check_bad_redirect("HTTP/1.1 307 x\r\nLocation: file:///etc/passwd\r\n\r\n",
                       "the redirect leaves HTTP");
    check_bad_redirect("HTTP/1.1 301 x\r\nLocation: gopher://a/\r\n\r\n",
                       "the redirect leaves HTTP");
}

static void counts_redirects(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    const sse_news    *news;
    call               k = {0};

    (void)state;
    o.max_redirects = 3;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    for (int i = 0; i < 4; i++) {
        k = stage_accept(&s);
        redirect(&k, 302, "/");
        call_close(&k);
    }
    news = client_await(c, SSE_NEWS_ERROR);
    assert_string_equal(news->detail, "too many redirects in a row");
    assert_int_equal(client_end(c), SSE_CAUSE_REDIRECT);
    sse_client_free(c);
    stage_close(&s);
}

/* ---- Refusals ---- */

static void shows_the_body_of_a_refusal(void **state)
{
    stage           s;
    sse_client     *c;
    const sse_news *news;
    call            k;
    size_t          len;

    (void)state;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, "HTTP/1.1 403 no\r\nX-Why: because\r\n"
                 "Content-Length: 9\r\n\r\nforbidden");
    news = client_await(c, SSE_NEWS_ERROR);
    assert_int_equal(news->cause, SSE_CAUSE_STATUS);
    assert_int_equal(news->status, 403);
    assert_true(text_is(news->data, news->data_len, "forbidden"));
    assert_string_equal(news->detail, "HTTP status 403");
    assert_true(text_is(sse_client_header(c, "x-why", 5, &len), 7, "because"));
    assert_int_equal(len, 7);
    assert_string_equal(sse_client_header(c, "x-none", 6, &len), "");
    news = client_await(c, SSE_NEWS_END);
    assert_int_equal(news->cause, SSE_CAUSE_STATUS);
    assert_int_equal(news->status, 403);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

/* What is too long, or never ends, is told as far as it has come. */
static void cuts_the_body_of_a_refusal(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    const sse_news    *news;
    call               k;

    (void)state;
    o.max_error_bytes = 5;
    o.max_attempts = 2;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, "HTTP/1.1 500 x\r\n\r\n1234567");
    news = client_await(c, SSE_NEWS_ERROR);
    assert_true(text_is(news->data, news->data_len, "12345"));
    call_close(&k);
    k = stage_accept(&s);
    call_say(&k, "HTTP/1.1 500 x\r\n\r\n123");
    news = client_await(c, SSE_NEWS_ERROR);
    assert_true(text_is(news->data, news->data_len, "123"));
    assert_int_equal(client_end(c), SSE_CAUSE_ATTEMPTS);
    assert_true(call_is_cut(&k));
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void takes_only_event_streams(void **state)
{
    stage           s;
    sse_client     *c;
    const sse_news *news;
    call            k;

    (void)state;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, "HTTP/1.1 103 hints\r\nLink: x\r\n\r\n"
                 "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
                 "Content-Length: 2\r\n\r\nhi");
    news = client_await(c, SSE_NEWS_ERROR);
    assert_int_equal(news->cause, SSE_CAUSE_CONTENT_TYPE);
    assert_int_equal(news->status, 200);
    assert_true(text_is(news->data, news->data_len, "hi"));
    assert_int_equal(client_end(c), SSE_CAUSE_CONTENT_TYPE);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void ends_at_204(void **state)
{
    stage       s;
    sse_client *c;
    call        k;

    (void)state;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(client_end(c), SSE_CAUSE_NO_CONTENT);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void refuses_an_endless_head(void **state)
{
    char            line[1024];
    stage           s;
    sse_client     *c;
    const sse_news *news;
    call            k;

    (void)state;
    memset(line, 'x', sizeof(line));
    memcpy(line, "A: ", 3);
    memcpy(line + sizeof(line) - 2, "\r\n", 2);
    stage_open(&s);
    c = client_new(&s, "/", &quick);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 80; i++)
        call_send(&k, line, sizeof(line));
    news = client_await(c, SSE_NEWS_ERROR);
    assert_int_equal(news->cause, SSE_CAUSE_NETWORK);
    assert_string_equal(news->detail, "the head of the answer is above 64 KiB");
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

/* From now on the port refuses, and nobody else gets it. */
static void stop_listening(stage *s)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)s->port)};

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    close(s->listener);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)),
                     0);
}

static void says_what_the_system_said(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    const sse_news    *news;

    (void)state;
    o.max_attempts = 1;
    stage_open(&s);
    stop_listening(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    news = client_await(c, SSE_NEWS_ERROR);
    assert_int_equal(news->cause, SSE_CAUSE_NETWORK);
    assert_non_null(strstr(news->detail, "Connection refused"));
    assert_int_equal(news->detail_len, strlen(news->detail));
    assert_int_equal(client_end(c), SSE_CAUSE_ATTEMPTS);
    sse_client_free(c);
    stage_close(&s);
}

/* ---- Another way to the server ---- */

static void asks_by_a_unix_socket(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char               dir[] = "/tmp/sse-test-XXXXXX";
    stage              s;
    sse_client        *c;

    (void)state;
    stage_open(&s);
    close(s.listener);
    assert_non_null(mkdtemp(dir));
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
    s.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s.listener, (struct sockaddr *)&addr, sizeof(addr)),
                     0);
    assert_int_equal(listen(s.listener, 5), 0);
    c = client_new(&s, "/", NULL);
    client_set(c, SSE_SETTING_UNIX_SOCKET, addr.sun_path);
    sse_client_start(c);
    stage_finish(&s, c, NULL);
    sse_client_free(c);
    stage_close(&s);
    unlink(addr.sun_path);
    rmdir(dir);
}

static void asks_by_a_proxy(void **state)
{
    stage       s;
    sse_client *c;
    call        k;

    (void)state;
    stage_open(&s);
    assert_int_equal(
        sse_client_new(s.loop, "http://sse.invalid/x", 20, NULL, &c), SSE_OK);
    client_set(c, SSE_SETTING_PROXY, s.url);
    sse_client_start(c);
    stage_finish(&s, c, &k);
    assert_true(call_has(&k, "GET http://sse.invalid/x HTTP/1.1"));
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

/* ---- A stored completion ---- */

static void check_recovery(const char *answer, const char *type,
                           const char *data)
{
    stage           s;
    sse_client     *c;
    const sse_news *news;
    char            url[300];
    call            k;

    stage_open(&s);
    c = client_new(&s, "/stream", &quick);
    snprintf(url, sizeof(url), "%s/recover", s.url);
    client_set(c, SSE_SETTING_RECOVERY_URL, url);
    header(c, "X-Mine", "1");
    sse_client_start(c);
    k = stage_accept(&s);
    assert_true(call_has(&k, "GET /recover HTTP/1.1"));
    assert_true(call_has(&k, "X-Mine: 1"));
    assert_true(call_has(&k, "Accept: application/json"));
    call_say(&k, answer);
    call_close(&k);
    if (type) {
        news = client_await(c, SSE_NEWS_EVENT);
        assert_true(text_is(news->type, news->type_len, type));
        assert_true(text_is(news->data, news->data_len, data));
        assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    } else {
        stage_finish(&s, c, &k);
        assert_true(call_has(&k, "GET /stream HTTP/1.1"));
        call_close(&k);
    }
    sse_client_free(c);
    stage_close(&s);
}

#define JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

static void asks_for_a_stored_completion(void **state)
{
    (void)state;
    check_recovery(JSON
                   "{\"status\":\"completed\",\"terminalEventType\":\"done\""
                   ",\"terminalEventData\":{\"a\": 1.0}}",
                   "done", "{\"a\": 1.0}");
    check_recovery(JSON
                   "{\"status\":\"failed\",\"terminalEventType\":\"failed\""
                   ",\"terminalEventData\":\"a\\nb\"}",
                   "failed", "a\nb");
    check_recovery(JSON "{\"status\":\"active\"}", NULL, NULL);
    check_recovery(JSON "no json", NULL, NULL);
    check_recovery("HTTP/1.1 404 x\r\n\r\n{\"status\":\"completed\","
                   "\"terminalEventType\":\"done\"}",
                   NULL, NULL);
    check_recovery("", NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_what_eventsource_sends),
        cmocka_unit_test(sends_what_it_is_told),
        cmocka_unit_test(refuses_what_cannot_be_sent),
        cmocka_unit_test(follows_redirects),
        cmocka_unit_test(tells_other_origins_nothing),
        cmocka_unit_test(refuses_bad_redirects),
        cmocka_unit_test(counts_redirects),
        cmocka_unit_test(shows_the_body_of_a_refusal),
        cmocka_unit_test(cuts_the_body_of_a_refusal),
        cmocka_unit_test(takes_only_event_streams),
        cmocka_unit_test(ends_at_204),
        cmocka_unit_test(refuses_an_endless_head),
        cmocka_unit_test(says_what_the_system_said),
        cmocka_unit_test(asks_by_a_unix_socket),
        cmocka_unit_test(asks_by_a_proxy),
        cmocka_unit_test(asks_for_a_stored_completion),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
