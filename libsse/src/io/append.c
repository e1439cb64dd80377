/* SPDX-License-Identifier: MIT */
/* append.c - bodies of requests that append: JSON, NDJSON, plain text. */
#include <string.h>

#include "../core/alloc.h"
#include "../core/json.h"
#include "../core/utf8.h"
#include "../store/store.h"
#include "handlers.h"

#define EVENTS_MAX 100000u
#define PARK_STEP_MS 50

/* The events of one request, pointing into its body and the arena. */
typedef struct batch {
    sse__new_event *events;
    sse_event_id   *ids;
    size_t          count;
    bool            many; /* answer with "ids" */
} batch;

static void batch_free(batch *b)
{
    sse__free(b->events);
    sse__free(b->ids);
}

static int batch_reserve(batch *b, size_t count)
{
    b->events = sse__calloc(count, sizeof(*b->events));
    b->ids = sse__calloc(count, sizeof(*b->ids));
    return b->events && b->ids ? SSE_OK : SSE_ERR_NOMEM;
}

/* ---- JSON ---- */

/* The text of a scanned JSON string. The arena never grows here: it was made
 * as large as the body, and no string gets longer by decoding. */
static int string_text(sse_request *r, sse__json_slice v, const char **text,
                       size_t *len)
{
    sse__buf *arena = &r->conn->server->arena;
    size_t    start = arena->len;
    int       rc;

    if (!memchr(v.text, '\\', v.len)) {
        *text = v.text + 1;
        *len = v.len - 2;
        return SSE_OK;
    }
    if (!sse__json_is_text(v.text, v.len))
        return SSE_ERR_UTF8;
    rc = sse__json_unquote(arena, v.text, v.len);
    *text = arena->data + start;
    *len = arena->len - start;
    return rc;
}

static int take_member(sse_request *r, sse__json_slice key,
                       sse__json_slice value, sse__new_event *e, bool *has_data)
{
    bool is_string = value.text[0] == '"';

    if (sse__json_is_key(key, "data")) {
        *has_data = true;
        if (is_string)
            return string_text(r, value, &e->data, &e->data_len);
        e->data = value.text;
        e->data_len = value.len;
    } else if (sse__json_is_key(key, "type")) {
        if (!is_string)
            return SSE_ERR_INVAL;
        return string_text(r, value, &e->type, &e->type_len);
    }
    return SSE_OK;
}

#define NOT_JSON 1 /* beside the codes of sse_err, which are negative */
#define LACKS_DATA 2

/* One object `{"type"?,"data"}`, the whole of `text`. */
static int parse_event(sse_request *r, const char *text, size_t len,
                       bool needs_data, sse__new_event *e)
{
    const char     *at = text + sse__json_space(text, len);
    const char     *end = text + len;
    sse__json_slice key, value;
    bool            has_data = false;
    int             rc;

    *e = (sse__new_event){"", 0, "{}", 2};
    if (at == end || *at++ != '{')
        return NOT_JSON;
    while ((rc = sse__json_member(&at, end, &key, &value)) > 0)
        if ((rc = take_member(r, key, value, e, &has_data)) < 0)
            return rc;
    if (rc < 0 || at + sse__json_space(at, (size_t)(end - at)) != end)
        return NOT_JSON;
    return has_data || !needs_data ? SSE_OK : LACKS_DATA;
}

static size_t count_lines(const sse__buf *body)
{
    size_t      n = 0;
    const char *at = body->data, *end = at + body->len;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        n++;
        at = stop ? stop + 1 : end;
    }
    return n;
}

static int parse_lines(sse_request *r, batch *b)
{
    const char *at = r->body.data, *end = at + r->body.len;
    size_t      lines = count_lines(&r->body);
    int         rc;

    b->many = true;
    if (lines == 0)
        return NOT_JSON;
    if (lines > EVENTS_MAX)
        return SSE_ERR_TOO_BIG;
    if ((rc = batch_reserve(b, lines)) < 0)
        return rc;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t      len = (size_t)((stop ? stop : end) - at);

        if (sse__json_space(at, len) < len) {
            rc = parse_event(r, at, len, true, &b->events[b->count++]);
            if (rc != SSE_OK)
                return rc;
        }
        at = stop ? stop + 1 : end;
    }
    return b->count ? SSE_OK : NOT_JSON;
}

/* ---- Bodies ---- */

static int parse_plain(sse_request *r, batch *b)
{
    size_t         type_len;
    const char    *type = sse_request_query_value(r, "type", 4, &type_len);
    int            rc = batch_reserve(b, 1);
    sse__new_event e = {type, type_len, r->body.len ? r->body.data : "",
                        r->body.len};

    if (rc < 0)
        return rc;
    b->events[b->count++] = e;
    return SSE_OK;
}

#define WRONG_TYPE 3

