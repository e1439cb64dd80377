/* SPDX-License-Identifier: MIT */
/* redis_call.c - calls of scripts, and their replies. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/row.h"
#include "redis.h"

#define CALL_TEXT_MAX ((size_t)16 << 20)
#define CALL_TEXT_KEPT ((size_t)1 << 16)
#define CALL_ARGS_KEPT 1024u

/* ---- Putting together ---- */

void sse__call_free(sse__call *c)
{
    sse__free(c->args);
    sse__free(c->argv);
    sse__free(c->lens);
    sse__buf_free(&c->text);
    *c = (sse__call){0};
}

void sse__call_begin(sse__redis *r, uint32_t script)
{
    sse__call *c = &r->call;

    if (c->cap > CALL_ARGS_KEPT || c->text.cap > CALL_TEXT_KEPT)
        sse__call_free(c);
    c->text.max = CALL_TEXT_MAX;
    c->text.len = 0;
    c->script = script;
    c->key_count = c->count = 0;
    c->rc = SSE_OK;
}

static int grow(sse__call *c)
{
    uint32_t     cap = c->cap ? c->cap * 2 : 64;
    sse__arg    *args = sse__realloc(c->args, cap * sizeof(*args));
    const char **argv;
    size_t      *lens;

    if (!args)
        return SSE_ERR_NOMEM;
    c->args = args;
    if (!(argv = sse__realloc(c->argv, cap * sizeof(*argv))))
        return SSE_ERR_NOMEM;
    c->argv = argv;
    if (!(lens = sse__realloc(c->lens, cap * sizeof(*lens))))
        return SSE_ERR_NOMEM;
    c->lens = lens;
    c->cap = cap;
    return SSE_OK;
}

static void add(sse__call *c, sse__arg arg)
{
    if (c->rc == SSE_OK && c->count == c->cap)
        c->rc = grow(c);
    if (c->rc == SSE_OK)
        c->args[c->count++] = arg;
}

void sse__call_text(sse__redis *r, const char *text, size_t len)
{
    add(&r->call, (sse__arg){.text = len ? text : "", .len = len});
}

void sse__call_str(sse__redis *r, const char *text)
{
    sse__call_text(r, text, strlen(text));
}

static void put(sse__call *c, const char *text, size_t len)
{
    if (c->rc == SSE_OK)
        c->rc = sse__buf_add(&c->text, text, len);
}

/* What was put into the call's text since `at` is the next argument. */
static void add_put(sse__call *c, size_t at)
{
    add(c, (sse__arg){.at = at, .len = c->text.len - at});
}

void sse__call_copy(sse__redis *r, const char *text, size_t len)
{
    size_t at = r->call.text.len;

    put(&r->call, text, len);
    add_put(&r->call, at);
}

void sse__call_u64(sse__redis *r, uint64_t number)
{
    char text[21];

    sse__call_copy(r, text,
                   (size_t)snprintf(text, sizeof(text), "%llu",
                                    (unsigned long long)number));
}

static void add_name(sse__redis *r, const char *kind, const char *name,
                     size_t name_len, const char *rest)
{
    size_t at = r->call.text.len;

    put(&r->call, r->prefix, strlen(r->prefix));
    put(&r->call, kind, strlen(kind));
    put(&r->call, name, name_len);
    put(&r->call, rest, strlen(rest));
    add_put(&r->call, at);
}

void sse__call_name(sse__redis *r, const char *kind, const char *name,
                    size_t name_len)
{
    add_name(r, kind, name, name_len, "");
}

void sse__call_key(sse__redis *r, const char *kind, const char *name,
                   size_t name_len, const char *rest)
{
    add_name(r, kind, name, name_len, rest);
    r->call.key_count++;
}

void sse__call_user_key(sse__redis *r, const char *user, size_t len)
{
    sse__call_key(r, "user:", user, len, ":streams");
}

