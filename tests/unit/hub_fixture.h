/* SPDX-License-Identifier: MIT */
/* hub_fixture.h - a hub of the core's on a scripted clock. */
#ifndef HUB_FIXTURE_H
#define HUB_FIXTURE_H

#include <string.h>

#include "fail_alloc.h"
#include "subscriber.h"
#include "support.h"

#define WALL INT64_C(1800000000000)

static sse__hub  hub;
static sse__port port; /* of readers */
static sse__port boss; /* of producers */
static int64_t   now_ms;

static inline void open_hub(const sse_hub_options *opts)
{
    now_ms = 1000;
    OK(sse__hub_init(&hub, opts, 7, now_ms, WALL + now_ms));
    sse__port_init(&port, &hub);
    sse__port_init(&boss, &hub);
}

static inline void close_hub(void)
{
    sse__port_free(&port);
    sse__port_free(&boss);
    sse__hub_free(&hub);
    assert_int_equal(hub.counters.active, 0);
    assert_int_equal(hub.counters.subscribers, 0);
}

static inline void pass(int64_t ms)
{
    now_ms += ms;
    sse__hub_set_time(&hub, now_ms, WALL + now_ms);
    sse__hub_tick(&hub);
}

static inline sse__stream *create(const char *id, sse__port *producer,
                                  const sse_stream_options *opts)
{
    sse__stream *s;
    size_t       len = strlen(id);

    OK(sse__stream_create(&hub, guarded(id, len), len, producer, opts, &s));
    return s;
}

static inline void append(sse__stream *s, const char *data)
{
    sse__new_event e = {"", 0, data, strlen(data)};

    OK(sse__stream_append(s, &e, 1, NULL));
}

#endif
