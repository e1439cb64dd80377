/* SPDX-License-Identifier: MIT */
/* request_fuzz.c - request heads and bodies, whole and in two pieces: both ways
 * must give the same request, and nothing in it may reach outside of it. */
#include <stdlib.h>
#include <string.h>

#include "../../libsse/src/io/request.h"

static sse_server *server;

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void start(void)
{
    sse_server_options opts = {
        .size = sizeof(opts), .max_head_bytes = 2000, .max_body_bytes = 1000};
    sse_hub  *hub;
    sse_loop *loop;

    check(sse_hub_new(NULL, &hub) == SSE_OK);
    check(sse_loop_new(&loop) == SSE_OK);
    check(sse_server_new(loop, hub, &opts, &server) == SSE_OK);
}

/* Feeds up to the end of the request; how much of the input that was. */
static size_t feed(sse_request *r, const uint8_t *data, size_t len, size_t cut)
{
    size_t used = 0;

    while (used < len && !r->complete && r->status == 0) {
        size_t piece = (used < cut && cut < len ? cut : len) - used;
        size_t n = sse__request_feed(r, (const char *)data + used, piece);

        check(n <= piece);
        check(n == piece || r->complete || r->status != 0);
        used += n;
    }
    return used;
}

static bool same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

static void compare(sse_request *a, sse_request *b)
{
    size_t      a_len, b_len;
    const char *x, *y;

    check(a->complete == b->complete && (a->status != 0) == (b->status != 0));
    if (!a->complete || a->status != 0)
        return;
    x = sse_request_path(a, &a_len);
    y = sse_request_path(b, &b_len);
    check(same(x, a_len, y, b_len));
    x = sse_request_body(a, &a_len);
    y = sse_request_body(b, &b_len);
    check(same(x, a_len, y, b_len) && a_len <= 1000);
    x = sse_request_header(a, "Host", 4, &a_len);
    y = sse_request_header(b, "host", 4, &b_len);
    check(same(x, a_len, y, b_len));
    x = sse_request_query_value(a, "last_event_id", 13, &a_len);
    y = sse_request_query_value(b, "last_event_id", 13, &b_len);
    check(same(x, a_len, y, b_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte says where to cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sse__conn    conn = {.state = SSE__CONN_READING};
    sse_request *whole, *pieces;

    if (size == 0)
        return 0;
    if (!server)
        start();
    conn.server = server;
    whole = sse__request_new(&conn);
    pieces = sse__request_new(&conn);
    check(whole && pieces);
    (void)feed(whole, data + 1, size - 1, 0);
    (void)feed(pieces, data + 1, size - 1, data[0]);
    compare(whole, pieces);
    sse__request_free(whole);
    sse__request_free(pieces);
    return 0;
}
