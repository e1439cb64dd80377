/* SPDX-License-Identifier: MIT */
/* store.c - a hub and its store: opening it, and asking it. */
#include "../store/store.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/options.h"
#include "handlers.h"
#include "stream.h"

#define ERROR_MAX 512

/* ---- Operations ---- */

sse__op *sse__op_new(sse__op_kind kind, const char *id, size_t id_len,
                     int64_t by_ms)
{
    sse__op *op = sse__calloc(1, sizeof(*op));

    if (!op)
        return NULL;
    op->id = sse__memdup(id, id_len);
    if (!op->id) {
        sse__free(op);
        return NULL;
    }
    op->id_len = (uint32_t)id_len;
    op->kind = kind;
    op->by_ms = by_ms;
    sse__list_init(&op->link);
    return op;
}

void sse__op_free(sse__op *op)
{
    if (!op)
        return;
    if (op->stream)
        sse__stream_unref(op->stream);
    for (size_t i = 0; i < op->row_count; i++)
        sse__free(op->rows[i]);
    sse__free(op->rows);
    while (op->found) {
        sse__found *next = op->found->next;

        sse__free(op->found);
        op->found = next;
    }
    sse__free(op->id);
    sse__free(op);
}

int sse__op_add_rows(sse__op *op, sse_hub *hub, const sse__new_event *events,
                     size_t count)
{
    op->rows = sse__calloc(count, sizeof(sse__row *));
    if (!op->rows)
        return SSE_ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        int rc = sse__row_make(&hub->core, &events[i], &op->rows[i]);

        if (rc < 0)
            return rc;
        op->row_count++;
    }
    return SSE_OK;
}

void sse__op_finish(sse_hub *hub, sse__op *op, int rc)
{
    sse__list_drop(&op->link);
    op->rc = rc;
    op->finished = true;
    if (op->abandoned)
        sse__op_free(op);
    else if (op->done)
        op->done(op);
    else
        pthread_cond_broadcast(&hub->answered);
}

/* ---- Asking ---- */

/* Submits `op`, waits for its answer, and returns that; the op is the caller's
 * again, unless SSE_ERR_STORE came because nobody answered: `*op` is then
 * NULL. */
static int ask(sse_hub *hub, sse__op **op)
{
    sse__op *asked = *op;
    int64_t  give_up_ms = asked->by_ms + SSE__STORE_SLACK_MS;

    hub->store->ops->submit(hub->store, asked);
    hub->store->ops->ring(hub->store);
    while (!asked->finished)
        if (!sse__hub_wait(hub, &hub->answered, give_up_ms))
            break;
    if (asked->finished)
        return asked->rc;
    asked->abandoned = true;
    *op = NULL;
    return SSE_ERR_STORE;
}

int64_t sse__store_answer_by(const sse_hub *hub)
{
    return hub->core.mono_ms + hub->store->opts.command_ms;
}

static sse__op *new_op(sse_hub *hub, sse__op_kind kind, const char *id,
                       size_t id_len)
{
    return sse__op_new(kind, id, id_len, sse__store_answer_by(hub));
}

static int ask_and_free(sse_hub *hub, sse__op *op)
{
    int rc = op ? ask(hub, &op) : SSE_ERR_NOMEM;

    sse__op_free(op);
    return rc;
}

int sse__op_new_create(sse_hub *hub, sse__stream *s, sse__op **out)
{
    bool shared = s->flags & (SSE_STREAM_CHANNEL | SSE_STREAM_SHARED);
    int  rc;

    *out = NULL;
    rc = sse__backing_new(s, shared ? SSE__MIRROR : SSE__OWNER, 0, 0);
    if (rc < 0)
        return rc;
    s->backing->idle_ms = hub->store->opts.idle_ms;
    *out = new_op(hub, SSE__OP_CREATE, s->id, s->node.key_len);
    if (!*out)
        return SSE_ERR_NOMEM;
    (*out)->stream = s;
    sse__stream_ref(s);
    return SSE_OK;
}

int sse__store_create(sse_hub *hub, sse__stream *s)
{
    sse__op *op;
    int      rc = sse__op_new_create(hub, s, &op);

    return rc < 0 ? rc : ask_and_free(hub, op);
}

bool sse__store_covers(const sse__stream *s, const sse__cursor *cursor)
{
    const struct sse__backing *b = s->backing;

    if (!b || b->role == SSE__OWNER)
        return true;
    return b->live && sse__mirror_reaches(s, cursor);
}

