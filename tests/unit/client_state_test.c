/* SPDX-License-Identifier: MIT */
/* client_state_test.c - what a client exports, and what it refuses. */
#include "support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "fail_alloc.h"

#define URL "https://example.org/s"

static sse__client *make(const sse__client_options *o, const char *url)
{
    sse__client *c;

    OK(sse__client_new(o, url, strlen(url), &c));
    return c;
}

/* Begins the next request and gives it a head and a body. */
static void serve(sse__client *c, const char *body, char *cursor)
{
    static const sse__head head = {
        .status = 200,
        .content_type = "text/event-stream",
        .content_type_len = 17,
    };
    sse__action a = {0};

    sse__client_start(c, 0, 0);
    while (a.kind != SSE__ACT_CONNECT)
        if (!sse__client_next_action(c, &a))
            return;
    if (cursor)
        snprintf(cursor, 64, "%.*s", (int)a.cursor_len, a.cursor);
    OK(sse__client_on_head(c, a.generation, 0, 0, &head));
    OK(sse__client_on_bytes(c, a.generation, 0, body, strlen(body)));
}

/* Takes up to `count` events; their data, each with a blank behind it. */
static void take(sse__client *c, int count, char *text)
{
    const sse__client_item *item;
    int                     rc;

    *text = '\0';
    while (count > 0 && (rc = sse__client_next_item(c, 0, &item)) != 0) {
        if (fail_alloc_again(rc))
            continue;
        assert_true(rc > 0);
        if (item->kind != SSE__TOLD_EVENT)
            continue;
        snprintf(text + strlen(text), 16, "%.*s ", (int)item->event.data_len,
                 item->event.data);
        count--;
    }
}

static void save(sse__client *c, sse__buf *out)
{
    sse__buf_init(out, SIZE_MAX);
    OK(sse__client_export(c, out));
}

static const char four[] = "retry: 2500\n\nid: 1-0000000a\ndata: a\n\n"
                           "id: 2-0000000b\ndata: b\n\n"
                           "id: 3-0000000c\ndata: c\n\n"
                           "id: 4-0000000d\ndata: d\n\n";

static void goes_on_where_the_application_was(void)
{
    sse__client *c = make(NULL, URL);
    sse__buf     saved;
    char         text[64], cursor[64];

    serve(c, four, NULL);
    take(c, 3, text); /* the third is in the application's hands */
    save(c, &saved);
    sse__client_free(c);

    c = make(NULL, URL);
    OK(sse__client_import(c, guarded(saved.data, saved.len), saved.len));
    assert_int_equal(c->recent.count > 0 || fail_alloc_planned(), 1);
    serve(c, four, cursor); /* from the start, as if it knew no cursor */
    take(c, 9, text);
    if (!fail_alloc_planned()) {
        assert_string_equal(cursor, "2-0000000b");
        assert_string_equal(text, "c d ");
        assert_int_equal(c->backoff.base_ms, 2500);
    }
    assert_int_equal(sse__client_import(c, saved.data, saved.len),
                     SSE_ERR_INVAL); /* too late */
    sse__client_free(c);
    sse__buf_free(&saved);
}

static void in_ack_mode_only_what_is_acked_is_done(void)
{
    sse__client_options o = {.flags = SSE_CLIENT_ACK};
    sse__client        *c = make(&o, URL);
    sse__buf            saved;
    char                text[64], cursor[64];
    bool                taken;

    serve(c, four, NULL);
    take(c, 9, text);
    taken = strcmp(text, "a b c d ") == 0;
    assert_true(taken || fail_alloc_planned());
    if (taken)
        OK(sse__client_ack(c, "2-0000000b", 10));
    save(c, &saved);
    sse__client_free(c);

    c = make(&o, URL);
    OK(sse__client_import(c, saved.data, saved.len));
    serve(c, four, cursor);
    take(c, 9, text);
    if (!fail_alloc_planned()) {
        assert_string_equal(cursor, "2-0000000b");
        assert_string_equal(text, "c d ");
    }
    sse__client_free(c);
    sse__buf_free(&saved);
}

static void refuses_what_is_damaged_or_foreign(void)
{
    sse__client *c = make(NULL, URL), *other;
    sse__buf     saved;
    char         text[64];
    char        *copy;

    serve(c, four, NULL);
    take(c, 4, text);
    save(c, &saved);
    sse__client_free(c);

    other = make(NULL, URL "?user=2");
    assert_int_equal(sse__client_import(other, saved.data, saved.len),
                     SSE_ERR_INVAL);
    sse__client_free(other);

    c = make(NULL, URL);
    copy = malloc(saved.len);
    assert_non_null(copy);
    for (size_t len = 0; len < saved.len; len++)
        assert_int_equal(sse__client_import(c, guarded(saved.data, len), len),
                         SSE_ERR_INVAL);
    for (size_t bit = 0; bit < saved.len * 8; bit++) {
        memcpy(copy, saved.data, saved.len);
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(sse__client_import(c, copy, saved.len), SSE_ERR_INVAL);
    }
    assert_int_equal(c->cursor.len, 0);
    OK(sse__client_import(c, saved.data, saved.len));
    free(copy);
    sse__client_free(c);
    sse__buf_free(&saved);
}

static void no_cursor_can_inject_a_header(void)
{
    sse__client *c = make(NULL, URL);

    assert_int_equal(sse__client_set_cursor(c, "a\r\nX: y", 7), SSE_ERR_INVAL);
    assert_int_equal(sse__client_set_cursor(c, "a\0b", 3), SSE_ERR_INVAL);
    OK(sse__client_set_cursor(c, "7-0000000a", 10));
    assert_int_equal(c->seq, 7);
    OK(sse__client_set_cursor(c, "", 0));
    assert_false(c->has_seq);
    sse__client_free(c);
}

static void windows_of_any_size_exchange_state(void)
{
    sse__client_options small = {.window = 2}, none = {.window = SSE_NEVER};
    sse__client        *c = make(NULL, URL);
    sse__buf            saved;
    char                text[64];

    serve(c, four, NULL);
    take(c, 9, text);
    take(c, 9, text);
    save(c, &saved);
    sse__client_free(c);
    c = make(&small, URL);
    OK(sse__client_import(c, saved.data, saved.len));
    sse__buf_free(&saved);
    save(c, &saved);
    sse__client_free(c);
    c = make(&none, URL);
    OK(sse__client_import(c, saved.data, saved.len));
    sse__buf_free(&saved);
    save(c, &saved);
    assert_true(saved.len == 50 || fail_alloc_planned());
    sse__client_free(c);
    sse__buf_free(&saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(goes_on_where_the_application_was),
        FAIL_ALLOC_TEST(in_ack_mode_only_what_is_acked_is_done),
        FAIL_ALLOC_TEST(refuses_what_is_damaged_or_foreign),
        FAIL_ALLOC_TEST(no_cursor_can_inject_a_header),
        FAIL_ALLOC_TEST(windows_of_any_size_exchange_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
