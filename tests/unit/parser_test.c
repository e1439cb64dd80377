/* SPDX-License-Identifier: MIT */
/* parser_test.c - event streams, whole and in pieces of every size. */
#include "support.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"

#define FFFD "\xef\xbf\xbd"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const sse_parser_options everything = {
    .size = sizeof(everything),
    .flags = SSE_PARSER_COMMENTS | SSE_PARSER_RETRY,
};

/* Demands the same transcript at every size of pieces; at a few, when it is
 * run again for each allocation. */
static void expect_len(const sse_parser_options *opts, const char *seed,
                       const char *input, size_t len, const char *text,
                       size_t text_len, const char *last_id)
{
    static transcript t;

    for (size_t step = 1; step <= len; step++) {
        if (fail_alloc_planned() && step > 3 && step < len)
            continue;
        replay(&t, opts, seed, input, len, step);
        assert_int_equal(t.len, text_len);
        assert_memory_equal(t.text, text, text_len);
        assert_int_equal(t.last_id_len, strlen(last_id));
        assert_memory_equal(t.last_id, last_id, t.last_id_len);
    }
}

#define EXPECT(input, text, last_id) \
    expect_len(&everything, NULL, input, sizeof(input) - 1, text, \
               sizeof(text) - 1, last_id)

static void finds_events(void)
{
    EXPECT("data: a\n\n", "event message|a|\n", "");
    EXPECT("data:a\n\ndata:  b\n\ndata\n\ndata:\n\n",
           "event message|a|\nevent message| b|\nevent message||\n"
           "event message||\n",
           "");
    EXPECT("event: t\nid: 1\ndata: a\n\ndata: b\n\n",
           "event t|a|1\nevent message|b|1\n", "1");
    EXPECT("data: a\nevent: t\ndata: b\nevent: u\n\n", "event u|a\nb|\n", "");
    EXPECT("event: t\nevent:\ndata: a\n\n", "event message|a|\n", "");
    EXPECT("data: a\0b\n\n", "event message|a\0b|\n", "");
    EXPECT("data: no blank line\n", "", "");
    EXPECT("data: no line end", "", "");
    EXPECT("\n\n\n", "", "");
    EXPECT("event: t\n\ndata: a\n\n", "event message|a|\n", "");
}

static void joins_lines_of_data(void)
{
    EXPECT("data: a\ndata: bc\n\n", "event message|a\nbc|\n", "");
    EXPECT("data\ndata\ndata\n\n", "event message|\n\n|\n", "");
    EXPECT("data: a\ndata\n\ndata: c\ndata: d\n\n",
           "event message|a\n|\nevent message|c\nd|\n", "");
    EXPECT("data\nid: 1\ndata: b\ndata: \nevent: t\ndata: d\n\n",
           "event t|\nb\n\nd|1\n", "1");
}

static void knows_the_names_of_fields(void)
{
    EXPECT("Data: a\ndata : b\n data: c\ndat: d\ndata2: e\ndatum\n"
           "x\nx: y\n\n",
           "", "");
    EXPECT("idx: 1\nid : 1\ni: 1\nevents: a\neven: b\nretry2: 5\nretr: 5\n"
           "data: a\n\n",
           "event message|a|\n", "");
    EXPECT("a very long line that is no field at all: data: x\n"
           "data: a\nanother one without a colon in it\n\n",
           "event message|a|\n", "");
    EXPECT("data\0: a\n\0data: b\ndata: c\n\n", "event message|c|\n", "");
}

