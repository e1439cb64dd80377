/* SPDX-License-Identifier: MIT */
/* options.h - the only reader of callers' option structs. */
#ifndef SSE_CORE_OPTIONS_H
#define SSE_CORE_OPTIONS_H

#include <stdint.h>

/* Copies an options struct of any age over `dst`, which holds zeros; `src` may
 * be NULL. Fields that the caller is too old to know keep their zero; a field
 * it is too new for us to know must be zero. SSE_OK or SSE_ERR_INVAL. */
int sse__options_copy(void *dst, uint32_t dst_size, const void *src);

/* `value`, or `standard` where it is 0. */
uint32_t sse__option(uint32_t value, uint32_t standard);

#endif
