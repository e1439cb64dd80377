/* SPDX-License-Identifier: MIT */
/* buf.c - growing bytes with a ceiling. */
#include "buf.h"

#include <string.h>

#include "alloc.h"
#include "sse.h"

#define FIRST_CAP 64

void sse__buf_init(sse__buf *b, size_t max)
{
    *b = (sse__buf){.max = max};
}

void sse__buf_free(sse__buf *b)
{
    sse__free(b->data);
    sse__buf_init(b, b->max);
}

/* Doubling keeps the cost of a byte constant; the ceiling stops it. */
static size_t grown_cap(const sse__buf *b, size_t need)
{
    size_t cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap;

    while (cap < need)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    return cap < b->max ? cap : b->max;
}

int sse__buf_reserve(sse__buf *b, size_t more)
{
    size_t cap;
    char  *data;

    if (more <= b->cap - b->len)
        return SSE_OK;
    if (more > b->max - b->len)
        return SSE_ERR_TOO_BIG;
    cap = grown_cap(b, b->len + more);
    data = sse__realloc(b->data, cap);
    if (!data)
        return SSE_ERR_NOMEM;
    b->data = data;
    b->cap = cap;
    return SSE_OK;
}

int sse__buf_add(sse__buf *b, const void *data, size_t len)
{
    int rc = sse__buf_reserve(b, len);

    if (rc < 0 || len == 0)
        return rc;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return SSE_OK;
}

int sse__buf_add_str(sse__buf *b, const char *str)
{
    return sse__buf_add(b, str, strlen(str));
}

int sse__buf_add_u64(sse__buf *b, uint64_t number)
{
    char  digits[20]; /* of 2^64 - 1 */
    char *at = digits + sizeof(digits);

    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return sse__buf_add(b, at, (size_t)(digits + sizeof(digits) - at));
}

int sse__buf_add_i64(sse__buf *b, int64_t number)
{
    int rc;

    if (number >= 0)
        return sse__buf_add_u64(b, (uint64_t)number);
    rc = sse__buf_add(b, "-", 1);
    if (rc < 0)
        return rc;
    rc = sse__buf_add_u64(b, 0 - (uint64_t)number);
    if (rc < 0)
        b->len--;
    return rc;
}

void sse__buf_drop(sse__buf *b, size_t len)
{
    b->len -= len;
    if (b->len > 0)
        memmove(b->data, b->data + len, b->len);
}
