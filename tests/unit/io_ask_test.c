/* SPDX-License-Identifier: MIT */
/* io_ask_test.c - requests that wait for the store, and what becomes of them
 * when its answer comes at a bad moment, or not at all. */
#include "support.h"

#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net_support.h"
#include "redis_support.h"
#include "server.h"
#include "store.h"

static net_server server;

static void must(int rc)
{
    net_check(rc >= 0, sse_strerror(rc));
}

/* ---- An answer at a bad moment ---- */

static redis_process redis;
static sem_t         entered, go_on;

static void on_request(sse_request *r, void *user)
{
    (void)user;
    sem_post(&entered);
    sem_wait(&go_on);
    must(sse_request_respond(r, 200, "text/plain", 10, "", 0));
}

static bool has_answer(void)
{
    bool has;

    must(sse__hub_enter(server.hub));
    has = !sse__list_empty(&server.server->answers);
    sse__hub_leave(server.hub);
    return has;
}

static void serve_with_redis(void)
{
    /* Redis stands still for as long as this program does. */
    sse_store_options opts = {.size = sizeof(opts), .command_ms = 60000};
    char              url[120];
    int               len;

    redis_new(&redis, 0, "");
    len =
        snprintf(url, sizeof(url), "unix://%s?timeout_ms=60000", redis.socket);
    net_server_new(&server, NULL, NULL);
    must(sse_hub_set_store(server.hub, url, (size_t)len, &opts));
    must(sse_server_on_request(server.server, on_request, NULL));
    sem_init(&entered, 0, 0);
    sem_init(&go_on, 0, 0);
    net_server_run(&server);
}

/* The loop stands still, in what a flush has led to, while the answer comes and
 * the server is told to close. */
static void an_answer_that_comes_before_a_close(void **state)
{
    static const char poll[] =
        "GET /api/stream/t?transport=poll HTTP/1.1\r\nHost: t\r\n\r\n"
        "GET /stand/still HTTP/1.1\r\nHost: t\r\n\r\n";
    net_peer    caller, other;
    sse_stream *t;

    (void)state;
    serve_with_redis();
    must(sse_stream_new(server.hub, "t", 1, NULL, NULL, &t));
    net_open(&caller, server.port);
    net_check(net_do(&caller, "POST", "/api/stream", "",
                     "{\"streamId\":\"s\"}") == 201,
              "a stream");
    redis_pause(&redis);
    net_ask(&caller, "DELETE", "/api/stream/s", "", NULL);
    net_await_metric(server.port, "sse_streams{state=\"active\"}", 1);
    net_open(&other, server.port);
    net_say(&other, poll);
    net_await_metric(server.port, "sse_subscribers", 1);
    must(sse_stream_append(t, "", 0, "x", 1, NULL));
    sem_wait(&entered);
    redis_resume(&redis);
    while (!has_answer())
        usleep(1000);
    sse_server_close(server.server);
    sem_post(&go_on);
    assert_int_equal(net_answer(&caller, false), 204);
    assert_int_equal(net_answer(&other, false), 200);
    assert_int_equal(net_answer(&other, false), 200);
    net_close(&caller);
    net_close(&other);
    sse_stream_free(t);
    net_server_join(&server);
    redis_remove(&redis);
}

/* ---- An engine that has lost what it was asked ---- */

typedef struct mute {
    sse__store base;
    sse__link  asked;
} mute;

static void keep(sse__store *store, sse__op *op)
{
    sse__list_add(&((mute *)(void *)store)->asked, &op->link);
}

static void look_away(sse__store *store)
{
    (void)store;
}

static bool is_elsewhere(const sse__store *store)
{
    (void)store;
    return false;
}

static void end(sse__store *store, uint32_t drain_ms)
{
    sse__link *asked = &((mute *)(void *)store)->asked;

    (void)drain_ms;
    must(sse__hub_enter(store->hub));
    while (!sse__list_empty(asked))
        sse__op_finish(store->hub, SSE__OWNER(asked->next, sse__op, link),
                       SSE_ERR_CLOSED);
    sse__hub_leave(store->hub);
}

static int seems_up(sse__store *store, const char **why)
{
    (void)store;
    *why = "";
    return 1;
}

static void no_answer(void **state)
{
    static const sse__store_ops ops = {.submit = keep,
                                       .ring = look_away,
                                       .is_here = is_elsewhere,
                                       .close = end,
                                       .free = look_away,
                                       .is_up = seems_up};
    mute     m = {.base = {.ops = &ops, .opts = {.command_ms = 50}}};
    net_peer p;

    (void)state;
    sse__list_init(&m.asked);
    net_server_new(&server, NULL, NULL);
    m.base.hub = server.hub;
    server.hub->store = &m.base;
    net_server_run(&server);
    net_open(&p, server.port);
    net_say(&p, "DELETE /api/stream/s HTTP/1.1\r\nHost: t\r\n\r\n"
                "GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_int_equal(net_answer(&p, false), 503);
    assert_non_null(strstr(p.body, "store_unavailable"));
    assert_int_equal(net_answer(&p, false), 200);
    net_close(&p);
    net_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_that_comes_before_a_close),
        cmocka_unit_test(no_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
