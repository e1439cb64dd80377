/* SPDX-License-Identifier: MIT */
/* queue_fixture.h - a hub, one queue, and what comes out of it. */
#ifndef QUEUE_FIXTURE_H
#define QUEUE_FIXTURE_H

#include <string.h>

#include "fail_alloc.h"
#include "support.h"

static sse_hub   *hub;
static sse_queue *q;

static inline void open_all(void)
{
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};

    OK(sse_hub_new(&opts, &hub));
    OK(sse_queue_new(hub, NULL, &q));
}

static inline void close_all(void)
{
    sse_queue_free(q);
    sse_hub_free(hub);
}

static inline sse_stream *create(const char *id, sse_queue *producer,
                                 uint64_t key)
{
    sse_stream_options opts = {.size = sizeof(opts), .key = key};
    sse_stream        *s;

    OK(sse_stream_new(hub, id, strlen(id), producer, &opts, &s));
    return s;
}

static inline void append(sse_stream *s, const char *data)
{
    OK(sse_stream_append(s, "", 0, data, strlen(data), NULL));
}

static inline sse_subscriber *subscribe(sse_stream *s, sse_queue *to,
                                        uint64_t key, uint32_t flags)
{
    sse_subscriber_options opts = {
        .size = sizeof(opts), .key = key, .flags = flags};
    sse_subscriber *sub;

    OK(sse_subscriber_new(s, to, "", 0, &opts, &sub));
    return sub;
}

static const sse_batch *batch;

static inline int drain(uint32_t max_notes)
{
    return RETRY(sse_queue_drain(q, max_notes, &batch));
}

static inline void assert_note(size_t i, uint32_t kind, uint32_t reason,
                               uint64_t key)
{
    assert_true(i < batch->note_count);
    assert_int_equal(batch->notes[i].kind, kind);
    assert_int_equal(batch->notes[i].reason, reason);
    assert_int_equal(batch->notes[i].key, key);
    assert_true(batch->notes[i].offset + batch->notes[i].len <=
                batch->data_len);
}

static inline bool note_has(size_t i, const char *text)
{
    const sse_note *note = &batch->notes[i];

    return memmem(batch->data + note->offset, note->len, text, strlen(text)) !=
           NULL;
}

#endif
