/* SPDX-License-Identifier: MIT */
/* subscriber.h - a reader of a stream, and what it takes. */
#ifndef SSE_CORE_SUBSCRIBER_H
#define SSE_CORE_SUBSCRIBER_H

#include "stream.h"

#define SSE__SPANS 4u

/* The subscribers of one stream at one port. */
typedef struct sse__feed {
    sse__stream *stream;
    sse__port   *port;
    sse__link    stream_link, port_link;
    sse__link    idle;
    uint32_t     count;
} sse__feed;

struct sse__subscriber {
    sse__link  link;        /* on idle or ready; alone while taken          */
    sse__link  stream_link;
    sse__feed *feed;        /* NULL: closed, or never attached              */
    sse__stream *stream;    /* what it reads; counted while attached        */
    sse__timer beat;
    int64_t    last_ms;     /* when it last got a byte                      */
    uint64_t   seq;         /* the next event it wants                      */
    uint32_t   heartbeat_ms;
    uint32_t   retry_ms;    /* told with its first bytes; SSE_NEVER         */
    uint32_t   end;         /* an sse_reason: it ends with the next take    */
    uint8_t    gap;         /* the reason if it turns out to be behind      */
    bool       diverged;    /* say so with the next take                    */
    bool       greeted;     /* it had its first take                        */
    bool       beat_due;
    bool       taken;
};

/* What a subscriber gets at once: a prefix made for it alone, then the log. */
typedef struct sse__take {
    char      prefix[184];
    uint32_t  prefix_len;
    uint32_t  span_count;
    sse__span spans[SSE__SPANS];
    size_t    bytes;        /* of the prefix and the spans                  */
    uint32_t  end;          /* an sse_reason: these were its last bytes     */
} sse__take;

int  sse__subscriber_open(sse__subscriber *sub, sse__stream *s, sse__port *p,
                          const char *cursor, size_t cursor_len,
                          const sse_subscriber_options *opts);

/* Places a subscriber that belongs to no port: for one look at a log, within
 * one hold of the lock. It is not closed. Errors as for open. */
int  sse__subscriber_look(sse__subscriber *sub, sse__stream *s,
                          const char *cursor, size_t cursor_len);
void sse__subscriber_close(sse__subscriber *sub);
bool sse__subscriber_is_open(const sse__subscriber *sub);

/* No take gives more than this: one event may be longer than `max_bytes`. */
size_t sse__subscriber_need(const sse__subscriber *sub, size_t max_bytes);

/* Fills `out` with what a taken subscriber has; `out->bytes` may be 0. */
void sse__subscriber_take(sse__subscriber *sub, size_t max_bytes,
                          sse__take *out);

/* The same for one that was opened a moment ago and not taken yet. */
void sse__subscriber_take_now(sse__subscriber *sub, size_t max_bytes,
                              sse__take *out);
void sse__take_drop(sse__take *take); /* unpins; any thread */

/* Gives a taken subscriber back: its bytes are on their way. */
void sse__subscriber_give(sse__subscriber *sub);

void sse__subscriber_make_ready(sse__subscriber *sub);

#endif
