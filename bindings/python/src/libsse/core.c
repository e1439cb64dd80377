/* SPDX-License-Identifier: MIT */
/* core.c - Python objects to what sse.h takes, and back. */
#define PY_SSIZE_T_CLEAN
#include "core.h"

#include <limits.h>
#include <string.h>

static PyObject *errors; /* {code: class}, which the Python side fills */

static bool is_main(void)
{
    return PyInterpreterState_GetID(PyInterpreterState_Get()) == 0;
}

PyObject *core_in_main(void)
{
    return PyBool_FromLong(is_main());
}

void core_init(PyObject *module)
{
    if (!is_main()) /* what the main one has stays as it is */
        return;
    errors = PyDict_New();
    if (!errors || core_out_init() < 0)
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
    if (PyObject_GetBuffer(from, &v->buffer, PyBUF_SIMPLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_BufferError))
            PyErr_SetString(PyExc_TypeError, "bytes in one piece are needed");
        return -1;
    }
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

/* ---- Calls ---- */

int core_parser_new(uint32_t flags, uint32_t max_bytes, sse_parser **out)
{
    sse_parser_options opts = {.size = sizeof(opts),
                               .flags = flags,
                               .max_line_bytes = max_bytes,
                               .max_event_bytes = max_bytes};

    return sse_parser_new(&opts, out);
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