/* Too many mixtures to fail each allocation of each. */
static void ends_lines_three_ways(void **state)
{
    static const char *const ends[] = {"\n", "\r", "\r\n"};
    static const char *const parts[] = {"id: 1", "data: a", "data",
                                        "",      "data: c", ""};

    (void)state;
    for (unsigned mix = 0; mix < 729; mix++) {
        char     input[100];
        size_t   len = 0;
        unsigned choice = mix;
        bool     merged = false; /* CR, then LF: one end, not two */

        for (size_t i = 0; i < COUNT(parts); i++, choice /= 3) {
            const char *end = ends[choice % 3];

            merged |= len > 0 && input[len - 1] == '\r' && *end == '\n' &&
                      *parts[i] == '\0';
            memcpy(input + len, parts[i], strlen(parts[i]));
            len += strlen(parts[i]);
            memcpy(input + len, end, strlen(end));
            len += strlen(end);
        }
        if (!merged)
            expect_len(NULL, NULL, input, len,
                       "event message|a\n|1\nevent message|c|1\n", 37, "1");
    }
}

/* The event is there as soon as its CR is, not with the next byte. */
static void does_not_wait_for_lf(void)
{
    sse_parser     *p;
    const sse_item *item;

    OK(sse_parser_new(NULL, &p));
    assert_int_equal(sse_parser_feed(p, "data: a\r\r", 9), 0);
    assert_int_equal(sse_parser_next(p, &item), 1);
    assert_memory_equal(item->data, "a", 1);
    assert_int_equal(sse_parser_next(p, &item), 0);
    assert_int_equal(sse_parser_feed(p, "\ndata: b\r\n\r", 11), 0);
    assert_int_equal(sse_parser_next(p, &item), 1);
    assert_memory_equal(item->data, "b", 1);
    assert_int_equal(sse_parser_next(p, &item), 0);
    sse_parser_free(p);
}

static void an_lf_far_behind_a_cr_is_its_own(void)
{
    EXPECT("x\rx\n\ndata: a\n\n", "event message|a|\n", "");
    EXPECT("data: a\rdata\n\r", "event message|a\n|\n", "");
    EXPECT("data: a\r\n\r\n\n\rdata: b\r\r\n",
           "event message|a|\n"
           "event message|b|\n",
           "");
}

static void skips_one_byte_order_mark(void)
{
    EXPECT("\xef\xbb\xbf"
           "data: a\n\n",
           "event message|a|\n", "");
    EXPECT("\xef\xbb\xbf\xef\xbb\xbf"
           "data: a\ndata: b\n\n",
           "event message|b|\n", "");
    EXPECT("data: a\n\xef\xbb\xbf"
           "data: b\n\n",
           "event message|a|\n", "");
    EXPECT("\xef\xbb"
           "data: a\ndata: b\n\n",
           "event message|b|\n", "");
    EXPECT("\xef"
           "\ndata: b\n\n",
           "event message|b|\n", "");
    EXPECT("\xef\xbb\xbf\n\ndata: b\n\n", "event message|b|\n", "");
    EXPECT("\xef\xbb\xbf", "", "");
    EXPECT("\xef\xbb\xbf\0data: a\ndata: b\n\n", "event message|b|\n", "");
    EXPECT("data: \xef\xbb\xbf\n\n", "event message|\xef\xbb\xbf|\n", "");
}

static void commits_ids_at_blank_lines(void)
{
    EXPECT("id: 1\n\n", "", "1");
    EXPECT("id: 1\n", "", "");
    EXPECT("id: 1\ndata: a\n\nid: 2\ndata: b\n", "event message|a|1\n", "1");
    EXPECT("id: 1\nid: 2\ndata: a\n\n", "event message|a|2\n", "2");
    EXPECT("id: 1\n\ndata: a\n\nid\n\ndata: b\n\n",
           "event message|a|1\nevent message|b|\n", "");
    EXPECT("id:  spaces \n\n", "", " spaces ");
    EXPECT("id: 1\n\nid: 2\0\ndata: a\n\n", "event message|a|1\n", "1");
    EXPECT("id: 2\nid: \0\ndata: a\n\n", "event message|a|2\n", "2");
    EXPECT("id: a long id, longer than the first\n\nid: short\n\ndata: a\n\n",
           "event message|a|short\n", "short");
}

