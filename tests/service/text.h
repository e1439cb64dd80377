/* SPDX-License-Identifier: MIT */
/* text.h - growing text, and JSON put together in it. cJSON has C strings, and
 * what an event stream brings may hold NULs. */
#ifndef TESTS_SERVICE_TEXT_H
#define TESTS_SERVICE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Begins as zeros. These programs end when memory does. */
typedef struct text {
    char  *data; /* with a NUL behind it, once something was added          */
    size_t len, size;
} text;

void text_free(text *t);
void text_add(text *t, const void *data, size_t len);
void text_add_str(text *t, const char *str);
void text_add_number(text *t, int64_t number);

/* Adds UTF-8 as a JSON string, with its quotes. */
void text_add_quoted(text *t, const char *data, size_t len);

/* Adds ,"name":"data" and ,"name":number. */
void text_add_member(text *t, const char *name, const char *data, size_t len);
void text_add_count(text *t, const char *name, int64_t number);

#endif
