/* SPDX-License-Identifier: MIT */
/* mirror_model_test.c - two hubs back to back: what an owner appends here,
 * readers of its mirror get there, or are told what is missing.
 *
 * Between the two stands a store that is slow, forgets, damages a row now and
 * then, and gives out pages of any length, newest first or not. The model knows
 * nothing of rows and logs: it encodes every event itself. */
#include "backing.h"
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "subscriber.h"

#define WALL INT64_C(1800000000000)
#define ROUNDS 40
#define STEPS 4000
#define EVENTS 5000 /* of one life of the stream */
#define READERS 10

typedef struct truth {
    char    *row; /* in the store, if it ever was there */
    size_t   row_len;
    char    *wire; /* what readers must get */
    size_t   wire_len;
    char     id[32];
    uint32_t tag;
} truth;

/* The store, and all that ever was in a life of the stream. */
typedef struct life {
    truth    at[EVENTS];
    uint64_t base; /* the store's oldest is base + 1 */
    uint64_t top;  /* the store's newest */
    uint64_t made; /* the owner's newest */
    uint64_t lost; /* it left the owner before the store had it */
    bool     ended;
} life;

typedef struct reader {
    sse__subscriber sub;
    uint64_t        next; /* what it must get next */
    bool            open, held, diverged;
} reader;

static sse__hub     ours, theirs;
static sse__port    port;
static sse__stream *owner, *mirror;
static life         lives[2], *now = &lives[0]; /* of the owner */
static life        *seen = &lives[0];           /* of the mirror */
static reader       readers[READERS];
static int64_t      now_ms;
static uint32_t     seed;

/* How often the model met what it is for. */
static struct {
    unsigned steps, events, gaps, diverged, unreadable, skips, old, ends,
        removed, lost;
} met;

static uint32_t pick(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

/* ---- The owner ---- */

static size_t make_data(char *out)
{
    static const char *const pieces[] = {"\r",
                                         "\n",
                                         "\r\n",
                                         "",
                                         "\"",
                                         "{\"a\":[1,{}]}",
                                         "[]",
                                         " ",
                                         "\t",
                                         "x",
                                         "some text",
                                         "\xc3\xa9",
                                         "\xf0\x9f\x98\x80",
                                         "data: ",
                                         "id: 1"};
    size_t                   len = 0;

    for (uint32_t count = pick(pick(4) ? 3 : 12); count > 0; count--) {
        const char *piece = pieces[pick(sizeof(pieces) / sizeof(*pieces))];

        if (*piece == '\0')
            out[len++] = '\0';
        memcpy(out + len, piece, strlen(piece));
        len += strlen(piece);
    }
    return len;
}

static size_t put(char *out, size_t len, const char *text)
{
    memcpy(out + len, text, strlen(text));
    return len + strlen(text);
}

/* What an event looks like to readers, by the rules. */
static void make_wire(truth *t, const char *type, const char *data, size_t len)
{
    char   wire[1000];
    size_t n = put(wire, put(wire, put(wire, 0, "id: "), t->id), "\n");

    if (*type)
        n = put(wire, put(wire, put(wire, n, "event: "), type), "\n");
    n = put(wire, n, "data: ");
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n' && i > 0 && data[i - 1] == '\r')
            continue;
        if (data[i] == '\r' || data[i] == '\n')
            n = put(wire, n, "\ndata: ");
        else
            wire[n++] = data[i];
    }
    n = put(wire, n, "\n\n");
    t->wire = malloc(n);
    assert_non_null(t->wire);
    memcpy(t->wire, wire, t->wire_len = n);
}

static void note(const sse__new_event *e, const sse_event_id *id,
                 const char *type)
{
    truth *t = &now->at[id->seq];

    assert_true(id->seq == now->made + 1 && id->seq < EVENTS);
    strcpy(t->id, id->text);
    t->tag = id->tag;
    make_wire(t, type, e->data, e->data_len);
    now->made = id->seq;
    met.events++;
}

