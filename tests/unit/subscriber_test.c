/* SPDX-License-Identifier: MIT */
/* subscriber_test.c - readers: whole, in order and once, or told. */
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "subscriber.h"

#define WALL INT64_C(1800000000000)

static sse__hub  hub;
static sse__port port;
static int64_t   now_ms;

static void open_hub(const sse_hub_options *opts)
{
    now_ms = 1000;
    OK(sse__hub_init(&hub, opts, 7, now_ms, WALL));
    sse__port_init(&port, &hub);
}

static void close_hub(void)
{
    sse__port_free(&port);
    sse__hub_free(&hub);
    assert_int_equal(hub.counters.subscribers, 0);
    assert_int_equal(hub.counters.active, 0);
}

static void pass(int64_t ms)
{
    now_ms += ms;
    sse__hub_set_time(&hub, now_ms, WALL + now_ms);
    sse__hub_tick(&hub);
}

static sse__stream *create(const char *id, const sse_stream_options *opts)
{
    sse__stream *s;

    OK(sse__stream_create(&hub, id, strlen(id), NULL, opts, &s));
    return s;
}

static void append(sse__stream *s, const char *data)
{
    sse__new_event e = {"", 0, data, strlen(data)};

    OK(sse__stream_append(s, &e, 1, NULL));
}

