/* SPDX-License-Identifier: MIT */
/* client_test.c - the client's machine, with a scripted network and clock. */
#include "client_fixture.h"

/* ---- The scenarios ------------------------------------------------------- */

static void app_in_the_background(void)
{
    begin_open(NULL);
    bytes("id: 1-0000000a\ndata: a\n\n");
    saw("message|a|1-0000000a\n");
    sse__client_suspend(w.c, w.now);
    pump();
    saw("suspended\n");
    CHECK(w.live_count == 0);
    assert_true(sse__client_deadline(w.c) == SSE__NO_TIME);
    tick(15000);
    CHECK(w.connects == 1);
    sse__client_resume(w.c, w.now);
    pump();
    CHECK(w.connects == 2 && strcmp(w.cursor, "1-0000000a") == 0);
    ok();
    bytes("id: 2-0000000b\ndata: b\n\n");
    saw("connecting\nopen 200\nopen\nmessage|b|2-0000000b\n");
    end();
}

static void airplane_mode(void)
{
    begin_open(NULL);
    sse__client_offline(w.c, w.now);
    pump();
    CHECK(w.live_count == 0);
    pass(5000);
    CHECK(w.connects == 1);
    sse__client_suspend(w.c, w.now); /* both must go */
    sse__client_online(w.c, w.now);
    pump();
    CHECK(w.connects == 1);
    sse__client_resume(w.c, w.now);
    pump();
    CHECK(w.connects == 2);
    saw("offline\nsuspended\nconnecting\n");
    end();
}

static void rapid_cycles_10000(void)
{
    begin_open(NULL);
    for (int i = 0; i < 10000; i++) {
        sse__client_suspend(w.c, w.now);
        if (i % 3 == 0)
            do_actions();
        sse__client_resume(w.c, w.now);
        if (i % 2 == 0)
            do_actions();
        assert_in_range(w.live_count, 0, 1);
        w.now++;
    }
    pump();
    saw("connecting\n");
    CHECK(w.live_count == 1 && w.most_live == 1);
    end();
}

static void stream_of_more_than_5_minutes(void)
{
    char expected[32];

    begin_open(NULL);
    for (int s = 0; s < 400; s++) {
        char text[64];

        snprintf(text, sizeof(text), "id: %d\ndata: %d\n\n", s, s);
        bytes(text);
        snprintf(expected, sizeof(expected), "message|%d|%d\n", s, s);
        saw(expected);
        for (int i = 0; i < 4; i++)
            tick(250);
    }
    CHECK(w.connects == 1);
    end();
}

static void server_disconnects(void)
{
    begin_open(NULL);
    bytes("id: 1-0000000a\ndata: a\n\nid: 2-0000000b\ndata: half");
    cut();
    saw("message|a|1-0000000a\nerror 1 0\nwaiting\n");
    wait_for_retry();
    CHECK(w.connects == 2 && strcmp(w.cursor, "1-0000000a") == 0);
    ok();
    /* A server that begins with the event of the cursor. */
    bytes("id: 1-0000000a\ndata: a\n\nid: 2-0000000b\ndata: b\n\n");
    saw("connecting\nopen 200\nopen\nmessage|b|2-0000000b\n");
    finish();
    saw("error 8 0\nwaiting\n");
    end();
}

static void token_expires_mid_stream(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_TOKEN};

    begin(&o);
    CHECK(w.tokens == 1 && w.connects == 0);
    sse__client_token_ready(w.c, w.now, true);
    pump();
    ok();
    bytes("id: 1-0000000a\ndata: a\n\n");
    cut();
    wait_for_retry();
    CHECK(w.tokens == 2 && !w.fresh);
    sse__client_token_ready(w.c, w.now, true);
    pump();
    w.text[0] = '\0';
    head(401, "", "");
    CHECK(w.tokens == 3 && w.fresh && w.connects == 2);
    sse__client_token_ready(w.c, w.now, true);
    pump();
    CHECK(w.connects == 3 && strcmp(w.cursor, "1-0000000a") == 0);
    head(401, "", ""); /* a fresh one, and still no */
    saw("error 6 401\nerror 6 401\nend 6\n");
    end();
}

