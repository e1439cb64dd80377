/* SPDX-License-Identifier: MIT */
/* client.c - a client's life, and its turns on the loop's thread. */
#include "client.h"

#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/options.h"
#include "client_answer.h"
#include "host.h"

#define URL_BYTES 8192
#define FLAGS \
    (SSE_CLIENT_ACK | SSE_CLIENT_COMMENTS | SSE_CLIENT_TOKEN | \
     SSE_CLIENT_DECIDE | SSE_CLIENT_POLL | SSE_CLIENT_INSECURE | \
     SSE_CLIENT_IDENTITY)

/* ---- Waking -------------------------------------------------------------- */

void sse__follow_wake(sse_client *c)
{
    sse_loop *loop = c->loop;
    bool      first;

    pthread_mutex_lock(&loop->inbox);
    first = sse__list_empty(&c->woken);
    if (first)
        sse__list_add(&loop->woken, &c->woken);
    pthread_mutex_unlock(&loop->inbox);
    if (first && !(sse__loop_is_here(loop) && loop->in_turn))
        sse__bell_ring(loop->bell);
}

void sse__follow_nudge(sse_client *c)
{
    if (c->started && (sse__client_has_action(c->core) ||
                       sse__client_deadline(c->core) < c->alarm_at_ms))
        sse__follow_wake(c);
}

int sse__follow_enter(sse_client *c)
{
    if (sse__loop_forked(c->loop))
        return SSE_ERR_FORKED;
    pthread_mutex_lock(&c->lock);
    return SSE_OK;
}

/* A waiter needs the lock, so it is woken when that is free. */
static void unlock_and_signal(sse_client *c)
{
    bool wake = sse__follow_signal(c);

    pthread_mutex_unlock(&c->lock);
    if (wake)
        pthread_cond_broadcast(&c->arrived);
}

void sse__follow_leave(sse_client *c)
{
    bool started = c->started || c->core->phase == SSE__PHASE_ENDED;

    unlock_and_signal(c);
    if (started)
        sse__follow_wake(c);
}

/* ---- Turns --------------------------------------------------------------- */

static void on_alarm(uv_timer_t *timer)
{
    sse__alarm *alarm = timer->data;

    if (!alarm->client)
        return;
    sse__follow_wake(alarm->client);
    sse__loop_turn(alarm->client->loop);
}

static void on_alarm_closed(uv_handle_t *handle)
{
    sse__free(handle->data);
}

static void set_up_alarm(sse_client *c)
{
    uv_timer_init(&c->loop->uv, &c->alarm->timer);
    uv_unref((uv_handle_t *)&c->alarm->timer);
    c->alarm->timer.data = c->alarm;
    c->alarm_set_up = true;
}

