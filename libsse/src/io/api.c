/* SPDX-License-Identifier: MIT */
/* api.c - the answers that neither append nor stream. */
#include <string.h>

#include "../core/json.h"
#include "../core/utf8.h"
#include "handlers.h"
#include "stream.h"

#include "../store/store.h"

/* ---- Create ---- */

/* The members of a create body; slices of it, strings with their quotes. */
typedef struct creation {
    sse__json_slice id, kind, owner, metadata;
} creation;

static int take_member(creation *c, sse__json_slice key, sse__json_slice value)
{
    static const char *const names[] = {"streamId", "streamType", "userId"};
    sse__json_slice *const   slots[] = {&c->id, &c->kind, &c->owner};

    if (sse__json_is_key(key, "metadata")) {
        c->metadata = value;
        return SSE_OK;
    }
    for (int i = 0; i < 3; i++) {
        if (!sse__json_is_key(key, names[i]))
            continue;
        if (value.text[0] != '"')
            return value.text[0] == 'n' ? SSE_OK : SSE_ERR_INVAL; /* null */
        *slots[i] = value;
    }
    return SSE_OK;
}

static int parse_creation(const sse__buf *body, creation *c)
{
    const char     *at = body->data, *end = at + body->len;
    sse__json_slice key, value;
    int             rc;

    *c = (creation){0};
    if (body->len == 0)
        return SSE_OK;
    at += sse__json_space(at, body->len);
    if (at == end || *at++ != '{')
        return SSE_ERR_INVAL;
    while ((rc = sse__json_member(&at, end, &key, &value)) > 0)
        if (take_member(c, key, value) < 0)
            return SSE_ERR_INVAL;
    if (rc < 0 || at + sse__json_space(at, (size_t)(end - at)) != end)
        return SSE_ERR_INVAL;
    return SSE_OK;
}

/* Decodes the three strings end to end into the arena. */
static int decode(sse_server *s, creation *c)
{
    sse__json_slice *slots[] = {&c->id, &c->kind, &c->owner};
    sse__buf        *arena = &s->arena;

    arena->len = 0;
    if (sse__buf_reserve(arena, c->id.len + c->kind.len + c->owner.len + 1) < 0)
        return SSE_ERR_NOMEM;
    for (int i = 0; i < 3; i++) {
        size_t start = arena->len;
        int    rc;

        if (slots[i]->len == 0)
            continue;
        rc = sse__json_unquote(arena, slots[i]->text, slots[i]->len);
        if (rc < 0)
            return rc;
        slots[i]->text = arena->data + start;
        slots[i]->len = arena->len - start;
    }
    return SSE_OK;
}

static bool is_user(const sse_request *r, sse__json_slice owner)
{
    return owner.len == r->user.len &&
           memcmp(owner.text, r->user.data, owner.len) == 0;
}

/* All that may be refused is refused before there is a stream. */
static int create(sse_request *r, const creation *c, sse__stream **out)
{
    sse__hub          *h = &r->conn->server->hub->core;
    sse_stream_options opts = {.size = sizeof(opts)};
    sse__stream       *s;
    int                rc;

    if (r->conn->server->hub->store)
        opts.flags = SSE_STREAM_SHARED;
    if (c->owner.len > SSE__TEXT_MAX || c->kind.len > SSE__TEXT_MAX ||
        c->metadata.len > SSE__METADATA_MAX)
        return SSE_ERR_TOO_BIG;
    s = sse__hub_find(h, c->id.text, c->id.len);
    if (s && !sse__request_may(r, s))
        return SSE_ERR_EXISTS; /* an ended one is still its owner's */
    if (sse__user_is_full(h, c->owner.text, c->owner.len))
        return SSE_ERR_LIMIT;
    rc = sse__stream_create(h, c->id.text, c->id.len, NULL, &opts, &s);
    if (rc < 0)
        return rc;
    if ((rc = sse__stream_set_owner(s, c->owner.text, c->owner.len)) < 0 ||
        (rc = sse__stream_set_kind(s, c->kind.text, c->kind.len)) < 0 ||
        (rc = sse__stream_set_metadata(s, c->metadata.text, c->metadata.len)) <
            0) {
        sse__stream_remove(s);
        return rc;
    }
    *out = s;
    return SSE_OK;
}