static void renewal_makes_before_it_breaks(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_TOKEN};
    uint32_t            old;

    begin(&o);
    sse__client_token_ready(w.c, w.now, true);
    pump();
    ok();
    bytes("id: 1-0000000a\ndata: a\n\n");
    w.text[0] = '\0';
    old = w.generation;
    sse__client_renew_token(w.c, w.now);
    pump();
    CHECK(w.tokens == 2 && w.connects == 1);
    sse__client_token_ready(w.c, w.now, true);
    pump();
    CHECK(w.connects == 2 && w.overlap && w.live_count == 2);
    CHECK(strcmp(w.cursor, "1-0000000a") == 0);
    OK(sse__client_on_bytes(w.c, old, w.now, "id: 2-0000000b\ndata: b\n\n",
                            24));
    pump();
    ok();
    CHECK(w.live_count == 1 && w.live[0] == w.generation);
    bytes("id: 2-0000000b\ndata: b\n\nid: 3-0000000c\ndata: c\n\n");
    saw("message|b|2-0000000b\nopen 200\nmessage|c|3-0000000c\n");

    sse__client_renew_token(w.c, w.now); /* and one that never answers */
    pump();
    sse__client_token_ready(w.c, w.now, true);
    old = w.generation;
    pump();
    pass(9999);
    CHECK(w.live_count == 2);
    pass(1);
    CHECK(w.live_count == 1 && w.live[0] == old);
    saw("error 3 0\n");
    end();
}

static void renewal_takes_over_from_the_dead(void)
{
    uint32_t fresh;

    begin_open(NULL);
    bytes("id: 1-0000000a\ndata: a\n\n");
    sse__client_renew_token(w.c, w.now);
    fresh = w.generation;
    pump();
    CHECK(w.live_count == 2);
    remove_live(fresh);
    sse__client_on_error(w.c, fresh, w.now, SSE_CAUSE_NETWORK);
    pump();
    CHECK(w.live_count == 1 && w.connects == 2);
    ok();
    saw("message|a|1-0000000a\nerror 1 0\nconnecting\nopen 200\nopen\n");
    end();
}

/* What it asked for lies behind a cursor that means nothing any more. */
static void a_new_log_calls_the_renewal_back(void)
{
    uint32_t old;

    begin_open(NULL);
    bytes("id: 9-0000000a\ndata: a\n\n");
    old = w.generation;
    sse__client_renew_token(w.c, w.now);
    pump();
    CHECK(w.live_count == 2);
    w.generation = old;
    bytes("event: gap\ndata: {\"from\":1,\"to\":0,\"missed\":null,"
          "\"reason\":\"diverged\"}\n\nid: 1-0000000b\ndata: b\n\n");
    CHECK(w.live_count == 2 && strcmp(w.cursor, "1-0000000b") == 0);
    saw("message|a|9-0000000a\ngap 1-0 -1 diverged\nmessage|b|1-0000000b\n");
    end();
}

static void stall_is_told(void)
{
    begin_open(NULL);
    pass(29999);
    bytes(":\n\n"); /* any byte will do */
    pass(29999);
    CHECK(w.connects == 1);
    saw("");
    pass(1);
    saw("error 5 0\nwaiting\n");
    CHECK(w.live_count == 0);
    end();
}

static void limits_before_the_head(void)
{
    begin(NULL);
    saw("connecting\n");
    pass(10000);
    saw("error 3 0\nwaiting\n");
    wait_for_retry();
    sse__client_on_connected(w.c, w.generation, w.now);
    pass(29999);
    saw("connecting\n");
    pass(1);
    saw("error 4 0\nwaiting\n");
    end();
}

/* Full jitter: the n-th delay is spread over 0 to 2^n s, whoever it is. */
static void reconnects_1s_2s_4s_with_jitter_1000_clients(void)
{
    static int buckets[3][10];

    if (fail_alloc_planned())
        return; /* server_disconnects has the same allocations */
    memset(buckets, 0, sizeof(buckets));
    for (uint64_t seed = 0; seed < 1000; seed++) {
        sse__client_options o = {.seed = seed, .window = SSE_NEVER};

        begin(&o);
        for (int n = 0; n < 3; n++) {
            cut();
            assert_in_range(w.retry_at - w.now, 100, 1000 << n);
            buckets[n][(w.retry_at - w.now - 1) * 10 / (1000 << n)]++;
            wait_for_retry();
        }
        end();
    }
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 10; i++)
            assert_in_range(buckets[n][i], i == 0 && n == 0 ? 0 : 50, 250);
}

static void offline_at_start(void)
{
    make(NULL);
    sse__client_offline(w.c, w.now);
    sse__client_start(w.c, w.now, w.wall);
    pump();
    pass(60000);
    CHECK(w.connects == 0);
    saw("offline\n");
    sse__client_online(w.c, w.now);
    pump();
    CHECK(w.connects == 1);
    end();
}