int sse__store_fetch(sse_hub *hub, const char *id, size_t id_len,
                     const sse__cursor *cursor)
{
    sse__stream *s = sse__hub_find(&hub->core, id, id_len);
    sse__op     *op;

    if (s && sse__store_covers(s, cursor))
        return SSE_OK;
    op = new_op(hub, SSE__OP_FETCH, id, id_len);
    if (op)
        op->cursor = *cursor;
    return ask_and_free(hub, op);
}

bool sse__store_may_lag(const sse__stream *s)
{
    return s && sse__stream_is_mirror(s) && s->state == SSE_STATE_ACTIVE;
}

int sse__op_new_look(sse_hub *hub, const sse__stream *s, sse__op **out)
{
    *out = NULL;
    if (!hub->store || !sse__store_may_lag(s))
        return SSE_ERR_EXISTS;
    *out = new_op(hub, SSE__OP_FETCH, s->id, s->node.key_len);
    if (!*out)
        return SSE_ERR_NOMEM;
    (*out)->look = (*out)->fresh = true;
    return SSE_OK;
}

int sse__store_look(sse_hub *hub, const sse__stream *s)
{
    sse__op *op;
    int      rc = sse__op_new_look(hub, s, &op);

    return rc < 0 ? rc : ask_and_free(hub, op);
}

/* What was fetched may be another run of the stream than the handle's. */
int sse__store_reach(sse_stream *s, const char *cursor, size_t cursor_len)
{
    sse__stream *now;
    sse__cursor  at;
    int          rc;

    if (!s->hub->store)
        return SSE_OK;
    if ((rc = sse__cursor_parse(&at, cursor, cursor_len)) < 0 ||
        (!s->core->gone && sse__store_covers(s->core, &at)))
        return rc;
    rc = sse__store_fetch(s->hub, s->core->id, s->core->node.key_len, &at);
    if (rc < 0)
        return rc;
    now = sse__hub_find(&s->hub->core, s->core->id, s->core->node.key_len);
    if (!now)
        return SSE_ERR_NOT_FOUND;
    if (now != s->core) {
        sse__stream_ref(now);
        sse__stream_unref(s->core);
        s->core = now;
    }
    return SSE_OK;
}

static void set_texts(sse__stream *s, const sse_stream_info *info)
{
    (void)sse__stream_set_owner(s, info->owner, info->owner_len);
    (void)sse__stream_set_kind(s, info->kind, info->kind_len);
    (void)sse__stream_set_metadata(s, info->metadata, info->metadata_len);
}

int sse__store_mirror(sse_hub *hub, const sse_stream_info *info, uint64_t seq,
                      uint32_t tag, bool tag_known, sse__stream **out)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .flags = SSE_STREAM_SHARED};
    sse__stream       *s;
    int                rc;

    rc =
        sse__stream_create(&hub->core, info->id, info->id_len, NULL, &opts, &s);
    if (rc < 0)
        return rc;
    if ((rc = sse__backing_new(s, SSE__MIRROR, seq, tag)) < 0) {
        sse__stream_remove(s);
        return rc;
    }
    s->unread_policy = SSE_UNREAD_CONTINUE;
    s->log.base_known = tag_known;
    s->backing->idle_ms = hub->store->opts.idle_ms;
    sse__wheel_set(&hub->core.wheel, &s->life,
                   hub->core.mono_ms + s->backing->idle_ms);
    s->created_ms = info->created_ms;
    set_texts(s, info);
    s->backing->described = true;
    *out = s;
    return SSE_OK;
}

/* The ids that an append gave, from the number of the first. */
static void make_ids(const sse_hub *hub, const sse__op *op, sse_event_id *out)
{
    for (size_t i = 0; i < op->row_count; i++)
        sse__id_make(&out[i], op->seq + i, op->rows[i]->tag,
                     hub->core.opts.id_format);
}

static void count_rows(sse_hub *hub, const sse__op *op)
{
    hub->core.counters.events_in += op->row_count;
    for (size_t i = 0; i < op->row_count; i++)
        hub->core.counters.bytes_in += op->rows[i]->len;
}

void sse__op_count(sse_hub *hub, const sse__op *op)
{
    if (sse__hub_enter(hub) < 0)
        return;
    count_rows(hub, op);
    sse__hub_leave(hub);
}

int sse__store_append(sse_hub *hub, sse__stream *s,
                      const sse__new_event *events, size_t count,
                      uint32_t state, sse_event_id *out)
{
    sse__op *op = new_op(hub, SSE__OP_APPEND, s->id, s->node.key_len);
    int      rc = op ? SSE_OK : SSE_ERR_NOMEM;

    if (rc == SSE_OK)
        rc = sse__op_add_rows(op, hub, events, count);
    if (rc == SSE_OK) {
        op->state = state;
        rc = ask(hub, &op);
    }
    if (rc == SSE_OK)
        count_rows(hub, op);
    if (rc == SSE_OK && out)
        make_ids(hub, op, out);
    sse__op_free(op);
    return rc;
}

