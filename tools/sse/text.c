/* SPDX-License-Identifier: MIT */
/* text.c - growing text, and JSON strings written into it. */
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

char *text_reserve(text *t, size_t len)
{
    size_t size = t->size > 0 ? t->size : 256;

    if (len > SIZE_MAX / 4 - t->len)
        exit(fail("out of memory"));
    while (size - t->len <= len)
        size *= 2;
    if (size > t->size) {
        char *data = realloc(t->data, size);
        if (data == NULL)
            exit(fail("out of memory"));
        t->data = data;
        t->size = size;
    }
    return t->data + t->len;
}

void text_add(text *t, const char *data, size_t len)
{
    char *end = text_reserve(t, len);

    if (len > 0)
        memcpy(end, data, len);
    end[len] = '\0';
    t->len += len;
}

void text_add_string(text *t, const char *string)
{
    text_add(t, string, strlen(string));
}

void text_clear(text *t)
{
    t->len = 0;
    if (t->data != NULL)
        t->data[0] = '\0';
}

void text_free(text *t)
{
    free(t->data);
    *t = (text){0};
}

int text_write(text *t)
{
    size_t done = 0;

    while (done < t->len) {
        ssize_t n = write(STDOUT_FILENO, t->data + done, t->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EPIPE ? EXIT_FAILED
                                  : fail("cannot write: %s", strerror(errno));
        done += (size_t)n;
    }
    text_clear(t);
    return EXIT_OK;
}

/* ---- JSON strings -------------------------------------------------------- */

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether one of 8 bytes must be escaped: below 0x20, a quote, a backslash.
 * (x - n) & ~x sets the top bit of each byte of x that is below n, and of no
 * other up to the first such byte, for n of at most 0x80. */
static bool has_escape(const char *data)
{
    uint64_t w, quote, slash;

    memcpy(&w, data, sizeof(w));
    quote = w ^ EACH('"');
    slash = w ^ EACH('\\');
    return (((w - EACH(0x20)) & ~w) | ((quote - EACH(1)) & ~quote) |
            ((slash - EACH(1)) & ~slash)) &
           EACH(0x80);
}

/* How many bytes from the start stand for themselves. */
static size_t plain_run(const char *data, size_t len)
{
    size_t i = 0;

    while (len - i >= 8 && !has_escape(data + i))
        i += 8;
    while (i < len && (unsigned char)data[i] >= 0x20 && data[i] != '"' &&
           data[i] != '\\')
        i++;
    return i;
}

static void add_escape(text *t, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "btn\0fr"; /* for 8 to 13; 11 has none */
    char              out[6] = {'\\', (char)c};

    if (c >= 8 && c <= 13 && c != 11)
        out[1] = shorts[c - 8];
    if (c < 0x20 && out[1] == (char)c) {
        memcpy(out, "\\u00", 4);
        out[4] = hex[c >> 4];
        out[5] = hex[c & 15];
        text_add(t, out, 6);
    } else {
        text_add(t, out, 2);
    }
}

void text_add_json(text *t, const char *data, size_t len)
{
    text_reserve(t, len + 2);
    text_add(t, "\"", 1);
    while (len > 0) {
        size_t run = plain_run(data, len);

        text_add(t, data, run);
        data += run;
        len -= run;
        if (len > 0) {
            add_escape(t, (unsigned char)*data++);
            len--;
        }
    }
    text_add(t, "\"", 1);
}

void text_add_event(text *t, const sse_item *event)
{
    text_add_string(t, "{\"type\":");
    text_add_json(t, event->type, event->type_len);
    text_add_string(t, ",\"data\":");
    text_add_json(t, event->data, event->data_len);
    text_add_string(t, ",\"lastEventId\":");
    text_add_json(t, event->id, event->id_len);
    text_add_string(t, "}\n");
}

/* ---- UTF-8 --------------------------------------------------------------- */

/* How long the sequence is that `lead` begins, 0 when it begins none, and the
 * bounds of its second byte: table 3-7 of the Unicode standard. */
static size_t sequence(unsigned char lead, unsigned char *low,
                       unsigned char *high)
{
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return lead < 0x80                  ? 1
           : lead < 0xc2 || lead > 0xf4 ? 0
           : lead < 0xe0                ? 2
           : lead < 0xf0                ? 3
                                        : 4;
}

/* Bytes of the sequence at `s` that are right: all of them, or those that one
 * U+FFFD takes the place of. */
static size_t take_sequence(const unsigned char *s, size_t len, bool *whole)
{
    unsigned char low, high;
    size_t        want = sequence(s[0], &low, &high);
    size_t        have = 1;

    while (have < want && have < len && s[have] >= low && s[have] <= high) {
        low = 0x80;
        high = 0xbf;
        have++;
    }
    *whole = have == want;
    return have;
}

void text_add_utf8(text *t, const char *data, size_t len)
{
    const unsigned char *s = (const unsigned char *)data;
    size_t               from = 0;
    size_t               at = 0;
    bool                 whole;

    while (at < len) {
        size_t n = take_sequence(s + at, len - at, &whole);

        if (!whole) {
            text_add(t, data + from, at - from);
            text_add(t, "\xef\xbf\xbd", 3);
            from = at + n;
        }
        at += n;
    }
    text_add(t, data + from, len - from);
}

/* Length of the control character at `s`: ASCII's, or one of U+0080 to U+009F,
 * which some terminals obey as well. 0 when there is none. */
static size_t control(const unsigned char *s)
{
    if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f)
        return 2;
    return s[0] < 0x20 || s[0] == 0x7f;
}

void text_add_printable(text *t, const char *string)
{
    text clean = {0};

    text_add_utf8(&clean, string, strlen(string));
    for (size_t i = 0, n; i < clean.len; i += n) {
        n = control((const unsigned char *)clean.data + i);
        text_add(t, n > 0 ? "?" : clean.data + i, 1);
        n = n > 0 ? n : 1;
    }
    text_free(&clean);
}
