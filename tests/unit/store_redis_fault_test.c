/* SPDX-License-Identifier: MIT */
/* store_redis_fault_test.c - a link to a Redis that is away, killed, stopped,
 * demoted, or no Redis at all. */
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "redis_support.h"

/* ---- Away ---- */

static void test_down_at_start(void **state)
{
    redis_process redis;
    linked        l;
    answer        a = {0};

    (void)state;
    redis_prepare(&redis, REDIS_PORT, "");
    link_prepare(&l, "redis://127.0.0.1:%u", redis.port);
    link_open(&l);
    assert_string_equal(sse__redis_link_why(l.link), "");
    AWAIT(l.downs >= 3);
    assert_int_equal(link_send(&l, &a, "PING"), SSE_ERR_STORE);
    assert_int_equal(link_stats(&l).failures, l.downs);
    assert_int_equal(link_stats(&l).downs, 0);
    assert_non_null(strstr(l.why, "connection refused"));
    assert_string_equal(sse__redis_link_why(l.link), l.why);
    assert_int_equal(l.fatals, 0);
    redis_start(&redis);
    link_await_up(&l, 1);
    link_expect(&l, "PING", "PONG");
    link_close(&l);
    redis_remove(&redis);
}

static void test_killed_and_restarted(void **state)
{
    redis_process redis;
    linked        l;
    answer        a = {0}, b = {0};

    (void)state;
    redis_new(&redis, REDIS_PORT, "");
    link_prepare(&l, "redis://127.0.0.1:%u", redis.port);
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "PING", "PONG");
    assert_int_equal(link_send(&l, &a, "BLPOP never 0"), SSE_OK);
    assert_int_equal(link_send(&l, &b, "PING"), SSE_OK);
    redis_turn();
    redis_kill(&redis);
    AWAIT(l.downs);
    assert_int_equal(a.err, SSE_ERR_STORE);
    assert_int_equal(b.err, SSE_ERR_STORE);
    assert_int_equal(link_stats(&l).lost, 2);
    assert_int_equal(link_stats(&l).downs, 1);
    assert_int_not_equal(sse__redis_link_state_of(l.link), SSE__REDIS_LINK_UP);
    redis_start(&redis);
    link_await_up(&l, 2);
    link_expect(&l, "PING", "PONG");
    assert_int_equal(link_stats(&l).ups, 2);
    link_close(&l);
    redis_remove(&redis);
}

static void test_client_kill(void **state)
{
    redis_process redis;
    linked        l;

    (void)state;
    redis_new(&redis, 0, "");
    link_to(&l, &redis);
    for (unsigned i = 1; i <= 5; i++) {
        link_await_up(&l, i);
        link_expect(&l, "PING", "PONG");
        redis_do(&redis, "CLIENT KILL TYPE normal");
    }
    link_await_up(&l, 6);
    assert_int_equal(l.downs, 5);
    assert_int_equal(link_stats(&l).downs, 5);
    assert_non_null(strstr(l.why, "closed"));
    link_close(&l);
    redis_remove(&redis);
}

/* ---- Stopped ---- */

static void test_stopped(void **state)
{
    redis_process redis;
    linked        l;
    answer        a = {0}, b = {0};
    unsigned      downs;
    uint64_t      timeouts;

    (void)state;
    redis_new(&redis, 0, "");
    link_prepare(&l, "unix://%s", redis.socket);
    l.opts.reply_ms = 100;
    l.opts.connect_ms = 100;
    link_open(&l);
    AWAIT(l.ups);
    downs = l.downs;
    timeouts = link_stats(&l).timeouts;
    redis_pause(&redis);
    assert_int_equal(link_send(&l, &a, "INCR n"), SSE_OK);
    assert_int_equal(link_send(&l, &b, "PING"), SSE_OK);
    AWAIT(l.downs == downs + 1);
    assert_int_equal(a.err, SSE_ERR_STORE);
    assert_int_equal(b.err, SSE_ERR_STORE);
    assert_non_null(strstr(l.why, "no answer in time"));
    assert_int_equal(link_stats(&l).timeouts, timeouts + 1);

    /* The system still takes connections for it. */
    AWAIT(strstr(l.why, "no answer to the handshake"));
    assert_int_equal(link_stats(&l).timeouts - timeouts, l.downs - downs);
    redis_resume(&redis);
    downs = l.ups;
    AWAIT(l.ups > downs);
    link_close(&l);
    redis_remove(&redis);
}

