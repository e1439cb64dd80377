/* SPDX-License-Identifier: MIT */
/* scan.h - passes over text that look at many bytes at a time. */
#ifndef SSE_CORE_SCAN_H
#define SSE_CORE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each gives the number of bytes in front of the first ...                 */
size_t sse__scan_line(const char *text, size_t len);  /* CR or LF           */
size_t sse__scan_ascii(const char *text, size_t len); /* byte above 0x7f    */
size_t sse__scan_plain(const char *text, size_t len); /* byte that a string
                                                       * of JSON escapes    */

/* A walk over the lines of a text. The masks say what the 64 bytes at `block`
 * hold that is not yet behind us, the lowest bit speaking of the first. */
typedef struct sse__scan {
    const char *line; /* where the line at hand begins                      */
    const char *block;
    const char *next; /* the first byte not yet looked at                   */
    const char *end;
    uint64_t    ends; /* CR and LF                                          */
    uint64_t    high; /* 0x80 and above                                     */
    bool        wide; /* such a byte is in the line, in front of `block`    */
} sse__scan;

typedef struct sse__line {
    const char *text; /* the CR or LF is behind it                          */
    size_t      len;
    bool        wide; /* it is not plain ASCII                              */
} sse__line;

void sse__scan_init(sse__scan *s, const char *text, size_t len);

/* Moves on to the next block in which a line ends. False: there is none. */
bool sse__scan_block(sse__scan *s);

/* Takes the next line that ends at a CR or LF. */
static inline bool sse__scan_next(sse__scan *s, sse__line *out)
{
    const char *end;
    uint64_t    before;

    if (s->ends == 0 && !sse__scan_block(s))
        return false;
    end = s->block + __builtin_ctzll(s->ends);
    before = (s->ends & (0 - s->ends)) - 1;
    out->text = s->line;
    out->len = (size_t)(end - s->line);
    out->wide = s->wide || (s->high & before) != 0;
    s->line = end + 1;
    s->ends &= s->ends - 1;
    s->high &= ~before;
    s->wide = false;
    return true;
}

#endif
