/* SPDX-License-Identifier: MIT */
/* core.c - Python objects to what sse.h takes, and back. */
#define PY_SSIZE_T_CLEAN
#include "core.h"

#include <limits.h>
#include <string.h>

static PyObject *errors; /* {code: class}, which the Python side fills */

void core_init(PyObject *module)
{
    errors = PyDict_New();
    if (!errors)
        return;
    Py_INCREF(errors); /* the module takes over one, this file keeps one */
    (void)PyModule_AddObject(module, "errors", errors);
}

/* Which limit C does not say; those that a program meets have names here. */
static const char *sentence(int code)
{
    if (code == SSE_ERR_TOO_BIG)
        return "above a limit: an event's is max_event_bytes, or log_bytes, "
               "and its type's 255 bytes";
    return sse_strerror(code);
}

void core_raise(int code)
{
    PyObject *number = PyLong_FromLong(code);
    PyObject *found = number ? PyDict_GetItemWithError(errors, number) : NULL;

    Py_XDECREF(number);
    if (!PyErr_Occurred())
        PyErr_SetString(found ? found : PyExc_RuntimeError, sentence(code));
}

/* ---- In ---- */

void core_view_init(core_view *v)
{
    memset(v, 0, sizeof(*v));
}

int core_view_get(core_view *v, PyObject *from)
{
    Py_ssize_t len;

    core_view_init(v);
    if (PyUnicode_Check(from)) { /* its UTF-8 is kept by the object itself */
        v->data = PyUnicode_AsUTF8AndSize(from, &len);
        v->len = (size_t)len;
        if (v->data)
            return 0;
        if (PyErr_ExceptionMatches(PyExc_UnicodeError)) { /* half a pair */
            PyErr_Clear();
            core_raise(SSE_ERR_UTF8);
        }
        return -1;
    }
    if (PyObject_GetBuffer(from, &v->buffer, PyBUF_SIMPLE) < 0)
        return -1;
    v->has_buffer = true;
    v->data = v->buffer.buf ? v->buffer.buf : "";
    v->len = (size_t)v->buffer.len;
    return 0;
}

void core_view_drop(core_view *v)
{
    if (v->has_buffer)
        PyBuffer_Release(&v->buffer);
    v->has_buffer = false;
}

int core_number(PyObject *from, unsigned long long max, unsigned long long *out)
{
    if (!PyLong_Check(from)) {
        PyErr_SetString(PyExc_TypeError, "a whole number is needed");
        return -1;
    }
    *out = PyLong_AsUnsignedLongLong(from);
    if (PyErr_Occurred() || *out > max) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "a number from 0 to %llu is needed",
                     max);
        return -1;
    }
    return 0;
}

#define FIELD(TYPE, NAME) \
    { \
        .name = #NAME, .offset = offsetof(TYPE, NAME), \
        .size = sizeof(((TYPE *)0)->NAME) \
    }

#define HUB(NAME) FIELD(sse_hub_options, NAME)
const core_field core_fields_sse_hub_options[] = {
    HUB(max_streams),     HUB(max_streams_per_user),
    HUB(max_subscribers), HUB(max_event_bytes),
    HUB(log_events),      HUB(log_bytes),
    HUB(log_age_ms),      HUB(channel_events),
    HUB(stream_ttl_ms),   HUB(completion_ttl_ms),
    HUB(heartbeat_ms),    HUB(heartbeat),
    HUB(retry_ms),        HUB(id_format),
    HUB(slow_policy),     HUB(block_timeout_ms),
    HUB(unread_policy),   HUB(unread_ms),
    HUB(stop_grace_ms),   {NULL, 0, 0},
};

#define STORE(NAME) FIELD(sse_store_options, NAME)
const core_field core_fields_sse_store_options[] = {
    STORE(start_ms), STORE(command_ms), STORE(linger_ms), STORE(lease_ms),
    STORE(sweep_ms), STORE(idle_ms),    {NULL, 0, 0},
};

