/* SPDX-License-Identifier: MIT */
/* io_client_token_test.c - what a client asks its application: for tokens, and
 * what to do about an error. */
#include <pthread.h>
#include <string.h>

#include "client_support.h"
#include "support.h"

static void token(sse_client *c, const char *text)
{
    assert_int_equal(sse_client_set_token(c, text, text ? strlen(text) : 0, 0),
                     SSE_OK);
}

static void asks_for_tokens(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    const sse_news    *news;
    call               k;

    (void)state;
    o.flags = SSE_CLIENT_TOKEN;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    news = client_await(c, SSE_NEWS_TOKEN);
    assert_int_equal(news->status, 0);
    token(c, "old");
    k = stage_accept(&s);
    assert_true(call_has(&k, "Authorization: Bearer old"));
    call_say(&k, "HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n");
    news = client_await(c, SSE_NEWS_TOKEN);
    assert_int_equal(news->status, 401);
    call_close(&k);
    token(c, "new");
    k = stage_accept(&s);
    assert_true(call_has(&k, "Authorization: Bearer new"));
    assert_false(call_has(&k, "Authorization: Bearer old"));
    call_say(&k, "HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(client_end(c), SSE_CAUSE_STATUS);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void gives_up_without_a_token(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;

    (void)state;
    o.flags = SSE_CLIENT_TOKEN;
    o.max_attempts = 1;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    client_await(c, SSE_NEWS_TOKEN);
    token(c, NULL);
    assert_int_equal(client_await(c, SSE_NEWS_ERROR)->cause, SSE_CAUSE_TOKEN);
    client_end(c);
    sse_client_free(c);
    stage_close(&s);
}

/* The old connection is there until the new one answers. */
static void renews_before_it_breaks(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    call               k, next;

    (void)state;
    o.flags = SSE_CLIENT_TOKEN;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    token(c, "first"); /* answers the first question by itself */
    sse_client_start(c);
    k = stage_accept(&s);
    assert_true(call_has(&k, "Authorization: Bearer first"));
    call_say(&k, FINE "id: 1\ndata: one\n\n");
    client_expect(c, "one");
    token(c, "second");
    next = stage_accept(&s);
    assert_true(call_has(&next, "Authorization: Bearer second"));
    assert_true(call_has(&next, "Last-Event-ID: 1"));
    call_say(&k, "id: 2\ndata: two\n\n");
    client_expect(c, "two");
    call_say(&next, FINE "id: 2\ndata: two\n\nid: 3\ndata: three\n\n");
    client_expect(c, "three");
    assert_true(call_is_cut(&k));
    call_close(&k);
    call_say(&next, BYE);
    client_expect(c, "bye");
    client_end(c);
    call_close(&next);
    sse_client_free(c);
    stage_close(&s);
}

/* Keeps who comes with another token, until one comes with the long one. */
static void *serve_until_long(void *arg)
{
    call old = {.fd = -1}, k;

    while (stage_try_accept(arg, &k) &&
           !call_has(&k, "Authorization: Bearer long")) {
        call_say(&k, FINE "id: 1\ndata: one\n\n");
        call_close(&old);
        old = k;
    }
    call_say(&k, FINE BYE);
    call_close(&k);
    call_close(&old);
    return NULL;
}

/* It does so while it waits, connects, or reads: wherever the time has come. */
static void asks_again_before_a_token_ends(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    pthread_t          thread;

    (void)state;
    o.flags = SSE_CLIENT_TOKEN;
    stage_open(&s);
    assert_int_equal(pthread_create(&thread, NULL, serve_until_long, &s), 0);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    client_await(c, SSE_NEWS_TOKEN);
    assert_int_equal(sse_client_set_token(c, "short", 5, 200), SSE_OK);
    client_await(c, SSE_NEWS_TOKEN);
    token(c, "long");
    client_expect(c, "bye");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    pthread_join(thread, NULL);
    sse_client_free(c);
    stage_close(&s);
}

static void asks_for_decisions(void **state)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    const sse_news    *news;
    call               k;

    (void)state;
    o.flags = SSE_CLIENT_DECIDE;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n");
    call_close(&k);
    news = client_await(c, SSE_NEWS_DECIDE);
    assert_int_equal(news->cause, SSE_CAUSE_STATUS);
    assert_int_equal(news->status, 404);
    assert_int_equal(news->decision, SSE_DECISION_STOP);
    assert_int_equal(sse_client_decide(c, 0), SSE_ERR_INVAL);
    assert_int_equal(sse_client_decide(c, SSE_DECISION_RETRY), SSE_OK);
    k = stage_accept(&s);
    call_say(&k, FINE "data: x\n\n");
    client_expect(c, "x");
    call_close(&k);
    news = client_await(c, SSE_NEWS_DECIDE);
    assert_int_equal(news->cause, SSE_CAUSE_BODY_END);
    assert_int_equal(sse_client_decide(c, SSE_DECISION_DONE), SSE_OK);
    assert_int_equal(client_end(c), SSE_CAUSE_BODY_END);
    sse_client_free(c);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_for_tokens),
        cmocka_unit_test(gives_up_without_a_token),
        cmocka_unit_test(renews_before_it_breaks),
        cmocka_unit_test(asks_again_before_a_token_ends),
        cmocka_unit_test(asks_for_decisions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
