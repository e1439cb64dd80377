/* SPDX-License-Identifier: MIT */
/* request.c - a request head (RFC 9112) through http-parser, and what hooks may
 * ask of it. */
#include <string.h>
#include <strings.h>

#include "../core/alloc.h"
#include "../core/utf8.h"
#include "request.h"

bool sse__is_token(const char *text, size_t len, const char *token)
{
    return len == strlen(token) && strncasecmp(text, token, len) == 0;
}

/* ---- http-parser's callbacks: 0 goes on ---- */

static int refuse(sse_request *r, int status)
{
    r->status = status;
    return 1;
}

static int add_text(sse_request *r, const char *at, size_t len)
{
    const sse_server_options *opts = &r->conn->server->opts;

    if (r->text.len + len + 4 * (size_t)r->header_count > opts->max_head_bytes)
        return refuse(r, 431);
    if (sse__buf_add(&r->text, at, len) < 0)
        return refuse(r, 500);
    return 0;
}

static int on_url(http_parser *p, const char *at, size_t len)
{
    sse_request *r = p->data;

    r->target_len += (uint32_t)len;
    return add_text(r, at, len);
}

static int on_header_field(http_parser *p, const char *at, size_t len)
{
    sse_request *r = p->data;
    sse__header *h;

    if (r->headers_done)
        return 0; /* a trailer of a chunked body */
    if (r->header_count == 0 || r->in_value) {
        if (r->header_count == SSE__HEADERS_MAX)
            return refuse(r, 431);
        r->headers[r->header_count++] =
            (sse__header){.name = (uint32_t)r->text.len};
        r->in_value = false;
    }
    h = &r->headers[r->header_count - 1];
    h->name_len += (uint32_t)len;
    return add_text(r, at, len);
}

static int on_header_value(http_parser *p, const char *at, size_t len)
{
    sse_request *r = p->data;
    sse__header *h;

    if (r->headers_done)
        return 0;
    h = &r->headers[r->header_count - 1];
    if (!r->in_value) {
        h->value = (uint32_t)r->text.len;
        r->in_value = true;
    }
    h->value_len += (uint32_t)len;
    return add_text(r, at, len);
}

static int split_target(sse_request *r)
{
    struct http_parser_url url;

    http_parser_url_init(&url);
    if (http_parser_parse_url(r->text.data, r->target_len, 0, &url) != 0)
        return refuse(r, 400);
    r->path = url.field_data[UF_PATH].off;
    r->path_len = url.field_data[UF_PATH].len;
    r->query = url.field_data[UF_QUERY].off;
    r->query_len = url.field_data[UF_QUERY].len;
    return 0;
}

static bool is_token(const char *text, size_t len)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < len; i++) {
        char c = text[i], lower = (char)(c | 0x20);

        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') &&
            (c == '\0' || !strchr(others, c)))
            return false;
    }
    return len > 0;
}

static bool is_named(const sse_request *r, const sse__header *h,
                     const char *name)
{
    return sse__is_token(r->text.data + h->name, h->name_len, name);
}

/* What http-parser lets pass and RFC 9112 does not: two servers that read such
 * a head in two ways see two different requests. */
static bool headers_are_sound(const sse_request *r)
{
    unsigned int hosts = 0, codings = 0;

    for (uint32_t i = 0; i < r->header_count; i++) {
        const sse__header *h = &r->headers[i];

        if (!is_token(r->text.data + h->name, h->name_len))
            return false;
        hosts += is_named(r, h, "host");
        codings += is_named(r, h, "transfer-encoding");
    }
    return codings <= 1 &&
           (hosts == 1 || (hosts == 0 && r->parser.http_minor == 0));
}

static int on_headers_complete(http_parser *p)
{
    sse_request *r = p->data;

    r->headers_done = true;
    if (!headers_are_sound(r))
        return refuse(r, 400);
    if (p->method == HTTP_CONNECT)
        return refuse(r, 400);
    p->upgrade = 0; /* no protocol but this one: the header is ignored */
    if (p->http_major != 1)
        return refuse(r, 400);
    if (p->content_length != UINT64_MAX &&
        p->content_length > r->conn->server->opts.max_body_bytes)
        return refuse(r, 413);
    return split_target(r);
}