int sse__store_end(sse_hub *hub, sse__stream *s, const sse__new_event *last,
                   uint32_t state, sse_event_id *out)
{
    sse__new_event e = *last;

    if (s->flags & SSE_STREAM_CHANNEL)
        return SSE_ERR_INVAL;
    if (e.type_len == 0) {
        e.type = sse_state_name((int)state);
        e.type_len = strlen(e.type);
    }
    return sse__store_append(hub, s, &e, 1, state, out);
}

int sse__store_remove(sse_hub *hub, const char *id, size_t id_len)
{
    return ask_and_free(hub, new_op(hub, SSE__OP_REMOVE, id, id_len));
}

/* The operation of a stop: with the event that ends a stream nobody produces. */
int sse__op_new_stop(sse_hub *hub, const char *id, size_t id_len, sse__op **out)
{
    static const char    data[] = "{\"reason\":\"stop\"}";
    const sse__new_event last = {"cancelled", 9, data, sizeof(data) - 1};
    sse__op             *op = new_op(hub, SSE__OP_STOP, id, id_len);
    int                  rc;

    *out = NULL;
    if (!op)
        return SSE_ERR_NOMEM;
    if ((rc = sse__op_add_rows(op, hub, &last, 1)) < 0) {
        sse__op_free(op);
        return rc;
    }
    *out = op;
    return SSE_OK;
}

int sse__store_stop(sse_hub *hub, const char *id, size_t id_len)
{
    sse__op *op;
    int      rc = sse__op_new_stop(hub, id, id_len, &op);

    return rc < 0 ? rc : ask_and_free(hub, op);
}

int sse__store_list(sse_hub *hub, const char *owner, size_t owner_len,
                    sse__op **out)
{
    *out = new_op(hub, SSE__OP_LIST, owner, owner_len);
    return *out ? ask(hub, out) : SSE_ERR_NOMEM;
}

/* ---- Opening ---- */

void sse__store_changed(sse__store *store)
{
    pthread_cond_broadcast(&store->hub->answered);
}

static int fill_options(sse_store_options *o, const sse_store_options *given)
{
    if (sse__options_copy(o, sizeof(*o), given) < 0 || o->flags != 0)
        return SSE_ERR_INVAL;
    o->start_ms = sse__option(o->start_ms, 1000);
    o->command_ms = sse__option(o->command_ms, 5000);
    o->lease_ms = sse__option(o->lease_ms, 10000);
    o->sweep_ms = sse__option(o->sweep_ms, 30000);
    o->idle_ms = sse__option(o->idle_ms, 30000);
    return SSE_OK;
}

static void set_error(sse_hub *hub, const char *text)
{
    hub->store_error.len = 0;
    (void)sse__buf_add(&hub->store_error, text, strlen(text) + 1);
}

/* Waits for the first contact, for as long as the options say. With the lock.
 * A store that is away may come; one that refuses us is an error. */
static int wait_for_contact(sse_hub *hub)
{
    int64_t     by_ms = hub->core.mono_ms + hub->store->opts.start_ms;
    const char *why = "";
    int         up;

    while ((up = hub->store->ops->is_up(hub->store, &why)) == 0 &&
           hub->store->opts.start_ms != SSE_NEVER)
        if (!sse__hub_wait(hub, &hub->answered, by_ms))
            break;
    if (up >= 0)
        return SSE_OK;
    set_error(hub, why);
    return SSE_ERR_STORE;
}

static void drop_store(sse_hub *hub)
{
    sse__store *store = hub->store;

    store->ops->close(store, 0);
    if (sse__hub_enter(hub) < 0)
        return;
    hub->store = NULL;
    sse__hub_leave(hub);
    store->ops->free(store);
}

int sse_hub_set_store(sse_hub *hub, const char *url, size_t len,
                      const sse_store_options *opts)
{
    sse_store_options o = {0};
    char              why[ERROR_MAX] = "";
    sse__store       *store = NULL;
    int               rc = sse__hub_enter(hub);

    if (rc < 0)
        return rc;
    if (hub->store || hub->core.streams.count > 0 || fill_options(&o, opts) < 0)
        rc = SSE_ERR_INVAL;
    else
        rc = sse__hub_start(hub);
    sse__hub_leave(hub);
    if (rc < 0 || (len == 7 && memcmp(url, "memory:", 7) == 0))
        return rc;
    rc = sse__redis_open(hub, url, len, &o, why, sizeof(why), &store);
    if (rc < 0) {
        set_error(hub, why);
        return rc;
    }
    if ((rc = sse__hub_enter(hub)) < 0)
        return rc;
    hub->store = store;
    sse__hub_bind(hub);
    rc = wait_for_contact(hub);
    sse__hub_leave(hub);
    if (rc < 0)
        drop_store(hub);
    return rc;
}

