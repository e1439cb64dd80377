/* SPDX-License-Identifier: MIT */
/* client_request.c - one request of a client: what is sent, and its end. */
#include <string.h>
#include <strings.h>

#include "client.h"
#include "client_answer.h"
#include "host.h"
#include "net.h"

#define NO_LIMIT_MS 0x7fffffffL

/* ---- Headers ------------------------------------------------------------- */

static bool add_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (longer)
        *list = longer;
    return longer != NULL;
}

/* The application's line of that name, or NULL. With the lock. */
static const char *own_line(const sse_client *c, const char *name)
{
    const char *at = c->headers.data, *end = at + c->headers.len;
    size_t      len = strlen(name);

    for (; at < end; at += strlen(at) + 1)
        if (strncasecmp(at, name, len) == 0 && (at[len] == ':' || !at[len]))
            return at;
    return NULL;
}

static const char *accepted(const sse__fetch *f)
{
    return f->poll || f->recovery ? "Accept: application/json"
                                  : "Accept: text/event-stream";
}

static bool sends_body(const sse__fetch *f)
{
    return !f->recovery && !f->plain_get && f->client->is_set[SSE_SETTING_BODY];
}

static bool looks_like_json(const sse__buf *body)
{
    for (size_t i = 0; i < body->len; i++)
        if (!strchr(" \t\r\n", body->data[i]))
            return body->data[i] == '{' || body->data[i] == '[';
    return false;
}

/* What is said of the body; "Content-Type:" keeps libcurl from guessing. */
static const char *body_type(const sse__fetch *f)
{
    const char *own = own_line(f->client, "Content-Type");

    if (own)
        return own;
    return looks_like_json(&f->client->settings[SSE_SETTING_BODY])
               ? "Content-Type: application/json"
               : "Content-Type:";
}

/* What may go anywhere: nothing here tells who asks, or for what. */
static bool add_plain(sse__fetch *f, struct curl_slist **list)
{
    return add_line(list, accepted(f)) &&
           add_line(list, "Cache-Control: no-cache") &&
           add_line(list, "Expect:") &&
           (!sends_body(f) || add_line(list, body_type(f)));
}

static bool add_prefixed(struct curl_slist **list, const char *prefix,
                         const sse__buf *value)
{
    sse__buf line;
    bool     ok;

    sse__buf_init(&line, SIZE_MAX);
    ok = sse__buf_add_str(&line, prefix) == SSE_OK &&
         sse__buf_add(&line, value->data, value->len) == SSE_OK &&
         sse__buf_add(&line, "", 1) == SSE_OK && add_line(list, line.data);
    sse__buf_free(&line);
    return ok;
}

/* Everything, the application's lines in place of ours. */
static bool add_all(sse__fetch *f, struct curl_slist **list)
{
    const sse_client *c = f->client;
    const char       *at = c->headers.data, *end = at + c->headers.len;
    bool              ok = add_line(list, "Expect:");

    if (ok && !own_line(c, "Accept"))
        ok = add_line(list, accepted(f));
    if (ok && !own_line(c, "Cache-Control"))
        ok = add_line(list, "Cache-Control: no-cache");
    if (ok && sends_body(f))
        ok = add_line(list, body_type(f));
    if (ok && c->token.len > 0)
        ok = add_prefixed(list, "Authorization: Bearer ", &c->token);
    if (ok && f->cursor.len > 0)
        ok = add_prefixed(list, "Last-Event-ID: ", &f->cursor);
    for (; ok && at < end; at += strlen(at) + 1) {
        bool skip =
            strncasecmp(at, "Content-Type:", 13) == 0 ||
            (c->token.len > 0 && strncasecmp(at, "Authorization:", 14) == 0);

        ok = skip || add_line(list, at);
    }
    return ok;
}

static bool make_headers(sse__fetch *f)
{
    sse_client        *c = f->client;
    struct curl_slist *list = NULL;
    bool               ok;

    pthread_mutex_lock(&c->lock);
    ok = f->foreign ? add_plain(f, &list) : add_all(f, &list);
    pthread_mutex_unlock(&c->lock);
    curl_slist_free_all(f->headers);
    f->headers = list;
    return ok;
}

/* ---- Options ------------------------------------------------------------- */

static bool set_text(sse__fetch *f, CURLoption option, int setting)
{
    const char *text = sse__follow_setting(f->client, setting);

    return !text || curl_easy_setopt(f->easy, option, text) == CURLE_OK;
}

