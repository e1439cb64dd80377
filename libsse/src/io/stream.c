/* SPDX-License-Identifier: MIT */
/* stream.c - the public functions on hubs and streams: each is one call of the
 * core's under the lock. */
#include "stream.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/backing.h"
#include "../core/buffer.h"
#include "../store/store.h"

#define INFO_MAX ((size_t)1 << 20)

/* ---- Hub ---- */

int sse_hub_stop(sse_hub *hub, const char *id, size_t id_len)
{
    int          rc = sse__hub_enter(hub);
    sse__stream *s;

    if (rc < 0)
        return rc;
    s = sse__hub_find(&hub->core, id, id_len);
    if (hub->store && (!s || sse__stream_is_mirror(s)))
        rc = sse__store_stop(hub, id, id_len);
    else
        rc = s ? sse__stream_stop(s, SSE_REASON_REQUESTED) : SSE_ERR_NOT_FOUND;
    sse__hub_leave(hub);
    return rc;
}

int sse_hub_remove(sse_hub *hub, const char *id, size_t id_len)
{
    int          rc = sse__hub_enter(hub);
    sse__stream *s;

    if (rc < 0)
        return rc;
    s = sse__hub_find(&hub->core, id, id_len);
    if (s)
        sse__stream_remove(s);
    rc = s ? SSE_OK : SSE_ERR_NOT_FOUND;
    if (hub->store)
        rc = sse__store_remove(hub, id, id_len);
    sse__hub_leave(hub);
    return rc;
}

int sse_hub_refresh(sse_hub *hub, const char *id, size_t id_len)
{
    int rc = sse__hub_enter(hub);

    if (rc < 0)
        return rc;
    rc = sse__store_look(hub, sse__hub_find(&hub->core, id, id_len));
    sse__hub_leave(hub);
    return rc == SSE_ERR_EXISTS || rc == SSE_ERR_NOT_FOUND ? SSE_OK : rc;
}

int sse_hub_metrics(sse_hub *hub, sse_buffer *out)
{
    size_t before = out->buf.len;
    int    rc = sse__hub_enter(hub);

    if (rc < 0)
        return rc;
    rc = sse__hub_metrics(&hub->core, &out->buf);
    if (rc == SSE_OK && hub->store)
        rc = hub->store->ops->metrics(hub->store, &out->buf);
    sse__hub_leave(hub);
    if (rc < 0)
        out->buf.len = before;
    return rc;
}

/* ---- Streams ---- */

/* A handle on `core`, with the lock. NULL when out of memory. */
static sse_stream *new_handle(sse_hub *hub, sse__stream *core)
{
    sse_stream *s = sse__calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->hub = hub;
    s->core = core;
    sse__buf_init(&s->text, INFO_MAX);
    sse__hub_ref(hub);
    sse__stream_ref(core);
    return s;
}

/* Its stream has been let go of. */
static void free_handle(sse_stream *s)
{
    sse_hub_free(s->hub);
    sse__buf_free(&s->text);
    sse__free(s);
}

static sse__door *door_of(sse_queue *q)
{
    return (sse__door *)(void *)q; /* its first member */
}

/* Where one of that id has ended, it makes room: elsewhere, perhaps, a moment
 * ago. */
static int create(sse_hub *hub, const char *id, size_t id_len,
                  sse_queue *producer, const sse_stream_options *opts,
                  sse__stream **out)
{
    sse__port *port = producer ? &door_of(producer)->port : NULL;
    int        rc = sse__stream_create(&hub->core, id, id_len, port, opts, out);

    if (rc == SSE_ERR_EXISTS) {
        rc = sse__store_look(hub, sse__hub_find(&hub->core, id, id_len));
        if (rc == SSE_OK || rc == SSE_ERR_NOT_FOUND)
            rc = sse__stream_create(&hub->core, id, id_len, port, opts, out);
    }
    return rc;
}

