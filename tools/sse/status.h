/* SPDX-License-Identifier: MIT */
/* status.h - what a person is told about a client, on standard error: one line
 * kept up to date on a terminal, otherwise a line for each trouble. */
#ifndef SSE_TOOL_STATUS_H
#define SSE_TOOL_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "sse.h"
#include "text.h"

typedef struct status {
    bool     live;     /* there is a terminal                               */
    bool     shared;   /* standard output goes to it, too                   */
    bool     shown;    /* the line stands there                             */
    bool     stale;    /* and says what is no longer so                     */
    int64_t  drawn_ms;
    uint32_t state;    /* an sse_conn_state                                 */
    int64_t  due_ms;   /* of the next attempt, in SSE_CONN_WAITING          */
    uint64_t event_count;
    text     last_id;
    text     trouble;  /* what went wrong last; empty once it is over       */
} status;

void status_init(status *s);
void status_free(status *s);

void status_take(status *s, const sse_news *news);

/* Draws the line if it is time for it. Returns how long until it must be called
 * again, or -1. */
int status_draw(status *s);

/* Takes the line away, for something else to be printed. */
void status_clear(status *s);

/* What went wrong last. */
const char *status_trouble(const status *s);

/* "trimmed", "unannounced", ... */
const char *gap_name(uint32_t gap);

#endif
