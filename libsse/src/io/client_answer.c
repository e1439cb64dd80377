/* SPDX-License-Identifier: MIT */
/* client_answer.c - heads, bodies and redirects, as libcurl brings them. */
#include "client_answer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../core/utf8.h"
#include "host.h"

#define REFUSAL_MS 1000 /* for the body of one, after its head */
#define RECOVERY_SLACK 65536

/* ---- Heads --------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

const char *sse__head_find(const sse__buf *head, const char *name,
                           size_t name_len, size_t *out_len)
{
    const char *at = head->data, *end = at + head->len;

    for (const char *next; at < end; at = next) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        const char *stop = lf ? lf : end;

        next = lf ? lf + 1 : end;
        if ((size_t)(stop - at) <= name_len || at[name_len] != ':' ||
            strncasecmp(at, name, name_len) != 0)
            continue;
        at += name_len + 1;
        while (at < stop && is_blank(*at))
            at++;
        while (stop > at && (is_blank(stop[-1]) || stop[-1] == '\r'))
            stop--;
        *out_len = (size_t)(stop - at);
        return at;
    }
    *out_len = 0;
    return NULL;
}

static bool is_redirect(uint32_t status)
{
    return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

static sse__head parts(const sse__fetch *f)
{
    sse__head h = {.status = f->status};

    h.content_type =
        sse__head_find(&f->head, "Content-Type", 12, &h.content_type_len);
    h.retry_after =
        sse__head_find(&f->head, "Retry-After", 11, &h.retry_after_len);
    return h;
}

/* Whether the machine still wants to hear of it. With the lock. */
static bool wanted(const sse__fetch *f)
{
    const sse__client *core = f->client->core;

    return f->generation != 0 && (f->generation == core->main.generation ||
                                  f->generation == core->next.generation);
}

/* What an error's news will say beside its cause. With the lock. */
static int add_note(sse__fetch *f, const char *detail)
{
    sse__note *note = sse__follow_note(f->client, f->generation);
    int        rc = sse__utf8_repair(&note->detail, detail, strlen(detail));

    if (rc == SSE_OK && f->refused)
        rc = sse__utf8_repair(&note->body, f->body.data, f->body.len);
    return rc;
}

/* With the lock. */
static int keep_head(sse__fetch *f)
{
    sse_client *c = f->client;

    c->head.len = 0;
    c->head_count++;
    return sse__buf_add(&c->head, f->head.data, f->head.len);
}

static bool tell_head(sse__fetch *f)
{
    sse_client *c = f->client;
    sse__head   h = parts(f);
    int         rc = SSE_OK;

    pthread_mutex_lock(&c->lock);
    if (wanted(f)) {
        rc = keep_head(f);
        if (rc == SSE_OK && f->refused)
            rc = add_note(f, "");
        if (rc == SSE_OK)
            rc = sse__client_on_head(c->core, f->generation,
                                     sse__clock_mono_ms(), sse__clock_wall_ms(),
                                     &h);
    }
    pthread_mutex_unlock(&c->lock);
    f->told = rc == SSE_OK;
    f->nomem = !f->told;
    return f->told;
}

/* The body of a refusal goes along with it, but the machine's time goes on. */
static void await_body(sse__fetch *f)
{
    sse_client *c = f->client;
    int64_t     limit;

    f->refused = true;
    f->report_at_ms = sse__clock_mono_ms() + REFUSAL_MS;
    pthread_mutex_lock(&c->lock);
    limit = sse__client_deadline(c->core);
    pthread_mutex_unlock(&c->lock);
    if (limit < f->report_at_ms)
        f->report_at_ms = limit;
}

/* Whether the head is told at once. A stream will do for a long poll. */
static bool is_welcome(const sse__fetch *f)
{
    uint32_t  profile = f->client->opts.profile;
    sse__head h = parts(f);
    sse_cause why;

    switch (sse__policy_head(profile, f->poll, &h, &why)) {
    case SSE__ACCEPT:
    case SSE__DONE: return true;
    default:
        return f->poll &&
               sse__policy_head(profile, false, &h, &why) == SSE__ACCEPT;
    }
}

static bool take_head(sse__fetch *f)
{
    long status = 0;

    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    f->status = (uint32_t)status;
    if (status < 200)
        return true; /* another one follows */
    f->head_over = true;
    f->redirect = is_redirect(f->status);
    if (f->redirect || f->recovery)
        return !f->redirect;
    if (is_welcome(f))
        return tell_head(f);
    await_body(f);
    return true;
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    sse__fetch *f = user;
    size_t      len = size * count;

    if (f->head_over)
        return len; /* a trailer */
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        f->head.len = 0;
    switch (sse__buf_add(&f->head, line, len)) {
    case SSE_OK: break;
    case SSE_ERR_NOMEM: f->nomem = true; return 0;
    default: f->trouble = "the head of the answer is above 64 KiB"; return 0;
    }
    if (line[0] != '\r' && line[0] != '\n')
        return len;
    sse__follow_wake(f->client);
    return take_head(f) ? len : 0;
}