static void end(sse__stream *s)
{
    sse__new_event e = {"", 0, "{}", 2};

    OK(sse__stream_end(s, SSE_STATE_COMPLETED, &e, NULL));
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

/* What one take gave, as text; the end as "[REASON]". */
static char taken[100000];

static void take_text(sse__subscriber *sub, size_t max_bytes)
{
    sse__take take;
    size_t    len;

    assert_true(sub->taken);
    sse__subscriber_take(sub, max_bytes, &take);
    assert_true(take.prefix_len <= sizeof(take.prefix));
    assert_true(take.bytes + 100 < sizeof(taken));
    memcpy(taken, take.prefix, len = take.prefix_len);
    for (uint32_t i = 0; i < take.span_count; i++) {
        memcpy(taken + len, take.spans[i].data, take.spans[i].len);
        len += take.spans[i].len;
    }
    assert_int_equal(len, take.bytes);
    taken[len] = '\0';
    if (take.end)
        snprintf(taken + len, 20, "[%u]", take.end);
    sse__take_drop(&take);
}

/* Everything that `sub`, the only one with something, gets. */
static const char *drain(sse__subscriber *sub)
{
    static char      all[sizeof(taken)];
    sse__subscriber *got;

    all[0] = '\0';
    while ((got = sse__port_take(&port))) {
        assert_ptr_equal(got, sub);
        take_text(sub, 1u << 20);
        strcat(all, taken);
        if (strchr(taken, '['))
            sse__subscriber_close(sub);
        else
            sse__subscriber_give(sub);
    }
    port.armed = true;
    return all;
}

#define assert_drained(sub, text) assert_string_equal(drain(sub), text)

/* ---- The model ----
 *
 * Streams get events, end, are forgotten and created again; readers come with
 * all kinds of cursors, take what they like, and go. The model knows nothing
 * of logs and segments: it keeps every event, and where the bounds stand. */

#define EVENTS 6000
#define READERS 12
#define PORTS 2
#define STREAMS 3
#define IDS 64

typedef struct model {
    sse__stream *s;
    uint32_t     max_events, max_bytes, policy;
    uint64_t     first, next;
    size_t       bytes;
    bool         expired; /* why the last one was dropped */
    bool         ended, gone;
    char        *wire[EVENTS];
    char         id[EVENTS][32];
    int64_t      time_ms[EVENTS];
} model;

typedef struct reader {
    sse__subscriber sub;
    model          *m;
    uint64_t        next; /* the event it must get next */
    bool            open, held, diverged, started;
    const char     *reason; /* of a gap, if there is one now */
} reader;

static model    *models[STREAMS];
static reader    readers[READERS];
static sse__port ports[PORTS];
static char      old_ids[IDS][32];
static unsigned  old_id;
static uint32_t  seed;
static uint64_t  gaps, ends[7];

static uint32_t pick(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

#define AGE_MS 5000

static void model_create(int i)
{
    char               id[8];
    sse_stream_options opts = {.size = sizeof(opts)};
    model             *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->max_events = opts.log_events = 1 + pick(40);
    m->max_bytes = opts.log_bytes = 400 + pick(2000);
    m->policy = opts.slow_policy = pick(2) ? SSE_SLOW_GAP : SSE_SLOW_DISCONNECT;
    opts.slow_policy_set = 1;
    opts.log_age_ms = AGE_MS;
    m->first = m->next = 1;
    snprintf(id, sizeof(id), "s%d", i);
    m->s = create(id, &opts);
    sse__stream_ref(m->s);
    models[i] = m;
}

static void model_drop(model *m)
{
    for (uint64_t seq = 1; seq < m->next; seq++)
        free(m->wire[seq]);
    sse__stream_unref(m->s);
    free(m);
}

static void model_drop_first(model *m, bool expired)
{
    m->bytes -= strlen(m->wire[m->first]);
    m->expired = expired;
    m->first++;
}

static void model_expire(model *m, uint64_t keep)
{
    while (m->next - m->first > keep && m->time_ms[m->first] < now_ms - AGE_MS)
        model_drop_first(m, true);
}

static void model_trim(model *m)
{
    while (m->next - m->first > 1 &&
           (m->next - m->first > m->max_events || m->bytes > m->max_bytes))
        model_drop_first(m, false);
    model_expire(m, 1);
}

static void model_add(model *m, const char *type, const char *a, const char *b,
                      const char *id)
{
    char wire[1000];

    snprintf(wire, sizeof(wire), "id: %s\n%s%s%sdata: %s\n%s%s%s\n", id,
             *type ? "event: " : "", type, *type ? "\n" : "", a,
             b ? "data: " : "", b ? b : "", b ? "\n" : "");
    assert_true(m->next < EVENTS);
    m->wire[m->next] = strdup(wire);
    m->bytes += strlen(wire);
    m->time_ms[m->next] = now_ms;
    strcpy(m->id[m->next], id);
    strcpy(old_ids[old_id++ % IDS], id);
    m->next++;
}

typedef struct made_event {
    char  data[200];
    char *second; /* line of the data, or NULL */
    char  type[4];
} made_event;

static void make_event(made_event *e, sse__new_event *out)
{
    size_t len = pick(pick(10) ? 40 : 150);

    memset(e->data, 'a' + (int)pick(26), len);
    e->data[len] = '\0';
    e->second = NULL;
    strcpy(e->type, pick(3) ? "" : "t");
    if (len > 2 && pick(4) == 0) {
        e->second = e->data + len / 2 + 1;
        e->second[-1] = '\n';
    }
    *out = (sse__new_event){e->type, strlen(e->type), e->data, len};
}

static void model_append(model *m)
{
    enum { MAX = 12 };
    made_event     made[MAX];
    sse__new_event events[MAX];
    sse_event_id   ids[MAX];
    size_t         count = pick(3) ? 1 : 1 + pick(MAX);

    for (size_t i = 0; i < count; i++)
        make_event(&made[i], &events[i]);
    assert_int_equal(sse__stream_append(m->s, events, count, ids),
                     m->ended ? SSE_ERR_ENDED : SSE_OK);
    if (m->ended)
        return;
    for (size_t i = 0; i < count; i++) {
        if (made[i].second)
            made[i].second[-1] = '\0';
        model_add(m, made[i].type, made[i].data, made[i].second, ids[i].text);
    }
    model_trim(m);
}

static void model_end(model *m)
{
    sse__new_event e = {"", 0, "{}", 2};
    sse_event_id   id;

    if (m->ended)
        return;
    OK(sse__stream_end(m->s, SSE_STATE_FAILED, &e, &id));
    model_add(m, "failed", "{}", NULL, id.text);
    model_trim(m);
    m->ended = true;
}

/* What the library must make of a cursor. */
static int model_place(model *m, const char *cursor, reader *r)
{
    uint64_t    seq = strtoull(cursor, NULL, 10);
    const char *tag = strchr(cursor, '-');

    r->diverged = false;
    r->next = seq + 1;
    if (seq == 0)
        r->next = *cursor == '$' ? m->next : 1;
    if (*cursor != '$' && seq > 0)
        r->diverged =
            seq >= m->next || (tag && seq + 1 >= m->first && seq > 0 &&
                               strcmp(m->id[seq], cursor) != 0);
    r->reason = m->expired ? "expired" : "trimmed";
    if (r->diverged)
        return SSE_OK;
    return m->ended && *cursor && strcmp(cursor, "0") != 0 && r->next >= m->next
               ? SSE_ERR_ENDED
               : SSE_OK;
}

static void pick_cursor(model *m, char *out)
{
    switch (pick(7)) {
    case 0: strcpy(out, pick(2) ? "" : "0"); break;
    case 1: strcpy(out, "$"); break;
    case 2: snprintf(out, 32, "%" PRIu64, m->next + pick(3)); break;
    case 3: snprintf(out, 32, "%u", 1 + pick((uint32_t)m->next)); break;
    case 4: strcpy(out, old_id > IDS ? old_ids[pick(IDS)] : ""); break;
    default:
        strcpy(out, m->next > 1 ? m->id[1 + pick((uint32_t)m->next - 1)] : "");
        break;
    }
}

static void model_subscribe(model *m)
{
    reader *r = &readers[pick(READERS)];
    char    cursor[32];

    if (r->open)
        return;
    pick_cursor(m, cursor);
    model_expire(m, m->ended);
    assert_int_equal(sse__subscriber_open(&r->sub, m->s, &ports[pick(PORTS)],
                                          cursor, strlen(cursor), NULL),
                     model_place(m, cursor, r));
    r->open = sse__subscriber_is_open(&r->sub);
    r->held = r->started = false;
    r->m = m;
}

/* The front of what a reader must get; false when that is all. */
static bool expect_front(reader *r, char *out)
{
    model *m = r->m;

    out[0] = '\0';
    if (!r->started)
        strcpy(out, "retry: 1000\n\n");
    r->started = true;
    if (m->gone) {
        strcat(out, "[3]");
        return false;
    }
    if (!r->diverged && r->next < m->first &&
        m->policy == SSE_SLOW_DISCONNECT && strcmp(r->reason, "lagged") == 0) {
        strcat(out, "[2]");
        return false;
    }
    if (r->diverged)
        sprintf(out + strlen(out),
                "event: gap\ndata: {\"from\":1,\"to\":%" PRIu64
                ",\"missed\":null,\"reason\":\"diverged\"}\n\n",
                m->first - 1);
    else if (r->next < m->first)
        sprintf(out + strlen(out),
                "event: gap\ndata: {\"from\":%" PRIu64 ",\"to\":%" PRIu64
                ",\"missed\":%" PRIu64 ",\"reason\":\"%s\"}\n\n",
                r->next, m->first - 1, m->first - r->next, r->reason);
    gaps += r->diverged || r->next < m->first;
    if (r->diverged || r->next < m->first)
        r->next = m->first;
    r->diverged = false;
    r->reason = "lagged";
    return true;
}

/* Compares what was taken with what the model has; moves the reader. */
static void expect(reader *r, size_t max_bytes)
{
    static char want[sizeof(taken)];
    model      *m = r->m;
    uint64_t    from;
    size_t      bytes = 0;

    if (expect_front(r, want)) {
        from = r->next;
        while (r->next < m->next) {
            size_t more = strlen(m->wire[r->next]);

            if (r->next > from && bytes + more > max_bytes)
                break;
            bytes += more;
            strcat(want, m->wire[r->next++]);
        }
        if (m->ended && r->next == m->next)
            strcat(want, "[1]");
    }
    if (strcmp(want, taken) != 0)
        fail_msg("want:\n%s\ngot:\n%s", want, taken);
}

static void model_give(reader *r)
{
    const char *bracket = strchr(taken, '[');

    if (bracket) {
        ends[bracket[1] - '0']++;
        sse__subscriber_close(&r->sub);
        r->open = r->held = false;
    } else if (pick(4) == 0) {
        r->held = true; /* its bytes stay under way for a while */
    } else {
        sse__subscriber_give(&r->sub);
    }
}

static bool model_take(sse__port *p)
{
    sse__subscriber *sub = sse__port_take(p);
    size_t           max_bytes = 1 + pick(pick(3) ? 300 : 4000);
    reader          *r;

    if (!sub)
        return false;
    r = SSE__OWNER(sub, reader, sub);
    take_text(sub, max_bytes);
    expect(r, max_bytes);
    model_give(r);
    return true;
}

static void model_free_reader(reader *r)
{
    if (r->open)
        sse__subscriber_close(&r->sub);
    r->open = r->held = false;
}

static void model_forget(int i)
{
    model *m = models[i];

    m->gone = true;
    sse__stream_remove(m->s);
    for (int p = 0; p < PORTS; p++)
        while (model_take(&ports[p]))
            ;
    for (int n = 0; n < READERS; n++)
        if (readers[n].m == m)
            model_free_reader(&readers[n]);
    model_drop(m);
    model_create(i);
}

static void model_step(void)
{
    int     i = (int)pick(STREAMS);
    model  *m = models[i];
    reader *r = &readers[pick(READERS)];

    switch (pick(16)) {
    case 0:
    case 1:
    case 2: model_append(m); break;
    case 3:
    case 4: model_subscribe(m); break;
    case 5:
        if (pick(4) == 0)
            model_free_reader(r);
        break;
    case 6: pass(pick(20) ? pick(300) : pick(7000)); break;
    case 7:
        if (pick(20) == 0)
            model_end(m);
        break;
    case 8:
        if (pick(m->ended ? 10 : 60) == 0 || m->next > EVENTS - 20)
            model_forget(i);
        break;
    case 9:
        if (r->held) {
            r->held = false;
            sse__subscriber_give(&r->sub);
        }
        break;
    default: model_take(&ports[pick(PORTS)]); break;
    }
}

/* Whoever is still there gets everything that is left. */
static void model_finish(void)
{
    for (int i = 0; i < READERS; i++)
        if (readers[i].held)
            sse__subscriber_give(&readers[i].sub);
    for (int p = 0; p < PORTS; p++)
        while (model_take(&ports[p]))
            for (int i = 0; i < READERS; i++)
                if (readers[i].held) {
                    readers[i].held = false;
                    sse__subscriber_give(&readers[i].sub);
                }
    for (int i = 0; i < READERS; i++) {
        if (readers[i].open)
            assert_int_equal(readers[i].next, readers[i].m->next);
        model_free_reader(&readers[i]);
    }
    for (int i = 0; i < STREAMS; i++)
        model_drop(models[i]);
    for (int p = 0; p < PORTS; p++)
        sse__port_free(&ports[p]);
}

static void run_model(uint32_t first_seed)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .stream_ttl_ms = SSE_NEVER,
                            .completion_ttl_ms = SSE_NEVER,
                            .heartbeat_ms = SSE_NEVER};

    seed = first_seed;
    open_hub(&opts);
    pass(0);
    for (int p = 0; p < PORTS; p++)
        sse__port_init(&ports[p], &hub);
    for (int i = 0; i < STREAMS; i++)
        model_create(i);
    for (int step = 0; step < 6000; step++)
        model_step();
    model_finish();
    sse__port_free(&port);
    sse__hub_free(&hub);
    assert_int_equal(hub.counters.subscribers, 0);
}

