/* SPDX-License-Identifier: MIT */
/* mirror_test.c - a log that holds what a store has told. */
#include "backing.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "fail_alloc.h"
#include "subscriber.h"

#define WALL INT64_C(1800000000000)

static sse__hub  hub;
static sse__port port;

static void open_hub(const sse_hub_options *opts)
{
    OK(sse__hub_init(&hub, opts, 7, 1000, WALL));
    hub.opts.retry_ms = SSE_NEVER;
    sse__port_init(&port, &hub);
}

static void close_hub(void)
{
    sse__port_free(&port);
    sse__hub_free(&hub);
    assert_true(sse__list_empty(&hub.dirty));
    assert_int_equal(hub.counters.log_bytes, 0);
    assert_int_equal(hub.counters.active, 0);
}

static sse__stream *create(const char *id)
{
    sse__stream *s;

    OK(sse__stream_create(&hub, id, strlen(id), NULL, NULL, &s));
    return s;
}

/* A mirror whose first event will be `seq` + 1. */
static sse__stream *create_mirror(uint64_t seq, uint32_t tag)
{
    sse__stream *s = create("mirror");

    OK(sse__backing_new(s, SSE__MIRROR, seq, tag));
    return s;
}

/* The tag of event `seq`, wherever a test makes them up. */
static uint32_t tag_of(uint64_t seq)
{
    return (uint32_t)seq * 0x1111;
}

static int add_row(sse__stream *s, const char *row)
{
    size_t len = strlen(row);

    return sse__mirror_add(s, guarded(row, len), len, tag_of(s->log.next_seq));
}

/* Events whose data is their number. */
static void make_row(uint64_t seq, char *out)
{
    sprintf(out, "{\"type\":\"message\",\"data\":\"%u\",\"ts\":1}",
            (unsigned)seq);
}

static void add_many(sse__stream *s, int count)
{
    char row[100];

    while (count-- > 0) {
        make_row(s->log.next_seq, row);
        OK(add_row(s, row));
    }
    sse__mirror_added(s);
}

static int add_old(sse__stream *s, size_t count, uint32_t before_tag)
{
    static char  text[100][100];
    sse__old_row rows[100];
    uint64_t     first = s->log.first_seq - count;

    for (size_t i = 0; i < count; i++) {
        make_row(first + i, text[i]);
        rows[i] = (sse__old_row){text[i], strlen(text[i]), tag_of(first + i)};
    }
    return sse__mirror_add_old(s, rows, count, before_tag);
}

static const char *id_of(uint64_t seq)
{
    static char text[40];

    sprintf(text, "%u-%08x", (unsigned)seq, tag_of(seq));
    return text;
}

/* What a reader of events `from` to `to` gets. */
static const char *events(uint64_t from, uint64_t to)
{
    static char text[10000];
    size_t      len = 0;

    text[0] = '\0';
    for (; from <= to; from++)
        len += (size_t)sprintf(text + len, "id: %u-%08x\ndata: %u\n\n",
                               (unsigned)from, tag_of(from), (unsigned)from);
    return text;
}

static const char *gap(int from, int to, const char *reason)
{
    static char text[200];

    sprintf(text,
            "event: gap\ndata: {\"from\":%d,\"to\":%d,\"missed\":%d,"
            "\"reason\":\"%s\"}\n\n",
            from, to, to - from + 1, reason);
    return text;
}

static const char *diverged(int to)
{
    static char text[200];

    sprintf(text,
            "event: gap\ndata: {\"from\":1,\"to\":%d,\"missed\":null,"
            "\"reason\":\"diverged\"}\n\n",
            to);
    return text;
}

static int subscribe_to(sse__subscriber *sub, sse__stream *s,
                        const char *cursor)
{
    size_t len = strlen(cursor);

    return sse__subscriber_open(sub, s, &port, guarded(cursor, len), len, NULL);
}

static void subscribe(sse__subscriber *sub, sse__stream *s, const char *cursor)
{
    OK(subscribe_to(sub, s, cursor));
}

/* ---- Taking ---- */

static char taken[20000];

/* What one take of a taken subscriber gives, the end as "[REASON]". */
static void take_text(sse__subscriber *sub, size_t max_bytes)
{
    sse__take take;
    size_t    len, need = sse__subscriber_need(sub, max_bytes);

    sse__subscriber_take(sub, max_bytes, &take);
    assert_true(take.bytes <= need);
    assert_true(take.bytes + 20 < sizeof(taken));
    memcpy(taken, take.prefix, len = take.prefix_len);
    for (uint32_t i = 0; i < take.span_count; i++) {
        memcpy(taken + len, take.spans[i].data, take.spans[i].len);
        len += take.spans[i].len;
    }
    taken[len] = '\0';
    if (take.end)
        sprintf(taken + len, "[%u]", take.end);
    sse__take_drop(&take);
}

