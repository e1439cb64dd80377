/* SPDX-License-Identifier: MIT */
/* store_redis_link_test.c - commands, scripts, logins, limits and ends of a
 * link to a Redis that is well. */
#include "support.h"

#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "redis_support.h"

static redis_process redis;

/* ---- Commands ---- */

static void test_commands(void **state)
{
    linked      l;
    const char *argv[] = {"SET", "bin", "a\0\r\n$b"};
    size_t      lens[] = {3, 3, 6};
    answer      set = {0}, get = {0}, wrong = {0};

    (void)state;
    link_to(&l, &redis);
    assert_int_equal(link_send(&l, &set, "PING"), SSE_ERR_STORE);
    assert_int_equal(sse__redis_link_room(l.link), 0);
    link_await_up(&l, 1);
    assert_int_equal(sse__redis_link_room(l.link), 512);
    link_expect(&l, "PING", "PONG");
    link_expect(&l, "SET k v", "OK");
    link_expect(&l, "GET k", "v");
    link_expect(&l, "STRLEN k", "1");

    assert_int_equal(sse__redis_send(l.link, 3, argv, lens, take_answer, &set),
                     SSE_OK);
    assert_int_equal(sse__redis_send(l.link, 3, argv, lens, NULL, NULL),
                     SSE_OK);
    assert_int_equal(link_send(&l, &wrong, "LPUSH bin x"), SSE_OK);
    assert_int_equal(link_send(&l, &get, "GET bin"), SSE_OK);
    AWAIT(get.count);
    assert_string_equal(set.text, "OK");
    assert_int_equal(wrong.type, REDIS_REPLY_ERROR);
    assert_memory_equal(wrong.text, "WRONGTYPE", 9);
    assert_int_equal(get.len, 6);
    assert_int_equal(l.downs, 0);
    assert_int_equal(link_stats(&l).commands, 8);
    assert_int_equal(link_stats(&l).replies, 8);
    assert_int_equal(link_stats(&l).errors, 1);
    link_close(&l);
}

/* All commands of one turn leave in one write, and their replies come in their
 * order. */
static void test_cork(void **state)
{
    enum { COUNT = 500 };
    static answer    answers[COUNT];
    linked           l;
    char             command[32];
    sse__redis_stats before;

    (void)state;
    link_to(&l, &redis);
    link_await_up(&l, 1);
    link_expect(&l, "DEL n", "0");
    before = link_stats(&l);
    for (int i = 0; i < COUNT; i++) {
        snprintf(command, sizeof(command), "INCRBY n 1");
        assert_int_equal(link_send(&l, &answers[i], command), SSE_OK);
    }
    assert_int_equal(link_stats(&l).writes, before.writes);
    assert_true(link_stats(&l).queued_bytes >= COUNT * 10);
    assert_int_equal(link_stats(&l).in_flight, COUNT);
    AWAIT(answers[COUNT - 1].count);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(answers[i].integer, i + 1);
    assert_int_equal(link_stats(&l).writes, before.writes + 1);
    assert_int_equal(link_stats(&l).queued_bytes, 0);
    assert_int_equal(link_stats(&l).in_flight, 0);
    link_expect(&l, "DEL n", "1");
    link_close(&l);
}

static char big[8 << 20];

static void take_big(void *user, int err, const redisReply *reply)
{
    assert_int_equal(err, SSE_OK);
    assert_int_equal(reply->len, sizeof(big));
    assert_memory_equal(reply->str, big, sizeof(big));
    *(bool *)user = true;
}

