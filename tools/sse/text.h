/* SPDX-License-Identifier: MIT */
/* text.h - growing text, and JSON strings written into it. */
#ifndef SSE_TOOL_TEXT_H
#define SSE_TOOL_TEXT_H

#include <stddef.h>

#include "sse.h"

/* All zeros is an empty text. Running out of memory ends the program. */
typedef struct text {
    char  *data; /* with a NUL behind it, once something was added          */
    size_t len;
    size_t size; /* allocated                                               */
} text;

/* Makes room for `len` bytes more behind the text, and a NUL. */
char *text_reserve(text *t, size_t len);

void text_add(text *t, const char *data, size_t len);
void text_add_string(text *t, const char *string);

/* Adds UTF-8 as a JSON string with its quotes, as JSON.stringify() does. */
void text_add_json(text *t, const char *data, size_t len);

/* Adds an event as a line: {"type":"...","data":"...","lastEventId":"..."} */
void text_add_event(text *t, const sse_item *event);

/* Adds bytes that may be no UTF-8: each broken sequence becomes U+FFFD, as in
 * any decoder of event streams. */
void text_add_utf8(text *t, const char *data, size_t len);

/* Adds text from elsewhere for a terminal: each control character becomes a
 * question mark. */
void text_add_printable(text *t, const char *string);

/* Writes it to standard output and empties it. Returns EXIT_OK, or EXIT_FAILED:
 * after a complaint, but a broken pipe is no news to anybody, and ends the
 * program as quietly as SIGPIPE does where that is not ignored. */
int text_write(text *t);

void text_clear(text *t);
void text_free(text *t);

#endif
