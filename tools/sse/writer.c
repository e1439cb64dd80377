/* SPDX-License-Identifier: MIT */
/* writer.c - writes one stream of a server: each event once, in order.
 *
 * A request that failed is sent again only when it cannot have been applied.
 * Where that is not known (the connection broke while an answer was awaited),
 * the stream itself is asked what follows the last event known to be in it. */
#include "writer.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "interrupt.h"

enum { FIRST_DELAY_MS = 200, MAX_DELAY_MS = 5000 };

void writer_init(writer *w)
{
    *w = (writer){.retry_ms = 30000};
    http_init(&w->http);
    text_add_string(&w->last_id, "");
    srand((unsigned)(now_ms() ^ getpid()));
}

void writer_free(writer *w)
{
    http_free(&w->http);
    stream_url_free(&w->url);
    text_free(&w->last_id);
}

/* ---- Trying again -------------------------------------------------------- */

/* Whether the same request may get another answer later. */
static bool is_passing(const writer *w, http_outcome outcome)
{
    long status = w->http.status;

    return outcome != HTTP_ANSWERED || status == 408 || status == 429 ||
           status >= 500;
}

/* Whether a request that failed may have been applied all the same. 503 is
 * said before a request is looked at; 502 and 504 are a proxy's, which knows as
 * little as we do. */
static bool is_unclear(const writer *w, http_outcome outcome)
{
    return outcome == HTTP_UNKNOWN ||
           (outcome == HTTP_ANSWERED && w->http.status >= 500 &&
            w->http.status != 503);
}

/* Doubles with each failure; what the server asks for is the least. A random
 * half keeps many writers from coming back together. */
static int64_t next_delay(const writer *w)
{
    int64_t delay = FIRST_DELAY_MS << (w->attempts < 10 ? w->attempts : 10);
    int64_t asked = w->http.retry_after_s * 1000;

    if (delay > MAX_DELAY_MS)
        delay = MAX_DELAY_MS;
    delay = delay / 2 + rand() % (delay / 2);
    return delay < asked ? asked : delay;
}

/* On a terminal, somebody wonders why nothing happens. */
static void tell_delay(const writer *w, int64_t delay)
{
    if (!w->verbose && (w->attempts > 0 || !isatty(STDERR_FILENO)))
        return;
    if (w->http.status > 0)
        fprintf(stderr, "sse: the server answered %ld", w->http.status);
    else
        fprintf(stderr, "sse: %s", w->http.error);
    fprintf(stderr, "; trying again in %.1f s\n", (double)delay / 1000);
}

/* Returns false when the time for it is over, or after a signal. */
static bool wait_to_retry(writer *w)
{
    int64_t now = now_ms();
    int64_t delay = next_delay(w);
    int64_t left;

    if (w->since_ms == 0)
        w->since_ms = now;
    left = w->since_ms + w->retry_ms - now;
    if (left <= 0 || interrupt_signal() != 0)
        return false;
    if (delay > left)
        delay = left;
    tell_delay(w, delay);
    w->attempts++;
    return interrupt_wait(-1, (int)delay) == 0;
}

static void settle(writer *w)
{
    w->since_ms = 0;
    w->attempts = 0;
}

/* Sends until waiting would change nothing, or has taken too long; with
 * `once`, until the request may have been applied. */
static http_outcome persist(writer *w, const http_request *r, bool once)
{
    http_outcome outcome;

    do
        outcome = http_send(&w->http, r);
    while (is_passing(w, outcome) && !(once && is_unclear(w, outcome)) &&
           wait_to_retry(w));
    return outcome;
}

/* A request that did not do what it should have. */
static writer_result give_up(writer *w, http_outcome outcome)
{
    long status = outcome == HTTP_ANSWERED ? w->http.status : 0;

    if (interrupt_signal() != 0)
        return WRITER_INTERRUPTED;
    if (status == 413)
        return WRITER_TOO_LARGE;
    http_complain(&w->http, outcome);
    return status == 400 || status == 415 ? WRITER_REFUSED : WRITER_FAILED;
}

/* ---- What the stream holds ----------------------------------------------- */

/* Asks for what follows event `after`. The answer is NULL, with `outcome`
 * saying why, or it is to be deleted. */
