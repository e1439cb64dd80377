/* SPDX-License-Identifier: MIT */
/* support.h - what unit tests share. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "buf.h"
#include "sse.h"

/* A copy that ends where readable memory ends. The next copy overwrites it. */
const char *guarded(const void *data, size_t len);

/* Whether `b` holds just this text. */
void assert_buf(const sse__buf *b, const void *text, size_t len);
#define assert_buf_str(b, text) assert_buf(b, text, sizeof(text) - 1)

/* What a parser found, in order, as text:
 *
 *     event TYPE|DATA|ID     comment TEXT     retry MS     error CODE
 *
 * each followed by a LF; and the last event id at the end. */
typedef struct transcript {
    uint32_t only; /* write just items of this kind; 0: all                 */
    char     text[1 << 16];
    size_t   len;
    char     last_id[1 << 12];
    size_t   last_id_len;
} transcript;

/* Feeds a parser with pieces of `step` bytes, each on a guard page and wiped
 * as soon as the parser has drained it. `seed` may be NULL. */
void replay(transcript *out, const sse_parser_options *opts, const char *seed,
            const void *input, size_t len, size_t step);

/* Writes one item, as replay() does. */
void transcribe(transcript *t, const sse_item *item);

/* The whole file below the tests' directory, to be freed, with a NUL. */
char *read_test_file(const char *name, size_t *out_len);

/* Whether there is something to read, or to accept. */
bool readable(int fd, int timeout_ms);

/* The number of threads of this process. */
int thread_count(void);

/* Whether it becomes `count`: for a moment, one that was joined still counts. */
bool thread_count_becomes(int count);

#endif