static void whole_in_order_and_once(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 30; i++)
        run_model(i * 7919);
    assert_true(gaps > 1000); /* the model did meet what it is for */
    for (int reason = 1; reason <= 3; reason++)
        assert_true(ends[reason] > 30);
}

/* ---- Cursors ---- */

static sse_event_id last_id(sse__stream *s)
{
    sse_event_id id;

    sse__stream_last_id(s, &id);
    return id;
}

static void takes_all_kinds_of_cursors(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;
    char            one[32];

    (void)state;
    open_hub(NULL);
    s = create("s", NULL);
    append(s, "a");
    strcpy(one, last_id(s).text);
    append(s, "b");
    hub.opts.retry_ms = SSE_NEVER;
    for (int i = 0; i < 4; i++) {
        const char *cursors[] = {one, "1", "", "0"};

        subscribe(&sub, s, cursors[i]);
        assert_true((strstr(drain(&sub), "data: a\n") != NULL) == (i > 1));
        sse__subscriber_close(&sub);
    }
    subscribe(&sub, s, "$");
    assert_drained(&sub, "");
    append(s, "c");
    assert_non_null(strstr(drain(&sub), "data: c\n\n"));
    sse__subscriber_close(&sub);
    for (int i = 0; i < 8; i++) {
        const char *wrong[] = {"x",  "-1", "1-",         "01",
                               "$$", "1 ", "1-ABCDEF00", "1-123456789"};

        assert_int_equal(subscribe_to(&sub, s, wrong[i]), SSE_ERR_CURSOR);
        assert_false(sse__subscriber_is_open(&sub));
    }
    assert_int_equal(s->subscriber_count, 0);
    close_hub();
}

