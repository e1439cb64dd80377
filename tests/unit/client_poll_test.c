/* SPDX-License-Identifier: MIT */
/* client_poll_test.c - the client's machine falls back to long poll. */
#include "client_fixture.h"

static void falls_back_to_long_poll_and_returns(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_POLL};

    begin(&o);
    for (int i = 0; i < 2; i++) {
        CHECK(!w.poll);
        sse__client_on_connected(w.c, w.generation, w.now);
        pass(30000);
        wait_for_retry();
    }
    CHECK(w.poll && w.connects == 3);
    w.text[0] = '\0';
    head(200, "application/json; charset=utf-8", "");
    bytes("{\"events\":[{\"id\":\"1-0000000a\",\"type\":\"message\",");
    bytes("\"data\":\"a\\nb\"},{\"id\":null,\"type\":\"gap\",\"data\":"
          "\"{\\\"from\\\":2,\\\"to\\\":3,\\\"missed\\\":2,"
          "\\\"reason\\\":\\\"trimmed\\\"}\"}],"
          "\"lastEventId\":\"3-0000000c\",\"state\":\"active\"}");
    finish();
    saw("open 200\nopen\nmessage|a\nb|1-0000000a\ngap 2-3 2 trimmed\n");
    CHECK(w.connects == 4 && strcmp(w.cursor, "3-0000000c") == 0);
    head(200, "application/json", "");
    bytes("{\"events\":[],\"lastEventId\":\"3-0000000c\"}");
    finish();
    saw("");
    CHECK(w.connects == 4); /* an empty answer at once is not asked for again */
    pass(1000);
    CHECK(w.connects == 5 && w.poll);
    for (int i = 0; i < 12; i++) {
        sse__client_on_connected(w.c, w.generation, w.now);
        pass(25000);
        head(200, "application/json", "");
        bytes("{\"events\":[]}");
        finish();
    }
    CHECK(!w.poll);
    ok();
    saw("connecting\nopen 200\nopen\n");
    end();
}

static void a_broken_answer_is_tried_again(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_POLL};

    begin(&o);
    for (int i = 0; i < 2; i++) {
        sse__client_on_connected(w.c, w.generation, w.now);
        pass(30000);
        wait_for_retry();
    }
    w.text[0] = '\0';
    head(200, "application/json", "");
    bytes("{\"events\":[{]}");
    finish();
    saw("open 200\nopen\nerror 12 0\nwaiting\n");
    end();
}

/* A server that knows no long poll was only slow. */
static void a_stream_will_do_for_a_long_poll(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_POLL};

    begin(&o);
    for (int i = 0; i < 2; i++) {
        sse__client_on_connected(w.c, w.generation, w.now);
        pass(30000);
        wait_for_retry();
    }
    CHECK(w.poll);
    w.text[0] = '\0';
    ok();
    bytes("id: 1\ndata: a\n\n");
    saw("open 200\nopen\nmessage|a|1\n");
    finish();
    wait_for_retry();
    CHECK(!w.poll && strcmp(w.cursor, "1") == 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(falls_back_to_long_poll_and_returns),
        FAIL_ALLOC_TEST(a_stream_will_do_for_a_long_poll),
        FAIL_ALLOC_TEST(a_broken_answer_is_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