/* A client certificate is not for strangers. */
static bool set_way(sse__fetch *f)
{
    CURL *easy = f->easy;

    if (f->client->opts.flags & SSE_CLIENT_INSECURE) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (!set_text(f, CURLOPT_PROXY, SSE_SETTING_PROXY) ||
        !set_text(f, CURLOPT_CAINFO, SSE_SETTING_CA_FILE) ||
        !set_text(f, CURLOPT_UNIX_SOCKET_PATH, SSE_SETTING_UNIX_SOCKET) ||
        !set_text(f, CURLOPT_USERAGENT, SSE_SETTING_USER_AGENT))
        return false;
    return f->foreign ||
           (set_text(f, CURLOPT_SSLCERT, SSE_SETTING_CERT_FILE) &&
            set_text(f, CURLOPT_SSLKEY, SSE_SETTING_KEY_FILE) &&
            set_text(f, CURLOPT_KEYPASSWD, SSE_SETTING_KEY_PASSWORD));
}

static bool set_method(sse__fetch *f)
{
    const sse_client *c = f->client;
    const char       *method = sse__follow_setting(c, SSE_SETTING_METHOD);
    const sse__buf   *body = &c->settings[SSE_SETTING_BODY];
    bool              with_body = sends_body(f);

    if (f->recovery || f->plain_get)
        return true;
    if (!method)
        method = with_body ? "POST" : "GET";
    if (with_body || strcmp(method, "POST") == 0) {
        curl_easy_setopt(f->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)(with_body ? body->len - 1 : 0));
        curl_easy_setopt(f->easy, CURLOPT_POSTFIELDS,
                         with_body ? body->data : "");
    }
    return curl_easy_setopt(f->easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
}

/* The machine's limits are the only ones, so libcurl's are out of the way. */
static void set_times(sse__fetch *f)
{
    const sse__client_options *o = &f->client->core->o;
    int64_t                    limit = NO_LIMIT_MS;

    curl_easy_setopt(f->easy, CURLOPT_CONNECTTIMEOUT_MS, NO_LIMIT_MS);
    if (!f->recovery)
        return;
    if (o->connect_ms != SSE_NEVER && o->first_byte_ms != SSE_NEVER)
        limit = (int64_t)o->connect_ms + o->first_byte_ms;
    if (limit < NO_LIMIT_MS)
        curl_easy_setopt(f->easy, CURLOPT_TIMEOUT_MS, (long)limit);
}

/* After trouble, the address may be another one, and so may be the network
 * that an old connection went through. */
static void set_connection(sse__fetch *f)
{
    CURL *easy = f->easy;

    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* An abort does not wait for a look-up that hangs. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    if (!(f->client->opts.flags & SSE_CLIENT_IDENTITY))
        curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    if (f->client->fresh_connect) {
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    }
}

/* Makes libcurl send the request to f->url. */
static bool send_request(sse__fetch *f)
{
    sse__net *net = sse__net_get(f->client->loop);

    curl_easy_reset(f->easy);
    f->head.len = f->body.len = 0;
    f->head_over = f->redirect = false;
    f->error[0] = '\0';
    if (!net || !make_headers(f) ||
        curl_easy_setopt(f->easy, CURLOPT_URL, f->url.data) != CURLE_OK ||
        !set_method(f) || !set_way(f))
        return false;
    set_connection(f);
    set_times(f);
    curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers);
    curl_easy_setopt(f->easy, CURLOPT_ERRORBUFFER, f->error);
    curl_easy_setopt(f->easy, CURLOPT_PRIVATE, f);
    sse__answer_listen(f);
    return sse__net_add(net, f->easy);
}

/* ---- Life ---------------------------------------------------------------- */

static void release(sse__fetch *f)
{
    curl_easy_cleanup(f->easy);
    curl_slist_free_all(f->headers);
    sse__buf_free(&f->url);
    sse__buf_free(&f->cursor);
    sse__buf_free(&f->head);
    sse__buf_free(&f->body);
    *f = (sse__fetch){0};
}

static void end(sse__fetch *f)
{
    if (!f->easy)
        return;
    sse__net_remove(f->client->loop->net, f->easy);
    release(f);
}

static sse__fetch *unused(sse_client *c)
{
    for (int i = 0; i < SSE__FETCHES; i++)
        if (!c->fetches[i].easy)
            return &c->fetches[i];
    return NULL;
}