/* In the order that the scripts know them by. */
void sse__call_keys(sse__redis *r, const char *id, size_t id_len)
{
    sse__call_key(r, "stream:", id, id_len, "");
    sse__call_key(r, "events:", id, id_len, "");
    sse__call_key(r, "meta:", id, id_len, "");
    sse__call_key(r, "completion:", id, id_len, "");
    sse__call_key(r, "active", "", 0, "");
}

void sse__call_time(sse__redis *r, int64_t wall_ms)
{
    char text[SSE__ISO_BYTES];

    sse__iso_format(text, wall_ms);
    sse__call_copy(r, text, SSE__ISO_BYTES - 1);
}

void sse__call_channel(sse__redis *r, const char *id, size_t id_len)
{
    sse__call_name(r, r->channels, id, id_len);
    sse__call_str(r, "PUBLISH");
}

/* The type of a row is a JSON string, and Redis gets its text. */
static void add_type(sse__redis *r, sse__json_slice type)
{
    size_t at = r->call.text.len;

    if (r->call.rc == SSE_OK)
        r->call.rc = sse__json_unquote(&r->call.text, type.text, type.len);
    add_put(&r->call, at);
}

void sse__call_final(sse__redis *r, uint32_t state, const sse__row *last)
{
    sse__row_parts parts;

    if (!last || sse__row_parse(&parts, last->text, last->len) < 0) {
        for (int i = 0; i < 5; i++)
            sse__call_str(r, "");
        return;
    }
    sse__call_str(r, sse_state_name((int)state));
    add_type(r, parts.type);
    sse__call_text(r, parts.data.text, parts.data.len);
    sse__call_time(r, parts.ts_ms);
    sse__call_u64(r, r->keep.final);
}

void sse__call_row(sse__redis *r, const sse__row *row)
{
    char tag[9];

    snprintf(tag, sizeof(tag), "%08x", row->tag);
    sse__call_copy(r, tag, 8);
    sse__call_text(r, row->text, row->len);
}

/* ---- Sending ---- */

typedef struct sent {
    sse__redis   *engine;
    uint32_t      script;
    sse__call_fn *fn;
    void         *user;
} sent;

/* Whether it shows that Redis takes writes. */
static bool is_write(uint32_t script)
{
    return script != SSE__REDIS_READ && script != SSE__REDIS_LIST &&
           script != SSE__REDIS_COUNT && script != SSE__REDIS_CLAIM &&
           script != SSE__REDIS_STOP;
}

static void got_reply(void *user, int err, const redisReply *reply)
{
    sent        call = *(sent *)user;
    sse__redis *r = call.engine;

    sse__free(user);
    sse__redis_enter(r);
    if (err == SSE_OK && reply->type == REDIS_REPLY_ERROR)
        sse__redis_refused(r, reply);
    else if (err == SSE_OK && is_write(call.script))
        sse__redis_accepted(r);
    call.fn(call.user,
            err == SSE_OK && reply->type == REDIS_REPLY_ARRAY ? reply : NULL);
    sse__redis_leave(r);
}

int sse__call_send(sse__redis *r, sse__call_fn *fn, void *user)
{
    sse__call *c = &r->call;
    sent      *call;
    int        rc = c->rc;

    if (rc < 0)
        return rc;
    if (!r->commands)
        return SSE_ERR_CLOSED;
    for (uint32_t i = 0; i < c->count; i++) {
        const sse__arg *arg = &c->args[i];

        c->argv[i] = arg->text      ? arg->text
                     : c->text.data ? c->text.data + arg->at
                                    : "";
        c->lens[i] = arg->len;
    }
    if (!(call = sse__malloc(sizeof(*call))))
        return SSE_ERR_NOMEM;
    *call = (sent){r, c->script, fn, user};
    rc = sse__redis_eval(r->commands, c->script, c->key_count, c->count,
                         c->argv, c->lens, got_reply, call);
    if (rc < 0)
        sse__free(call);
    return rc;
}

/* ---- Replies ---- */

static const redisReply *element(const redisReply *reply, size_t i)
{
    return reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements
               ? reply->element[i]
               : NULL;
}