static int on_body(http_parser *p, const char *at, size_t len)
{
    sse_request *r = p->data;
    int          rc = sse__buf_add(&r->body, at, len);

    if (rc < 0)
        return refuse(r, rc == SSE_ERR_TOO_BIG ? 413 : 500);
    return 0;
}

static int on_message_complete(http_parser *p)
{
    sse_request *r = p->data;

    r->complete = true;
    http_parser_pause(p, 1); /* what follows is another request */
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- Life ---- */

sse_request *sse__request_new(sse__conn *c)
{
    sse_request *r = sse__malloc(sizeof(*r));

    if (!r)
        return NULL;
    memset(r, 0, offsetof(sse_request, headers));
    memset(&r->header_count, 0,
           sizeof(*r) - offsetof(sse_request, header_count));
    r->conn = c;
    http_parser_init(&r->parser, HTTP_REQUEST);
    r->parser.data = r;
    sse__buf_init(&r->text, SIZE_MAX);
    sse__buf_init(&r->body, c->server->opts.max_body_bytes);
    sse__buf_init(&r->added, 16384);
    sse__buf_init(&r->value, 65536);
    sse__buf_init(&r->user, 255);
    sse__buf_init(&r->id, 4096);
    return r;
}

void sse__request_unpin(sse_request *r)
{
    r->pinned = false;
    if (r->dead)
        sse__request_free(r);
}

void sse__request_lost(sse_request *r)
{
    void (*gone)(sse_request *, void *) = r->gone;

    r->answered = true;
    r->gone = NULL;
    if (gone)
        gone(r, r->gone_user);
    sse__request_free(r);
}

void sse__request_free(sse_request *r)
{
    if (!r)
        return;
    r->dead = true;
    if (r->pinned)
        return;
    sse__buf_free(&r->text);
    sse__buf_free(&r->body);
    sse__buf_free(&r->added);
    sse__buf_free(&r->value);
    sse__buf_free(&r->user);
    sse__buf_free(&r->id);
    sse__free(r);
}

/* ---- Holding ---- */

bool sse__request_is_open(const sse_request *r)
{
    return !r->answered && !r->op &&
           (r->conn->state == SSE__CONN_READING ||
            r->conn->state == SSE__CONN_HELD);
}

int sse_request_hold(sse_request *r, void (*gone)(sse_request *r, void *user),
                     void        *user)
{
    if (!r->may_hold || r->held || !sse__request_is_open(r) || !gone)
        return SSE_ERR_INVAL;
    r->held = true;
    r->gone = gone;
    r->gone_user = user;
    r->conn->state = SSE__CONN_HELD;
    return SSE_OK;
}

void sse__request_let_go(sse_request *r)
{
    if (!r->gone)
        return;
    r->gone = NULL;
    r->conn->state = SSE__CONN_READING;
}

/* ---- Input ---- */

/* Looks at the lines of the head: none may begin with white space (a folded
 * line, which RFC 9112, 5.2, lets a server refuse) or hold a CR that no LF
 * follows, in which others might see the end of a line (2.2 there). */
static bool lines_are_sound(sse_request *r, const char *data, size_t len)
{
    for (size_t i = 0; i < len && !r->head_over; i++) {
        bool line_end = data[i] == '\r' || data[i] == '\n';

        if (!r->begun && line_end)
            continue; /* empty lines before the request */
        r->begun = true;
        if ((r->line_start && (data[i] == ' ' || data[i] == '\t')) ||
            (r->after_cr && data[i] != '\n'))
            return false;
        r->after_cr = data[i] == '\r';
        r->head_over = r->line_start && line_end;
        r->line_start = data[i] == '\n';
    }
    return true;
}

size_t sse__request_feed(sse_request *r, const char *data, size_t len)
{
    if (!lines_are_sound(r, data, len)) {
        r->status = 400;
        return len;
    }

    size_t          n = http_parser_execute(&r->parser, &settings, data, len);
    enum http_errno err = HTTP_PARSER_ERRNO(&r->parser);

    if (err == HPE_HEADER_OVERFLOW && r->status == 0)
        r->status = 431;
    else if (err != HPE_OK && err != HPE_PAUSED && r->status == 0)
        r->status = 400;
    return r->status ? len : n;
}

/* Whether the client waits for a word before it sends the body. */
bool sse__request_wants_continue(sse_request *r)
{
    size_t      len;
    const char *expect = sse__request_find(r, "expect", &len);

    if (r->continued || r->parser.http_minor == 0 || r->body.len > 0 ||
        !sse__is_token(expect, len, "100-continue"))
        return false;
    r->continued = true;
    return true;
}

/* ---- What hooks ask ---- */

static const char *text_at(const sse_request *r, uint32_t at, uint32_t len,
                           size_t *out_len)
{
    *out_len = len;
    return len ? r->text.data + at : "";
}

static const char *find(const sse_request *r, const char *name, size_t name_len,
                        size_t *out_len)
{
    for (uint32_t i = 0; i < r->header_count; i++) {
        const sse__header *h = &r->headers[i];

        if (h->name_len == name_len &&
            strncasecmp(r->text.data + h->name, name, name_len) == 0)
            return text_at(r, h->value, h->value_len, out_len);
    }
    return text_at(r, 0, 0, out_len);
}

const char *sse__request_find(const sse_request *r, const char *name,
                              size_t *out_len)
{
    return find(r, name, strlen(name), out_len);
}

const char *sse_request_method(const sse_request *r)
{
    return http_method_str((enum http_method)r->parser.method);
}

const char *sse_request_path(const sse_request *r, size_t *out_len)
{
    return text_at(r, r->path, r->path_len, out_len);
}

const char *sse_request_query(const sse_request *r, size_t *out_len)
{
    return text_at(r, r->query, r->query_len, out_len);
}

const char *sse_request_header(const sse_request *r, const char *name,
                               size_t name_len, size_t *out_len)
{
    return find(r, name, name_len, out_len);
}

const char *sse_request_body(const sse_request *r, size_t *out_len)
{
    *out_len = r->body.len;
    return r->body.len ? r->body.data : "";
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int sse__percent_decode(sse__buf *out, const char *text, size_t len,
                        bool plus_is_space)
{
    out->len = 0;
    if (sse__buf_reserve(out, len + 1) < 0)
        return SSE_ERR_NOMEM;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            if (i + 2 >= len || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
                return SSE_ERR_INVAL;
            c = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out->data[out->len++] = c;
    }
    return SSE_OK;
}

const char *sse_request_query_value(sse_request *r, const char *name,
                                    size_t name_len, size_t *out_len)
{
    const char *at = r->text.data + r->query;
    const char *end = at + r->query_len;

    *out_len = 0;
    while (r->query_len > 0 && at < end) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        const char *stop = next ? next : end;
        const char *eq = memchr(at, '=', (size_t)(stop - at));
        const char *name_end = eq ? eq : stop;

        if ((size_t)(name_end - at) == name_len &&
            memcmp(at, name, name_len) == 0) {
            const char *value = eq ? eq + 1 : stop;

            if (sse__percent_decode(&r->value, value, (size_t)(stop - value),
                                    true) < 0)
                return ""; /* as if it were not there */
            *out_len = r->value.len;
            return r->value.len ? r->value.data : "";
        }
        at = stop + 1;
    }
    return "";
}

int sse_request_set_user(sse_request *r, const char *user, size_t len)
{
    r->user.len = 0;
    r->has_user = false;
    if (sse__buf_add(&r->user, user, len) < 0)
        return len > 255 ? SSE_ERR_TOO_BIG : SSE_ERR_NOMEM;
    r->has_user = len > 0;
    return SSE_OK;
}

static bool one_line(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\r' || text[i] == '\n' || text[i] == '\0')
            return false;
    return true;
}

int sse_request_add_header(sse_request *r, const char *name, size_t name_len,
                           const char *value, size_t value_len)
{
    size_t before = r->added.len;
    int    rc;

    if (name_len == 0 || !one_line(name, name_len) ||
        memchr(name, ':', name_len) || !one_line(value, value_len) ||
        r->answered)
        return SSE_ERR_INVAL;
    if ((rc = sse__buf_add(&r->added, name, name_len)) < 0 ||
        (rc = sse__buf_add(&r->added, ": ", 2)) < 0 ||
        (rc = sse__buf_add(&r->added, value, value_len)) < 0 ||
        (rc = sse__buf_add(&r->added, "\r\n", 2)) < 0)
        r->added.len = before;
    return rc < 0 ? rc : SSE_OK;
}