/* A new stream gets its place in the store and its handle, or goes again. */
static int finish_new(sse_hub *hub, sse__stream *core, sse_stream **out)
{
    sse_stream *s = new_handle(hub, core);
    int         rc = s ? SSE_OK : SSE_ERR_NOMEM;

    if (rc == SSE_OK && hub->store)
        rc = sse__store_create(hub, core);
    if (rc == SSE_OK) {
        *out = s;
        return SSE_OK;
    }
    sse__stream_remove(core);
    if (s) {
        sse__stream_unref(core);
        free_handle(s);
    }
    return rc;
}

int sse_stream_new(sse_hub *hub, const char *id, size_t id_len,
                   sse_queue *producer, const sse_stream_options *opts,
                   sse_stream **out)
{
    char         made[SSE__MADE_ID_BYTES];
    sse__stream *core;
    int          rc;

    *out = NULL;
    if (producer && door_of(producer)->hub != hub)
        return SSE_ERR_INVAL;
    if (id_len == 0) {
        if (!sse__make_id(made))
            return SSE_ERR_IO;
        id = made;
        id_len = sizeof(made);
    }
    if ((rc = sse__hub_enter(hub)) < 0)
        return rc;
    if ((rc = sse__hub_start(hub)) == SSE_OK)
        rc = create(hub, id, id_len, producer, opts, &core);
    if (rc == SSE_OK)
        rc = finish_new(hub, core, out);
    sse__hub_leave(hub);
    return rc;
}

int sse_stream_open(sse_hub *hub, const char *id, size_t id_len,
                    sse_stream **out)
{
    static const sse__cursor newest = {.kind = SSE__CURSOR_NEW};
    sse__stream             *core;
    int                      rc;

    *out = NULL;
    if ((rc = sse__hub_enter(hub)) < 0)
        return rc;
    core = sse__hub_find(&hub->core, id, id_len);
    if (!core && hub->store) {
        rc = sse__stream_id_valid(id, id_len)
                 ? sse__store_fetch(hub, id, id_len, &newest)
                 : SSE_ERR_NOT_FOUND;
        core = sse__hub_find(&hub->core, id, id_len);
    }
    if (rc == SSE_OK && !core)
        rc = SSE_ERR_NOT_FOUND;
    if (rc == SSE_OK && !(*out = new_handle(hub, core)))
        rc = SSE_ERR_NOMEM;
    sse__hub_leave(hub);
    return rc;
}

void sse_stream_free(sse_stream *s)
{
    if (!s)
        return;
    if (sse__hub_enter(s->hub) == SSE_OK) {
        sse__stream_unref(s->core);
        sse__hub_leave(s->hub);
    }
    free_handle(s);
}

/* The three setters differ in what they call under the lock. */
static int set_text(sse_stream *s, const char *text, size_t len,
                    int (*set)(sse__stream *, const char *, size_t))
{
    int rc = sse__hub_enter(s->hub);

    if (rc < 0)
        return rc;
    rc = set(s->core, text, len);
    if (rc == SSE_OK && s->core->backing) {
        s->core->backing->described = false;
        sse__stream_dirty(s->core);
    }
    sse__hub_leave(s->hub);
    return rc;
}

int sse_stream_set_owner(sse_stream *s, const char *owner, size_t len)
{
    return set_text(s, owner, len, sse__stream_set_owner);
}

int sse_stream_set_kind(sse_stream *s, const char *kind, size_t len)
{
    return set_text(s, kind, len, sse__stream_set_kind);
}

int sse_stream_set_metadata(sse_stream *s, const char *json, size_t len)
{
    return set_text(s, json, len, sse__stream_set_metadata);
}

/* Waits until no reader would lose what the append pushes out of the log, or
 * until the time for that is over. With the lock. */
static void wait_for_room(sse_stream *s, const sse__new_event *events,
                          size_t count)
{
    sse_hub *hub = s->hub;
    int64_t  deadline = hub->core.mono_ms + hub->core.opts.block_timeout_ms;

    if (!sse__stream_must_wait(s->core, events, count))
        return;
    hub->core.counters.blocked++;
    while (sse__hub_wait_progress(hub, deadline) &&
           sse__stream_must_wait(s->core, events, count))
        ;
}

