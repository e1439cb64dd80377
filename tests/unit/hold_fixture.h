/* SPDX-License-Identifier: MIT */
/* hold_fixture.h - an application that keeps requests, to answer later. */
#ifndef HOLD_FIXTURE_H
#define HOLD_FIXTURE_H

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "server_fixture.h"

/* One request of the path /hold/N is kept in place N. Others, on connections
 * of their own, say on the loop's thread what becomes of it. */
typedef struct place {
    sse_request *request;
    int          gone_count;
    char         seen[256]; /* what its getters said                        */
} place;

static place places[8];
static sem_t kept, gone; /* posted when one is; `gone` in its hook */
static bool  answering, hook_inside_answer, free_when_gone;

static inline void must_not(int rc)
{
    net_check(rc == SSE_ERR_INVAL, "an argument that breaks a rule");
}

static inline int respond(sse_request *r, const char *text)
{
    return sse_request_respond(r, 200, "text/plain", 10, text, strlen(text));
}

/* ---- The application ---- */

static inline void look(place *at)
{
    sse_request *r = at->request;
    size_t       path_len, query_len, header_len, body_len, value_len;
    const char  *path = sse_request_path(r, &path_len);
    const char  *query = sse_request_query(r, &query_len);
    const char  *header = sse_request_header(r, "x-a", 3, &header_len);
    const char  *body = sse_request_body(r, &body_len);
    const char  *value = sse_request_query_value(r, "q", 1, &value_len);

    snprintf(at->seen, sizeof(at->seen), "%s %.*s %.*s %.*s %.*s %.*s",
             sse_request_method(r), (int)path_len, path, (int)query_len, query,
             (int)header_len, header, (int)value_len, value, (int)body_len,
             body);
}

static inline void on_gone(sse_request *r, void *user)
{
    place *at = user;

    net_check(at->request == r, "the same request");
    look(at);
    must_not(respond(r, "too late"));
    must_not(sse_request_hold(r, on_gone, at));
    at->request = NULL;
    at->gone_count++;
    if (free_when_gone)
        sse_server_free(server.server);
    sem_post(&gone);
}

static inline void keep(sse_request *r, place *at)
{
    at->request = r;
    at->gone_count = 0;
    must_not(sse_request_hold(r, NULL, at)); /* it could not be told */
    must(sse_request_hold(r, on_gone, at));
    must_not(sse_request_hold(r, on_gone, at));
    sem_post(&kept);
}

static inline void answer(place *at)
{
    sse_request *r = at->request;

    look(at);
    at->request = NULL;
    answering = true;
    must(sse_request_add_header(r, "X-Late", 6, "yes", 3));
    must_not(sse_request_respond(r, 99, "a", 1, "", 0)); /* it is still held */
    must(respond(r, at->seen));
    answering = false;
}

static inline void answer_with_stream(place *at)
{
    sse_request *r = at->request;
    sse_stream  *s;

    at->request = NULL;
    must(sse_stream_open(server.hub, "s", 1, &s));
    must(sse_request_add_header(r, "X-Late", 6, "yes", 3));
    must(sse_request_respond_stream(r, s));
    sse_stream_free(s);
}

static inline void answer_in_the_hook(sse_request *r, place *at, bool stream)
{
    at->request = r;
    must(sse_request_hold(r, on_gone, at));
    if (stream)
        answer_with_stream(at);
    else
        answer(at);
    must_not(respond(r, "twice"));
    must_not(sse_request_hold(r, on_gone, at));
}

static inline void on_request(sse_request *r, void *user)
{
    size_t      len;
    const char *path = sse_request_path(r, &len);
    char        what[32] = "";
    unsigned    n = 0;

    (void)user;
    hook_inside_answer = hook_inside_answer || answering;
    if (sscanf(path, "/%31[a-z]/%u", what, &n) < 1 || n >= 8)
        return;
    if (strcmp(what, "hold") == 0)
        keep(r, &places[n]);
    else if (strcmp(what, "hook") == 0)
        answer_in_the_hook(r, &places[n], false);
    else if (strcmp(what, "hookstream") == 0)
        answer_in_the_hook(r, &places[n], true);
    else if (strcmp(what, "answer") == 0)
        answer(&places[n]);
    else if (strcmp(what, "stream") == 0)
        answer_with_stream(&places[n]);
    else if (strcmp(what, "free") == 0)
        sse_server_free(server.server);
    if (strcmp(what, "answer") == 0 || strcmp(what, "stream") == 0 ||
        strcmp(what, "say") == 0)
        must(respond(r, "done"));
}

/* ---- What tests say ---- */

static inline void serve(const sse_server_options *opts)
{
    memset(places, 0, sizeof(places));
    hook_inside_answer = free_when_gone = false;
    sem_init(&kept, 0, 0);
    sem_init(&gone, 0, 0);
    net_server_new(&server, NULL, opts);
    must(sse_server_on_request(server.server, on_request, NULL));
    net_server_run(&server);
}

static inline void ask_and_wait(net_peer *p, const char *target,
                                const char *headers)
{
    net_open(p, server.port);
    net_ask(p, "GET", target, headers, NULL);
    sem_wait(&kept);
}

/* On a connection of its own. */
static inline void tell(const char *target)
{
    net_peer p;

    net_check(net_once(server.port, &p, "POST", target, "", "") == 200, target);
    net_free(&p);
}

static inline void make_stream(sse_stream **out)
{
    must(sse_stream_new(server.hub, "s", 1, NULL, NULL, out));
    must(sse_stream_append(*out, "", 0, "one", 3, NULL));
    must(sse_stream_append(*out, "", 0, "two", 3, NULL));
}

#endif
