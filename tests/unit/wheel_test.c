/* SPDX-License-Identifier: MIT */
/* wheel_test.c - timers on a scripted clock. */
#include "support.h"

#include <stdlib.h>

#include "wheel.h"

#define TICK SSE__WHEEL_TICK_MS
#define TURN ((int64_t)TICK * SSE__WHEEL_SLOTS)
#define START INT64_C(1000003)

static sse__wheel wheel;

static void nothing(sse__timer *t)
{
    (void)t;
}

static int setup(void **state)
{
    (void)state;
    sse__wheel_init(&wheel, START);
    return 0;
}

static int pop_all(int64_t now_ms)
{
    int n = 0;

    while (sse__wheel_pop(&wheel, now_ms))
        n++;
    return n;
}

/* When `t`, alone on the wheel, fires, looking every millisecond. */
static int64_t fires_at(sse__timer *t, int64_t from_ms)
{
    for (int64_t now = from_ms;; now++) {
        sse__timer *got = sse__wheel_pop(&wheel, now);

        if (got) {
            assert_ptr_equal(got, t);
            assert_false(sse__timer_is_set(t));
            return now;
        }
        assert_true(now < t->due_ms + 2 * TICK);
    }
}

static void empty_at_first(void **state)
{
    (void)state;
    assert_true(sse__wheel_next_ms(&wheel) == INT64_MAX);
    assert_int_equal(pop_all(START + 10 * TURN), 0);
    assert_true(sse__wheel_next_ms(&wheel) == INT64_MAX);
}

static void fires_on_time(void **state)
{
    sse__timer t;
    int64_t    now = START;

    (void)state;
    sse__timer_init(&t, nothing);
    for (int64_t delay = 0; delay < 3 * TICK; delay++) {
        int64_t due = now + delay;

        sse__wheel_set(&wheel, &t, due);
        assert_true(sse__timer_is_set(&t));
        now = fires_at(&t, now);
        assert_true(now >= due);
        assert_true(now <= due + TICK);
    }
}

/* Sleeping as it says finds the timer on the first look that matters. */
static void says_when_to_look(void **state)
{
    sse__timer t;
    int64_t    now = START;

    (void)state;
    sse__timer_init(&t, nothing);
    for (int64_t delay = 1; delay < 5 * TURN; delay = delay * 3 + 1) {
        int64_t due = now + delay;
        int     looks = 0;

        sse__wheel_set(&wheel, &t, due);
        for (;;) {
            int64_t next = sse__wheel_next_ms(&wheel);

            assert_true(next > now);
            assert_true(next <= due + TICK);
            now = next;
            looks++;
            if (sse__wheel_pop(&wheel, now) == &t)
                break;
        }
        assert_null(sse__wheel_pop(&wheel, now));
        assert_true(now >= due);
        assert_true(looks <= 1 + (delay + TURN - 1) / TURN);
        assert_true(sse__wheel_next_ms(&wheel) == INT64_MAX);
    }
}

static void waits_for_later_turns(void **state)
{
    sse__timer near, far;
    int64_t    due = START + 3 * TURN + 5 * TICK;

    (void)state;
    sse__timer_init(&near, nothing);
    sse__timer_init(&far, nothing);
    sse__wheel_set(&wheel, &far, due);
    sse__wheel_set(&wheel, &near, due - 3 * TURN); /* in the same slot */
    assert_ptr_equal(sse__wheel_pop(&wheel, due - 3 * TURN + TICK), &near);
    assert_int_equal(pop_all(due - 1), 0);
    assert_ptr_equal(sse__wheel_pop(&wheel, due + TICK), &far);
}

static void survives_a_jump_of_the_clock(void **state)
{
    enum { COUNT = 2000 };
    static sse__timer timers[COUNT];
    int64_t           now = START + 7 * TURN;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        sse__timer_init(&timers[i], nothing);
        sse__wheel_set(&wheel, &timers[i], START + i * TURN / 200);
    }
    assert_int_equal(pop_all(now), 1400);
    assert_int_equal(pop_all(now), 0);
    assert_int_equal(pop_all(START - 1000), 0); /* back: nothing happens */
    assert_int_equal(pop_all(START + 10 * TURN + TICK), 600);
    assert_true(sse__wheel_next_ms(&wheel) == INT64_MAX);
}

/* What is due in the past fires at the next tick, not never. */
static void fires_what_is_past(void **state)
{
    sse__timer t;

    (void)state;
    sse__timer_init(&t, nothing);
    sse__wheel_set(&wheel, &t, 0);
    assert_true(sse__wheel_next_ms(&wheel) <= START + TICK);
    assert_ptr_equal(sse__wheel_pop(&wheel, START + TICK), &t);
}