static void laptop_sleep(void)
{
    begin_open(NULL);
    bytes("id: 7-0000000a\ndata: a\n\n");
    w.wall += 3600 * 1000; /* the monotonic clock stood still */
    tick(5000);
    CHECK(w.connects == 2 && w.live_count == 1);
    CHECK(strcmp(w.cursor, "7-0000000a") == 0);
    ok();
    tick(3600 * 1000); /* or it did not */
    CHECK(w.connects == 3 && w.live_count == 1);
    cut();
    w.wall += 3600 * 1000; /* while it waits for the next attempt */
    tick(1);
    CHECK(w.connects == 4);
    w.wall -= 3600 * 1000; /* a clock that is put right is no sleep */
    tick(1);
    CHECK(w.connects == 4);
    end();
}

static void html_error_page_with_200(void)
{
    static const uint32_t profiles[] = {
        SSE_PROFILE_STRICT, SSE_PROFILE_RESILIENT, SSE_PROFILE_FINITE};

    for (int i = 0; i < 3; i++) {
        sse__client_options o = {.profile = profiles[i]};

        begin(&o);
        head(200, "text/html; charset=utf-8", "");
        bytes("data: not an event\n\n");
        saw("connecting\nerror 7 200\nend 7\n");
        pass(100000);
        CHECK(w.connects == 1 && w.live_count == 0);
        end();
    }
}

static void retry_0(void)
{
    int64_t start;

    begin_open(NULL);
    bytes("retry: 0\n");
    start = w.now;
    for (int i = 0; i < 9; i++) {
        cut();
        CHECK(w.retry_at >= w.now + 100);
        wait_for_retry();
    }
    CHECK(w.now - start >= 900); /* no storm */
    end();
}

static void status_204(void)
{
    begin_open(NULL);
    finish();
    wait_for_retry();
    head(204, "", "");
    saw("error 8 0\nwaiting\nconnecting\nend 14\n");
    pass(100000);
    CHECK(w.connects == 2);
    end();
}

static void retry_after_seconds_and_date(void)
{
    begin(NULL);
    head(503, "", "7");
    CHECK(w.retry_at == w.now + 7000);
    saw("connecting\nerror 6 503\nwaiting\n");
    wait_for_retry();
    /* 1700000007 is Tue, 14 Nov 2023 22:13:27 GMT. */
    head(503, "", "Tue, 14 Nov 2023 22:13:47 GMT");
    CHECK(w.retry_at == w.now + 20000);
    wait_for_retry();
    head(429, "", "86400");
    CHECK(w.retry_at == w.now + 300000); /* so far, and no further */
    wait_for_retry();
    cut(); /* once */
    CHECK(w.retry_at <= w.now + 30000);
    end();
}

/* ---- Profiles ------------------------------------------------------------ */

static void strict_waits_just_the_reconnection_time(void)
{
    sse__client_options o = {.profile = SSE_PROFILE_STRICT};

    begin_open(&o);
    bytes("retry:3000\nid:\xe2\x80\xa6\ndata:x\n\n");
    finish();
    CHECK(w.retry_at == w.now + 3000);
    wait_for_retry();
    CHECK(strcmp(w.cursor, "\xe2\x80\xa6") == 0);
    ok();
    bytes("data:no id of its own\n\nid\ndata:reset\n\n");
    cut();
    CHECK(w.retry_at == w.now + 3000);
    wait_for_retry();
    CHECK(w.cursor[0] == '\0');
    saw("message|x|\xe2\x80\xa6\nerror 8 0\nwaiting\nconnecting\nopen 200\n"
        "open\nmessage|no id of its own|\xe2\x80\xa6\nmessage|reset|\n"
        "error 1 0\nwaiting\nconnecting\n");
    head(503, "text/event-stream", "1");
    saw("error 6 503\nend 6\n");
    end();
}

static void strict_hides_nothing(void)
{
    sse__client_options o = {.profile = SSE_PROFILE_STRICT};

    begin_open(&o);
    bytes("event: gap\ndata: {\"reason\":\"trimmed\"}\n\n"
          "id: 5-0000000a\nevent: done\ndata: [DONE]\n\n");
    saw("gap|{\"reason\":\"trimmed\"}|\ndone|[DONE]|5-0000000a\n");
    end();
}

