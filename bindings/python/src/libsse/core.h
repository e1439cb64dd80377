/* SPDX-License-Identifier: MIT */
/* core.h - what the typemaps of core.i call: Python objects to what sse.h
 * takes, and back. All within the limited API of CPython. */
#ifndef LIBSSE_PYTHON_CORE_H
#define LIBSSE_PYTHON_CORE_H

#include <Python.h>
#include <sse.h>
#include <stdbool.h>

typedef int core_rc;

/* Makes libsse._core.errors: exception classes by their code. */
void core_init(PyObject *module);

/* Whether this is not a subinterpreter. Python from 3.12 on refuses the module
 * there by itself; before, errors.py does, as its classes are one program's. */
PyObject *core_in_main(void);

/* Raises the one for a negative result, with the library's sentence. */
void core_raise(int code);

/* ---- In ---- */

/* Text or bytes of an argument, good until it is dropped. */
typedef struct core_view {
    const char *data;
    size_t      len;
    Py_buffer   buffer;
    bool        has_buffer;
} core_view;

void core_view_init(core_view *v);
int  core_view_get(core_view *v, PyObject *from);
void core_view_drop(core_view *v);

/* An int from 0 to `max`. */
int core_number(PyObject *from, unsigned long long max,
                unsigned long long *out);

/* One number of an options struct. */
typedef struct core_field {
    const char *name; /* NULL behind the last */
    size_t      offset, size;
} core_field;

extern const core_field core_fields_sse_hub_options[];
extern const core_field core_fields_sse_store_options[];
extern const core_field core_fields_sse_stream_options[];
extern const core_field core_fields_sse_subscriber_options[];
extern const core_field core_fields_sse_client_options[];

/* Fills `options` from a dict; a name that is none of its fields is refused. */
int core_options(PyObject *from, const core_field *fields, void *options,
                 size_t size);

/* ---- Handles ---- */

PyObject *core_handle_new(void *object, const char *type,
                          PyCapsule_Destructor free_it);
void     *core_handle_get(PyObject *handle, const char *type);

void core_free_sse_hub(PyObject *handle);
void core_free_sse_queue(PyObject *handle);
void core_free_sse_stream(PyObject *handle);
void core_free_sse_subscriber(PyObject *handle);
void core_free_sse_list(PyObject *handle);
void core_free_sse_parser(PyObject *handle);
void core_free_sse_loop(PyObject *handle);
void core_free_sse_client(PyObject *handle);

/* ---- Out ---- */

int core_out_init(void);

PyObject *core_info(const sse_stream_info *info);

/* What these take from C they put behind what `into` holds, a list or a deque,
 * by one call of C's: an exception out of a signal's handler comes before it or
 * behind it, and nothing is lost between the two. */

/* The events, of the class `kind`, that are complete with some bytes. Gives
 * what the last retry among them says, or -1. */
PyObject *core_parser_take(sse_parser *p, const char *data, size_t len,
                           PyObject *kind, PyObject *into);

/* Notes, as (kind, reason, key, bytes); gives how many. */
PyObject *core_drain(sse_queue *q, uint32_t max_notes, PyObject *into);

/* Hushes the queue, appends, and drains it until there is nothing, twice at
 * most: (id, whether the queue is armed again). */
PyObject *core_send(sse_queue *q, sse_stream *s, const char *type,
                    size_t type_len, const char *data, size_t data_len,
                    uint32_t max_notes, PyObject *into);

/* Of a queue with one reader, which any number of threads may share: bytes, or
 * with a parser events, go to `ready`, and the reason why it ends to `ends`.
 * Gives 0 when there is nothing, and the queue is armed. */
PyObject *core_read(sse_queue *q, sse_parser *or_none, PyObject *kind,
                    PyObject *ready, PyObject *ends);

/* News, as dicts: True; None when there are none yet; False behind the end. The
 * first call begins. */
PyObject *core_client_take(sse_client *c, PyObject *into);

/* Takes the first out of the deque `ready`. Where it is empty, `more()` waits,
 * and says whether there is more to come; if not, StopIteration is raised. With
 * `make`, what that makes of the first is given instead, if it is not None;
 * what `make` raises leaves the first where it is. */
PyObject *core_next(PyObject *ready, PyObject *more, PyObject *make);

/* ---- Calls ---- */

int core_parser_new(uint32_t flags, uint32_t max_bytes, sse_parser **out);

PyObject *core_parser_reset(sse_parser *p, const char *id, size_t id_len);
PyObject *core_parser_last_id(sse_parser *p);

/* `text` is an array of uint32_t: the size of each event. */
int core_append_batch(sse_stream *s, const char *type, size_t type_len,
                      const char *data, size_t data_len, const char *text,
                      size_t len, sse_event_id *out);

int core_client_no_token(sse_client *c);

PyObject *core_client_header(sse_client *c, const char *name, size_t name_len);

#endif
