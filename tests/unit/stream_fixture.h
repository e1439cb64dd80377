/* SPDX-License-Identifier: MIT */
/* stream_fixture.h - streams, and what is in them. */
#ifndef STREAM_FIXTURE_H
#define STREAM_FIXTURE_H

#include "hub_fixture.h"

static inline int append_as(sse__stream *s, const char *type, const char *data,
                            size_t len, sse_event_id *out)
{
    sse__new_event e = {type, strlen(type), data, len};

    return sse__stream_append(s, &e, 1, out);
}

static inline int end_as(sse__stream *s, uint32_t state, const char *type,
                         const char *data)
{
    sse__new_event e = {type, strlen(type), data, strlen(data)};

    return sse__stream_end(s, state, &e, NULL);
}

static inline bool exists(const char *id)
{
    return sse__hub_find(&hub, id, strlen(id)) != NULL;
}

static inline void subscribe(sse__subscriber *sub, sse__stream *s)
{
    OK(sse__subscriber_open(sub, s, &port, "", 0, NULL));
}

/* What the log holds, as a reader would get it. */
static inline const char *wire(sse__stream *s)
{
    static char text[100000];
    uint64_t    seq = s->log.first_seq;
    sse__span   spans[4];
    size_t      len = 0;
    uint32_t    n;

    while ((n = sse__log_read(&s->log, &seq, SIZE_MAX, spans, 4)) > 0)
        for (uint32_t i = 0; i < n; i++) {
            assert_true(len + spans[i].len < sizeof(text));
            memcpy(text + len, spans[i].data, spans[i].len);
            len += spans[i].len;
            sse__segment_unpin(spans[i].seg);
        }
    text[len] = '\0';
    return text;
}

#endif
