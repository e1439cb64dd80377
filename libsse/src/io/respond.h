/* SPDX-License-Identifier: MIT */
/* respond.h - answers to requests. */
#ifndef SSE_IO_RESPOND_H
#define SSE_IO_RESPOND_H

#include "request.h"

void sse__respond_json(sse_request *r, int status, const sse__buf *body);
void sse__respond_empty(sse_request *r, int status);
void sse__respond_error(sse_request *r, int status, const char *code,
                        const char *message);
void sse__respond_err(sse_request *r, int err); /* an sse_err               */

/* Writes the head of a stream's answer into the server's `head`. */
int  sse__respond_stream_head(sse_request *r, const char *id, size_t id_len);
void sse__respond_bad_id(sse_request *r);
void sse__respond_options(sse_request *r, const char *allow);
void sse__respond_method(sse_request *r, const char *allow);

#endif
