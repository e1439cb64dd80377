/* SPDX-License-Identifier: MIT */
/* store_redis_sentinel_test.c - a link that finds its master by Sentinels. */
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "redis_support.h"

static redis_process first, second, sentinel;

static void start_replica_of(redis_process *r, uint32_t port)
{
    char config[128];

    snprintf(config, sizeof(config),
             "replicaof 127.0.0.1 %u\nrepl-diskless-sync-delay 0\n"
             "repl-ping-replica-period 1",
             port);
    redis_new(r, REDIS_PORT, config);
    for (int ms = 0; redis_info(r, "replication", "master_link_status:up") < 0;
         ms += 5) {
        assert_true(ms < 30000);
        usleep(5000);
    }
}

/* One that takes a slow master for a dead one only when it is told to. */
static void start_sentinel(redis_process *r, uint32_t port, const char *more)
{
    char config[512];

    snprintf(config, sizeof(config),
             "sentinel monitor main 127.0.0.1 %u 1\n"
             "sentinel down-after-milliseconds main 60000\n"
             "sentinel failover-timeout main 2000\n%s",
             port, more);
    redis_new(r, REDIS_PORT | REDIS_SENTINEL, config);
}

static int set_up(void **state)
{
    redis_new(&first, REDIS_PORT, "repl-diskless-sync-delay 0");
    start_replica_of(&second, first.port);
    start_sentinel(&sentinel, first.port, "");
    return redis_set_up(state);
}

static int tear_down(void **state)
{
    redis_remove(&sentinel);
    redis_remove(&second);
    redis_remove(&first);
    return redis_tear_down(state);
}

/* ---- Asking ---- */

static void test_finds_master(void **state)
{
    linked      l;
    redisReply *reply;

    (void)state;
    link_prepare(&l, "redis+sentinel://127.0.0.1:%u/main/1", sentinel.port);
    link_open(&l);
    link_await_up(&l, 1);
    assert_int_equal(l.downs, 0);
    link_expect(&l, "SET found yes", "OK");
    reply = redis_ask(&first, "GET found"); /* in database 0 */
    assert_int_equal(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
    link_close(&l);
}

/* One that is not there, one that is no Sentinel, then one that is. */
static void test_asks_each(void **state)
{
    linked l;

    (void)state;
    link_prepare(&l,
                 "redis+sentinel://127.0.0.1:1,127.0.0.1:%u,127.0.0.1:%u"
                 "/main",
                 second.port, sentinel.port);
    link_open(&l);
    link_await_up(&l, 1);
    assert_int_equal(l.downs, 0);
    link_close(&l);
}

/* The first names a master that is not there: the next is asked. */
static void test_asks_another(void **state)
{
    redis_process behind;
    linked        l;

    (void)state;
    start_sentinel(&behind, 1, "");
    link_prepare(&l, "redis+sentinel://127.0.0.1:%u,127.0.0.1:%u/main",
                 behind.port, sentinel.port);
    link_open(&l);
    link_await_up(&l, 1);
    assert_int_equal(l.downs, 1);
    assert_non_null(strstr(l.why, "connection refused"));
    link_close(&l);
    redis_remove(&behind);
}

static void assert_down(const char *url, uint32_t port, const char *why)
{
    linked l;

    link_prepare(&l, url, port);
    link_open(&l);
    AWAIT(l.downs >= 2);
    if (!strstr(l.why, why))
        fail_msg("%s", l.why);
    link_close(&l);
}

static void test_no_answer(void **state)
{
    (void)state;
    assert_down("redis+sentinel://127.0.0.1:%u/other", sentinel.port,
                "it knows no master of that name");
    assert_down("redis+sentinel://127.0.0.1:%u/main", first.port,
                "unknown command");
    assert_down("redis+sentinel://127.0.0.1:1/main", 0, "connection refused");
    assert_down("redis://127.0.0.1:%u", sentinel.port, "it is a Sentinel");
    assert_down("redis://127.0.0.1:%u", second.port, "it is a replica");
}

static void test_login(void **state)
{
    redis_process locked;
    linked        l;

    (void)state;
    redis_prepare(&locked, REDIS_PORT | REDIS_SENTINEL, "");
    snprintf(locked.config + strlen(locked.config), 256,
             "sentinel monitor main 127.0.0.1 %u 1\nrequirepass hunter2\n",
             first.port);
    locked.password = "hunter2";
    redis_start(&locked);
    link_prepare(&l,
                 "redis+sentinel://127.0.0.1:%u/main"
                 "?sentinel_password=hunter2",
                 locked.port);
    link_open(&l);
    link_await_up(&l, 1);
    link_close(&l);
    link_prepare(&l,
                 "redis+sentinel://127.0.0.1:%u/main"
                 "?sentinel_user=default&sentinel_password=hunter2",
                 locked.port);
    link_open(&l);
    link_await_up(&l, 1);
    link_close(&l);
    assert_down("redis+sentinel://127.0.0.1:%u/main", locked.port, "NOAUTH");
    assert_down("redis+sentinel://127.0.0.1:%u/main?sentinel_password=3",
                locked.port, "WRONGPASS");
    redis_remove(&locked);
}

static void test_stopped(void **state)
{
    linked l;

    (void)state;
    redis_pause(&sentinel);
    link_prepare(&l, "redis+sentinel://127.0.0.1:%u/main", sentinel.port);
    l.opts.ask_ms = 20;
    link_open(&l);
    AWAIT(l.downs == 1);
    assert_non_null(strstr(l.why, "no answer in time"));
    redis_resume(&sentinel);
    AWAIT(l.ups == 1);
    link_close(&l);
}

static void test_close_in_every_state(void **state)
{
    (void)state;
    for (unsigned turns = 0, ups = 0; ups < 3; turns++) {
        linked l;

        link_prepare(&l, "redis+sentinel://localhost:%u/main", sentinel.port);
        l.opts.sentinel_ms = 1; /* so that it is closed in a question, too */
        link_open(&l);
        for (unsigned i = 0; i < turns; i++)
            redis_turn();
        ups += l.ups;
        link_close(&l);
    }
}

static void no_memory(void)
{
    const sse__redis_link_options opts = {0};
    char                          url[128];

    snprintf(url, sizeof(url), "redis+sentinel://127.0.0.1:%u/main",
             sentinel.port);
    link_short_of_memory(url, &opts);
}

/* ---- Failover ---- */

/* What an UP link is told in the meantime drops it, though nobody closed it:
 * here the second Sentinel knows another master from the beginning. */
static void test_asks_while_up(void **state)
{
    redis_process third;
    redis_process other;
    linked        l;

    (void)state;
    redis_new(&third, REDIS_PORT, "");
    start_sentinel(&other, first.port, "");
    link_prepare(&l, "redis+sentinel://127.0.0.1:%u/main", other.port);
    l.opts.sentinel_ms = 10;
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "SET by link", "OK");
    redis_do(&other, "SENTINEL REMOVE main");
    redis_do(&other, "SENTINEL MONITOR main 127.0.0.1 %d 1", (int)third.port);
    AWAIT(l.ups >= 2);
    assert_non_null(strstr(l.why, "another master"));
    assert_int_equal(l.downs, 1);
    link_expect(&l, "GET by", "");
    link_close(&l);
    redis_remove(&other);
    redis_remove(&third);
}

