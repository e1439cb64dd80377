/* SPDX-License-Identifier: MIT */
/* client_answer.h - what becomes of the answer to a request. On the loop's
 * thread. */
#ifndef SSE_IO_CLIENT_ANSWER_H
#define SSE_IO_CLIENT_ANSWER_H

#include "client.h"

#define SSE__HEAD_BYTES 65536 /* of an answer's head, at most */

/* Has libcurl call us with it. */
void sse__answer_listen(sse__fetch *f);

/* Makes f->url that of the redirect. False when it must not be followed, which
 * has been told then. */
bool sse__answer_follow(sse__fetch *f);

/* The transfer is over: tells the machine. */
void sse__answer_over(sse__fetch *f, CURLcode result);
void sse__answer_failed(sse__fetch *f, sse_cause why, const char *detail);

/* A header's value in lines of a head; NULL where there is none. */
const char *sse__head_find(const sse__buf *head, const char *name,
                           size_t name_len, size_t *out_len);

/* Scheme, host and port are the same. False when one is no URL. */
bool sse__same_origin(const char *a, const char *b);

/* ---- client_recover.c ---------------------------------------------------- */

/* The answer about a stored completion is there, or not. */
void sse__recover_over(sse__fetch *f, CURLcode result);

#endif
