/* SPDX-License-Identifier: MIT */
/* relay.c - POST /v1/chat/completions, as the clients of OpenAI send it, goes
 * to a model server; its answer becomes a stream of the hub. The caller reads
 * that stream. When the connection breaks, the answer goes on, and so does the
 * reader, at /api/stream/{id} from the last event it got.
 *
 * Each answer is an sse_client on the server's loop. Everything happens on the
 * loop's thread, but for one other thread that waits for requests to stop. */
#include "relay.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define RELAYS_MAX 256          /* answers under way                        */
#define FIRST_BYTE_MS 600000    /* models think before they speak           */
#define STALL_MS 300000         /* ... and while they do                    */
#define CHUNK_BYTES (1u << 20)  /* as the hub's max_event_bytes             */
#define WHOLE_BYTES (16u << 20) /* of an answer that does not stream        */
#define LOG_EVENTS 100000       /* of an answer, kept for readers           */
#define LOG_BYTES (32u << 20)

static const char path[] = "/v1/chat/completions";

typedef struct relay {
    uint64_t     key;     /* of its stream; never used again; 0: free place  */
    sse_client  *client;  /* asks the model server                           */
    sse_request *request; /* held until the model server answers, or NULL    */
    sse_stream  *stream;  /* from then on                                    */
    int          stopped; /* somebody asked for it                           */
} relay;

static sse_loop       *loop;
static sse_hub        *hub;
static char            url[4096];
static relay           relays[RELAYS_MAX];
static uint64_t        last_key;
static sse_queue      *stops;
static pthread_t       stopper;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of key, client and
                                                          * stopped           */

/* ---- What can go wrong, in the form that OpenAI gives to errors ---- */

typedef struct failure {
    int         status;
    const char *code, *message;
} failure;

static const failure unreachable = {502, "upstream_unreachable",
                                    "The model server cannot be reached."};
static const failure silent = {504, "upstream_silent", "No answer came."};
static const failure lost = {502, "upstream_lost", "The answer broke off."};
static const failure too_large = {502, "upstream_too_large",
                                  "The answer is too large."};
static const failure senseless = {502, "upstream_error",
                                  "The answer makes no sense."};
static const failure closing = {503, "relay_closing", "The relay ends."};
static const failure full = {429, "relay_full", "There is no room: try later."};
static const failure broken = {500, "relay_failed", "Out of memory."};

static size_t write_failure(const failure *f, char *out, size_t size)
{
    return (size_t)snprintf(out, size,
                            "{\"error\":{\"message\":\"%s\","
                            "\"type\":\"upstream_error\",\"code\":\"%s\"}}",
                            f->message, f->code);
}

static void refuse(sse_request *request, const failure *f)
{
    char   body[256];
    size_t len = write_failure(f, body, sizeof(body));

    if (f == &full)
        sse_request_add_header(request, "Retry-After", 11, "5", 1);
    sse_request_respond(request, f->status, "application/json", 16, body, len);
}

/* ---- Places ---- */

static relay *take_place(void)
{
    relay *r = relays;

    while (r < relays + RELAYS_MAX && r->key)
        r++;
    if (r == relays + RELAYS_MAX)
        return NULL;
    pthread_mutex_lock(&lock);
    last_key += RELAYS_MAX;
    r->key = last_key + (uint64_t)(r - relays);
    r->stopped = 0;
    pthread_mutex_unlock(&lock);
    return r;
}

/* The model server's connection ends with the client. */
static void give_back(relay *r)
{
    sse_client *client = r->client;

    pthread_mutex_lock(&lock);
    r->client = NULL;
    r->key = 0;
    pthread_mutex_unlock(&lock);
    sse_client_free(client);
    sse_stream_free(r->stream);
    r->stream = NULL;
    r->request = NULL;
}

/* ---- The model server's answer ---- */

static void fail(relay *r, const failure *f)
{
    char   data[256];
    size_t len = write_failure(f, data, sizeof(data));

    if (r->request)
        refuse(r->request, f);
    else
        sse_stream_end(r->stream, SSE_STATE_FAILED, "", 0, data, len, NULL);
    give_back(r);
}

/* "[DONE]" is what clients of OpenAI wait for, and all they understand. */
static void end(relay *r, int state)
{
    sse_stream_end(r->stream, state, "", 0, "[DONE]", 6, NULL);
    give_back(r);
}

/* The head has come, and a stream begins. The caller gets its id in the header
 * X-Stream-Id. */