static void owner_append(void)
{
    enum { MAX = 20 };
    static char    data[MAX][300];
    sse__new_event events[MAX];
    sse_event_id   ids[MAX];
    size_t         count = pick(3) ? 1 : 1 + pick(MAX);

    for (size_t i = 0; i < count; i++)
        events[i] = (sse__new_event){"t", pick(2), data[i], make_data(data[i])};
    if (now->ended)
        return;
    OK(sse__stream_append(owner, events, count, ids));
    for (size_t i = 0; i < count; i++)
        note(&events[i], &ids[i], events[i].type_len ? "t" : "");
}

static void owner_end(void)
{
    sse__new_event last = {"", 0, "{}", 2};
    sse_event_id   id;

    if (now->ended)
        return;
    OK(sse__stream_end(owner, SSE_STATE_COMPLETED, &last, &id));
    note(&last, &id, "completed");
    now->ended = true;
}

static void owner_create(void)
{
    sse_stream_options opts = {.size = sizeof(opts), .log_age_ms = 3000};

    opts.log_events = 1 + pick(60);
    opts.log_bytes = 1000 + pick(3000);
    OK(sse__stream_create(&ours, "s", 1, NULL, &opts, &owner));
    OK(sse__backing_new(owner, SSE__OWNER, 0, 0));
}

/* ---- The store ---- */

/* Some other program has written over it. */
static void damage(truth *t, uint64_t seq)
{
    char wire[200];

    free(t->row);
    t->row = strdup("{\"type\":\"a\\nb\",\"data\":1}");
    t->row_len = strlen(t->row);
    free(t->wire);
    t->wire_len = (size_t)sprintf(
        wire,
        "event: gap\ndata: {\"from\":%" PRIu64 ",\"to\":%" PRIu64
        ",\"missed\":1,\"reason\":\"unreadable\"}\n\n",
        seq, seq);
    t->wire = strdup(wire);
    met.unreadable++;
}

static void store_row(const sse__row *row, uint64_t seq)
{
    truth *t = &now->at[seq];

    assert_int_equal(row->tag, t->tag);
    t->row = malloc(row->len);
    assert_non_null(t->row);
    memcpy(t->row, row->text, t->row_len = row->len);
    now->top = seq;
    if (pick(100) == 0)
        damage(t, seq);
}

/* Takes rows from the owner, at most `count` of them. */
static void store_take(uint64_t count)
{
    const sse__rows *rows = &owner->backing->rows;
    sse__stream     *s = sse__hub_take_dirty(&ours);

    if (!s) {
        assert_true(now->top == now->made); /* or there were something to do */
        return;
    }
    assert_ptr_equal(s, owner);
    assert_null(sse__hub_take_dirty(&ours));
    if (rows->first_seq > now->top + 1) {
        now->lost += rows->first_seq - now->top - 1;
        now->base = now->top = rows->first_seq - 1;
    }
    while (now->top + 1 < rows->next_seq && count-- > 0)
        store_row(sse__rows_get(rows, now->top + 1), now->top + 1);
    owner->backing->stored_seq = now->top;
    if (now->top < now->made)
        sse__stream_dirty(owner);
}

static void store_forget(void)
{
    uint64_t kept = now->top - now->base;

    now->base += pick((uint32_t)(kept < 50 ? kept : 50) + 1);
}

/* ---- The mirror ---- */

static uint32_t tag_of(uint64_t seq)
{
    return seen->at[seq].tag;
}

static void mirror_create(uint64_t seq)
{
    sse_stream_options opts = {.size = sizeof(opts), .log_age_ms = 3000};

    opts.log_events = 1 + pick(60);
    opts.log_bytes = 1000 + pick(3000);
    OK(sse__stream_create(&theirs, "s", 1, NULL, &opts, &mirror));
    OK(sse__backing_new(mirror, SSE__MIRROR, seq, tag_of(seq)));
}

static bool take_one(void);