static cJSON *recover(writer *w, const char *after, http_outcome *outcome)
{
    char        *path = NULL;
    text         below = {0}, query = {0};
    http_request request = {.method = "GET"};

    text_add_string(&below, w->url.path);
    text_add_string(&below, "/recover");
    text_add_string(&query, "after=");
    text_add_string(&query, after);
    path = url_make(w->url.whole, below.data, query.data);
    request.url = path;
    *outcome = persist(w, &request, false);
    curl_free(path);
    text_free(&below);
    text_free(&query);
    if (*outcome != HTTP_ANSWERED || w->http.status != 200)
        return NULL;
    return cJSON_ParseWithLength(w->http.body.data, w->http.body.len);
}

static void set_last_id(writer *w, const cJSON *id)
{
    text_clear(&w->last_id);
    if (cJSON_IsString(id))
        text_add_string(&w->last_id, id->valuestring);
}

/* The server keeps each line end of a text as LF. */
static void unify_line_ends(char *string)
{
    char *to = string;

    for (const char *from = string; *from != '\0'; from++)
        if (*from != '\r')
            *to++ = *from;
        else if (from[1] != '\n')
            *to++ = '\n';
    *to = '\0';
}

static const char *member(const cJSON *event, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(event, name);

    return cJSON_IsString(value) ? value->valuestring : "";
}

static const char *type_of(const cJSON *event)
{
    const char *type = member(event, "type");

    return *type != '\0' ? type : "message";
}

/* The batch as an array of objects, to be deleted. */
static cJSON *read_batch(const text *batch)
{
    cJSON      *events = cJSON_CreateArray();
    const char *at = batch->data;
    const char *end = batch->data + batch->len;

    while (at < end) {
        cJSON *event =
            cJSON_ParseWithLengthOpts(at, (size_t)(end - at), &at, 0);

        if (event == NULL || !cJSON_AddItemToArray(events, event))
            exit(fail("out of memory"));
        unify_line_ends(cJSON_GetStringValue(
            cJSON_GetObjectItemCaseSensitive(event, "data")));
        at++; /* the line end */
    }
    return events;
}

/* The last of `kept` when it starts with all of `sent`, otherwise NULL. */
static const cJSON *match(const cJSON *kept, const cJSON *sent)
{
    const cJSON *last = NULL;

    for (; sent != NULL && kept != NULL; sent = sent->next, kept = kept->next) {
        if (strcmp(member(kept, "data"), member(sent, "data")) != 0 ||
            strcmp(type_of(kept), type_of(sent)) != 0)
            return NULL;
        last = kept;
    }
    return sent == NULL ? last : NULL;
}

/* Finds a batch among events that other writers may have appended to, and
 * takes its last id. A batch is appended in one step: it stands together. */
static bool find(writer *w, const cJSON *kept, const text *batch)
{
    cJSON       *sent = read_batch(batch);
    const cJSON *last = NULL;

    for (kept = kept->child; kept != NULL && last == NULL; kept = kept->next)
        last = match(kept, sent->child);
    if (last != NULL)
        set_last_id(w, cJSON_GetObjectItemCaseSensitive(last, "id"));
    cJSON_Delete(sent);
    return last != NULL;
}

/* A gap event has no id: what stood there can be told no more. */
static bool has_gap(const cJSON *kept)
{
    const cJSON *event;

    cJSON_ArrayForEach(event, kept) if (!cJSON_IsString(
                                            cJSON_GetObjectItemCaseSensitive(
                                                event, "id"))) return true;
    return false;
}

/* Whether the stream holds a batch whose request got no answer. Returns -1
 * when that cannot be told. */
static int is_applied(writer *w, const text *batch)
{
    http_outcome outcome;
    cJSON       *answer, *kept;
    int          yes = -1;

    if (w->last_id.len == 0)
        return -1;
    answer = recover(w, w->last_id.data, &outcome);
    kept = cJSON_GetObjectItemCaseSensitive(answer, "events");
    if (cJSON_IsArray(kept)) {
        yes = find(w, kept, batch);
        if (!yes && has_gap(kept))
            yes = -1;
    }
    cJSON_Delete(answer);
    return yes;
}

/* ---- The four requests --------------------------------------------------- */

