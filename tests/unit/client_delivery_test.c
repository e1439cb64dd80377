/* SPDX-License-Identifier: MIT */
/* client_delivery_test.c - each event once, and no loss in silence,
 * whatever the server and the application do to the client's machine. */
#include "client_fixture.h"

static void gaps_are_told(void)
{
    begin_open(NULL);
    bytes("id: 1-0000000a\ndata: a\n\n"
          "event: gap\ndata: {\"from\":2,\"to\":8,\"missed\":7,"
          "\"reason\":\"trimmed\"}\n\n"
          "id: 9-0000000b\ndata: b\n\n"
          "id: 12-0000000c\ndata: c\n\n");
    saw("message|a|1-0000000a\ngap 2-8 7 trimmed\nmessage|b|9-0000000b\n"
        "gap 10-11 2 unannounced\nmessage|c|12-0000000c\n");
    bytes("event: gap\ndata: {\"from\":1,\"to\":0,\"missed\":null,"
          "\"reason\":\"diverged\"}\n\nid: 1-0000000a\ndata: a\n\n");
    saw("gap 1-0 -1 diverged\nmessage|a|1-0000000a\n");
    bytes("id: 1-0000000f\ndata: other log\n\n");
    saw("gap -1--1 -1 unannounced\nmessage|other log|1-0000000f\n");
    bytes("id: plain\ndata: x\n\nid: 40\ndata: y\n\n");
    saw("message|x|plain\nmessage|y|40\n");
    end();
}

static void an_old_replay_is_not_delivered_again(void)
{
    sse__client_options o = {.window = 4};

    begin_open(&o);
    for (int pass_no = 0; pass_no < 2; pass_no++) {
        for (int i = 1; i <= 10; i++) {
            char text[64];

            snprintf(text, sizeof(text), "id: %d-0000000a\ndata: x\n\n", i);
            bytes(text);
            if (pass_no == 0)
                w.text[0] = '\0';
        }
        saw("");
        if (pass_no == 0) {
            cut();
            wait_for_retry();
            ok();
            w.text[0] = '\0';
        }
    }
    bytes("id: 11-0000000a\ndata: new\n\n");
    saw("message|new|11-0000000a\n");
    cut();
    wait_for_retry();
    ok();
    w.text[0] = '\0';
    bytes("id: 1-0000000b\ndata: whose?\n\n");
    cut(); /* nobody can tell, so it is said */
    saw("gap -1--1 -1 unannounced\nerror 1 0\nwaiting\n");
    end();
}

static void events_without_ids_follow_those_around_them(void)
{
    begin_open(NULL);
    bytes("id: 1\ndata: a\n\ndata: b\n\nevent: heartbeat\ndata:\n\n");
    saw("message|a|1\nmessage|b|1\n");
    cut();
    wait_for_retry();
    ok();
    w.text[0] = '\0';
    bytes("id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\ndata: d\n\n");
    saw("message|c|2\nmessage|d|2\n");
    end();
}

static void an_id_that_is_no_header_is_not_sent(void)
{
    begin_open(NULL);
    bytes("id: a\tb\ndata: x\n\n");
    cut();
    wait_for_retry();
    CHECK(w.connects == 2 && w.cursor[0] == '\0');
    end();
}

static void the_terminal_event_ends_it(void)
{
    begin_open(NULL);
    bytes("event: completed\nid: 1-0000000a\ndata: {}\n\ndata: late\n\n");
    saw("completed|{}|1-0000000a\nend 13\n");
    CHECK(w.live_count == 0);
    assert_true(sse__client_deadline(w.c) == SSE__NO_TIME);
    end();

    begin_open(NULL);
    bytes("data: [DONE]\n\n");
    saw("message|[DONE]|\nend 13\n");
    end();

    make(NULL);
    OK(sse__client_add_end_type(w.c, "bye", 3));
    OK(sse__client_add_end_type(w.c, "ciao", 4));
    assert_int_equal(sse__client_add_end_type(w.c, "a\nb", 3), SSE_ERR_INVAL);
    sse__client_start(w.c, w.now, w.wall);
    pump();
    ok();
    bytes("event: completed\ndata: x\n\nevent: ciao\ndata: y\n\n");
    saw("connecting\nopen 200\nopen\ncompleted|x|\nciao|y|\nend 13\n");
    end();
}