const char *sse_hub_store_error(sse_hub *hub)
{
    const char *why = "";

    if (sse__hub_enter(hub) < 0)
        return sse_strerror(SSE_ERR_FORKED);
    if (hub->store && hub->store->ops->is_up(hub->store, &why) == 1)
        why = "";
    if (hub->store)
        set_error(hub, why);
    sse__hub_leave(hub);
    return hub->store_error.data ? hub->store_error.data : "";
}

int sse_hub_flush(sse_hub *hub, int64_t timeout_ms)
{
    int64_t by_ms = INT64_MAX;
    int     drained = 1, rc = sse__hub_enter(hub);

    if (rc < 0)
        return rc;
    if (timeout_ms >= 0 && timeout_ms < INT64_MAX - hub->core.mono_ms)
        by_ms = hub->core.mono_ms + timeout_ms;
    hub->flushing++;
    while (rc == SSE_OK && hub->store &&
           (drained = hub->store->ops->is_drained(hub->store)) == 0)
        if (!sse__hub_wait(hub, &hub->answered, by_ms))
            rc = SSE_ERR_TIMEOUT;
    hub->flushing--;
    sse__hub_leave(hub);
    return drained < 0 ? SSE_ERR_STORE : rc;
}

/* ---- Orphans ---- */

#define ORPHANS_MAX \
    10000u /* waiting to be judged; more come with a later sweep */

bool sse__store_tell_orphan(sse_hub *hub, const sse_stream_info *info)
{
    sse__hub    *h = &hub->core;
    sse__orphan *o = NULL;
    sse__buf     text;

    if (!h->guardian || h->orphan_count >= ORPHANS_MAX)
        return h->guardian != NULL;
    sse__buf_init(&text, SSE__METADATA_MAX * 8);
    if (sse__buf_add_str(&text, "{") == SSE_OK &&
        sse__stream_json(&text, info) == SSE_OK &&
        sse__buf_add_str(&text, "}") == SSE_OK &&
        (o = sse__malloc(sizeof(*o) + text.len))) {
        o->len = (uint32_t)text.len;
        memcpy(o->text, text.data, text.len);
        sse__list_add(&h->orphans, &o->link);
        h->orphan_count++;
        sse__port_wake(h->guardian);
    }
    sse__buf_free(&text);
    return true;
}

int sse_hub_set_guardian(sse_hub *hub, sse_queue *q)
{
    sse__door *door = (sse__door *)(void *)q; /* its first member */
    int        rc;

    if (door && door->hub != hub)
        return SSE_ERR_INVAL;
    if ((rc = sse__hub_enter(hub)) < 0)
        return rc;
    hub->core.guardian = door ? &door->port : NULL;
    if (door && !sse__list_empty(&hub->core.orphans))
        sse__port_wake(&door->port); /* the one before has left some */
    sse__hub_leave(hub);
    return SSE_OK;
}

int sse_hub_settle(sse_hub *hub, const char *id, size_t id_len, int state,
                   const char *type, size_t type_len, const char *data,
                   size_t data_len)
{
    sse__new_event last = {type, type_len, data, data_len};
    sse__op       *op;
    int            rc;

    if (state < SSE_STATE_ACTIVE || state > SSE_STATE_CANCELLED ||
        !sse__stream_id_valid(id, id_len))
        return SSE_ERR_INVAL;
    if ((rc = sse__hub_enter(hub)) < 0)
        return rc;
    if (!hub->store) {
        rc = SSE_ERR_NOT_FOUND;
    } else if (!(op = new_op(hub, SSE__OP_SETTLE, id, id_len))) {
        rc = SSE_ERR_NOMEM;
    } else {
        if (type_len == 0) {
            last.type = sse_state_name(state);
            last.type_len = strlen(last.type);
        }
        op->state = (uint32_t)state;
        if (state != SSE_STATE_ACTIVE)
            rc = sse__op_add_rows(op, hub, &last, 1);
        if (rc == SSE_OK)
            rc = ask(hub, &op);
        sse__op_free(op);
    }
    sse__hub_leave(hub);
    return rc;
}
