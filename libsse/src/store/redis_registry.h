/* SPDX-License-Identifier: MIT */
/* redis_registry.h - what the store knows of streams: who they are, that they
 * live, that they shall stop or go. */
#ifndef SSE_STORE_REDIS_REGISTRY_H
#define SSE_STORE_REDIS_REGISTRY_H

#include "redis_job.h"

/* ---- Operations: remove, list, stop, describe ---- */

void sse__registry_form(sse__job *job);
void sse__registry_answered(sse__job *job, const redisReply *reply);

/* The calls of others, too. */
void sse__registry_form_remove(sse__redis *r, const char *id, size_t id_len,
                               const char *token);
void sse__registry_form_describe(sse__redis *r, const sse__stream *s,
                                 const char *token);

/* A mirror has been described anew, or wants its stream to stop. */
void sse__registry_dirty(sse__redis *r, sse__stream *s);

/* ---- redis_lease.c: life signs, and what this node is told ---- */

void    sse__lease_tick(sse__redis *r);
int64_t sse__lease_due_ms(const sse__redis *r);
void    sse__lease_link_up(sse__redis *r);

/* This hub's own streams, ended and stored, make way for what the store says,
 * since another hub may use their ids again: as soon as nobody here has them in
 * hand. */
void sse__ended_add(sse__redis *r, sse__stream *s);
void sse__ended_tick(sse__redis *r);
void sse__ended_close(sse__redis *r);

/* A message on this node's control channel. */
void sse__lease_told(sse__redis *r, const sse__redis_push *push);

#endif
