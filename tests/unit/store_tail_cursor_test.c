/* SPDX-License-Identifier: MIT */
/* store_tail_cursor_test.c - readers that have seen more than is here, or
 * something else. */
#include "store_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "id.h"
#include "support.h"

#define OK(call) assert_int_equal(call, SSE_OK)

static redis_process redis;
static sse_hub      *a, *b;

static int start(void **state)
{
    reader_like_server = *state != NULL;
    redis_new(&redis, 0, "");
    a = store_hub(&redis, NULL, NULL);
    b = store_hub(&redis, NULL, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sse_hub_free(a);
    sse_hub_free(b);
    redis_remove(&redis);
    return 0;
}

#define ROW(n) "{\"type\":\"token\",\"data\":{\"n\":" #n "},\"ts\":1}"

static void push(const char *row)
{
    redis_do(&redis, "RPUSH sse:events:s %s", row);
}

/* It comes from a hub that knew of a row which was not told to this one. */
static void catches_up_with_a_cursor(void **state)
{
    reader first, second;
    char   cursor[40];

    (void)state;
    push(ROW(1));
    reader_open(&first, b, "s", "");
    UNTIL(reader_count(&first) == 1);
    push(ROW(2));
    push(ROW(3));
    snprintf(cursor, sizeof(cursor), "2-%08x",
             sse__fnv1a(SSE__FNV1A_INIT, ROW(2), sizeof(ROW(2)) - 1));
    reader_open(&second, b, "s", cursor);
    UNTIL(reader_count(&second) == 1);
    assert_true(reader_has(&second, "{\"n\":3}"));
    assert_false(reader_has(&second, "event: gap"));
    UNTIL(reader_count(&first) == 3);
    reader_close(&first);
    reader_close(&second);
}

/* Nobody brings back what it has seen. */
static void gives_up_on_a_cursor(void **state)
{
    reader known;

    (void)state;
    push(ROW(1));
    push(ROW(2));
    reader_open(&known, b, "s", "700");
    UNTIL(reader_count(&known) == 2);
    assert_true(reader_has(&known, "\"reason\":\"diverged\""));
    reader_close(&known);
}

/* Each gets all of the log that is here now, and is told. */
static void tells_forks_by_their_tag(void **state)
{
    reader first, known;

    (void)state;
    push(ROW(1));
    push(ROW(2));
    push(ROW(3));
    reader_open(&first, b, "s", "3-00000000");
    UNTIL(reader_count(&first) == 3);
    assert_true(reader_has(&first, "\"reason\":\"diverged\""));
    reader_close(&first);
    reader_open(&first, a, "s", "$");
    reader_open(&known, a, "s", "2-00000000");
    UNTIL(reader_count(&known) == 3);
    assert_true(reader_has(&known, "\"reason\":\"diverged\""));
    reader_close(&first);
    reader_close(&known);
}

/* The store's log was exchanged for another that is as long. */
static void finds_another_log(void **state)
{
    reader r;

    (void)state;
    push(ROW(1));
    push(ROW(2));
    reader_open(&r, b, "s", "");
    UNTIL(reader_count(&r) == 2);
    redis_do(&redis, "DEL sse:events:s");
    redis_do(&redis, "RPUSH sse:events:s %s %s", ROW(8), ROW(9));
    redis_do(&redis, "PUBLISH sse:ch:s %s", "");
    UNTIL(reader_has(&r, "{\"n\":9}"));
    assert_true(reader_has(&r, "\"reason\":\"diverged\""));
    assert_int_equal(reader_count(&r), 4);
    reader_close(&r);
}

static void is_told_of_what_was_trimmed(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 5};
    sse_hub        *c = store_hub(&redis, &opts, NULL);
    sse_stream     *s = store_stream(c, "s", NULL, 0);
    reader          r;

    (void)state;
    store_append_many(s, 0, 20);
    UNTIL(strncmp(store_says(&redis, "GET sse:meta:s"), "15 20 ", 6) == 0);
    reader_open(&r, b, "s", "3");
    UNTIL(reader_count(&r) == 5);
    assert_true(reader_has(&r, "{\"from\":4,\"to\":15,\"missed\":12,"
                               "\"reason\":\"trimmed\"}"));
    reader_close(&r);
    sse_stream_free(s);
    sse_hub_free(c);
}

/* Messages do not know databases. */
static void keeps_databases_apart(void **state)
{
    sse_store_options opts = {
        .size = sizeof(opts), .start_ms = 60000, .command_ms = 60000};
    sse_hub    *c, *d;
    sse_stream *s, *other = store_stream(a, "s", NULL, 0);
    reader      r;
    char        url[160];

    (void)state;
    snprintf(url, sizeof(url), "unix://%s?db=3&timeout_ms=%u", redis.socket,
             PATIENT);
    OK(sse_hub_new(NULL, &c));
    OK(sse_hub_new(NULL, &d));
    OK(sse_hub_set_store(c, url, strlen(url), &opts));
    OK(sse_hub_set_store(d, url, strlen(url), &opts));
    s = store_stream(c, "s", NULL, 0);
    reader_open(&r, d, "s", "");
    store_append_many(other, 100, 5);
    store_append_many(s, 0, 5);
    UNTIL(reader_count(&r) == 5);
    assert_false(reader_has(&r, "{\"n\":10"));
    reader_close(&r);
    sse_stream_free(s);
    sse_stream_free(other);
    sse_hub_free(c);
    sse_hub_free(d);
}

/* As a program, and as a server. */
#define TESTS(name) \
    cmocka_unit_test_setup_teardown(name, start, stop), \
        cmocka_unit_test_prestate_setup_teardown(name, start, stop, &redis)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(catches_up_with_a_cursor),
        cmocka_unit_test_setup_teardown(gives_up_on_a_cursor, start, stop),
        TESTS(tells_forks_by_their_tag),
        TESTS(finds_another_log),
        TESTS(is_told_of_what_was_trimmed),
        TESTS(keeps_databases_apart),
    };

    cmocka_set_test_filter(getenv("TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
