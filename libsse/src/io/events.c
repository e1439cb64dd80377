/* SPDX-License-Identifier: MIT */
/* events.c - events and streams as JSON, for long poll, recover and lists. The
 * log holds wire bytes only, so events go through the parser first. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../core/json.h"
#include "handlers.h"

static int add_member(sse__buf *out, const char *name, const char *text,
                      size_t len)
{
    int rc = sse__buf_add_str(out, name);

    return rc < 0 ? rc : sse__json_quote(out, text, len);
}

static bool is_gap(const sse_item *item)
{
    return item->type_len == 3 && memcmp(item->type, "gap", 3) == 0;
}

/* Only an event that libsse made itself has no id of its own. */
static int add_event(sse__buf *out, const sse_item *item, bool has_id)
{
    int rc = has_id ? add_member(out, "{\"id\":", item->id, item->id_len)
                    : sse__buf_add_str(out, "{\"id\":null");

    if (rc == SSE_OK)
        rc = add_member(out, ",\"type\":", item->type, item->type_len);
    if (rc == SSE_OK)
        rc = add_member(out, ",\"data\":", item->data, item->data_len);
    return rc < 0 ? rc : sse__buf_add_str(out, "}");
}

static void keep_id(sse_event_id *last, const sse_item *item)
{
    if (item->id_len == 0 || item->id_len >= sizeof(last->text))
        return;
    memcpy(last->text, item->id, item->id_len);
    last->text[item->id_len] = '\0';
    last->text_len = (uint32_t)item->id_len;
}

/* `own` says that the bytes are a prefix, made for this reader: a gap in there
 * is ours; one in the log is the application's and has an id. */
static int add_bytes(sse__buf *out, sse_parser *p, const char *data, size_t len,
                     bool own, sse_event_id *last, bool *first)
{
    const sse_item *item;
    int             rc = sse_parser_feed(p, data, len);
    int             n;

    while (rc == SSE_OK && (n = sse_parser_next(p, &item)) != 0) {
        if (n < 0)
            return n;
        if (own && !is_gap(item))
            continue;
        if (!*first && (rc = sse__buf_add_str(out, ",")) < 0)
            return rc;
        *first = false;
        rc = add_event(out, item, !own);
        if (!own)
            keep_id(last, item);
    }
    return rc;
}

int sse__events_parser(sse_parser **out)
{
    sse_parser_options opts = {.size = sizeof(opts),
                               .max_line_bytes = UINT64_MAX,
                               .max_event_bytes = UINT64_MAX};

    return sse_parser_new(&opts, out);
}

int sse__events_add(sse__buf *out, const sse__take *take, sse_event_id *last,
                    bool *first)
{
    sse_parser *p;
    int         rc = sse__events_parser(&p);

    if (rc < 0)
        return rc;
    rc = add_bytes(out, p, take->prefix, take->prefix_len, true, last, first);
    for (uint32_t i = 0; rc == SSE_OK && i < take->span_count; i++)
        rc = add_bytes(out, p, take->spans[i].data, take->spans[i].len, false,
                       last, first);
    sse_parser_free(p);
    return rc;
}

int sse__time_json(sse__buf *out, int64_t ms)
{
    time_t    s = (time_t)(ms / 1000);
    struct tm tm;
    char      text[48], all[64];

    gmtime_r(&s, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(all, sizeof(all), "\"%s.%03dZ\"", text, (int)(ms % 1000));
    return sse__buf_add_str(out, all);
}

static int add_time(sse__buf *out, const char *name, int64_t ms)
{
    int rc = sse__buf_add_str(out, name);

    return rc < 0 ? rc : sse__time_json(out, ms);
}

int sse__stream_json(sse__buf *out, const sse_stream_info *info)
{
    const char *state = sse_state_name((int)info->state);
    int         rc;

    if ((rc = add_member(out, "\"streamId\":", info->id, info->id_len)) < 0 ||
        (rc = add_member(out, ",\"streamType\":", info->kind, info->kind_len)) <
            0 ||
        (rc = add_member(out, ",\"userId\":", info->owner, info->owner_len)) <
            0 ||
        (rc = add_time(out, ",\"startedAt\":", info->created_ms)) < 0 ||
        (rc = add_time(out, ",\"lastHeartbeat\":", info->active_ms)) < 0 ||
        (rc = add_member(out, ",\"state\":", state, strlen(state))) < 0 ||
        (rc = sse__buf_add_str(out, ",\"metadata\":")) < 0)
        return rc;
    if (info->metadata_len == 0)
        return sse__buf_add_str(out, "{}");
    return sse__buf_add(out, info->metadata, info->metadata_len);
}
