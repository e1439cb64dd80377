/* SPDX-License-Identifier: MIT */
/* text.c - growing text, and JSON put together in it. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_free(text *t)
{
    free(t->data);
    *t = (text){0};
}

static void reserve(text *t, size_t more)
{
    size_t size = t->size ? t->size : 256;

    while (size - t->len <= more)
        size *= 2;
    if (size == t->size)
        return;
    t->data = realloc(t->data, size);
    if (!t->data)
        abort();
    t->size = size;
}

void text_add(text *t, const void *data, size_t len)
{
    reserve(t, len);
    if (len > 0)
        memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
}

void text_add_str(text *t, const char *str)
{
    text_add(t, str, strlen(str));
}

void text_add_number(text *t, int64_t number)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%lld", (long long)number);
    text_add_str(t, digits);
}

static void add_escape(text *t, unsigned char c)
{
    char escape[8];

    if (c == '"' || c == '\\')
        snprintf(escape, sizeof(escape), "\\%c", c);
    else
        snprintf(escape, sizeof(escape), "\\u%04x", c);
    text_add_str(t, escape);
}

void text_add_quoted(text *t, const char *data, size_t len)
{
    size_t plain = 0; /* where the text begins that is not added yet */

    text_add(t, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        text_add(t, data + plain, i - plain);
        add_escape(t, c);
        plain = i + 1;
    }
    text_add(t, data + plain, len - plain);
    text_add(t, "\"", 1);
}

static void add_name(text *t, const char *name)
{
    text_add(t, ",", 1);
    text_add_quoted(t, name, strlen(name));
    text_add(t, ":", 1);
}

void text_add_member(text *t, const char *name, const char *data, size_t len)
{
    add_name(t, name);
    text_add_quoted(t, data, len);
}

void text_add_count(text *t, const char *name, int64_t number)
{
    add_name(t, name);
    text_add_number(t, number);
}
