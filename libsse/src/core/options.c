/* SPDX-License-Identifier: MIT */
/* options.c - the only reader of callers' option structs. */
#include "options.h"

#include <string.h>

#include "sse.h"

/* No options struct will ever be larger; a larger size is an uninitialized
 * one, and following it would read whatever lies behind the struct. */
#define MAX_SIZE 4096

int sse__options_copy(void *dst, uint32_t dst_size, const void *src)
{
    const unsigned char *bytes = src;
    uint32_t             size;

    if (!src)
        return SSE_OK;
    memcpy(&size, src, sizeof(size));
    if (size < sizeof(size) || size > MAX_SIZE)
        return SSE_ERR_INVAL;
    for (uint32_t i = dst_size; i < size; i++)
        if (bytes[i] != 0)
            return SSE_ERR_INVAL;
    memcpy(dst, src, size < dst_size ? size : dst_size);
    return SSE_OK;
}

uint32_t sse__option(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}
