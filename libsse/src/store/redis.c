/* SPDX-License-Identifier: MIT */
/* redis.c - the engine's life: its thread, its links, its turns. */
#include "redis.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "redis_guardian.h"
#include "redis_metrics.h"
#include "redis_probe.h"
#include "redis_registry.h"
#include "redis_writer.h"

#define HOLD_BASE_MS 100 /* after Redis refused a write */
#define HOLD_CAP_MS 2000
#define TROUBLE_MS 10000 /* an error that has not come again is over */
#define LOOK_MS 50       /* between two looks at what took too long */
#define AS_JSON 13u      /* the data of an end, escaped, is sent twice */
#define QUEUED_BYTES ((uint32_t)16 << 20)

/* ---- State ---- */

uint32_t sse__redis_room(const sse__redis *r)
{
    if (!r->commands || r->hold_ms > sse__redis_now(r))
        return 0;
    return sse__redis_link_room(r->commands);
}

void sse__redis_accepted(sse__redis *r)
{
    if (r->trouble[0] == '\0')
        return;
    r->trouble[0] = '\0';
    sse__backoff_clear(&r->backoff);
    sse__store_changed(&r->base);
}

/* Those after which the link makes a new handshake are its business. */
static bool is_of_the_link(const char *text)
{
    return strncmp(text, "NOSCRIPT", 8) == 0 ||
           strncmp(text, "READONLY", 8) == 0 ||
           strncmp(text, "LOADING", 7) == 0 ||
           strncmp(text, "MASTERDOWN", 10) == 0 ||
           strncmp(text, "NOAUTH", 6) == 0;
}

void sse__redis_refused(sse__redis *r, const redisReply *reply)
{
    uint64_t random = sse__hub_random(&r->base.hub->core);

    r->counters.refused++;
    if (is_of_the_link(reply->str))
        return;
    snprintf(r->trouble, sizeof(r->trouble), "Redis: %s", reply->str);
    r->trouble_ms = sse__redis_now(r);
    sse__guardian_wait(r, true);
    if (r->hold_ms <= sse__redis_now(r))
        r->hold_ms = sse__redis_now(r) + sse__backoff_next(&r->backoff, random);
    sse__store_changed(&r->base);
}

static bool is_troubled(const sse__redis *r)
{
    return r->trouble[0] != '\0' &&
           sse__redis_now(r) < r->trouble_ms + TROUBLE_MS;
}

/* A refusal comes before other reasons, as it is for good. */
static int is_up(sse__store *store, const char **why)
{
    sse__redis *r = sse__redis_of(store);

    *why = "";
    if (r->commands_health.fatal || r->pushes_health.fatal) {
        *why = r->commands_health.fatal ? r->commands_health.why
                                        : r->pushes_health.why;
        return -1;
    }
    if (!r->commands_up)
        *why = r->commands_health.why;
    else if (!r->pushes_up)
        *why = r->pushes_health.why;
    else if (is_troubled(r))
        *why = r->trouble;
    else
        return 1;
    if (**why == '\0')
        *why = "Redis has not been reached yet";
    return 0;
}

/* ---- Operations ---- */

static void submit(sse__store *store, sse__op *op)
{
    sse__redis *r = sse__redis_of(store);

    sse__list_add(&r->asked, &op->link);
}

void sse__redis_begin(sse__redis *r, sse__op *op)
{
    op->abandoned = true;
    sse__list_add(&r->asked, &op->link);
}

static void remove_stream(sse__redis *r, sse__op *op)
{
    sse__writer *w = sse__writer_find(r, op->id, op->id_len);

    /* An owner was here: a removal that then finds nothing did it. */
    op->look = w && !w->shared;
    if (w && sse__writer_has_ended(w))
        sse__writer_forget(w);
    sse__job_begin(r, op);
}

