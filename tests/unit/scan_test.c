/* SPDX-License-Identifier: MIT */
/* scan_test.c - the scanner, as built and in portable C, against plain loops.
 */
#include "support.h"

#include <string.h>

#include "scan.h"

#ifndef SSE_NO_SIMD
#define SSE_NO_SIMD
#endif
#define sse__scan_line portable_scan_line
#define sse__scan_ascii portable_scan_ascii
#define sse__scan_plain portable_scan_plain
#define sse__scan_init portable_scan_init
#define sse__scan_block portable_scan_block
size_t portable_scan_line(const char *text, size_t len);
size_t portable_scan_ascii(const char *text, size_t len);
size_t portable_scan_plain(const char *text, size_t len);
void   portable_scan_init(sse__scan *s, const char *text, size_t len);
bool   portable_scan_block(sse__scan *s);
#include "scan.c"
#undef sse__scan_line
#undef sse__scan_ascii
#undef sse__scan_plain
#undef sse__scan_init
#undef sse__scan_block

enum { LONGEST = 200 };

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

static bool is_not_ascii(char c)
{
    return (unsigned char)c >= 0x80;
}

static bool is_not_plain(char c)
{
    return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

typedef struct scanner {
    size_t (*scan)(const char *text, size_t len);
    bool (*stops)(char c);
} scanner;

static const scanner scanners[] = {
    {sse__scan_line, is_line_end},   {portable_scan_line, is_line_end},
    {sse__scan_ascii, is_not_ascii}, {portable_scan_ascii, is_not_ascii},
    {sse__scan_plain, is_not_plain}, {portable_scan_plain, is_not_plain},
};

/* Every byte, at every place of every length up to a few looks. */
static void stops_at_the_right_byte(void **state)
{
    char text[70];

    (void)state;
    for (size_t i = 0; i < sizeof(scanners) / sizeof(scanners[0]); i++)
        for (int c = 0; c < 256; c++)
            for (size_t len = 1; len < sizeof(text); len += 3) {
                size_t at = ((size_t)c * 7 + len) % len;
                bool   stops = scanners[i].stops((char)c);

                memset(text, 'x', len);
                text[at] = (char)c;
                assert_int_equal(scanners[i].scan(guarded(text, len), len),
                                 stops ? at : len);
            }
}

static void scans_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(scanners) / sizeof(scanners[0]); i++)
        assert_int_equal(scanners[i].scan(NULL, 0), 0);
}

static uint32_t next_random(void)
{
    static uint32_t random = 1;

    random = random * 1664525 + 1013904223;
    return random >> 16;
}

/* Mostly plain, with long stretches of it, and what matters in between. */
static void fill(char *text, size_t len)
{
    uint32_t rarity = 2 + next_random() % 100;

    for (size_t i = 0; i < len; i++)
        text[i] = next_random() % rarity
                      ? 'x'
                      : "\n\r\n\r\x80\xff\x0b\x8d\x0c\x8a"[next_random() % 10];
}

/* sse__scan_next(), with the portable scanner when told so. */
static bool next_line(sse__scan *s, sse__line *line, bool portable)
{
    if (portable && s->ends == 0 && !portable_scan_block(s))
        return false;
    return sse__scan_next(s, line);
}

static void walk(const char *text, size_t len, bool portable)
{
    const char *at = text, *end = text + len;
    sse__scan   s;
    sse__line   line;

    (portable ? portable_scan_init : sse__scan_init)(&s, text, len);
    while (next_line(&s, &line, portable)) {
        bool wide = false;

        assert_ptr_equal(line.text, at);
        for (; at < line.text + line.len; at++) {
            assert_false(is_line_end(*at));
            wide |= is_not_ascii(*at);
        }
        assert_true(is_line_end(*at));
        assert_int_equal(line.wide, wide);
        at++;
    }
    assert_ptr_equal(s.line, at);
    assert_int_equal(s.wide, sse__scan_ascii(at, (size_t)(end - at)) <
                                 (size_t)(end - at));
    for (; at < end; at++)
        assert_false(is_line_end(*at));
}

static void walks_over_lines(void **state)
{
    char text[LONGEST];

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t len = next_random() % LONGEST;

        fill(text, len);
        walk(guarded(text, len), len, false);
        walk(guarded(text, len), len, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_at_the_right_byte),
        cmocka_unit_test(scans_nothing),
        cmocka_unit_test(walks_over_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
