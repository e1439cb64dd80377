/* SPDX-License-Identifier: MIT */
/* stream_test.c - streams are made, take events, and tell what they are. */
#include <stdio.h>

#include "stream_fixture.h"

static int create_as(const char *id, sse__port *producer,
                     const sse_stream_options *opts, sse__stream **out)
{
    size_t len = strlen(id);

    return sse__stream_create(&hub, guarded(id, len), len, producer, opts, out);
}

/* ---- Creation ---- */

static void creates_once(void **state)
{
    sse__stream *s, *again;

    (void)state;
    open_hub(NULL);
    s = create("chat-7", NULL, NULL);
    assert_string_equal(s->id, "chat-7");
    assert_true(exists("chat-7"));
    assert_false(exists("chat-"));
    assert_int_equal(create_as("chat-7", NULL, NULL, &again), SSE_ERR_EXISTS);
    assert_null(again);
    sse__stream_remove(s);
    assert_false(exists("chat-7"));
    create("chat-7", NULL, NULL);
    close_hub();
}

static void refuses_bad_ids_and_options(void **state)
{
    static const char *const bad[] = {"a b", "a/b", "\xc3\xa4", "a\n", "?"};
    sse_stream_options       o[] = {
              {.size = sizeof(o[0]), .flags = 4},
              {.size = sizeof(o[0]), .slow_policy = 3},
              {.size = sizeof(o[0]), .unread_policy = 3},
              {.size = sizeof(o[0]), .slow_policy_set = 2},
              {.size = 2},
    };
    char         longest[257];
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(create_as(bad[i], NULL, NULL, &s), SSE_ERR_INVAL);
    for (size_t i = 0; i < sizeof(o) / sizeof(*o); i++)
        assert_int_equal(create_as("s", NULL, &o[i], &s), SSE_ERR_INVAL);
    memset(longest, 'x', 256);
    longest[256] = '\0';
    assert_int_equal(create_as(longest, NULL, NULL, &s), SSE_ERR_INVAL);
    longest[255] = '\0';
    create(longest, NULL, NULL);
    assert_int_equal(hub.streams.count, 1);
    close_hub();
}

/* Ids that nobody guesses take randomness that the core has not. */
static void makes_up_no_ids(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    assert_int_equal(create_as("", NULL, NULL, &s), SSE_ERR_INVAL);
    close_hub();
}

static void takes_the_place_of_an_ended_one(void **state)
{
    sse__stream *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    append(s, "a");
    OK(end_as(s, SSE_STATE_FAILED, "", "{}"));
    s = create("s", NULL, NULL);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    assert_string_equal(wire(s), "");
    assert_int_equal(hub.streams.count, 1);
    close_hub();
}

static void limits_their_number(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .max_streams = 2};
    sse__stream    *a, *s;

    (void)state;
    open_hub(&opts);
    a = create("a", NULL, NULL);
    create("b", NULL, NULL);
    assert_int_equal(create_as("c", NULL, NULL, &s), SSE_ERR_LIMIT);
    OK(end_as(a, SSE_STATE_COMPLETED, "", ""));
    create("a", NULL, NULL); /* in the place of the other */
    sse__stream_remove(sse__hub_find(&hub, "a", 1));
    create("c", NULL, NULL);
    close_hub();
}

static void keeps_the_ended_one_when_memory_is_short(void)
{
    sse__stream *s;

    open_hub(NULL);
    s = create("s", NULL, NULL);
    OK(end_as(s, SSE_STATE_COMPLETED, "done", "{}"));
    if (fail_alloc_again(create_as("s", NULL, NULL, &s))) {
        assert_true(exists("s")); /* its completion can still be read */
        OK(create_as("s", NULL, NULL, &s));
    }
    close_hub();
}

/* ---- Append ---- */

static void encodes_events(void **state)
{
    sse__stream *s;
    sse_event_id id;
    char         want[300];

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    OK(append_as(s, "", "a\nb\r\nc\rd", 8, &id));
    assert_int_equal(id.seq, 1);
    snprintf(want, sizeof(want),
             "id: %s\ndata: a\ndata: b\ndata: c\ndata: d\n\n", id.text);
    assert_string_equal(wire(s), want);
    OK(append_as(s, "tick", "", 0, &id));
    assert_int_equal(id.seq, 2);
    snprintf(want + strlen(want), 100, "id: %s\nevent: tick\ndata: \n\n",
             id.text);
    assert_string_equal(wire(s), want);
    close_hub();
}

