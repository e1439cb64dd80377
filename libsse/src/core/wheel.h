/* SPDX-License-Identifier: MIT */
/* wheel.h - timers: one hashed wheel for all of a hub's, O(1) to set, to drop
 * and per tick. A timer fires up to one tick late, never early. */
#ifndef SSE_CORE_WHEEL_H
#define SSE_CORE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "list.h"

#define SSE__WHEEL_TICK_MS 32
#define SSE__WHEEL_SLOTS 512

typedef struct sse__timer {
    sse__link link; /* on a slot of the wheel, or alone: not set            */
    int64_t   due_ms;
    void (*fire)(struct sse__timer *t); /* for whoever pops it              */
} sse__timer;

typedef struct sse__wheel {
    int64_t   tick;      /* slots before this tick have been taken          */
    int64_t   next_tick; /* no timer is due in a tick before this one       */
    sse__link due;       /* taken off their slots and not yet looked at     */
    sse__link slots[SSE__WHEEL_SLOTS];
} sse__wheel;

void sse__wheel_init(sse__wheel *w, int64_t now_ms);

void sse__timer_init(sse__timer *t, void (*fire)(sse__timer *t));
bool sse__timer_is_set(const sse__timer *t);
void sse__timer_drop(sse__timer *t);
void sse__wheel_set(sse__wheel *w, sse__timer *t, int64_t due_ms);

/* Takes one timer that is due off the wheel, or returns NULL. Call until NULL,
 * then sleep until sse__wheel_next_ms(). */
sse__timer *sse__wheel_pop(sse__wheel *w, int64_t now_ms);

/* When the next timer may fire; INT64_MAX when none is set. */
int64_t sse__wheel_next_ms(const sse__wheel *w);

#endif
