/* SPDX-License-Identifier: MIT */
/* subscriber_fixture.h - readers, and what each gets. */
#ifndef SUBSCRIBER_FIXTURE_H
#define SUBSCRIBER_FIXTURE_H

#include <stdio.h>

#include "hub_fixture.h"

static inline void end(sse__stream *s)
{
    sse__new_event e = {"", 0, "{}", 2};

    OK(sse__stream_end(s, SSE_STATE_COMPLETED, &e, NULL));
}

static inline int subscribe_to(sse__subscriber *sub, sse__stream *s,
                               const char *cursor)
{
    size_t len = strlen(cursor);

    return sse__subscriber_open(sub, s, &port, guarded(cursor, len), len, NULL);
}

static inline void subscribe(sse__subscriber *sub, sse__stream *s,
                             const char *cursor)
{
    OK(subscribe_to(sub, s, cursor));
}

/* What one take gave, as text; the end as "[REASON]". */
static char taken[100000];

static inline void take_text(sse__subscriber *sub, size_t max_bytes)
{
    sse__take take;
    size_t    len;

    assert_true(sub->taken);
    sse__subscriber_take(sub, max_bytes, &take);
    assert_true(take.prefix_len <= sizeof(take.prefix));
    assert_true(take.bytes + 100 < sizeof(taken));
    memcpy(taken, take.prefix, len = take.prefix_len);
    for (uint32_t i = 0; i < take.span_count; i++) {
        memcpy(taken + len, take.spans[i].data, take.spans[i].len);
        len += take.spans[i].len;
    }
    assert_int_equal(len, take.bytes);
    taken[len] = '\0';
    if (take.end)
        snprintf(taken + len, 20, "[%u]", take.end);
    sse__take_drop(&take);
}

/* Everything that `sub`, the only one with something, gets. */
static inline const char *drain(sse__subscriber *sub)
{
    static char      all[sizeof(taken)];
    sse__subscriber *got;

    all[0] = '\0';
    while ((got = sse__port_take(&port))) {
        assert_ptr_equal(got, sub);
        take_text(sub, 1u << 20);
        strcat(all, taken);
        if (strchr(taken, '['))
            sse__subscriber_close(sub);
        else
            sse__subscriber_give(sub);
    }
    port.armed = true;
    return all;
}

#define assert_drained(sub, text) assert_string_equal(drain(sub), text)

#endif
