/* SPDX-License-Identifier: MIT */
/* redis_job.h - an operation that takes a call or a few: kept until it has its
 * answer, tried again when the link is lost, and given up when its time is
 * over. */
#ifndef SSE_STORE_REDIS_JOB_H
#define SSE_STORE_REDIS_JOB_H

#include "redis.h"

/* Tells the store what `stream`, a mirror, is: an operation of the engine's. */
#define SSE__OP_DESCRIBE 100u

typedef struct sse__job {
    sse__link   link;   /* on jobs or sent_jobs                             */
    sse__redis *engine;
    sse__op    *op;     /* NULL when it is over, and a reply is still due   */
    bool        doubt;  /* a call of it may have been carried out unheard   */
    bool        known;  /* what it removes was here                         */
    uint32_t    step;   /* a stop: 1 when there is nobody to tell           */
    uint32_t    tries;
    char       *text;   /* a listing's cursor, a stop's owner token, a claim */
    char        writer[SSE__NODE_BYTES + 24]; /* its name, if it appends    */
} sse__job;

void sse__job_begin(sse__redis *r, sse__op *op);
void sse__job_pump(sse__redis *r);
void sse__job_tick(sse__redis *r);  /* gives up what took too long          */
void sse__job_close(sse__redis *r); /* all that are left: SSE_ERR_CLOSED    */

/* For those who handle a reply: it is over; or there is one more call. */
void sse__job_finish(sse__job *job, int rc);
void sse__job_again(sse__job *job);

/* Copies a text into the job; finishes it when out of memory: false. */
bool sse__job_keep(sse__job *job, sse__text text);

/* Forms an append of the job's rows by nobody in particular. */
void sse__job_form_append(sse__job *job, const char *owner, const char *claim,
                          uint32_t state);

#endif
