/* SPDX-License-Identifier: MIT */
/* io_limits_test.c - each limit of the server, through real sockets. Times are
 * short and only ever waited for: nothing here fails on a slow machine. */
#include "support.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_support.h"

static net_server server;

static void must(int rc)
{
    net_check(rc >= 0, sse_strerror(rc));
}

static void open_server(const sse_hub_options    *hub_opts,
                        const sse_server_options *opts)
{
    net_server_new(&server, hub_opts, opts);
    net_server_run(&server);
}

static bool has(const net_peer *p, const char *text)
{
    return strstr(p->body, text) != NULL;
}

static int ask(net_peer *p, const char *method, const char *target,
               const char *headers, const char *body)
{
    return net_do(p, method, target, headers, body);
}

/* ---- How many ---- */

static void assert_limited(const net_peer *p)
{
    assert_true(has(p, "\"error\":\"limit\""));
    assert_int_equal(strtol(net_header(p, "Retry-After"), NULL, 10), 5);
}

static void limits_connections(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .max_connections = 2};
    net_peer           a, b, c;

    (void)state;
    open_server(NULL, &opts);
    net_open(&a, server.port);
    assert_int_equal(ask(&a, "GET", "/health", "", NULL), 200);
    net_open(&b, server.port);
    assert_int_equal(ask(&b, "GET", "/health", "", NULL), 200);
    net_open(&c, server.port);
    assert_int_equal(net_answer(&c, false), 429); /* without being asked */
    assert_limited(&c);
    assert_true(net_ends(&c));
    net_close(&c);
    assert_int_equal(ask(&a, "GET", "/health", "", NULL), 200);
    net_close(&b);
    for (int status = 429; status != 200; net_free(&b)) { /* room at last */
        net_open(&b, server.port);
        status = ask(&b, "GET", "/health", "", NULL);
        close(b.fd);
    }
    net_close(&a);
    net_server_stop(&server);
}

static int set_user(sse_request *r, int verb, const char *id, size_t id_len,
                    void *user)
{
    size_t      len;
    const char *name = sse_request_header(r, "X-User", 6, &len);

    (void)verb;
    (void)id;
    (void)id_len;
    (void)user;
    return len ? sse_request_set_user(r, name, len) : 0;
}

static void limits_connections_of_a_user(void **state)
{
    sse_server_options opts = {.size = sizeof(opts),
                               .max_connections_per_user = 2};
    char               name[300] = "X-User: ";
    net_peer           p[3];

    (void)state;
    net_server_new(&server, NULL, &opts);
    must(sse_server_on_authorize(server.server, set_user, NULL));
    net_server_run(&server);
    for (int i = 0; i < 3; i++)
        net_open(&p[i], server.port);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++) /* again on the same one: fine */
            assert_int_equal(
                ask(&p[i], "GET", "/api/stream", "X-User: ann\r\n", NULL), 200);
    assert_int_equal(ask(&p[2], "GET", "/api/stream", "X-User: ann\r\n", NULL),
                     429);
    assert_limited(&p[2]);
    assert_int_equal(ask(&p[2], "GET", "/api/stream", "X-User: bob\r\n", NULL),
                     200);
    assert_int_equal(ask(&p[1], "GET", "/api/stream", "X-User: bob\r\n", NULL),
                     200); /* moved over, and made room */
    assert_int_equal(ask(&p[2], "GET", "/api/stream", "X-User: ann\r\n", NULL),
                     200);
    net_close(&p[0]);
    net_await_metric(server.port, "sse_connections", 3);
    assert_int_equal(ask(&p[1], "GET", "/api/stream", "X-User: ann\r\n", NULL),
                     200);
    memset(name + 8, 'x', 256);
    strcpy(name + 8 + 256, "\r\n");
    assert_int_equal(ask(&p[1], "GET", "/api/stream", name, NULL), 403);
    net_close(&p[1]);
    net_close(&p[2]);
    net_server_stop(&server);
}