/* Replies that lie in the socket while this thread is held up are not late. */
static void test_held_up_ourselves(void **state)
{
    redis_process redis;
    linked        l;
    answer        a = {0};

    (void)state;
    redis_new(&redis, 0, "");
    link_prepare(&l, "unix://%s", redis.socket);
    l.opts.reply_ms = 50;
    link_open(&l);
    link_await_up(&l, 1);
    redis_do(&redis, "CONFIG RESETSTAT");
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(link_send(&l, &a, "ECHO x"), SSE_OK);
        uv_run(&redis_loop, UV_RUN_NOWAIT); /* it leaves */
        while (redis_info(&redis, "commandstats", "cmdstat_echo:calls=") < i)
            usleep(1000);
        redis_info(&redis, "server", ""); /* now the reply is sent, too */
        usleep(100000);
        AWAIT(a.count);
        assert_int_equal(a.err, SSE_OK);
    }
    assert_int_equal(l.downs, 0);
    link_close(&l);
    redis_remove(&redis);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* A link with nothing to wait for is left alone. */
static void test_idle(void **state)
{
    redis_process redis;
    linked        l, other;
    answer        a = {0};
    uint64_t      until;
    unsigned      downs;

    (void)state;
    redis_new(&redis, 0, "");
    link_prepare(&l, "unix://%s", redis.socket);
    l.opts.reply_ms = 20;
    link_open(&l);
    do {
        AWAIT(sse__redis_link_room(l.link) > 0);
        assert_int_equal(link_send(&l, &a, "PING"), SSE_OK);
        AWAIT(a.count);
    } while (a.err < 0); /* it may take longer than that, of course */
    downs = l.downs;
    redis_pause(&redis);
    link_prepare(&other, "unix://%s.not", redis.socket); /* gives turns */
    link_open(&other);
    for (until = now_ms() + 150; now_ms() < until;)
        redis_turn();
    assert_int_equal(l.downs, downs);
    assert_int_equal(sse__redis_link_state_of(l.link), SSE__REDIS_LINK_UP);
    redis_resume(&redis);
    link_close(&other);
    link_close(&l);
    redis_remove(&redis);
}

/* ---- Demoted ---- */

static void test_replica(void **state)
{
    redis_process redis;
    linked        l;
    answer        a = {0};

    (void)state;
    redis_new(&redis, 0, "");
    link_to(&l, &redis);
    link_await_up(&l, 1);
    redis_do(&redis, "REPLICAOF 127.0.0.1 1");
    if (l.downs == 0 && link_send(&l, &a, "SET k v") == SSE_OK) {
        AWAIT(a.count);
        assert_int_equal(a.err, SSE_OK);
        assert_memory_equal(a.text, "READONLY", 8);
    }
    AWAIT(l.downs >= 3);
    assert_non_null(strstr(l.why, "it is a replica"));
    assert_int_equal(l.fatals, 0);
    redis_do(&redis, "REPLICAOF NO ONE");
    AWAIT(l.ups == 2);
    link_expect(&l, "SET k v", "OK");
    link_close(&l);
    redis_remove(&redis);
}

/* ---- No Redis ---- */

/* A peer that answers whatever it gets with the same bytes. */
static struct peer {
    uv_tcp_t    server, client;
    int         port;
    const char *says;
    bool        has_client, hangs_up;
} peer;

static void on_peer_closed(uv_handle_t *handle)
{
    if (handle == (uv_handle_t *)&peer.client)
        peer.has_client = false;
    else
        peer.port = 0;
}

static void peer_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    static char bytes[4096];

    (void)handle, (void)size;
    *buf = uv_buf_init(bytes, sizeof(bytes));
}

static void peer_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)peer.says,
                               (unsigned int)strlen(peer.says));

    (void)buf;
    if (n > 0 && out.len > 0)
        uv_try_write(stream, &out, 1);
    if ((n < 0 || peer.hangs_up) && !uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, on_peer_closed);
}

static void peer_accept(uv_stream_t *server, int status)
{
    assert_int_equal(status, 0);
    assert_false(peer.has_client);
    uv_tcp_init(&redis_loop, &peer.client);
    assert_int_equal(uv_accept(server, (uv_stream_t *)&peer.client), 0);
    peer.has_client = true;
    uv_read_start((uv_stream_t *)&peer.client, peer_alloc, peer_read);
}