/* The mirror finds that the store has another stream now. */
static void mirror_change(void)
{
    seen = now;
    if (mirror->state != SSE_STATE_ACTIVE) {
        sse__stream_remove(mirror);
        for (int i = 0; i < READERS; i++)
            if (readers[i].open && readers[i].held)
                sse__subscriber_give(&readers[i].sub);
        while (take_one())
            ;
        mirror_create(seen->base +
                      pick((uint32_t)(seen->top - seen->base + 1)));
        return;
    }
    sse__mirror_diverge(mirror, seen->base);
    for (int i = 0; i < READERS; i++)
        readers[i].diverged = true;
}

static void mirror_end(void)
{
    bool is_all = mirror->log.next_seq == seen->made + 1;

    if (seen == now && seen->ended && is_all)
        sse__mirror_end(mirror, SSE_STATE_COMPLETED);
}

static void mirror_page(uint64_t count)
{
    if (seen != now)
        mirror_change();
    if (mirror->log.next_seq <= seen->base) {
        sse__mirror_skip(mirror, seen->base);
        met.skips++;
    }
    while (mirror->log.next_seq <= seen->top && count-- > 0) {
        const truth *t = &seen->at[mirror->log.next_seq];

        assert_true(sse__mirror_add(mirror, guarded(t->row, t->row_len),
                                    t->row_len, t->tag) >= 0);
    }
    if (pick(4))
        mirror_end(); /* else it learns that later */
    sse__mirror_added(mirror);
}

static void mirror_old(void)
{
    enum { MAX = 30 };
    sse__old_row rows[MAX];
    uint64_t     first = mirror->log.first_seq;
    uint32_t     count;

    if (seen != now || first <= seen->base + 1)
        return;
    count = 1 + pick(MAX);
    if (count > first - 1 - seen->base)
        count = (uint32_t)(first - 1 - seen->base);
    for (uint32_t i = 0; i < count; i++) {
        const truth *t = &seen->at[first - count + i];

        rows[i] = (sse__old_row){t->row, t->row_len, t->tag};
    }
    OK(sse__mirror_add_old(mirror, rows, count, tag_of(first - count - 1)));
    assert_true(mirror->log.first_seq == first - count);
    met.old++;
}

/* ---- Readers ---- */

/* Of the stream as the mirror knows it, of the other one, or none at all. */
static void pick_cursor(char *out)
{
    life    *from = pick(6) ? seen : &lives[pick(2)];
    uint64_t seq = from->made > 0 ? 1 + pick((uint32_t)from->made) : 0;

    switch (pick(8)) {
    case 0: strcpy(out, pick(2) ? "" : "0"); break;
    case 1: strcpy(out, "$"); break;
    case 2: sprintf(out, "%" PRIu64, seq); break;
    case 3: sprintf(out, "%" PRIu64 "-%08x", seq + !seq, pick(1u << 20)); break;
    default: strcpy(out, from->at[seq].id); break;
    }
}

/* Whether the library says `diverged` where it must, and only there. */
static void check_place(const reader *r, const char *cursor)
{
    uint64_t seq = strtoull(cursor, NULL, 10);
    uint64_t first = mirror->log.first_seq, top = mirror->log.next_seq - 1;
    bool     tagged = strchr(cursor, '-') != NULL;
    bool     equal = strcmp(cursor, seen->at[seq].id) == 0;

    if (seq == 0)
        assert_false(r->sub.diverged);
    else if (seq > top)
        assert_true(r->sub.diverged);
    else if (tagged && seq >= first)
        assert_int_equal(r->sub.diverged, !equal);
    else if (!tagged || equal || seq < first - 1)
        assert_false(r->sub.diverged);
}

