/* SPDX-License-Identifier: MIT */
/* json.c - just enough JSON (RFC 8259) for an event's data. */
#include "json.h"

#include <stdint.h>
#include <string.h>

#include "scan.h"
#include "sse.h"
#include "utf8.h"

#define MAX_DEPTH 512
#define MAX_UTF8 4

typedef struct reader {
    const char *at;
    const char *end;
    unsigned    depth;                   /* containers that are open        */
    uint64_t    objects[MAX_DEPTH / 64]; /* a bit for each: is it an object */
} reader;

/* The next byte, or 0 at the end, which no rule below accepts. */
static char peek(const reader *r)
{
    return r->at < r->end ? *r->at : '\0';
}

static bool take(reader *r, char c)
{
    if (peek(r) != c)
        return false;
    r->at++;
    return true;
}

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' ||
                              *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What follows a backslash. */
static bool skip_escape(reader *r)
{
    if (!take(r, 'u')) {
        if (peek(r) == '\0' || !strchr("\"\\/bfnrt", *r->at))
            return false;
        r->at++;
        return true;
    }
    for (int i = 0; i < 4; i++, r->at++)
        if (hex_digit(peek(r)) < 0)
            return false;
    return true;
}

static bool skip_string(reader *r)
{
    const char *start = r->at;

    if (!take(r, '"'))
        return false;
    for (;;) {
        r->at += sse__scan_plain(r->at, (size_t)(r->end - r->at));
        if (take(r, '"'))
            return sse__utf8_valid(start, (size_t)(r->at - start));
        if (!take(r, '\\') || !skip_escape(r))
            return false;
    }
}

static bool skip_digits(reader *r)
{
    const char *start = r->at;

    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at > start;
}

static bool skip_number(reader *r)
{
    take(r, '-');
    if (!take(r, '0') && !skip_digits(r))
        return false;
    if (take(r, '.') && !skip_digits(r))
        return false;
    if (!take(r, 'e') && !take(r, 'E'))
        return true;
    if (!take(r, '+'))
        take(r, '-');
    return skip_digits(r);
}