static void reports_retry_when_its_line_ends(void)
{
    EXPECT("retry: 5\n", "retry 5\n", "");
    EXPECT("retry: 03000\ndata: a\nretry:7\n\n",
           "retry 3000\nretry 7\nevent message|a|\n", "");
    EXPECT("retry\nretry:\nretry: \nretry:  5\nretry: -1\nretry: 5x\n"
           "retry: +5\nretry: 5 \nretry: 1.5\n",
           "", "");
    EXPECT("retry: 2147483647\nretry: 2147483648\n"
           "retry: 99999999999999999999999999999999999999999999999999\n"
           "retry: 99999999999999999999999999999999999999999999999x\n",
           "retry 2147483647\nretry 2147483647\nretry 2147483647\n", "");
}

static void reports_comments(void)
{
    EXPECT(":a\n: b\n:\n", "comment a\ncomment  b\ncomment \n", "");
    EXPECT("data: a\n:c\ndata: b\n\n", "comment c\nevent message|a\nb|\n", "");
    EXPECT(":data: a\n:\0\n", "comment data: a\ncomment \0\n", "");
}

static void reports_only_what_it_was_asked_for(void)
{
    static const char input[] = ": c\nretry: 5\ndata: a\n: c\n\n";

    expect_len(NULL, NULL, input, sizeof(input) - 1, "event message|a|\n", 17,
               "");
}

static void repairs_utf8(void)
{
    EXPECT("data: \xff\n\n", "event message|" FFFD "|\n", "");
    EXPECT("data: a\xe2\x80\ndata: \xa6\n\n",
           "event message|a" FFFD "\n" FFFD "|\n", "");
    EXPECT("data: ok\ndata: \xf0\x9f\x98\xc3\xa9\ndata: \xe2\x80\xa6\n\n",
           "event message|ok\n" FFFD "\xc3\xa9\n\xe2\x80\xa6|\n", "");
    EXPECT("event: \xff\nid: \xfe\n:\xfd\ndata: x\n\n",
           "comment " FFFD "\nevent " FFFD "|x|" FFFD "\n", FFFD);
    EXPECT("data: \xe2\x80\xa6 and \xf0\x9f\x98\x80\nid: \xc3\xa9\n\n",
           "event message|\xe2\x80\xa6 and \xf0\x9f\x98\x80|\xc3\xa9\n",
           "\xc3\xa9");
    EXPECT("data: sixty-four bytes of plain text and then some, in front of "
           "\xe2\x80 what breaks\ndata: plain again\n\n",
           "event message|sixty-four bytes of plain text and then some, in "
           "front of " FFFD " what breaks\nplain again|\n",
           "");
    EXPECT("dat\xff: a\nd\xff\xff: b\ndata: c\n\n", "event message|c|\n", "");
}

static void takes_over_the_last_event_id(void)
{
    expect_len(NULL, "7", "data: a\n\nid: 8\ndata: b\n\n", 24,
               "event message|a|7\nevent message|b|8\n", 36, "8");
    expect_len(NULL, "7", "id\ndata: a\n\n", 12, "event message|a|\n", 17, "");
    expect_len(NULL, "7", "\n", 1, "", 0, "7");
}

static void feed(sse_parser *p, const char *text, const char *expected)
{
    static transcript t;
    const sse_item   *item;

    t.len = 0;
    OK(sse_parser_feed(p, text, strlen(text)));
    while (sse_parser_next(p, &item) > 0)
        transcribe(&t, item);
    assert_int_equal(t.len, strlen(expected));
    assert_memory_equal(t.text, expected, t.len);
}

/* Makes a parser whose memory is there already, so that no call fails. */
static sse_parser *warm_parser(void)
{
    static const char warm[] =
        "id: 0123456789\n\nid:9\nevent:e\ndata:a\ndata:b";
    sse_parser     *p;
    const sse_item *item;
    int             rc;

    for (;;) {
        OK(sse_parser_new(&everything, &p));
        assert_int_equal(sse_parser_feed(p, warm, sizeof(warm) - 1), 0);
        rc = sse_parser_next(p, &item);
        if (rc == 0)
            break;
        assert_true(fail_alloc_again(rc));
        sse_parser_free(p);
    }
    OK(sse_parser_reset(p, "", 0));
    return p;
}