/* Whether somebody would have been told to come. */
static bool is_woken(void)
{
    bool woken = !port.armed;

    sse__list_drop(&port.wake_link);
    port.armed = true;
    return woken;
}

/* Takes the one subscriber that is ready, and leaves it taken. */
static void take(sse__subscriber *sub, size_t max_bytes)
{
    assert_true(is_woken());
    assert_ptr_equal(sse__port_take(&port), sub);
    take_text(sub, max_bytes);
}

/* Everything that `sub`, the only one with something, gets; what ends is
 * closed. */
static const char *drain(sse__subscriber *sub)
{
    static char      all[sizeof(taken)];
    sse__subscriber *got;

    all[0] = '\0';
    while (is_woken() && (got = sse__port_take(&port))) {
        assert_ptr_equal(got, sub);
        take_text(sub, 100);
        strcat(all, taken);
        if (strchr(taken, '['))
            sse__subscriber_close(sub);
        else
            sse__subscriber_give(sub);
    }
    return all;
}

#define assert_drained(sub, text) assert_string_equal(drain(sub), text)

/* ---- Rows that cannot be read ---- */

static void says_what_it_cannot_read(void)
{
    static const char *const bad[] = {
        "", "x", "[]", "{}", "{\"type\":\"t\"", "{\"type\":1}",
        "{\"type\":\"t\",\"data\":\"\xff\"}",
        /* types that would be more than one field */
        "{\"type\":\"t\\nid: 9\",\"data\":1}",
        "{\"type\":\"t\\rdata: 9\",\"data\":1}",
        "{\"type\":\"\\u000a\",\"data\":1}", "{\"type\":\"t\\u0000\"}"};

    open_hub(NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        sse__stream    *s = create_mirror(4, 0);
        sse__subscriber sub;
        char            want[500];

        subscribe(&sub, s, "4");
        assert_drained(&sub, "");
        add_many(s, 1);
        assert_int_equal(RETRY(add_row(s, bad[i])), 1);
        add_many(s, 1);
        sprintf(want, "%s%s", events(5, 5), gap(6, 6, "unreadable"));
        strcat(want, events(7, 7));
        assert_drained(&sub, want);
        sse__subscriber_close(&sub);
        sse__stream_remove(s);
    }
    close_hub();
}

/* The tag of the row counts, though nobody could read it. */
static void knows_the_tags_of_the_unreadable(void)
{
    sse__old_row    old = {"x", 1, tag_of(4)};
    sse__stream    *s;
    sse__subscriber sub;
    char            want[500];

    open_hub(NULL);
    s = create_mirror(4, tag_of(4));
    assert_int_equal(RETRY(add_row(s, "x")), 1);
    OK(sse__mirror_add_old(s, &old, 1, tag_of(3)));
    assert_int_equal(s->log.first_seq, 4);
    subscribe(&sub, s, id_of(3));
    strcpy(want, gap(4, 4, "unreadable"));
    strcat(want, gap(5, 5, "unreadable"));
    assert_drained(&sub, want);
    sse__subscriber_close(&sub);
    subscribe(&sub, s, id_of(4));
    assert_drained(&sub, gap(5, 5, "unreadable"));
    sse__subscriber_close(&sub);
    subscribe(&sub, s, id_of(5));
    assert_drained(&sub, "");
    sse__subscriber_close(&sub);
    close_hub();
}

/* ---- Adding ---- */

static void wakes_readers_once(void **state)
{
    sse__stream    *s;
    sse__subscriber sub;

    (void)state;
    open_hub(NULL);
    s = create_mirror(0, 0);
    subscribe(&sub, s, "");
    assert_drained(&sub, "");
    OK(add_row(s, "{\"type\":\"message\",\"data\":1}"));
    OK(add_row(s, "{\"type\":\"message\",\"data\":2}"));
    assert_false(is_woken());
    sse__mirror_added(s);
    assert_drained(&sub, events(1, 2));
    assert_int_equal(hub.counters.events_mirrored, 2);
    assert_int_equal(hub.counters.events_in, 0);
    assert_null(sse__hub_take_dirty(&hub)); /* the store knows */
    sse__subscriber_close(&sub);
    close_hub();
}

