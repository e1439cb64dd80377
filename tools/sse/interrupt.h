/* SPDX-License-Identifier: MIT */
/* interrupt.h - SIGINT and SIGTERM, taken between two steps. */
#ifndef SSE_TOOL_INTERRUPT_H
#define SSE_TOOL_INTERRUPT_H

/* From now on the first of them is only noted; a second one of the same kind
 * ends the program as usual. */
void interrupt_catch(void);

/* The signal that came, 0 before. */
int interrupt_signal(void);

/* Waits until `fd` can be read (-1: nothing is read), for `timeout_ms` at most
 * (-1: for ever). Returns 1 when it can, 0 when the time has passed, -1 after
 * a signal. */
int interrupt_wait(int fd, int timeout_ms);

#endif