/* {"streamId","state"}, into an empty buffer. */
static int add_state_of(sse__buf *out, const char *id, uint32_t state)
{
    int rc;

    out->len = 0;
    if ((rc = sse__buf_add_str(out, "{\"streamId\":\"")) < 0 ||
        (rc = sse__buf_add_str(out, id)) < 0 ||
        (rc = sse__buf_add_str(out, "\",\"state\":\"")) < 0 ||
        (rc = sse__buf_add_str(out, sse_state_name((int)state))) < 0)
        return rc;
    return sse__buf_add_str(out, "\"}");
}

static int add_state(sse__buf *out, const sse__stream *s)
{
    return add_state_of(out, s->id, s->state);
}

static int add_created(sse_request *r, sse__buf *out, const sse__stream *s)
{
    int rc;

    out->len = 0;
    if ((rc = sse__buf_add(out, r->conn->server->prefix.data,
                           r->conn->server->prefix.len)) < 0 ||
        (rc = sse__buf_add_str(out, "/")) < 0 ||
        (rc = sse__buf_add_str(out, s->id)) < 0 ||
        (rc = sse_request_add_header(r, "Location", 8, out->data, out->len)) <
            0)
        return rc;
    return add_state(out, s);
}

/* The store did not take it. */
static void forget(sse_hub *hub, sse__stream *s)
{
    if (sse__hub_enter(hub) < 0)
        return;
    sse__stream_remove(s);
    sse__hub_leave(hub);
}

static void answer_created(sse_request *r, sse__op *op)
{
    sse__buf *out = &r->conn->server->scratch;
    int       rc = op->rc;

    if (rc == SSE_OK)
        rc = add_created(r, out, op->stream);
    else
        forget(r->conn->server->hub, op->stream);
    if (rc < 0)
        sse__respond_err(r, rc);
    else
        sse__respond_json(r, 201, out);
}

/* The store must know of it before the caller does. */
static int register_it(sse_request *r, sse__stream *stream)
{
    sse__op *op;
    int      rc = sse__op_new_create(r->conn->server->hub, stream, &op);

    if (rc < 0)
        sse__stream_remove(stream);
    else
        sse__ask(r, op, answer_created);
    return rc;
}

/* An active stream has that id, as far as is known here. */
static int look_whether_it_has_ended(sse_request *r, const creation *c)
{
    sse_hub     *hub = r->conn->server->hub;
    sse__stream *old = sse__hub_find(&hub->core, c->id.text, c->id.len);
    sse__op     *op;
    int          rc;

    if (r->fetched)
        return SSE_ERR_EXISTS;
    rc = sse__op_new_look(hub, old, &op);
    if (rc == SSE_OK)
        sse__ask_and_go_on(r, op, sse__api_create);
    return rc;
}

static int create_locked(sse_request *r, creation *c)
{
    sse_server  *s = r->conn->server;
    sse__stream *stream;
    int          rc = sse__hub_enter(s->hub);

    if (rc < 0)
        return rc;
    if ((rc = sse__hub_start(s->hub)) == SSE_OK &&
        (rc = create(r, c, &stream)) == SSE_OK)
        rc = s->hub->store ? register_it(r, stream)
                           : add_created(r, &s->scratch, stream);
    else if (rc == SSE_ERR_EXISTS)
        rc = look_whether_it_has_ended(r, c);
    sse__hub_leave(s->hub);
    return rc;
}

/* Checks the id, or makes one up. False: it has been answered. */
static bool name_it(sse_request *r, creation *c, char *made)
{
    if (!c->id.text) {
        c->id = (sse__json_slice){made, SSE__MADE_ID_BYTES};
        if (sse__make_id(made))
            return true;
        sse__respond_error(r, 500, "internal", "There is no id to be had.");
        return false;
    }
    if (sse__stream_id_valid(c->id.text, c->id.len))
        return true;
    sse__respond_bad_id(r);
    return false;
}

