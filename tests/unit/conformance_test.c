/* SPDX-License-Identifier: MIT */
/* conformance_test.c - the format vectors of web-platform-tests. */
#include "support.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"

#define VECTORS "data/wpt_format_vectors.json"

/* cJSON has C strings, so a NUL goes through it as a character that no vector
 * uses. The two are of one length in the file. */
#define NUL_IN_JSON "\\u0000"
#define STAND_IN_JSON "\\ue000"
#define STAND_IN "\xee\x80\x80"

static const sse_parser_options everything = {
    .size = sizeof(everything),
    .flags = SSE_PARSER_COMMENTS | SSE_PARSER_RETRY,
};

static cJSON *read_vectors(void)
{
    size_t len;
    char  *text = read_test_file(VECTORS, &len);
    cJSON *vectors;

    assert_null(strstr(text, STAND_IN_JSON));
    for (char *at = text; (at = strstr(at, NUL_IN_JSON));)
        memcpy(at, STAND_IN_JSON, sizeof(STAND_IN_JSON) - 1);
    vectors = cJSON_Parse(text);
    free(text);
    assert_true(cJSON_IsArray(vectors));
    return vectors;
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* Adds the member's text with the NULs it had. */
static void add_text(sse__buf *b, const cJSON *string)
{
    const char *at = cJSON_GetStringValue(string), *next;

    assert_non_null(at);
    for (; (next = strstr(at, STAND_IN)); at = next + sizeof(STAND_IN) - 1) {
        OK(sse__buf_add(b, at, (size_t)(next - at)));
        OK(sse__buf_add(b, "", 1));
    }
    OK(sse__buf_add_str(b, at));
}

static int digit64(char c)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, c);

    assert_non_null(at);
    return (int)(at - digits);
}

static void add_base64(sse__buf *b, const char *text)
{
    unsigned bits = 0, count = 0;

    for (; *text && *text != '='; text++) {
        bits = bits << 6 | (unsigned)digit64(*text);
        count += 6;
        if (count >= 8) {
            char byte = (char)(bits >> (count - 8));

            OK(sse__buf_add(b, &byte, 1));
            count -= 8;
        }
    }
}

/* What a replay should write, apart from comments and retries. */
static void add_events(sse__buf *b, const cJSON *vector)
{
    const cJSON *event;

    cJSON_ArrayForEach(event, member(vector, "expected"))
    {
        OK(sse__buf_add_str(b, "event "));
        add_text(b, member(event, "type"));
        OK(sse__buf_add_str(b, "|"));
        add_text(b, member(event, "data"));
        OK(sse__buf_add_str(b, "|"));
        add_text(b, member(event, "lastEventId"));
        OK(sse__buf_add_str(b, "\n"));
    }
}

static void add_comments(sse__buf *b, const cJSON *vector)
{
    const cJSON *comment;

    cJSON_ArrayForEach(comment, member(vector, "comments"))
    {
        OK(sse__buf_add_str(b, "comment "));
        add_text(b, comment);
        OK(sse__buf_add_str(b, "\n"));
    }
}

/* The one that holds in the end. */
static void add_retry(sse__buf *b, const cJSON *vector)
{
    const cJSON *retry = member(vector, "retry");

    if (!retry)
        return;
    OK(sse__buf_add_str(b, "retry "));
    OK(sse__buf_add_i64(b, (int64_t)cJSON_GetNumberValue(retry)));
    OK(sse__buf_add_str(b, "\n"));
}

/* Drops all retries but the last, which is as long as `last`. */
static void keep_last(transcript *t, const sse__buf *last)
{
    size_t extra = t->len > last->len && last->len > 0 ? t->len - last->len : 0;

    memmove(t->text, t->text + extra, t->len - extra);
    t->len -= extra;
}

static void replay_vector(transcript *t, const cJSON *vector, uint32_t only,
                          const sse__buf *input, size_t step)
{
    const cJSON *seed = member(vector, "initial_last_event_id");

    t->only = only;
    replay(t, &everything, seed ? cJSON_GetStringValue(seed) : NULL,
           input->data, input->len, step);
}

static void check(const cJSON *vector, const sse__buf *input, size_t step)
{
    static transcript t;
    sse__buf          expected;

    sse__buf_init(&expected, 1 << 16);
    add_events(&expected, vector);
    replay_vector(&t, vector, SSE_ITEM_EVENT, input, step);
    assert_buf(&expected, t.text, t.len);

    expected.len = 0;
    add_retry(&expected, vector);
    replay_vector(&t, vector, SSE_ITEM_RETRY, input, step);
    keep_last(&t, &expected);
    assert_buf(&expected, t.text, t.len);

    expected.len = 0;
    add_comments(&expected, vector);
    replay_vector(&t, vector, SSE_ITEM_COMMENT, input, step);
    if (member(vector, "comments"))
        assert_buf(&expected, t.text, t.len);

    expected.len = 0;
    add_text(&expected, member(vector, "final_last_event_id"));
    assert_buf(&expected, t.last_id, t.last_id_len);
    sse__buf_free(&expected);
}

static void check_vectors(size_t step)
{
    cJSON       *vectors = read_vectors();
    const cJSON *vector;
    int          count = 0;

    cJSON_ArrayForEach(vector, vectors)
    {
        sse__buf input;

        sse__buf_init(&input, 1 << 16);
        add_base64(&input, cJSON_GetStringValue(member(vector, "input_b64")));
        check(vector, &input, step < input.len ? step : input.len);
        sse__buf_free(&input);
        count++;
    }
    assert_int_equal(count, 44);
    cJSON_Delete(vectors);
}

static void in_pieces_of(void **state)
{
    check_vectors(*(const size_t *)*state);
}

#define IN_PIECES_OF(size) \
    { \
        .name = "in_pieces_of_" #size, .test_func = in_pieces_of, \
        .initial_state = &(size_t) \
        { \
            size \
        } \
    }

/* A vector with all kinds of fields is enough to fail every allocation. */
static void one_vector(void)
{
    cJSON *vector = cJSON_Parse(
        "{\"expected\":[{\"type\":\"t\",\"data\":\"a\\nb\","
        "\"lastEventId\":\"2\"}],\"comments\":[\" c\"],\"retry\":7,"
        "\"initial_last_event_id\":\"1\",\"final_last_event_id\":\"2\"}");
    sse__buf input;

    sse__buf_init(&input, 1000);
    OK(sse__buf_add_str(&input, "retry: 5\nretry: 7\nid: 2\nevent: t\n"
                                ": c\ndata: a\ndata: b\n\n"));
    check(vector, &input, input.len);
    check(vector, &input, 3);
    sse__buf_free(&input);
    cJSON_Delete(vector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PIECES_OF(1), IN_PIECES_OF(2),        IN_PIECES_OF(3),
        IN_PIECES_OF(7), IN_PIECES_OF(SIZE_MAX), FAIL_ALLOC_TEST(one_vector),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
