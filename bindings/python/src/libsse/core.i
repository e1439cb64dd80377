/* core.i - sse.h for Python, thin: handles, ints and bytes, nothing else.
 *
 * A handle is a capsule that owns its object, and the only thing that frees it
 * is Python's counting of references. A call holds a reference to each of its
 * handles, so nothing is freed under a thread that is inside of libsse, and no
 * program can use what is freed. Objects of libsse may be freed in any order.
 */
%module(threads="1") _core

%{
#include <limits.h>
#include <sse.h>
#include "core.h"
%}

%init %{
    core_init(m);
%}

/* ---- Text and bytes in: str as UTF-8, or anything with a buffer ---- */

%typemap(in) (const char *data, size_t len) (core_view view) {
    if (core_view_get(&view, $input) < 0)
        SWIG_fail;
    $1 = ($1_ltype)view.data;
    $2 = view.len;
}
%typemap(freearg) (const char *data, size_t len) {
    core_view_drop(&view$argnum);
}
%typemap(arginit) (const char *data, size_t len) {
    core_view_init(&view$argnum);
}
%define TEXT(NAME, LEN)
%typemap(in) (const char *NAME, size_t LEN) = (const char *data, size_t len);
%typemap(freearg) (const char *NAME, size_t LEN) = (const char *data, size_t len);
%typemap(arginit) (const char *NAME, size_t LEN) = (const char *data, size_t len);
%enddef
TEXT(id, id_len)
TEXT(type, type_len)
TEXT(type, len)
TEXT(data, data_len)
TEXT(text, len)
TEXT(url, len)
TEXT(url, url_len)
TEXT(owner, len)
TEXT(owner, owner_len)
TEXT(kind, len)
TEXT(json, len)
TEXT(cursor, cursor_len)
TEXT(name, name_len)
TEXT(value, value_len)
TEXT(token, len)
TEXT(id, len)

/* ---- Numbers ---- */

%typemap(in) uint32_t (unsigned long long number) {
    if (core_number($input, UINT32_MAX, &number) < 0)
        SWIG_fail;
    $1 = (uint32_t)number;
}
%typemap(in) int (unsigned long long number) {
    if (core_number($input, INT_MAX, &number) < 0)
        SWIG_fail;
    $1 = (int)number;
}
%typemap(in) int64_t {
    $1 = PyLong_AsLongLong($input);
    if ($1 == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_SetString(PyExc_ValueError, "the number is too large");
        SWIG_fail;
    }
}

/* ---- Results: a negative one is an exception, others are left out ---- */

%typemap(out) int {
    if ($1 < 0) {
        core_raise($1);
        SWIG_fail;
    }
    $result = PyLong_FromLong($1);
}
typedef int core_rc;
%typemap(out) core_rc {
    if ($1 < 0) {
        core_raise($1);
        SWIG_fail;
    }
    $result = Py_None;
    Py_INCREF(Py_None);
}
%typemap(out) PyObject * "$result = $1; if (!$result) SWIG_fail;"

/* ---- Handles ---- */

