/* SPDX-License-Identifier: MIT */
/* store_support.h - hubs on a Redis of a test's own, and what the two say. */
#ifndef STORE_SUPPORT_H
#define STORE_SUPPORT_H

#include <stdbool.h>

#include "redis_support.h"
#include "sse.h"

/* Waits for what must come true by another thread's work. */
bool store_patient(unsigned *turns);
#define UNTIL(truth) \
    do { \
        unsigned turns_ = 0; \
        while (!(truth)) \
            if (!store_patient(&turns_)) \
                fail_msg("it did not come: %s", #truth); \
    } while (0)

/* How long links wait for a reply: longer than a busy machine lets Redis stand
 * still. Tests that are about it set IMPATIENT, before their hubs are made. */
#define PATIENT 20000u
#define IMPATIENT 1000u
extern uint32_t store_timeout_ms;

/* A hub on that Redis. Options may be NULL; that time-out is in the URL, and a
 * long one for commands, and for the first contact, in the options, unless they
 * have another. */
sse_hub *store_hub(const redis_process *r, const sse_hub_options *hub_opts,
                   const sse_store_options *opts);

/* Waits until so many hubs hear what is told to each of them. */
void store_await_listeners(redis_process *r, unsigned count);

/* What set_store says; the hub is the caller's to free. */
int store_try(const redis_process *r, const sse_store_options *opts,
              sse_hub **out);

sse_stream *store_stream(sse_hub *hub, const char *id, sse_queue *producer,
                         uint32_t flags);
int         store_append(sse_stream *s, const char *data);
int         store_end(sse_stream *s, int state, const char *data);
void        store_append_many(sse_stream *s, unsigned from, unsigned count);

/* What Redis says to a command: its elements, one a line; good until the next
 * call. */
const char *store_says(redis_process *r, const char *format, ...);
long long   store_number(redis_process *r, const char *format, ...);

/* The sample of a metric, with its label if it has one; -1 where it is not. */
long long store_metric(sse_hub *hub, const char *name);

/* The next note of this kind, waited for: its key, or 0 and its reason. */
sse_note store_note(sse_queue *q, uint32_t kind, char *text, size_t size);

/* Whether the rows in Redis are {"n":from} to {"n":to - 1}, each once. */
bool store_holds(redis_process *r, const char *id, unsigned from, unsigned to);

#endif
