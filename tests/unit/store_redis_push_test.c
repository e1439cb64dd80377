/* SPDX-License-Identifier: MIT */
/* store_redis_push_test.c - a link for subscriptions. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "redis_support.h"

static redis_process redis;

static void open_pushes(linked *l)
{
    link_prepare(l, "unix://%s?db=2", redis.socket);
    l->opts.role = SSE__REDIS_SUBSCRIPTIONS;
    link_open(l);
    link_await_up(l, 1);
}

static void subscribe(linked *l, const char *channel)
{
    unsigned pushes = l->pushes;

    assert_int_equal(sse__redis_subscribe(l->link, 1, &channel, NULL), SSE_OK);
    AWAIT(l->pushes > pushes);
}

static void test_messages(void **state)
{
    static const char *const channels[] = {"a", "b"};
    linked                   l;

    (void)state;
    link_prepare(&l, "unix://%s", redis.socket);
    l.opts.role = SSE__REDIS_SUBSCRIPTIONS;
    link_open(&l);
    assert_int_equal(sse__redis_subscribe(l.link, 2, channels, NULL),
                     SSE_ERR_STORE);
    link_await_up(&l, 1);
    assert_int_equal(link_send(&l, &(answer){0}, "PING"), SSE_ERR_INVAL);
    assert_int_equal(sse__redis_subscribe(l.link, 2, channels, NULL), SSE_OK);
    AWAIT(l.pushes == 2);
    redis_do(&redis, "PUBLISH a one");
    redis_do(&redis, "PUBLISH b two");
    redis_do(&redis, "PUBLISH c nobody");
    redis_do(&redis, "PUBLISH a %b", "", (size_t)0);
    AWAIT(l.pushes == 5);
    assert_int_equal(sse__redis_unsubscribe(l.link, 1, channels, NULL), SSE_OK);
    AWAIT(l.pushes == 6);
    redis_do(&redis, "PUBLISH a nobody");
    redis_do(&redis, "PUBLISH b three");
    AWAIT(l.pushes == 7);
    assert_string_equal(l.heard, "subscribed a \n"
                                 "subscribed b \n"
                                 "message a one\n"
                                 "message b two\n"
                                 "message a \n"
                                 "unsubscribed a \n"
                                 "message b three\n");
    assert_int_equal(link_stats(&l).pushes, 4);
    assert_int_equal(l.downs, 0);
    link_close(&l);
}

/* ---- Order ---- */

static struct count {
    unsigned next;
    bool     subscribed, in_order;
} count;

static void on_number(void *user, const sse__redis_push *push)
{
    char want[16];

    (void)user;
    count.subscribed = true;
    if (push->kind != SSE__REDIS_MESSAGE)
        return;
    snprintf(want, sizeof(want), "%u", count.next++);
    count.in_order &= push->message_len == strlen(want) &&
                      memcmp(push->message, want, push->message_len) == 0;
}

static void on_closed(void *user)
{
    *(sse__redis_link **)user = NULL;
}

/* One link publishes what the other hears. */
static void test_order(void **state)
{
    static const sse__redis_link_events events = {.push = on_number,
                                                  .closed = on_closed};
    const sse__redis_link_options opts = {.role = SSE__REDIS_SUBSCRIPTIONS,
                                          .connect_ms = 30000};
    linked                        from;
    sse__redis_link              *to;
    const char                   *channel = "numbers";
    char                          number[16], why[64];

    (void)state;
    count = (struct count){.in_order = true};
    link_to(&from, &redis);
    link_await_up(&from, 1);
    assert_int_equal(sse__redis_link_new(&redis_loop, &from.url, &opts, &events,
                                         &to, &to, why, sizeof(why)),
                     SSE_OK);
    AWAIT(sse__redis_link_state_of(to) == SSE__REDIS_LINK_UP);
    assert_int_equal(sse__redis_subscribe(to, 1, &channel, NULL), SSE_OK);
    AWAIT(count.subscribed);
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(number, sizeof(number), "%u", i);
        AWAIT(sse__redis_link_room(from.link) > 0);
        assert_int_equal(
            sse__redis_send(from.link, 3,
                            (const char *[]){"PUBLISH", channel, number}, NULL,
                            NULL, NULL),
            SSE_OK);
    }
    link_expect(&from, "PING", "PONG");
    AWAIT(count.next == 3000);
    assert_true(count.in_order);
    sse__redis_link_close(to, 0);
    AWAIT(!to);
    link_close(&from);
}

