/* SPDX-License-Identifier: MIT */
/* client_recover.c - a stored completion, before the stream is asked for
 * (docs/http.md, Recover). */
#include <string.h>

#include "../core/json.h"
#include "client_answer.h"
#include "host.h"

typedef struct completion {
    sse__buf type, data;
    bool     ended;
} completion;

static bool is_text(sse__json_slice value, const char *text)
{
    return value.len == strlen(text) &&
           memcmp(value.text, text, value.len) == 0;
}

static bool is_final(sse__json_slice value)
{
    return is_text(value, "\"completed\"") || is_text(value, "\"failed\"") ||
           is_text(value, "\"cancelled\"");
}

/* A string's text; any other value as it came. */
static int set_value(sse__buf *to, sse__json_slice value)
{
    to->len = 0;
    if (value.text[0] == '"')
        return sse__json_unquote(to, value.text, value.len);
    return sse__buf_add(to, value.text, value.len);
}

static int read_members(completion *found, const char *at, const char *end)
{
    sse__json_slice key, value;
    int             rc;

    while ((rc = sse__json_member(&at, end, &key, &value)) > 0) {
        if (sse__json_is_key(key, "status"))
            found->ended = is_final(value);
        else if (sse__json_is_key(key, "terminalEventType"))
            rc = set_value(&found->type, value);
        else if (sse__json_is_key(key, "terminalEventData"))
            rc = set_value(&found->data, value);
        if (rc < 0)
            break;
    }
    return rc;
}

static int read_answer(completion *found, const sse__buf *body)
{
    const char *at = body->data, *end = at + body->len;

    if (body->len > 0)
        at += sse__json_space(at, body->len);
    if (at == end || *at++ != '{')
        return SSE_ERR_INVAL;
    return read_members(found, at, end);
}

/* Anything that is no completion means: ask for the stream. */
static void answer(sse_client *c, const completion *found, bool have)
{
    int64_t now_ms = sse__clock_mono_ms();
    int     rc = SSE_ERR_INVAL;

    pthread_mutex_lock(&c->lock);
    if (have)
        rc = sse__client_recovery_ready(
            c->core, now_ms, found->type.data, found->type.len,
            found->data.len ? found->data.data : "", found->data.len);
    if (rc < 0)
        (void)sse__client_recovery_ready(c->core, now_ms, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&c->lock);
    sse__follow_wake(c);
}

void sse__recover_over(sse__fetch *f, CURLcode result)
{
    completion found = {.ended = false};
    bool       have;

    sse__buf_init(&found.type, SIZE_MAX);
    sse__buf_init(&found.data, SIZE_MAX);
    have = result == CURLE_OK && f->status == 200 && !f->cut &&
           read_answer(&found, &f->body) == 0 && found.ended &&
           found.type.len > 0;
    answer(f->client, &found, have);
    sse__buf_free(&found.type);
    sse__buf_free(&found.data);
}