/* ---- Bodies -------------------------------------------------------------- */

/* Keeps what there is room for; false when that is all. */
static bool collect(sse__fetch *f, const char *data, size_t len, size_t max)
{
    size_t room = max - f->body.len;

    f->cut = len > room;
    if (sse__buf_add(&f->body, data, f->cut ? room : len) < 0)
        f->nomem = true;
    return !f->cut && !f->nomem;
}

static size_t error_bytes(const sse_client *c)
{
    return c->opts.max_error_bytes ? c->opts.max_error_bytes : 64 * 1024;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    sse__fetch *f = user;
    sse_client *c = f->client;
    size_t      len = size * count;
    int         rc;

    if (f->redirect)
        return 0;
    if (f->recovery)
        return collect(f, data, len,
                       (size_t)c->core->o.max_event_bytes + RECOVERY_SLACK)
                   ? len
                   : 0;
    if (f->refused)
        return collect(f, data, len, error_bytes(c)) ? len : 0;
    pthread_mutex_lock(&c->lock);
    rc = sse__client_on_bytes(c->core, f->generation, sse__clock_mono_ms(),
                              data, len);
    pthread_mutex_unlock(&c->lock);
    sse__follow_wake(c);
    f->nomem = rc == SSE_ERR_NOMEM;
    f->blocked = rc == SSE_ERR_LIMIT;
    if (f->blocked)
        return CURL_WRITEFUNC_PAUSE;
    return f->nomem ? 0 : len;
}

/* ---- Connecting ---------------------------------------------------------- */

/* Just before the request is sent. */
static int on_connected(void *user, char *ip, char *local_ip, int port,
                        int local_port)
{
    sse__fetch *f = user;
    sse_client *c = f->client;

    (void)ip;
    (void)local_ip;
    (void)port;
    (void)local_port;
    pthread_mutex_lock(&c->lock);
    sse__client_on_connected(c->core, f->generation, sse__clock_mono_ms());
    pthread_mutex_unlock(&c->lock);
    sse__follow_wake(c);
    return CURL_PREREQFUNC_OK;
}