#define STREAM(NAME) FIELD(sse_stream_options, NAME)
const core_field core_fields_sse_stream_options[] = {
    STREAM(flags),         STREAM(key),
    STREAM(log_events),    STREAM(log_bytes),
    STREAM(log_age_ms),    STREAM(slow_policy_set),
    STREAM(slow_policy),   STREAM(unread_policy_set),
    STREAM(unread_policy), STREAM(unread_ms),
    {NULL, 0, 0},
};

#define SUBSCRIBER(NAME) FIELD(sse_subscriber_options, NAME)
const core_field core_fields_sse_subscriber_options[] = {
    SUBSCRIBER(flags),    SUBSCRIBER(key), SUBSCRIBER(heartbeat_ms),
    SUBSCRIBER(retry_ms), {NULL, 0, 0},
};

#define CLIENT(NAME) FIELD(sse_client_options, NAME)
const core_field core_fields_sse_client_options[] = {
    CLIENT(flags),          CLIENT(profile),         CLIENT(retry_ms),
    CLIENT(retry_floor_ms), CLIENT(retry_cap_ms),    CLIENT(retry_after_cap_ms),
    CLIENT(max_attempts),   CLIENT(budget_ms),       CLIENT(healthy_ms),
    CLIENT(healthy_events), CLIENT(connect_ms),      CLIENT(first_byte_ms),
    CLIENT(stall_ms),       CLIENT(poll_ms),         CLIENT(poll_period_ms),
    CLIENT(window),         CLIENT(queue_bytes),     CLIENT(max_event_bytes),
    CLIENT(max_redirects),  CLIENT(max_error_bytes), {NULL, 0, 0},
};

static int set_field(void *options, const core_field *f, PyObject *value)
{
    unsigned long long number;
    uint32_t           narrow;
    char              *at = (char *)options + f->offset;

    if (core_number(value, f->size == 4 ? UINT32_MAX : ULLONG_MAX, &number) < 0)
        return -1;
    narrow = (uint32_t)number;
    memcpy(at, f->size == 4 ? (void *)&narrow : (void *)&number, f->size);
    return 0;
}

int core_options(PyObject *from, const core_field *fields, void *options,
                 size_t size)
{
    uint32_t   known = (uint32_t)size;
    Py_ssize_t at = 0;
    PyObject  *key, *value;

    memset(options, 0, size);
    memcpy(options, &known, sizeof(known));
    if (!PyDict_Check(from)) {
        PyErr_SetString(PyExc_TypeError, "options are a dict");
        return -1;
    }
    while (PyDict_Next(from, &at, &key, &value)) {
        const core_field *f = fields;

        while (f->name && (!PyUnicode_Check(key) ||
                           PyUnicode_CompareWithASCIIString(key, f->name) != 0))
            f++;
        if (!f->name) {
            PyErr_Format(PyExc_TypeError, "there is no option %R", key);
            return -1;
        }
        if (set_field(options, f, value) < 0)
            return -1;
    }
    return 0;
}

/* ---- Handles ---- */

PyObject *core_handle_new(void *object, const char *type,
                          PyCapsule_Destructor free_it)
{
    if (!object) {
        PyErr_SetString(PyExc_RuntimeError, "nothing was made");
        return NULL;
    }
    return PyCapsule_New(object, type, free_it);
}

void *core_handle_get(PyObject *handle, const char *type)
{
    if (!PyCapsule_IsValid(handle, type)) {
        PyErr_Format(PyExc_TypeError, "not a handle of %s", type);
        return NULL;
    }
    return PyCapsule_GetPointer(handle, type);
}

#define FREE(TYPE) \
    void core_free_##TYPE(PyObject *handle) \
    { \
        TYPE##_free(PyCapsule_GetPointer(handle, #TYPE)); \
    }