/* More than a socket takes at once, both ways. */
static void test_big_values(void **state)
{
    linked      l;
    const char *argv[] = {"SET", "big", big};
    size_t      lens[] = {3, 3, sizeof(big)};
    bool        came = false;
    answer      set = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 2654435761u >> 24);
    link_to(&l, &redis);
    link_await_up(&l, 1);
    assert_int_equal(sse__redis_send(l.link, 3, argv, lens, take_answer, &set),
                     SSE_OK);
    assert_int_equal(sse__redis_send(l.link, 2, (const char *[]){"GET", "big"},
                                     NULL, take_big, &came),
                     SSE_OK);
    AWAIT(came);
    assert_int_equal(link_stats(&l).queued_bytes, 0);
    assert_true(link_stats(&l).bytes_in > sizeof(big));
    assert_true(link_stats(&l).bytes_out > sizeof(big));
    link_expect(&l, "DEL big", "1");
    link_close(&l);
}

static void test_round_trips_are_counted(void **state)
{
    linked           l;
    sse__redis_stats s;
    uint64_t         sum = 0;

    (void)state;
    link_to(&l, &redis);
    link_await_up(&l, 1);
    link_expect(&l, "PING", "PONG");
    link_expect(&l, "DEBUG SLEEP 0.1", "OK");
    s = link_stats(&l);
    for (int i = 0; i < SSE__REDIS_RTT_BUCKETS; i++)
        sum += s.rtt_counts[i];
    assert_int_equal(sum, 2);
    assert_true(s.rtt_last_us >= 100000);
    assert_true(s.rtt_max_us >= s.rtt_last_us);
    assert_true(s.rtt_sum_us > s.rtt_max_us);
    assert_int_equal(s.timeouts, 0);
    assert_int_equal(l.downs, 0);
    link_close(&l);
}

/* ---- Scripts ---- */

#define SCRIPT(text) \
    { \
        text, sizeof(text) - 1 \
    }

static const sse__redis_script scripts[] = {
    SCRIPT("return {KEYS[1], ARGV[1]}"),
    SCRIPT("return redis.call('SET', KEYS[1], ARGV[1])"),
    SCRIPT("return #KEYS .. ' ' .. #ARGV"),
};

static void open_with_scripts(linked *l, redis_process *r)
{
    link_prepare(l, "unix://%s", r->socket);
    l->opts.scripts = scripts;
    l->opts.script_count = 3;
    link_open(l);
    link_await_up(l, 1);
}

static void test_scripts(void **state)
{
    linked l;
    answer set = {0}, counts = {0};

    (void)state;
    open_with_scripts(&l, &redis);
    assert_int_equal(link_eval(&l, &set, 1, 1, "k2 v2"), SSE_OK);
    assert_int_equal(link_eval(&l, &counts, 2, 2, "a b c d e"), SSE_OK);
    AWAIT(counts.count);
    assert_string_equal(set.text, "OK");
    assert_string_equal(counts.text, "2 3");
    link_expect(&l, "GET k2", "v2");
    assert_int_equal(link_eval(&l, &set, 3, 0, ""), SSE_ERR_INVAL);
    link_close(&l);
}

/* The command is told what Redis said, and the next handshake loads anew. */
static void test_flushed_scripts(void **state)
{
    linked l;
    answer a = {0};

    (void)state;
    open_with_scripts(&l, &redis);
    redis_do(&redis, "SCRIPT FLUSH");
    assert_int_equal(link_eval(&l, &a, 2, 0, ""), SSE_OK);
    AWAIT(l.ups >= 2);
    assert_int_equal(a.err, SSE_OK);
    assert_memory_equal(a.text, "NOSCRIPT", 8);
    assert_int_equal(l.downs, 1);
    assert_int_equal(l.fatals, 0);
    assert_non_null(strstr(l.why, "NOSCRIPT"));
    assert_int_equal(link_eval(&l, &a, 2, 0, ""), SSE_OK);
    AWAIT(a.count);
    assert_string_equal(a.text, "0 0");
    link_close(&l);
}

/* ---- Handshakes ---- */

