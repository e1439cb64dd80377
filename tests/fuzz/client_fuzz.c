/* SPDX-License-Identifier: MIT */
/* client_fuzz.c - the client's machine against a server that keeps a log, and
 * a network, a clock and an application that do anything at any time.
 *
 * Each input is a history: the first byte sets options, the others say what
 * happens. It must never have two requests under way (but for a renewal),
 * deliver an event twice or out of order, pass over one without a gap, or wait
 * for nothing; and when all goes well again, it must get everything. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define URL "http://localhost/x"
#define MAX_LOG 200

typedef struct request {
    uint32_t generation; /* 0: none                                         */
    bool     open;
    unsigned next;     /* the event to send next                          */
    char     out[512]; /* on the way                                      */
    size_t   out_len;
} request;

static struct {
    sse__client *c;
    int64_t      now, wall;
    uint32_t     flags;
    unsigned     epoch, first, last; /* of the server's log                 */
    request      live[2];
    unsigned     seen_epoch, seen; /* what the application has              */
    bool         gap, ended, empty, ignore_cursor;
    bool         asked; /* the application owes an answer        */
    sse__act     question;
} w;

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* ---- The server ---------------------------------------------------------- */

static void put(request *r, const char *text)
{
    size_t len = strlen(text);

    check(r->out_len + len <= sizeof(r->out));
    memcpy(r->out + r->out_len, text, len);
    r->out_len += len;
}

static void put_event(request *r, unsigned seq)
{
    char text[128];

    snprintf(text, sizeof(text), "id: %u-%08x\ndata: x\n\n", seq, w.epoch);
    put(r, text);
}

static void put_gap(request *r, unsigned from, unsigned to, const char *reason)
{
    char text[160];

    snprintf(text, sizeof(text),
             "event: gap\ndata: {\"from\":%u,\"to\":%u,\"missed\":%s,"
             "\"reason\":\"%s\"}\n\n",
             from, to, "null", reason);
    put(r, text);
}

static void begin_body(request *r, const char *cursor)
{
    unsigned seq = 0, epoch = w.epoch;

    sscanf(cursor, "%u-%x", &seq, &epoch);
    r->out_len = 0;
    if (epoch != w.epoch || seq > w.last) {
        put_gap(r, 1, w.first - 1, "diverged");
        r->next = w.first;
        return;
    }
    r->next = w.ignore_cursor ? 1 : seq + 1;
    if (r->next < w.first) {
        put_gap(r, r->next, w.first - 1, "trimmed");
        r->next = w.first;
    }
}

static void connect(const sse__action *a)
{
    request *r = &w.live[w.live[0].generation ? 1 : 0];
    char     cursor[64];

    check(a->overlap ? w.live[1].generation == 0
                     : !w.live[0].generation && !w.live[1].generation);
    snprintf(cursor, sizeof(cursor), "%.*s", (int)a->cursor_len, a->cursor);
    *r = (request){.generation = a->generation};
    begin_body(r, cursor);
}

static void forget(unsigned i)
{
    w.live[i] = w.live[1];
    w.live[1] = (request){0};
}

static void abort_request(uint32_t generation)
{
    for (unsigned i = 0; i < 2; i++)
        if (generation && w.live[i].generation == generation)
            forget(i);
}

/* ---- The application ----------------------------------------------------- */

static void got_event(const sse_item *e)
{
    unsigned seq = 0, epoch = 0;
    char     id[32];

    snprintf(id, sizeof(id), "%.*s", (int)e->id_len, e->id);
    check(sscanf(id, "%u-%x", &seq, &epoch) == 2);
    if (epoch == w.seen_epoch) {
        check(seq > w.seen);
        check(seq == w.seen + 1 || w.gap);
    } else {
        check(w.gap);
    }
    w.seen = seq;
    w.seen_epoch = epoch;
    w.gap = false;
}

static void take(int count)
{
    const sse__client_item *item;
    int                     rc = 1;

    while (count-- > 0 && (rc = sse__client_next_item(w.c, w.now, &item)) > 0) {
        check(!w.ended);
        if (item->kind == SSE__TOLD_EVENT)
            got_event(&item->event);
        w.gap |= item->kind == SSE__TOLD_GAP;
        w.ended = item->kind == SSE__TOLD_END;
    }
    check(rc >= 0);
    w.empty = rc == 0;
}