static void open_stream(relay *r)
{
    sse_stream_options opts = {.size = sizeof(opts),
                               .key = r->key,
                               .log_events = LOG_EVENTS,
                               .log_bytes = LOG_BYTES};
    int rc = sse_stream_new(hub, "", 0, stops, &opts, &r->stream);

    if (rc == SSE_OK)
        rc = sse_stream_set_kind(r->stream, "chat.completion", 15);
    if (rc == SSE_OK)
        rc = sse_request_respond_stream(r->request, r->stream);
    if (rc < 0)
        fail(r, rc == SSE_ERR_LIMIT ? &full : &broken);
    r->request = NULL;
}

static void append(relay *r, const sse_news *news)
{
    if (news->data_len == 6 && memcmp(news->data, "[DONE]", 6) == 0)
        end(r, SSE_STATE_COMPLETED);
    else if (sse_stream_append(r->stream, "", 0, news->data, news->data_len,
                               NULL) < 0)
        fail(r, &lost); /* nobody can read it any more: it was removed */
}

static void pass_header(relay *r, const char *name)
{
    size_t      len, name_len = strlen(name);
    const char *value = sse_client_header(r->client, name, name_len, &len);

    if (len > 0)
        sse_request_add_header(r->request, name, name_len, value, len);
}

/* An answer that is no stream goes to the caller as it is: a refusal, or what
 * a body without "stream": true asked for. */
static void pass_answer(relay *r, const sse_news *news)
{
    size_t      type_len;
    const char *type =
        sse_client_header(r->client, "Content-Type", 12, &type_len);

    if (news->data_len >= WHOLE_BYTES) {
        fail(r, &too_large);
        return;
    }
    pass_header(r, "Retry-After");
    pass_header(r, "X-Request-Id");
    if (sse_request_respond(r->request, (int)news->status, type, type_len,
                            news->data, news->data_len) < 0)
        refuse(r->request, &senseless);
    give_back(r);
}

/* Nothing is asked for a second time: it may have been heard, and has a price.
 * So the first error is the end. */
static void conclude(relay *r, const sse_news *news)
{
    switch (news->cause) {
    case SSE_CAUSE_CLOSED:
        if (r->stopped && r->stream)
            end(r, SSE_STATE_CANCELLED);
        else
            fail(r, &closing);
        return;
    case SSE_CAUSE_STATUS:
    case SSE_CAUSE_CONTENT_TYPE: pass_answer(r, news); return;
    case SSE_CAUSE_NETWORK:
    case SSE_CAUSE_CONNECT: fail(r, r->stream ? &lost : &unreachable); return;
    case SSE_CAUSE_NO_ANSWER: fail(r, &silent); return;
    default: fail(r, r->stream ? &lost : &senseless); return;
    }
}

static void on_news(void *user)
{
    relay          *r = user;
    const sse_news *news;

    while (r->client && sse_client_next(r->client, 0, &news) > 0) {
        switch (news->kind) {
        case SSE_NEWS_OPEN: open_stream(r); break;
        case SSE_NEWS_EVENT: append(r, news); break;
        case SSE_NEWS_ERROR:
        case SSE_NEWS_END: conclude(r, news); break;
        default: break;
        }
    }
}

/* ---- Requests ---- */

/* Nobody knows the stream yet, so nobody could read it. */
static void on_gone(sse_request *request, void *user)
{
    (void)request;
    give_back(user);
}

/* What the caller may do at the model server, it may do here: nothing of it is
 * kept. */
static int set_request(sse_client *c, sse_request *request)
{
    size_t      body_len, auth_len;
    const char *body = sse_request_body(request, &body_len);
    const char *auth =
        sse_request_header(request, "Authorization", 13, &auth_len);
    int rc;

    if ((rc = sse_client_set(c, SSE_SETTING_METHOD, "POST", 4)) < 0 ||
        (rc = sse_client_set(c, SSE_SETTING_BODY, body, body_len)) < 0 ||
        (rc = sse_client_set_header(c, "Content-Type", 12, "application/json",
                                    16)) < 0 ||
        (rc = sse_client_set_header(c, "Authorization", 13, auth, auth_len)) <
            0)
        return rc;
    return sse_client_add_end_type(c, "", 0); /* "[DONE]" alone ends it */
}