static void sets_anew_and_drops(void **state)
{
    sse__timer t;

    (void)state;
    sse__timer_init(&t, nothing);
    sse__timer_drop(&t); /* not set: nothing happens */
    sse__wheel_set(&wheel, &t, START + 100);
    sse__wheel_set(&wheel, &t, START + 1000);
    assert_int_equal(pop_all(START + 999), 0);
    sse__wheel_set(&wheel, &t, START + 1100);
    assert_ptr_equal(sse__wheel_pop(&wheel, START + 1100 + TICK), &t);
    assert_null(sse__wheel_pop(&wheel, START + 9000));
    sse__wheel_set(&wheel, &t, START + 9100);
    sse__timer_drop(&t);
    assert_false(sse__timer_is_set(&t));
    assert_int_equal(pop_all(START + 2 * TURN), 0);
    assert_true(sse__wheel_next_ms(&wheel) == INT64_MAX);
}

/* A timer that is set again when it fires comes once a look, not for ever;
 * one that another one drops does not come. */
static void changes_while_firing(void **state)
{
    sse__timer a, b, *t;
    int64_t    now = START + 100 + TICK;
    int        fired = 0;

    (void)state;
    sse__timer_init(&a, nothing);
    sse__timer_init(&b, nothing);
    sse__wheel_set(&wheel, &a, START + 100);
    while ((t = sse__wheel_pop(&wheel, now))) {
        sse__wheel_set(&wheel, t, now);
        assert_true(++fired < 3);
    }
    assert_int_equal(fired, 1);
    assert_ptr_equal(sse__wheel_pop(&wheel, now + TICK), &a);

    now += TURN;
    sse__wheel_set(&wheel, &a, now);
    sse__wheel_set(&wheel, &b, now);
    t = sse__wheel_pop(&wheel, now + TICK);
    sse__timer_drop(t == &a ? &b : &a);
    assert_null(sse__wheel_pop(&wheel, now + TICK));
}

/* Against the rule itself, at random. */
static void keeps_the_rule_at_random(void **state)
{
    enum { COUNT = 300 };
    static sse__timer timers[COUNT];
    int64_t           now = START;

    (void)state;
    srand(3);
    for (int i = 0; i < COUNT; i++)
        sse__timer_init(&timers[i], nothing);
    for (int step = 0; step < 20000; step++) {
        sse__timer *t = &timers[rand() % COUNT];
        int64_t     min = INT64_MAX;

        if (rand() % 10 == 0)
            sse__timer_drop(t);
        else
            sse__wheel_set(&wheel, t, now + rand() % (2 * (int)TURN));
        now += rand() % 100 ? rand() % 50 : rand() % (3 * (int)TURN);
        while ((t = sse__wheel_pop(&wheel, now)))
            assert_true(t->due_ms <= now);
        for (int i = 0; i < COUNT; i++)
            if (sse__timer_is_set(&timers[i]) && timers[i].due_ms < min)
                min = timers[i].due_ms;
        assert_true(min == INT64_MAX || min > now - TICK);
        if (min != INT64_MAX)
            assert_true(sse__wheel_next_ms(&wheel) <= min + TICK);
    }
}

/* A hundred thousand timers that are not due cost a look nothing: a linear
 * look at each of two million would not end before the runner's patience. */
static void looks_are_cheap(void **state)
{
    enum { COUNT = 100000 };
    sse__timer *timers = calloc(COUNT, sizeof(*timers));
    int64_t     now = START;

    (void)state;
    assert_non_null(timers);
    for (int i = 0; i < COUNT; i++) {
        sse__timer_init(&timers[i], nothing);
        sse__wheel_set(&wheel, &timers[i], START + TURN - TICK * (1 + i % 3));
    }
    for (int i = 0; i < 1000000; i++)
        if (sse__wheel_pop(&wheel, now + i / 100))
            fail();
    assert_int_equal(pop_all(START + TURN + TICK), COUNT);
    free(timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(empty_at_first, setup),
        cmocka_unit_test_setup(fires_on_time, setup),
        cmocka_unit_test_setup(says_when_to_look, setup),
        cmocka_unit_test_setup(waits_for_later_turns, setup),
        cmocka_unit_test_setup(survives_a_jump_of_the_clock, setup),
        cmocka_unit_test_setup(fires_what_is_past, setup),
        cmocka_unit_test_setup(sets_anew_and_drops, setup),
        cmocka_unit_test_setup(changes_while_firing, setup),
        cmocka_unit_test_setup(keeps_the_rule_at_random, setup),
        cmocka_unit_test_setup(looks_are_cheap, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