static bool act(void)
{
    sse__action a;
    bool        any = false;

    while (sse__client_next_action(w.c, &a)) {
        any = true;
        if (a.kind == SSE__ACT_CONNECT)
            connect(&a);
        if (a.kind == SSE__ACT_ABORT)
            abort_request(a.generation);
        if (a.kind >= SSE__ACT_ASK_TOKEN) {
            w.asked = true;
            w.question = a.kind;
        }
    }
    return any;
}

static void answer(bool ok)
{
    w.asked = false;
    sse__client_token_ready(w.c, w.now, ok);
    sse__client_decide(w.c, w.now, ok ? SSE__RETRY : SSE__DEFAULT);
}

/* Whatever it waits for, there is something. */
static void check_awake(void)
{
    bool held = w.c->suspended || w.c->offline;

    if (w.c->phase == SSE__PHASE_IDLE || w.c->phase == SSE__PHASE_ENDED)
        return;
    check(held || w.asked || !w.empty || w.live[0].generation ||
          sse__client_deadline(w.c) != SSE__NO_TIME);
    check(!held || !w.live[0].generation);
    for (unsigned i = 0; i < 2; i++)
        check(!w.live[i].generation ||
              w.live[i].generation == w.c->main.generation ||
              w.live[i].generation == w.c->next.generation);
}

/* ---- The network --------------------------------------------------------- */

static void head(unsigned i, uint32_t status)
{
    sse__head h = {
        .status = status,
        .content_type = "text/event-stream",
        .content_type_len = 17,
        .retry_after = "3",
        .retry_after_len = status == 429,
    };
    uint32_t generation = w.live[i].generation;

    if (w.live[i].open)
        return;
    w.live[i].open = true;
    if (status != 200)
        forget(i);
    sse__client_on_connected(w.c, generation, w.now);
    check(sse__client_on_head(w.c, generation, w.now, w.wall, &h) == 0);
}

/* Sends `len` bytes of the body, if there are so many. */
static void send(unsigned i, size_t len)
{
    request *r = &w.live[i];
    char    *copy;

    if (!r->open)
        return;
    while (r->out_len < len && r->next <= w.last && r->out_len < 300)
        put_event(r, r->next++);
    if (len > r->out_len)
        len = r->out_len;
    copy = malloc(len + 1);
    check(copy != NULL);
    memcpy(copy, r->out, len);
    if (sse__client_on_bytes(w.c, r->generation, w.now, copy, len) == 0) {
        r->out_len -= len;
        memmove(r->out, r->out + len, r->out_len);
    }
    free(copy);
}

static void end(unsigned i, bool clean)
{
    uint32_t generation = w.live[i].generation;

    forget(i);
    if (clean)
        check(sse__client_on_end(w.c, generation, w.now) == 0);
    else
        sse__client_on_error(w.c, generation, w.now, SSE_CAUSE_NETWORK);
}

/* ---- Histories ----------------------------------------------------------- */

static void make(void)
{
    sse__client_options o = {
        .flags = w.flags & (SSE_CLIENT_TOKEN | SSE_CLIENT_DECIDE),
        .window = w.flags & 1 ? 4 : 0,
        .queue_bytes = w.flags & 2 ? 40 : 0,
        .max_attempts = w.flags & 8 ? 0 : SSE_NEVER,
        .seed = w.flags,
    };

    check(sse__client_new(&o, URL, strlen(URL), &w.c) == 0);
}

/* The program ends and starts again, with what it saved. */
static void restart_program(void)
{
    sse__buf saved;
    unsigned seq = 0, epoch = w.seen_epoch;

    sse__buf_init(&saved, SIZE_MAX);
    check(sse__client_export(w.c, &saved) == 0);
    if (w.c->cursor.len > 0 && w.c->cursor.len < 32) {
        char text[32] = {0};

        memcpy(text, w.c->cursor.data, w.c->cursor.len);
        check(sscanf(text, "%u-%x", &seq, &epoch) == 2);
    }
    check(epoch != w.seen_epoch || seq == w.seen || seq + 1 == w.seen ||
          w.c->unsettled);
    w.seen = seq;
    w.seen_epoch = epoch;
    w.gap = w.c->cursor.len == 0; /* what is left may begin anywhere */
    w.live[0] = w.live[1] = (request){0};
    sse__client_free(w.c);
    w.ended = w.asked = false;
    make();
    check(sse__client_import(w.c, saved.data, saved.len) == 0);
    sse__buf_free(&saved);
    sse__client_start(w.c, w.now, w.wall);
}

