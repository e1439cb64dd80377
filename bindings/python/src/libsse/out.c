/* SPDX-License-Identifier: MIT */
/* out.c - what C gives, as Python's objects, and how it gets to who waits. */
#define PY_SSIZE_T_CLEAN
#include "core.h"

#include <string.h>
#include <unistd.h>

static PyObject *data_name, *type_name, *id_name; /* what an event has */

int core_out_init(void)
{
    data_name = PyUnicode_InternFromString("data");
    type_name = PyUnicode_InternFromString("type");
    id_name = PyUnicode_InternFromString("id");
    return data_name && type_name && id_name ? 0 : -1;
}

/* What C gives is good until the next call of the same kind. Before Python 3.12
 * each object that is made may begin a collection, and with it a finalizer, or
 * another thread, and there that next call: not while it is read here. */
#if !defined(Py_LIMITED_API) && PY_VERSION_HEX < 0x030a0000
static int ask_gc(const char *name)
{
    PyObject *type, *value, *trace, *gc, *told;
    int       is_true;

    PyErr_Fetch(&type, &value, &trace);
    gc = PyImport_ImportModule("gc");
    told = gc ? PyObject_CallMethod(gc, name, NULL) : NULL;
    is_true = told && PyObject_IsTrue(told) > 0;
    Py_XDECREF(told);
    Py_XDECREF(gc);
    PyErr_Restore(type, value, trace);
    return is_true;
}

static int stop_gc(void)
{
    int was_on = ask_gc("isenabled");

    if (was_on)
        (void)ask_gc("disable");
    return was_on;
}

static void go_on_gc(int was_on)
{
    if (was_on)
        (void)ask_gc("enable");
}
#else
static int stop_gc(void)
{
    return PyGC_Disable();
}

static void go_on_gc(int was_on)
{
    if (was_on)
        (void)PyGC_Enable();
}
#endif

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

/* A result of C's, or -1 with an exception. */
static int checked(int rc)
{
    if (rc < 0)
        core_raise(rc);
    return rc < 0 ? -1 : rc;
}

/* To what the program keeps: all of a list at once. */
static int hand_over(PyObject *list, PyObject *into)
{
    PyObject *done = PyObject_CallMethod(into, "extend", "O", list);

    Py_XDECREF(done);
    return done ? 0 : -1;
}