static void limits_streams_and_readers(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .max_streams = 3,
                            .max_streams_per_user = 1,
                            .max_subscribers = 1};
    net_peer        p, reader;

    (void)state;
    open_server(&opts, NULL);
    net_open(&p, server.port);
    net_open(&reader, server.port);
    assert_int_equal(ask(&p, "POST", "/api/stream", "",
                         "{\"streamId\":\"a\",\"userId\":\"ann\"}"),
                     201);
    assert_int_equal(ask(&p, "POST", "/api/stream", "",
                         "{\"streamId\":\"b\",\"userId\":\"ann\"}"),
                     429);
    assert_limited(&p);
    assert_int_equal(ask(&p, "GET", "/api/stream/b/recover", "", NULL), 404);
    assert_int_equal(ask(&p, "POST", "/api/stream", "", NULL), 201);
    assert_int_equal(ask(&p, "POST", "/api/stream", "", NULL), 201);
    assert_int_equal(ask(&p, "POST", "/api/stream", "", NULL), 429);
    assert_limited(&p);
    net_ask(&reader, "GET", "/api/stream/a", "", NULL);
    assert_true(net_wait_for(&reader, "retry:"));
    assert_int_equal(ask(&p, "GET", "/api/stream/a", "", NULL), 429);
    assert_limited(&p);
    assert_int_equal(ask(&p, "HEAD", "/api/stream/a", "", NULL), 429);
    net_close(&reader);
    net_await_metric(server.port, "sse_subscribers", 0);
    net_ask(&p, "GET", "/api/stream/a", "", NULL);
    assert_true(net_wait_for(&p, "retry:"));
    net_close(&p);
    net_server_stop(&server);
}

/* ---- How large ---- */

static char *repeat(const char *text, size_t times)
{
    size_t len = strlen(text);
    char  *all = malloc(len * times + 1);

    net_check(all != NULL, "memory");
    for (size_t i = 0; i < times; i++)
        memcpy(all + i * len, text, len);
    all[len * times] = '\0';
    return all;
}

static void refuses(const char *target, const char *headers, const char *body,
                    int status, const char *error)
{
    net_peer p;

    net_open(&p, server.port);
    assert_int_equal(ask(&p, body ? "POST" : "GET", target, headers, body),
                     status);
    assert_true(has(&p, error));
    assert_string_equal(net_header(&p, "Connection"), "close");
    assert_true(net_ends(&p));
    net_close(&p);
}

static void limits_heads(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .max_head_bytes = 2000};
    char              *xs = repeat("x", 2500), *headers = malloc(3000);
    char              *many = repeat("A: b\r\n", 300);
    char              *some = repeat("Header: value\r\n", 90);
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    sprintf(headers, "X: %s\r\n", xs);
    refuses("/health", headers, NULL, 431, "head_too_large");
    sprintf(headers, "%s: x\r\n", xs);
    refuses("/health", headers, NULL, 431, "head_too_large");
    sprintf(headers, "/%s", xs);
    refuses(headers, "", NULL, 431, "head_too_large");
    refuses("/health", many, NULL, 431, "head_too_large");
    net_open(&p, server.port);
    assert_int_equal(ask(&p, "GET", "/health", some, NULL), 200);
    net_close(&p);
    net_server_stop(&server);
    open_server(NULL, NULL); /* the number of headers has a limit, too */
    refuses("/health", many, NULL, 431, "head_too_large");
    net_server_stop(&server);
    free(xs);
    free(headers);
    free(many);
    free(some);
}

