/* SPDX-License-Identifier: MIT */
/* wheel.c - a hashed timer wheel. */
#include "wheel.h"

#define NONE INT64_MAX

static sse__link *slot_of(sse__wheel *w, int64_t tick)
{
    return &w->slots[(uint64_t)tick % SSE__WHEEL_SLOTS];
}

static int64_t tick_of(int64_t ms)
{
    return ms / SSE__WHEEL_TICK_MS;
}

void sse__wheel_init(sse__wheel *w, int64_t now_ms)
{
    w->tick = tick_of(now_ms);
    w->next_tick = NONE;
    sse__list_init(&w->due);
    for (int i = 0; i < SSE__WHEEL_SLOTS; i++)
        sse__list_init(&w->slots[i]);
}

void sse__timer_init(sse__timer *t, void (*fire)(sse__timer *t))
{
    sse__list_init(&t->link);
    t->due_ms = 0;
    t->fire = fire;
}

bool sse__timer_is_set(const sse__timer *t)
{
    return !sse__list_empty(&t->link);
}

void sse__timer_drop(sse__timer *t)
{
    sse__list_drop(&t->link);
}

void sse__wheel_set(sse__wheel *w, sse__timer *t, int64_t due_ms)
{
    int64_t tick = tick_of(due_ms);

    if (tick < w->tick)
        tick = w->tick; /* the past fires with the next tick that ends */
    sse__list_drop(&t->link);
    t->due_ms = due_ms;
    sse__list_add(slot_of(w, tick), &t->link);
    if (tick < w->next_tick)
        w->next_tick = tick;
}

/* Moves the slots of all ticks that have ended to `due`. */
static void take_slots(sse__wheel *w, int64_t now_ms)
{
    int64_t now = tick_of(now_ms);

    if (now - w->tick > SSE__WHEEL_SLOTS)
        w->tick = now - SSE__WHEEL_SLOTS; /* each slot once is enough */
    while (w->tick < now)
        sse__list_splice(&w->due, slot_of(w, w->tick++));
}

static void find_next(sse__wheel *w)
{
    w->next_tick = NONE;
    for (int64_t tick = w->tick; tick < w->tick + SSE__WHEEL_SLOTS; tick++) {
        if (!sse__list_empty(slot_of(w, tick))) {
            w->next_tick = tick;
            return;
        }
    }
}

sse__timer *sse__wheel_pop(sse__wheel *w, int64_t now_ms)
{
    take_slots(w, now_ms);
    while (!sse__list_empty(&w->due)) {
        sse__timer *t = SSE__OWNER(w->due.next, sse__timer, link);

        if (tick_of(t->due_ms) < w->tick) {
            sse__list_drop(&t->link);
            return t;
        }
        sse__wheel_set(w, t, t->due_ms); /* of a later turn of the wheel */
    }
    if (w->next_tick < w->tick)
        find_next(w);
    return NULL;
}

int64_t sse__wheel_next_ms(const sse__wheel *w)
{
    if (w->next_tick == NONE)
        return NONE;
    return (w->next_tick + 1) * SSE__WHEEL_TICK_MS;
}