static int append(sse_stream *s, const sse__new_event *events, size_t count,
                  sse_event_id *out)
{
    int rc = sse__hub_enter(s->hub);

    if (rc < 0)
        return rc;
    if (sse__stream_is_mirror(s->core)) {
        rc = sse__store_append(s->hub, s->core, events, count, SSE_STATE_ACTIVE,
                               out);
    } else {
        wait_for_room(s, events, count);
        rc = sse__stream_append(s->core, events, count, out);
    }
    sse__hub_leave(s->hub);
    return rc;
}

int sse_stream_append(sse_stream *s, const char *type, size_t type_len,
                      const char *data, size_t data_len, sse_event_id *out)
{
    sse__new_event event = {type, type_len, data, data_len};

    return append(s, &event, 1, out);
}

/* Cuts `data` into events; false when the sizes do not add up to it. */
static bool cut(sse__new_event *events, const char *type, size_t type_len,
                const char *data, size_t data_len, const uint32_t *sizes,
                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] > data_len)
            return false;
        events[i] = (sse__new_event){type, type_len, data, sizes[i]};
        data += sizes[i];
        data_len -= sizes[i];
    }
    return data_len == 0;
}

int sse_stream_append_batch(sse_stream *s, const char *type, size_t type_len,
                            const char *data, size_t data_len,
                            const uint32_t *sizes, size_t count,
                            sse_event_id *out)
{
    sse__new_event *events;
    sse_event_id   *ids;
    int             rc = SSE_ERR_NOMEM;

    if (count == 0 || count > 1u << 20)
        return count ? SSE_ERR_TOO_BIG : SSE_ERR_INVAL;
    events = sse__calloc(count, sizeof(*events));
    ids = sse__calloc(count, sizeof(*ids));
    if (events && ids)
        rc = cut(events, type, type_len, data, data_len, sizes, count)
                 ? append(s, events, count, ids)
                 : SSE_ERR_INVAL;
    if (rc == SSE_OK && out)
        *out = ids[count - 1];
    sse__free(events);
    sse__free(ids);
    return rc;
}

int sse_stream_end(sse_stream *s, int state, const char *type, size_t type_len,
                   const char *data, size_t data_len, sse_event_id *out)
{
    sse__new_event last = {type, type_len, data, data_len};
    int            rc = sse__hub_enter(s->hub);

    if (rc < 0)
        return rc;
    if (state < SSE_STATE_COMPLETED || state > SSE_STATE_CANCELLED) {
        rc = SSE_ERR_INVAL;
    } else if (sse__stream_is_mirror(s->core)) {
        rc = sse__store_end(s->hub, s->core, &last, (uint32_t)state, out);
    } else {
        wait_for_room(s, &last, 1);
        rc = sse__stream_end(s->core, (uint32_t)state, &last, out);
    }
    sse__hub_leave(s->hub);
    return rc;
}

/* ---- What streams are ---- */

/* Copies what is behind `info` into `text` and points it there. */
static int copy_info(sse_stream_info *info, sse__buf *text)
{
    const char **parts[] = {&info->id, &info->owner, &info->kind,
                            &info->metadata};
    const size_t lens[] = {info->id_len, info->owner_len, info->kind_len,
                           info->metadata_len};
    char        *at;
    size_t       total = 0;

    for (size_t i = 0; i < 4; i++)
        total += lens[i] + 1;
    text->len = 0;
    if (sse__buf_reserve(text, total) < 0)
        return SSE_ERR_NOMEM;
    at = text->data;
    for (size_t i = 0; i < 4; i++) {
        memcpy(at, *parts[i], lens[i]);
        at[lens[i]] = '\0';
        *parts[i] = at;
        at += lens[i] + 1;
    }
    return SSE_OK;
}