sse__text sse__reply_text(const redisReply *reply, size_t i)
{
    const redisReply *e = element(reply, i);

    if (!e || (e->type != REDIS_REPLY_STRING && e->type != REDIS_REPLY_STATUS))
        return (sse__text){"", 0};
    return (sse__text){e->str, (size_t)e->len};
}

bool sse__reply_is(const redisReply *reply, const char *word)
{
    sse__text first = sse__reply_text(reply, 0);

    return first.len == strlen(word) &&
           memcmp(first.text, word, first.len) == 0;
}

uint64_t sse__reply_u64(const redisReply *reply, size_t i)
{
    const redisReply *e = element(reply, i);
    sse__text         text = sse__reply_text(reply, i);
    uint64_t          number = 0;

    if (e && e->type == REDIS_REPLY_INTEGER)
        return e->integer > 0 ? (uint64_t)e->integer : 0;
    for (size_t at = 0; at < text.len; at++) {
        if (text.text[at] < '0' || text.text[at] > '9' || at > 17)
            return 0;
        number = number * 10 + (uint64_t)(text.text[at] - '0');
    }
    return number;
}

const redisReply *sse__reply_array(const redisReply *reply, size_t i)
{
    const redisReply *e = element(reply, i);

    return e && e->type == REDIS_REPLY_ARRAY ? e : NULL;
}

bool sse__reply_tag(const redisReply *reply, size_t i, uint32_t *out)
{
    sse__text text = sse__reply_text(reply, i);
    uint32_t  tag = 0;

    for (size_t at = 0; at < text.len; at++) {
        char c = text.text[at];

        if (c >= '0' && c <= '9')
            tag = tag << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            tag = tag << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = tag;
    return text.len == 8;
}

uint32_t sse__state_of(sse__text name)
{
    for (int s = SSE_STATE_ACTIVE; s < SSE_STATE_EXPIRED; s++)
        if (strlen(sse_state_name(s)) == name.len &&
            memcmp(sse_state_name(s), name.text, name.len) == 0)
            return (uint32_t)s;
    return SSE_STATE_EXPIRED;
}

/* ---- Times ---- */

void sse__iso_format(char out[SSE__ISO_BYTES], int64_t wall_ms)
{
    time_t    seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char      text[32];

    if (wall_ms < 0 || !gmtime_r(&seconds, &tm) || tm.tm_year > 8099)
        memset(&tm, 0, sizeof(tm)), tm.tm_year = 70, tm.tm_mday = 1;
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, SSE__ISO_BYTES, "%.19s.%03uZ", text,
             (unsigned)(wall_ms < 0 ? 0 : wall_ms % 1000));
}

/* The number in `digits` characters; false where there is none. */
static bool take(const char **at, const char *end, int digits, char before,
                 int64_t *out)
{
    *out = 0;
    if (before && (*at == end || *(*at)++ != before))
        return false;
    for (int i = 0; i < digits; i++) {
        if (*at == end || **at < '0' || **at > '9')
            return false;
        *out = *out * 10 + (*(*at)++ - '0');
    }
    return true;
}

/* Days since 1970 of a day in the Gregorian calendar, years from March on. */
static int64_t days(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era_day = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return y * 365 + y / 4 - y / 100 + y / 400 + era_day - 719468;
}

int64_t sse__iso_parse(const char *text, size_t len)
{
    const char *at = text, *end = text + len;
    int64_t     year, month, day, hour, minute, second, ms = 0;

    if (!take(&at, end, 4, 0, &year) || !take(&at, end, 2, '-', &month) ||
        !take(&at, end, 2, '-', &day) || !take(&at, end, 2, 'T', &hour) ||
        !take(&at, end, 2, ':', &minute) || !take(&at, end, 2, ':', &second) ||
        month < 1 || month > 12)
        return 0;
    if (at < end && *at == '.' && !take(&at, end, 3, '.', &ms))
        return 0;
    return ((days(year, month, day) * 24 + hour) * 60 + minute) * 60000 +
           second * 1000 + ms;
}
