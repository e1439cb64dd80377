/* SPDX-License-Identifier: MIT */
/* utf8_test.c - valid, broken, cut and repaired. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "utf8.h"

#define FFFD "\xef\xbf\xbd"

/* The Encoding standard's decoder: a U+FFFD for each maximal broken part. */
static const struct {
    const char *text, *repaired;
} broken[] = {
    {"\x80", FFFD},
    {"\xff", FFFD},
    {"\xc0\xaf", FFFD FFFD},
    {"\xc1\xbf", FFFD FFFD},
    {"\xe0\x80\xaf", FFFD FFFD FFFD},
    {"\xe0\x9f\xbf", FFFD FFFD FFFD},
    {"\xed\xa0\x80", FFFD FFFD FFFD},
    {"\xf0\x8f\xbf\xbf", FFFD FFFD FFFD FFFD},
    {"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD},
    {"\xf5\x80\x80\x80", FFFD FFFD FFFD FFFD},
    {"\xe2\x80", FFFD},
    {"\xf0\x9f\x98", FFFD},
    {"\xf0\x9f\x98x", FFFD "x"},
    {"\xf0\x9f\xc3\xa9", FFFD "\xc3\xa9"},
    {"a\xe2\x80z\xe2\x80\xa6\xc3", "a" FFFD "z\xe2\x80\xa6" FFFD},
    {"\xe2\xe2\x80\xa6", FFFD "\xe2\x80\xa6"},
    {"\xf1\x80\x80\xe1\x80\xc2z", FFFD FFFD FFFD "z"},
    {"long and plain and then broken \xc3(",
     "long and plain and then broken " FFFD "("},
};

static const char *const valid[] = {
    "",
    "plain",
    "\x7f",
    "\xc2\x80",
    "\xdf\xbf",
    "\xe0\xa0\x80",
    "\xed\x9f\xbf",
    "\xee\x80\x80",
    "\xef\xbf\xbf",
    "\xf0\x90\x80\x80",
    "\xf4\x8f\xbf\xbf",
    "sixteen bytes ..\xe2\x80\xa6 and sixteen more \xf0\x9f\x98\x80.",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* In pieces of every size. */
static bool valid_in_pieces(const char *text, size_t step)
{
    size_t    len = strlen(text);
    bool      good = true;
    sse__utf8 u;

    sse__utf8_init(&u);
    for (size_t at = 0; at < len && good; at += step) {
        size_t piece = len - at < step ? len - at : step;

        good = sse__utf8_feed(&u, guarded(text + at, piece), piece);
    }
    return good && sse__utf8_done(&u);
}

static void tells_valid_from_broken(void **state)
{
    (void)state;
    assert_true(sse__utf8_valid(NULL, 0));
    assert_true(sse__utf8_valid("a\0b", 3));
    for (size_t i = 0; i < COUNT(valid); i++)
        for (size_t step = 1; step <= strlen(valid[i]) + 1; step++)
            assert_true(valid_in_pieces(valid[i], step));
    for (size_t i = 0; i < COUNT(broken); i++)
        for (size_t step = 1; step <= strlen(broken[i].text); step++)
            assert_false(valid_in_pieces(broken[i].text, step));
}

/* Every sequence of one to three bytes, by the definition: it is valid when
 * it is what its own code points would be written as. */
static size_t write_code(uint32_t code, unsigned char *out)
{
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xc0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    out[0] = (unsigned char)(0xe0 | code >> 12);
    out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (unsigned char)(0x80 | (code & 0x3f));
    return 3;
}

static void knows_every_short_sequence(void **state)
{
    static unsigned char known[1 << 24];

    (void)state;
    for (uint32_t code = 0; code < 0x10000; code++) {
        unsigned char bytes[3] = {0};
        size_t        len = write_code(code, bytes);

        if (len > 1 && (code < 0xd800 || code > 0xdfff))
            known[bytes[0] << 16 | bytes[1] << 8 | bytes[2]] = (uint8_t)len;
    }
    for (uint32_t n = 0x800000; n < 0x1000000; n++) {
        unsigned char bytes[3] = {(unsigned char)(n >> 16),
                                  (unsigned char)(n >> 8), (unsigned char)n};

        if ((n & 0xff) == 0)
            assert_int_equal(sse__utf8_valid(bytes, 2), known[n] == 2);
        assert_int_equal(sse__utf8_valid(bytes, 3),
                         known[n] == 3 ||
                             (bytes[2] < 0x80 && known[n & 0xffff00] == 2));
    }
}

static void repairs(void)
{
    sse__buf b;

    sse__buf_init(&b, 1000);
    OK(sse__utf8_repair(&b, NULL, 0));
    for (size_t i = 0; i < COUNT(broken); i++) {
        size_t len = strlen(broken[i].text);

        b.len = 0;
        OK(sse__buf_add_str(&b, "<")); /* it adds, it does not replace */
        OK(sse__utf8_repair(&b, guarded(broken[i].text, len), len));
        assert_int_equal(b.len, 1 + strlen(broken[i].repaired));
        assert_memory_equal(b.data + 1, broken[i].repaired, b.len - 1);
    }
    sse__buf_free(&b);
}

static void leaves_valid_text_alone(void)
{
    sse__buf b;

    sse__buf_init(&b, 1000);
    for (size_t i = 0; i < COUNT(valid); i++) {
        b.len = 0;
        OK(sse__utf8_repair(&b, valid[i], strlen(valid[i])));
        assert_buf(&b, valid[i], strlen(valid[i]));
    }
    sse__buf_free(&b);
}

static void repair_is_all_or_nothing(void)
{
    sse__buf b;

    sse__buf_init(&b, 8);
    OK(sse__buf_add_str(&b, "ab"));
    assert_int_equal(sse__utf8_repair(&b, "c\xff\xff", 3), SSE_ERR_TOO_BIG);
    assert_buf_str(&b, "ab");
    OK(sse__utf8_repair(&b, "\xff\xff", 2));
    assert_buf_str(&b, "ab" FFFD FFFD);
    sse__buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_valid_from_broken),
        cmocka_unit_test(knows_every_short_sequence),
        FAIL_ALLOC_TEST(repairs),
        FAIL_ALLOC_TEST(leaves_valid_text_alone),
        FAIL_ALLOC_TEST(repair_is_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
