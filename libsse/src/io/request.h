/* SPDX-License-Identifier: MIT */
/* request.h - a request, from its first byte to its answer. */
#ifndef SSE_IO_REQUEST_H
#define SSE_IO_REQUEST_H

#include <http_parser.h>

#include "conn.h"

#define SSE__HEADERS_MAX 100

typedef struct sse__header {
    uint32_t name, name_len, value, value_len; /* in the head's text */
} sse__header;

/* A request, from its first byte to its answer. */
struct sse_request {
    sse__conn  *conn;
    http_parser parser;
    sse__buf    text;      /* the target, then names and values             */
    sse__header headers[SSE__HEADERS_MAX];
    uint32_t    header_count;
    uint32_t    target_len;
    uint32_t    path, path_len; /* in `text`, as are the next two           */
    uint32_t    query, query_len;
    sse__buf    body;
    sse__buf    added;     /* header lines for the answer                   */
    sse__buf    value;     /* of the last query parameter asked for         */
    sse__buf    user;      /* who asks, if a hook said so                   */
    sse__buf    id;        /* the stream's, decoded from the path           */
    bool        has_user;
    bool        in_value;  /* the last header piece was a value             */
    bool        begun, line_start, after_cr, head_over; /* of head lines     */
    bool        headers_done, complete, answered;
    bool        continued; /* 100 Continue has been sent                     */
    bool        may_hold;  /* its hook runs, and may keep it                 */
    bool        held;      /* its hook kept it                               */
    bool        pinned;    /* a hook may still look at it                    */
    bool        dead;      /* to be freed once it is not pinned              */
    int         status;    /* of the answer to a head or body that is wrong */
    int64_t     wait_until_ms; /* of a parked append; 0 before it waits     */
    uint32_t    parked_state;  /* what a parked append sets                 */
    void (*gone)(sse_request *r, void *user); /* NULL unless an answer to a
                                               * held one is waited for     */
    void *gone_user;
    struct sse__op *op;    /* the store is asked                            */
    void (*then)(struct sse_request *r, struct sse__op *op); /* its answer  */
    void (*again)(struct sse_request *r); /* once the stream is here        */
    bool fetched;          /* it is, or there is none                       */
    bool many;             /* an append is answered with "ids"              */
};

sse_request *sse__request_new(sse__conn *c);
void         sse__request_free(sse_request *r); /* once it is not pinned */
void         sse__request_unpin(sse_request *r);

/* Its connection is closed: nobody can answer it any more. */
void sse__request_lost(sse_request *r);

/* Whether nobody has answered it. An answer counts from its beginning: a poll
 * that waits, a question to the store. */
bool sse__request_is_open(const sse_request *r);

/* An answer begins: it is no longer waited for. */
void sse__request_let_go(sse_request *r);

/* Feeds input; returns the number of bytes used. Afterwards the request is
 * complete, or has a status to refuse it with, or wants more. */
size_t      sse__request_feed(sse_request *r, const char *data, size_t len);
bool        sse__request_wants_continue(sse_request *r); /* true once */
const char *sse__request_find(const sse_request *r, const char *name,
                              size_t *out_len);

/* Whether `text` is `token`, without regard to case. */
bool sse__is_token(const char *text, size_t len, const char *token);

/* Puts the decoded text into `out`: SSE_OK, SSE_ERR_NOMEM, SSE_ERR_INVAL. */
int sse__percent_decode(sse__buf *out, const char *text, size_t len,
                        bool plus_is_space);

#endif
