/* SPDX-License-Identifier: MIT */
/* redis_lease.c - life signs of the streams that this hub has registered, and
 * what others tell its node. */
#include <string.h>

#include "../core/alloc.h"
#include "redis_registry.h"
#include "redis_writer.h"

#define BEATS_AT_ONCE 128u
#define AGAIN_MS 50 /* when there was no room */

typedef struct beat {
    sse__redis  *engine;
    uint32_t     count;
    sse__writer *writers[BEATS_AT_ONCE]; /* pinned */
} beat;

/* ---- Life signs ---- */

/* What the answer says of one. One whose end is under way has nothing to learn
 * from it. */
static void got_word(sse__writer *w, sse__text word)
{
    static const struct {
        const char *word;
        void (*handle)(sse__writer *w);
    } answers[] = {{"gone", sse__writer_is_gone},
                   {"closed", sse__writer_is_closed},
                   {"stolen", sse__writer_is_stolen}};

    if (w->phase != SSE__WRITER_OPEN || sse__writer_has_ended(w))
        return;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++)
        if (strlen(answers[i].word) == word.len &&
            memcmp(answers[i].word, word.text, word.len) == 0) {
            answers[i].handle(w);
            return;
        }
}

static void got_beats(void *user, const redisReply *reply)
{
    beat *b = user;

    for (uint32_t i = 0; i < b->count; i++) {
        if (sse__reply_is(reply, "ok"))
            got_word(b->writers[i], sse__reply_text(reply, i + 1));
        else
            b->writers[i]->beat_ms = 0;
        sse__writer_unpin(b->writers[i]);
    }
    if (!reply)
        b->engine->beat_ms = sse__redis_now(b->engine) + AGAIN_MS;
    sse__free(b);
}

static void form_beats(sse__redis *r, const beat *b)
{
    sse_stream_info i;

    sse__call_begin(r, SSE__REDIS_BEAT);
    sse__call_key(r, "active", "", 0, "");
    for (uint32_t n = 0; n < b->count; n++) {
        sse__stream_info(b->writers[n]->stream, &i);
        sse__call_key(r, "stream:", i.id, i.id_len, "");
        sse__call_key(r, "events:", i.id, i.id_len, "");
        sse__call_key(r, "meta:", i.id, i.id_len, "");
        if (i.owner_len)
            sse__call_user_key(r, i.owner, i.owner_len);
        else
            sse__call_key(r, "stream:", i.id, i.id_len, "");
    }
    sse__call_time(r, r->base.hub->core.wall_ms);
    sse__call_u64(r, r->keep.stream);
    sse__call_u64(r, r->keep.events);
    sse__call_u64(r, r->keep.meta);
    for (uint32_t n = 0; n < b->count; n++) {
        const sse__stream *s = b->writers[n]->stream;

        sse__call_text(r, s->id, s->node.key_len);
        sse__call_str(r, b->writers[n]->shared ? "" : b->writers[n]->token);
    }
}

/* False when they cannot be sent now. */
static bool send_beats(sse__redis *r, beat *b)
{
    if (b->count == 0) {
        sse__free(b);
        return true;
    }
    form_beats(r, b);
    if (sse__call_send(r, got_beats, b) < 0) {
        sse__free(b);
        return false;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        b->writers[i]->pins++;
        b->writers[i]->beat_ms = sse__redis_now(r);
    }
    r->counters.beats += b->count;
    return true;
}

/* Gathers writers from `*at` on; NULL when out of memory. */
static beat *gather(sse__redis *r, sse__link **at)
{
    int64_t before_ms = sse__redis_now(r) - r->base.opts.lease_ms / 4;
    beat   *b = sse__malloc(sizeof(*b));

    if (!b)
        return NULL;
    b->engine = r;
    b->count = 0;
    for (; *at != &r->all_writers && b->count < BEATS_AT_ONCE;
         *at = (*at)->next) {
        sse__writer *w = SSE__OWNER(*at, sse__writer, link);

        if (w->beat_ms <= before_ms && sse__writer_beats(w))
            b->writers[b->count++] = w;
    }
    return b;
}

static bool beat_all(sse__redis *r)
{
    sse__link *at = r->all_writers.next;

    while (at != &r->all_writers) {
        beat *b = sse__redis_room(r) > 0 ? gather(r, &at) : NULL;

        if (!b || !send_beats(r, b))
            return false;
    }
    return true;
}

void sse__lease_tick(sse__redis *r)
{
    int64_t now_ms = sse__redis_now(r);

    if (now_ms < r->beat_ms || !r->commands_up)
        return;
    sse__writer_unpark(r);
    sse__ended_tick(r);
    r->beat_ms =
        beat_all(r) ? now_ms + r->base.opts.lease_ms / 3 : now_ms + AGAIN_MS;
}

int64_t sse__lease_due_ms(const sse__redis *r)
{
    bool idle = sse__list_empty(&r->all_writers) && sse__list_empty(&r->ended);

    return r->commands_up && !idle ? r->beat_ms : INT64_MAX;
}

void sse__lease_link_up(sse__redis *r)
{
    r->beat_ms = sse__redis_now(r);
}

/* ---- Streams that have ended ---- */

typedef struct ended {
    sse__link    link;
    sse__stream *stream; /* counted                                         */
} ended;

void sse__ended_add(sse__redis *r, sse__stream *s)
{
    ended *e = sse__malloc(sizeof(*e));

    if (!e)
        return; /* it goes with its time to live */
    e->stream = s;
    sse__stream_ref(s);
    sse__list_add(&r->ended, &e->link);
}

static void free_ended(ended *e)
{
    sse__list_drop(&e->link);
    sse__stream_unref(e->stream);
    sse__free(e);
}

void sse__ended_tick(sse__redis *r)
{
    sse__link *next;

    for (sse__link *l = r->ended.next; l != &r->ended; l = next) {
        ended *e = SSE__OWNER(l, ended, link);

        next = l->next;
        if (!e->stream->gone && e->stream->refs > 2) /* ours and the hub's */
            continue;
        sse__stream_remove(e->stream);
        free_ended(e);
    }
}

void sse__ended_close(sse__redis *r)
{
    while (!sse__list_empty(&r->ended))
        free_ended(SSE__OWNER(r->ended.next, ended, link));
}

/* ---- The control channel ---- */

static sse__text take_word(const char **at, const char *end)
{
    const char *start = *at;
    const char *space = memchr(start, ' ', (size_t)(end - start));
    sse__text   word = {start, (size_t)((space ? space : end) - start)};

    *at = space ? space + 1 : end;
    return word;
}

static bool is_word(sse__text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.text, word, text.len) == 0;
}

/* "stop <owner token> <id>", "removed <owner token> <id>". What is meant for
 * another run of the stream is too late. */
void sse__lease_told(sse__redis *r, const sse__redis_push *push)
{
    const char  *at = push->message, *end = at + push->message_len;
    sse__text    what = take_word(&at, end);
    sse__text    token = take_word(&at, end);
    sse__writer *w = sse__writer_find(r, at, (size_t)(end - at));

    while (w && !is_word(token, w->token))
        w = w->newer;
    if (!w || w->shared || w->phase == SSE__WRITER_DONE)
        return;
    if (is_word(what, "stop"))
        sse__stream_stop(w->stream, SSE_REASON_REQUESTED);
    else if (is_word(what, "removed"))
        sse__writer_is_lost(w, SSE_REASON_REMOVED);
}