static void adds_all_or_nothing(void)
{
    static const char row[] = "{\"type\":\"message\",\"data\":\"x\"}";
    sse__stream      *s;
    uint64_t          bytes;

    open_hub(NULL);
    s = create_mirror(100, tag_of(100));
    for (int i = 0; i < 20; i++)
        OK(add_row(s, row));
    bytes = s->log.bytes;
    if (fail_alloc_again(add_old(s, 50, tag_of(50)))) {
        assert_true(s->log.first_seq == 101 && s->log.bytes == bytes);
        assert_int_equal(hub.counters.log_bytes, bytes);
        OK(add_old(s, 50, tag_of(50)));
    }
    assert_int_equal(s->log.first_seq, 51);
    assert_int_equal(hub.counters.log_bytes, s->log.bytes);
    close_hub();
}

static void keeps_to_its_bounds(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 10};
    sse__subscriber sub;
    sse__stream    *s;
    char            want[1000];

    (void)state;
    open_hub(&opts);
    s = create_mirror(100, 0);
    add_many(s, 12);
    assert_int_equal(s->log.first_seq, 103);
    OK(add_old(s, 5, tag_of(97))); /* stays until there is more */
    assert_int_equal(s->log.first_seq, 98);
    subscribe(&sub, s, "97-00000000"); /* its tag is known from there */
    assert_true(sub.diverged);
    sse__subscriber_close(&sub);
    subscribe(&sub, s, id_of(97));
    assert_drained(&sub, events(98, 112));
    add_many(s, 1);
    assert_int_equal(s->log.first_seq, 104);
    assert_int_equal(hub.counters.log_bytes, s->log.bytes);
    assert_drained(&sub, events(113, 113));
    sse__subscriber_close(&sub);
    subscribe(&sub, s, "101");
    strcpy(want, gap(102, 103, "trimmed"));
    strcat(want, events(104, 113));
    assert_drained(&sub, want);
    sse__subscriber_close(&sub);
    close_hub();
}

/* ---- Older events ---- */

/* Readers who are in the middle of the log, or hold a piece of it, do not
 * notice; the next one begins further back. */
static void gets_older_events(void **state)
{
    sse__subscriber middle, fresh;
    sse__stream    *s;
    char            want[10000];

    (void)state;
    open_hub(NULL);
    s = create_mirror(50, 0);
    add_many(s, 30);
    subscribe(&middle, s, "55");
    take(&middle, 50);
    strcpy(want, taken);
    OK(add_old(s, 30, tag_of(20)));
    sse__subscriber_give(&middle);
    strcat(want, drain(&middle));
    assert_string_equal(want, events(56, 80));
    subscribe(&fresh, s, id_of(20));
    assert_drained(&fresh, events(21, 80));
    sse__subscriber_close(&fresh);
    OK(add_old(s, 20, 0)); /* all there is */
    subscribe(&fresh, s, "");
    assert_drained(&fresh, events(1, 80));
    add_many(s, 1);
    sse__subscriber_close(&middle);
    assert_drained(&fresh, events(81, 81));
    sse__subscriber_close(&fresh);
    close_hub();
}

/* A cursor's tag is looked at wherever the log knows it. */
static void checks_cursors_at_anchors(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_mirror(50, tag_of(50));
    add_many(s, 10);
    OK(add_old(s, 10, tag_of(40)));
    for (unsigned seq = 38; seq <= 61; seq++) {
        bool known = seq >= 40 && seq <= 60;
        char cursor[40];

        sprintf(cursor, "%u-%08x", seq, tag_of(seq));
        OK(sse__subscriber_look(&sub, s, cursor, strlen(cursor)));
        assert_int_equal(sub.diverged, seq > 60);
        sprintf(cursor, "%u-%08x", seq, tag_of(seq) + 1);
        OK(sse__subscriber_look(&sub, s, cursor, strlen(cursor)));
        assert_int_equal(sub.diverged, known || seq > 60);
        assert_int_equal(sub.seq, sub.diverged ? 41 : seq + 1);
    }
    close_hub();
}

/* ---- Gaps of the store ---- */

