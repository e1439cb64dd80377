/* SPDX-License-Identifier: MIT */
/* follow.c - what a client gives, to standard output. */
#include "follow.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"

enum {
    OUTPUT_BYTES = 64 * 1024, /* written as soon as there are so many       */
    REASON_BYTES = 200        /* shown of a failed stream's last data       */
};

/* ---- Output -------------------------------------------------------------- */

static bool is_string(const char *at, size_t len, const char *other)
{
    return len == strlen(other) && memcmp(at, other, len) == 0;
}

static void print_data(follow *f, const sse_news *news)
{
    bool says_nothing = is_string(news->data, news->data_len, "[DONE]") ||
                        is_string(news->data, news->data_len, "{}");
    text *to = says_nothing ? &f->mark : &f->out;

    text_add(to, news->data, news->data_len);
    text_add(to, "\n", 1);
}

static void print_event(follow *f, const sse_news *news)
{
    const sse_item event = {
        .kind = SSE_ITEM_EVENT,
        .type = news->type,
        .type_len = news->type_len,
        .data = news->data,
        .data_len = news->data_len,
        .id = news->id,
        .id_len = news->id_len,
    };

    if (f->json)
        text_add_event(&f->out, &event);
    else
        print_data(f, news);
}

static void add_number(text *out, const char *name, int64_t number)
{
    char part[64];

    if (number < 0)
        snprintf(part, sizeof(part), "\"%s\":null,", name);
    else
        snprintf(part, sizeof(part), "\"%s\":%lld,", name, (long long)number);
    text_add_string(out, part);
}

static void print_gap(follow *f, const sse_news *news)
{
    if (!f->json)
        return;
    text_add_string(&f->out, "{\"gap\":{");
    add_number(&f->out, "from", news->from_seq);
    add_number(&f->out, "to", news->to_seq);
    add_number(&f->out, "missed", news->missed);
    text_add_string(&f->out, "\"reason\":\"");
    text_add_string(&f->out, gap_name(news->gap));
    text_add_string(&f->out, "\"}}\n");
}

/* It was not the last line after all. */
static void print_mark(follow *f)
{
    text_add(&f->out, f->mark.data, f->mark.len);
    text_clear(&f->mark);
}

static int write_events(follow *f)
{
    if (f->out.len > 0 && f->status.shared)
        status_clear(&f->status);
    return text_write(&f->out);
}

/* ---- News ---------------------------------------------------------------- */

static void remember_event(follow *f, const sse_news *news)
{
    size_t len = news->data_len;

    text_clear(&f->last_type);
    text_clear(&f->last_data);
    text_add(&f->last_type, news->type, news->type_len);
    text_add(&f->last_data, news->data,
             len < REASON_BYTES ? len : REASON_BYTES);
}

static void take_news(follow *f, const sse_news *news)
{
    bool last = news->kind == SSE_NEWS_END;

    if (last && news->cause == SSE_CAUSE_TERMINAL)
        text_clear(&f->mark);
    else
        print_mark(f);
    if (news->kind == SSE_NEWS_EVENT) {
        remember_event(f, news);
        print_event(f, news);
    } else if (news->kind == SSE_NEWS_GAP) {
        print_gap(f, news);
    } else if (last) {
        f->ended = true;
        f->end_cause = news->cause;
    }
    status_take(&f->status, news);
}

/* Takes what there is, up to a full output. Returns 1 when there may be more, 0
 * when there is not, or an error. */
static int take_all(follow *f)
{
    const sse_news *news;
    int             rc = 1;

    while (rc > 0 && !f->ended && f->out.len < OUTPUT_BYTES) {
        rc = sse_client_next(f->client, f->closing ? -1 : 0, &news);
        if (rc > 0)
            take_news(f, news);
    }
    if (rc == SSE_ERR_TIMEOUT) {
        print_mark(f);
        rc = 0;
    }
    return rc;
}

/* ---- Following ----------------------------------------------------------- */

static int sooner_of(int a_ms, int b_ms)
{
    if (a_ms < 0 || b_ms < 0)
        return a_ms < 0 ? b_ms : a_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

/* Asking the client for news tells it that those before have been dealt with,
 * so the position is taken after what was got from it has been written, and
 * before it is asked again. */
static int follow_stream(follow *f)
{
    int fd = sse_client_fd(f->client);

    if (fd < 0 || sse_client_start(f->client) < 0)
        return fail("cannot start the client");
    while (!f->ended) {
        int more = take_all(f);
        int wait_ms;

        if (more < 0)
            return fail("%s", sse_strerror(more));
        if (write_events(f) != EXIT_OK) {
            position_save(&f->position, true); /* the one before */
            return EXIT_FAILED;
        }
        position_take(&f->position, f->client);
        if (position_save(&f->position, f->ended) != EXIT_OK)
            return EXIT_FAILED;
        wait_ms =
            sooner_of(status_draw(&f->status), position_wait_ms(&f->position));
        if (!f->closing && interrupt_wait(fd, more ? 0 : wait_ms) < 0) {
            f->closing = true;
            sse_client_close(f->client);
        }
    }
    return EXIT_OK;
}

/* ---- The end ------------------------------------------------------------- */

/* The types that end a stream by themselves say how it ended; those that were
 * asked for are what was waited for. */
static int judge_stream(follow *f)
{
    const char *type = f->last_type.data;
    text        shown = {0};

    if (f->any_end ||
        (strcmp(type, "failed") != 0 && strcmp(type, "cancelled") != 0))
        return EXIT_OK;
    text_add_printable(&shown, f->last_data.data);
    fail("the stream ended as %s: %s", type, shown.data);
    text_free(&shown);
    return EXIT_STREAM_FAILED;
}

static int judge_end(follow *f)
{
    const char *trouble = status_trouble(&f->status);

    status_clear(&f->status);
    switch (f->end_cause) {
    case SSE_CAUSE_TERMINAL: return judge_stream(f);
    case SSE_CAUSE_NO_CONTENT:
    case SSE_CAUSE_BODY_END: return EXIT_OK;
    case SSE_CAUSE_CLOSED: return 128 + interrupt_signal();
    case SSE_CAUSE_ATTEMPTS:
    case SSE_CAUSE_BUDGET: return fail("gave up: %s", trouble);
    default: return fail("%s", trouble);
    }
}

int follow_run(follow *f, const char *state_path)
{
    int rc;

    signal(SIGPIPE, SIG_IGN); /* the position is saved before the end */
    interrupt_catch();
    position_init(&f->position, state_path);
    status_init(&f->status);
    rc = position_load(&f->position, f->client);
    if (rc == EXIT_OK)
        rc = follow_stream(f);
    if (rc == EXIT_OK)
        rc = judge_end(f);
    status_free(&f->status);
    position_free(&f->position);
    text_free(&f->out);
    text_free(&f->mark);
    text_free(&f->last_type);
    text_free(&f->last_data);
    return rc;
}