/* Any node can compute the tag from the row that stores keep. */
static void tags_the_stored_row(void **state)
{
    static const char text[] =
        "{\"type\":\"message\",\"data\":\"hi\",\"ts\":1800000001000}";
    static const char json[] =
        "{\"type\":\"t\",\"data\":{\"a\":1},\"ts\":1800000001000}";
    sse__stream *s;
    sse_event_id id;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    OK(append_as(s, "", "hi", 2, &id));
    assert_int_equal(id.tag, sse__fnv1a(SSE__FNV1A_INIT, text, strlen(text)));
    OK(append_as(s, "t", "{\"a\":1}", 7, &id));
    assert_int_equal(id.tag, sse__fnv1a(SSE__FNV1A_INIT, json, strlen(json)));
    close_hub();
}

static void gives_plain_ids(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .id_format = SSE_ID_PLAIN};
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL, NULL);
    append(s, "a");
    assert_string_equal(wire(s), "id: 1\ndata: a\n\n");
    close_hub();
}

static void refuses_bad_events(void **state)
{
    static char     big[101];
    sse_hub_options opts = {.size = sizeof(opts), .max_event_bytes = 100};
    char            type[257];
    sse__stream    *s;

    (void)state;
    memset(big, 'x', sizeof(big));
    memset(type, 't', 256);
    type[256] = '\0';
    open_hub(&opts);
    s = create("s", NULL, NULL);
    assert_int_equal(append_as(s, "a\nb", "", 0, NULL), SSE_ERR_INVAL);
    assert_int_equal(append_as(s, "a\r", "", 0, NULL), SSE_ERR_INVAL);
    assert_int_equal(append_as(s, "", "\xff", 1, NULL), SSE_ERR_UTF8);
    assert_int_equal(append_as(s, "", "\xc3", 1, NULL), SSE_ERR_UTF8);
    assert_int_equal(append_as(s, "\xff", "", 0, NULL), SSE_ERR_UTF8);
    assert_int_equal(append_as(s, "", big, 101, NULL), SSE_ERR_TOO_BIG);
    assert_int_equal(append_as(s, type, "", 0, NULL), SSE_ERR_TOO_BIG);
    assert_string_equal(wire(s), "");
    assert_int_equal(s->log.next_seq, 1);
    assert_int_equal(hub.counters.events_in, 0);
    OK(append_as(s, type + 1, big, 100, NULL));
    close_hub();
}

/* An event that the log could not hold alone is refused, not forgotten. */
static void refuses_more_than_the_log(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts), .log_bytes = 100};
    sse__new_event     batch[2] = {{"", 0, "a", 1}};
    static char        data[100];
    sse__stream       *s;

    (void)state;
    memset(data, 'x', sizeof(data));
    open_hub(NULL);
    s = create("s", NULL, &opts);
    assert_int_equal(append_as(s, "", data, 100, NULL), SSE_ERR_TOO_BIG);
    batch[1] = (sse__new_event){"", 0, data, 100};
    assert_int_equal(sse__stream_append(s, batch, 2, NULL), SSE_ERR_TOO_BIG);
    assert_string_equal(wire(s), "");
    append(s, "a");
    close_hub();
}

static void appends_batches_whole_or_not(void **state)
{
    sse__new_event events[] = {
        {"t", 1, "a", 1}, {"", 0, "b", 1}, {"t", 1, "\xff", 1}};
    sse_event_id ids[3];
    sse__stream *s;
    char         want[200];

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    assert_int_equal(sse__stream_append(s, events, 3, ids), SSE_ERR_UTF8);
    assert_string_equal(wire(s), "");
    OK(sse__stream_append(s, events, 0, ids));
    assert_string_equal(wire(s), "");
    OK(sse__stream_append(s, events, 2, ids));
    snprintf(want, sizeof(want),
             "id: %s\nevent: t\ndata: a\n\nid: %s\ndata: b\n\n", ids[0].text,
             ids[1].text);
    assert_string_equal(wire(s), want);
    assert_int_equal(hub.counters.events_in, 2);
    assert_int_equal(hub.counters.bytes_in, 2);
    close_hub();
}