/* ---- Silence ---- */

/* Pings are answered before and after the first subscription, differently. */
static void test_pings(void **state)
{
    linked l;

    (void)state;
    redis_do(&redis, "CONFIG RESETSTAT");
    link_prepare(&l, "unix://%s", redis.socket);
    l.opts.role = SSE__REDIS_SUBSCRIPTIONS;
    l.opts.ping_ms = 1000;
    link_open(&l);
    link_await_up(&l, 1);
    AWAIT(link_stats(&l).writes >= 2);
    subscribe(&l, "x");
    AWAIT(link_stats(&l).writes >= 4);
    AWAIT(redis_info(&redis, "commandstats", "cmdstat_ping:calls=") >= 2);
    assert_int_equal(l.downs, 0);
    link_close(&l);
}

static void test_stopped(void **state)
{
    linked l;

    (void)state;
    link_prepare(&l, "unix://%s", redis.socket);
    l.opts.role = SSE__REDIS_SUBSCRIPTIONS;
    l.opts.ping_ms = 1000;
    link_open(&l);
    link_await_up(&l, 1);
    subscribe(&l, "x");
    redis_pause(&redis);
    AWAIT(l.downs);
    redis_resume(&redis);
    assert_non_null(strstr(l.why, "no answer in time"));
    assert_int_equal(link_stats(&l).timeouts, 1);
    AWAIT(l.ups >= 2);
    link_close(&l);
}

/* ---- Loss ---- */

static void test_killed(void **state)
{
    linked l;

    (void)state;
    open_pushes(&l);
    subscribe(&l, "x");
    redis_do(&redis, "CLIENT KILL TYPE pubsub");
    link_await_up(&l, 2);
    assert_int_equal(l.downs, 1);
    redis_do(&redis, "PUBLISH x lost");
    subscribe(&l, "x");
    redis_do(&redis, "PUBLISH x heard");
    AWAIT(l.pushes == 3);
    assert_string_equal(l.heard, "subscribed x \n"
                                 "subscribed x \n"
                                 "message x heard\n");
    link_close(&l);
}

static void test_channel_denied(void **state)
{
    linked      l;
    const char *channel = "other";

    (void)state;
    redis_do(&redis, "ACL SETUSER bob on >x resetchannels &sse:* +role "
                     "+subscribe +ping +client|setname");
    link_prepare(&l, "unix://bob:x@%s", redis.socket);
    l.opts.role = SSE__REDIS_SUBSCRIPTIONS;
    link_open(&l);
    link_await_up(&l, 1);
    subscribe(&l, "sse:x");
    assert_int_equal(sse__redis_subscribe(l.link, 1, &channel, NULL), SSE_OK);
    AWAIT(l.fatals);
    assert_non_null(strstr(l.why, "NOPERM"));
    link_close(&l);
    redis_do(&redis, "ACL DELUSER bob");
}

static void test_close_in_push(void **state)
{
    linked l;

    (void)state;
    open_pushes(&l);
    subscribe(&l, "x");
    l.close_on_push = true;
    redis_do(&redis, "PUBLISH x 1");
    redis_do(&redis, "PUBLISH x 2");
    AWAIT(!l.link);
    assert_int_equal(l.pushes, 2);
    link_close(&l);
}

static int set_up(void **state)
{
    redis_new(&redis, 0, "");
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
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_pings),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_channel_denied),
        cmocka_unit_test(test_close_in_push),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