static void begin(sse__redis *r, sse__op *op)
{
    sse__list_drop(&op->link);
    if (r->closing) {
        sse__op_finish(r->base.hub, op, SSE_ERR_CLOSED);
        return;
    }
    switch (op->kind) {
    case SSE__OP_CREATE: sse__writer_create(r, op); break;
    case SSE__OP_FETCH: sse__tail_fetch(r, op); break;
    case SSE__OP_APPEND: sse__tail_append(r, op); break;
    case SSE__OP_REMOVE: remove_stream(r, op); break;
    default: sse__job_begin(r, op); break;
    }
}

/* ---- Turns ---- */

static void begin_asked(sse__redis *r)
{
    while (!sse__list_empty(&r->asked))
        begin(r, SSE__OWNER(r->asked.next, sse__op, link));
}

/* The stream may be let go of on the way. */
static void look_at_dirty(sse__redis *r)
{
    sse__stream *s;

    while ((s = sse__hub_take_dirty(&r->base.hub->core))) {
        sse__stream_ref(s);
        if (s->backing->role == SSE__OWNER) {
            sse__writer_dirty(r, s);
        } else {
            sse__registry_dirty(r, s);
            sse__writer_mirror_dirty(r, s);
            sse__tail_dirty(r, s);
        }
        sse__stream_unref(s);
    }
}

