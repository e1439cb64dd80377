/* sse.i - the public header, wrapped for Python as it stands. What is written
 * here by hand is all that SWIG has to be told; no C helper is called. */
%module sse

%{
#include <sse.h>
%}

%include <stdint.i>
%include <pybuffer.i>

/* Bytes go in as anything with a buffer. */
%pybuffer_binary(const char *data, size_t data_len);
%apply (const char *data, size_t data_len) {
    (const void *data, size_t len), (const char *text, size_t len),
    (const char *id, size_t id_len), (const char *type, size_t type_len),
    (const char *owner, size_t len), (const char *owner, size_t owner_len),
    (const char *kind, size_t len), (const char *json, size_t len),
    (const char *cursor, size_t cursor_len)
};

/* A negative result is an exception. */
%typemap(out) int {
    if ($1 < 0) {
        PyErr_SetString(PyExc_RuntimeError, sse_strerror($1));
        SWIG_fail;
    }
    $result = PyLong_FromLong($1);
}

/* Objects come out as results. */
%define OUTPUT(TYPE)
%typemap(in, numinputs=0) TYPE **out (TYPE *made = NULL)
    "$1 = ($1_ltype)&made;"
%typemap(argout) TYPE **out {
    %append_output(SWIG_NewPointerObj((void *)*$1, $*1_descriptor, 0));
}
%enddef
OUTPUT(sse_hub)
OUTPUT(sse_stream)
OUTPUT(sse_queue)
OUTPUT(sse_subscriber)
OUTPUT(const sse_stream_info)

/* An event's id comes out as its text. */
%typemap(in, numinputs=0) sse_event_id *out (sse_event_id made) "$1 = &made;"
%typemap(argout) sse_event_id *out {
    %append_output(PyUnicode_FromStringAndSize($1->text, $1->text_len));
}

/* A batch comes out as a list of (kind, reason, key, bytes). */
%typemap(in, numinputs=0) const sse_batch **out (const sse_batch *made = NULL)
    "$1 = ($1_ltype)&made;"
%typemap(argout) const sse_batch **out {
    Py_ssize_t count = (*$1 && result > 0) ? (Py_ssize_t)(*$1)->note_count : 0;
    PyObject  *list = PyList_New(count);

    for (Py_ssize_t i = 0; i < count; i++) {
        const sse_note *note = &(*$1)->notes[i];
        PyList_SetItem(list, i, Py_BuildValue("(IIKy#)", note->kind,
            note->reason, (unsigned long long)note->key,
            (*$1)->data + note->offset, (Py_ssize_t)note->len));
    }
    %append_output(list);
}

/* Strings inside structs are the library's: read only. */
%immutable sse_item::type;
%immutable sse_item::data;
%immutable sse_item::id;
%immutable sse_stream_info::id;
%immutable sse_stream_info::owner;
%immutable sse_stream_info::kind;
%immutable sse_stream_info::metadata;
%immutable sse_batch::data;
%immutable sse_news::type;
%immutable sse_news::data;
%immutable sse_news::id;
%immutable sse_news::detail;

%constant size_t sizeof_sse_stream_options = sizeof(sse_stream_options);
%constant size_t sizeof_sse_subscriber_options = sizeof(sse_subscriber_options);

#define SSE_API
%include <sse.h>