/* The URL with what asks for a long poll (docs/http.md, Subscribe). */
static bool make_url(sse__fetch *f)
{
    const sse_client *c = f->client;
    const sse__buf   *from =
        f->recovery ? &c->settings[SSE_SETTING_RECOVERY_URL] : &c->url;
    CURLU *url;
    char  *text = NULL;
    bool   ok;

    if (!f->poll)
        return sse__buf_add(&f->url, from->data, from->len) == SSE_OK;
    url = curl_url();
    ok = url && curl_url_set(url, CURLUPART_URL, from->data, 0) == CURLUE_OK &&
         curl_url_set(url, CURLUPART_QUERY, "transport=poll",
                      CURLU_APPENDQUERY) == CURLUE_OK &&
         curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK &&
         sse__buf_add(&f->url, text, strlen(text) + 1) == SSE_OK;
    curl_free(text);
    curl_url_cleanup(url);
    return ok;
}

static bool prepare(sse__fetch *f, const sse__action *a, const char *cursor)
{
    sse__buf *bufs[] = {&f->url, &f->cursor, &f->head, &f->body};

    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        sse__buf_init(bufs[i], SIZE_MAX);
    f->head.max = SSE__HEAD_BYTES;
    f->recovery = !a;
    f->poll = a && a->poll;
    f->generation = a ? a->generation : 0;
    f->foreign = f->recovery &&
                 !sse__same_origin(
                     f->client->url.data,
                     sse__follow_setting(f->client, SSE_SETTING_RECOVERY_URL));
    f->easy = curl_easy_init();
    return f->easy && make_url(f) &&
           (!a || sse__buf_add(&f->cursor, cursor, a->cursor_len) == SSE_OK);
}

void sse__fetch_begin(sse_client *c, const sse__action *a, const char *cursor)
{
    sse__fetch *f = a ? unused(c) : &c->recovery;

    if (!f) { /* the machine never has more than two */
        return;
    }
    *f = (sse__fetch){.client = c};
    if (prepare(f, a, cursor) && send_request(f))
        return;
    sse__answer_failed(f, SSE_CAUSE_NOMEM, NULL);
    release(f);
}

void sse__fetch_abort(sse_client *c, uint32_t generation)
{
    for (int i = 0; i < SSE__FETCHES; i++)
        if (c->fetches[i].easy && c->fetches[i].generation == generation) {
            c->fresh_connect = true;
            end(&c->fetches[i]);
        }
}

void sse__fetch_pause(sse_client *c, uint32_t generation, bool pause)
{
    for (int i = 0; i < SSE__FETCHES; i++) {
        sse__fetch *f = &c->fetches[i];

        if (!f->easy || f->generation != generation)
            continue;
        f->blocked = pause;
        if (curl_easy_pause(f->easy, pause ? CURLPAUSE_RECV : CURLPAUSE_CONT) ==
            CURLE_OK)
            continue;
        sse__answer_failed(f, f->nomem ? SSE_CAUSE_NOMEM : SSE_CAUSE_NETWORK,
                           f->nomem ? NULL : "the body cannot be read");
        end(f);
    }
}

/* libcurl holds bytes that came too fast, and the machine does not know. */
void sse__fetch_unblock(sse_client *c)
{
    bool paused;

    pthread_mutex_lock(&c->lock);
    paused = c->core->paused;
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < SSE__FETCHES && !paused; i++)
        if (c->fetches[i].easy && c->fetches[i].blocked)
            sse__fetch_pause(c, c->fetches[i].generation, false);
}

void sse__fetch_end_all(sse_client *c)
{
    for (int i = 0; i < SSE__FETCHES; i++)
        end(&c->fetches[i]);
    end(&c->recovery);
}

void sse__fetch_done(sse__fetch *f, CURLcode result)
{
    sse_client *c = f->client;

    sse__net_remove(c->loop->net, f->easy);
    if (f->redirect && sse__answer_follow(f)) {
        if (send_request(f))
            return;
        sse__answer_failed(f, SSE_CAUSE_NOMEM, NULL);
    } else if (!f->redirect) {
        sse__answer_over(f, result);
    }
    release(f);
    sse__follow_wake(c);
}

void sse__fetch_starve(sse__fetch *f)
{
    f->starved = true;
    sse__follow_wake(f->client);
}

/* ---- Time ---------------------------------------------------------------- */

int64_t sse__fetch_tick(sse_client *c, int64_t now_ms)
{
    int64_t next = SSE__NO_TIME;

    for (int i = 0; i < SSE__FETCHES; i++) {
        sse__fetch *f = &c->fetches[i];

        if (f->easy && f->starved) {
            sse__answer_failed(f, SSE_CAUSE_NOMEM, NULL);
            end(f);
        }
        if (!f->easy || !f->refused)
            continue;
        if (now_ms >= f->report_at_ms) {
            sse__answer_over(f, CURLE_OK);
            c->fresh_connect = true;
            end(f);
        } else if (f->report_at_ms < next) {
            next = f->report_at_ms;
        }
    }
    return next;
}
