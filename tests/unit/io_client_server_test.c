/* SPDX-License-Identifier: MIT */
/* io_client_server_test.c - a client on a server of this library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client_support.h"
#include "net_support.h"
#include "support.h"

static sse_stream *new_stream(net_server *server, const char *id)
{
    sse_stream *stream;

    assert_int_equal(
        sse_stream_new(server->hub, id, strlen(id), NULL, NULL, &stream),
        SSE_OK);
    return stream;
}

static void append(sse_stream *stream, const char *data)
{
    sse_event_id id;

    assert_int_equal(sse_stream_append(stream, "", 0, data, strlen(data), &id),
                     SSE_OK);
}

static void complete(sse_stream *stream, const char *data)
{
    assert_int_equal(sse_stream_end(stream, SSE_STATE_COMPLETED, "", 0, data,
                                    strlen(data), NULL),
                     SSE_OK);
}

/* A client whose stage is the server. */
static sse_client *reader(const net_server *server, stage *s, const char *path,
                          const sse_client_options *opts)
{
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u/api/stream",
             server->port);
    return client_new(s, path, opts);
}

static void reads_a_stream_to_its_end(void **state)
{
    net_server  server;
    stage       s;
    sse_stream *stream;
    sse_client *c;

    (void)state;
    net_server_new(&server, NULL, NULL);
    stream = new_stream(&server, "a");
    net_server_run(&server);
    stage_open(&s);
    append(stream, "one");
    c = reader(&server, &s, "/a", NULL);
    sse_client_start(c);
    client_expect(c, "one");
    for (int i = 0; i < 1000; i++) {
        char text[16];

        snprintf(text, sizeof(text), "%d", i);
        append(stream, text);
    }
    for (int i = 0; i < 1000; i++) {
        char text[16];

        snprintf(text, sizeof(text), "%d", i);
        client_expect(c, text);
    }
    complete(stream, "{}");
    client_expect(c, "{}");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    sse_client_free(c);
    stage_close(&s);
    sse_stream_free(stream);
    net_server_stop(&server);
}

/* The server comes back on another loop, with the same hub behind it. */
static void is_told_of_a_gap(void **state)
{
    sse_hub_options    hub = {.size = sizeof(hub), .log_events = 4};
    sse_client_options o = {.size = sizeof(o)};
    net_server         server;
    stage              s;
    sse_stream        *stream;
    sse_client        *c;
    const sse_news    *news;

    (void)state;
    net_server_new(&server, &hub, NULL);
    stream = new_stream(&server, "a");
    net_server_run(&server);
    stage_open(&s);
    for (int i = 0; i < 10; i++)
        append(stream, "x");
    c = reader(&server, &s, "/a", &o);
    sse_client_start(c);
    news = client_await(c, SSE_NEWS_GAP);
    assert_int_equal(news->from_seq, 1);
    assert_int_equal(news->to_seq, 6);
    assert_int_equal(news->missed, 6);
    assert_int_equal(news->gap, SSE_GAP_TRIMMED);
    for (int i = 0; i < 4; i++)
        client_expect(c, "x");
    sse_client_free(c);
    stage_close(&s);
    sse_stream_free(stream);
    net_server_stop(&server);
}

/* Client and server on one loop, which one thread runs. */
static void shares_a_loop(void **state)
{
    net_server  server;
    stage       s;
    sse_stream *stream;
    sse_client *c;

    (void)state;
    net_server_new(&server, NULL, NULL);
    stream = new_stream(&server, "a");
    net_server_run(&server);
    s.loop = server.loop;
    append(stream, "one");
    c = reader(&server, &s, "/a", NULL);
    sse_client_start(c);
    client_expect(c, "one");
    complete(stream, "two");
    client_expect(c, "two");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    sse_client_free(c);
    sse_stream_free(stream);
    net_server_stop(&server);
}

static void takes_a_stored_completion(void **state)
{
    net_server      server;
    stage           s;
    sse_stream     *stream;
    sse_client     *c;
    const sse_news *news;
    char            url[300];

    (void)state;
    net_server_new(&server, NULL, NULL);
    stream = new_stream(&server, "a");
    net_server_run(&server);
    stage_open(&s);
    append(stream, "one");
    complete(stream, "{\"n\": 1}");
    c = reader(&server, &s, "/a", NULL);
    snprintf(url, sizeof(url), "%s/a/recover", s.url);
    client_set(c, SSE_SETTING_RECOVERY_URL, url);
    sse_client_start(c);
    news = client_await(c, SSE_NEWS_EVENT);
    assert_true(text_is(news->type, news->type_len, "completed"));
    assert_true(text_is(news->data, news->data_len, "{\"n\": 1}"));
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    sse_client_free(c);
    stage_close(&s);
    sse_stream_free(stream);
    net_server_stop(&server);
}