/* The end of these may wait for a thread. */
#define FREE_SLOWLY(TYPE) \
    void core_free_##TYPE(PyObject *handle) \
    { \
        TYPE *object = PyCapsule_GetPointer(handle, #TYPE); \
\
        Py_BEGIN_ALLOW_THREADS \
            TYPE##_free(object); \
        Py_END_ALLOW_THREADS \
    }

FREE_SLOWLY(sse_hub)
FREE_SLOWLY(sse_queue)
FREE_SLOWLY(sse_stream)
FREE_SLOWLY(sse_subscriber)
FREE(sse_list)
FREE(sse_parser)
FREE_SLOWLY(sse_loop)
FREE_SLOWLY(sse_client)

/* ---- Out ---- */

/* Readers of one stream have the same bytes, as a rule: `last`, where they are
 * those of the note before, serves again. */
static PyObject *note_bytes(const sse_batch *b, size_t i, PyObject *last)
{
    const sse_note *n = &b->notes[i];
    const char     *data = b->data + n->offset;

    if (last && b->notes[i - 1].len == n->len &&
        memcmp(b->data + b->notes[i - 1].offset, data, n->len) == 0) {
        Py_INCREF(last);
        return last;
    }
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)n->len);
}

/* Takes over `bytes`. */
static PyObject *note_tuple(const sse_note *n, PyObject *bytes)
{
    PyObject *items[] = {PyLong_FromLong((long)n->kind),
                         PyLong_FromLong((long)n->reason),
                         PyLong_FromUnsignedLongLong(n->key), bytes};
    PyObject *made = PyTuple_New(4);

    for (Py_ssize_t i = 0; i < 4; i++) {
        if (!items[i])
            Py_CLEAR(made);
        if (made)
            (void)PyTuple_SetItem(made, i, items[i]);
        else
            Py_XDECREF(items[i]);
    }
    return made;
}

static int add_batch(PyObject *list, const sse_batch *batch)
{
    PyObject *bytes = NULL, *made;
    int       rc = 0;

    for (size_t i = 0; rc == 0 && i < batch->note_count; i++) {
        bytes = note_bytes(batch, i, bytes);
        made = bytes ? note_tuple(&batch->notes[i], bytes) : NULL;
        rc = made ? PyList_Append(list, made) : -1;
        Py_XDECREF(made);
    }
    return rc;
}

PyObject *core_batch(const sse_batch *batch)
{
    PyObject *list = PyList_New(0);

    if (list && batch && add_batch(list, batch) < 0)
        Py_CLEAR(list);
    return list;
}

PyObject *core_info(const sse_stream_info *i)
{
    if (!i)
        Py_RETURN_NONE;
    return Py_BuildValue(
        "{sI sI ss# ss# ss# sy# sL sL sL sK sK sK sK sO}", "state", i->state,
        "flags", i->flags, "id", i->id, (Py_ssize_t)i->id_len, "owner",
        i->owner, (Py_ssize_t)i->owner_len, "kind", i->kind,
        (Py_ssize_t)i->kind_len, "metadata", i->metadata,
        (Py_ssize_t)i->metadata_len, "created_ms", (long long)i->created_ms,
        "active_ms", (long long)i->active_ms, "ended_ms",
        (long long)i->ended_ms, "first_seq", (unsigned long long)i->first_seq,
        "last_seq", (unsigned long long)i->last_seq, "log_bytes",
        (unsigned long long)i->log_bytes, "subscriber_count",
        (unsigned long long)i->subscriber_count, "stop_requested",
        i->stop_requested ? Py_True : Py_False);
}

PyObject *core_news(const sse_news *n)
{
    if (!n)
        Py_RETURN_NONE;
    return Py_BuildValue(
        "{sI sI sI sI sI sI sL sL sL sL ss# ss# ss# ss#}", "kind", n->kind,
        "cause", n->cause, "status", n->status, "state", n->state, "gap",
        n->gap, "decision", n->decision, "delay_ms", (long long)n->delay_ms,
        "from_seq", (long long)n->from_seq, "to_seq", (long long)n->to_seq,
        "missed", (long long)n->missed, "type", n->type ? n->type : "",
        (Py_ssize_t)n->type_len, "data", n->data ? n->data : "",
        (Py_ssize_t)n->data_len, "id", n->id ? n->id : "",
        (Py_ssize_t)n->id_len, "detail", n->detail ? n->detail : "",
        (Py_ssize_t)n->detail_len);
}