static bool skip_word(reader *r, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool skip_scalar(reader *r)
{
    switch (peek(r)) {
    case '"': return skip_string(r);
    case 't': return skip_word(r, "true");
    case 'f': return skip_word(r, "false");
    case 'n': return skip_word(r, "null");
    default: return skip_number(r);
    }
}

static bool in_object(const reader *r)
{
    unsigned top = r->depth - 1;

    return r->objects[top / 64] >> top % 64 & 1;
}

static bool push(reader *r, bool object)
{
    uint64_t bit;

    if (r->depth == MAX_DEPTH)
        return false;
    bit = UINT64_C(1) << r->depth % 64;
    if (object)
        r->objects[r->depth / 64] |= bit;
    else
        r->objects[r->depth / 64] &= ~bit;
    r->depth++;
    return true;
}

/* From in front of a key to in front of its value. */
static bool skip_key(reader *r)
{
    skip_space(r);
    if (!skip_string(r))
        return false;
    skip_space(r);
    return take(r, ':');
}

/* Goes into containers until it has skipped a scalar or an empty one. */
static bool skip_first(reader *r)
{
    for (;;) {
        bool object;

        skip_space(r);
        object = take(r, '{');
        if (!object && !take(r, '['))
            return skip_scalar(r);
        if (!push(r, object))
            return false;
        skip_space(r);
        if (take(r, object ? '}' : ']')) {
            r->depth--;
            return true;
        }
        if (object && !skip_key(r))
            return false;
    }
}

/* Leaves the containers that end behind a value. True in front of the next
 * value, or at depth 0. */
static bool skip_ends(reader *r)
{
    while (r->depth > 0) {
        bool object = in_object(r);

        skip_space(r);
        if (take(r, ','))
            return !object || skip_key(r);
        if (!take(r, object ? '}' : ']'))
            return false;
        r->depth--;
    }
    return true;
}

size_t sse__json_scan(const char *text, size_t len)
{
    reader r = {.at = text};

    if (len == 0 || sse__json_space(text, len) > 0)
        return 0;
    r.end = text + len;
    do
        if (!skip_first(&r) || !skip_ends(&r))
            return 0;
    while (r.depth > 0);
    return (size_t)(r.at - text);
}

size_t sse__json_space(const char *text, size_t len)
{
    reader r = {.at = text, .end = text + len};

    skip_space(&r);
    return (size_t)(r.at - text);
}

static uint32_t hex_number(const char *at)
{
    uint32_t number = 0;

    for (int i = 0; i < 4; i++)
        number = number << 4 | (uint32_t)hex_digit(at[i]);
    return number;
}

static size_t put_utf8(char *out, uint32_t code)
{
    size_t   len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    uint32_t mark = len == 1 ? 0 : 0xf00u >> len & 0xff;

    for (size_t i = len - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(mark | code);
    return len;
}

/* The code point of a \u escape, whose digits begin at `*at`; of two escapes
 * where they are a pair of surrogates. */
static uint32_t unescape_code(const char **at, const char *end)
{
    uint32_t code = hex_number(*at), low;

    *at += 4;
    if (code < 0xd800 || code > 0xdfff)
        return code;
    if (code < 0xdc00 && end - *at >= 6 && memcmp(*at, "\\u", 2) == 0) {
        low = hex_number(*at + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *at += 6;
            return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

/* What an escape stands for; `*at` is behind its backslash, and then behind
 * the escape. Returns the number of bytes. */
static size_t unescape(const char **at, const char *end, char *out)
{
    char c = *(*at)++;

    switch (c) {
    case 'b': *out = '\b'; return 1;
    case 'f': *out = '\f'; return 1;
    case 'n': *out = '\n'; return 1;
    case 'r': *out = '\r'; return 1;
    case 't': *out = '\t'; return 1;
    case 'u': return put_utf8(out, unescape_code(at, end));
    default: *out = c; return 1;
    }
}

/* Length of the text in front of the first backslash. */
static size_t unescaped(const char *text, size_t len)
{
    const char *found = memchr(text, '\\', len);

    return found ? (size_t)(found - text) : len;
}

bool sse__json_is_text(const char *text, size_t len)
{
    const char *at = text + 1, *end = text + len - 1;

    for (at += unescaped(at, (size_t)(end - at)); at < end;
         at += unescaped(at, (size_t)(end - at))) {
        at++;
        if (*at++ != 'u')
            continue;
        if (hex_number(at) == 0xfffd)
            at += 4;
        else if (unescape_code(&at, end) == 0xfffd)
            return false;
    }
    return true;
}

static int add_unquoted(sse__buf *out, const char *at, const char *end)
{
    for (;;) {
        char   decoded[MAX_UTF8];
        size_t len = unescaped(at, (size_t)(end - at));
        int    rc = sse__buf_add(out, at, len);

        at += len;
        if (rc < 0 || at == end)
            return rc;
        at++;
        len = unescape(&at, end, decoded);
        rc = sse__buf_add(out, decoded, len);
        if (rc < 0)
            return rc;
    }
}

int sse__json_unquote(sse__buf *out, const char *text, size_t len)
{
    size_t old_len = out->len;
    int    rc = add_unquoted(out, text + 1, text + len - 1);

    if (rc < 0)
        out->len = old_len;
    return rc;
}

/* Adds the escape of a byte that is not plain. */
static int add_escape(sse__buf *out, unsigned char c)
{
    static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    char              hex[6] = "\\u00";

    for (const char *at = letters; *at; at += 2)
        if (*at == (char)c)
            return sse__buf_add(out, (char[]){'\\', at[1]}, 2);
    hex[4] = (char)('0' + (c >> 4));
    hex[5] = "0123456789abcdef"[c & 15];
    return sse__buf_add(out, hex, sizeof(hex));
}

static int add_quoted(sse__buf *out, const char *text, size_t len)
{
    int rc = sse__buf_add(out, "\"", 1);

    while (rc == SSE_OK) {
        size_t plain = sse__scan_plain(text, len);

        rc = sse__buf_add(out, text, plain);
        if (rc < 0 || plain == len)
            break;
        rc = add_escape(out, (unsigned char)text[plain]);
        text += plain + 1;
        len -= plain + 1;
    }
    return rc == SSE_OK ? sse__buf_add(out, "\"", 1) : rc;
}

int sse__json_quote(sse__buf *out, const char *text, size_t len)
{
    size_t old_len = out->len;
    int    rc = add_quoted(out, text, len);

    if (rc < 0)
        out->len = old_len;
    return rc;
}

static sse__json_slice slice(const char *from, const char *to)
{
    return (sse__json_slice){from, (size_t)(to - from)};
}

int sse__json_member(const char **at, const char *end, sse__json_slice *key,
                     sse__json_slice *value)
{
    reader      r = {.at = *at, .end = end};
    bool        first = (*at)[-1] == '{'; /* no value ends with one */
    const char *start;
    size_t      len;

    skip_space(&r);
    if (take(&r, '}')) {
        *at = r.at;
        return 0;
    }
    if (!first && !take(&r, ','))
        return SSE_ERR_INVAL;
    skip_space(&r);
    start = r.at;
    if (!skip_string(&r))
        return SSE_ERR_INVAL;
    *key = slice(start, r.at);
    skip_space(&r);
    if (!take(&r, ':'))
        return SSE_ERR_INVAL;
    skip_space(&r);
    len = sse__json_scan(r.at, (size_t)(end - r.at));
    *value = slice(r.at, r.at + len);
    *at = r.at + len;
    return len > 0 ? 1 : SSE_ERR_INVAL;
}

bool sse__json_is_key(sse__json_slice key, const char *name)
{
    const char *at = key.text + 1, *end = key.text + key.len - 1;
    size_t      left = strlen(name);

    while (at < end) {
        char   decoded[MAX_UTF8];
        size_t len = 1;

        if (*at != '\\') {
            decoded[0] = *at++;
        } else {
            at++;
            len = unescape(&at, end, decoded);
        }
        if (len > left || memcmp(decoded, name, len) != 0)
            return false;
        name += len;
        left -= len;
    }
    return left == 0;
}