static void test_database_and_name(void **state)
{
    linked      l;
    redisReply *clients;

    (void)state;
    link_prepare(&l, "unix://%s?db=3", redis.socket);
    l.opts.client_name = "sse-of-mine";
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "SET where here", "OK");
    clients = redis_ask(&redis, "CLIENT LIST");
    assert_non_null(strstr(clients->str, "name=sse-of-mine"));
    freeReplyObject(clients);
    clients = redis_ask(&redis, "GET where");
    assert_int_equal(clients->type, REDIS_REPLY_NIL);
    freeReplyObject(clients);
    link_close(&l);

    link_prepare(&l, "unix://%s?db=99", redis.socket);
    link_open(&l);
    AWAIT(l.fatals);
    assert_non_null(strstr(l.why, "DB index"));
    link_close(&l);
}

static void test_password(void **state)
{
    redis_process locked;
    linked        l;

    (void)state;
    redis_prepare(&locked, 0, "requirepass hunter2");
    locked.password = "hunter2";
    redis_start(&locked);
    link_prepare(&l, "unix://:hunter2@%s", locked.socket);
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "PING", "PONG");
    assert_int_equal(l.downs, 0);
    link_close(&l);

    /* One that is wrong is tried again, since it may become right. */
    link_prepare(&l, "unix://:hunter3@%s", locked.socket);
    link_open(&l);
    AWAIT(l.fatals >= 2);
    assert_non_null(strstr(l.why, "WRONGPASS"));
    assert_null(strstr(l.why, "hunter"));
    assert_string_equal(sse__redis_link_why(l.link), l.why);
    assert_true(sse__redis_link_is_fatal(l.link));
    redis_do(&locked, "CONFIG SET requirepass hunter3");
    locked.password = "hunter3";
    link_await_up(&l, 1);
    link_close(&l);

    link_to(&l, &locked);
    AWAIT(l.fatals);
    assert_non_null(strstr(l.why, "NOAUTH"));
    link_close(&l);
    redis_remove(&locked);
}

/* The least that a user of its own needs, and what lacks. */
static void test_user(void **state)
{
    linked l;
    answer a = {0};

    (void)state;
    redis_do(&redis, "ACL SETUSER ann on >x ~sse:* &sse:* +role +publish "
                     "+client|setname +script|load +evalsha +get");
    link_prepare(&l, "unix://ann:x@%s", redis.socket);
    l.opts.scripts = scripts;
    l.opts.script_count = 3;
    link_open(&l);
    link_await_up(&l, 1);
    assert_int_equal(link_send(&l, &a, "GET other"), SSE_OK);
    AWAIT(a.count);
    assert_memory_equal(a.text, "NOPERM", 6);
    link_expect(&l, "GET sse:x", "");
    assert_int_equal(l.downs, 0);
    link_close(&l);

    redis_do(&redis, "ACL SETUSER ann -client|setname");
    link_prepare(&l, "unix://ann:x@%s", redis.socket);
    link_open(&l);
    link_await_up(&l, 1);
    link_close(&l);

    redis_do(&redis, "ACL SETUSER ann resetchannels");
    link_prepare(&l, "unix://ann:x@%s", redis.socket);
    link_open(&l);
    AWAIT(l.fatals);
    assert_non_null(strstr(l.why, "NOPERM"));
    link_close(&l);
    redis_do(&redis, "ACL DELUSER ann");
}

/* ---- Names ---- */

typedef int resolve_fn(const char *, const char *, const struct addrinfo *,
                       struct addrinfo **);

/* Stands in front of the system's, which it asks: one name more is known here,
 * of two addresses, and one is not, without a question to the network. */
__attribute__((visibility("default"))) int getaddrinfo(
    const char *restrict node, const char *restrict service,
    const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    resolve_fn *real;
    int         rc;

    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (strcmp(node, "no.such.name.invalid") == 0)
        return EAI_NONAME;
    if (strcmp(node, "two.invalid") != 0)
        return real(node, service, hints, out);
    rc = real("127.0.0.2", service, hints, out);
    return rc ? rc : real("127.0.0.1", service, hints, &(*out)->ai_next);
}