#define DIVERGED(to) \
    "event: gap\ndata: {\"from\":1,\"to\":" to ",\"missed\":null," \
    "\"reason\":\"diverged\"}\n\n"

static void tells_of_another_log(void **state)
{
    static const char *const wrong[] = {"1-00000000", "2", "99", "3-0000aaaa"};
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};
    sse__subscriber sub;
    sse__stream    *s;
    char            want[200];

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    append(s, "a");
    snprintf(want, sizeof(want), DIVERGED("0") "id: %s\ndata: a\n\n",
             last_id(s).text);
    for (int i = 0; i < 4; i++) {
        subscribe(&sub, s, wrong[i]);
        assert_drained(&sub, want);
        sse__subscriber_close(&sub);
    }
    assert_int_equal(hub.counters.gaps[SSE_GAP_DIVERGED], 4);
    assert_int_equal(hub.counters.missed[SSE_GAP_DIVERGED], 0);
    close_hub();
}

/* The id that a reader had from the old stream is no place in the new one,
 * even where the data is the same: the time is not. */
static void tells_of_a_created_again_stream(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};
    sse__subscriber sub;
    sse__stream    *s;
    sse_event_id    old;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    append(s, "a");
    old = last_id(s);
    end(s);
    pass(1);
    s = create("s", NULL);
    append(s, "a");
    subscribe(&sub, s, old.text);
    assert_int_equal(strncmp(drain(&sub), DIVERGED("0"), 40), 0);
    sse__subscriber_close(&sub);
    close_hub();
}