static void skips(void **state)
{
    sse__subscriber sub[3];
    sse__stream    *s;
    char            want[1000];

    (void)state;
    open_hub(NULL);
    s = create_mirror(0, 0);
    add_many(s, 10);
    for (int i = 0; i < 3; i++) {
        static const char *const at[] = {"10", "4", "7"};

        subscribe(&sub[i], s, at[i]);
        if (i == 0)
            assert_drained(&sub[0], "");
    }
    is_woken();
    sse__mirror_skip(s, 20);
    assert_int_equal(s->log.first_seq, 21);
    assert_int_equal(hub.counters.log_bytes, 0);
    add_many(s, 2);
    for (int i = 1; i <= 3; i++) { /* in the order in which they are ready */
        static const int from[] = {11, 5, 8};

        assert_ptr_equal(sse__port_take(&port), &sub[i % 3]);
        take_text(&sub[i % 3], 1000);
        strcpy(want, gap(from[i % 3], 20, "trimmed"));
        strcat(want, events(21, 22));
        assert_string_equal(taken, want);
        sse__subscriber_close(&sub[i % 3]);
    }
    assert_int_equal(hub.counters.missed[SSE_GAP_TRIMMED], 10 + 16 + 13);
    close_hub();
}

/* Nothing may follow for long: they are told at once. */
static void tells_of_a_skip_at_once(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .slow_policy = SSE_SLOW_DISCONNECT};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create_mirror(0, 0);
    add_many(s, 2);
    subscribe(&sub, s, "2");
    take(&sub, 100); /* is taken meanwhile */
    sse__mirror_skip(s, 20);
    sse__subscriber_give(&sub);
    assert_drained(&sub, gap(3, 20, "trimmed"));
    sse__mirror_skip(s, 30); /* is idle; and not to blame */
    assert_drained(&sub, gap(21, 30, "trimmed"));
    assert_int_equal(hub.counters.lagged_ends, 0);
    sse__subscriber_close(&sub);
    close_hub();
}

/* Who comes with the id of an event that was skipped cannot be refuted. */
static void knows_no_tag_behind_a_skip(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;
    sse_event_id    id;

    (void)state;
    open_hub(NULL);
    s = create_mirror(0, 0);
    add_many(s, 2);
    sse__mirror_skip(s, 20);
    sse__stream_last_id(s, &id);
    assert_int_equal(id.text_len, 0);
    add_many(s, 1);
    subscribe(&sub, s, "20-00000000");
    assert_drained(&sub, events(21, 21));
    sse__subscriber_close(&sub);
    subscribe(&sub, s, "2-00000000");
    assert_int_equal(strncmp(drain(&sub), gap(3, 20, "trimmed"), 60), 0);
    sse__subscriber_close(&sub);
    OK(add_old(s, 4, tag_of(16))); /* they were there after all */
    subscribe(&sub, s, "20-00000000");
    assert_true(sub.diverged);
    sse__subscriber_close(&sub);
    close_hub();
}

/* ---- Another log ---- */

static void diverges(void **state)
{
    static const uint64_t to[] = {0, 2, 40};

    (void)state;
    open_hub(NULL);
    for (int i = 0; i < 3; i++) {
        sse__subscriber sub[2];
        sse__stream    *s = create_mirror(0, 0);
        char            want[1000];

        add_many(s, 10);
        subscribe(&sub[0], s, "10");
        assert_drained(&sub[0], "");
        subscribe(&sub[1], s, "3");
        sse__mirror_diverge(s, to[i]);
        assert_int_equal(s->log.bytes, 0);
        add_many(s, 2);
        strcpy(want, diverged((int)to[i]));
        strcat(want, events(to[i] + 1, to[i] + 2));
        for (int j = 0; j < 2; j++) {
            assert_ptr_equal(sse__port_take(&port), &sub[j]);
            take_text(&sub[j], 1000);
            assert_string_equal(taken, want);
            sse__subscriber_close(&sub[j]);
        }
        is_woken();
        subscribe(&sub[0], s, "$");
        assert_drained(&sub[0], "");
        sse__subscriber_close(&sub[0]);
        sse__stream_remove(s);
    }
    assert_int_equal(hub.counters.gaps[SSE_GAP_DIVERGED], 6);
    close_hub();
}

/* The other log may be shorter, and have one event that is longer than what
 * a reader asks for. */
static void diverges_while_taken(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;
    char            row[600];

    (void)state;
    open_hub(NULL);
    s = create_mirror(0, 0);
    add_many(s, 10);
    subscribe(&sub, s, "10");
    take(&sub, 100);
    sse__mirror_diverge(s, 0);
    sse__subscriber_give(&sub);
    assert_drained(&sub, diverged(0)); /* though there is no event */
    sse__subscriber_close(&sub);
    add_many(s, 10);
    subscribe(&sub, s, "10");
    take(&sub, 100);
    sse__mirror_diverge(s, 0);
    sprintf(row, "{\"type\":\"message\",\"data\":\"%0500d\"}", 7);
    OK(add_row(s, row));
    sse__subscriber_give(&sub);
    take(&sub, 100); /* as much as sse__subscriber_need() said, no more */
    assert_int_equal(strncmp(taken, diverged(0), 60), 0);
    assert_non_null(strstr(taken, "0007\n\n"));
    sse__subscriber_close(&sub);
    close_hub();
}