static void pass(int64_t ms, int64_t slept_ms)
{
    w.now += ms;
    w.wall += ms + slept_ms;
    sse__client_tick(w.c, w.now, w.wall);
}

static void change_log(unsigned how)
{
    if (how % 4 == 0 && w.last > w.first) {
        w.first += (w.last - w.first) / 2;
        for (unsigned i = 0; i < 2; i++)
            if (w.live[i].generation && w.live[i].next < w.first)
                end(i, false);
        if (w.live[0].generation && w.live[0].next < w.first)
            end(0, false);
    } else if (how % 16 == 1) {
        w.epoch++;
        w.first = 1;
        w.last = how / 16;
        while (w.live[0].generation)
            end(0, false);
    } else if (w.last < MAX_LOG) {
        w.last += how % 7;
    }
}

static void step(unsigned what, unsigned how)
{
    unsigned i = how & 1;

    switch (what % 20) {
    case 0:
    case 1: head(i, 200); break;
    case 2: head(i, how & 2 ? 503 : how & 4 ? 401 : 429); break;
    case 3:
    case 4:
    case 5: send(i, how); break;
    case 6: end(i, how & 2); break;
    case 7: pass(how, 0); break;
    case 8: pass(how * 200, how > 250 ? 100000 : 0); break;
    case 9: sse__client_suspend(w.c, w.now); break;
    case 10: sse__client_resume(w.c, w.now); break;
    case 11: sse__client_offline(w.c, w.now); break;
    case 12: sse__client_online(w.c, w.now); break;
    case 13: sse__client_restart(w.c, w.now); break;
    case 14: sse__client_renew_token(w.c, w.now); break;
    case 15: answer(how & 3); break;
    case 16: take((int)how % 8); break;
    case 17: change_log(how); break;
    case 18:
        w.ignore_cursor = w.first == 1 && how & 1;
        w.live[i].next += how % 16 == 2; /* it forgets one, and is silent */
        break;
    case 19:
        if (how % 8 == 0)
            restart_program();
        else if (how % 8 == 1)
            sse__client_on_error(w.c, 1000000, w.now, SSE_CAUSE_NETWORK);
        break;
    default: break;
    }
}

static void pump(bool all)
{
    do
        if (all)
            take(1000);
    while (act());
    if (all)
        check_awake();
}

/* From here on, nothing goes wrong. */
static void recover(void)
{
    sse__client_resume(w.c, w.now);
    sse__client_online(w.c, w.now);
    sse__client_restart(w.c, w.now);
    w.ignore_cursor = false;
    for (int i = 0; i < 400 && !w.ended; i++) {
        pump(true);
        if (w.asked)
            answer(true);
        pump(true);
        for (unsigned k = 0; k < 2; k++) {
            if (w.live[k].generation)
                head(k, 200);
            pump(true);
            if (w.live[k].generation)
                send(k, 300);
            pump(true);
        }
        if (!w.live[0].generation)
            pass(1000, 0);
    }
    pump(true);
    check(w.ended || (w.seen == w.last && w.seen_epoch == w.epoch) ||
          w.last < w.first || w.gap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    memset(&w, 0, sizeof(w));
    w.flags = data[0];
    w.first = 1;
    w.last = 3;
    w.gap = true;
    w.empty = true;
    w.wall = INT64_C(1700000000000);
    make();
    sse__client_start(w.c, w.now, w.wall);
    for (size_t i = 1; i + 1 < size; i += 2) {
        step(data[i], data[i + 1]);
        pump(data[0] & 32 || data[i] & 128);
    }
    recover();
    sse__client_free(w.c);
    return 0;
}