static void tick(sse__redis *r)
{
    int64_t now_ms = sse__redis_now(r);

    sse__writer_tick(r);
    sse__job_tick(r);
    if (r->jobs_ms <= now_ms)
        r->jobs_ms = now_ms + LOOK_MS;
    sse__lease_tick(r);
    sse__guardian_tick(r);
    sse__probe_tick(r);
    sse__tail_tick(r);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t due_ms(const sse__redis *r)
{
    int64_t due = sse__writer_due_ms(r);

    due = earlier(due, sse__lease_due_ms(r));
    due = earlier(due, sse__guardian_due_ms(r));
    due = earlier(due, sse__probe_due_ms(r));
    due = earlier(due, sse__tail_due_ms(r));
    if (!sse__list_empty(&r->creating) || !sse__list_empty(&r->jobs) ||
        !sse__list_empty(&r->sent_jobs))
        due = earlier(due, r->jobs_ms);
    if (r->hold_ms > sse__redis_now(r))
        due = earlier(due, r->hold_ms);
    return r->closing ? earlier(due, r->drain_by_ms) : due;
}

static void on_timer(uv_timer_t *timer);

static void set_timer(sse__redis *r)
{
    int64_t due = due_ms(r), now_ms = sse__redis_now(r);

    if (due == r->timer_ms && uv_is_active((uv_handle_t *)&r->timer))
        return;
    r->timer_ms = due;
    if (due == INT64_MAX) {
        uv_timer_stop(&r->timer);
        return;
    }
    uv_update_time(&r->loop);
    uv_timer_start(&r->timer, on_timer,
                   due > now_ms ? (uint64_t)(due - now_ms) : 0, 0);
}

static void close_links(sse__redis *r)
{
    r->closed = true;
    sse__tail_close(r);
    sse__job_close(r);
    sse__writer_close(r);
    sse__ended_close(r);
    sse__guardian_close(r);
    uv_close((uv_handle_t *)&r->timer, NULL);
    uv_close((uv_handle_t *)&r->bell, NULL);
    sse__redis_link_close(r->commands, 0);
    sse__redis_link_close(r->pushes, 0);
}

static int is_drained(sse__store *store)
{
    const sse__redis *r = sse__redis_of(store);

    if (sse__list_empty(&store->hub->core.dirty) &&
        sse__list_empty(&r->creating) && !sse__writer_any_unsent(r))
        return 1;
    return r->was_up ? 0 : -1;
}

/* What streams still owe is sent for as long as there is time. */
static void close_when_drained(sse__redis *r)
{
    bool wait = sse__redis_now(r) < r->drain_by_ms && is_drained(&r->base) == 0;

    if (r->closing && !r->closed && !wait)
        close_links(r);
}

/* For those who ask on other threads. */
static void keep_stats(sse__redis *r)
{
    if (r->commands)
        sse__redis_link_get_stats(r->commands, &r->commands_stats);
    if (r->pushes)
        sse__redis_link_get_stats(r->pushes, &r->pushes_stats);
}

void sse__redis_enter(sse__redis *r)
{
    (void)sse__hub_enter(r->base.hub); /* no thread of a child's comes here */
}

void sse__redis_leave(sse__redis *r)
{
    if (!r->closed) {
        r->base.rung = false;
        tick(r);
        begin_asked(r);
        look_at_dirty(r);
        begin_asked(r);
        sse__job_pump(r);
        sse__writer_pump(r);
        close_when_drained(r);
    }
    if (r->base.hub->flushing > 0 && is_drained(&r->base) != 0)
        sse__store_changed(&r->base);
    if (!r->closed)
        set_timer(r);
    keep_stats(r);
    sse__hub_leave(r->base.hub);
}

static void on_timer(uv_timer_t *timer)
{
    sse__redis *r = timer->data;

    sse__redis_enter(r);
    r->timer_ms = INT64_MAX;
    sse__redis_leave(r);
    sse__probe_act(r);
}

static void on_bell(uv_async_t *bell)
{
    sse__redis *r = bell->data;

    sse__redis_enter(r);
    sse__redis_leave(r);
}

static void ring(sse__store *store)
{
    uv_async_send(&sse__redis_of(store)->bell);
}

/* ---- Links ---- */

static void set_down(sse__redis *r, sse__redis_health *health, const char *why,
                     bool fatal)
{
    health->fatal = fatal;
    snprintf(health->why, sizeof(health->why), "%s", why);
    sse__store_changed(&r->base);
}

static void commands_up(void *user)
{
    sse__redis *r = user;

    sse__redis_enter(r);
    sse__guardian_wait(r, r->was_up);
    r->commands_up = r->was_up = true;
    r->commands_health.fatal = false;
    sse__store_changed(&r->base);
    r->hold_ms = 0;
    sse__lease_link_up(r);
    sse__tail_commands_up(r);
    sse__redis_leave(r);
}

static void commands_down(void *user, const char *why, bool fatal)
{
    sse__redis *r = user;

    sse__redis_enter(r);
    r->commands_up = false;
    set_down(r, &r->commands_health, why, fatal);
    if (!r->closed) {
        sse__writer_link_down(r);
        sse__tail_commands_down(r);
    }
    sse__redis_leave(r);
}

static void pushes_up(void *user)
{
    sse__redis *r = user;
    const char *channel = r->control;

    sse__redis_enter(r);
    r->pushes_up = true;
    r->pushes_health.fatal = false;
    sse__probe_listens(r, false);
    sse__store_changed(&r->base);
    if (!r->closed) {
        (void)sse__redis_subscribe(r->pushes, 1, &channel, NULL);
        sse__tail_link_up(r);
    }
    sse__redis_leave(r);
}

static void pushes_down(void *user, const char *why, bool fatal)
{
    sse__redis *r = user;

    sse__redis_enter(r);
    r->pushes_up = false;
    set_down(r, &r->pushes_health, why, fatal);
    if (!r->closed)
        sse__tail_link_down(r);
    sse__redis_leave(r);
}

static void pushed(void *user, const sse__redis_push *push)
{
    sse__redis *r = user;
    bool        control = push->channel_len == strlen(r->control) &&
                   memcmp(push->channel, r->control, push->channel_len) == 0;

    sse__redis_enter(r);
    if (r->closed)
        ;
    else if (!control)
        sse__tail_pushed(r, push);
    else if (push->kind == SSE__REDIS_SUBSCRIBED)
        sse__probe_listens(r, true);
    else if (push->kind == SSE__REDIS_MESSAGE && !sse__probe_came(r, push))
        sse__lease_told(r, push);
    sse__redis_leave(r);
}

static void commands_closed(void *user)
{
    ((sse__redis *)user)->commands = NULL;
}

static void pushes_closed(void *user)
{
    ((sse__redis *)user)->pushes = NULL;
}

static int open_links(sse__redis *r, char *why, size_t why_size)
{
    static const sse__redis_link_events commands = {
        .up = commands_up, .down = commands_down, .closed = commands_closed};
    static const sse__redis_link_events pushes = {.up = pushes_up,
                                                  .down = pushes_down,
                                                  .push = pushed,
                                                  .closed = pushes_closed};
    uint32_t event_bytes = r->base.hub->core.opts.max_event_bytes;
    sse__redis_link_options opts = {
        .client_name = r->client_name,
        .probe_channel = r->probe,
        .scripts = r->scripts,
        .script_count = SSE__REDIS_SCRIPT_COUNT,
        .random_seed = r->seed,
        .role = SSE__REDIS_COMMANDS,
        .connect_ms = r->url.timeout_ms,
        .reply_ms = r->url.timeout_ms,
        .max_queued_bytes = event_bytes > QUEUED_BYTES / AS_JSON
                                ? event_bytes * AS_JSON
                                : QUEUED_BYTES,
    };
    int rc = sse__redis_link_new(&r->loop, &r->url, &opts, &commands, r,
                                 &r->commands, why, why_size);

    if (rc < 0)
        return rc;
    opts.role = SSE__REDIS_SUBSCRIPTIONS;
    opts.scripts = NULL;
    opts.script_count = 0;
    opts.probe_channel = NULL;
    opts.random_seed++;
    return sse__redis_link_new(&r->loop, &r->url, &opts, &pushes, r, &r->pushes,
                               why, why_size);
}

/* ---- The thread ---- */

static void *run(void *arg)
{
    sse__redis *r = arg;

    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    return NULL;
}

/* Signals belong to the program: none is ever handled on this thread. */
static int start_thread(sse__redis *r)
{
    sigset_t all, old;
    int      rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? SSE_OK : SSE_ERR_IO;
}

static bool is_here(const sse__store *store)
{
    const sse__redis *r = (const sse__redis *)(const void *)store;

    return pthread_equal(pthread_self(), r->thread);
}

static void close_store(sse__store *store, uint32_t drain_ms)
{
    sse__redis *r = sse__redis_of(store);

    if (sse__hub_enter(store->hub) < 0)
        return;
    r->closing = true;
    r->drain_by_ms = sse__redis_now(r) + drain_ms;
    ring(store); /* with the lock, while the loop is surely there */
    sse__hub_leave(store->hub);
    pthread_join(r->thread, NULL);
}

/* ---- Making and freeing ---- */

static void free_store(sse__store *store)
{
    sse__redis *r = sse__redis_of(store);

    sse__map_free(&r->writers);
    sse__map_free(&r->claims);
    sse__call_free(&r->call);
    sse__redis_url_free(&r->url);
    sse__free(r->control);
    sse__free(r->probe);
    sse__free(r);
}

/* Seconds that are never too few. */
static uint64_t seconds(uint32_t ms)
{
    return ((uint64_t)ms + 999) / 1000;
}

/* The numbering outlives whatever it numbers. */
static void set_keep(sse__redis *r, const sse_hub_options *o)
{
    sse__redis_keep *k = &r->keep;

    k->events = seconds(o->log_age_ms);
    k->stream = seconds(o->stream_ttl_ms);
    k->final = seconds(o->completion_ttl_ms);
    k->meta = 3600 + k->events;
    if (k->meta < k->stream + 3600)
        k->meta = k->stream + 3600;
}

static char *make_name(const sse__redis *r, const char *kind)
{
    char name[SSE__REDIS_PREFIX_BYTES + SSE__NODE_BYTES + 16];
    int  len = snprintf(name, sizeof(name), "%s%s%s", r->prefix, kind, r->node);

    return sse__memdup(name, (size_t)len);
}

static int name_all(sse__redis *r)
{
    char made[SSE__MADE_ID_BYTES];

    if (!sse__make_id(made))
        return SSE_ERR_IO;
    memcpy(r->node, made, SSE__NODE_BYTES);
    memcpy(&r->seed, made + SSE__NODE_BYTES, sizeof(r->seed));
    r->prefix = r->url.prefix ? r->url.prefix : "sse:";
    snprintf(r->client_name, sizeof(r->client_name), "libsse-%s", r->node);
    if (r->url.db == 0)
        snprintf(r->channels, sizeof(r->channels), "ch:");
    else
        snprintf(r->channels, sizeof(r->channels), "ch%u:", r->url.db);
    r->control = make_name(r, "ctl:");
    r->probe = make_name(r, "probe:");
    return r->control && r->probe ? SSE_OK : SSE_ERR_NOMEM;
}

static void init_state(sse__redis *r)
{
    sse__list_init(&r->asked);
    sse__list_init(&r->jobs);
    sse__list_init(&r->sent_jobs);
    sse__list_init(&r->all_writers);
    sse__list_init(&r->due);
    sse__list_init(&r->lingering);
    sse__list_init(&r->creating);
    sse__list_init(&r->ended);
    sse__map_init(&r->writers, (uint32_t)r->seed);
    sse__map_init(&r->claims, (uint32_t)(r->seed >> 8));
    sse__backoff_init(&r->backoff, HOLD_BASE_MS, HOLD_CAP_MS, HOLD_BASE_MS / 2);
    r->timer_ms = INT64_MAX;
    if (r->base.opts.sweep_ms == SSE_NEVER)
        r->sweep_ms = INT64_MAX;
    else
        r->sweep_ms = sse__clock_mono_ms() +
                      (int64_t)(r->seed % (r->base.opts.sweep_ms / 2 + 1));
    for (size_t i = 0; i < SSE__REDIS_SCRIPT_COUNT; i++)
        r->scripts[i] = (sse__redis_script){sse__redis_scripts[i].text,
                                            sse__redis_scripts[i].len};
}

static int open_loop(sse__redis *r)
{
    if (uv_loop_init(&r->loop) < 0)
        return SSE_ERR_IO;
    if (uv_async_init(&r->loop, &r->bell, on_bell) < 0) {
        uv_loop_close(&r->loop);
        return SSE_ERR_IO;
    }
    uv_timer_init(&r->loop, &r->timer);
    r->bell.data = r->timer.data = r;
    return SSE_OK;
}

/* What was opened, when not all could be. */
static void close_loop(sse__redis *r)
{
    r->closed = true;
    if (r->commands)
        sse__redis_link_close(r->commands, 0);
    if (r->pushes)
        sse__redis_link_close(r->pushes, 0);
    uv_close((uv_handle_t *)&r->timer, NULL);
    uv_close((uv_handle_t *)&r->bell, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
}

static int start(sse__redis *r, char *why, size_t why_size)
{
    int rc = open_loop(r);

    if (rc < 0)
        return rc;
    rc = open_links(r, why, why_size);
    if (rc == SSE_OK)
        rc = start_thread(r);
    if (rc < 0)
        close_loop(r);
    return rc;
}

int sse__redis_open(sse_hub *hub, const char *url, size_t len,
                    const sse_store_options *opts, char *why, size_t why_size,
                    sse__store **out)
{
    static const sse__store_ops ops = {
        submit,     ring,  is_here,    close_store,
        free_store, is_up, is_drained, sse__redis_metrics};
    sse__redis *r = sse__calloc(1, sizeof(*r));
    int         rc;

    *out = NULL;
    if (!r)
        return SSE_ERR_NOMEM;
    r->base = (sse__store){.ops = &ops, .hub = hub, .opts = *opts};
    rc = sse__redis_url_parse(url, len, &r->url, why, why_size);
    if (rc == SSE_OK)
        rc = name_all(r);
    if (rc == SSE_OK) {
        set_keep(r, &hub->core.opts);
        init_state(r);
        rc = start(r, why, why_size);
    }
    if (rc < 0) {
        free_store(&r->base);
        return rc;
    }
    *out = &r->base;
    return SSE_OK;
}
