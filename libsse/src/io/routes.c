/* SPDX-License-Identifier: MIT */
/* routes.c - from a path to what answers it, past the authorize hook. */
#include <string.h>

#include "handlers.h"

/* What a path below the prefix names. */
typedef struct route {
    const char *action; /* behind the id; NULL for the stream itself        */
    int         method; /* an http_method                                   */
    int         verb;   /* an sse_verb                                      */
    void (*answer)(sse_request *r);
} route;

static void answer_complete(sse_request *r)
{
    sse__append_end(r, SSE_STATE_COMPLETED);
}

static void answer_fail(sse_request *r)
{
    sse__append_end(r, SSE_STATE_FAILED);
}

static const route stream_routes[] = {
    {"", HTTP_GET, SSE_VERB_READ, sse__reader_start},
    {"", HTTP_DELETE, SSE_VERB_REMOVE, sse__api_remove},
    {"events", HTTP_POST, SSE_VERB_APPEND, sse__append_events},
    {"complete", HTTP_POST, SSE_VERB_APPEND, answer_complete},
    {"fail", HTTP_POST, SSE_VERB_APPEND, answer_fail},
    {"stop", HTTP_POST, SSE_VERB_STOP, sse__api_stop},
    {"recover", HTTP_GET, SSE_VERB_RECOVER, sse__api_recover},
    {NULL, 0, 0, NULL},
};

static const route collection_routes[] = {
    {"", HTTP_GET, SSE_VERB_LIST, sse__api_list},
    {"", HTTP_POST, SSE_VERB_CREATE, sse__api_create},
    {NULL, 0, 0, NULL},
};

static const route metrics_routes[] = {
    {"", HTTP_GET, SSE_VERB_METRICS, sse__api_metrics},
    {NULL, 0, 0, NULL},
};

static const route health_routes[] = {
    {"", HTTP_GET, 0, sse__api_health},
    {NULL, 0, 0, NULL},
};

/* ---- Who may ---- */

bool sse__request_may(const sse_request *r, const sse__stream *s)
{
    if (!r->has_user || !s->user)
        return true;
    return s->user->node.key_len == r->user.len &&
           memcmp(s->user->name, r->user.data, r->user.len) == 0;
}

sse__stream *sse__request_stream(const sse_request *r)
{
    sse__stream *s =
        sse__hub_find(&r->conn->server->hub->core, r->id.data, r->id.len);

    return s && sse__request_may(r, s) ? s : NULL;
}

/* False: it has been answered. */
static bool authorize(sse_request *r, int verb)
{
    sse_server *s = r->conn->server;
    int         rc;

    if (!s->authorize || verb == 0)
        return true;
    rc = s->authorize(r, verb, r->id.len ? r->id.data : "", r->id.len,
                      s->authorize_user);
    if (r->answered)
        return false;
    if (rc == SSE_ERR_DENIED && r->added.len > 0) {
        sse__respond_error(r, 401, "unauthorized", "Say who you are.");
        return false;
    }
    if (rc < 0) {
        sse__respond_error(r, 403, "forbidden", "That is not allowed.");
        return false;
    }
    rc = r->has_user ? sse__conn_set_user(r->conn, r->user.data, r->user.len)
                     : SSE_OK;
    if (rc < 0)
        sse__respond_err(r, rc);
    return rc == SSE_OK;
}

/* ---- Paths ---- */

static bool is_action(const route *t, const char *action, size_t len)
{
    return strlen(t->action) == len && memcmp(t->action, action, len) == 0;
}

/* "GET, HEAD, POST, OPTIONS" of the routes of one path. */
static void list_methods(const route *routes, const char *action, size_t len,
                         char *out, size_t size)
{
    out[0] = '\0';
    for (const route *t = routes; t->action; t++) {
        if (!is_action(t, action, len))
            continue;
        strncat(out, http_method_str((enum http_method)t->method),
                size - strlen(out) - 1);
        strncat(out, t->method == HTTP_GET ? ", HEAD, " : ", ",
                size - strlen(out) - 1);
    }
    if (out[0])
        strncat(out, "OPTIONS", size - strlen(out) - 1);
}

static void not_found(sse_request *r)
{
    sse__respond_error(r, 404, "not_found", "There is nothing at this path.");
}

static void dispatch(sse_request *r, const route *routes, const char *action,
                     size_t len)
{
    int  method = (int)r->parser.method;
    char allow[64];

    list_methods(routes, action, len, allow, sizeof(allow));
    if (!allow[0]) {
        not_found(r);
        return;
    }
    if (method == HTTP_OPTIONS) {
        sse__respond_options(r, allow);
        return;
    }
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (const route *t = routes; t->action; t++) {
        if (t->method == method && is_action(t, action, len)) {
            if (authorize(r, t->verb))
                t->answer(r);
            return;
        }
    }
    sse__respond_method(r, allow);
}

/* A path below the prefix: "", "/", "/id" or "/id/action". */
static void dispatch_api(sse_request *r, const char *path, size_t len)
{
    const char *id, *slash;
    size_t      id_len;

    if (len <= 1) {
        dispatch(r, collection_routes, "", 0);
        return;
    }
    id = path + 1;
    len--;
    slash = memchr(id, '/', len);
    id_len = slash ? (size_t)(slash - id) : len;
    if (sse__percent_decode(&r->id, id, id_len, false) < 0 ||
        !sse__stream_id_valid(r->id.data, r->id.len)) {
        sse__respond_bad_id(r);
        return;
    }
    if (slash)
        dispatch(r, stream_routes, slash + 1, len - id_len - 1);
    else
        dispatch(r, stream_routes, "", 0);
}

static bool is_path(const char *path, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(path, name, len) == 0;
}

static void hand_to_application(sse_request *r)
{
    sse_server *s = r->conn->server;
    sse__conn  *c = r->conn;

    r->may_hold = true;
    if (s->on_request)
        s->on_request(r, s->on_request_user);
    r->may_hold = false;
    if (c->request == r && !r->answered && c->state == SSE__CONN_READING)
        not_found(r);
}

void sse__route(sse_request *r)
{
    const sse__buf *prefix = &r->conn->server->prefix;
    size_t          len;
    const char     *path = sse_request_path(r, &len);

    if (is_path(path, len, "/metrics"))
        dispatch(r, metrics_routes, "", 0);
    else if (is_path(path, len, "/health"))
        dispatch(r, health_routes, "", 0);
    else if (len >= prefix->len &&
             memcmp(path, prefix->data, prefix->len) == 0 &&
             (len == prefix->len || path[prefix->len] == '/'))
        dispatch_api(r, path + prefix->len, len - prefix->len);
    else
        hand_to_application(r);
}