/* ---- The end ---- */

static void end(sse__stream *s)
{
    OK(add_row(s, "{\"type\":\"completed\",\"data\":{}}"));
    sse__mirror_end(s, SSE_STATE_COMPLETED);
}

static void ends(void **state)
{
    sse__subscriber sub, early;
    sse__stream    *s;
    char            want[200], *last = want + sprintf(want, "%s", events(2, 2));

    (void)state;
    open_hub(NULL);
    s = create_mirror(0, 0);
    add_many(s, 1);
    subscribe(&sub, s, "");
    assert_drained(&sub, events(1, 1));
    add_many(s, 1);
    end(s);
    strcpy(last, "id: 3-00003333\nevent: completed\ndata: {}\n\n[1]");
    assert_drained(&sub, want);
    assert_int_equal(s->state, SSE_STATE_COMPLETED);
    assert_int_equal(hub.counters.active, 0);
    assert_int_equal(hub.counters.streams_ended[SSE_STATE_COMPLETED], 1);
    sse__mirror_end(s, SSE_STATE_FAILED); /* once is all */
    assert_int_equal(s->state, SSE_STATE_COMPLETED);
    /* 204 for those who had it */
    assert_int_equal(subscribe_to(&sub, s, id_of(3)), SSE_ERR_ENDED);
    assert_int_equal(subscribe_to(&sub, s, "3"), SSE_ERR_ENDED);
    assert_int_equal(subscribe_to(&sub, s, "$"), SSE_ERR_ENDED);
    subscribe(&early, s, id_of(1));
    assert_drained(&early, want);
    subscribe(&early, s, "3-00000000");
    assert_int_equal(strncmp(drain(&early), diverged(0), 60), 0);
    close_hub();
}

/* The end may come to be known after its event was read, and while that is on
 * its way to the reader. */
static void ends_while_taken(void **state)
{
    for (int i = 0; i < 2; i++) {
        sse__subscriber sub;
        sse__stream    *s;

        (void)state;
        open_hub(NULL);
        s = create_mirror(0, 0);
        subscribe(&sub, s, "");
        assert_drained(&sub, "");
        add_many(s, 1);
        take(&sub, 100);
        assert_string_equal(taken, events(1, 1));
        if (i)
            sse__subscriber_give(&sub);
        sse__mirror_end(s, SSE_STATE_FAILED);
        if (!i)
            sse__subscriber_give(&sub);
        assert_drained(&sub, "[1]");
        assert_false(sse__subscriber_is_open(&sub));
        close_hub();
    }
}

/* The news may come when the stream was forgotten here. */
static void may_be_gone(void)
{
    sse__subscriber sub;
    sse__stream    *s;

    open_hub(NULL);
    s = create_mirror(5, 0);
    sse__stream_ref(s);
    subscribe(&sub, s, "5");
    add_many(s, 3);
    sse__stream_remove(s);
    add_many(s, 3);
    OK(add_old(s, 3, 0));
    sse__mirror_skip(s, 30);
    sse__mirror_diverge(s, 2);
    end(s);
    assert_int_equal(s->state, SSE_STATE_ACTIVE);
    assert_int_equal(hub.counters.active, 0);
    assert_drained(&sub, "[3]");
    sse__stream_unref(s);
    sse__hub_set_time(&hub, INT32_MAX, WALL);
    sse__hub_tick(&hub); /* no timer of it is left */
    close_hub();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(says_what_it_cannot_read),
        FAIL_ALLOC_TEST(knows_the_tags_of_the_unreadable),
        cmocka_unit_test(wakes_readers_once),
        FAIL_ALLOC_TEST(adds_all_or_nothing),
        cmocka_unit_test(keeps_to_its_bounds),
        cmocka_unit_test(gets_older_events),
        cmocka_unit_test(checks_cursors_at_anchors),
        cmocka_unit_test(skips),
        cmocka_unit_test(tells_of_a_skip_at_once),
        cmocka_unit_test(knows_no_tag_behind_a_skip),
        cmocka_unit_test(diverges),
        cmocka_unit_test(diverges_while_taken),
        cmocka_unit_test(ends),
        cmocka_unit_test(ends_while_taken),
        FAIL_ALLOC_TEST(may_be_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
