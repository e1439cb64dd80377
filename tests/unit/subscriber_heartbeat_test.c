/* SPDX-License-Identifier: MIT */
/* subscriber_heartbeat_test.c - how readers are greeted and kept alive. */
#include <stdlib.h>

#include "subscriber_fixture.h"

static void greets_once(void **state)
{
    sse_subscriber_options opts = {.size = sizeof(opts), .retry_ms = 77};
    sse__subscriber        sub;
    sse__stream           *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    subscribe(&sub, s, "");
    assert_drained(&sub, "retry: 1000\n\n");
    append(s, "a");
    assert_int_equal(strncmp(drain(&sub), "id: 1-", 6), 0);
    sse__subscriber_close(&sub);
    OK(sse__subscriber_open(&sub, s, &port, "$", 1, &opts));
    assert_drained(&sub, "retry: 77\n\n");
    sse__subscriber_close(&sub);
    opts.retry_ms = SSE_NEVER;
    OK(sse__subscriber_open(&sub, s, &port, "$", 1, &opts));
    assert_drained(&sub, "");
    sse__subscriber_close(&sub);
    close_hub();
}

#define BEAT ": heartbeat\n\n"

static void beats_when_idle(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    subscribe(&sub, s, "");
    assert_drained(&sub, "");
    pass(999);
    assert_drained(&sub, "");
    pass(100);
    assert_drained(&sub, BEAT);
    pass(500);
    append(s, "a"); /* bytes: the silence begins anew */
    assert_non_null(strstr(drain(&sub), "data: a"));
    pass(900);
    assert_drained(&sub, "");
    pass(200);
    assert_drained(&sub, BEAT);
    pass(100000); /* a nap of the machine: one, not a hundred */
    assert_drained(&sub, BEAT);
    pass(1100);
    append(s, "b"); /* both at once: the event says enough */
    assert_null(strstr(drain(&sub), BEAT));
    sse__subscriber_close(&sub);
    assert_int_equal(hub.counters.heartbeats, 3);
    close_hub();
}

static void assert_beat(uint32_t how, const char *text)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .retry_ms = SSE_NEVER,
                            .heartbeat_ms = 1000,
                            .heartbeat = how};
    sse__subscriber sub;

    open_hub(&opts);
    subscribe(&sub, create("s", NULL, NULL), "");
    drain(&sub);
    pass(1100);
    assert_drained(&sub, text);
    sse__subscriber_close(&sub);
    close_hub();
}

static void beats_as_asked(void **state)
{
    (void)state;
    assert_beat(SSE_HEARTBEAT_EVENT, "event: heartbeat\ndata: \n\n");
    assert_beat(SSE_HEARTBEAT_LINE, ": heartbeat\n");
}

static void never_beats(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = SSE_NEVER};
    sse_subscriber_options own = {.size = sizeof(own), .heartbeat_ms = 50};
    sse__subscriber        never, often;
    sse__stream           *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    subscribe(&never, s, "");
    assert_drained(&never, "");
    OK(sse__subscriber_open(&often, s, &port, "", 0, &own));
    assert_drained(&often, "");
    for (int i = 0; i < 100; i++) {
        pass(100);
        assert_drained(&often, BEAT);
    }
    sse__subscriber_close(&never);
    sse__subscriber_close(&often);
    close_hub();
}

/* One whose bytes are still under way needs no sign of life. */
static void does_not_beat_while_taken(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    append(s, "a");
    subscribe(&sub, s, "");
    sse__port_take(&port);
    take_text(&sub, 1000);
    pass(5000);
    assert_null(sse__port_take(&port));
    sse__subscriber_give(&sub);
    assert_drained(&sub, "");
    pass(1100);
    assert_drained(&sub, BEAT);
    sse__subscriber_close(&sub);
    close_hub();
}

/* Ten thousand idle readers: each gets one a period. A tick that looked at
 * all of them would look six hundred million times, and not end in time. */
static void beats_for_ten_thousand(void **state)
{
    enum { COUNT = 10000, PERIODS = 20 };
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = 15000};
    sse__subscriber *subs = calloc(COUNT, sizeof(*subs)), *sub;
    uint32_t        *beats = calloc(COUNT, sizeof(*beats));
    sse__stream     *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    for (int i = 0; i < COUNT; i++) {
        subscribe(&subs[i], s, "");
        if (i % 10 == 0)
            pass(15);
    }
    for (int step = 0; step < PERIODS * 15000 / 5; step++) {
        pass(5);
        while ((sub = sse__port_take(&port))) {
            take_text(sub, 1000);
            beats[sub - subs] += strcmp(taken, BEAT) == 0;
            sse__subscriber_give(sub);
        }
        port.armed = true;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(beats[i], PERIODS - 1, PERIODS);
        sse__subscriber_close(&subs[i]);
    }
    free(subs);
    free(beats);
    close_hub();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greets_once),
        cmocka_unit_test(beats_when_idle),
        cmocka_unit_test(beats_as_asked),
        cmocka_unit_test(never_beats),
        cmocka_unit_test(does_not_beat_while_taken),
        cmocka_unit_test(beats_for_ten_thousand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