static void strict_fails_for_good(void)
{
    static const uint32_t statuses[] = {205, 210, 299, 404, 410, 503};
    sse__client_options   o = {.profile = SSE_PROFILE_STRICT};

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        begin(&o);
        head(statuses[i], "text/event-stream", "");
        pass(1000000);
        CHECK(w.connects == 1);
        end();
    }
}

static void finite_ends_with_its_body(void)
{
    sse__client_options o = {.profile = SSE_PROFILE_FINITE};

    begin_open(&o);
    bytes("data: a\n\n");
    finish();
    saw("message|a|\nend 8\n");
    end();

    begin_open(&o);
    bytes("data: half of an answer\n\n");
    cut(); /* a second one must not be glued to it */
    saw("message|half of an answer|\nerror 18 0\nend 18\n");
    end();
}

static void gives_up_after_ten_attempts(void)
{
    begin(NULL);
    for (int i = 0; i < 12; i++) {
        cut();
        wait_for_retry();
    }
    CHECK(w.connects == 10);
    CHECK(strstr(w.text, "end 16\n") != NULL);
    end();
}

static void gives_up_after_the_budget(void)
{
    sse__client_options o = {.budget_ms = 20000, .max_attempts = SSE_NEVER};
    int64_t             start;

    begin(&o);
    start = w.now;
    for (int i = 0; i < 1000 && !strstr(w.text, "end"); i++) {
        cut();
        wait_for_retry();
        w.text[strlen(w.text) > 4000 ? 0 : strlen(w.text)] = '\0';
    }
    CHECK(strstr(w.text, "end 17\n") != NULL);
    CHECK(w.now - start <= 20000);
    end();
}

static void only_failures_without_progress_count(void)
{
    begin_open(NULL);
    for (int i = 0; i < 50; i++) {
        char text[64];

        snprintf(text, sizeof(text), "id: %d-0000000a\ndata: x\n\n", i + 1);
        bytes(text);
        cut();
        wait_for_retry();
        ok();
        w.text[0] = '\0';
    }
    CHECK(w.connects == 51);
    end();
}

static void the_application_decides(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_DECIDE};

    begin(&o);
    head(404, "", "");
    CHECK(w.decisions == 1 && w.decision.status == 404);
    CHECK(w.decision.verdict == SSE__STOP);
    sse__client_decide(w.c, w.now, SSE__RETRY);
    pump();
    wait_for_retry();
    CHECK(w.connects == 2);
    cut();
    CHECK(w.decision.verdict == SSE__RETRY);
    sse__client_decide(w.c, w.now, SSE__STOP);
    pump();
    saw("connecting\nerror 6 404\nwaiting\nconnecting\nerror 1 0\nend 1\n");
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(app_in_the_background),
        FAIL_ALLOC_TEST(airplane_mode),
        FAIL_ALLOC_TEST(rapid_cycles_10000),
        FAIL_ALLOC_TEST(stream_of_more_than_5_minutes),
        FAIL_ALLOC_TEST(server_disconnects),
        FAIL_ALLOC_TEST(token_expires_mid_stream),
        FAIL_ALLOC_TEST(renewal_makes_before_it_breaks),
        FAIL_ALLOC_TEST(renewal_takes_over_from_the_dead),
        FAIL_ALLOC_TEST(a_new_log_calls_the_renewal_back),
        FAIL_ALLOC_TEST(stall_is_told),
        FAIL_ALLOC_TEST(limits_before_the_head),
        FAIL_ALLOC_TEST(reconnects_1s_2s_4s_with_jitter_1000_clients),
        FAIL_ALLOC_TEST(offline_at_start),
        FAIL_ALLOC_TEST(laptop_sleep),
        FAIL_ALLOC_TEST(html_error_page_with_200),
        FAIL_ALLOC_TEST(retry_0),
        FAIL_ALLOC_TEST(status_204),
        FAIL_ALLOC_TEST(retry_after_seconds_and_date),
        FAIL_ALLOC_TEST(strict_waits_just_the_reconnection_time),
        FAIL_ALLOC_TEST(strict_hides_nothing),
        FAIL_ALLOC_TEST(strict_fails_for_good),
        FAIL_ALLOC_TEST(finite_ends_with_its_body),
        FAIL_ALLOC_TEST(gives_up_after_ten_attempts),
        FAIL_ALLOC_TEST(gives_up_after_the_budget),
        FAIL_ALLOC_TEST(only_failures_without_progress_count),
        FAIL_ALLOC_TEST(the_application_decides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