static void knows_the_end(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .retry_ms = SSE_NEVER};
    sse__subscriber sub;
    sse__stream    *s;
    char            want[200];

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    append(s, "a");
    end(s);
    assert_int_equal(subscribe_to(&sub, s, last_id(s).text), SSE_ERR_ENDED);
    assert_int_equal(subscribe_to(&sub, s, "2"), SSE_ERR_ENDED);
    assert_int_equal(subscribe_to(&sub, s, "$"), SSE_ERR_ENDED);
    snprintf(want, sizeof(want), "id: %s\nevent: completed\ndata: {}\n\n[1]",
             last_id(s).text);
    subscribe(&sub, s, "1");
    assert_drained(&sub, want);
    subscribe(&sub, s, "3"); /* beyond the end: not of this log */
    assert_int_equal(strncmp(drain(&sub), DIVERGED("0"), 40), 0);
    subscribe(&sub, s, "");
    assert_non_null(strstr(drain(&sub), "{}\n\n[1]"));
    close_hub();
}

/* The completion outlives the log's age: a late reader gets it. */
static void keeps_the_terminal_event(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .retry_ms = SSE_NEVER,
                            .log_age_ms = 1000,
                            .completion_ttl_ms = 60000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    pass(0);
    s = create("s", NULL);
    append(s, "a");
    end(s);
    pass(30000);
    subscribe(&sub, s, "");
    drain(&sub);
    assert_int_equal(s->log.first_seq, 2);
    subscribe(&sub, s, "");
    assert_non_null(strstr(drain(&sub), "{\"from\":1,\"to\":1,\"missed\":1,"
                                        "\"reason\":\"expired\"}\n\nid: 2-"));
    close_hub();
}

/* ---- Gaps and policies ---- */

static void fill(sse__stream *s, int count)
{
    while (count-- > 0)
        append(s, "x");
}

static void says_why_events_are_gone(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .retry_ms = SSE_NEVER,
                            .log_events = 3,
                            .log_age_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    pass(0);
    s = create("s", NULL);
    fill(s, 10);
    subscribe(&sub, s, "2");
    assert_int_equal(strncmp(drain(&sub),
                             "event: gap\ndata: {\"from\":3,\"to\":7,"
                             "\"missed\":5,\"reason\":\"trimmed\"}\n\nid: 8-",
                             70),
                     0);
    sse__port_take(&port); /* nothing */
    fill(s, 4);            /* one more than the log keeps */
    assert_int_equal(strncmp(drain(&sub),
                             "event: gap\ndata: {\"from\":11,\"to\":11,"
                             "\"missed\":1,\"reason\":\"lagged\"}\n\nid: 12-",
                             72),
                     0);
    sse__subscriber_close(&sub);
    pass(2000);
    subscribe(&sub, s, "14");
    assert_drained(&sub, "");
    sse__subscriber_close(&sub);
    subscribe(&sub, s, "12"); /* all are too old by now */
    assert_drained(&sub, "event: gap\ndata: {\"from\":13,\"to\":14,"
                         "\"missed\":2,\"reason\":\"expired\"}\n\n");
    sse__subscriber_close(&sub);
    assert_int_equal(hub.counters.gaps[SSE_GAP_TRIMMED], 1);
    assert_int_equal(hub.counters.missed[SSE_GAP_TRIMMED], 5);
    assert_int_equal(hub.counters.gaps[SSE_GAP_LAGGED], 1);
    assert_int_equal(hub.counters.missed[SSE_GAP_LAGGED], 1);
    assert_int_equal(hub.counters.missed[SSE_GAP_EXPIRED], 2);
    close_hub();
}

