/* SPDX-License-Identifier: MIT */
/* writer.h - writes one stream of a server: each event once, in order. */
#ifndef SSE_TOOL_WRITER_H
#define SSE_TOOL_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http.h"
#include "text.h"
#include "url.h"

typedef enum writer_result {
    WRITER_OK,
    WRITER_TOO_LARGE,   /* 413, nothing printed: fewer events may pass      */
    WRITER_REFUSED,     /* printed; the stream is there and still open      */
    WRITER_FAILED,      /* printed; the stream is out of reach or has ended */
    WRITER_INTERRUPTED  /* a signal came                                    */
} writer_result;

typedef struct writer {
    http       http;
    stream_url url;
    bool       verbose;
    int64_t    retry_ms; /* how long to try again what failed               */

    text    last_id;  /* of the last event known to be in the stream, "0"
                       * before the first; empty: the server would not say  */
    int64_t since_ms; /* of the first failure in a row, 0 after a success   */
    int     attempts; /* failures in a row                                  */
} writer;

void writer_init(writer *w);
void writer_free(writer *w);

/* Creates the stream, or finds it. */
writer_result writer_create(writer *w);

/* Appends a batch, one JSON object a line. */
writer_result writer_append(writer *w, const text *batch);

writer_result writer_complete(writer *w);

/* Ends the stream as failed, for `reason`. Tries once and says nothing. */
void writer_fail(writer *w, const char *reason);

#endif
