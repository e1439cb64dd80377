/* SPDX-License-Identifier: MIT */
/* client_fixture.h - the client's machine in a world with a scripted network
 * and clock, which notes what it is told. */
#ifndef CLIENT_FIXTURE_H
#define CLIENT_FIXTURE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "fail_alloc.h"
#include "support.h"

#define URL "https://example.org/api/stream/chat"

typedef struct world {
    sse__client *c;
    int64_t      now, wall;
    uint32_t     live[2]; /* requests under way                             */
    int          live_count, most_live;
    uint32_t     generation;
    char         cursor[128]; /* of the last CONNECT                        */
    bool         poll, overlap, fresh;
    int          connects, tokens, recoveries, decisions, pauses, resumes;
    sse__action  decision;
    int64_t      retry_at;
    bool         off_script; /* an allocation failed: what follows differs  */
    char         text[8192];
} world;

static world w;

static inline void note(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

static inline void note(const char *format, ...)
{
    size_t  len = strlen(w.text);
    va_list args;

    va_start(args, format);
    vsnprintf(w.text + len, sizeof(w.text) - len, format, args);
    va_end(args);
}

/* What happened since the last call, in order. */
static inline void saw(const char *text)
{
    if (!w.off_script)
        assert_string_equal(w.text, text);
    w.text[0] = '\0';
}

#define CHECK(condition) assert_true(w.off_script || (condition))

static inline void remove_live(uint32_t generation)
{
    for (int i = 0; i < w.live_count; i++) {
        if (w.live[i] != generation)
            continue;
        w.live[i] = w.live[1];
        w.live_count--;
        return;
    }
}

static inline void begin_request(const sse__action *a)
{
    assert_true(w.live_count < (a->overlap ? 2 : 1));
    w.live[w.live_count++] = a->generation;
    if (w.live_count > w.most_live)
        w.most_live = w.live_count;
    w.generation = a->generation;
    w.poll = a->poll;
    w.overlap = a->overlap;
    snprintf(w.cursor, sizeof(w.cursor), "%.*s", (int)a->cursor_len, a->cursor);
    w.connects++;
}

static inline void act(const sse__action *a)
{
    switch (a->kind) {
    case SSE__ACT_CONNECT: begin_request(a); break;
    case SSE__ACT_ABORT: remove_live(a->generation); break;
    case SSE__ACT_PAUSE: w.pauses++; break;
    case SSE__ACT_RESUME: w.resumes++; break;
    case SSE__ACT_ASK_TOKEN:
        w.tokens++;
        w.fresh = a->fresh;
        break;
    case SSE__ACT_ASK_RECOVERY: w.recoveries++; break;
    case SSE__ACT_ASK_DECISION:
        w.decisions++;
        w.decision = *a;
        break;
    }
}

static inline void write_item(const sse__client_item *item)
{
    static const char *const states[] = {"idle",    "connecting", "open",
                                         "waiting", "offline",    "suspended",
                                         "ended"};
    static const char *const gaps[] = {"trimmed",  "expired", "lagged",
                                       "diverged", "other",   "unannounced"};
    const sse_item          *e = &item->event;

    switch (item->kind) {
    case SSE__TOLD_OPEN: note("open %u\n", item->status); break;
    case SSE__TOLD_EVENT:
        note("%.*s|%.*s|%.*s\n", (int)e->type_len, e->type, (int)e->data_len,
             e->data, (int)e->id_len, e->id);
        break;
    case SSE__TOLD_COMMENT: note(":%.*s\n", (int)e->data_len, e->data); break;
    case SSE__TOLD_GAP:
        note("gap %lld-%lld %lld %s\n", (long long)item->from,
             (long long)item->to, (long long)item->missed, gaps[item->gap]);
        break;
    case SSE__TOLD_STATE: note("%s\n", states[item->state]); break;
    case SSE__TOLD_RETRY_AT: w.retry_at = item->at_ms; break;
    case SSE__TOLD_ERROR: note("error %d %u\n", item->why, item->status); break;
    case SSE__TOLD_END: note("end %d\n", item->why); break;
    }
}

static inline bool do_actions(void)
{
    sse__action a;
    bool        any = false;

    while (sse__client_next_action(w.c, &a)) {
        act(&a);
        any = true;
    }
    return any;
}

static inline bool take_item(void)
{
    const sse__client_item *item;
    int                     rc = sse__client_next_item(w.c, w.now, &item);

    if (fail_alloc_again(rc)) {
        w.off_script = true;
        return true;
    }
    assert_true(rc >= 0);
    if (rc > 0)
        write_item(item);
    return rc > 0;
}

static inline void pump(void)
{
    do
        while (take_item()) {
        }
    while (do_actions());
}

static inline void tick(int64_t ms)
{
    w.now += ms;
    w.wall += ms;
    sse__client_tick(w.c, w.now, w.wall);
    pump();
}

/* Lets time pass as a loop does: tick by tick, when they are due. */
static inline void pass(int64_t ms)
{
    int64_t end = w.now + ms;

    while (w.now < end) {
        int64_t at = sse__client_deadline(w.c);

        if (at > end)
            at = end;
        tick(at > w.now ? at - w.now : 1);
    }
}

static inline void make(const sse__client_options *o)
{
    memset(&w, 0, sizeof(w));
    w.now = 1000;
    w.wall = INT64_C(1700000000000);
    OK(sse__client_new(o, URL, strlen(URL), &w.c));
}

static inline void begin(const sse__client_options *o)
{
    make(o);
    sse__client_start(w.c, w.now, w.wall);
    pump();
}

static inline void end(void)
{
    sse__client_free(w.c);
    w.c = NULL;
}

static inline void head(uint32_t status, const char *type,
                        const char *retry_after)
{
    sse__head h = {
        .status = status,
        .content_type = type,
        .content_type_len = strlen(type),
        .retry_after = retry_after,
        .retry_after_len = strlen(retry_after),
    };

    sse__client_on_connected(w.c, w.generation, w.now);
    OK(sse__client_on_head(w.c, w.generation, w.now, w.wall, &h));
    if (status != 200)
        remove_live(w.generation);
    pump();
}

static inline void ok(void)
{
    head(200, "text/event-stream", "");
}

static inline void bytes(const char *text)
{
    char *copy = strdup(text);

    assert_non_null(copy);
    OK(sse__client_on_bytes(w.c, w.generation, w.now, copy, strlen(text)));
    free(copy);
    pump();
}

static inline void finish(void)
{
    remove_live(w.generation);
    OK(sse__client_on_end(w.c, w.generation, w.now));
    pump();
}

static inline void cut(void)
{
    remove_live(w.generation);
    sse__client_on_error(w.c, w.generation, w.now, SSE_CAUSE_NETWORK);
    pump();
}

static inline void wait_for_retry(void)
{
    if (w.retry_at > w.now)
        pass(w.retry_at - w.now);
}

static inline void begin_open(const sse__client_options *o)
{
    begin(o);
    ok();
    CHECK(w.connects == 1);
    saw("connecting\nopen 200\nopen\n");
}

#endif