void sse__api_create(sse_request *r)
{
    sse_server *s = r->conn->server;
    char        made[SSE__MADE_ID_BYTES];
    creation    c;
    int         rc;

    if (!sse__utf8_valid(r->body.data, r->body.len)) {
        sse__respond_err(r, SSE_ERR_UTF8);
        return;
    }
    if (parse_creation(&r->body, &c) < 0) {
        sse__respond_error(r, 400, "bad_json",
                           "The body must be a JSON object; streamId, "
                           "streamType and userId are strings.");
        return;
    }
    if ((rc = decode(s, &c)) < 0) {
        sse__respond_err(r, rc);
        return;
    }
    if (!name_it(r, &c, made))
        return;
    if (r->has_user && c.owner.len > 0 && !is_user(r, c.owner)) {
        sse__respond_error(r, 403, "forbidden",
                           "A stream cannot be created for somebody else.");
        return;
    }
    if (r->has_user)
        c.owner = (sse__json_slice){r->user.data, r->user.len};
    if ((rc = create_locked(r, &c)) < 0)
        sse__respond_err(r, rc);
    else if (!r->op)
        sse__respond_json(r, 201, &s->scratch);
}

/* ---- One stream ---- */

static void answer_removed(sse_request *r, sse__op *op)
{
    if (op->rc < 0)
        sse__respond_err(r, op->rc);
    else
        sse__respond_empty(r, 204);
}

/* Asks the store; with the lock. */
static int ask_new(sse_request *r, sse__op_kind kind,
                   void (*then)(sse_request *, sse__op *))
{
    sse_hub *hub = r->conn->server->hub;
    sse__op *op =
        sse__op_new(kind, r->id.data, r->id.len, sse__store_answer_by(hub));

    if (!op)
        return SSE_ERR_NOMEM;
    sse__ask(r, op, then);
    return SSE_OK;
}

void sse__api_remove(sse_request *r)
{
    sse_hub     *hub = r->conn->server->hub;
    sse__stream *s;
    int          rc;

    if ((r->has_user &&
         sse__ask_for_stream(r, "", 0, SSE__ASK_WHAT, sse__api_remove)) ||
        sse__hub_enter(hub) < 0)
        return;
    s = sse__request_stream(r);
    rc = s ? SSE_OK : SSE_ERR_NOT_FOUND;
    if (s)
        sse__stream_remove(s);
    if (hub->store && (s || !r->has_user))
        rc = ask_new(r, SSE__OP_REMOVE, answer_removed);
    sse__hub_leave(hub);
    if (rc < 0)
        sse__respond_err(r, rc);
    else if (!hub->store)
        sse__respond_empty(r, 204);
}

static void answer_stopped(sse_request *r, sse__op *op)
{
    sse__buf *out = &r->conn->server->scratch;
    int       rc = op->rc;

    if (rc == SSE_OK)
        rc = add_state_of(out, op->id, op->state);
    if (rc < 0)
        sse__respond_err(r, rc);
    else
        sse__respond_json(r, 202, out);
}

/* One that its producer here, or the hub itself, can stop. */
static int stop_here(sse_request *r, sse__stream *s)
{
    int rc = sse__stream_stop(s, SSE_REASON_REQUESTED);

    return rc < 0 ? rc : add_state(&r->conn->server->scratch, s);
}

static int ask_to_stop(sse_request *r)
{
    sse__op *op;
    int rc = sse__op_new_stop(r->conn->server->hub, r->id.data, r->id.len, &op);

    if (rc == SSE_OK)
        sse__ask(r, op, answer_stopped);
    return rc;
}

void sse__api_stop(sse_request *r)
{
    sse_server  *server = r->conn->server;
    sse__stream *s;
    bool         asked = false;
    int          rc = SSE_ERR_NOT_FOUND;

    if ((r->has_user &&
         sse__ask_for_stream(r, "", 0, SSE__ASK_WHAT, sse__api_stop)) ||
        sse__hub_enter(server->hub) < 0)
        return;
    s = sse__request_stream(r);
    asked = server->hub->store && (s ? sse__stream_is_mirror(s) : !r->has_user);
    if (asked)
        rc = ask_to_stop(r);
    else if (s)
        rc = stop_here(r, s);
    sse__hub_leave(server->hub);
    if (rc < 0)
        sse__respond_err(r, rc);
    else if (!asked)
        sse__respond_json(r, 202, &server->scratch);
}

/* ---- Recover ---- */

/* The log's events behind the cursor, through a subscriber of the moment. */
static int add_kept(sse__stream *stream, const char *after, size_t after_len,
                    sse__buf *out)
{
    sse__subscriber sub;
    sse_event_id    last;
    bool            first = true;
    int             rc = sse__subscriber_look(&sub, stream, after, after_len);

    if (rc == SSE_ERR_ENDED)
        return SSE_OK;
    if (rc < 0)
        return rc;
    do {
        sse__take take;

        sse__subscriber_take(&sub, SSE__WRITE_MAX, &take);
        rc = sse__events_add(out, &take, &last, &first);
        sse__take_drop(&take);
    } while (rc == SSE_OK && sub.seq < stream->log.next_seq);
    return rc;
}