/* curl names form-urlencoded when nobody names a type: that is taken as JSON. */
static int parse_body(sse_request *r, bool terminal, batch *b)
{
    size_t      len;
    const char *type = sse__request_find(r, "content-type", &len);
    const char *semicolon = len ? memchr(type, ';', len) : NULL;
    int         rc;

    if (semicolon)
        len = (size_t)(semicolon - type);
    while (len > 0 && type[len - 1] == ' ')
        len--;
    r->conn->server->arena.len = 0;
    if (sse__buf_reserve(&r->conn->server->arena, r->body.len + 1) < 0)
        return SSE_ERR_NOMEM;
    if (sse__is_token(type, len, "text/plain"))
        return parse_plain(r, b);
    if (!terminal && (sse__is_token(type, len, "application/x-ndjson") ||
                      sse__is_token(type, len, "application/ndjson") ||
                      sse__is_token(type, len, "application/jsonl")))
        return parse_lines(r, b);
    if (len > 0 && !sse__is_token(type, len, "application/json") &&
        !sse__is_token(type, len, "application/x-www-form-urlencoded"))
        return WRONG_TYPE;
    if ((rc = batch_reserve(b, 1)) < 0)
        return rc;
    b->count = 1;
    if (terminal && r->body.len == 0) {
        b->events[0] = (sse__new_event){"", 0, "{}", 2};
        return SSE_OK;
    }
    return parse_event(r, r->body.data ? r->body.data : "", r->body.len,
                       !terminal, &b->events[0]);
}

static void refuse_body(sse_request *r, int rc)
{
    if (rc == NOT_JSON && !sse__utf8_valid(r->body.data, r->body.len))
        rc = SSE_ERR_UTF8;
    switch (rc) {
    case NOT_JSON:
        sse__respond_error(r, 400, "bad_json",
                           "The body must be a JSON object with the member "
                           "data, or one such object a line.");
        break;
    case LACKS_DATA:
        sse__respond_error(r, 400, "bad_event",
                           "An event needs the member data.");
        break;
    case WRONG_TYPE:
        sse__respond_error(r, 415, "unsupported_type",
                           "Send application/json, application/x-ndjson or "
                           "text/plain.");
        break;
    default: sse__respond_err(r, rc);
    }
}

/* ---- Answers ---- */

static int add_id(sse__buf *out, const sse_event_id *id)
{
    int rc = sse__buf_add_str(out, "\"");

    if (rc == SSE_OK)
        rc = sse__buf_add(out, id->text, id->text_len);
    return rc < 0 ? rc : sse__buf_add_str(out, "\"");
}

static int add_ids(sse__buf *out, const batch *b)
{
    int rc = sse__buf_add_str(out, "{\"ids\":[");

    for (size_t i = 0; rc == SSE_OK && i < b->count; i++) {
        if (i > 0)
            rc = sse__buf_add_str(out, ",");
        if (rc == SSE_OK)
            rc = add_id(out, &b->ids[i]);
    }
    return rc < 0 ? rc : sse__buf_add_str(out, "]}");
}

static void answer_appended(sse_request *r, const batch *b)
{
    sse__buf *out = &r->conn->server->scratch;
    int       rc;

    out->len = 0;
    if (b->many)
        rc = add_ids(out, b);
    else if ((rc = sse__buf_add_str(out, "{\"id\":")) == SSE_OK &&
             (rc = add_id(out, b->ids)) == SSE_OK)
        rc = sse__buf_add_str(out, "}");
    if (rc < 0)
        sse__respond_err(r, rc);
    else
        sse__respond_json(r, 202, out);
}

static void answer_ended(sse_request *r, const batch *b, uint32_t state)
{
    sse__buf *out = &r->conn->server->scratch;
    int       rc;

    out->len = 0;
    if ((rc = sse__buf_add_str(out, "{\"id\":")) < 0 ||
        (rc = add_id(out, b->ids)) < 0 ||
        (rc = sse__buf_add_str(out, ",\"state\":\"")) < 0 ||
        (rc = sse__buf_add_str(out, sse_state_name((int)state))) < 0 ||
        (rc = sse__buf_add_str(out, "\"}")) < 0)
        sse__respond_err(r, rc);
    else
        sse__respond_json(r, 200, out);
}

/* ---- Appending ---- */

#define MUST_WAIT 4

/* Appends, or ends the stream with `state`, under the lock. */
static int apply(sse_request *r, batch *b, uint32_t state)
{
    sse_server  *s = r->conn->server;
    sse__stream *stream;
    bool         patient =
        r->wait_until_ms == 0 || sse__server_now(s) < r->wait_until_ms;
    int rc = sse__hub_enter(s->hub);

    if (rc < 0)
        return rc;
    stream = sse__request_stream(r);
    if (!stream)
        rc = SSE_ERR_NOT_FOUND;
    else if (patient && sse__stream_must_wait(stream, b->events, b->count))
        rc = MUST_WAIT;
    else if (state != SSE_STATE_ACTIVE)
        rc = sse__stream_end(stream, state, b->events, b->ids);
    else
        rc = sse__stream_append(stream, b->events, b->count, b->ids);
    if (rc == MUST_WAIT && r->wait_until_ms == 0)
        s->hub->core.counters.blocked++;
    sse__hub_leave(s->hub);
    return rc;
}

