/* SPDX-License-Identifier: MIT */
/* client_news.c - what the application gets, and how it learns that there is
 * something. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "client_answer.h"
#include "host.h"

#define NULS_AND_STATUS 24 /* room that texts need beside themselves */

/* ---- Notes --------------------------------------------------------------- */

void sse__follow_init_news(sse_client *c)
{
    for (int i = 0; i < SSE__NOTES; i++) {
        sse__buf_init(&c->notes[i].detail, SIZE_MAX);
        sse__buf_init(&c->notes[i].body, SIZE_MAX);
    }
    sse__buf_init(&c->head, SIZE_MAX);
    sse__buf_init(&c->shown_head, SIZE_MAX);
    sse__buf_init(&c->text, SIZE_MAX);
}

void sse__follow_free_news(sse_client *c)
{
    for (int i = 0; i < SSE__NOTES; i++) {
        sse__buf_free(&c->notes[i].detail);
        sse__buf_free(&c->notes[i].body);
    }
    sse__buf_free(&c->head);
    sse__buf_free(&c->shown_head);
    sse__buf_free(&c->text);
}

sse__note *sse__follow_note(sse_client *c, uint32_t generation)
{
    sse__note *note = &c->notes[c->note_next++ % SSE__NOTES];

    note->generation = generation;
    note->detail.len = note->body.len = 0;
    return note;
}

static sse__note *find_note(sse_client *c, uint32_t generation)
{
    for (int i = 0; i < SSE__NOTES; i++)
        if (generation != 0 && c->notes[i].generation == generation)
            return &c->notes[i];
    return NULL;
}

/* It has been given: it may be large. */
static void forget_body(sse_client *c, uint32_t generation)
{
    sse__note *note = find_note(c, generation);

    if (note)
        sse__buf_free(&note->body);
}

/* ---- Telling that there is something ------------------------------------- */

static bool asks_token(const sse_client *c)
{
    return c->asks_token && sse__client_asks(c->core, SSE__ACT_ASK_TOKEN);
}

static bool asks_decision(const sse_client *c)
{
    return c->asks_decision && sse__client_asks(c->core, SSE__ACT_ASK_DECISION);
}

/* Bytes that are not judged yet may turn out to be nothing new. */
bool sse__follow_has_news(const sse_client *c)
{
    const sse__client *core = c->core;

    return core->notice_count > 0 || c->item_kept || asks_token(c) ||
           asks_decision(c) ||
           (core->phase != SSE__PHASE_ENDED && !sse__client_drained(core));
}

bool sse__follow_signal(sse_client *c)
{
    const uint64_t one = 1;

    if (!c->armed || !sse__follow_has_news(c))
        return false;
    c->armed = false;
    if (c->fd >= 0)
        (void)!write(c->fd, &one, sizeof(one));
    return true;
}

/* Nothing is left: the next news are to be told of. */
static void arm(sse_client *c)
{
    uint64_t count;

    c->armed = c->hook_armed = true;
    if (c->fd >= 0)
        (void)!read(c->fd, &count, sizeof(count));
}

