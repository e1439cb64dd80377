/* SPDX-License-Identifier: MIT */
/* store_support.c - hubs on a Redis of a test's own, and what the two say. */
#include "store_support.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

#define TURN_US 2000
#define TURNS 15000u
#define COMMAND_MS 60000u

uint32_t store_timeout_ms = PATIENT;

bool store_patient(unsigned *turns)
{
    usleep(TURN_US);
    return ++*turns < TURNS;
}

/* A busy machine may take long: only a test that is about it runs out of time
 * for a command. */
int store_try(const redis_process *r, const sse_store_options *given,
              sse_hub **out)
{
    sse_store_options opts = {.size = sizeof(opts)};
    char              url[160];

    if (given)
        opts = *given;
    if (opts.command_ms == 0)
        opts.command_ms = COMMAND_MS;
    if (opts.start_ms == 0)
        opts.start_ms = COMMAND_MS;
    snprintf(url, sizeof(url), "unix://%s?timeout_ms=%u", r->socket,
             store_timeout_ms);
    return sse_hub_set_store(*out, url, strlen(url), &opts);
}

sse_hub *store_hub(const redis_process *r, const sse_hub_options *hub_opts,
                   const sse_store_options *opts)
{
    sse_hub *hub;

    assert_int_equal(sse_hub_new(hub_opts, &hub), SSE_OK);
    assert_int_equal(store_try(r, opts, &hub), SSE_OK);
    return hub;
}

void store_await_listeners(redis_process *r, unsigned count)
{
    unsigned    turns = 0, n;
    const char *at;

    for (;;) {
        at = store_says(r, "PUBSUB CHANNELS sse:ctl:*");
        for (n = 0; (at = strstr(at, "sse:ctl:")); at++)
            n++;
        if (n >= count)
            return;
        if (!store_patient(&turns))
            fail_msg("%u of %u hubs listen", n, count);
    }
}

sse_stream *store_stream(sse_hub *hub, const char *id, sse_queue *producer,
                         uint32_t flags)
{
    sse_stream_options opts = {.size = sizeof(opts), .flags = flags, .key = 7};
    sse_stream        *s;

    assert_int_equal(sse_stream_new(hub, id, strlen(id), producer, &opts, &s),
                     SSE_OK);
    return s;
}

int store_append(sse_stream *s, const char *data)
{
    return sse_stream_append(s, "token", 5, data, strlen(data), NULL);
}

int store_end(sse_stream *s, int state, const char *data)
{
    return sse_stream_end(s, state, "", 0, data, strlen(data), NULL);
}

void store_append_many(sse_stream *s, unsigned from, unsigned count)
{
    char data[32];

    for (unsigned n = from; n < from + count; n++) {
        snprintf(data, sizeof(data), "{\"n\":%u}", n);
        assert_int_equal(store_append(s, data), SSE_OK);
    }
}

static char says[1 << 20];

static size_t write_reply(const redisReply *reply, size_t at)
{
    if (reply->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < reply->elements; i++)
            at = write_reply(reply->element[i], at);
        return at;
    }
    if (at > 0 && at < sizeof(says) - 1)
        says[at++] = '\n';
    if (reply->type == REDIS_REPLY_INTEGER)
        at += (size_t)snprintf(says + at, sizeof(says) - at, "%lld",
                               reply->integer);
    else if (reply->type == REDIS_REPLY_NIL)
        at += (size_t)snprintf(says + at, sizeof(says) - at, "(nil)");
    else
        at += (size_t)snprintf(says + at, sizeof(says) - at, "%s", reply->str);
    return at;
}

static const char *ask(redis_process *r, const char *format, va_list args)
{
    redisContext *c = redisConnectUnix(r->socket);
    redisReply   *reply = redisvCommand(c, format, args);

    if (!reply)
        fail_msg("%s: %s", format, c->errstr);
    says[0] = '\0';
    write_reply(reply, 0);
    freeReplyObject(reply);
    redisFree(c);
    return says;
}

const char *store_says(redis_process *r, const char *format, ...)
{
    va_list     args;
    const char *text;

    va_start(args, format);
    text = ask(r, format, args);
    va_end(args);
    return text;
}

long long store_number(redis_process *r, const char *format, ...)
{
    va_list     args;
    const char *text;

    va_start(args, format);
    text = ask(r, format, args);
    va_end(args);
    return atoll(text);
}

long long store_metric(sse_hub *hub, const char *name)
{
    char        line[128];
    sse_buffer *text;
    const char *at;
    long long   number = -1;

    assert_int_equal(sse_buffer_new((size_t)1 << 20, &text), SSE_OK);
    assert_int_equal(sse_hub_metrics(hub, text), SSE_OK);
    snprintf(line, sizeof(line), "\n%s ", name);
    at = memmem(sse_buffer_data(text), sse_buffer_size(text), line,
                strlen(line));
    if (at) /* no NUL ends the text, but a line end each number */
        for (number = 0, at += strlen(line); *at >= '0' && *at <= '9'; at++)
            number = number * 10 + (*at - '0');
    sse_buffer_free(text);
    return number;
}

sse_note store_note(sse_queue *q, uint32_t kind, char *text, size_t size)
{
    const sse_batch *batch;
    unsigned         turns = 0;

    for (;;) {
        assert_true(sse_queue_drain(q, 1, &batch) >= 0);
        for (size_t i = 0; i < batch->note_count; i++) {
            const sse_note *n = &batch->notes[i];

            if (n->kind != kind)
                continue;
            if (text)
                snprintf(text, size, "%.*s", (int)n->len,
                         batch->data + n->offset);
            return *n;
        }
        if (!store_patient(&turns))
            fail_msg("no note of kind %u came", kind);
    }
}

bool store_holds(redis_process *r, const char *id, unsigned from, unsigned to)
{
    const char *at = store_says(r, "LRANGE sse:events:%s 0 -1", id);

    for (unsigned n = from; n < to; n++) {
        char row[64];

        snprintf(row, sizeof(row), "{\"type\":\"token\",\"data\":{\"n\":%u},",
                 n);
        if (strncmp(at, row, strlen(row)) != 0)
            return false;
        at = strchr(at, '\n');
        if (!at)
            return n + 1 == to;
        at++;
    }
    return false; /* there are more */
}