/* Where another writer has got to. */
static writer_result join(writer *w)
{
    http_outcome outcome;
    cJSON       *answer = recover(w, "$", &outcome);

    set_last_id(w, cJSON_GetObjectItemCaseSensitive(answer, "lastEventId"));
    if (answer != NULL && w->last_id.len == 0)
        text_add_string(&w->last_id, "0");
    cJSON_Delete(answer);
    return interrupt_signal() != 0 ? WRITER_INTERRUPTED : WRITER_OK;
}

writer_result writer_create(writer *w)
{
    text         body = {0};
    char        *url = url_make(w->url.whole, w->url.collection, NULL);
    http_request request = {
        .method = "POST", .url = url, .type = "application/json"};
    http_outcome outcome;

    text_add_string(&body, "{\"streamId\":");
    text_add_json(&body, w->url.id, strlen(w->url.id));
    text_add_string(&body, "}");
    request.body = body.data;
    request.body_len = body.len;
    outcome = persist(w, &request, false);
    text_free(&body);
    curl_free(url);

    if (outcome != HTTP_ANSWERED ||
        (w->http.status != 201 && w->http.status != 409))
        return give_up(w, outcome);
    settle(w);
    if (w->verbose)
        fprintf(stderr, "sse: %s stream %s\n",
                w->http.status == 201 ? "created" : "found", w->url.id);
    if (w->http.status == 409)
        return join(w);
    text_add_string(&w->last_id, "0");
    return WRITER_OK;
}

/* Takes the id out of {"ids":[...,"42-9f3a1c2b"]} or {"id":"42-9f3a1c2b"}. */
static void take_id(writer *w)
{
    const text  *body = &w->http.body;
    cJSON       *answer = cJSON_ParseWithLength(body->data, body->len);
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(answer, "id");
    const cJSON *ids = cJSON_GetObjectItemCaseSensitive(answer, "ids");

    if (cJSON_IsArray(ids) && ids->child != NULL)
        id = ids->child->prev; /* the first one's `prev` is the last */
    set_last_id(w, id);
    cJSON_Delete(answer);
}

static writer_result append(writer *w, const http_request *r, const text *batch)
{
    for (;;) {
        http_outcome outcome = persist(w, r, true);
        int          applied;

        if (outcome == HTTP_ANSWERED && w->http.status == 202) {
            take_id(w);
            return WRITER_OK;
        }
        if (interrupt_signal() != 0 || !is_unclear(w, outcome))
            return give_up(w, outcome);

        applied = is_applied(w, batch);
        if (applied > 0)
            return WRITER_OK;
        if (applied == 0 && wait_to_retry(w))
            continue;
        if (interrupt_signal() != 0)
            return WRITER_INTERRUPTED;
        fail(applied == 0
                 ? "the connection broke, and the last lines did not arrive"
                 : "the connection broke; the last lines may have arrived");
        return WRITER_FAILED;
    }
}

writer_result writer_append(writer *w, const text *batch)
{
    char         *url = stream_url_make(&w->url, "/events");
    http_request  request = {.method = "POST",
                             .url = url,
                             .type = "application/x-ndjson",
                             .body = batch->data,
                             .body_len = batch->len};
    writer_result result = append(w, &request, batch);

    curl_free(url);
    if (result == WRITER_OK)
        settle(w);
    return result;
}

/* A stream that has ended after an attempt without an answer was ended by that
 * attempt. */
writer_result writer_complete(writer *w)
{
    char        *url = stream_url_make(&w->url, "/complete");
    http_request request = {.method = "POST", .url = url};
    http_outcome outcome = persist(w, &request, false);

    curl_free(url);
    if (outcome == HTTP_ANSWERED &&
        (w->http.status == 200 || (w->http.status == 409 && w->attempts > 0)))
        return WRITER_OK;
    return give_up(w, outcome);
}

void writer_fail(writer *w, const char *reason)
{
    text         body = {0};
    char        *url = stream_url_make(&w->url, "/fail");
    http_request request = {
        .method = "POST", .url = url, .type = "application/json"};

    text_add_string(&body, "{\"data\":{\"reason\":");
    text_add_json(&body, reason, strlen(reason));
    text_add_string(&body, "}}");
    request.body = body.data;
    request.body_len = body.len;
    http_send(&w->http, &request);
    text_free(&body);
    curl_free(url);
}
