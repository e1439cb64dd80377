/* SPDX-License-Identifier: MIT */
/* utf8.c - UTF-8 as the Unicode and Encoding standards define it. */
#include "utf8.h"

#include <stddef.h>

#include "scan.h"
#include "sse.h"

#define REPLACEMENT "\xef\xbf\xbd"

void sse__utf8_init(sse__utf8 *u)
{
    *u = (sse__utf8){0};
}

/* What must follow a lead byte. The narrower ranges of the second byte keep
 * out overlong forms, surrogates and what lies above U+10FFFF. */
static bool lead(sse__utf8 *u, unsigned char byte)
{
    *u = (sse__utf8){.low = 0x80, .high = 0xbf};
    if (byte < 0xc2 || byte > 0xf4)
        return false;
    u->need = (uint8_t)(1 + (byte >= 0xe0) + (byte >= 0xf0));
    switch (byte) {
    case 0xe0: u->low = 0xa0; break;
    case 0xed: u->high = 0x9f; break;
    case 0xf0: u->low = 0x90; break;
    case 0xf4: u->high = 0x8f; break;
    default: break;
    }
    return true;
}

static bool continuation(sse__utf8 *u, unsigned char byte)
{
    if (byte < u->low || byte > u->high)
        return false;
    u->need--;
    u->low = 0x80;
    u->high = 0xbf;
    return true;
}

/* How many bytes go by before one that does not fit, which is none where all
 * do. It is the byte that breaks a sequence, not the sequence's first. */
static size_t walk(sse__utf8 *u, const unsigned char *bytes, size_t len)
{
    size_t at = 0;

    while (at < len) {
        if (u->need > 0) {
            if (!continuation(u, bytes[at]))
                return at;
            at++;
        } else if (bytes[at] >= 0x80) {
            if (!lead(u, bytes[at]))
                return at;
            at++;
        } else {
            at += sse__scan_ascii((const char *)bytes + at, len - at);
        }
    }
    return len;
}

bool sse__utf8_feed(sse__utf8 *u, const void *data, size_t len)
{
    return walk(u, data, len) == len;
}

bool sse__utf8_done(const sse__utf8 *u)
{
    return u->need == 0;
}

bool sse__utf8_valid(const void *data, size_t len)
{
    sse__utf8 u;

    sse__utf8_init(&u);
    return sse__utf8_feed(&u, data, len) && sse__utf8_done(&u);
}

/* How many of the last bytes, all of which fit, belong to the sequence that
 * is unfinished behind them. */
static size_t unfinished(const sse__utf8 *u, const unsigned char *end)
{
    size_t count = 0;

    if (u->need == 0)
        return 0;
    do
        count++;
    while (end[-(ptrdiff_t)count] < 0xc2);
    return count;
}

/* Adds what fits at the front of the text and one U+FFFD for what broke it.
 * Takes those bytes off the text. */
static int repair_once(sse__buf *out, const unsigned char **text, size_t *len)
{
    sse__utf8 u;
    size_t    fit, broken;
    int       rc;

    sse__utf8_init(&u);
    fit = walk(&u, *text, *len);
    broken = unfinished(&u, *text + fit);
    rc = sse__buf_add(out, *text, fit - broken);
    if (rc == SSE_OK && (broken > 0 || fit < *len))
        rc = sse__buf_add_str(out, REPLACEMENT);
    /* A byte that breaks a sequence begins the next one; a byte that can
     * begin none stands for itself. */
    fit += fit < *len && broken == 0;
    *text += fit;
    *len -= fit;
    return rc;
}

int sse__utf8_repair(sse__buf *out, const void *data, size_t len)
{
    const unsigned char *text = data;
    size_t               old_len = out->len;
    int                  rc = SSE_OK;

    while (len > 0 && rc == SSE_OK)
        rc = repair_once(out, &text, &len);
    if (rc < 0)
        out->len = old_len;
    return rc;
}