static void reset_starts_a_new_body(void)
{
    sse_parser *p = warm_parser();
    const char *id;
    size_t      len;

    feed(p,
         "\xef\xbb\xbf"
         "id: 1\n\nevent: t\nid: 2\ndata: a\nda",
         "");
    OK(sse_parser_reset(p, NULL, 0));
    feed(p,
         "\xef\xbb\xbf"
         "data: b\n\n",
         "event message|b|1\n");
    feed(p,
         "\xef\xbb\xbf"
         "data: c\r",
         "");
    OK(sse_parser_reset(p, NULL, 0));
    feed(p, "\ndata: d\n\n\xef\xbb", "event message|d|1\n");
    OK(sse_parser_reset(p, "x\xe2\x80\xa6", 4));
    feed(p, "xdata: d\ndata: e\n\n", "event message|e|x\xe2\x80\xa6\n");
    OK(sse_parser_reset(p, "", 0));
    feed(p, "\xef", "");
    OK(sse_parser_reset(p, NULL, 0));
    feed(p, "data: f\n\n", "event message|f|\n");
    id = sse_parser_last_event_id(p, &len);
    assert_string_equal(id, "");
    assert_int_equal(len, 0);
    sse_parser_free(p);
}

static void reset_takes_any_good_id(void)
{
    char        longer[300];
    sse_parser *p;
    const char *id;
    size_t      len;

    memset(longer, 'i', sizeof(longer));
    OK(sse_parser_new(NULL, &p));
    OK(sse_parser_reset(p, "12", 2));
    assert_int_equal(sse_parser_reset(p, "a\n", 2), SSE_ERR_INVAL);
    assert_int_equal(sse_parser_reset(p, "a\r", 2), SSE_ERR_INVAL);
    assert_int_equal(sse_parser_reset(p, "a\0", 2), SSE_ERR_INVAL);
    assert_int_equal(sse_parser_reset(p, "\xff", 1), SSE_ERR_INVAL);
    id = sse_parser_last_event_id(p, &len);
    assert_int_equal(len, 2);
    OK(sse_parser_reset(p, id + 1, 1)); /* of its own id */
    id = sse_parser_last_event_id(p, &len);
    assert_int_equal(len, 1);
    assert_memory_equal(id, "2", 1);
    OK(sse_parser_reset(p, longer, sizeof(longer)));
    id = sse_parser_last_event_id(p, &len);
    assert_int_equal(len, sizeof(longer));
    assert_memory_equal(id, longer, len);
    sse_parser_free(p);
}

static void reset_may_abandon_a_feed(void)
{
    sse_parser     *p;
    const sse_item *item;
    char           *input = malloc(24);

    assert_non_null(input);
    memcpy(input, "id: 1\ndata: a\n\ndata: b\n\n", 24);
    OK(sse_parser_new(NULL, &p));
    assert_int_equal(sse_parser_feed(p, input, 24), 0);
    if (fail_alloc_again(sse_parser_next(p, &item))) {
        sse_parser_free(p);
        free(input);
        return;
    }
    memset(input, '!', 24);
    free(input);
    OK(sse_parser_reset(p, NULL, 0));
    assert_int_equal(sse_parser_feed(p, "data: c\n\n", 9), 0);
    assert_int_equal(sse_parser_next(p, &item), 1);
    assert_memory_equal(item->data, "c", 1);
    assert_memory_equal(item->id, "1", 1);
    sse_parser_free(p);
}