static void a_long_type_may_end_it(void)
{
    char type[101] = "", text[512];

    memset(type, 'x', 100);
    make(NULL);
    OK(sse__client_add_end_type(w.c, type, 100));
    sse__client_start(w.c, w.now, w.wall);
    pump();
    ok();
    snprintf(text, sizeof(text),
             "event: %.99s\ndata: 1\n\nevent: %s\ndata: 2\n\n", type, type);
    bytes(text);
    snprintf(text, sizeof(text),
             "connecting\nopen 200\nopen\n%.99s|1|\n%s|2|\nend 13\n", type,
             type);
    saw(text);
    end();
}

static void close_is_the_last_word(void)
{
    begin_open(NULL);
    OK(sse__client_on_bytes(w.c, w.generation, w.now, "data: x\n\n", 9));
    sse__client_close(w.c, w.now);
    pump();
    saw("end 15\n");
    CHECK(w.live_count == 0);
    bytes("data: x\n\n");
    cut();
    sse__client_restart(w.c, w.now);
    sse__client_online(w.c, w.now);
    sse__client_close(w.c, w.now);
    tick(100000);
    saw("");
    CHECK(w.connects == 1);
    end();
}

static void restart_reconnects_at_once(void)
{
    begin_open(NULL);
    sse__client_restart(w.c, w.now);
    pump();
    CHECK(w.connects == 2 && w.live_count == 1);
    saw("connecting\n");
    end();
}

static void recovery_spares_the_stream(void)
{
    sse__client_options o = {.flags = SSE__CLIENT_RECOVERY};

    begin(&o);
    CHECK(w.recoveries == 1 && w.connects == 0);
    OK(sse__client_recovery_ready(w.c, w.now, "finished", 8, "{\"a\":\n1}", 8));
    pump();
    CHECK(w.connects == 0);
    saw("connecting\nopen\nfinished|{\"a\":\n1}|\nend 13\n");
    end();

    begin(&o);
    OK(sse__client_recovery_ready(w.c, w.now, NULL, 0, NULL, 0));
    pump();
    CHECK(w.recoveries == 1 && w.connects == 1);
    end();
}

static void ack_moves_the_cursor(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_ACK, .window = 2};

    begin_open(&o);
    bytes("id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\n");
    saw("message|a|1\nmessage|b|2\n"); /* two may be open */
    CHECK(sse__client_ack(w.c, "3", 1) == SSE_ERR_NOT_FOUND);
    if (!w.off_script)
        OK(sse__client_ack(w.c, "1", 1));
    CHECK(sse__client_ack(w.c, "1", 1) == SSE_ERR_NOT_FOUND);
    pump();
    saw("message|c|3\n");
    CHECK(w.c->cursor.len == 1 && w.c->cursor.data[0] == '1');
    end();
}