/* A name that has more addresses than the server listens on. */
static void test_two_addresses(void **state)
{
    linked l;

    (void)state;
    link_prepare(&l, "redis://two.invalid:%u", redis.port);
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "PING", "PONG");
    assert_int_equal(l.downs, 0);
    redis_do(&redis, "CLIENT KILL TYPE normal");
    link_await_up(&l, 2);
    assert_int_equal(l.downs, 1);
    link_close(&l);

    link_prepare(&l, "redis://two.invalid:1");
    link_open(&l);
    AWAIT(l.downs == 1);
    assert_non_null(strstr(l.why, "connection refused"));
    link_close(&l);
}

static void test_names(void **state)
{
    linked l;

    (void)state;
    link_prepare(&l, "redis://localhost:%u", redis.port);
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "PING", "PONG");
    assert_int_equal(l.downs, 0);
    link_close(&l);

    link_prepare(&l, "redis://no.such.name.invalid");
    link_open(&l);
    AWAIT(l.downs >= 2);
    assert_memory_equal(l.why, "no.such.name.invalid:6379: ", 27);
    assert_int_equal(l.fatals, 0);
    link_close(&l);
}

/* ---- Limits ---- */

static void test_limits(void **state)
{
    linked      l;
    answer      a[4] = {{0}};
    const char *argv[] = {"SET", "big", big};
    size_t      lens[] = {3, 3, 40000};

    (void)state;
    link_prepare(&l, "unix://%s", redis.socket);
    l.opts.max_in_flight = 3;
    l.opts.max_queued_bytes = 65536;
    l.opts.max_reply_bytes = 30000;
    link_open(&l);
    link_await_up(&l, 1);
    assert_int_equal(sse__redis_link_room(l.link), 3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(link_send(&l, &a[i], "PING"),
                         i < 3 ? SSE_OK : SSE_ERR_LIMIT);
    assert_int_equal(sse__redis_link_room(l.link), 0);
    AWAIT(a[2].count);
    assert_int_equal(sse__redis_link_room(l.link), 3);

    memset(&a, 0, sizeof(a));
    assert_int_equal(sse__redis_send(l.link, 3, argv, lens, take_answer, &a[0]),
                     SSE_OK);
    assert_int_equal(sse__redis_send(l.link, 3, argv, lens, NULL, NULL),
                     SSE_ERR_LIMIT);
    lens[2] = 65536;
    assert_int_equal(sse__redis_send(l.link, 3, argv, lens, NULL, NULL),
                     SSE_ERR_TOO_BIG);
    AWAIT(a[0].count);
    assert_string_equal(a[0].text, "OK");

    link_expect(&l, "SETRANGE big 299999 x", "300000");
    assert_int_equal(link_send(&l, &a[1], "GET big"), SSE_OK);
    AWAIT(a[1].count);
    assert_int_equal(a[1].err, SSE_ERR_STORE);
    AWAIT(l.ups >= 2);
    assert_non_null(strstr(l.why, "longer than the limit"));
    link_expect(&l, "DEL big", "1");
    link_close(&l);
}

/* ---- Ends ---- */

/* In whatever state the link is after so many turns, it can be closed. */
static void close_after(const char *url, const char *socket, unsigned turns,
                        bool *was_up)
{
    linked l;
    answer a = {0};
    bool   sent = false;

    link_prepare(&l, url, socket);
    l.opts.scripts = scripts;
    l.opts.script_count = 3;
    link_open(&l);
    for (unsigned i = 0; i < turns && l.ups == 0; i++)
        redis_turn();
    *was_up = l.ups > 0;
    if (*was_up)
        sent = link_send(&l, &a, "PING") == SSE_OK;
    sse__redis_link_close(l.link, 0);
    sse__redis_link_close(l.link, 5);
    assert_int_equal(a.count, 0);
    assert_int_equal(link_send(&l, &(answer){0}, "PING"), SSE_ERR_CLOSED);
    link_close(&l);
    assert_int_equal(a.count, sent);
    assert_int_equal(a.err, sent ? SSE_ERR_STORE : 0);
}

static void test_close_in_every_state(void **state)
{
    static const char *const urls[] = {"unix://%s", "redis://localhost:1",
                                       "unix://%s.not"};
    bool                     was_up;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (unsigned turns = 0; turns < 12; turns++)
            close_after(urls[i], redis.socket, turns, &was_up);
    close_after(urls[0], redis.socket, 10000, &was_up);
    assert_true(was_up);
}

static void test_close_in_events(void **state)
{
    linked l;
    answer a = {0}, after = {0};

    (void)state;
    link_prepare(&l, "unix://%s", redis.socket);
    l.close_on_up = true;
    link_open(&l);
    AWAIT(!l.link);
    link_close(&l);

    link_prepare(&l, "unix://%s.not", redis.socket);
    l.close_on_down = true;
    link_open(&l);
    AWAIT(!l.link);
    link_close(&l);

    link_to(&l, &redis);
    link_await_up(&l, 1);
    a.close = l.link;
    assert_int_equal(link_send(&l, &a, "PING"), SSE_OK);
    assert_int_equal(link_send(&l, &after, "PING"), SSE_OK);
    AWAIT(!l.link);
    assert_string_equal(a.text, "PONG");
    assert_int_equal(after.err, SSE_ERR_STORE);
    assert_int_equal(l.downs, 0);
    link_close(&l);

    /* In the first of two that are lost. */
    link_to(&l, &redis);
    link_await_up(&l, 1);
    a.close = l.link;
    assert_int_equal(link_send(&l, &a, "QUIT"), SSE_OK);
    assert_int_equal(link_send(&l, &after, "PING"), SSE_OK);
    AWAIT(!l.link);
    assert_int_equal(after.err, SSE_ERR_STORE);
    link_close(&l);
}

/* What is due is waited for; what cannot come is not. */
static void test_drain(void **state)
{
    linked l;
    answer a = {0}, b = {0};

    (void)state;
    link_to(&l, &redis);
    link_await_up(&l, 1);
    assert_int_equal(link_send(&l, &a, "DEBUG SLEEP 0.05"), SSE_OK);
    assert_int_equal(link_send(&l, &b, "PING"), SSE_OK);
    sse__redis_link_close(l.link, 20000);
    assert_int_equal(sse__redis_link_room(l.link), 0);
    assert_int_equal(link_send(&l, &(answer){0}, "PING"), SSE_ERR_CLOSED);
    AWAIT(!l.link);
    assert_string_equal(a.text, "OK");
    assert_string_equal(b.text, "PONG");
    link_close(&l);

    link_to(&l, &redis);
    link_await_up(&l, 1);
    assert_int_equal(link_send(&l, &a, "BLPOP never 0"), SSE_OK);
    sse__redis_link_close(l.link, 1);
    AWAIT(!l.link);
    assert_int_equal(a.err, SSE_ERR_STORE);
    link_close(&l);
}

/* ---- No memory ---- */

static void no_memory(void)
{
    const sse__redis_link_options opts = {.scripts = scripts,
                                          .script_count = 3};
    char                          url[128];

    snprintf(url, sizeof(url), "unix://%s", redis.socket);
    link_short_of_memory(url, &opts);
}

static void no_memory_by_name(void)
{
    const sse__redis_link_options opts = {.client_name = "test"};
    char                          url[128];

    snprintf(url, sizeof(url), "redis://localhost:%u/1", redis.port);
    link_short_of_memory(url, &opts);
}

static int set_up(void **state)
{
    redis_new(&redis, REDIS_PORT, "");
    return redis_set_up(state);
}

static int tear_down(void **state)
{
    redis_remove(&redis);
    return redis_tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_cork),
        cmocka_unit_test(test_big_values),
        cmocka_unit_test(test_round_trips_are_counted),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_flushed_scripts),
        cmocka_unit_test(test_database_and_name),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_two_addresses),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_close_in_every_state),
        cmocka_unit_test(test_close_in_events),
        cmocka_unit_test(test_drain),
        FAIL_ALLOC_TEST(no_memory),
        FAIL_ALLOC_TEST(no_memory_by_name),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