static PyObject *info_dict(const sse_stream_info *i)
{
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

PyObject *core_info(const sse_stream_info *info)
{
    PyObject *made;
    int       was_on;

    if (!info)
        Py_RETURN_NONE;
    was_on = stop_gc();
    made = info_dict(info);
    go_on_gc(was_on);
    return made;
}

static PyObject *news_dict(const sse_news *n)
{
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

/* ---- Events ---- */

static int set_text(PyObject *event, PyObject *name, const char *text,
                    size_t len)
{
    PyObject *value = PyUnicode_FromStringAndSize(text, (Py_ssize_t)len);
    int       rc = value ? PyObject_SetAttr(event, name, value) : -1;

    Py_XDECREF(value);
    return rc;
}

static int add_event(PyObject *list, PyObject *kind, const sse_item *item)
{
    PyObject *event = PyType_GenericNew((PyTypeObject *)kind, NULL, NULL);
    int       rc = -1;

    if (event && set_text(event, data_name, item->data, item->data_len) == 0 &&
        set_text(event, type_name, item->type, item->type_len) == 0 &&
        set_text(event, id_name, item->id, item->id_len) == 0)
        rc = PyList_Append(list, event);
    Py_XDECREF(event);
    return rc;
}

/* The events that are complete with some bytes; `retry_ms` if there is one. */
static int add_events(PyObject *list, PyObject *kind, sse_parser *p,
                      const char *data, size_t len, int64_t *retry_ms)
{
    const sse_item *item;
    int             rc = checked(sse_parser_feed(p, data, len));

    while (rc == 0 && (rc = checked(sse_parser_next(p, &item))) > 0) {
        rc = 0;
        if (item->kind == SSE_ITEM_RETRY)
            *retry_ms = item->retry_ms;
        else if (item->kind == SSE_ITEM_EVENT)
            rc = add_event(list, kind, item);
    }
    return rc;
}

PyObject *core_parser_take(sse_parser *p, const char *data, size_t len,
                           PyObject *kind, PyObject *into)
{
    int64_t   retry_ms = -1;
    int       was_on = stop_gc();
    PyObject *list = PyList_New(0);
    int       rc = list ? add_events(list, kind, p, data, len, &retry_ms) : -1;

    if (rc == 0)
        rc = hand_over(list, into);
    Py_XDECREF(list);
    go_on_gc(was_on);
    return rc < 0 ? NULL : PyLong_FromLongLong(retry_ms);
}

/* ---- Notes ---- */

/* Adds what one drain gives to a list; how much that is. */
static int drain(sse_queue *q, uint32_t max_notes, PyObject *list)
{
    const sse_batch *batch;
    int              n = checked(sse_queue_drain(q, max_notes, &batch));

    return n > 0 && add_batch(list, batch) < 0 ? -1 : n;
}

PyObject *core_drain(sse_queue *q, uint32_t max_notes, PyObject *into)
{
    int       was_on = stop_gc();
    PyObject *list = PyList_New(0);
    int       n = list ? drain(q, max_notes, list) : -1;

    if (n > 0 && hand_over(list, into) < 0)
        n = -1;
    Py_XDECREF(list);
    go_on_gc(was_on);
    return n < 0 ? NULL : PyLong_FromLong(n);
}

/* Until there is nothing, for the queue is armed again; or when that is for now
 * enough. */
static int drain_twice(sse_queue *q, uint32_t max_notes, PyObject *into,
                       bool *is_armed)
{
    PyObject *list = PyList_New(0);
    int       n = list ? drain(q, max_notes, list) : -1;

    if (n > 0 && (uint32_t)n < max_notes)
        n = drain(q, max_notes, list);
    *is_armed = n == 0;
    if (n >= 0)
        n = hand_over(list, into);
    Py_XDECREF(list);
    return n;
}

PyObject *core_send(sse_queue *q, sse_stream *s, const char *type,
                    size_t type_len, const char *data, size_t data_len,
                    uint32_t max_notes, PyObject *into)
{
    sse_event_id id;
    bool         is_armed;
    int          rc, was_on;

    Py_BEGIN_ALLOW_THREADS
        sse_queue_hush(q);
        rc = sse_stream_append(s, type, type_len, data, data_len, &id);
    Py_END_ALLOW_THREADS
    if (checked(rc) < 0)
        return NULL;
    was_on = stop_gc();
    rc = drain_twice(q, max_notes, into, &is_armed);
    go_on_gc(was_on);
    if (rc < 0)
        return NULL;
    return Py_BuildValue("(s#O)", id.text, (Py_ssize_t)id.text_len,
                         is_armed ? Py_True : Py_False);
}

/* ---- Readers of threads ---- */

/* Adds what is in a batch of one reader's: bytes, or with a parser the events
 * in them; and to `ends` why it ends. */
static int add_read(PyObject *list, PyObject *ends, const sse_batch *batch,
                    sse_parser *p, PyObject *kind)
{
    int64_t   retry_ms;
    PyObject *made;
    int       rc = 0;

    for (size_t i = 0; rc == 0 && i < batch->note_count; i++) {
        const sse_note *n = &batch->notes[i];
        const char     *data = batch->data + n->offset;
        PyObject       *to = n->kind == SSE_NOTE_END ? ends : list;

        if (n->kind == SSE_NOTE_WAKE)
            continue;
        if (p && n->kind == SSE_NOTE_BYTES) {
            rc = add_events(list, kind, p, data, n->len, &retry_ms);
            continue;
        }
        made = to == ends ? PyLong_FromLong((long)n->reason)
                          : PyBytes_FromStringAndSize(data, (Py_ssize_t)n->len);
        rc = made ? PyList_Append(to, made) : -1;
        Py_XDECREF(made);
    }
    return rc;
}

/* Nothing is left in the queue, and whoever else waits for it sleeps on: he is
 * told of what stands in Python's hands. */
static void tell_others(sse_queue *q, PyObject *ready, PyObject *ends)
{
    if (PyObject_Size(ready) > 0 || PyObject_Size(ends) > 0)
        sse_queue_wake(q);
}

PyObject *core_read(sse_queue *q, sse_parser *or_none, PyObject *kind,
                    PyObject *ready, PyObject *ends)
{
    const sse_batch *batch;
    int              was_on = stop_gc();
    PyObject        *list = PyList_New(0);
    int              n = list ? checked(sse_queue_drain(q, 64, &batch)) : -1;

    if (n == 0)
        tell_others(q, ready, ends);
    if (n > 0 && (add_read(list, ends, batch, or_none, kind) < 0 ||
                  hand_over(list, ready) < 0))
        n = -1;
    Py_XDECREF(list);
    go_on_gc(was_on);
    return n < 0 ? NULL : PyLong_FromLong(n);
}

/* Takes the first, which there is, and makes no object for it: that might let
 * another thread go first. */
static PyObject *pop_first(PyObject *ready)
{
    PyObject *first = PySequence_GetItem(ready, 0);

    if (first && PySequence_DelItem(ready, 0) < 0)
        Py_CLEAR(first);
    return first;
}

static bool is_first(PyObject *ready, PyObject *item)
{
    PyObject *first =
        PyObject_Size(ready) > 0 ? PySequence_GetItem(ready, 0) : NULL;

    Py_XDECREF(first);
    return first == item;
}

/* What is handed out for the first of `ready`; NULL without an exception when
 * there is nothing to hand out for it, or somebody else has. */
static PyObject *hand_out(PyObject *ready, PyObject *make)
{
    PyObject *first = PySequence_GetItem(ready, 0);
    PyObject *item =
        first ? PyObject_CallFunctionObjArgs(make, first, NULL) : NULL;

    if (item && !is_first(ready, first)) {
        Py_CLEAR(item);
    } else if (item) {
        Py_XDECREF(pop_first(ready));
        if (item == Py_None)
            Py_CLEAR(item);
    }
    Py_XDECREF(first);
    return item;
}

PyObject *core_next(PyObject *ready, PyObject *more, PyObject *make)
{
    PyObject *item = NULL;

    while (!item && !PyErr_Occurred()) {
        Py_ssize_t count = PyObject_Size(ready);

        if (count > 0) {
            item = make == Py_None ? pop_first(ready) : hand_out(ready, make);
        } else if (count == 0) {
            PyObject *is_more = PyObject_CallObject(more, NULL);

            if (is_more && !PyObject_IsTrue(is_more))
                PyErr_SetNone(PyExc_StopIteration);
            Py_XDECREF(is_more);
        }
    }
    return item;
}

/* ---- The client ---- */

/* Whoever else waits for news looks again. */
static void ring(sse_client *c)
{
    const uint64_t one = 1;

    (void)!write(sse_client_fd(c), &one, sizeof(one));
}

static int add_news(PyObject *into, const sse_news *news)
{
    PyObject *made = news_dict(news);
    PyObject *done =
        made ? PyObject_CallMethod(into, "append", "O", made) : NULL;

    Py_XDECREF(made);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

PyObject *core_client_take(sse_client *c, PyObject *into)
{
    const sse_news *news;
    int             was_on, rc = sse_client_next(c, 0, &news);

    if (rc == SSE_ERR_CLOSED && (rc = sse_client_start(c)) == SSE_OK)
        rc = sse_client_next(c, 0, &news);
    if (rc == 0 || (rc == SSE_ERR_TIMEOUT && PyObject_Size(into) > 0))
        ring(c);
    if (rc == SSE_ERR_TIMEOUT)
        Py_RETURN_NONE;
    was_on = stop_gc();
    if (checked(rc) > 0 && add_news(into, news) < 0)
        rc = -1;
    go_on_gc(was_on);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}