static void set_alarm(sse_client *c, int64_t at_ms)
{
    int64_t now_ms = sse__clock_mono_ms();

    if (!c->alarm_set_up)
        set_up_alarm(c);
    if (at_ms == SSE__NO_TIME) {
        uv_timer_stop(&c->alarm->timer);
        return;
    }
    uv_update_time(&c->loop->uv);
    uv_timer_start(&c->alarm->timer, on_alarm,
                   at_ms > now_ms ? (uint64_t)(at_ms - now_ms) : 0, 0);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* With the lock. */
static void tick(sse_client *c)
{
    int64_t now_ms = sse__clock_mono_ms();

    if (!c->started && !atomic_load(&c->close_asked))
        return;
    if (atomic_exchange(&c->close_asked, false))
        sse__client_close(c->core, now_ms);
    sse__client_tick(c->core, now_ms, sse__clock_wall_ms());
    if (now_ms < c->renew_at_ms)
        return;
    c->renew_at_ms = SSE__NO_TIME;
    sse__client_renew_token(c->core, now_ms);
}

/* Some of what the machine wants is a question to the application. */
static bool take_action(sse_client *c, sse__action *a, sse__buf *cursor)
{
    bool taken;

    pthread_mutex_lock(&c->lock);
    taken = sse__client_next_action(c->core, a);
    if (taken && a->kind == SSE__ACT_CONNECT) {
        cursor->len = 0;
        if (sse__buf_add(cursor, a->cursor, a->cursor_len) < 0) {
            sse__client_on_error(c->core, a->generation, sse__clock_mono_ms(),
                                 SSE_CAUSE_NOMEM);
            a->kind = 0;
        }
    }
    if (taken && a->kind == SSE__ACT_ASK_TOKEN)
        sse__follow_ask_token(c);
    if (taken && a->kind == SSE__ACT_ASK_DECISION) {
        c->question = *a;
        c->asks_decision = true;
    }
    pthread_mutex_unlock(&c->lock);
    return taken;
}

static void carry_out(sse_client *c, const sse__action *a, const char *cursor)
{
    switch (a->kind) {
    case SSE__ACT_CONNECT: sse__fetch_begin(c, a, cursor); break;
    case SSE__ACT_ABORT: sse__fetch_abort(c, a->generation); break;
    case SSE__ACT_PAUSE: sse__fetch_pause(c, a->generation, true); break;
    case SSE__ACT_RESUME: sse__fetch_pause(c, a->generation, false); break;
    case SSE__ACT_ASK_RECOVERY: sse__fetch_begin(c, NULL, NULL); break;
    default: break;
    }
}

static void work(sse_client *c)
{
    int64_t     at_ms = sse__fetch_tick(c, sse__clock_mono_ms());
    sse__action a;

    pthread_mutex_lock(&c->lock);
    tick(c);
    pthread_mutex_unlock(&c->lock);
    while (take_action(c, &a, &c->cursor))
        carry_out(c, &a, c->cursor.data);
    sse__fetch_unblock(c);
    pthread_mutex_lock(&c->lock);
    at_ms = sooner(at_ms, sse__client_deadline(c->core));
    c->alarm_at_ms = at_ms = sooner(at_ms, c->renew_at_ms);
    pthread_mutex_unlock(&c->lock);
    set_alarm(c, at_ms);
}

static void call_hook(sse_client *c)
{
    bool call;

    pthread_mutex_lock(&c->lock);
    call = c->hook && c->hook_armed && sse__follow_has_news(c);
    c->hook_armed = c->hook_armed && !call;
    unlock_and_signal(c);
    if (call)
        c->hook(c->hook_user);
}

/* A client that goes on keeps the loop running, whatever it waits for; its end
 * has to be told first. */
static void keep_loop(sse_client *c, bool before)
{
    bool lives;

    pthread_mutex_lock(&c->lock);
    lives = c->started && c->core->phase != SSE__PHASE_ENDED;
    pthread_mutex_unlock(&c->lock);
    if (before ? !lives || c->keeps : lives || !c->keeps)
        return;
    c->keeps = lives;
    if (lives)
        sse__loop_keep(c->loop);
    else
        sse__loop_release(c->loop);
}

/* ---- The end ------------------------------------------------------------- */

/* Takes it off the loop: on its thread, or while it does not run. */
static void detach(sse_client *c)
{
    sse__fetch_end_all(c);
    if (c->alarm_set_up) {
        c->alarm->client = NULL;
        uv_close((uv_handle_t *)&c->alarm->timer, on_alarm_closed);
    } else {
        sse__free(c->alarm);
    }
    c->alarm = NULL;
    pthread_mutex_lock(&c->loop->inbox);
    sse__list_drop(&c->link);
    sse__list_drop(&c->woken);
    pthread_mutex_unlock(&c->loop->inbox);
    if (c->keeps)
        sse__loop_release(c->loop);
    c->keeps = false;
}

static void destroy(sse_client *c)
{
    sse_loop *loop = c->loop;

    sse__client_free(c->core);
    for (int i = 0; i < SSE__SETTINGS; i++)
        sse__buf_free(&c->settings[i]);
    sse__buf_free(&c->url);
    sse__buf_free(&c->cursor);
    sse__buf_free(&c->headers);
    sse__buf_free(&c->token);
    sse__follow_free_news(c);
    pthread_cond_destroy(&c->arrived);
    pthread_mutex_destroy(&c->lock);
    if (c->fd >= 0)
        close(c->fd);
    sse__free(c);
    sse__loop_unref(loop);
}

/* Another thread waits in free, which has the memory from here on. It may still
 * be about to wake this client: not before it waits is that over. */
static void let_go(sse_client *c)
{
    sse_loop *loop = c->loop;

    pthread_mutex_lock(&loop->gate);
    detach(c);
    c->left = true;
    pthread_cond_broadcast(&loop->passed);
    pthread_mutex_unlock(&loop->gate);
}

void sse__follow_turn(sse_client *c)
{
    if (atomic_load(&c->leaving)) {
        let_go(c);
        return;
    }
    c->in_turn = true;
    keep_loop(c, true);
    work(c);
    call_hook(c);
    keep_loop(c, false);
    c->in_turn = false;
    if (c->freed) {
        detach(c);
        destroy(c);
    }
}

static void leave_from_afar(sse_client *c)
{
    sse_loop *loop = c->loop;

    pthread_mutex_lock(&loop->gate);
    atomic_store(&c->leaving, true);
    if (atomic_load(&loop->bell->running))
        sse__follow_wake(c);
    while (!c->left && atomic_load(&loop->bell->running))
        pthread_cond_wait(&loop->passed, &loop->gate);
    if (!c->left) {
        sse__pipe_guard guard;

        sse__pipe_hold(&guard);
        detach(c);
        sse__pipe_release(&guard);
    }
    pthread_mutex_unlock(&loop->gate);
}

void sse_client_free(sse_client *c)
{
    if (!c || sse__loop_forked(c->loop))
        return;
    if (!sse__loop_is_here(c->loop)) {
        leave_from_afar(c);
    } else if (c->in_turn) {
        c->freed = true; /* its turn frees it at the end */
        return;
    } else {
        detach(c);
    }
    destroy(c);
}

/* ---- The beginning ------------------------------------------------------- */

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return false;
}

