/* SPDX-License-Identifier: MIT */
/* json.h - just enough JSON (RFC 8259) to take an event's data out of a text
 * and put it into one, byte for byte. Whole documents are cJSON's work. */
#ifndef SSE_CORE_JSON_H
#define SSE_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

/* Length of the one JSON value at the start of `text`, which must begin
 * without white space; 0 when there is none, it is broken, not UTF-8 inside its
 * strings, or nested deeper than 512. */
size_t sse__json_scan(const char *text, size_t len);

size_t sse__json_space(const char *text, size_t len); /* white space in front */

/* Whether the scanned JSON string `text` (quotes included) has no unpaired
 * surrogate, which no text can hold. */
bool sse__json_is_text(const char *text, size_t len);

/* Adds the text of the JSON string `text` (quotes included, scanned before)
 * to `out`. An unpaired surrogate becomes U+FFFD. Errors as for buf add. */
int sse__json_unquote(sse__buf *out, const char *text, size_t len);

/* Adds `text`, which is UTF-8, as a JSON string with its quotes, escaping what
 * JSON.stringify would. Errors as for buf add. */
int sse__json_quote(sse__buf *out, const char *text, size_t len);

/* Steps through the members of an object: `at` points behind the "{" or behind
 * the last value. Returns 1 with the slices of the key and the value (quotes
 * included), 0 at the closing brace (with `*at` behind it), SSE_ERR_INVAL for
 * broken JSON. */
typedef struct sse__json_slice {
    const char *text;
    size_t      len;
} sse__json_slice;

int sse__json_member(const char **at, const char *end, sse__json_slice *key,
                     sse__json_slice *value);

/* Whether a scanned key (with quotes) is `name`. Keys with escapes are decoded. */
bool sse__json_is_key(sse__json_slice key, const char *name);

#endif