static void reader_open(reader *r)
{
    char cursor[40];
    int  rc;

    if (r->open)
        return;
    pick_cursor(cursor);
    rc = sse__subscriber_open(&r->sub, mirror, &port, cursor, strlen(cursor),
                              NULL);
    check_place(r, cursor);
    if (rc == SSE_ERR_ENDED) {
        assert_true(mirror->state != SSE_STATE_ACTIVE);
        assert_true(*cursor == '$' ||
                    strtoull(cursor, NULL, 10) == mirror->log.next_seq - 1);
        return;
    }
    assert_int_equal(rc, SSE_OK);
    r->open = true;
    r->held = false;
    r->diverged = r->sub.diverged;
    r->next =
        *cursor == '$' ? mirror->log.next_seq : strtoull(cursor, NULL, 10) + 1;
}

/* A gap that the reader was told of: that, and no other. */
static size_t read_gap(reader *r, const char *text)
{
    static const char *const reasons[] = {"trimmed", "expired", "lagged"};
    uint64_t                 to = mirror->log.first_seq - 1;
    char                     want[200];
    size_t                   len = 0;

    if (r->diverged) {
        met.diverged++;
        r->diverged = false;
        len = (size_t)sprintf(want,
                              "event: gap\ndata: {\"from\":1,\"to\":%" PRIu64
                              ",\"missed\":null,\"reason\":\"diverged\"}\n\n",
                              to);
    }
    for (int i = 0; len == 0; i++) {
        assert_true(i < 3 && to >= r->next);
        len = (size_t)sprintf(want,
                              "event: gap\ndata: {\"from\":%" PRIu64
                              ",\"to\":%" PRIu64 ",\"missed\":%" PRIu64
                              ",\"reason\":\"%s\"}\n\n",
                              r->next, to, to - r->next + 1, reasons[i]);
        if (strncmp(text, want, len) != 0)
            len = 0;
    }
    if (strncmp(text, want, len) != 0)
        fail_msg("want:\n%s\ngot:\n%s", want, text);
    r->next = to + 1;
    met.gaps++;
    return len;
}

/* The prefix of a take, made for this reader alone, is a gap or nothing. */
static void read_take(reader *r, const sse__take *t)
{
    char prefix[sizeof(t->prefix) + 1] = "";

    memcpy(prefix, t->prefix, t->prefix_len);
    if (t->end != SSE_REASON_REMOVED && (r->diverged || t->prefix_len > 0))
        assert_int_equal(read_gap(r, prefix), t->prefix_len);
    for (uint32_t i = 0; i < t->span_count; i++) {
        const char *at = t->spans[i].data, *end = at + t->spans[i].len;

        for (; at < end; at += seen->at[r->next++].wire_len) {
            const truth *e = &seen->at[r->next];

            assert_true((size_t)(end - at) >= e->wire_len);
            assert_memory_equal(at, e->wire, e->wire_len);
        }
    }
}

static void reader_close(reader *r)
{
    if (r->open)
        sse__subscriber_close(&r->sub);
    r->open = r->held = false;
}

static bool take_one(void)
{
    sse__subscriber *sub = sse__port_take(&port);
    reader          *r;
    size_t           max_bytes, need;
    sse__take        take;

    if (!sub)
        return false;
    r = SSE__OWNER(sub, reader, sub);
    max_bytes = 1 + pick(pick(3) ? 300 : 4000);
    need = sse__subscriber_need(sub, max_bytes);
    sse__subscriber_take(sub, max_bytes, &take);
    assert_true(take.bytes <= need);
    read_take(r, &take);
    sse__take_drop(&take);
    if (take.end != SSE_REASON_NONE) {
        if (take.end == SSE_REASON_ENDED)
            assert_true(r->next == seen->made + 1);
        met.ends += take.end == SSE_REASON_ENDED;
        met.removed += take.end == SSE_REASON_REMOVED;
        reader_close(r);
    } else if (pick(4) == 0) {
        r->held = true; /* its bytes stay under way for a while */
    } else {
        sse__subscriber_give(sub);
    }
    return true;
}

static void give_back(reader *r)
{
    if (!r->held)
        return;
    r->held = false;
    sse__subscriber_give(&r->sub);
}

/* ---- All of it ---- */

