/* SPDX-License-Identifier: MIT */
/* id.c - event ids, "<seq>-<tag>", and the cursors that readers send back. */
#include "id.h"

#include <string.h>

#define FNV1A_PRIME 16777619u
#define MAX_CURSOR_SEQ UINT64_C(100000000000000)
#define MAX_CURSOR_DIGITS 15 /* of that number */
#define TAG_DIGITS 8

uint32_t sse__fnv1a(uint32_t hash, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * FNV1A_PRIME;
    return hash;
}

static char *put_seq(char *at, uint64_t seq)
{
    char   digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + seq % 10);
        seq /= 10;
    } while (seq > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

static char *put_tag(char *at, uint32_t tag)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[tag >> shift & 15];
    return at;
}

void sse__id_make(sse_event_id *out, uint64_t seq, uint32_t tag,
                  uint32_t format)
{
    char *end;

    *out = (sse_event_id){.seq = seq, .tag = tag};
    end = put_seq(out->text, seq);
    if (format == SSE_ID_TAGGED) {
        *end++ = '-';
        end = put_tag(end, tag);
    }
    out->text_len = (uint32_t)(end - out->text);
}

/* The length of the number in front of `text`; 0 when it is none, begins with
 * 0 or is too large. */
static size_t parse_seq(const char *text, size_t len, uint64_t *out)
{
    size_t i = 0;

    *out = 0;
    while (i < len && i < MAX_CURSOR_DIGITS && text[i] >= '0' && text[i] <= '9')
        *out = *out * 10 + (uint64_t)(text[i++] - '0');
    return *out > MAX_CURSOR_SEQ || (i > 0 && text[0] == '0') ? 0 : i;
}

static bool parse_tag(const char *text, size_t len, uint32_t *out)
{
    if (len != TAG_DIGITS)
        return false;
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        char     c = text[i];
        uint32_t digit;

        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a' + 10);
        else
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

int sse__cursor_parse(sse__cursor *out, const char *text, size_t len)
{
    size_t digits;

    *out = (sse__cursor){.kind = SSE__CURSOR_START};
    if (len == 0 || (len == 1 && text[0] == '0'))
        return SSE_OK;
    if (len == 1 && text[0] == '$') {
        out->kind = SSE__CURSOR_NEW;
        return SSE_OK;
    }
    digits = parse_seq(text, len, &out->seq);
    if (digits == 0)
        return SSE_ERR_CURSOR;
    out->kind = SSE__CURSOR_AFTER;
    if (digits == len)
        return SSE_OK;
    out->tagged = true;
    if (text[digits] != '-' ||
        !parse_tag(text + digits + 1, len - digits - 1, &out->tag))
        return SSE_ERR_CURSOR;
    return SSE_OK;
}

static bool stream_id_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || (c != '\0' && strchr("._~:@+-", c));
}

bool sse__stream_id_valid(const char *id, size_t len)
{
    if (len < 1 || len > 255)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!stream_id_char(id[i]))
            return false;
    return true;
}