static void peer_open(const char *says, bool hangs_up)
{
    struct sockaddr_in addr;
    int                len = sizeof(addr);

    peer = (struct peer){.says = says, .hangs_up = hangs_up};
    uv_ip4_addr("127.0.0.1", 0, &addr);
    uv_tcp_init(&redis_loop, &peer.server);
    uv_tcp_bind(&peer.server, (struct sockaddr *)&addr, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&peer.server, 8, peer_accept), 0);
    uv_tcp_getsockname(&peer.server, (struct sockaddr *)&addr, &len);
    peer.port = ntohs(addr.sin_port);
}

static void peer_close(void)
{
    uv_close((uv_handle_t *)&peer.server, on_peer_closed);
    if (peer.has_client && !uv_is_closing((uv_handle_t *)&peer.client))
        uv_close((uv_handle_t *)&peer.client, on_peer_closed);
    AWAIT(peer.port == 0 && !peer.has_client);
}

static const char *const role = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";

static void test_other_peers(void **state)
{
    static const struct {
        const char *says, *why;
        bool        hangs_up, fatal;
    } rows[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", "no reply of Redis's", 0, 0},
        {"", "the connection was closed", true, false},
        {"-ERR max number of clients reached\r\n", "max number of", 1, 0},
        {"-LOADING Redis is loading\r\n", "LOADING", false, false},
        {"-BUSY Redis is busy\r\n", "BUSY", false, false},
        {"-DENIED Redis is running in protected mode\r\n", "DENIED", 0, true},
        {"*1\r\n$8\r\nsentinel\r\n", "it is a Sentinel", false, true},
        {"+master\r\n", "it is a replica", false, false},
        {"*0\r\n", "it is a replica", false, false},
        {"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n+more\r\n", "nobody had asked", 0,
         0},
        {"*2\r\n$6\r\nmaster\r\n$-5\r\n", "no reply of Redis's", 0, 0},
        {"", "no answer to the handshake", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        linked l;

        peer_open(rows[i].says, rows[i].hangs_up);
        link_prepare(&l, "redis://127.0.0.1:%d", peer.port);
        l.opts.client_name = l.opts.probe_channel = NULL;
        if (!*rows[i].says && !rows[i].hangs_up)
            l.opts.connect_ms = 3000; /* enough to get as far as that */
        l.close_on_down = true;
        link_open(&l);
        AWAIT(!l.link);
        if (!strstr(l.why, rows[i].why))
            fail_msg("%zu: %s", i, l.why);
        assert_int_equal(l.fatals, rows[i].fatal);
        link_close(&l);
        peer_close();
    }
}

/* A peer that repeats the password does not get it into our logs. */
static void test_secret(void **state)
{
    static const char *const urls[] = {
        "redis://:hunter2@127.0.0.1:%d",
        "redis+sentinel://127.0.0.1:%d/m?sentinel_password=hunter2",
    };

    (void)state;
    for (int i = 0; i < 2; i++) {
        linked l;

        peer_open("-ERR unknown command `AUTH`, with args beginning with: "
                  "`hunter2`, \r\n",
                  false);
        link_prepare(&l, urls[i], peer.port);
        l.close_on_down = true;
        link_open(&l);
        AWAIT(!l.link);
        assert_null(strstr(l.why, "hunter2"));
        assert_non_null(strstr(l.why, "the login was refused"));
        link_close(&l);
        peer_close();
    }
}

/* An answer that comes one byte a time is one answer. */
static void test_pieces(void **state)
{
    linked l;

    (void)state;
    peer_open("", false);
    link_prepare(&l, "redis://127.0.0.1:%d", peer.port);
    l.opts.client_name = l.opts.probe_channel = NULL;
    link_open(&l);
    AWAIT(sse__redis_link_state_of(l.link) == SSE__REDIS_LINK_HANDSHAKE &&
          peer.has_client);
    for (const char *at = role; *at; at++) {
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)at, 1);
        uint64_t before = link_stats(&l).bytes_in;

        assert_int_equal(l.ups, 0);
        assert_int_equal(uv_try_write((uv_stream_t *)&peer.client, &buf, 1), 1);
        AWAIT(link_stats(&l).bytes_in > before);
    }
    link_await_up(&l, 1);
    link_close(&l);
    peer_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_down_at_start),
        cmocka_unit_test(test_killed_and_restarted),
        cmocka_unit_test(test_client_kill),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_held_up_ourselves),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_other_peers),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_pieces),
    };

    return cmocka_run_group_tests(tests, redis_set_up, redis_tear_down);
}
