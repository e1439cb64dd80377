/* SPDX-License-Identifier: MIT */
/* follow.h - what a client gives, to standard output. */
#ifndef SSE_TOOL_FOLLOW_H
#define SSE_TOOL_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "position.h"
#include "sse.h"
#include "status.h"
#include "text.h"

enum { EXIT_STREAM_FAILED = 3 }; /* the stream says so itself */

typedef struct follow {
    sse_client *client;
    bool        json;      /* print objects, not data                       */
    bool        any_end;   /* any terminal event is a good end              */
    position    position;
    status      status;

    text     out;       /* printed and not yet written                      */
    text     mark;      /* a line that is left out if it was the last one   */
    text     last_type; /* of the last event                                */
    text     last_data; /* as much of it as is shown                        */
    bool     closing;   /* a signal came                                    */
    bool     ended;     /* the last of the news was taken                   */
    uint32_t end_cause; /* and said this, an sse_cause                      */
} follow;

/* Follows the stream of a client that is set up and not started, with the
 * position kept in the file `state_path` (NULL: in none). Returns the exit
 * status, after a complaint where it is a bad one. */
int follow_run(follow *f, const char *state_path);

#endif
