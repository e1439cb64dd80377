/* SPDX-License-Identifier: MIT */
/* callback.c - sends numbered POSTs to one URL, over one connection as long as
 * the other side keeps it. */
#include "callback.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

#define ATTEMPTS 4
#define PAUSE_US 100000 /* times two with each attempt */
#define CONNECT_MS 3000L
#define ANSWER_MS 30000L

struct callback {
    CURL              *curl;
    struct curl_slist *headers;
    const atomic_bool *gone;
    text               url;      /* of the last one sent                    */
    size_t             base_len; /* what all of them begin with             */
    int64_t            count;    /* sent and answered                       */
};

static size_t drop_body(char *data, size_t size, size_t count, void *user)
{
    (void)data;
    (void)user;
    return size * count;
}

static int check_gone(void *user, curl_off_t a, curl_off_t b, curl_off_t c,
                      curl_off_t d)
{
    const callback *self = user;

    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(self->gone);
}

static void set_options(callback *c)
{
    CURL *curl = c->curl;

    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_body);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, check_gone);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, c);
}

callback *callback_new(const char *url, const atomic_bool *gone)
{
    callback *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->gone = gone;
    c->base_len = strlen(url);
    while (c->base_len > 0 && url[c->base_len - 1] == '/')
        c->base_len--;
    text_add(&c->url, url, c->base_len);
    c->curl = curl_easy_init();
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    /* No "100 Continue" before large events. */
    if (!c->curl || !c->headers || !curl_slist_append(c->headers, "Expect:")) {
        callback_free(c);
        return NULL;
    }
    set_options(c);
    return c;
}

void callback_free(callback *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    text_free(&c->url);
    free(c);
}

static bool attempt(callback *c)
{
    long status = 0;

    if (curl_easy_perform(c->curl) != CURLE_OK)
        return false;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300;
}

int callback_send(callback *c, const char *body, size_t len)
{
    useconds_t pause = PAUSE_US;

    c->url.len = c->base_len;
    text_add_str(&c->url, "/");
    text_add_number(&c->url, c->count + 1);
    curl_easy_setopt(c->curl, CURLOPT_URL, c->url.data);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    for (int left = ATTEMPTS; !attempt(c); pause *= 2) {
        if (--left == 0 || atomic_load(c->gone))
            return -1;
        usleep(pause);
    }
    c->count++;
    return 0;
}