static void disconnects_slow_readers(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .log_events = 3,
                            .slow_policy = SSE_SLOW_DISCONNECT};
    sse__subscriber fast, slow;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    fill(s, 5);
    subscribe(&slow, s, ""); /* to be behind at first is not to be slow */
    assert_non_null(strstr(drain(&slow), "trimmed"));
    subscribe(&fast, s, "$");
    drain(&fast);
    for (int i = 0; i < 4; i++) {
        sse__subscriber *sub;

        fill(s, 1);
        while ((sub = sse__port_take(&port)) != &fast)
            assert_ptr_equal(sub, &slow); /* stays taken */
        take_text(&fast, 1000);
        sse__subscriber_give(&fast);
    }
    sse__subscriber_give(&slow);
    assert_drained(&slow, "[2]");
    assert_int_equal(hub.counters.lagged_ends, 1);
    assert_int_equal(hub.counters.gaps[SSE_GAP_LAGGED], 0);
    sse__subscriber_close(&fast);
    close_hub();
}

static sse__stream *create_blocking(uint32_t events, uint32_t bytes)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .log_events = events,
                               .log_bytes = bytes,
                               .slow_policy_set = 1,
                               .slow_policy = SSE_SLOW_BLOCK};

    return create("s", &opts);
}

/* Whether an append of that many events of one byte must. */
static bool must_wait(sse__stream *s, size_t count)
{
    const sse__new_event events[3] = {
        {"", 0, "x", 1}, {"", 0, "x", 1}, {"", 0, "x", 1}};

    return sse__stream_must_wait(s, events, count);
}

static void blocks_for_slow_readers(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_blocking(3, 0);
    fill(s, 5);
    assert_false(must_wait(s, 1)); /* nobody reads */
    subscribe(&sub, s, "$");
    drain(&sub);
    fill(s, 3);
    assert_true(must_wait(s, 1));
    hub.progress = false;
    sse__port_take(&port);
    take_text(&sub, 1); /* one of the three */
    assert_true(hub.progress);
    assert_false(must_wait(s, 1));
    assert_true(must_wait(s, 2));
    take_text(&sub, 10000);
    assert_false(must_wait(s, 3));
    sse__subscriber_give(&sub);
    fill(s, 3);
    assert_true(must_wait(s, 1));
    hub.progress = false;
    sse__subscriber_close(&sub);
    assert_true(hub.progress);
    assert_false(must_wait(s, 1));
    close_hub();
}

/* What counts against log_bytes is the event on the wire, id and all: an
 * append that would push out what a reader has not had must wait. */
static void blocks_by_bytes_as_the_log_counts_them(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create_blocking(1000, 300);
    subscribe(&sub, s, "");
    drain(&sub);
    for (int i = 0; i < 100; i++)
        if (!must_wait(s, 1))
            append(s, "x");
    assert_null(strstr(drain(&sub), "event: gap"));
    sse__subscriber_close(&sub);
    close_hub();
}

/* Each line of data takes more of the log than its text. */
static void blocks_for_line_ends_too(void **state)
{
    static const char    data[] = "a\nb\r\nc\rd\n\n\n\r\n\r";
    const sse__new_event event = {"kind", 4, data, sizeof(data) - 1};
    sse__subscriber      sub;
    sse__stream         *s;

    (void)state;
    open_hub(NULL);
    s = create_blocking(1000, 1000);
    subscribe(&sub, s, "");
    drain(&sub);
    for (int i = 0; i < 30; i++) {
        uint64_t first = s->log.first_seq;

        if (sse__stream_must_wait(s, &event, 1))
            break;
        OK(sse__stream_append(s, &event, 1, NULL));
        assert_int_equal(s->log.first_seq, first);
    }
    assert_true(s->log.bytes > 850); /* it did not wait before it had to */
    assert_true(sse__stream_must_wait(s, &event, 1));
    sse__subscriber_close(&sub);
    close_hub();
}

