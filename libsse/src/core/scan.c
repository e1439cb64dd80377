/* SPDX-License-Identifier: MIT */
/* scan.c - passes over text that look at many bytes at a time. */
#include "scan.h"

#include <string.h>

#define BLOCK 64

#if defined(__SSE2__) && !defined(SSE_NO_SIMD)

#include <emmintrin.h>

typedef __m128i chunk;

#define CHUNK sizeof(chunk)

static inline chunk load(const char *at)
{
    return _mm_loadu_si128((const chunk *)(const void *)at);
}

static inline chunk either(chunk a, chunk b)
{
    return _mm_or_si128(a, b);
}

static inline chunk equal(chunk c, char byte)
{
    return _mm_cmpeq_epi8(c, _mm_set1_epi8(byte));
}

/* Marks the bytes below 0x20. */
static inline chunk control(chunk c)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(c, _mm_set1_epi8(0x1f)), c);
}

/* One bit for each byte whose top bit is set. */
static inline uint64_t bits(chunk c)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(c);
}

#else

/* Eight bytes in a word, the first one lowest whatever the machine. A byte is
 * marked by its top bit. */
typedef uint64_t chunk;

#define CHUNK sizeof(chunk)
#define EACH(byte) ((byte)*UINT64_C(0x0101010101010101))

static inline chunk load(const char *at)
{
    chunk c;

    memcpy(&c, at, sizeof(c));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    c = __builtin_bswap64(c);
#endif
    return c;
}

static inline chunk either(chunk a, chunk b)
{
    return a | b;
}

static inline chunk equal(chunk c, char byte)
{
    c ^= EACH((unsigned char)byte);
    return ~(((c & EACH(0x7f)) + EACH(0x7f)) | c) & EACH(0x80);
}

/* Marks the bytes below 0x20. */
static inline chunk control(chunk c)
{
    return equal(c & EACH(0xe0), 0);
}

/* One bit for each byte whose top bit is set. */
static inline uint64_t bits(chunk c)
{
    return ((c & EACH(0x80)) >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

#endif

static inline chunk line_end(chunk c)
{
    return either(equal(c, '\n'), equal(c, '\r'));
}

static inline chunk not_ascii(chunk c)
{
    return c;
}

static inline chunk not_plain(chunk c)
{
    return either(control(c), either(equal(c, '"'), equal(c, '\\')));
}

/* What `mark` marks in the next `len` bytes, fewer than a chunk. */
static inline uint64_t bits_of_rest(const char *text, size_t len,
                                    chunk (*mark)(chunk))
{
    char rest[CHUNK] = {0};

    memcpy(rest, text, len);
    return bits(mark(load(rest))) & ((UINT64_C(1) << len) - 1);
}

/* The length of what stands in front of the first byte that `mark` marks. */
static inline size_t scan(const char *text, size_t len, chunk (*mark)(chunk))
{
    size_t   at = 0;
    uint64_t found;

    for (; len - at >= CHUNK; at += CHUNK) {
        found = bits(mark(load(text + at)));
        if (found)
            return at + (size_t)__builtin_ctzll(found);
    }
    if (at == len)
        return len;
    found = bits_of_rest(text + at, len - at, mark);
    return found ? at + (size_t)__builtin_ctzll(found) : len;
}

size_t sse__scan_line(const char *text, size_t len)
{
    return scan(text, len, line_end);
}

size_t sse__scan_ascii(const char *text, size_t len)
{
    return scan(text, len, not_ascii);
}

size_t sse__scan_plain(const char *text, size_t len)
{
    return scan(text, len, not_plain);
}

void sse__scan_init(sse__scan *s, const char *text, size_t len)
{
    *s = (sse__scan){
        .line = text, .block = text, .next = text, .end = text + len};
}

/* Looks at the block of bytes at `at` and fills the masks if a line ends in
 * it. Most blocks of a long line need no masks. */
static inline bool look(sse__scan *s, const char *at)
{
    chunk text[BLOCK / CHUNK], ends[BLOCK / CHUNK];
    chunk any = load(at), any_end = line_end(any);

    text[0] = any;
    ends[0] = any_end;
#pragma GCC unroll 8
    for (unsigned i = 1; i < BLOCK / CHUNK; i++) {
        text[i] = load(at + i * CHUNK);
        ends[i] = line_end(text[i]);
        any = either(any, text[i]);
        any_end = either(any_end, ends[i]);
    }
    if (!bits(any_end)) {
        s->wide |= bits(not_ascii(any)) != 0;
        return false;
    }
#pragma GCC unroll 8
    for (unsigned i = 0; i < BLOCK / CHUNK; i++) {
        s->ends |= bits(ends[i]) << (i * CHUNK);
        s->high |= bits(not_ascii(text[i])) << (i * CHUNK);
    }
    return true;
}

bool sse__scan_block(sse__scan *s)
{
    char   last[BLOCK] = {0};
    size_t rest;

    s->wide |= s->high != 0;
    s->high = 0;
    while (s->end - s->next >= BLOCK) {
        s->block = s->next;
        s->next += BLOCK;
        if (look(s, s->block))
            return true;
    }
    rest = (size_t)(s->end - s->next);
    if (rest == 0)
        return false;
    s->block = s->next;
    s->next = s->end;
    memcpy(last, s->block, rest);
    return look(s, last);
}