static void drop_life(life *l)
{
    for (uint64_t seq = 1; seq <= l->made; seq++) {
        free(l->at[seq].row);
        free(l->at[seq].wire);
    }
    memset(l, 0, sizeof(*l));
}

/* The stream is created again, in a store that has forgotten the old one. */
static void live_again(void)
{
    if (seen != now)
        mirror_page(0);
    met.lost += owner->backing->lost > 0;
    sse__stream_remove(owner);
    now = now == &lives[0] ? &lives[1] : &lives[0];
    drop_life(now);
    owner_create();
}

static void pass(int64_t ms)
{
    now_ms += ms;
    sse__hub_set_time(&ours, now_ms, WALL + now_ms);
    sse__hub_set_time(&theirs, now_ms, WALL + now_ms + 7);
    sse__hub_tick(&ours);
    sse__hub_tick(&theirs);
}

static void step(void)
{
    reader *r = &readers[pick(READERS)];

    switch (pick(18)) {
    case 0:
    case 1:
    case 2: owner_append(); break;
    case 3:
    case 4: store_take(1 + pick(40)); break;
    case 5: mirror_page(pick(40)); break;
    case 6: mirror_page(pick(5)); break;
    case 7:
        if (pick(3) == 0)
            mirror_old();
        break;
    case 8:
    case 9: reader_open(r); break;
    case 10:
        if (pick(8) == 0)
            reader_close(r);
        break;
    case 11: give_back(r); break;
    case 12: mirror_end(); break;
    case 13:
        if (pick(8) == 0)
            store_forget();
        break;
    case 14: pass(pick(20) ? pick(200) : pick(5000)); break;
    case 15:
        if (pick(40) == 0)
            owner_end();
        if (pick(now->ended ? 8 : 80) == 0 || now->made > EVENTS - 50)
            live_again();
        break;
    default: take_one(); break;
    }
}

/* Whoever is still there gets everything that is left. */
static void finish(void)
{
    uint64_t top = now->made;

    store_take(UINT64_MAX);
    assert_int_equal(owner->backing->lost, now->lost);
    mirror_page(UINT64_MAX);
    mirror_end();
    do
        for (int i = 0; i < READERS; i++)
            give_back(&readers[i]);
    while (take_one());
    assert_true(mirror->log.next_seq == top + 1);
    for (int i = 0; i < READERS; i++) {
        if (readers[i].open) {
            assert_false(now->ended);
            assert_true(readers[i].next == top + 1);
        }
        reader_close(&readers[i]);
    }
}

static void run(uint32_t first_seed)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .stream_ttl_ms = SSE_NEVER,
                            .completion_ttl_ms = SSE_NEVER,
                            .heartbeat_ms = SSE_NEVER,
                            .retry_ms = SSE_NEVER};

    seed = first_seed;
    now_ms = 1000;
    now = seen = &lives[0];
    OK(sse__hub_init(&ours, &opts, 7, now_ms, WALL + now_ms));
    OK(sse__hub_init(&theirs, &opts, 8, now_ms, WALL + now_ms));
    sse__port_init(&port, &theirs);
    owner_create();
    mirror_create(0);
    for (int i = 0; i < STEPS; i++, met.steps++)
        step();
    finish();
    met.lost += owner->backing->lost > 0;
    sse__port_free(&port);
    sse__hub_free(&theirs);
    sse__hub_free(&ours);
    assert_int_equal(theirs.counters.log_bytes, 0);
    assert_int_equal(ours.counters.log_bytes, 0);
    drop_life(&lives[0]);
    drop_life(&lives[1]);
}

static void whole_in_order_and_once(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= ROUNDS; i++)
        run(i * 7919);
    assert_true(met.steps > 100000 && met.events > 50000);
    assert_true(met.gaps > 1000 && met.diverged > 500 && met.skips > 100);
    assert_true(met.unreadable > 100 && met.old > 500 && met.lost > 50);
    assert_true(met.ends > 100 && met.removed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_in_order_and_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