static void wants_to_be_drained(void)
{
    sse_parser     *p;
    const sse_item *item;

    OK(sse_parser_new(NULL, &p));
    assert_int_equal(sse_parser_next(p, &item), 0);
    assert_null(item);
    assert_int_equal(sse_parser_feed(p, "data: a\n\n", 9), 0);
    assert_int_equal(sse_parser_feed(p, "x", 1), SSE_ERR_INVAL);
    assert_int_equal(sse_parser_next(p, &item), 1);
    assert_int_equal(sse_parser_feed(p, "x", 1), SSE_ERR_INVAL);
    assert_int_equal(sse_parser_next(p, &item), 0);
    assert_null(item);
    assert_int_equal(sse_parser_next(p, &item), 0);
    assert_int_equal(sse_parser_feed(p, NULL, 0), 0);
    assert_int_equal(sse_parser_next(p, &item), 0);
    sse_parser_free(p);
}

static void does_not_copy_a_whole_line(void)
{
    static const char input[] = "event: t\ndata: a\n\n";
    sse_parser       *p;
    const sse_item   *item;

    OK(sse_parser_new(NULL, &p));
    assert_int_equal(sse_parser_feed(p, input, sizeof(input) - 1), 0);
    assert_int_equal(sse_parser_next(p, &item), 1);
    assert_ptr_equal(item->type, input + 7);
    assert_ptr_equal(item->data, input + 15);
    sse_parser_free(p);
}

static void *no_malloc(size_t size)
{
    (void)size;
    return NULL;
}

static void *no_realloc(void *ptr, size_t size)
{
    (void)ptr;
    (void)size;
    return NULL;
}

/* A line of which nothing will come costs no memory, however long it is. */
static void drops_what_it_need_not_keep(void **state)
{
    static const char *const lines[] = {":", "x", "retry: 1", "\xef\xbb"};
    sse_parser              *p;
    const sse_item          *item;

    (void)state;
    assert_int_equal(sse_parser_new(NULL, &p), 0);
    sse_set_allocator(no_malloc, no_realloc, free);
    for (size_t i = 0; i < COUNT(lines); i++) {
        assert_int_equal(sse_parser_reset(p, NULL, 0), 0);
        feed(p, lines[i], "");
        feed(p, "and so on", "");
        feed(p, "\ndata: a\n\n", "event message|a|\n");
    }
    assert_int_equal(sse_parser_feed(p, "data: a", 7), 0);
    assert_int_equal(sse_parser_next(p, &item), SSE_ERR_NOMEM);
    sse_set_allocator(NULL, NULL, NULL);
    sse_parser_free(p);
}

static sse_parser_options limits(uint64_t line, uint64_t event)
{
    return (sse_parser_options){
        .size = sizeof(sse_parser_options),
        .max_line_bytes = line,
        .max_event_bytes = event,
    };
}

static void expect_limit(uint64_t line, uint64_t event, const char *input,
                         const char *text)
{
    sse_parser_options o = limits(line, event);

    expect_len(&o, NULL, input, strlen(input), text, strlen(text), "");
}

static void limits_lines(void)
{
    expect_limit(8, 0, "data: ab\n\n", "event message|ab|\n");
    expect_limit(7, 0, "data: ab\n\n", "error -4\n");
    expect_limit(7, 0, "data: a\n\ndata: ab", "event message|a|\nerror -4\n");
    expect_limit(8, 0, ": comments count too\n", "error -4\n");
    expect_limit(8, 0, "so does what is no field", "error -4\n");
    expect_limit(8, 0, "x1234567\ndata: b\n\n", "event message|b|\n");
    expect_limit(8, 0, "x12345678\n", "error -4\n");
    expect_limit(1, 0,
                 "\xef\xbb"
                 "x\n",
                 "error -4\n");
    expect_limit(8, 0, "data:\xff\xff\n\n", "event message|" FFFD FFFD "|\n");
    expect_limit(8, 0, "event:\xff\xff\n\n", "");
    expect_limit(8, 0, "event:\xff\xff\xff\n\n", "error -4\n");
    expect_limit(9, 0, "event:\xff\xff\xff\n\n", "");
}