/* Wake-ups come on the edge only, one for each port that has idle readers. */
static void wakes_on_the_edge(void **state)
{
    sse__subscriber a, b, *sub;
    sse__take       take;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL, NULL);
    assert_true(sse__list_empty(&hub.wakes));
    subscribe(&a, s);
    subscribe(&b, s);
    assert_ptr_equal(hub.wakes.next, &port.wake_link);
    assert_ptr_equal(hub.wakes.prev, &port.wake_link);
    sse__list_drop(&port.wake_link);
    append(s, "a"); /* not drained yet: no other wake-up */
    assert_true(sse__list_empty(&hub.wakes));
    while ((sub = sse__port_take(&port))) {
        sse__subscriber_take(sub, 1000, &take);
        sse__take_drop(&take);
        sse__subscriber_give(sub);
    }
    append(s, "b"); /* not armed yet */
    assert_true(sse__list_empty(&hub.wakes));
    while ((sub = sse__port_take(&port))) {
        sse__subscriber_take(sub, 1000, &take);
        sse__take_drop(&take);
        sse__subscriber_give(sub);
    }
    port.armed = true;
    append(s, "c");
    append(s, "d");
    assert_ptr_equal(hub.wakes.next, &port.wake_link);
    assert_ptr_equal(port.wake_link.next, &hub.wakes);
    sse__subscriber_close(&a);
    sse__subscriber_close(&b);
    close_hub();
}

/* ---- Owners and other texts ---- */

static void limits_streams_of_a_user(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .max_streams_per_user = 2};
    sse__stream    *a, *b, *c;

    (void)state;
    open_hub(&opts);
    a = create("a", NULL, NULL);
    b = create("b", NULL, NULL);
    c = create("c", NULL, NULL);
    OK(sse__stream_set_owner(a, "ann", 3));
    OK(sse__stream_set_owner(a, "ann", 3));
    OK(sse__stream_set_owner(b, "ann", 3));
    assert_int_equal(sse__stream_set_owner(c, "ann", 3), SSE_ERR_LIMIT);
    assert_null(c->user);
    OK(sse__stream_set_owner(c, "bob", 3));
    assert_int_equal(sse__stream_set_owner(c, "ann", 3), SSE_ERR_LIMIT);
    assert_int_equal(c->user->name[0], 'b');
    OK(end_as(a, SSE_STATE_FAILED, "", "")); /* only active ones count */
    OK(sse__stream_set_owner(c, "ann", 3));
    assert_int_equal(hub.users.count, 1);
    OK(sse__stream_set_owner(b, "", 0));
    assert_null(b->user);
    sse__stream_remove(a);
    sse__stream_remove(c);
    assert_int_equal(hub.users.count, 0);
    close_hub();
}

static void checks_texts(void **state)
{
    static char     text[16385];
    sse_stream_info info;
    sse__stream    *s;

    (void)state;
    memset(text, 'x', sizeof(text));
    open_hub(NULL);
    s = create("s", NULL, NULL);
    assert_int_equal(sse__stream_set_owner(s, text, 256), SSE_ERR_TOO_BIG);
    assert_int_equal(sse__stream_set_kind(s, text, 256), SSE_ERR_TOO_BIG);
    assert_int_equal(sse__stream_set_metadata(s, text, 16385), SSE_ERR_TOO_BIG);
    assert_int_equal(sse__stream_set_owner(s, "\xff", 1), SSE_ERR_UTF8);
    assert_int_equal(sse__stream_set_kind(s, "\xff", 1), SSE_ERR_UTF8);
    assert_int_equal(sse__stream_set_metadata(s, "\xff", 1), SSE_ERR_UTF8);
    OK(sse__stream_set_owner(s, text, 255));
    OK(sse__stream_set_kind(s, "chat", 4));
    OK(sse__stream_set_metadata(s, text, 16384));
    sse__stream_info(s, &info);
    assert_int_equal(info.owner_len, 255);
    assert_memory_equal(info.kind, "chat", 4);
    assert_int_equal(info.metadata_len, 16384);
    OK(sse__stream_set_kind(s, "", 0));
    OK(sse__stream_set_metadata(s, "", 0));
    sse__stream_info(s, &info);
    assert_int_equal(info.kind_len, 0);
    assert_string_equal(info.kind, "");
    assert_int_equal(info.metadata_len, 0);
    close_hub();
}

