/* SPDX-License-Identifier: MIT */
/* handlers.h - what answers a request, by the file it is in. */
#ifndef SSE_IO_HANDLERS_H
#define SSE_IO_HANDLERS_H

#include "respond.h"

/* ---- routes.c ---- */

void sse__route(sse_request *r);

/* Whether the owner rule lets the request at the stream. With the lock. */
bool sse__request_may(const sse_request *r, const sse__stream *s);

/* The stream that the request's path names, if it may see it, or NULL. With
 * the lock. */
sse__stream *sse__request_stream(const sse_request *r);

/* ---- append.c ---- */

void sse__append_events(sse_request *r);
void sse__append_end(sse_request *r, uint32_t state);
void sse__append_retry(sse_server *s); /* looks at the parked ones again */
void sse__append_again(sse__conn *c);  /* looks at this one */

/* ---- api.c ---- */

void sse__api_create(sse_request *r);
void sse__api_list(sse_request *r);
void sse__api_remove(sse_request *r);
void sse__api_stop(sse_request *r);
void sse__api_recover(sse_request *r);
void sse__api_metrics(sse_request *r);
void sse__api_health(sse_request *r);

/* ---- reader.c ---- */

void sse__reader_start(sse_request *r); /* subscribes, and answers */
bool sse__reader_flush(sse_server *s); /* true: it stopped early */
void sse__reader_written(sse__conn *c);
void sse__reader_goodbye(sse__conn *c); /* ends a stream for a shutdown     */
void sse__reader_poll_timeout(sse__conn *c);

/* ---- ask.c ---- */

struct sse__op;

/* Puts a question to the store, with the lock; `then` is called on the loop,
 * without it, unless the caller goes away first. The op is ask.c's. */
void sse__ask(sse_request *r, struct sse__op *op,
              void (*then)(sse_request *r, struct sse__op *op));
void sse__ask_answers(sse_server *s);  /* calls them */
void sse__ask_give_up(sse_request *r); /* its answer does not come */

/* The same for a fetch, behind which the request is answered anew by `again`, with
 * its `fetched` set. */
void sse__ask_and_go_on(sse_request *r, struct sse__op *op,
                        void (*again)(sse_request *r));

typedef enum sse__ask_for {
    SSE__ASK_WHAT = 0,   /* the stream is; the cursor says nothing          */
    SSE__ASK_EVENTS = 1, /* for a reader at the cursor                      */
    SSE__ASK_NOW = 2     /* the same, with all that there is by now         */
} sse__ask_for;

/* Sees to it that so much of the path's stream is here, if there is one. True:
 * the request waits for the store, and `again` follows; or it has been
 * answered. */
bool sse__ask_for_stream(sse_request *r, const char *cursor, size_t cursor_len,
                         sse__ask_for what, void (*again)(sse_request *r));

/* ---- events.c ---- */

/* Adds the events in `take` as JSON objects, with commas between; `*last` gets
 * the last id among them. Errors as for buf add. */
int sse__events_add(sse__buf *out, const sse__take *take, sse_event_id *last,
                    bool *first);
int sse__stream_json(sse__buf *out, const sse_stream_info *info);

/* A parser without limits: for what is in the log already. */
int sse__events_parser(sse_parser **out);
int sse__time_json(sse__buf *out, int64_t ms); /* ISO 8601, quoted */

#endif
