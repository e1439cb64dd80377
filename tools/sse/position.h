/* SPDX-License-Identifier: MIT */
/* position.h - the file in which a reader keeps how far it got. */
#ifndef SSE_TOOL_POSITION_H
#define SSE_TOOL_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "sse.h"

typedef struct position {
    const char *path;     /* NULL: none is kept, and nothing here does a thing */
    sse_buffer *bytes;    /* the position at the last position_take()       */
    sse_buffer *spare;
    bool        changed;  /* since the file was written                     */
    int64_t     saved_ms; /* when it was                                    */
} position;

void position_init(position *p, const char *path);
void position_free(position *p);

/* Sets the client to what the file says, where there is one, and writes the
 * file, so that one that cannot be written is known at once. Returns EXIT_OK,
 * or EXIT_FAILED after a complaint; the file is then as it was. */
int position_load(position *p, sse_client *client);

/* All that the client gave has reached its destination. */
void position_take(position *p, sse_client *client);

/* Writes the file, if there is something new and the last time was not a moment
 * ago; with `now`, in any case. Returns EXIT_OK or EXIT_FAILED. */
int position_save(position *p, bool now);

/* How long until position_save() would write it, or -1. */
int position_wait_ms(const position *p);

#endif
