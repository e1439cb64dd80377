/* SPDX-License-Identifier: MIT */
/* store_reader.h - readers of a stream on a hub with a store, and what each has
 * been told. */
#ifndef STORE_READER_H
#define STORE_READER_H

#include "store_support.h"

typedef struct reader {
    sse_hub        *hub;
    sse_queue      *queue;
    sse_stream     *stream;
    sse_subscriber *sub;
    char           *text; /* all bytes that it got, with a NUL              */
    size_t          len, cap;
    unsigned        count;  /* of events in it, gaps not counted            */
    uint32_t        reason; /* SSE_REASON_NONE until it ends                */
} reader;

/* A server fetches a stream for the cursor that it was given; a program opens
 * it, and says only then where it begins. */
extern bool reader_like_server;

/* Finds the stream and subscribes; what the two say. */
int  reader_try(reader *r, sse_hub *hub, const char *id, const char *cursor);
void reader_open(reader *r, sse_hub *hub, const char *id, const char *cursor);
void reader_drain(reader *r); /* takes what is there                        */
void reader_close(reader *r);

/* Takes what is there: how many events it has had in all, gaps not counted;
 * whether this text came; the id of its last event. */
unsigned reader_count(reader *r);
bool     reader_has(reader *r, const char *text);
bool     reader_ended(reader *r);
void     reader_last_id(reader *r, char *out, size_t size);

/* Waits until both have had as much, and compares. */
void readers_agree(reader *a, reader *b);

#endif