%define HANDLE(TYPE)
%typemap(in) TYPE * {
    $1 = core_handle_get($input, #TYPE);
    if (!$1)
        SWIG_fail;
}
%typemap(in, numinputs=0) TYPE **out (TYPE *made = NULL) "$1 = ($1_ltype)&made;"
%typemap(argout) TYPE **out {
    Py_XDECREF($result);
    $result = core_handle_new(*$1, #TYPE, core_free_##TYPE);
    if (!$result)
        SWIG_fail;
}
%enddef
HANDLE(sse_hub)
HANDLE(sse_queue)
HANDLE(sse_stream)
HANDLE(sse_subscriber)
HANDLE(sse_list)
HANDLE(sse_parser)
HANDLE(sse_loop)
HANDLE(sse_client)

%define OR_NONE(TYPE)
%typemap(in) TYPE *or_none {
    $1 = NULL;
    if ($input != Py_None && !($1 = core_handle_get($input, #TYPE)))
        SWIG_fail;
}
%enddef
OR_NONE(sse_queue)
OR_NONE(sse_parser)

/* A class whose objects C makes. */
%typemap(in) PyObject *kind {
    if (!PyType_Check($input)) {
        PyErr_SetString(PyExc_TypeError, "a class is needed");
        SWIG_fail;
    }
    $1 = $input;
}

/* ---- Options: a dict of numbers ---- */

%define OPTIONS(TYPE)
%typemap(in) const TYPE *opts (TYPE made) {
    if (core_options($input, core_fields_##TYPE, &made, sizeof(made)) < 0)
        SWIG_fail;
    $1 = &made;
}
%enddef
OPTIONS(sse_hub_options)
OPTIONS(sse_store_options)
OPTIONS(sse_stream_options)
OPTIONS(sse_subscriber_options)
OPTIONS(sse_client_options)

/* ---- What comes out ---- */

/* An event's id is its text. */
%typemap(in, numinputs=0) sse_event_id *out (sse_event_id made) "$1 = ($1_ltype)&made;"
%typemap(argout) sse_event_id *out {
    Py_XDECREF($result);
    $result = PyUnicode_FromStringAndSize($1->text, $1->text_len);
}

/* What a stream is, as a dict; None behind the last of a list. */
%typemap(in, numinputs=0)
    const sse_stream_info **out (const sse_stream_info *made = NULL)
    "$1 = ($1_ltype)&made;"
%typemap(argout) const sse_stream_info **out {
    Py_XDECREF($result);
    $result = core_info(*$1);
    if (!$result)
        SWIG_fail;
}

/* A buffer that is written into is the result. */
%typemap(in, numinputs=0) sse_buffer *out (sse_buffer *made = NULL) {
    int rc = sse_buffer_new(0, &made);
    if (rc < 0) {
        core_raise(rc);
        SWIG_fail;
    }
    $1 = made;
}
%typemap(argout) sse_buffer *out {
    Py_XDECREF($result);
    $result = PyBytes_FromStringAndSize(sse_buffer_data($1),
                                        (Py_ssize_t)sse_buffer_size($1));
}
%typemap(freearg) sse_buffer *out "sse_buffer_free($1);"

/* ---- The functions. Those that wait, or copy much, let other threads run;
 * what others do with the same object meanwhile is for the Python side. ---- */

%nothread;

const char *sse_version(void);
const char *sse_state_name(int state);
const char *sse_cause_name(int cause);

core_rc sse_hub_new(const sse_hub_options *opts, sse_hub **out);
const char *sse_hub_store_error(sse_hub *hub);
core_rc sse_hub_set_guardian(sse_hub *hub, sse_queue *or_none);

core_rc sse_stream_set_owner(sse_stream *s, const char *owner, size_t len);
core_rc sse_stream_set_kind(sse_stream *s, const char *kind, size_t len);
core_rc sse_stream_set_metadata(sse_stream *s, const char *json, size_t len);
core_rc sse_stream_get_info(sse_stream *s, const sse_stream_info **out);
core_rc sse_list_next(sse_list *list, const sse_stream_info **out);

core_rc sse_queue_new(sse_hub *hub, const void *none, sse_queue **out);
int sse_queue_fd(sse_queue *q);
void sse_queue_wake(sse_queue *q);
void sse_queue_hush(sse_queue *q);
void sse_subscriber_next(sse_subscriber *sub);

core_rc sse_loop_new(sse_loop **out);
core_rc sse_loop_start(sse_loop *loop);
core_rc sse_client_new(sse_loop *loop, const char *url, size_t url_len,
                       const sse_client_options *opts, sse_client **out);
core_rc sse_client_set(sse_client *c, int setting, const char *text, size_t len);
core_rc sse_client_set_header(sse_client *c, const char *name, size_t name_len,
                              const char *value, size_t value_len);
core_rc sse_client_add_end_type(sse_client *c, const char *type, size_t len);
core_rc sse_client_start(sse_client *c);
int sse_client_fd(sse_client *c);
core_rc sse_client_set_token(sse_client *c, const char *token, size_t len,
                             int64_t lifetime_ms);
void sse_client_suspend(sse_client *c);
void sse_client_resume(sse_client *c);
void sse_client_offline(sse_client *c);
void sse_client_online(sse_client *c);
void sse_client_restart(sse_client *c);
void sse_client_close(sse_client *c);
core_rc sse_client_ack(sse_client *c, const char *id, size_t len);
core_rc sse_client_export(sse_client *c, sse_buffer *out);
core_rc sse_client_import(sse_client *c, const char *data, size_t len);

%thread;

core_rc sse_hub_set_store(sse_hub *hub, const char *url, size_t len,
                          const sse_store_options *opts);
core_rc sse_hub_stop(sse_hub *hub, const char *id, size_t id_len);
core_rc sse_hub_remove(sse_hub *hub, const char *id, size_t id_len);
core_rc sse_hub_refresh(sse_hub *hub, const char *id, size_t id_len);
core_rc sse_hub_settle(sse_hub *hub, const char *id, size_t id_len, int state,
                       const char *type, size_t type_len, const char *data,
                       size_t data_len);
core_rc sse_hub_flush(sse_hub *hub, int64_t timeout_ms);
core_rc sse_hub_metrics(sse_hub *hub, sse_buffer *out);
core_rc sse_stream_new(sse_hub *hub, const char *id, size_t id_len,
                       sse_queue *or_none, const sse_stream_options *opts,
                       sse_stream **out);
core_rc sse_stream_open(sse_hub *hub, const char *id, size_t id_len,
                        sse_stream **out);
core_rc sse_stream_append(sse_stream *s, const char *type, size_t type_len,
                          const char *data, size_t data_len, sse_event_id *out);
core_rc sse_stream_end(sse_stream *s, int state, const char *type,
                       size_t type_len, const char *data, size_t data_len,
                       sse_event_id *out);
core_rc sse_list_new(sse_hub *hub, const char *owner, size_t owner_len,
                     sse_list **out);
core_rc sse_subscriber_new(sse_stream *s, sse_queue *q, const char *cursor,
                           size_t cursor_len, const sse_subscriber_options *opts,
                           sse_subscriber **out);

%nothread;

%rename(sse_in_main_interpreter) core_in_main;
PyObject *core_in_main(void);

/* ---- Loops over C calls that would cost more from Python ---- */

%rename(sse_parser_new) core_parser_new;
core_rc core_parser_new(uint32_t flags, uint32_t max_bytes, sse_parser **out);
%rename(sse_parser_take) core_parser_take;
PyObject *core_parser_take(sse_parser *p, const char *data, size_t len,
                           PyObject *kind, PyObject *into);
%rename(sse_parser_reset) core_parser_reset;
PyObject *core_parser_reset(sse_parser *p, const char *id, size_t id_len);
%rename(sse_parser_last_event_id) core_parser_last_id;
PyObject *core_parser_last_id(sse_parser *p);
core_rc sse_encode_event(sse_buffer *out, const char *type, size_t type_len,
                         const char *data, size_t data_len, const char *id,
                         size_t id_len);
core_rc sse_encode_comment(sse_buffer *out, const char *text, size_t len);
core_rc sse_encode_retry(sse_buffer *out, uint32_t retry_ms);
%rename(sse_stream_append_batch) core_append_batch;
%thread core_append_batch;
core_rc core_append_batch(sse_stream *s, const char *type, size_t type_len,
                          const char *data, size_t data_len, const char *text,
                          size_t len, sse_event_id *out);
%nothread core_append_batch;
%rename(sse_send) core_send;
PyObject *core_send(sse_queue *q, sse_stream *s, const char *type,
                    size_t type_len, const char *data, size_t data_len,
                    uint32_t max_notes, PyObject *into);
%rename(sse_queue_drain) core_drain;
PyObject *core_drain(sse_queue *q, uint32_t max_notes, PyObject *into);
%rename(sse_queue_read) core_read;
PyObject *core_read(sse_queue *q, sse_parser *or_none, PyObject *kind,
                    PyObject *ready, PyObject *ends);
%rename(sse_next) core_next;
PyObject *core_next(PyObject *ready, PyObject *more, PyObject *make);
%rename(sse_client_take) core_client_take;
PyObject *core_client_take(sse_client *c, PyObject *into);
%rename(sse_client_no_token) core_client_no_token;
core_rc core_client_no_token(sse_client *c);
%rename(sse_client_header) core_client_header;
PyObject *core_client_header(sse_client *c, const char *name, size_t name_len);