/* Events that are gone already are no reason to wait. */
static void does_not_block_for_what_is_gone(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .log_age_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    pass(0);
    s = create_blocking(100, 0);
    fill(s, 10);
    pass(2000);
    subscribe(&sub, s, "");
    assert_int_equal(s->log.first_seq, 11);
    assert_false(must_wait(s, 1));
    sse__subscriber_close(&sub);
    close_hub();
}

/* ---- Greeting and heartbeats ---- */

static void greets_once(void **state)
{
    sse_subscriber_options opts = {.size = sizeof(opts), .retry_ms = 77};
    sse__subscriber        sub;
    sse__stream           *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL);
    subscribe(&sub, s, "");
    assert_drained(&sub, "retry: 1000\n\n");
    append(s, "a");
    assert_int_equal(strncmp(drain(&sub), "id: 1-", 6), 0);
    sse__subscriber_close(&sub);
    OK(sse__subscriber_open(&sub, s, &port, "$", 1, &opts));
    assert_drained(&sub, "retry: 77\n\n");
    sse__subscriber_close(&sub);
    opts.retry_ms = SSE_NEVER;
    OK(sse__subscriber_open(&sub, s, &port, "$", 1, &opts));
    assert_drained(&sub, "");
    sse__subscriber_close(&sub);
    close_hub();
}

#define BEAT ": heartbeat\n\n"

static void beats_when_idle(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    subscribe(&sub, s, "");
    assert_drained(&sub, "");
    pass(999);
    assert_drained(&sub, "");
    pass(100);
    assert_drained(&sub, BEAT);
    pass(500);
    append(s, "a"); /* bytes: the silence begins anew */
    assert_non_null(strstr(drain(&sub), "data: a"));
    pass(900);
    assert_drained(&sub, "");
    pass(200);
    assert_drained(&sub, BEAT);
    pass(100000); /* a nap of the machine: one, not a hundred */
    assert_drained(&sub, BEAT);
    pass(1100);
    append(s, "b"); /* both at once: the event says enough */
    assert_null(strstr(drain(&sub), BEAT));
    sse__subscriber_close(&sub);
    assert_int_equal(hub.counters.heartbeats, 3);
    close_hub();
}

static void assert_beat(uint32_t how, const char *text)
{
    sse_hub_options opts = {.size = sizeof(opts),
                            .retry_ms = SSE_NEVER,
                            .heartbeat_ms = 1000,
                            .heartbeat = how};
    sse__subscriber sub;

    open_hub(&opts);
    subscribe(&sub, create("s", NULL), "");
    drain(&sub);
    pass(1100);
    assert_drained(&sub, text);
    sse__subscriber_close(&sub);
    close_hub();
}

static void beats_as_asked(void **state)
{
    (void)state;
    assert_beat(SSE_HEARTBEAT_EVENT, "event: heartbeat\ndata: \n\n");
    assert_beat(SSE_HEARTBEAT_LINE, ": heartbeat\n");
}

static void never_beats(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = SSE_NEVER};
    sse_subscriber_options own = {.size = sizeof(own), .heartbeat_ms = 50};
    sse__subscriber        never, often;
    sse__stream           *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    subscribe(&never, s, "");
    assert_drained(&never, "");
    OK(sse__subscriber_open(&often, s, &port, "", 0, &own));
    assert_drained(&often, "");
    for (int i = 0; i < 100; i++) {
        pass(100);
        assert_drained(&often, BEAT);
    }
    sse__subscriber_close(&never);
    sse__subscriber_close(&often);
    close_hub();
}

/* One whose bytes are still under way needs no sign of life. */
static void does_not_beat_while_taken(void **state)
{
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = 1000};
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    append(s, "a");
    subscribe(&sub, s, "");
    sse__port_take(&port);
    take_text(&sub, 1000);
    pass(5000);
    assert_null(sse__port_take(&port));
    sse__subscriber_give(&sub);
    assert_drained(&sub, "");
    pass(1100);
    assert_drained(&sub, BEAT);
    sse__subscriber_close(&sub);
    close_hub();
}

/* Ten thousand idle readers: each gets one a period. A tick that looked at
 * all of them would look six hundred million times, and not end in time. */