/* Takes the terminal event, the last of the log, from its wire bytes. */
static int add_terminal(sse__buf *out, const sse__stream *stream)
{
    uint64_t        seq = stream->log.next_seq - 1;
    sse__take       take = {.prefix_len = 0};
    sse_parser     *p;
    const sse_item *item;
    int             rc = sse__events_parser(&p);

    if (rc < 0)
        return rc;
    take.span_count = sse__log_read(&stream->log, &seq, 1, take.spans, 1);
    rc = sse_parser_feed(p, take.spans[0].data, take.spans[0].len);
    if (rc == SSE_OK && sse_parser_next(p, &item) == 1 &&
        (rc = sse__buf_add_str(out, ",\"terminalEventType\":")) == SSE_OK &&
        (rc = sse__json_quote(out, item->type, item->type_len)) == SSE_OK &&
        (rc = sse__buf_add_str(out, ",\"terminalEventData\":")) == SSE_OK) {
        if (item->data_len > 0 &&
            sse__json_scan(item->data, item->data_len) == item->data_len)
            rc = sse__buf_add(out, item->data, item->data_len);
        else
            rc = sse__json_quote(out, item->data, item->data_len);
    }
    sse_parser_free(p);
    sse__take_drop(&take);
    if (rc == SSE_OK)
        rc = sse__buf_add_str(out, ",\"completedAt\":");
    return rc < 0 ? rc : sse__time_json(out, stream->ended_ms);
}

static int add_recovered(sse_request *r, sse__stream *stream, sse__buf *out)
{
    size_t          after_len;
    const char     *after = sse_request_query_value(r, "after", 5, &after_len);
    sse_stream_info info;
    sse_event_id    last;
    int             rc;

    out->len = 0;
    sse__stream_info(stream, &info);
    sse__stream_last_id(stream, &last);
    if ((rc = sse__buf_add_str(out, "{\"status\":\"")) < 0 ||
        (rc = sse__buf_add_str(out, sse_state_name((int)info.state))) < 0 ||
        (rc = sse__buf_add_str(out, "\",")) < 0 ||
        (rc = sse__stream_json(out, &info)) < 0 ||
        (rc = sse__buf_add_str(out, ",\"lastEventId\":")) < 0 ||
        (rc = sse__json_quote(out, last.text, last.text_len)) < 0)
        return rc;
    if (info.state != SSE_STATE_ACTIVE && (rc = add_terminal(out, stream)) < 0)
        return rc;
    if ((rc = sse__buf_add_str(out, ",\"events\":[")) < 0 ||
        (rc = add_kept(stream, after, after_len, out)) < 0)
        return rc;
    return sse__buf_add_str(out, "]}");
}

void sse__api_recover(sse_request *r)
{
    static const char unknown[] =
        "{\"status\":\"not_found\",\"error\":\"not_found\","
        "\"message\":\"There is no such stream.\"}";
    sse_server  *server = r->conn->server;
    sse__stream *s;
    int          rc = SSE_OK;
    size_t       after_len;
    const char  *after = sse_request_query_value(r, "after", 5, &after_len);

    if (sse__ask_for_stream(r, after, after_len, SSE__ASK_NOW,
                            sse__api_recover) ||
        sse__hub_enter(server->hub) < 0)
        return;
    server->scratch.len = 0;
    if ((s = sse__request_stream(r)))
        rc = add_recovered(r, s, &server->scratch);
    else
        rc = sse__buf_add_str(&server->scratch, unknown);
    sse__hub_leave(server->hub);
    if (rc < 0)
        sse__respond_err(r, rc);
    else
        sse__respond_json(r, s ? 200 : 404, &server->scratch);
    if (!s)
        server->counters.refused[SSE__REFUSED_NOT_FOUND]++;
}

/* ---- All streams ---- */