void sse__answer_listen(sse__fetch *f)
{
    curl_easy_setopt(f->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(f->easy, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(f->easy, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(f->easy, CURLOPT_PREREQDATA, f);
}

/* ---- The end ------------------------------------------------------------- */

void sse__answer_failed(sse__fetch *f, sse_cause why, const char *detail)
{
    sse_client *c = f->client;

    c->fresh_connect = true;
    if (f->recovery) {
        sse__recover_over(f, CURLE_ABORTED_BY_CALLBACK);
        return;
    }
    pthread_mutex_lock(&c->lock);
    if (wanted(f)) {
        if (detail && add_note(f, detail) < 0)
            why = SSE_CAUSE_NOMEM;
        sse__client_on_error(c->core, f->generation, sse__clock_mono_ms(), why);
    }
    pthread_mutex_unlock(&c->lock);
}

/* What libcurl says, and what the system said to it. */
static void tell_trouble(sse__fetch *f, CURLcode result)
{
    char        text[CURL_ERROR_SIZE + 128];
    const char *said = f->error[0] ? f->error : curl_easy_strerror(result);
    long        number = 0;

    if (f->nomem || result == CURLE_OUT_OF_MEMORY) {
        sse__answer_failed(f, SSE_CAUSE_NOMEM, NULL);
        return;
    }
    curl_easy_getinfo(f->easy, CURLINFO_OS_ERRNO, &number);
    if (f->trouble)
        said = f->trouble;
    else if (result == CURLE_COULDNT_CONNECT && number != 0)
        snprintf(text, sizeof(text), "%s: %s", said, strerror((int)number));
    if (!f->trouble && result == CURLE_COULDNT_CONNECT && number != 0)
        said = text;
    sse__answer_failed(f, SSE_CAUSE_NETWORK, said);
}

static void tell_end(sse__fetch *f)
{
    sse_client *c = f->client;
    int         rc;

    pthread_mutex_lock(&c->lock);
    rc = sse__client_on_end(c->core, f->generation, sse__clock_mono_ms());
    pthread_mutex_unlock(&c->lock);
    if (rc < 0)
        sse__answer_failed(f, SSE_CAUSE_NOMEM, NULL);
}

void sse__answer_over(sse__fetch *f, CURLcode result)
{
    f->client->fresh_connect = result != CURLE_OK;
    if (f->recovery)
        sse__recover_over(f, result);
    else if (f->refused && !f->nomem && tell_head(f))
        return;
    else if (result == CURLE_OK && f->told)
        tell_end(f);
    else
        tell_trouble(f, result);
}

/* ---- Redirects ----------------------------------------------------------- */

static char *part(CURLU *url, CURLUPart what)
{
    char *text = NULL;

    curl_url_get(url, what, &text, CURLU_DEFAULT_PORT);
    return text;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart what)
{
    char *x = part(a, what), *y = part(b, what);
    bool  same = x && y && strcasecmp(x, y) == 0;

    curl_free(x);
    curl_free(y);
    return same;
}

static bool is_same_origin(CURLU *a, CURLU *b)
{
    return same_part(a, b, CURLUPART_SCHEME) &&
           same_part(a, b, CURLUPART_HOST) && same_part(a, b, CURLUPART_PORT);
}

bool sse__same_origin(const char *a, const char *b)
{
    CURLU *x = curl_url(), *y = curl_url();
    bool   same = x && y && curl_url_set(x, CURLUPART_URL, a, 0) == CURLUE_OK &&
                curl_url_set(y, CURLUPART_URL, b, 0) == CURLUE_OK &&
                is_same_origin(x, y);

    curl_url_cleanup(x);
    curl_url_cleanup(y);
    return same;
}

static bool has_scheme(CURLU *url, const char *name)
{
    char *scheme = part(url, CURLUPART_SCHEME);
    bool  has = scheme && strcasecmp(scheme, name) == 0;

    curl_free(scheme);
    return has;
}

/* Names and passwords are the application's to give, not the server's; and
 * what stands in the URL is for its own origin. */
static bool set_user(CURLU *to, CURLU *from, bool same)
{
    static const CURLUPart parts_of_user[] = {CURLUPART_USER,
                                              CURLUPART_PASSWORD};

    for (int i = 0; i < 2; i++) {
        char     *text = same ? part(from, parts_of_user[i]) : NULL;
        CURLUcode rc = curl_url_set(to, parts_of_user[i], text, 0);

        curl_free(text);
        if (rc != CURLUE_OK)
            return false;
    }
    return true;
}

/* The place that a redirect names. NULL, or what is wrong with it. */
static const char *resolve(sse__fetch *f, CURLU *from, CURLU *to,
                           const char *location)
{
    CURLUcode rc = curl_url_set(from, CURLUPART_URL, f->url.data, 0);

    if (rc == CURLUE_OK)
        rc = curl_url_set(to, CURLUPART_URL, f->url.data, 0);
    if (rc == CURLUE_OK)
        rc = curl_url_set(to, CURLUPART_URL, location, CURLU_URLENCODE);
    if (rc == CURLUE_OUT_OF_MEMORY)
        f->nomem = true;
    if (rc == CURLUE_UNSUPPORTED_SCHEME ||
        (rc == CURLUE_OK && !has_scheme(to, "http") &&
         !has_scheme(to, "https")))
        return "the redirect leaves HTTP";
    if (rc != CURLUE_OK)
        return "the redirect's Location is no URL";
    if (has_scheme(from, "https") && !has_scheme(to, "https"))
        return "the redirect leads from https to http";
    return NULL;
}

static void change_method(sse__fetch *f)
{
    const char *method = sse__follow_setting(f->client, SSE_SETTING_METHOD);
    bool        post = method ? strcmp(method, "POST") == 0
                              : f->client->is_set[SSE_SETTING_BODY];

    if (f->status == 303 || (f->status <= 302 && post))
        f->plain_get = true;
}

static const char *go_to(sse__fetch *f, CURLU *from, CURLU *to,
                         const char *location)
{
    const char *wrong = resolve(f, from, to, location);
    bool        same;
    char       *text;

    if (wrong)
        return wrong;
    same = is_same_origin(from, to);
    text = NULL;
    if (set_user(to, from, same))
        curl_url_get(to, CURLUPART_URL, &text, 0);
    f->url.len = 0;
    if (!text || sse__buf_add(&f->url, text, strlen(text) + 1) < 0)
        f->nomem = true;
    curl_free(text);
    f->foreign = f->foreign || !same;
    change_method(f);
    return NULL;
}

static const char *follow(sse__fetch *f)
{
    const sse_client *c = f->client;
    uint32_t          max = c->opts.max_redirects ? c->opts.max_redirects : 20;
    size_t            len;
    const char       *location = sse__head_find(&f->head, "Location", 8, &len);
    CURLU            *from, *to;
    const char       *wrong = NULL;

    if (len == 0)
        return "the redirect has no Location";
    if (max != SSE_NEVER && f->redirects >= max)
        return "too many redirects in a row";
    f->redirects++;
    f->head.data[location - f->head.data + (ptrdiff_t)len] = '\0';
    from = curl_url();
    to = curl_url();
    if (from && to)
        wrong = go_to(f, from, to, location);
    else
        f->nomem = true;
    curl_url_cleanup(from);
    curl_url_cleanup(to);
    return wrong;
}

bool sse__answer_follow(sse__fetch *f)
{
    const char *wrong = follow(f);

    if (f->nomem)
        sse__answer_failed(f, SSE_CAUSE_NOMEM, NULL);
    else if (wrong)
        sse__answer_failed(f, SSE_CAUSE_REDIRECT, wrong);
    return !f->nomem && !wrong;
}