/* The answer waits until the slow readers of the stream have moved on. */
static void park(sse_request *r, uint32_t state)
{
    sse__conn  *c = r->conn;
    sse_server *s = c->server;

    if (r->wait_until_ms == 0)
        r->wait_until_ms =
            sse__server_now(s) + s->hub->core.opts.block_timeout_ms;
    r->parked_state = state;
    c->state = SSE__CONN_PARKED;
    sse__list_drop(&c->link);
    sse__list_add(&s->parked, &c->link);
    sse__server_set_timer(s, &c->timer, PARK_STEP_MS);
}

/* ---- By way of the store ---- */

static void answer_stored(sse_request *r, sse__op *op)
{
    sse_id_format format = r->conn->server->hub->core.opts.id_format;
    batch         b = {.count = op->row_count, .many = r->many};

    b.ids = sse__calloc(b.count, sizeof(*b.ids));
    if (op->rc < 0 || !b.ids) {
        sse__respond_err(r, op->rc < 0 ? op->rc : SSE_ERR_NOMEM);
        sse__free(b.ids);
        return;
    }
    sse__op_count(r->conn->server->hub, op);
    for (size_t i = 0; i < b.count; i++)
        sse__id_make(&b.ids[i], op->seq + i, op->rows[i]->tag, format);
    if (op->state != SSE_STATE_ACTIVE)
        answer_ended(r, &b, op->state);
    else
        answer_appended(r, &b);
    batch_free(&b);
}

static int ask_to_append(sse_request *r, batch *b, uint32_t state)
{
    sse_hub *hub = r->conn->server->hub;
    sse__op *op = sse__op_new(SSE__OP_APPEND, r->id.data, r->id.len,
                              sse__store_answer_by(hub));
    int      rc;

    if (!op)
        return SSE_ERR_NOMEM;
    if (state != SSE_STATE_ACTIVE && b->events[0].type_len == 0) {
        b->events[0].type = sse_state_name((int)state);
        b->events[0].type_len = strlen(b->events[0].type);
    }
    if ((rc = sse__op_add_rows(op, hub, b->events, b->count)) < 0) {
        sse__op_free(op);
        return rc;
    }
    op->state = state;
    r->many = b->many;
    sse__ask(r, op, answer_stored);
    return SSE_OK;
}

#define NOT_STORED 5 /* the stream is written here */

/* Appends to a stream that this hub does not write by itself. */
static int append_stored(sse_request *r, batch *b, uint32_t state)
{
    sse_hub     *hub = r->conn->server->hub;
    sse__stream *s;
    int          rc = sse__hub_enter(hub);

    if (rc < 0)
        return rc;
    s = sse__request_stream(r);
    if (s ? !sse__stream_is_mirror(s) : r->has_user)
        rc = s ? NOT_STORED : SSE_ERR_NOT_FOUND;
    else
        rc = ask_to_append(r, b, state);
    sse__hub_leave(hub);
    return rc;
}

static void append(sse_request *r, uint32_t state);

static void append_events(sse_request *r)
{
    append(r, r->parked_state);
}

/* True: the request waits for the store, or has been answered. */
static bool by_store(sse_request *r, batch *b, uint32_t state)
{
    int rc;

    if (!r->conn->server->hub->store)
        return false;
    r->parked_state = state;
    if (r->has_user &&
        sse__ask_for_stream(r, "", 0, SSE__ASK_WHAT, append_events))
        return true;
    rc = append_stored(r, b, state);
    if (rc < 0)
        sse__respond_err(r, rc);
    return rc != NOT_STORED;
}

static void append(sse_request *r, uint32_t state)
{
    batch b = {0};
    int   rc = parse_body(r, state != SSE_STATE_ACTIVE, &b);

    if (rc == SSE_OK && by_store(r, &b, state))
        ;
    else if (rc == SSE_OK && (rc = apply(r, &b, state)) == MUST_WAIT)
        park(r, state);
    else if (rc != SSE_OK)
        refuse_body(r, rc);
    else if (state != SSE_STATE_ACTIVE)
        answer_ended(r, &b, state);
    else
        answer_appended(r, &b);
    batch_free(&b);
}

void sse__append_events(sse_request *r)
{
    append(r, SSE_STATE_ACTIVE);
}

void sse__append_end(sse_request *r, uint32_t state)
{
    append(r, state);
}

void sse__append_again(sse__conn *c)
{
    sse__timer_drop(&c->timer);
    sse__list_drop(&c->link);
    sse__list_add(&c->server->conns, &c->link);
    c->state = SSE__CONN_READING;
    append(c->request, c->request->parked_state);
}

/* Each once: those that must wait on stand at the end then. What comes behind an
 * append may close the server, and all of them. */
void sse__append_retry(sse_server *s)
{
    size_t left = 0;

    for (const sse__link *l = s->parked.next; l != &s->parked; l = l->next)
        left++;
    for (; left > 0 && !sse__list_empty(&s->parked); left--)
        sse__append_again(SSE__OWNER(s->parked.next, sse__conn, link));
}