int sse_stream_get_info(sse_stream *s, const sse_stream_info **out)
{
    int rc = sse__hub_enter(s->hub);

    *out = NULL;
    if (rc < 0)
        return rc;
    if (s->core->gone) {
        rc = SSE_ERR_NOT_FOUND;
    } else {
        sse__stream_info(s->core, &s->info);
        rc = copy_info(&s->info, &s->text);
    }
    sse__hub_leave(s->hub);
    if (rc == SSE_OK)
        *out = &s->info;
    return rc;
}

/* ---- Lists ---- */

typedef struct entry {
    sse_stream_info info;
    sse__buf        text;
} entry;

struct sse_list {
    entry *entries;
    size_t count, cap, next;
};

static int list_add(sse_list *list, const sse_stream_info *info)
{
    entry *e;

    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        entry *more = sse__realloc(list->entries, cap * sizeof(*more));

        if (!more)
            return SSE_ERR_NOMEM;
        list->entries = more;
        list->cap = cap;
    }
    e = &list->entries[list->count];
    e->info = *info;
    sse__buf_init(&e->text, INFO_MAX);
    if (copy_info(&e->info, &e->text) < 0)
        return SSE_ERR_NOMEM;
    list->count++;
    return SSE_OK;
}

static int list_stream(sse_list *list, const sse__stream *s)
{
    sse_stream_info info;

    sse__stream_info(s, &info);
    return list_add(list, &info);
}

static int list_take(sse_list *list, const sse__op *op)
{
    int rc = SSE_OK;

    for (const sse__found *f = op->found; rc == SSE_OK && f; f = f->next)
        rc = list_add(list, &f->info);
    return rc;
}

int sse__list_from(const sse__op *op, sse_list **out)
{
    sse_list *list = sse__calloc(1, sizeof(*list));
    int       rc = list ? list_take(list, op) : SSE_ERR_NOMEM;

    *out = rc == SSE_OK ? list : NULL;
    if (rc < 0)
        sse_list_free(list);
    return rc;
}

/* Those that the store knows. */
static int list_ask(sse_list *list, sse_hub *hub, const char *owner,
                    size_t owner_len)
{
    sse__op *op;
    int      rc = sse__store_list(hub, owner, owner_len, &op);

    if (rc == SSE_OK)
        rc = list_take(list, op);
    sse__op_free(op);
    return rc;
}

/* Newest first. */
static int list_fill(sse_list *list, sse__hub *h, const char *owner,
                     size_t owner_len)
{
    int rc = SSE_OK;

    if (owner_len > 0) {
        sse__map_node *node = sse__map_get(&h->users, owner, owner_len);
        sse__link     *all;

        if (!node)
            return SSE_OK;
        all = &SSE__OWNER(node, sse__user, node)->streams;
        for (sse__link *l = all->prev; rc == SSE_OK && l != all; l = l->prev)
            rc = list_stream(list, SSE__OWNER(l, sse__stream, user_link));
        return rc;
    }
    for (sse__link *l = h->all.prev; rc == SSE_OK && l != &h->all; l = l->prev)
        rc = list_stream(list, SSE__OWNER(l, sse__stream, all_link));
    return rc;
}

int sse_list_new(sse_hub *hub, const char *owner, size_t owner_len,
                 sse_list **out)
{
    sse_list *list = sse__calloc(1, sizeof(*list));
    int       rc;

    *out = NULL;
    if (!list)
        return SSE_ERR_NOMEM;
    if ((rc = sse__hub_enter(hub)) == SSE_OK) {
        rc = hub->store ? list_ask(list, hub, owner, owner_len)
                        : list_fill(list, &hub->core, owner, owner_len);
        sse__hub_leave(hub);
    }
    if (rc < 0)
        sse_list_free(list);
    else
        *out = list;
    return rc;
}

int sse_list_next(sse_list *list, const sse_stream_info **out)
{
    *out = NULL;
    if (list->next == list->count)
        return 0;
    *out = &list->entries[list->next++].info;
    return 1;
}

void sse_list_free(sse_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++)
        sse__buf_free(&list->entries[i].text);
    sse__free(list->entries);
    sse__free(list);
}
