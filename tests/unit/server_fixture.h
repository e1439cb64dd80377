/* SPDX-License-Identifier: MIT */
/* server_fixture.h - one server, and what is asked of it. */
#ifndef SERVER_FIXTURE_H
#define SERVER_FIXTURE_H

#include <string.h>

#include "must.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: t\r\n\r\n"
#define GET_HEALTH GET("/health")

static net_server server;

static inline int ask(net_peer *p, const char *method, const char *target,
                      const char *headers, const char *body)
{
    return net_do(p, method, target, headers, body);
}

static inline void post(net_peer *p, const char *target, const char *body)
{
    int status = net_do(p, "POST", target, "", body);

    net_check(status >= 200 && status < 300, p->body);
}

static inline bool has(const net_peer *p, const char *text)
{
    return strstr(p->body, text) != NULL;
}

static inline sse_stream *create(const char *id, const sse_stream_options *opts)
{
    sse_stream *s;

    must(sse_stream_new(server.hub, id, strlen(id), NULL, opts, &s));
    return s;
}

#endif