static void limits_events(void)
{
    expect_limit(0, 2, "data: ab\n\n", "event message|ab|\n");
    expect_limit(0, 2, "data: abc\n\n", "error -4\n");
    expect_limit(0, 3, "data: a\ndata: b\n\n", "event message|a\nb|\n");
    expect_limit(0, 2, "data: a\ndata: b\n\n", "error -4\n");
    expect_limit(0, 2, "data: a\ndata\n\ndata\ndata\ndata\n\n",
                 "event message|a\n|\nevent message|\n\n|\n");
    expect_limit(0, 1, "data\ndata\ndata\n\n", "error -4\n");
    expect_limit(0, 5, "data: \xff\n\n", "event message|" FFFD "|\n");
    expect_limit(0, 2, "data: \xff\n\n", "error -4\n");
    expect_limit(0, 2, "event: long\n: comment\ndata: a\n\n",
                 "event long|a|\n");
}

static void limits_have_defaults(void)
{
    enum { MIB16 = 16 << 20 };
    char           *input = malloc(MIB16 + 2);
    sse_parser     *p;
    const sse_item *item;

    assert_non_null(input);
    memset(input, 'x', MIB16 + 2);
    memcpy(input, "data:", 5);
    memcpy(input + MIB16, "\n\n", 2);
    OK(sse_parser_new(NULL, &p));
    assert_int_equal(sse_parser_feed(p, input, MIB16 + 2), 0);
    assert_int_equal(sse_parser_next(p, &item), 1);
    assert_int_equal(item->data_len, MIB16 - 5);
    assert_int_equal(sse_parser_next(p, &item), 0);
    input[MIB16] = 'x';
    assert_int_equal(sse_parser_feed(p, input, MIB16 + 2), 0);
    assert_int_equal(sse_parser_next(p, &item), SSE_ERR_TOO_BIG);
    sse_parser_free(p);
    free(input);
}

static void reads_its_options(void)
{
    sse_parser_options o = everything;
    sse_parser        *p = (sse_parser *)1;

    o.flags = 4;
    assert_int_equal(sse_parser_new(&o, &p), SSE_ERR_INVAL);
    assert_null(p);
    o.size = 0;
    assert_int_equal(sse_parser_new(&o, &p), SSE_ERR_INVAL);
    o = (sse_parser_options){.size = 8, .flags = SSE_PARSER_COMMENTS};
    OK(sse_parser_new(&o, &p));
    sse_parser_free(p);
    sse_parser_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(finds_events),
        FAIL_ALLOC_TEST(joins_lines_of_data),
        FAIL_ALLOC_TEST(knows_the_names_of_fields),
        cmocka_unit_test(ends_lines_three_ways),
        FAIL_ALLOC_TEST(does_not_wait_for_lf),
        FAIL_ALLOC_TEST(an_lf_far_behind_a_cr_is_its_own),
        FAIL_ALLOC_TEST(skips_one_byte_order_mark),
        FAIL_ALLOC_TEST(commits_ids_at_blank_lines),
        FAIL_ALLOC_TEST(reports_retry_when_its_line_ends),
        FAIL_ALLOC_TEST(reports_comments),
        FAIL_ALLOC_TEST(reports_only_what_it_was_asked_for),
        FAIL_ALLOC_TEST(repairs_utf8),
        FAIL_ALLOC_TEST(takes_over_the_last_event_id),
        FAIL_ALLOC_TEST(reset_starts_a_new_body),
        FAIL_ALLOC_TEST(reset_takes_any_good_id),
        FAIL_ALLOC_TEST(reset_may_abandon_a_feed),
        FAIL_ALLOC_TEST(wants_to_be_drained),
        FAIL_ALLOC_TEST(does_not_copy_a_whole_line),
        cmocka_unit_test(drops_what_it_need_not_keep),
        FAIL_ALLOC_TEST(limits_lines),
        FAIL_ALLOC_TEST(limits_events),
        FAIL_ALLOC_TEST(limits_have_defaults),
        FAIL_ALLOC_TEST(reads_its_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