static void limits_bodies(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .max_body_bytes = 1000};
    char              *xs = repeat("x", 1001);
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    net_open(&p, server.port);
    assert_int_equal(ask(&p, "POST", "/api/stream", "", "{\"streamId\":\"s\"}"),
                     201);
    assert_int_equal(ask(&p, "POST", "/api/stream/s/events",
                         "Content-Type: text/plain\r\n", xs + 1),
                     202);
    refuses("/api/stream/s/events", "Content-Type: text/plain\r\n", xs, 413,
            "too_large");
    refuses("/api/stream/s/events", "Content-Length: 99999999999999999999\r\n",
            "", 400, "bad_request");
    net_close(&p);
    net_open(&p, server.port); /* in chunks, nobody knows before */
    net_say(&p, "POST /api/stream/s/events HTTP/1.1\r\nHost: t\r\n"
                "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 12; i++) {
        net_say(&p, "64\r\n");
        net_send(&p, xs, 100);
        net_say(&p, "\r\n");
    }
    assert_int_equal(net_answer(&p, false), 413);
    net_close(&p);
    assert_int_equal(net_once(server.port, &p, "GET",
                              "/api/stream/s/recover?after=1", "", NULL),
                     200);
    assert_true(has(&p, "\"events\":[]"));
    net_free(&p);
    net_server_stop(&server);
    free(xs);
}

/* The answer comes before the body, which is not worth sending. */
static void refuses_a_body_it_is_asked_about(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .max_body_bytes = 1000};
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    net_open(&p, server.port);
    net_say(&p, "POST /api/stream/s/events HTTP/1.1\r\nHost: t\r\n"
                "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
    assert_int_equal(net_answer(&p, false), 413);
    net_close(&p);
    net_server_stop(&server);
}

/* ---- How long ---- */

static void limits_the_time_of_a_head(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .head_timeout_ms = 60};
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    net_open(&p, server.port); /* says nothing at all */
    assert_true(net_ends(&p));
    net_close(&p);
    for (;;) {
        net_open(&p, server.port);
        net_say(&p, "GET /health HTTP/1.1\r\n");
        if (net_answer(&p, false) == 408)
            break;
        net_close(&p); /* the time was over before a byte had come */
    }
    assert_true(has(&p, "\"error\":\"timeout\""));
    assert_true(net_ends(&p));
    net_close(&p);
    net_server_stop(&server);
}

/* Whether there is an answer, or an end. */
static bool drip_until_cut(net_peer *p)
{
    for (int i = 0; i < NET_PATIENCE_MS / 5; i++) {
        net_send(p, "x", 1);
        if (readable(p->fd, 5))
            return true;
    }
    return false;
}

/* A byte now and then does not make the time longer. The client would go on
 * for half a minute; it stops as soon as the server hangs up. */
static void drips_do_not_extend_it(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .head_timeout_ms = 60};
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    for (;;) {
        net_open(&p, server.port);
        net_say(&p, "GET /health HTTP/1.1\r\nX: ");
        assert_true(drip_until_cut(&p));
        if (net_answer(&p, false) == 408)
            break;
        net_close(&p); /* the time was over before a byte had come */
    }
    net_close(&p);
    net_server_stop(&server);
}

static void limits_the_time_of_a_body(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .body_timeout_ms = 60};
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    net_open(&p, server.port);
    net_say(&p, "POST /api/stream HTTP/1.1\r\nHost: t\r\n"
                "Content-Length: 20\r\n\r\n{");
    assert_int_equal(net_answer(&p, false), 408);
    assert_true(has(&p, "\"error\":\"timeout\""));
    assert_true(net_ends(&p));
    net_close(&p);
    net_server_stop(&server);
}

static void limits_the_time_between_requests(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .idle_timeout_ms = 60};
    net_peer           p, reader;

    (void)state;
    open_server(NULL, &opts);
    net_open(&p, server.port);
    assert_int_equal(ask(&p, "POST", "/api/stream", "", "{\"streamId\":\"s\"}"),
                     201);
    net_open(&reader, server.port);
    net_ask(&reader, "GET", "/api/stream/s", "", NULL);
    assert_true(net_ends(&p)); /* without a word: it waits for nothing */
    net_close(&p);
    assert_int_equal(
        net_once(server.port, &p, "POST", "/api/stream/s/complete", "", ""),
        200);
    net_free(&p);
    assert_int_equal(net_answer(&reader, false), 200); /* was not idle */
    assert_true(net_ends(&reader));
    net_close(&reader);
    net_server_stop(&server);
}

