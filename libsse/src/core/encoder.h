/* SPDX-License-Identifier: MIT */
/* encoder.h - blocks of an event stream (HTML standard, 9.2.5). */
#ifndef SSE_CORE_ENCODER_H
#define SSE_CORE_ENCODER_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* SSE_OK when `text` can stand in a field that must stay on one line;
 * SSE_ERR_INVAL with CR, LF or NUL; SSE_ERR_UTF8. */
int sse__encode_check_name(const char *text, size_t len);

/* As the public functions, without checks: the type and id are checked names
 * and the data is UTF-8. SSE_OK, SSE_ERR_NOMEM or SSE_ERR_TOO_BIG. */
int sse__encode_event(sse__buf *b, const char *type, size_t type_len,
                      const char *data, size_t data_len, const char *id,
                      size_t id_len);
int sse__encode_comment(sse__buf *b, const char *text, size_t len);
int sse__encode_retry(sse__buf *b, uint32_t retry_ms);

#endif
