/* SPDX-License-Identifier: MIT */
/* alloc.c - the allocator hook, the library's only global state. */
#include "alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sse.h"

static void *(*malloc_hook)(size_t) = malloc;
static void *(*realloc_hook)(void *, size_t) = realloc;
static void (*free_hook)(void *) = free;

int sse_set_allocator(void *(*malloc_fn)(size_t),
                      void *(*realloc_fn)(void *, size_t),
                      void (*free_fn)(void *))
{
    bool all = malloc_fn && realloc_fn && free_fn;

    if (!all && (malloc_fn || realloc_fn || free_fn))
        return SSE_ERR_INVAL;
    malloc_hook = all ? malloc_fn : malloc;
    realloc_hook = all ? realloc_fn : realloc;
    free_hook = all ? free_fn : free;
    return SSE_OK;
}

void *sse__malloc(size_t size)
{
    return malloc_hook(size);
}

void *sse__calloc(size_t count, size_t size)
{
    void *ptr = malloc_hook(count * size);

    if (ptr)
        memset(ptr, 0, count * size);
    return ptr;
}

void *sse__realloc(void *ptr, size_t size)
{
    /* A hook need not know realloc(NULL, size). */
    return ptr ? realloc_hook(ptr, size) : malloc_hook(size);
}

void sse__free(void *ptr)
{
    if (ptr)
        free_hook(ptr);
}

char *sse__memdup(const void *data, size_t len)
{
    char *copy = malloc_hook(len + 1);

    if (!copy)
        return NULL;
    if (len > 0)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}