int sse_client_fd(sse_client *c)
{
    int rc = sse__follow_enter(c);

    if (rc < 0)
        return rc;
    if (c->fd < 0)
        c->fd = eventfd(c->armed ? 0 : 1, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = c->fd >= 0 ? c->fd : SSE_ERR_IO;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int sse_client_on_news(sse_client *c, void (*hook)(void *user), void *user)
{
    int rc = sse__follow_enter(c);

    if (rc < 0)
        return rc;
    if (c->started) {
        rc = SSE_ERR_CLOSED;
    } else {
        c->hook = hook;
        c->hook_user = user;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* ---- Names --------------------------------------------------------------- */

typedef struct cause_text {
    const char *name, *sentence;
} cause_text;

static const cause_text causes[] = {
    [SSE_CAUSE_NONE] = {"none", ""},
    [SSE_CAUSE_NETWORK] = {"network", "the connection was lost"},
    [SSE_CAUSE_REDIRECT] = {"redirect", "a redirect must not be followed"},
    [SSE_CAUSE_CONNECT] = {"connect", "connecting took too long"},
    [SSE_CAUSE_NO_ANSWER] = {"no_answer", "the server did not answer in time"},
    [SSE_CAUSE_STALLED] = {"stalled", "nothing came for too long"},
    [SSE_CAUSE_STATUS] = {"status", "HTTP status "},
    [SSE_CAUSE_CONTENT_TYPE] = {"content_type",
                                "the answer is not an event stream"},
    [SSE_CAUSE_BODY_END] = {"body_end", "the body ended"},
    [SSE_CAUSE_TOKEN] = {"token", "the application had no token"},
    [SSE_CAUSE_NOMEM] = {"no_memory", "out of memory"},
    [SSE_CAUSE_TOO_BIG] = {"too_big", "an event is above its limit"},
    [SSE_CAUSE_BAD_ANSWER] = {"bad_answer",
                              "the answer of a long poll is not as it must be"},
    [SSE_CAUSE_TERMINAL] = {"terminal", "the terminal event was taken"},
    [SSE_CAUSE_NO_CONTENT] = {"no_content", "HTTP status 204"},
    [SSE_CAUSE_CLOSED] = {"closed", "the application closed the client"},
    [SSE_CAUSE_ATTEMPTS] = {"attempts", "too many attempts failed in a row"},
    [SSE_CAUSE_BUDGET] = {"budget", "too much time passed without progress"},
    [SSE_CAUSE_NO_CURSOR] = {"no_cursor",
                             "cut, and there is no id to go on from"},
};

static bool is_cause(int cause)
{
    return cause >= 0 && (size_t)cause < sizeof(causes) / sizeof(causes[0]);
}

const char *sse_cause_name(int cause)
{
    return is_cause(cause) ? causes[cause].name : "unknown";
}

/* ---- Taking -------------------------------------------------------------- */

typedef struct slice {
    const char *data;
    size_t      len;
} slice;

/* What is said to people: libcurl's words where there are any. */
static slice detail_of(sse_client *c, uint32_t generation)
{
    const sse__note *note;
    const char      *said;

    if (c->news.cause == SSE_CAUSE_NONE)
        return (slice){"", 0};
    note = find_note(c, generation);
    said = causes[c->news.cause].sentence;
    if (note && note->detail.len > 0 && c->news.cause <= SSE_CAUSE_REDIRECT)
        return (slice){note->detail.data, note->detail.len};
    return (slice){said, strlen(said)};
}

static slice data_of(sse_client *c, const sse__client_item *item)
{
    const sse__note *note;

    if (c->news.kind != SSE_NEWS_ERROR)
        return (slice){item->event.data, item->event.data_len};
    note = find_note(c, item->generation);
    return note ? (slice){note->body.data, note->body.len} : (slice){"", 0};
}

/* Copies it behind the others, with a NUL. There is room. */
static const char *put(sse__buf *text, slice s)
{
    char *to = text->data + text->len;

    if (s.len > 0)
        memcpy(to, s.data, s.len);
    to[s.len] = '\0';
    text->len += s.len + 1;
    return to;
}

/* "HTTP status " goes on with the number. There is room. */
static size_t put_status(sse__buf *text, uint32_t status)
{
    size_t len = text->len;

    text->len--; /* the NUL */
    (void)sse__buf_add_u64(text, status);
    (void)sse__buf_add(text, "", 1);
    return text->len - len;
}

/* The strings, in a buffer that nobody else touches. */
static int copy_strings(sse_client *c, const sse__client_item *item)
{
    const sse_item *e = &item->event;
    sse_news       *news = &c->news;
    slice           data = data_of(c, item);
    slice           detail = detail_of(c, item->generation);
    int             rc;

    c->text.len = 0;
    rc = sse__buf_reserve(&c->text, e->type_len + data.len + e->id_len +
                                        detail.len + NULS_AND_STATUS);
    if (rc < 0)
        return rc;
    news->type = put(&c->text, (slice){e->type, e->type_len});
    news->type_len = e->type_len;
    news->data = put(&c->text, data);
    news->data_len = data.len;
    news->id = put(&c->text, (slice){e->id, e->id_len});
    news->id_len = e->id_len;
    news->detail = put(&c->text, detail);
    news->detail_len = detail.len;
    if (news->cause == SSE_CAUSE_STATUS)
        news->detail_len += put_status(&c->text, news->status);
    return SSE_OK;
}

static int show_head(sse_client *c)
{
    int rc;

    if (c->head_taken == c->head_count)
        return SSE_OK;
    c->shown_head.len = 0;
    rc = sse__buf_add(&c->shown_head, c->head.data, c->head.len);
    if (rc == SSE_OK)
        c->head_taken = c->head_count;
    return rc;
}

/* All but the strings. */
static void fill_news(sse_client *c, const sse__client_item *item)
{
    sse_news *news = &c->news;
    bool      gap = item->kind == SSE__TOLD_GAP;

    news->kind = item->kind;
    news->cause = item->why;
    news->status = item->status;
    news->state = item->state;
    news->gap = item->gap;
    news->decision = 0;
    news->delay_ms = -1;
    news->from_seq = gap ? item->from : -1;
    news->to_seq = gap ? item->to : -1;
    news->missed = gap ? item->missed : -1;
    if (item->kind == SSE__TOLD_RETRY_AT) {
        news->delay_ms = item->at_ms - sse__clock_mono_ms();
        if (news->delay_ms < 0)
            news->delay_ms = 0;
    }
    c->end_told = item->kind == SSE__TOLD_END;
}

/* Questions come after everything that was there before them. */
static bool next_question(sse_client *c, sse__client_item *out)
{
    bool decision = asks_decision(c);

    if (!decision && !asks_token(c))
        return false;
    *out = (sse__client_item){0};
    c->asks_token = c->asks_decision = false;
    fill_news(c, out);
    c->news.kind = decision ? SSE_NEWS_DECIDE : SSE_NEWS_TOKEN;
    c->news.status = decision ? c->question.status : c->ask_status;
    c->news.cause = decision ? c->question.why : SSE_CAUSE_NONE;
    c->news.decision = decision ? (uint32_t)c->question.verdict : 0;
    return true;
}

/* While a body comes, the loop's thread tells the machine the time, and a clock
 * would cost as much as an event. */
static int64_t time_of(const sse_client *c)
{
    return c->core->phase == SSE__PHASE_OPEN ? c->core->now_ms
                                             : sse__clock_mono_ms();
}

/* With the lock: 1, 0 when there is nothing, or SSE_ERR_NOMEM. */
static int take(sse_client *c)
{
    const sse__client_item *item = &c->kept;
    sse__client_item        question;
    int                     rc;

    if (!c->item_kept) {
        rc = sse__client_next_item(c->core, time_of(c), &item);
        if (rc < 0)
            return rc;
        if (rc > 0)
            fill_news(c, item);
        else if (next_question(c, &question))
            item = &question;
        else
            return 0;
    }
    rc = show_head(c);
    if (rc == SSE_OK)
        rc = copy_strings(c, item);
    if (rc < 0 && !c->item_kept)
        c->kept = *item;
    c->item_kept = rc < 0;
    if (rc == SSE_OK && c->news.kind == SSE_NEWS_ERROR)
        forget_body(c, item->generation);
    return rc < 0 ? rc : 1;
}

static int wait_until(sse_client *c, int64_t deadline_ms)
{
    struct timespec ts = {.tv_sec = deadline_ms / 1000,
                          .tv_nsec = deadline_ms % 1000 * 1000000};

    if (deadline_ms == SSE__NO_TIME)
        return pthread_cond_wait(&c->arrived, &c->lock);
    return pthread_cond_timedwait(&c->arrived, &c->lock, &ts);
}

static int64_t deadline_of(int64_t timeout_ms)
{
    if (timeout_ms < 0 || timeout_ms >= INT64_MAX / 2)
        return SSE__NO_TIME;
    return sse__clock_mono_ms() + timeout_ms;
}

/* With the lock. */
static int take_or_wait(sse_client *c, int64_t timeout_ms)
{
    int64_t deadline_ms = 0;
    bool    late = timeout_ms == 0;

    for (;;) {
        int rc = take(c);

        if (rc != 0)
            return rc;
        arm(c);
        if (c->end_told)
            return 0;
        if (late)
            return SSE_ERR_TIMEOUT;
        if (sse__loop_is_here(c->loop))
            return SSE_ERR_INVAL;
        sse__follow_nudge(c);
        if (deadline_ms == 0)
            deadline_ms = deadline_of(timeout_ms);
        late = wait_until(c, deadline_ms) == ETIMEDOUT;
    }
}

int sse_client_next(sse_client *c, int64_t timeout_ms, const sse_news **out)
{
    int rc;

    *out = NULL;
    rc = sse__follow_enter(c);
    if (rc < 0)
        return rc;
    rc = c->started || c->core->phase == SSE__PHASE_ENDED
             ? take_or_wait(c, timeout_ms)
             : SSE_ERR_CLOSED;
    if (rc > 0)
        *out = &c->news;
    else if (rc < 0 && rc != SSE_ERR_TIMEOUT)
        arm(c);
    sse__follow_nudge(c);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

const char *sse_client_header(sse_client *c, const char *name, size_t name_len,
                              size_t *out_len)
{
    const char *value = NULL;
    size_t      len = 0;

    if (name_len > 0)
        value = sse__head_find(&c->shown_head, name, name_len, &len);
    if (out_len)
        *out_len = len;
    return value ? value : "";
}
