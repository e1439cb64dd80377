/* SPDX-License-Identifier: MIT */
/* stream.c - one client of the service. Its thread waits for news and for the
 * answers of the callback by turns, so that a slow receiver slows its stream
 * down and no other. */
#include "stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "callback.h"
#include "text.h"

#define MAX_EVENT_BYTES (32u << 20) /* twice what is asked for */
#define LONG_RETRY_MS 30000u
#define STACK_BYTES (512 * 1024)

struct stream {
    sse_client *client;
    callback   *to;
    atomic_bool gone; /* freed: nobody waits for what it sends              */
    atomic_int  refs; /* the owner's and the thread's                       */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  ended = PTHREAD_COND_INITIALIZER;
static int             threads; /* that run, under the lock */

static void drop(stream *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    sse_client_free(s->client);
    callback_free(s->to);
    free(s);
}

/* ---- Telling ------------------------------------------------------------- */

static void write_event(text *out, const sse_news *news)
{
    text_add_str(out, "{\"kind\":\"event\",\"event\":{\"type\":");
    text_add_quoted(out, news->type, news->type_len);
    text_add_member(out, "data", news->data, news->data_len);
    text_add_member(out, "id", news->id, news->id_len);
    text_add_str(out, "}}");
}

static void write_error(text *out, const sse_news *news)
{
    const char *what = news->detail;
    size_t      len = news->detail_len;

    if (len == 0) {
        what = sse_cause_name((int)news->cause);
        len = strlen(what);
    }
    text_add_str(out, "{\"kind\":\"error\"");
    text_add_member(out, "error", what, len);
    text_add_member(out, "comment", what, len);
    text_add_str(out, "}");
}

/* The callback for one piece of news; empty when it is not for others. */
static void write_news(text *out, const sse_news *news)
{
    if (news->kind == SSE_NEWS_EVENT) {
        write_event(out, news);
    } else if (news->kind == SSE_NEWS_ERROR) {
        write_error(out, news);
    } else if (news->kind == SSE_NEWS_COMMENT) {
        text_add_str(out, "{\"kind\":\"comment\"");
        text_add_member(out, "comment", news->data, news->data_len);
        text_add_str(out, "}");
    }
}

static void *follow(void *arg)
{
    stream         *s = arg;
    text            body = {0};
    const sse_news *news;
    int             rc;

    while ((rc = sse_client_next(s->client, -1, &news)) > 0) {
        body.len = 0;
        write_news(&body, news);
        if (body.len > 0 && callback_send(s->to, body.data, body.len) < 0)
            break;
    }
    text_free(&body);
    sse_client_close(s->client);
    drop(s);
    pthread_mutex_lock(&lock);
    threads--;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- Making -------------------------------------------------------------- */

/* A member that is there and is no null. */
static const cJSON *member(const cJSON *params, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(params, name);

    return cJSON_IsNull(value) ? NULL : value;
}

/* Reads a member in milliseconds; leaves `out` when there is none. */
static int read_ms(const cJSON *params, const char *name, uint32_t *out)
{
    const cJSON *value = member(params, name);

    if (!value)
        return SSE_OK;
    if (!cJSON_IsNumber(value) || value->valuedouble < 0 ||
        value->valuedouble > 1e9)
        return SSE_ERR_INVAL;
    *out = (uint32_t)value->valuedouble;
    return SSE_OK;
}

/* The rules are those of EventSource: no event is held back for its id, its
 * type or its data. Without a read timeout, silence is no error. */
static int read_options(const cJSON *params, sse_client_options *opts)
{
    uint32_t delay_ms = 0, timeout_ms = 0;

    *opts = (sse_client_options){
        .size = sizeof(*opts),
        .flags = SSE_CLIENT_COMMENTS | SSE_CLIENT_IDENTITY,
        .profile = SSE_PROFILE_STRICT,
        .window = SSE_NEVER,
        .stall_ms = SSE_NEVER,
        .max_event_bytes = MAX_EVENT_BYTES,
    };
    if (read_ms(params, "initialDelayMs", &delay_ms) < 0 ||
        read_ms(params, "readTimeoutMs", &timeout_ms) < 0)
        return SSE_ERR_INVAL;
    if (member(params, "initialDelayMs"))
        opts->retry_ms = delay_ms > 0 ? delay_ms : 1; /* 0 is the default */
    if (delay_ms > LONG_RETRY_MS)
        opts->retry_cap_ms = delay_ms;
    if (timeout_ms > 0)
        opts->stall_ms = opts->first_byte_ms = timeout_ms;
    return SSE_OK;
}

static int set_text(sse_client *c, int setting, const cJSON *value)
{
    const char *str = cJSON_GetStringValue(value);

    if (!value)
        return SSE_OK;
    return str ? sse_client_set(c, setting, str, strlen(str)) : SSE_ERR_INVAL;
}

static int set_headers(sse_client *c, const cJSON *headers)
{
    const cJSON *header;
    int          rc = SSE_OK;

    if (headers && !cJSON_IsObject(headers))
        return SSE_ERR_INVAL;
    cJSON_ArrayForEach(header, headers)
    {
        const char *value = cJSON_GetStringValue(header);

        if (!value)
            return SSE_ERR_INVAL;
        rc = sse_client_set_header(c, header->string, strlen(header->string),
                                   value, strlen(value));
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int set_request(sse_client *c, const cJSON *params)
{
    int rc = sse_client_set(c, SSE_SETTING_PROXY, "", 0);

    if (rc == SSE_OK)
        rc = set_text(c, SSE_SETTING_METHOD, member(params, "method"));
    if (rc == SSE_OK)
        rc = set_text(c, SSE_SETTING_BODY, member(params, "body"));
    if (rc == SSE_OK)
        rc = set_text(c, SSE_SETTING_CURSOR, member(params, "lastEventId"));
    return rc == SSE_OK ? set_headers(c, member(params, "headers")) : rc;
}

/* Begins the thread, which then holds the stream, too. */
static int begin(stream *s)
{
    pthread_attr_t attr;
    pthread_t      thread;
    int            rc;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&s->refs, 1);
    rc = pthread_create(&thread, &attr, follow, s);
    threads += rc == 0;
    pthread_mutex_unlock(&lock);
    pthread_attr_destroy(&attr);
    if (rc == 0)
        return SSE_OK;
    atomic_fetch_sub(&s->refs, 1);
    return SSE_ERR_LIMIT;
}

static int set_up(stream *s, sse_loop *loop, const cJSON *params)
{
    const char        *url = cJSON_GetStringValue(member(params, "streamUrl"));
    const char        *to = cJSON_GetStringValue(member(params, "callbackUrl"));
    sse_client_options opts;
    int                rc;

    if (!url || !to || read_options(params, &opts) < 0)
        return SSE_ERR_INVAL;
    s->to = callback_new(to, &s->gone);
    if (!s->to)
        return SSE_ERR_NOMEM;
    rc = sse_client_new(loop, url, strlen(url), &opts, &s->client);
    if (rc == SSE_OK)
        rc = set_request(s->client, params);
    if (rc == SSE_OK)
        rc = sse_client_start(s->client);
    return rc == SSE_OK ? begin(s) : rc;
}

int stream_new(sse_loop *loop, const cJSON *params, stream **out)
{
    stream *s = calloc(1, sizeof(*s));
    int     rc;

    *out = NULL;
    if (!s)
        return SSE_ERR_NOMEM;
    atomic_init(&s->refs, 1);
    rc = set_up(s, loop, params);
    if (rc < 0)
        drop(s);
    else
        *out = s;
    return rc;
}

void stream_restart(stream *s)
{
    sse_client_restart(s->client);
}

void stream_free(stream *s)
{
    atomic_store(&s->gone, true);
    sse_client_close(s->client);
    drop(s);
}

void stream_wait_all(void)
{
    pthread_mutex_lock(&lock);
    while (threads > 0)
        pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
}
