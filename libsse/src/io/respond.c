/* SPDX-License-Identifier: MIT */
/* respond.c - heads of answers, CORS, errors as JSON. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "respond.h"

#define LARGE ((size_t)1 << 20) /* of a buffer that is not worth keeping */

/* A head that fails to grow for want of memory closes the connection. */
static int add(sse__buf *b, const char *text)
{
    return sse__buf_add_str(b, text);
}

static const char *reason_phrase(int status)
{
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Status";
    }
}

static const char *date(sse_server *s)
{
    time_t    now = time(NULL);
    struct tm tm;

    if (now != s->date_s) {
        s->date_s = now;
        gmtime_r(&now, &tm);
        strftime(s->date, sizeof(s->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
    return s->date;
}

/* The origin that may read the answer, or NULL. */
static const char *allowed_origin(const sse_request *r, size_t *len)
{
    const sse_server *s = r->conn->server;
    const char       *origin = sse__request_find(r, "origin", len);
    const char       *at = s->origins.data;
    const char       *end = at + s->origins.len;

    if (*len == 0)
        return NULL;
    for (; s->origins.len > 0 && at < end; at += strlen(at) + 1) {
        if (strcmp(at, "*") == 0) {
            *len = 1;
            return "*";
        }
        if (strlen(at) == *len && memcmp(at, origin, *len) == 0)
            return origin;
    }
    return NULL;
}

static int add_cors(sse__buf *b, const sse_request *r)
{
    size_t      len;
    const char *origin = allowed_origin(r, &len);
    int         rc;

    if (!origin)
        return r->conn->server->origins.len ? add(b, "Vary: Origin\r\n")
                                            : SSE_OK;
    if ((rc = add(b, "Access-Control-Allow-Origin: ")) < 0 ||
        (rc = sse__buf_add(b, origin, len)) < 0 ||
        (rc = add(b, "\r\nAccess-Control-Expose-Headers: X-Stream-Id, "
                     "Location, Retry-After\r\n")) < 0)
        return rc;
    if (origin[0] == '*')
        return SSE_OK;
    return add(b, "Access-Control-Allow-Credentials: true\r\n"
                  "Vary: Origin\r\n");
}

static int add_preflight(sse__buf *b, const sse_request *r)
{
    size_t len;

    if (!allowed_origin(r, &len))
        return SSE_OK;
    return add(b, "Access-Control-Allow-Methods: GET, HEAD, POST, DELETE, "
                  "OPTIONS\r\n"
                  "Access-Control-Allow-Headers: Authorization, Content-Type, "
                  "Last-Event-ID\r\n"
                  "Access-Control-Max-Age: 600\r\n");
}

/* The lines that every answer has; the caller adds the blank one. */
static int begin_head(sse_request *r, int status)
{
    sse_server *s = r->conn->server;
    sse__buf   *b = &s->head;
    int         rc;

    b->len = 0;
    r->answered = true;
    if (s->closing)
        r->conn->keep_alive = false;
    if ((rc = add(b, "HTTP/1.1 ")) < 0 ||
        (rc = sse__buf_add_u64(b, (uint64_t)status)) < 0 ||
        (rc = add(b, " ")) < 0 || (rc = add(b, reason_phrase(status))) < 0 ||
        (rc = add(b, "\r\nDate: ")) < 0 || (rc = add(b, date(s))) < 0 ||
        (rc = add(b, "\r\n")) < 0 || (rc = add_cors(b, r)) < 0)
        return rc;
    if (r->added.len > 0)
        return sse__buf_add(b, r->added.data, r->added.len);
    return SSE_OK;
}

static int add_content(sse__buf *b, const char *type, size_t type_len,
                       size_t body_len)
{
    int rc;

    if ((rc = add(b, "Content-Type: ")) < 0 ||
        (rc = sse__buf_add(b, type, type_len)) < 0 ||
        (rc = add(b, "\r\nCache-Control: no-store\r\nContent-Length: ")) < 0 ||
        (rc = sse__buf_add_u64(b, body_len)) < 0)
        return rc;
    return add(b, "\r\n");
}

static int end_head(const sse_request *r)
{
    sse__buf *b = &r->conn->server->head;

    return add(b, r->conn->keep_alive ? "Connection: keep-alive\r\n\r\n"
                                      : "Connection: close\r\n\r\n");
}

static void send_head(sse_request *r, int rc)
{
    sse__conn *c = r->conn;
    sse__buf  *b = &c->server->head;

    if (rc < 0) {
        sse__conn_close(c);
        return;
    }
    sse__conn_write(c, b->data, b->len);
    if (b->cap > LARGE)
        sse__buf_free(b);
    sse__conn_answered(c);
}

static void respond(sse_request *r, int status, const char *type,
                    size_t type_len, const char *body, size_t body_len)
{
    sse__buf *b = &r->conn->server->head;
    int       rc = begin_head(r, status);

    if (rc == SSE_OK)
        rc = add_content(b, type, type_len, body_len);
    if (rc == SSE_OK)
        rc = end_head(r);
    if (rc == SSE_OK && r->parser.method != HTTP_HEAD)
        rc = sse__buf_add(b, body, body_len);
    send_head(r, rc);
}

void sse__respond_json(sse_request *r, int status, const sse__buf *body)
{
    respond(r, status, "application/json", 16, body->data, body->len);
}

void sse__respond_empty(sse_request *r, int status)
{
    int rc = begin_head(r, status);

    if (rc == SSE_OK && status != 204)
        rc = add(&r->conn->server->head, "Content-Length: 0\r\n");
    if (rc == SSE_OK)
        rc = end_head(r);
    send_head(r, rc);
}

void sse__respond_options(sse_request *r, const char *allow)
{
    sse__buf *b = &r->conn->server->head;
    int       rc = begin_head(r, 204);

    if (rc == SSE_OK)
        rc = add(b, "Allow: ");
    if (rc == SSE_OK)
        rc = add(b, allow);
    if (rc == SSE_OK)
        rc = add(b, "\r\n");
    if (rc == SSE_OK)
        rc = add_preflight(b, r);
    if (rc == SSE_OK)
        rc = end_head(r);
    send_head(r, rc);
}

/* ---- Errors ---- */

static sse__refused refused_by(int status)
{
    switch (status) {
    case 401:
    case 403: return SSE__REFUSED_DENIED;
    case 404: return SSE__REFUSED_NOT_FOUND;
    case 405: return SSE__REFUSED_METHOD;
    case 408: return SSE__REFUSED_TIMEOUT;
    case 409: return SSE__REFUSED_CONFLICT;
    case 413:
    case 431: return SSE__REFUSED_TOO_LARGE;
    case 429:
    case 503: return SSE__REFUSED_LIMIT;
    case 500: return SSE__REFUSED_INTERNAL;
    default: return SSE__REFUSED_BAD_REQUEST;
    }
}

void sse__respond_error(sse_request *r, int status, const char *code,
                        const char *message)
{
    char body[512];
    int  len = snprintf(body, sizeof(body),
                        "{\"error\":\"%s\",\"message\":\"%s\"}", code, message);

    r->conn->server->counters.refused[refused_by(status)]++;
    if (status == 429 || status == 503)
        (void)sse_request_add_header(r, "Retry-After", 11, "5", 1);
    respond(r, status, "application/json", 16, body, (size_t)len);
}

void sse__respond_method(sse_request *r, const char *allow)
{
    (void)sse_request_add_header(r, "Allow", 5, allow, strlen(allow));
    sse__respond_error(r, 405, "method_not_allowed",
                       "This path does not take that method: see Allow.");
}

void sse__respond_bad_id(sse_request *r)
{
    sse__respond_error(r, 400, "bad_id",
                       "A stream id is 1 to 255 characters out of A-Z a-z 0-9 "
                       ". _ ~ : @ + -");
}

/* What a failure of the hub means to a client. */
void sse__respond_err(sse_request *r, int err)
{
    static const struct {
        int         err, status;
        const char *code, *message;
    } table[] = {
        {SSE_ERR_INVAL, 400, "bad_event",
         "The event type must be one line of UTF-8 without NUL."},
        {SSE_ERR_UTF8, 400, "bad_utf8", "The text is not valid UTF-8."},
        {SSE_ERR_CURSOR, 400, "bad_cursor",
         "The cursor must be an event id as this stream gave it, 0 for the "
         "start, or $ for only what is new."},
        {SSE_ERR_NOT_FOUND, 404, "not_found", "There is no such stream."},
        {SSE_ERR_EXISTS, 409, "exists", "An active stream has that id."},
        {SSE_ERR_ENDED, 409, "ended",
         "The stream has ended: nothing can be appended to it."},
        {SSE_ERR_TOO_BIG, 413, "too_large",
         "That is above the server's limit: send less."},
        {SSE_ERR_LIMIT, 429, "limit",
         "The server's limit is reached: try later."},
        {SSE_ERR_CLOSED, 503, "closing", "The server is shutting down."},
        {SSE_ERR_STORE, 503, "store_unavailable",
         "The store cannot be reached: try later."},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (table[i].err == err) {
            sse__respond_error(r, table[i].status, table[i].code,
                               table[i].message);
            return;
        }
    }
    sse__respond_error(r, 500, "internal", "The server is out of memory.");
}

/* ---- Streams, and hooks ---- */

int sse__respond_stream_head(sse_request *r, const char *id, size_t id_len)
{
    sse__conn *c = r->conn;
    sse__buf  *b = &c->server->head;
    bool       modern = r->parser.http_minor >= 1;
    int        rc = begin_head(r, 200);

    c->chunked = modern && r->parser.method != HTTP_HEAD;
    if (!modern)
        c->keep_alive = false; /* its end is the end of the connection */
    if (rc == SSE_OK)
        rc = add(b, "Content-Type: text/event-stream\r\n"
                    "Cache-Control: no-cache, no-transform\r\n"
                    "X-Accel-Buffering: no\r\nX-Stream-Id: ");
    if (rc == SSE_OK)
        rc = sse__buf_add(b, id, id_len);
    if (rc == SSE_OK)
        rc = add(b, modern ? "\r\nTransfer-Encoding: chunked\r\n" : "\r\n");
    if (rc == SSE_OK)
        rc = end_head(r);
    return rc;
}

int sse_request_respond(sse_request *r, int status, const char *type,
                        size_t type_len, const char *body, size_t body_len)
{
    if (!sse__request_is_open(r) || status < 200 || status > 599 ||
        (status == 204 && body_len > 0) || memchr(type, '\r', type_len) ||
        memchr(type, '\n', type_len))
        return SSE_ERR_INVAL;
    sse__request_let_go(r);
    if (status == 204)
        sse__respond_empty(r, status);
    else
        respond(r, status, type, type_len, body, body_len);
    return SSE_OK;
}
