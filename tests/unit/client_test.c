/* SPDX-License-Identifier: MIT */
/* client_test.c - the client's machine, with a scripted network and clock. */
#include "support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "fail_alloc.h"

#define URL "https://example.org/api/stream/chat"

/* ---- A world around one client ------------------------------------------- */

typedef struct world {
    sse__client *c;
    int64_t      now, wall;
    uint32_t     live[2]; /* requests under way                             */
    int          live_count, most_live;
    uint32_t     generation;
    char         cursor[128]; /* of the last CONNECT                        */
    bool         poll, overlap, fresh;
    int          connects, tokens, recoveries, decisions, pauses, resumes;
    sse__action  decision;
    int64_t      retry_at;
    bool         off_script; /* an allocation failed: what follows differs  */
    char         text[8192];
} world;

static world w;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *format, ...)
{
    size_t  len = strlen(w.text);
    va_list args;

    va_start(args, format);
    vsnprintf(w.text + len, sizeof(w.text) - len, format, args);
    va_end(args);
}

/* What happened since the last call, in order. */
static void saw(const char *text)
{
    if (!w.off_script)
        assert_string_equal(w.text, text);
    w.text[0] = '\0';
}

#define CHECK(condition) assert_true(w.off_script || (condition))

static void remove_live(uint32_t generation)
{
    for (int i = 0; i < w.live_count; i++) {
        if (w.live[i] != generation)
            continue;
        w.live[i] = w.live[1];
        w.live_count--;
        return;
    }
}

static void begin_request(const sse__action *a)
{
    assert_true(w.live_count < (a->overlap ? 2 : 1));
    w.live[w.live_count++] = a->generation;
    if (w.live_count > w.most_live)
        w.most_live = w.live_count;
    w.generation = a->generation;
    w.poll = a->poll;
    w.overlap = a->overlap;
    snprintf(w.cursor, sizeof(w.cursor), "%.*s", (int)a->cursor_len, a->cursor);
    w.connects++;
}

static void act(const sse__action *a)
{
    switch (a->kind) {
    case SSE__ACT_CONNECT: begin_request(a); break;
    case SSE__ACT_ABORT: remove_live(a->generation); break;
    case SSE__ACT_PAUSE: w.pauses++; break;
    case SSE__ACT_RESUME: w.resumes++; break;
    case SSE__ACT_ASK_TOKEN:
        w.tokens++;
        w.fresh = a->fresh;
        break;
    case SSE__ACT_ASK_RECOVERY: w.recoveries++; break;
    case SSE__ACT_ASK_DECISION:
        w.decisions++;
        w.decision = *a;
        break;
    }
}

static void write_item(const sse__client_item *item)
{
    static const char *const states[] = {"idle",    "connecting", "open",
                                         "waiting", "offline",    "suspended",
                                         "ended"};
    static const char *const gaps[] = {"trimmed",  "expired", "lagged",
                                       "diverged", "other",   "unannounced"};
    const sse_item          *e = &item->event;

    switch (item->kind) {
    case SSE__TOLD_OPEN: note("open %u\n", item->status); break;
    case SSE__TOLD_EVENT:
        note("%.*s|%.*s|%.*s\n", (int)e->type_len, e->type, (int)e->data_len,
             e->data, (int)e->id_len, e->id);
        break;
    case SSE__TOLD_COMMENT: note(":%.*s\n", (int)e->data_len, e->data); break;
    case SSE__TOLD_GAP:
        note("gap %lld-%lld %lld %s\n", (long long)item->from,
             (long long)item->to, (long long)item->missed, gaps[item->gap]);
        break;
    case SSE__TOLD_STATE: note("%s\n", states[item->state]); break;
    case SSE__TOLD_RETRY_AT: w.retry_at = item->at_ms; break;
    case SSE__TOLD_ERROR: note("error %d %u\n", item->why, item->status); break;
    case SSE__TOLD_END: note("end %d\n", item->why); break;
    }
}

static bool do_actions(void)
{
    sse__action a;
    bool        any = false;

    while (sse__client_next_action(w.c, &a)) {
        act(&a);
        any = true;
    }
    return any;
}

static bool take_item(void)
{
    const sse__client_item *item;
    int                     rc = sse__client_next_item(w.c, w.now, &item);

    if (fail_alloc_again(rc)) {
        w.off_script = true;
        return true;
    }
    assert_true(rc >= 0);
    if (rc > 0)
        write_item(item);
    return rc > 0;
}

static void pump(void)
{
    do
        while (take_item()) {
        }
    while (do_actions());
}

static void tick(int64_t ms)
{
    w.now += ms;
    w.wall += ms;
    sse__client_tick(w.c, w.now, w.wall);
    pump();
}

/* Lets time pass as a loop does: tick by tick, when they are due. */
static void pass(int64_t ms)
{
    int64_t end = w.now + ms;

    while (w.now < end) {
        int64_t at = sse__client_deadline(w.c);

        if (at > end)
            at = end;
        tick(at > w.now ? at - w.now : 1);
    }
}

static void make(const sse__client_options *o)
{
    memset(&w, 0, sizeof(w));
    w.now = 1000;
    w.wall = INT64_C(1700000000000);
    OK(sse__client_new(o, URL, strlen(URL), &w.c));
}

static void begin(const sse__client_options *o)
{
    make(o);
    sse__client_start(w.c, w.now, w.wall);
    pump();
}

static void end(void)
{
    sse__client_free(w.c);
    w.c = NULL;
}

static void head(uint32_t status, const char *type, const char *retry_after)
{
    sse__head h = {
        .status = status,
        .content_type = type,
        .content_type_len = strlen(type),
        .retry_after = retry_after,
        .retry_after_len = strlen(retry_after),
    };

    sse__client_on_connected(w.c, w.generation, w.now);
    OK(sse__client_on_head(w.c, w.generation, w.now, w.wall, &h));
    if (status != 200)
        remove_live(w.generation);
    pump();
}

static void ok(void)
{
    head(200, "text/event-stream", "");
}

static void bytes(const char *text)
{
    char *copy = strdup(text);

    assert_non_null(copy);
    OK(sse__client_on_bytes(w.c, w.generation, w.now, copy, strlen(text)));
    free(copy);
    pump();
}

static void finish(void)
{
    remove_live(w.generation);
    OK(sse__client_on_end(w.c, w.generation, w.now));
    pump();
}

static void cut(void)
{
    remove_live(w.generation);
    sse__client_on_error(w.c, w.generation, w.now, SSE_CAUSE_NETWORK);
    pump();
}

static void wait_for_retry(void)
{
    if (w.retry_at > w.now)
        pass(w.retry_at - w.now);
}

static void begin_open(const sse__client_options *o)
{
    begin(o);
    ok();
    CHECK(w.connects == 1);
    saw("connecting\nopen 200\nopen\n");
}

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

/* ---- Each event once, and no loss in silence ----------------------------- */

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
        FAIL_ALLOC_TEST(falls_back_to_long_poll_and_returns),
        FAIL_ALLOC_TEST(a_stream_will_do_for_a_long_poll),
        FAIL_ALLOC_TEST(a_broken_answer_is_tried_again),
        FAIL_ALLOC_TEST(comments_are_told_when_asked_for),
        FAIL_ALLOC_TEST(refuses_bad_options),
        FAIL_ALLOC_TEST(no_allocation_that_fails_loses_an_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
