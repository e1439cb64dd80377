/* SPDX-License-Identifier: MIT */
/* subscriber_model_test.c - readers against a model of them.
 *
 * Streams get events, end, are forgotten and created again; readers come with
 * all kinds of cursors, take what they like, and go. The model knows nothing
 * of logs and segments: it keeps every event, and where the bounds stand. */
#include <inttypes.h>
#include <stdlib.h>

#include "subscriber_fixture.h"

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
    m->s = create(id, NULL, &opts);
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
    close_hub();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_in_order_and_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