static int begin(relay *r, sse_request *request)
{
    sse_client_options opts = {.size = sizeof(opts),
                               .profile = SSE_PROFILE_FINITE,
                               .max_attempts = 1,
                               .first_byte_ms = FIRST_BYTE_MS,
                               .stall_ms = STALL_MS,
                               .max_event_bytes = CHUNK_BYTES,
                               .max_error_bytes = WHOLE_BYTES};
    int                rc;

    r->request = request;
    if ((rc = sse_client_new(loop, url, strlen(url), &opts, &r->client)) < 0 ||
        (rc = set_request(r->client, request)) < 0 ||
        (rc = sse_client_on_news(r->client, on_news, r)) < 0 ||
        (rc = sse_client_start(r->client)) < 0)
        return rc;
    return sse_request_hold(request, on_gone, r);
}

/* What a browser asks before it lets a page of another origin send JSON. */
static void answer_preflight(sse_request *request)
{
    size_t      len;
    const char *names =
        sse_request_header(request, "Access-Control-Request-Headers", 30, &len);

    if (len > 0)
        sse_request_add_header(request, "Access-Control-Allow-Headers", 28,
                               names, len);
    sse_request_respond(request, 200, "text/plain", 10, "", 0);
}

int relay_take(sse_request *request)
{
    size_t      len;
    const char *asked = sse_request_path(request, &len);
    const char *method = sse_request_method(request);
    relay      *r;

    if (!stops || len != sizeof(path) - 1 || memcmp(asked, path, len) != 0)
        return 0;
    if (strcmp(method, "OPTIONS") == 0)
        answer_preflight(request);
    else if (strcmp(method, "POST") != 0)
        return 0;
    else if (!(r = take_place()))
        refuse(request, &full);
    else if (begin(r, request) < 0)
        fail(r, &broken);
    return 1;
}

/* ---- Stops ---- */

/* The client tells the loop's thread that it is closed. */
static void stop(uint64_t key, uint32_t reason)
{
    relay *r = &relays[key % RELAYS_MAX];

    pthread_mutex_lock(&lock);
    if (r->key == key && r->client) {
        r->stopped = reason != SSE_REASON_SHUTDOWN;
        sse_client_close(r->client);
    }
    pthread_mutex_unlock(&lock);
}

static void *take_stops(void *unused)
{
    const sse_batch *batch;
    int              ending = 0;

    while (!ending) {
        sse_queue_wait(stops, -1);
        while (sse_queue_drain(stops, 0, &batch) > 0) {
            for (size_t i = 0; i < batch->note_count; i++) {
                const sse_note *note = &batch->notes[i];

                if (note->kind == SSE_NOTE_STOP)
                    stop(note->key, note->reason);
                ending = ending || note->kind == SSE_NOTE_WAKE;
            }
        }
    }
    return unused;
}

/* ---- The relay ---- */

static int set_url(const char *upstream)
{
    size_t len = strlen(upstream);

    while (len > 0 && upstream[len - 1] == '/')
        len--;
    if (len >= 3 && memcmp(upstream + len - 3, "/v1", 3) == 0)
        len -= 3;
    if (len > sizeof(url) - sizeof(path))
        return SSE_ERR_INVAL;
    memcpy(url, upstream, len);
    memcpy(url + len, path, sizeof(path));
    return SSE_OK;
}

/* OpenAI's clients take each blank line for the end of an event, and fail when
 * there is none. */
void relay_adapt(const char *upstream, sse_hub_options *opts)
{
    if (!upstream)
        return;
    opts->heartbeat = SSE_HEARTBEAT_LINE;
    opts->retry_ms = SSE_NEVER;
}

int relay_start(sse_loop *on_loop, sse_hub *of_hub, const char *upstream)
{
    sse_client *probe = NULL; /* tells now whether the URL can be used */
    int         rc;

    if (!upstream)
        return SSE_OK;
    loop = on_loop;
    hub = of_hub;
    if ((rc = set_url(upstream)) == SSE_OK)
        rc = sse_client_new(loop, url, strlen(url), NULL, &probe);
    sse_client_free(probe);
    if (rc < 0 || (rc = sse_queue_new(hub, NULL, &stops)) < 0)
        return rc;
    if (pthread_create(&stopper, NULL, take_stops, NULL) == 0)
        return SSE_OK;
    sse_queue_free(stops);
    stops = NULL;
    return SSE_ERR_IO;
}

void relay_end(void)
{
    if (!stops)
        return;
    sse_queue_wake(stops);
    pthread_join(stopper, NULL);
    for (relay *r = relays; r < relays + RELAYS_MAX; r++)
        give_back(r);
    sse_queue_free(stops);
    stops = NULL;
}
