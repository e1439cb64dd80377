/* SPDX-License-Identifier: MIT */
/* status.c - what a person is told about a client. */
#include "status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "http.h"

enum { DRAW_MS = 100, DEFAULT_COLUMNS = 80 };

static const char GO_TO_START_AND_ERASE[] = "\r\033[K";

const char *gap_name(uint32_t gap)
{
    static const char *const names[] = {"trimmed",  "expired", "lagged",
                                        "diverged", "other",   "unannounced"};

    return gap < sizeof(names) / sizeof(names[0]) ? names[gap] : "other";
}

const char *status_trouble(const status *s)
{
    return s->trouble.len > 0 ? s->trouble.data : "the connection is gone";
}

void status_init(status *s)
{
    const char *terminal = getenv("TERM");

    *s = (status){.live = isatty(STDERR_FILENO) && terminal != NULL &&
                          strcmp(terminal, "dumb") != 0,
                  .shared = isatty(STDOUT_FILENO)};
}

void status_free(status *s)
{
    status_clear(s);
    text_free(&s->last_id);
    text_free(&s->trouble);
}

/* ---- The line ------------------------------------------------------------ */

void status_clear(status *s)
{
    if (s->shown)
        fputs(GO_TO_START_AND_ERASE, stderr);
    s->shown = false;
    s->stale = true;
}

static size_t columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return DEFAULT_COLUMNS;
    return size.ws_col;
}

/* How many bytes fit into `width` columns. A character that is not ASCII may
 * take two of them. */
static size_t fitting(const text *line, size_t width)
{
    size_t used = 0;
    size_t i = 0;

    while (i < line->len) {
        bool   ascii = (unsigned char)line->data[i] < 0x80;
        size_t end = i + 1;

        used += ascii ? 1 : 2;
        if (used > width)
            break;
        while (end < line->len &&
               ((unsigned char)line->data[end] & 0xc0) == 0x80)
            end++;
        i = end;
    }
    return i;
}

static void add_number(text *line, const char *before, uint64_t number,
                       const char *behind)
{
    char part[64];

    snprintf(part, sizeof(part), "%s%" PRIu64 "%s", before, number, behind);
    text_add_string(line, part);
}

static uint64_t seconds_left(const status *s)
{
    int64_t left = s->due_ms - now_ms();

    return left > 0 ? ((uint64_t)left + 999) / 1000 : 0;
}

static void make_line(const status *s, text *line)
{
    text_add_string(line, "sse: ");
    if (s->state == SSE_CONN_WAITING)
        add_number(line, "waiting ", seconds_left(s), " s");
    else
        text_add_string(line,
                        s->state == SSE_CONN_OPEN ? "open" : "connecting");
    if (s->trouble.len > 0) {
        text_add_string(line, ": ");
        text_add_string(line, s->trouble.data);
    }
    add_number(line, ", ", s->event_count,
               s->event_count == 1 ? " event" : " events");
    if (s->last_id.len > 0) {
        text_add_string(line, ", the last is ");
        text_add_printable(line, s->last_id.data);
    }
}

/* The last column stays free: some terminals go to the next line there. */
static void draw(status *s)
{
    text line = {0};

    make_line(s, &line);
    fprintf(stderr, "%s%.*s", GO_TO_START_AND_ERASE,
            (int)fitting(&line, columns() - 1), line.data);
    text_free(&line);
    s->shown = true;
    s->stale = false;
    s->drawn_ms = now_ms();
}

int status_draw(status *s)
{
    int64_t now = now_ms();
    int64_t early = s->drawn_ms + DRAW_MS - now;

    if (!s->live)
        return -1;
    if (s->stale && s->drawn_ms > 0 && early > 0)
        return (int)early;
    if (s->stale || s->state == SSE_CONN_WAITING)
        draw(s);
    if (s->state != SSE_CONN_WAITING || s->due_ms <= now)
        return -1;
    return (int)((s->due_ms - now - 1) % 1000) + 1; /* the next full second */
}

/* ---- News ---------------------------------------------------------------- */

/* The server's own sentence says more than its status. */
static void take_trouble(status *s, const sse_news *news)
{
    bool has_body = news->kind == SSE_NEWS_ERROR && news->data_len > 0;
    text sentence = {0};

    if (has_body)
        sentence = http_sentence(news->data, news->data_len);
    text_clear(&s->trouble);
    if (sentence.len > 0) {
        text_add_string(&s->trouble, "the server says: ");
        text_add_string(&s->trouble, sentence.data);
        add_number(&s->trouble, " (", news->status, ")");
    } else {
        text_add_printable(&s->trouble, news->detail);
    }
    text_free(&sentence);
}

static void tell_gap(status *s, const sse_news *news)
{
    text line = {0};

    if (news->missed > 0)
        add_number(&line, "", (uint64_t)news->missed,
                   news->missed == 1 ? " event is missing"
                                     : " events are missing");
    else
        text_add_string(&line, "events are missing");
    if (news->from_seq >= 0 && news->to_seq >= news->from_seq) {
        add_number(&line, ", ", (uint64_t)news->from_seq, " to ");
        add_number(&line, "", (uint64_t)news->to_seq, "");
    }
    status_clear(s);
    fprintf(stderr, "sse: %s: %s\n", line.data, gap_name(news->gap));
    text_free(&line);
}

static void take_delay(status *s, const sse_news *news)
{
    s->due_ms = now_ms() + news->delay_ms;
    if (!s->live)
        fprintf(stderr, "sse: waiting %.1f s: %s\n",
                (double)news->delay_ms / 1000, status_trouble(s));
}

static void take_open(status *s)
{
    if (!s->live && s->trouble.len > 0)
        fprintf(stderr, "sse: connected again\n");
    text_clear(&s->trouble);
}

void status_take(status *s, const sse_news *news)
{
    switch (news->kind) {
    case SSE_NEWS_OPEN: take_open(s); break;
    case SSE_NEWS_EVENT:
        s->event_count++;
        text_clear(&s->last_id);
        text_add(&s->last_id, news->id, news->id_len);
        break;
    case SSE_NEWS_GAP: tell_gap(s, news); break;
    case SSE_NEWS_STATE: s->state = news->state; break;
    case SSE_NEWS_RETRY: take_delay(s, news); break;
    case SSE_NEWS_ERROR: take_trouble(s, news); break;
    case SSE_NEWS_END:
        if (s->trouble.len == 0)
            take_trouble(s, news);
        break;
    default: break;
    }
    s->stale = true;
}
