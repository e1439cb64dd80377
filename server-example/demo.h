/* SPDX-License-Identifier: MIT */
/* demo.h - streams that send the words of a text, as a model sends tokens. */
#ifndef DEMO_H
#define DEMO_H

#include <stddef.h>
#include <stdint.h>

#include "sse.h"

typedef struct demo demo;

/* Reads `path` and starts the thread that produces. NULL when it cannot. */
demo *demo_new(sse_hub *hub, const char *path, uint32_t rate);
void  demo_free(demo *d);

/* The rate that a request body {"rate":N} asks for, or the usual one. */
uint32_t demo_rate(const demo *d, const char *body, size_t len);

/* Starts one stream at `rate` words a second and writes the JSON answer. Any
 * thread. SSE_OK or what kept it from starting. */
int demo_start(demo *d, uint32_t rate, char *answer, size_t size);

#endif
