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

void sse__follow_signal(sse_client *c)
{
    const uint64_t one = 1;

    if (!c->armed || !sse__follow_has_news(c))
        return;
    c->armed = false;
    pthread_cond_broadcast(&c->arrived);
    if (c->fd >= 0)
        (void)!write(c->fd, &one, sizeof(one));
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

/* Where a string of the news lies in `text`; it may move while it grows. */
typedef struct place {
    size_t at, len;
} place;

static int put(sse__buf *text, const char *data, size_t len, place *out)
{
    int rc = sse__buf_reserve(text, len + 1);

    if (rc < 0)
        return rc;
    *out = (place){text->len, len};
    (void)sse__buf_add(text, data, len);
    return sse__buf_add(text, "", 1);
}

/* What is said to people: libcurl's words where there are any. */
static int put_detail(sse_client *c, uint32_t generation, place *out)
{
    const sse__note *note = find_note(c, generation);
    const char      *said = causes[c->news.cause].sentence;
    size_t           start = c->text.len;
    int              rc;

    if (note && note->detail.len > 0 && c->news.cause <= SSE_CAUSE_REDIRECT)
        return put(&c->text, note->detail.data, note->detail.len, out);
    rc = sse__buf_add(&c->text, said, strlen(said));
    if (rc == SSE_OK && c->news.cause == SSE_CAUSE_STATUS)
        rc = sse__buf_add_u64(&c->text, c->news.status);
    *out = (place){start, c->text.len - start};
    return rc < 0 ? rc : sse__buf_add(&c->text, "", 1);
}

static int put_body(sse_client *c, uint32_t generation, place *out)
{
    const sse__note *note = find_note(c, generation);
    bool             has = note && note->body.len > 0;

    return put(&c->text, has ? note->body.data : "", has ? note->body.len : 0,
               out);
}

/* The strings, in a buffer that nobody else touches. */
static int copy_strings(sse_client *c, const sse__client_item *item)
{
    const sse_item *e = &item->event;
    sse_news       *news = &c->news;
    place           type = {0}, data = {0}, id = {0}, detail = {0};
    int             rc;

    c->text.len = 0;
    rc = put(&c->text, e->type, e->type_len, &type);
    if (rc == SSE_OK && news->kind == SSE_NEWS_ERROR)
        rc = put_body(c, item->generation, &data);
    else if (rc == SSE_OK)
        rc = put(&c->text, e->data, e->data_len, &data);
    if (rc == SSE_OK)
        rc = put(&c->text, e->id, e->id_len, &id);
    if (rc == SSE_OK)
        rc = put_detail(c, item->generation, &detail);
    if (rc < 0)
        return rc;
    news->type = c->text.data + type.at;
    news->type_len = type.len;
    news->data = c->text.data + data.at;
    news->data_len = data.len;
    news->id = c->text.data + id.at;
    news->id_len = id.len;
    news->detail = c->text.data + detail.at;
    news->detail_len = detail.len;
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

static void fill_news(sse_client *c, const sse__client_item *item)
{
    c->news = (sse_news){
        .kind = item->kind,
        .cause = item->why,
        .status = item->status,
        .state = item->state,
        .gap = item->gap,
        .delay_ms = -1,
        .from_seq = -1,
        .to_seq = -1,
        .missed = -1,
    };
    if (item->kind == SSE__TOLD_GAP) {
        c->news.from_seq = item->from;
        c->news.to_seq = item->to;
        c->news.missed = item->missed;
    }
    if (item->kind == SSE__TOLD_RETRY_AT) {
        c->news.delay_ms = item->at_ms - sse__clock_mono_ms();
        if (c->news.delay_ms < 0)
            c->news.delay_ms = 0;
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

/* With the lock: 1, 0 when there is nothing, or SSE_ERR_NOMEM. */
static int take(sse_client *c)
{
    const sse__client_item *item;
    sse__client_item        question;
    int                     rc;

    if (!c->item_kept) {
        rc = sse__client_next_item(c->core, sse__clock_mono_ms(), &item);
        if (rc < 0)
            return rc;
        if (rc > 0)
            fill_news(c, item);
        else if (next_question(c, &question))
            item = &question;
        else
            return 0;
        c->kept = *item;
    }
    c->item_kept = true;
    rc = show_head(c);
    if (rc == SSE_OK)
        rc = copy_strings(c, &c->kept);
    c->item_kept = rc < 0;
    if (rc == SSE_OK && c->news.kind == SSE_NEWS_ERROR)
        forget_body(c, c->kept.generation);
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

/* With the lock. */
static int take_or_wait(sse_client *c, int64_t timeout_ms)
{
    int64_t deadline_ms = SSE__NO_TIME;
    bool    late = timeout_ms == 0;

    if (timeout_ms > 0 && timeout_ms < INT64_MAX / 2)
        deadline_ms = sse__clock_mono_ms() + timeout_ms;
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