int sse__follow_check_url(const char *url, size_t len, sse__buf *out)
{
    CURLU    *parsed;
    CURLUcode rc;
    char     *text = NULL, *scheme = NULL;
    int       result = SSE_ERR_INVAL;

    if (len == 0 || len > URL_BYTES || has_control(url, len))
        return SSE_ERR_INVAL;
    out->len = 0;
    parsed = curl_url();
    if (!parsed || sse__buf_add(out, url, len) < 0 ||
        sse__buf_add(out, "", 1) < 0) {
        curl_url_cleanup(parsed);
        return SSE_ERR_NOMEM;
    }
    rc = curl_url_set(parsed, CURLUPART_URL, out->data, CURLU_URLENCODE);
    if (rc == CURLUE_OK)
        rc = curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0);
    if (rc == CURLUE_OK)
        rc = curl_url_get(parsed, CURLUPART_URL, &text, 0);
    out->len = 0;
    if (rc == CURLUE_OUT_OF_MEMORY)
        result = SSE_ERR_NOMEM;
    else if (rc == CURLUE_OK &&
             (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0))
        result = sse__buf_add(out, text, strlen(text) + 1);
    curl_free(text);
    curl_free(scheme);
    curl_url_cleanup(parsed);
    return result;
}

static sse__client_options to_core(const sse_client_options *o)
{
    sse__client_options to = {
        .profile = o->profile,
        .flags = o->flags & ~(SSE_CLIENT_INSECURE | SSE_CLIENT_IDENTITY),
        .retry_ms = o->retry_ms,
        .retry_floor_ms = o->retry_floor_ms,
        .retry_cap_ms = o->retry_cap_ms,
        .retry_after_cap_ms = o->retry_after_cap_ms,
        .max_attempts = o->max_attempts,
        .budget_ms = o->budget_ms,
        .healthy_ms = o->healthy_ms,
        .healthy_events = o->healthy_events,
        .connect_ms = o->connect_ms,
        .first_byte_ms = o->first_byte_ms,
        .stall_ms = o->stall_ms,
        .poll_ms = o->poll_ms,
        .poll_period_ms = o->poll_period_ms,
        .window = o->window,
        .queue_bytes = o->queue_bytes,
        .max_event_bytes = o->max_event_bytes,
    };

    if (getrandom(&to.seed, sizeof(to.seed), 0) != (ssize_t)sizeof(to.seed))
        to.seed = (uint64_t)sse__clock_wall_ms();
    return to;
}

static void init(sse_client *c, sse_loop *loop)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->arrived, &attr);
    pthread_condattr_destroy(&attr);
    for (int i = 0; i < SSE__SETTINGS; i++)
        sse__buf_init(&c->settings[i], SIZE_MAX);
    sse__buf_init(&c->url, SIZE_MAX);
    sse__buf_init(&c->cursor, SIZE_MAX);
    sse__buf_init(&c->headers, SIZE_MAX);
    sse__buf_init(&c->token, SIZE_MAX);
    sse__follow_init_news(c);
    sse__list_init(&c->link);
    sse__list_init(&c->woken);
    c->fd = -1;
    c->armed = c->hook_armed = true;
    c->renew_at_ms = c->alarm_at_ms = SSE__NO_TIME;
    c->loop = loop;
    sse__loop_ref(loop);
}

int sse_client_new(sse_loop *loop, const char *url, size_t url_len,
                   const sse_client_options *opts, sse_client **out)
{
    sse_client         *c = sse__calloc(1, sizeof(*c));
    sse__client_options core;
    int                 rc;

    *out = NULL;
    if (!c)
        return SSE_ERR_NOMEM;
    init(c, loop);
    rc = sse__loop_forked(loop)
             ? SSE_ERR_FORKED
             : sse__options_copy(&c->opts, sizeof(c->opts), opts);
    if (rc == SSE_OK && (c->opts.flags & ~FLAGS || c->opts.reserved != 0))
        rc = SSE_ERR_INVAL;
    if (rc == SSE_OK)
        rc = sse__follow_check_url(url, url_len, &c->url);
    core = to_core(&c->opts);
    if (rc == SSE_OK)
        rc = sse__client_new(&core, url, url_len, &c->core);
    if (rc == SSE_OK && !(c->alarm = sse__calloc(1, sizeof(*c->alarm))))
        rc = SSE_ERR_NOMEM;
    if (rc < 0) {
        destroy(c);
        return rc;
    }
    c->alarm->client = c;
    pthread_mutex_lock(&loop->inbox);
    sse__list_add(&loop->clients, &c->link);
    pthread_mutex_unlock(&loop->inbox);
    *out = c;
    return SSE_OK;
}