static void limits_the_time_of_a_poll(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .poll_timeout_ms = 60};
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    net_open(&p, server.port);
    assert_int_equal(ask(&p, "POST", "/api/stream", "", "{\"streamId\":\"s\"}"),
                     201);
    assert_int_equal(ask(&p, "GET", "/api/stream/s?transport=poll", "", NULL),
                     200);
    assert_string_equal(
        p.body, "{\"events\":[],\"lastEventId\":\"0\",\"state\":\"active\"}");
    assert_int_equal(
        ask(&p, "POST", "/api/stream/s/events", "", "{\"data\":1}"), 202);
    assert_int_equal(ask(&p, "GET",
                         "/api/stream/s?transport=poll&last_event_id=$", "",
                         NULL),
                     200);
    assert_true(has(&p, "{\"events\":[],\"lastEventId\":\"1-"));
    net_close(&p);
    net_server_stop(&server);
}

/* ---- How long at the end ---- */

/* One that takes nothing, one in the middle of a head, one of a body, one idle
 * one that polls: after the deadline at the latest, the loop has ended. */
static void ends_by_the_deadline(void **state)
{
    static char        data[1 << 20];
    sse_server_options opts = {.size = sizeof(opts), .shutdown_ms = 100};
    net_peer           stuck, head, body, idle, poll;
    sse_stream        *s, *silent;

    (void)state;
    memset(data, 'x', sizeof(data));
    open_server(NULL, &opts);
    must(sse_stream_new(server.hub, "s", 1, NULL, NULL, &s));
    must(sse_stream_new(server.hub, "silent", 6, NULL, NULL, &silent));
    net_open(&poll, server.port);
    net_open(&stuck, server.port);
    net_open(&head, server.port);
    net_open(&body, server.port);
    net_open(&idle, server.port);
    net_ask(&poll, "GET", "/api/stream/silent?transport=poll", "", NULL);
    net_await_metric(server.port, "sse_polls_total", 1);
    net_ask(&stuck, "GET", "/api/stream/s?last_event_id=$", "", NULL);
    net_await_metric(server.port, "sse_subscribers", 2);
    for (int i = 0; i < 12; i++)
        must(sse_stream_append(s, "", 0, data, sizeof(data) - 1, NULL));
    net_say(&head, "GET /health HTTP/1.1\r\n");
    net_say(&body, "POST /api/stream HTTP/1.1\r\nHost: t\r\n"
                   "Content-Length: 20\r\n\r\n{");
    net_await_metric(server.port, "sse_connections", 6);
    net_server_stop(&server);
    assert_int_equal(net_answer(&poll, false), 200);
    sse_stream_free(s);
    sse_stream_free(silent);
    net_close(&poll);
    net_close(&stuck);
    net_close(&head);
    net_close(&body);
    net_close(&idle);
}

/* A producer that never ends its stream is told, and then not waited for. */
static void ends_in_spite_of_producers(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .shutdown_ms = 100};
    const sse_batch   *batch;
    sse_queue         *q;
    sse_stream        *s;

    (void)state;
    open_server(NULL, &opts);
    must(sse_queue_new(server.hub, NULL, &q));
    must(sse_stream_new(server.hub, "s", 1, q, NULL, &s));
    sse_server_close(server.server);
    must(sse_queue_wait(q, NET_PATIENCE_MS));
    assert_int_equal(sse_queue_drain(q, 0, &batch), 1);
    assert_int_equal(batch->notes[0].kind, SSE_NOTE_STOP);
    assert_int_equal(batch->notes[0].reason, SSE_REASON_SHUTDOWN);
    net_server_join(&server);
    sse_stream_free(s);
    sse_queue_free(q);
}

/* One that does end it is waited for, and no longer than that. */
static void waits_for_producers(void **state)
{
    sse_server_options opts = {.size = sizeof(opts), .shutdown_ms = SSE_NEVER};
    sse_queue         *q;
    sse_stream        *s;
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    must(sse_queue_new(server.hub, NULL, &q));
    must(sse_stream_new(server.hub, "s", 1, q, NULL, &s));
    net_open(&p, server.port);
    net_ask(&p, "GET", "/api/stream/s", "", NULL);
    assert_true(net_wait_for(&p, "retry: 1000"));
    sse_server_close(server.server);
    must(sse_queue_wait(q, NET_PATIENCE_MS));
    must(sse_stream_end(s, SSE_STATE_CANCELLED, "", 0, "{}", 2, NULL));
    net_server_join(&server);
    assert_int_equal(net_answer(&p, false), 200); /* whole, in its chunks */
    assert_non_null(strstr(p.body + 12, "retry: "));
    assert_true(net_ends(&p));
    net_close(&p);
    sse_stream_free(s);
    sse_queue_free(q);
}

