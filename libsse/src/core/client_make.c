/* SPDX-License-Identifier: MIT */
/* client_make.c - a client's options, birth and end. */
#include <string.h>

#include "alloc.h"
#include "client.h"
#include "encoder.h"
#include "options.h"
#include "utf8.h"

#define MAX_FLAGS (SSE_CLIENT_POLL * 2 - 1)
#define MAX_END_TYPES_BYTES 4096

static void complete(uint32_t *field, uint32_t standard)
{
    *field = sse__option(*field, standard);
}

static void complete_options(sse__client_options *o)
{
    bool strict = o->profile == SSE_PROFILE_STRICT;

    complete(&o->retry_ms, 1000);
    complete(&o->retry_floor_ms, 100);
    complete(&o->retry_cap_ms, 30000);
    complete(&o->retry_after_cap_ms, 300000);
    complete(&o->max_attempts, strict ? SSE_NEVER : 10);
    complete(&o->budget_ms, SSE_NEVER);
    complete(&o->healthy_ms, 60000);
    complete(&o->healthy_events, 10);
    complete(&o->connect_ms, 10000);
    complete(&o->first_byte_ms, 30000);
    complete(&o->stall_ms, 30000);
    complete(&o->poll_ms, 60000);
    complete(&o->poll_period_ms, 300000);
    complete(&o->watch_ms, 5000);
    complete(&o->jump_ms, 10000);
    complete(&o->window, 1024);
    complete(&o->queue_bytes, 256 * 1024);
    complete(&o->max_event_bytes, 16 * 1024 * 1024);
    if (o->window == SSE_NEVER)
        o->window = 0;
}

static int init_windows(sse__client *c)
{
    if (c->o.window == 0)
        return SSE_OK;
    c->recent.size = c->o.window;
    c->recent.hashes = sse__calloc(c->o.window, sizeof(*c->recent.hashes));
    if (!c->recent.hashes)
        return SSE_ERR_NOMEM;
    return sse__dedupe_init(&c->seen, c->o.window);
}

static int add_standard_types(sse__client *c)
{
    static const char types[] = "completed\0failed\0cancelled\0done";

    if (c->o.profile == SSE_PROFILE_STRICT)
        return SSE_OK;
    for (const char *at = types; at < types + sizeof(types);
         at += strlen(at) + 1)
        c->end_lens |= sse__client_length_bit(strlen(at));
    return sse__buf_add(&c->end_types, types, sizeof(types));
}

static void init(sse__client *c)
{
    sse__buf *bufs[] = {&c->in, &c->fed, &c->answer, &c->last_id, &c->cursor};

    complete_options(&c->o);
    c->random = c->o.seed;
    sse__backoff_init(&c->backoff, c->o.retry_ms, c->o.retry_cap_ms,
                      c->o.retry_floor_ms);
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        sse__buf_init(bufs[i], SIZE_MAX);
    sse__buf_init(&c->end_types, MAX_END_TYPES_BYTES);
    c->opened_ms = c->trouble_ms = c->retry_after_ms = SSE__UNKNOWN;
}

int sse__client_new(const sse__client_options *opts, const char *url,
                    size_t url_len, sse__client **out)
{
    const sse__client_options standard = {0};
    sse__client              *c;
    int                       rc;

    *out = NULL;
    if (opts &&
        (opts->profile > SSE_PROFILE_FINITE || opts->flags > MAX_FLAGS ||
         (opts->flags & SSE_CLIENT_ACK &&
          (opts->window == SSE_NEVER || opts->profile == SSE_PROFILE_STRICT))))
        return SSE_ERR_INVAL;
    c = sse__calloc(1, sizeof(*c));
    if (!c)
        return SSE_ERR_NOMEM;
    c->o = opts ? *opts : standard;
    init(c);
    c->url_hash = sse__client_hash(url, url_len);
    rc = init_windows(c);
    if (rc == SSE_OK)
        rc = add_standard_types(c);
    if (rc < 0) {
        sse__client_free(c);
        return rc;
    }
    *out = c;
    return SSE_OK;
}

void sse__client_free(sse__client *c)
{
    if (!c)
        return;
    sse_parser_free(c->parser);
    sse__buf_free(&c->in);
    sse__buf_free(&c->fed);
    sse__buf_free(&c->answer);
    sse__buf_free(&c->last_id);
    sse__buf_free(&c->cursor);
    sse__buf_free(&c->end_types);
    sse__free(c->recent.hashes);
    sse__dedupe_free(&c->seen);
    sse__free(c);
}

int sse__client_add_end_type(sse__client *c, const char *type, size_t len)
{
    size_t old_len = c->own_end_types ? c->end_types.len : 0;
    int    rc;

    if (c->phase != SSE__PHASE_IDLE ||
        (len > 0 && sse__encode_check_name(type, len) < 0))
        return SSE_ERR_INVAL;
    if (len == 0) {
        c->own_end_types = true;
        c->end_types.len = 0;
        c->end_lens = 0;
        return SSE_OK;
    }
    rc = sse__buf_reserve(&c->end_types, len + 1);
    if (rc < 0)
        return rc;
    if (!c->own_end_types)
        c->end_lens = 0;
    c->own_end_types = true;
    c->end_lens |= sse__client_length_bit(len);
    c->end_types.len = old_len;
    rc = sse__buf_add(&c->end_types, type, len);
    return rc < 0 ? rc : sse__buf_add(&c->end_types, "", 1);
}

void sse__client_set_retry(sse__client *c, int64_t ms)
{
    if (ms < c->o.retry_floor_ms)
        ms = c->o.retry_floor_ms;
    if (ms > c->o.retry_cap_ms)
        ms = c->o.retry_cap_ms;
    sse__backoff_set_base(&c->backoff, (uint32_t)ms);
}

int sse__client_recovery_ready(sse__client *c, int64_t now_ms, const char *type,
                               size_t type_len, const char *data,
                               size_t data_len)
{
    int rc;

    if (c->phase != SSE__PHASE_ASK || c->ask != SSE__ACT_ASK_RECOVERY)
        return SSE_OK;
    if (now_ms > c->now_ms)
        c->now_ms = now_ms;
    if (!type) {
        c->recovery = false;
        c->phase = SSE__PHASE_WAIT;
        return SSE_OK;
    }
    rc = sse__encode_check_name(type, type_len);
    if (rc == SSE_OK && !sse__utf8_valid(data, data_len))
        rc = SSE_ERR_UTF8;
    if (rc == SSE_OK)
        rc = sse__client_begin_body(c);
    if (rc == SSE_OK)
        rc = sse__encode_event(&c->in, type, type_len, data, data_len, "", 0);
    if (rc < 0)
        return rc;
    sse__client_over(c, SSE_CAUSE_TERMINAL);
    sse__client_update(c);
    return SSE_OK;
}