static void tells_what_it_is(void **state)
{
    sse_stream_options opts = {.size = sizeof(opts), .log_events = 2};
    sse_stream_info    info;
    sse__subscriber    sub;
    sse__stream       *s;

    (void)state;
    open_hub(NULL);
    s = create("s", &boss, &opts);
    sse__stream_info(s, &info);
    assert_int_equal(info.last_seq, 0);
    assert_int_equal(info.first_seq, 1);
    assert_true(info.created_ms == WALL + 1000);
    pass(50);
    append(s, "a");
    append(s, "b");
    append(s, "c");
    subscribe(&sub, s);
    OK(sse__stream_stop(s, SSE_REASON_REQUESTED));
    sse__stream_info(s, &info);
    assert_int_equal(info.first_seq, 2);
    assert_int_equal(info.last_seq, 3);
    assert_int_equal(info.log_bytes, strlen(wire(s)));
    assert_int_equal(info.subscriber_count, 1);
    assert_int_equal(info.stop_requested, 1);
    assert_true(info.active_ms == WALL + 1050);
    assert_true(info.ended_ms == 0);
    sse__subscriber_close(&sub);
    close_hub();
}

static void names_states(void **state)
{
    (void)state;
    assert_string_equal(sse_state_name(SSE_STATE_ACTIVE), "active");
    assert_string_equal(sse_state_name(SSE_STATE_EXPIRED), "expired");
    assert_string_equal(sse_state_name(6), "unknown");
    assert_string_equal(sse_state_name(-1), "unknown");
}

/* ---- Memory ---- */

/* Whatever fails changes nothing: the same call, made again, gives what it
 * would have given, and the stream is the same to the last byte. */
static void survives_want_of_memory(void)
{
    sse__new_event events[] = {{"t", 1, "a", 1}, {"", 0, "b\nc", 3}};
    static char    data[5000];
    sse__stream   *s;

    memset(data, 'd', sizeof(data));
    open_hub(NULL);
    s = create("s", &boss, NULL);
    OK(sse__stream_set_owner(s, "ann", 3));
    OK(sse__stream_set_kind(s, "chat", 4));
    OK(sse__stream_set_metadata(s, "{}", 2));
    append(s, "one");
    OK(sse__stream_append(s, events, 2, NULL));
    OK(append_as(s, "", data, sizeof(data), NULL));
    OK(end_as(s, SSE_STATE_COMPLETED, "", "{}"));
    assert_int_equal(s->log.next_seq, 6);
    assert_int_equal(s->log.bytes, strlen(wire(s)));
    assert_int_equal(hub.counters.events_in, 5);
    assert_int_equal(hub.counters.bytes_in, 3 + 4 + 5000 + 2);
    assert_int_equal(hub.counters.log_bytes, s->log.bytes);
    assert_int_equal(hub.users.count, 1);
    assert_int_equal(hub.counters.streams_created, 1);
    close_hub();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(creates_once),
        cmocka_unit_test(refuses_bad_ids_and_options),
        cmocka_unit_test(makes_up_no_ids),
        cmocka_unit_test(takes_the_place_of_an_ended_one),
        cmocka_unit_test(limits_their_number),
        FAIL_ALLOC_TEST(keeps_the_ended_one_when_memory_is_short),
        cmocka_unit_test(encodes_events),
        cmocka_unit_test(tags_the_stored_row),
        cmocka_unit_test(gives_plain_ids),
        cmocka_unit_test(refuses_bad_events),
        cmocka_unit_test(refuses_more_than_the_log),
        cmocka_unit_test(appends_batches_whole_or_not),
        cmocka_unit_test(wakes_on_the_edge),
        cmocka_unit_test(limits_streams_of_a_user),
        cmocka_unit_test(checks_texts),
        cmocka_unit_test(tells_what_it_is),
        cmocka_unit_test(names_states),
        FAIL_ALLOC_TEST(survives_want_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