static void beats_for_ten_thousand(void **state)
{
    enum { COUNT = 10000, PERIODS = 20 };
    sse_hub_options opts = {
        .size = sizeof(opts), .retry_ms = SSE_NEVER, .heartbeat_ms = 15000};
    sse__subscriber *subs = calloc(COUNT, sizeof(*subs)), *sub;
    uint32_t        *beats = calloc(COUNT, sizeof(*beats));
    sse__stream     *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    for (int i = 0; i < COUNT; i++) {
        subscribe(&subs[i], s, "");
        if (i % 10 == 0)
            pass(15);
    }
    for (int step = 0; step < PERIODS * 15000 / 5; step++) {
        pass(5);
        while ((sub = sse__port_take(&port))) {
            take_text(sub, 1000);
            beats[sub - subs] += strcmp(taken, BEAT) == 0;
            sse__subscriber_give(sub);
        }
        port.armed = true;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(beats[i], PERIODS - 1, PERIODS);
        sse__subscriber_close(&subs[i]);
    }
    free(subs);
    free(beats);
    close_hub();
}

/* ---- Limits, memory ---- */

static void limits_their_number(void **state)
{
    sse_hub_options opts = {.size = sizeof(opts), .max_subscribers = 2};
    sse__subscriber a, b, c;
    sse__stream    *s;

    (void)state;
    open_hub(&opts);
    s = create("s", NULL);
    subscribe(&a, s, "");
    subscribe(&b, s, "");
    assert_int_equal(subscribe_to(&c, s, ""), SSE_ERR_LIMIT);
    assert_false(sse__subscriber_is_open(&c));
    sse__subscriber_close(&a);
    sse__subscriber_close(&a); /* does nothing */
    subscribe(&c, s, "");
    sse__subscriber_close(&b);
    sse__subscriber_close(&c);
    close_hub();
}

static void ends_with_its_stream(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL);
    sse__stream_ref(s);
    append(s, "a");
    subscribe(&sub, s, "");
    drain(&sub);
    sse__stream_remove(s);
    assert_drained(&sub, "[3]");
    assert_int_equal(subscribe_to(&sub, s, ""), SSE_ERR_NOT_FOUND);
    sse__stream_unref(s);
    close_hub();
}

/* While the last take is being written, all sorts of things may happen. */
static void survives_a_close_while_taken(void **state)
{
    sse__subscriber sub;
    sse__stream    *s;
    sse__take       take;
    char            first;

    (void)state;
    open_hub(NULL);
    s = create("s", NULL);
    append(s, "a");
    subscribe(&sub, s, "");
    sse__port_take(&port);
    sse__subscriber_take(&sub, 1000, &take);
    first = take.spans[0].data[0];
    sse__subscriber_close(&sub);
    sse__stream_remove(s);
    assert_int_equal(take.spans[0].data[0], first);
    sse__take_drop(&take);
    close_hub();
}

static void survives_want_of_memory(void)
{
    sse__subscriber a, b;
    sse__stream    *s;

    open_hub(NULL);
    s = create("s", NULL);
    append(s, "a");
    subscribe(&a, s, "");
    subscribe(&b, s, "$");
    assert_int_equal(s->subscriber_count, 2);
    assert_int_equal(hub.counters.subscribed, 2);
    append(s, "b");
    sse__subscriber_close(&a);
    sse__subscriber_close(&b);
    close_hub();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_in_order_and_once),
        cmocka_unit_test(takes_all_kinds_of_cursors),
        cmocka_unit_test(tells_of_another_log),
        cmocka_unit_test(tells_of_a_created_again_stream),
        cmocka_unit_test(knows_the_end),
        cmocka_unit_test(keeps_the_terminal_event),
        cmocka_unit_test(says_why_events_are_gone),
        cmocka_unit_test(disconnects_slow_readers),
        cmocka_unit_test(blocks_for_slow_readers),
        cmocka_unit_test(blocks_by_bytes_as_the_log_counts_them),
        cmocka_unit_test(blocks_for_line_ends_too),
        cmocka_unit_test(does_not_block_for_what_is_gone),
        cmocka_unit_test(greets_once),
        cmocka_unit_test(beats_when_idle),
        cmocka_unit_test(beats_as_asked),
        cmocka_unit_test(never_beats),
        cmocka_unit_test(does_not_beat_while_taken),
        cmocka_unit_test(beats_for_ten_thousand),
        cmocka_unit_test(limits_their_number),
        cmocka_unit_test(ends_with_its_stream),
        cmocka_unit_test(survives_a_close_while_taken),
        FAIL_ALLOC_TEST(survives_want_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