static void test_follows_failover(void **state)
{
    linked l, pushes;
    answer a = {0};

    (void)state;
    link_prepare(&l, "redis+sentinel://127.0.0.1:%u/main", sentinel.port);
    link_open(&l);
    link_prepare(&pushes, "redis+sentinel://127.0.0.1:%u/main", sentinel.port);
    pushes.opts.role = SSE__REDIS_SUBSCRIPTIONS;
    link_open(&pushes);
    link_await_up(&l, 1);
    link_await_up(&pushes, 1);
    link_expect(&l, "SET before kill", "OK");
    link_expect(&l, "WAIT 1 0", "1");
    /* Its Sentinel has to know of the replica first. */
    while (redis_info(&sentinel, "sentinel", "slaves=") < 1)
        usleep(5000);
    assert_int_equal(link_send(&l, &a, "BLPOP never 0"), SSE_OK);
    redis_turn();
    /* Such a failover takes a second or two. */
    redis_do(&sentinel, "SENTINEL SET main down-after-milliseconds 200");
    redis_kill(&first);
    AWAIT(l.ups >= 2);
    AWAIT(pushes.ups >= 2);
    assert_int_equal(a.err, SSE_ERR_STORE);
    link_expect(&l, "GET before", "kill");
    link_expect(&l, "SET after kill", "OK");
    assert_true(redis_info(&second, "replication", "role:master") >= 0);
    link_close(&pushes);
    link_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_master),
        cmocka_unit_test(test_asks_each),
        cmocka_unit_test(test_asks_another),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_close_in_every_state),
        FAIL_ALLOC_TEST(no_memory),
        cmocka_unit_test(test_asks_while_up),
        cmocka_unit_test(test_follows_failover),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