/* ---- Calls ---- */

int core_parser_new(uint32_t flags, uint32_t max_bytes, sse_parser **out)
{
    sse_parser_options opts = {.size = sizeof(opts),
                               .flags = flags,
                               .max_line_bytes = max_bytes,
                               .max_event_bytes = max_bytes};

    return sse_parser_new(&opts, out);
}

static bool add_item(PyObject *list, const sse_item *item)
{
    PyObject *made = Py_BuildValue(
        "(Is#s#s#L)", item->kind, item->type, (Py_ssize_t)item->type_len,
        item->data, (Py_ssize_t)item->data_len, item->id,
        (Py_ssize_t)item->id_len, (long long)item->retry_ms);
    bool added = made && PyList_Append(list, made) == 0;

    Py_XDECREF(made);
    return added;
}

PyObject *core_parser_take(sse_parser *p, const char *data, size_t len)
{
    PyObject       *list = PyList_New(0);
    const sse_item *item;
    int             rc = list ? sse_parser_feed(p, data, len) : SSE_OK;

    while (list && rc == SSE_OK && (rc = sse_parser_next(p, &item)) > 0)
        if (rc = SSE_OK, !add_item(list, item))
            Py_CLEAR(list);
    if (list && rc < 0) {
        core_raise(rc);
        Py_CLEAR(list);
    }
    return list;
}

PyObject *core_parser_reset(sse_parser *p, const char *id, size_t id_len)
{
    int rc = sse_parser_reset(p, id_len ? id : NULL, id_len);

    if (rc < 0) {
        core_raise(rc);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *core_parser_last_id(sse_parser *p)
{
    size_t      len;
    const char *id = sse_parser_last_event_id(p, &len);

    return PyUnicode_FromStringAndSize(id, (Py_ssize_t)len);
}

int core_append_batch(sse_stream *s, const char *type, size_t type_len,
                      const char *data, size_t data_len, const char *text,
                      size_t len, sse_event_id *out)
{
    return sse_stream_append_batch(s, type, type_len, data, data_len,
                                   (const uint32_t *)(const void *)text,
                                   len / sizeof(uint32_t), out);
}

/* Until there is nothing: 1, for the queue is armed again; or when that is for
 * now enough: 0. */
static int drain_twice(sse_queue *q, uint32_t max_notes, PyObject *list)
{
    const sse_batch *batch;

    for (int i = 0; i < 2; i++) {
        int n = sse_queue_drain(q, max_notes, &batch);

        if (n <= 0)
            return n == 0; /* what is wrong is met again by the next drain */
        if (add_batch(list, batch) < 0)
            return -1;
        if ((uint32_t)n == max_notes)
            return 0;
    }
    return 0;
}

PyObject *core_send(sse_queue *q, sse_stream *s, const char *type,
                    size_t type_len, const char *data, size_t data_len,
                    uint32_t max_notes)
{
    sse_event_id id;
    PyObject    *list;
    int          rc;

    Py_BEGIN_ALLOW_THREADS
        sse_queue_hush(q);
        rc = sse_stream_append(s, type, type_len, data, data_len, &id);
    Py_END_ALLOW_THREADS
    if (rc < 0) {
        core_raise(rc);
        return NULL;
    }
    list = PyList_New(0);
    rc = list ? drain_twice(q, max_notes, list) : -1;
    if (rc < 0) {
        Py_XDECREF(list);
        return NULL;
    }
    return Py_BuildValue("(s#NO)", id.text, (Py_ssize_t)id.text_len, list,
                         rc ? Py_True : Py_False);
}

int core_client_no_token(sse_client *c)
{
    return sse_client_set_token(c, NULL, 0, 0);
}

PyObject *core_client_header(sse_client *c, const char *name, size_t name_len)
{
    size_t      len;
    const char *value = sse_client_header(c, name, name_len, &len);

    return PyUnicode_DecodeLatin1(value, (Py_ssize_t)len, "replace");
}