static int add_list(sse__buf *out, sse_list *list)
{
    const sse_stream_info *info;
    const char            *comma = "";
    int                    rc;

    out->len = 0;
    rc = sse__buf_add_str(out, "{\"streams\":[");
    while (rc == SSE_OK && sse_list_next(list, &info) > 0) {
        if ((rc = sse__buf_add_str(out, comma)) < 0 ||
            (rc = sse__buf_add_str(out, "{")) < 0 ||
            (rc = sse__stream_json(out, info)) < 0)
            break;
        rc = sse__buf_add_str(out, "}");
        comma = ",";
    }
    return rc < 0 ? rc : sse__buf_add_str(out, "]}");
}

static void answer_list(sse_request *r, sse_list *list)
{
    sse__buf *out = &r->conn->server->scratch;
    int       rc = add_list(out, list);

    sse_list_free(list);
    if (rc < 0)
        sse__respond_err(r, rc);
    else
        sse__respond_json(r, 200, out);
}

static void answer_found(sse_request *r, sse__op *op)
{
    sse_list *list = NULL;
    int       rc = op->rc < 0 ? op->rc : sse__list_from(op, &list);

    if (rc < 0)
        sse__respond_err(r, rc);
    else
        answer_list(r, list);
}

static int ask_for_list(sse_request *r, const char *owner, size_t len)
{
    sse_hub *hub = r->conn->server->hub;
    sse__op *op;
    int      rc = sse__hub_enter(hub);

    if (rc < 0)
        return rc;
    op = sse__op_new(SSE__OP_LIST, owner, len, sse__store_answer_by(hub));
    if (op)
        sse__ask(r, op, answer_found);
    sse__hub_leave(hub);
    return op ? SSE_OK : SSE_ERR_NOMEM;
}

void sse__api_list(sse_request *r)
{
    sse_server     *s = r->conn->server;
    size_t          len;
    const char     *owner = sse_request_query_value(r, "userId", 6, &len);
    sse__json_slice asked = {owner, len};
    sse_list       *list = NULL;
    int             rc;

    if (r->has_user && len > 0 && !is_user(r, asked)) {
        sse__respond_err(r, SSE_ERR_NOT_FOUND);
        return;
    }
    if (r->has_user) {
        owner = r->user.data;
        len = r->user.len;
    }
    rc = s->hub->store ? ask_for_list(r, owner, len)
                       : sse_list_new(s->hub, owner, len, &list);
    if (rc < 0)
        sse__respond_err(r, rc);
    else if (list)
        answer_list(r, list);
}

/* ---- The server ---- */

void sse__api_metrics(sse_request *r)
{
    static const char type[] = "text/plain; version=0.0.4; charset=utf-8";
    sse_server       *s = r->conn->server;
    sse__buf         *out = &s->scratch;
    int               rc = sse__hub_enter(s->hub);

    out->len = 0;
    if (rc == SSE_OK) {
        rc = sse__hub_metrics(&s->hub->core, out);
        if (rc == SSE_OK && s->hub->store)
            rc = s->hub->store->ops->metrics(s->hub->store, out);
        sse__hub_leave(s->hub);
    }
    if (rc == SSE_OK)
        rc = sse__server_metrics(s, out);
    if (rc < 0)
        sse__respond_err(r, rc);
    else
        sse_request_respond(r, 200, type, sizeof(type) - 1, out->data,
                            out->len);
}

/* Into `out`: 1 when all is well, 0 when not, or an error. */
static int add_health(sse_server *s, sse__buf *out)
{
    const char *why = "";
    int         rc = sse__hub_enter(s->hub);
    bool        up;

    if (rc < 0)
        return rc;
    up = !s->hub->store || s->hub->store->ops->is_up(s->hub->store, &why) == 1;
    out->len = 0;
    if (s->closing)
        rc = sse__buf_add_str(out, "{\"status\":\"closing\"}");
    else if (up)
        rc = sse__buf_add_str(out, "{\"status\":\"ok\"}");
    else if ((rc = sse__buf_add_str(out, "{\"status\":\"degraded\",\"message"
                                         "\":")) == SSE_OK &&
             (rc = sse__json_quote(out, why, strlen(why))) == SSE_OK)
        rc = sse__buf_add_str(out, "}");
    sse__hub_leave(s->hub);
    return rc < 0 ? rc : up && !s->closing;
}

void sse__api_health(sse_request *r)
{
    sse__buf *out = &r->conn->server->scratch;
    int       rc = add_health(r->conn->server, out);

    if (rc < 0)
        sse__respond_err(r, rc);
    else
        sse__respond_json(r, rc ? 200 : 503, out);
}
