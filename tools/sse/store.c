/* SPDX-License-Identifier: MIT */
/* store.c - the streams of a store, through a hub of our own. */
#include "store.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "command.h"

/* A hub that only asks: it looks for no orphans. */
static int open_hub(const char *url, sse_hub **out)
{
    sse_store_options opts = {.size = sizeof(opts), .sweep_ms = SSE_NEVER};
    int               rc = sse_hub_new(NULL, out);

    if (rc < 0)
        return fail("%s", sse_strerror(rc));
    rc = sse_hub_set_store(*out, url, strlen(url), &opts);
    if (rc == SSE_OK)
        return EXIT_OK;
    rc = fail("%s", *sse_hub_store_error(*out) ? sse_hub_store_error(*out)
                                               : sse_strerror(rc));
    sse_hub_free(*out);
    *out = NULL;
    return rc;
}

static int complain(sse_hub *hub, int rc)
{
    const char *why = rc == SSE_ERR_STORE ? sse_hub_store_error(hub) : "";

    return fail("%s", *why ? why : sse_strerror(rc));
}

/* ---- Listing ------------------------------------------------------------- */

static void add_text(text *out, const char *name, const char *value, size_t len)
{
    text_add_string(out, ",\"");
    text_add_string(out, name);
    text_add_string(out, "\":");
    text_add_json(out, value, len);
}

static void add_time(text *out, const char *name, int64_t ms)
{
    time_t    seconds = (time_t)(ms / 1000);
    struct tm parts;
    char      day[32], whole[64];

    gmtime_r(&seconds, &parts);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(whole, sizeof(whole), "%s.%03dZ", day, (int)(ms % 1000));
    add_text(out, name, whole, strlen(whole));
}

static void add_stream(text *out, const sse_stream_info *s)
{
    const char *state = sse_state_name((int)s->state);

    text_add_string(out, "{\"streamId\":");
    text_add_json(out, s->id, s->id_len);
    add_text(out, "streamType", s->kind, s->kind_len);
    add_text(out, "userId", s->owner, s->owner_len);
    add_time(out, "startedAt", s->created_ms);
    add_time(out, "lastHeartbeat", s->active_ms);
    add_text(out, "state", state, strlen(state));
    text_add_string(out, ",\"metadata\":");
    text_add_string(out, s->metadata_len > 0 ? s->metadata : "{}");
    text_add_string(out, "}");
}

static int list(sse_hub *hub, const char *user, text *out)
{
    const sse_stream_info *info;
    const char            *comma = "";
    sse_list              *list;
    int                    rc =
        sse_list_new(hub, user ? user : "", user ? strlen(user) : 0, &list);

    if (rc < 0)
        return complain(hub, rc);
    text_add_string(out, "{\"streams\":[");
    while (sse_list_next(list, &info) > 0) {
        text_add_string(out, comma);
        add_stream(out, info);
        comma = ",";
    }
    text_add_string(out, "]}");
    sse_list_free(list);
    return EXIT_OK;
}

int store_list(const char *url, const char *user, text *out)
{
    sse_hub *hub;
    int      rc = open_hub(url, &hub);

    if (rc == EXIT_OK) {
        rc = list(hub, user, out);
        sse_hub_free(hub);
    }
    return rc;
}

/* ---- Stopping ------------------------------------------------------------ */

int store_stop(const char *url, const char *id)
{
    sse_hub *hub;
    int      rc = open_hub(url, &hub);

    if (rc != EXIT_OK)
        return rc;
    rc = sse_hub_stop(hub, id, strlen(id));
    rc = rc < 0 ? complain(hub, rc) : EXIT_OK;
    sse_hub_free(hub);
    return rc;
}