/* ---- Readers that went away without a word ---- */

static uint16_t port_of(int fd, bool peer)
{
    struct sockaddr_in addr = {.sin_family = AF_UNSPEC};
    socklen_t          len = sizeof(addr);
    int rc = peer ? getpeername(fd, (struct sockaddr *)&addr, &len)
                  : getsockname(fd, (struct sockaddr *)&addr, &len);

    return rc == 0 && addr.sin_family == AF_INET ? ntohs(addr.sin_port) : 0;
}

/* The server's end of a connection: this program has both. */
static int server_end(const net_peer *p)
{
    DIR           *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int            found = -1;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (fd > 2 && fd != p->fd && port_of(fd, true) != 0 &&
            port_of(fd, true) == port_of(p->fd, false))
            found = fd;
    }
    closedir(dir);
    return found;
}

static void gives_up_on_unacknowledged_bytes(void **state)
{
    sse_server_options opts = {.size = sizeof(opts),
                               .unacked_timeout_ms = 12345};
    unsigned int       unacked = 0;
    int                no_delay = 0, fd;
    socklen_t          len = sizeof(unacked);
    net_peer           p;

    (void)state;
    open_server(NULL, &opts);
    net_open(&p, server.port);
    assert_int_equal(ask(&p, "GET", "/health", "", NULL), 200);
    fd = server_end(&p);
    assert_true(fd >= 0);
    assert_int_equal(
        getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, &len), 0);
    assert_int_equal(unacked, 12345);
    len = sizeof(no_delay);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len),
                     0);
    assert_int_not_equal(no_delay, 0);
    net_close(&p);
    net_server_stop(&server);
}

/* The limit also holds for one that acknowledges, but reads nothing: its
 * window stays shut. The server drops it, and its log is free again. */
static void gives_up_on_a_shut_window(void **state)
{
    static char        data[1 << 20];
    sse_server_options opts = {.size = sizeof(opts), .unacked_timeout_ms = 200};
    sse_stream        *s;
    net_peer           p;

    (void)state;
    memset(data, 'x', sizeof(data));
    open_server(NULL, &opts);
    must(sse_stream_new(server.hub, "s", 1, NULL, NULL, &s));
    net_open(&p, server.port);
    net_ask(&p, "GET", "/api/stream/s", "", NULL);
    net_await_metric(server.port, "sse_subscribers", 1);
    for (int i = 0; i < 12; i++)
        must(sse_stream_append(s, "", 0, data, sizeof(data) - 1, NULL));
    net_await_metric(server.port, "sse_subscribers", 0);
    net_close(&p);
    sse_stream_free(s);
    net_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_connections),
        cmocka_unit_test(limits_connections_of_a_user),
        cmocka_unit_test(limits_streams_and_readers),
        cmocka_unit_test(limits_heads),
        cmocka_unit_test(limits_bodies),
        cmocka_unit_test(refuses_a_body_it_is_asked_about),
        cmocka_unit_test(limits_the_time_of_a_head),
        cmocka_unit_test(drips_do_not_extend_it),
        cmocka_unit_test(limits_the_time_of_a_body),
        cmocka_unit_test(limits_the_time_between_requests),
        cmocka_unit_test(limits_the_time_of_a_poll),
        cmocka_unit_test(ends_by_the_deadline),
        cmocka_unit_test(ends_in_spite_of_producers),
        cmocka_unit_test(waits_for_producers),
        cmocka_unit_test(gives_up_on_unacknowledged_bytes),
        cmocka_unit_test(gives_up_on_a_shut_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
