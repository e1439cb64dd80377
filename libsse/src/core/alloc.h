/* SPDX-License-Identifier: MIT */
/* alloc.h - the library's only way to memory, so that a test can fail it. */
#ifndef SSE_CORE_ALLOC_H
#define SSE_CORE_ALLOC_H

#include <stddef.h>

void *sse__malloc(size_t size);
void *sse__calloc(size_t count, size_t size); /* count * size must not wrap */
void *sse__realloc(void *ptr, size_t size);
void  sse__free(void *ptr);

/* A copy of `len` bytes with a NUL behind them; NULL when out of memory. */
char *sse__memdup(const void *data, size_t len);

#endif