/* Passes a long poll on to the server, and the answer back. */
static void relay(const net_server *server, call *k)
{
    net_peer peer;
    char     target[512], headers[256] = "", text[4096];
    char    *cursor = strstr(k->text, "Last-Event-ID: ");
    int      status;

    assert_int_equal(sscanf(k->text, "GET %511s ", target), 1);
    if (cursor)
        snprintf(headers, sizeof(headers), "%.*s\r\n",
                 (int)strcspn(cursor, "\r"), cursor);
    status = net_once(server->port, &peer, "GET", target, headers, NULL);
    snprintf(text, sizeof(text),
             "HTTP/1.1 %d x\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             status, peer.body_len, peer.body);
    if (status == 204)
        snprintf(text, sizeof(text), "HTTP/1.1 204 x\r\n\r\n");
    call_say(k, text);
    net_free(&peer);
}

/* Something on the way holds streams back: the stage is that. */
static void falls_back_to_long_poll(void **state)
{
    sse_client_options o = {.size = sizeof(o),
                            .flags = SSE_CLIENT_POLL,
                            .retry_ms = 1,
                            .retry_floor_ms = 1,
                            .first_byte_ms = 100};
    net_server         server;
    stage              s;
    sse_stream        *stream;
    sse_client        *c;
    call               k[2], poll;

    (void)state;
    net_server_new(&server, NULL, NULL);
    stream = new_stream(&server, "a");
    net_server_run(&server);
    stage_open(&s);
    append(stream, "one");
    c = client_new(&s, "/api/stream/a?x=1", &o);
    sse_client_start(c);
    for (int i = 0; i < 2; i++) {
        k[i] = stage_accept(&s);
        assert_true(call_has(&k[i], "GET /api/stream/a?x=1 HTTP/1.1"));
        assert_int_equal(client_await(c, SSE_NEWS_ERROR)->cause,
                         SSE_CAUSE_NO_ANSWER);
    }
    poll = stage_accept(&s);
    assert_true(
        call_has(&poll, "GET /api/stream/a?x=1&transport=poll HTTP/1.1"));
    assert_true(call_has(&poll, "Accept: application/json"));
    relay(&server, &poll);
    client_expect(c, "one");
    append(stream, "two");
    complete(stream, "three");
    assert_int_equal(sse_client_next(c, 0, &(const sse_news *){NULL}),
                     SSE_ERR_TIMEOUT);
    call_again(&poll); /* on the same connection */
    assert_non_null(poll.text);
    assert_true(call_has_name(&poll, "Last-Event-ID"));
    relay(&server, &poll);
    client_expect(c, "two");
    client_expect(c, "three");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    call_close(&poll);
    for (int i = 0; i < 2; i++)
        call_close(&k[i]);
    sse_client_free(c);
    stage_close(&s);
    sse_stream_free(stream);
    net_server_stop(&server);
}

/* A server that knows no long poll was only slow. */
static void takes_a_stream_for_a_long_poll(void **state)
{
    sse_client_options o = {.size = sizeof(o),
                            .flags = SSE_CLIENT_POLL,
                            .retry_ms = 1,
                            .retry_floor_ms = 1,
                            .first_byte_ms = 100};
    stage              s;
    sse_client        *c;
    call               k[3];

    (void)state;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    for (int i = 0; i < 2; i++) {
        k[i] = stage_accept(&s);
        client_await(c, SSE_NEWS_ERROR);
    }
    k[2] = stage_accept(&s);
    assert_true(call_has(&k[2], "GET /?transport=poll HTTP/1.1"));
    call_say(&k[2], STREAM_HEAD "\r\nevent: done\ndata: bye\n\n");
    client_expect(c, "bye");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    for (int i = 0; i < 3; i++)
        call_close(&k[i]);
    sse_client_free(c);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_stream_to_its_end),
        cmocka_unit_test(is_told_of_a_gap),
        cmocka_unit_test(shares_a_loop),
        cmocka_unit_test(takes_a_stored_completion),
        cmocka_unit_test(falls_back_to_long_poll),
        cmocka_unit_test(takes_a_stream_for_a_long_poll),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