static void a_full_queue_pauses_the_socket(void)
{
    sse__client_options o = {.queue_bytes = 64};
    char                big[101];

    memset(big, ':', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    begin_open(&o);
    OK(sse__client_on_bytes(w.c, w.generation, w.now, big, 100));
    do_actions();
    CHECK(w.pauses == 1 && w.resumes == 0);
    for (int i = 0; i < 20; i++) { /* the stall timer stands still */
        w.now += 5000;
        w.wall += 5000;
        sse__client_tick(w.c, w.now, w.wall);
        do_actions();
    }
    CHECK(w.connects == 1);
    pump();
    CHECK(w.resumes == 1);
    pass(29999);
    CHECK(w.connects == 1);
    pass(1);
    saw("error 5 0\nwaiting\n");
    end();
}

static void the_next_attempt_waits_for_the_application(void)
{
    begin_open(NULL);
    OK(sse__client_on_bytes(w.c, w.generation, w.now,
                            "id: 9\nretry: 5000\ndata: x\n\n", 27));
    remove_live(w.generation);
    OK(sse__client_on_end(w.c, w.generation, w.now));
    do_actions();
    CHECK(w.connects == 1);
    pump();
    saw("message|x|9\nerror 8 0\nwaiting\n");
    wait_for_retry();
    CHECK(w.connects == 2 && strcmp(w.cursor, "9") == 0);
    end();
}

static void an_event_too_big_ends_it(void)
{
    sse__client_options o = {.max_event_bytes = 8};

    begin_open(&o);
    bytes("data: 123456789\n\n");
    saw("error 11 0\nend 11\n");
    end();
}

static void comments_are_told_when_asked_for(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_COMMENTS};

    begin_open(&o);
    bytes(": hi\n\n");
    saw(": hi\n");
    end();
}

static void refuses_bad_options(void)
{
    sse__client_options bad[] = {
        {.profile = 3},
        {.flags = 64},
        {.flags = SSE_CLIENT_ACK, .window = SSE_NEVER},
        {.flags = SSE_CLIENT_ACK, .profile = SSE_PROFILE_STRICT}};

    for (int i = 0; i < 4; i++)
        assert_int_equal(sse__client_new(&bad[i], "", 0, &w.c), SSE_ERR_INVAL);
    sse__client_free(NULL);
}

/* Whatever allocation fails, the reader has everything once. */
static void no_allocation_that_fails_loses_an_event(void)
{
    int sent;

    begin(NULL);
    for (int round = 0; round < 6; round++) {
        sent = w.cursor[0] ? atoi(w.cursor) : 0;
        ok();
        for (int i = 0; i < 4 && w.live_count > 0; i++) {
            char text[64];

            snprintf(text, sizeof(text), "id: %d-0000000a\ndata: x\n\n",
                     ++sent);
            bytes(text);
        }
        cut();
        if (w.retry_at > w.now)
            pass(w.retry_at - w.now);
    }
    for (int i = 1; i <= atoi(w.cursor); i++) {
        char        text[64];
        const char *at;

        snprintf(text, sizeof(text), "message|x|%d-0000000a\n", i);
        at = strstr(w.text, text);
        assert_non_null(at);
        assert_null(strstr(at + 1, text));
    }
    assert_true(atoi(w.cursor) > 8);
    assert_null(strstr(w.text, "gap"));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(gaps_are_told),
        FAIL_ALLOC_TEST(an_old_replay_is_not_delivered_again),
        FAIL_ALLOC_TEST(events_without_ids_follow_those_around_them),
        FAIL_ALLOC_TEST(an_id_that_is_no_header_is_not_sent),
        FAIL_ALLOC_TEST(the_terminal_event_ends_it),
        FAIL_ALLOC_TEST(a_long_type_may_end_it),
        FAIL_ALLOC_TEST(close_is_the_last_word),
        FAIL_ALLOC_TEST(restart_reconnects_at_once),
        FAIL_ALLOC_TEST(recovery_spares_the_stream),
        FAIL_ALLOC_TEST(ack_moves_the_cursor),
        FAIL_ALLOC_TEST(a_full_queue_pauses_the_socket),
        FAIL_ALLOC_TEST(the_next_attempt_waits_for_the_application),
        FAIL_ALLOC_TEST(an_event_too_big_ends_it),
        FAIL_ALLOC_TEST(comments_are_told_when_asked_for),
        FAIL_ALLOC_TEST(refuses_bad_options),
        FAIL_ALLOC_TEST(no_allocation_that_fails_loses_an_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
