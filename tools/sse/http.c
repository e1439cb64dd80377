/* SPDX-License-Identifier: MIT */
/* http.c - one request after the other over one connection, by libcurl. */
#include "http.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "interrupt.h"
#include "sse.h"

enum {
    CONNECT_MS = 10000,
    ANSWER_MS = 30000,
    GRACE_MS = 1000, /* for an answer, after a signal    */
    MAX_ANSWER_BYTES = 64 * 1024 * 1024
};

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- What libcurl calls -------------------------------------------------- */

static size_t take_answer(char *data, size_t size, size_t count, void *user)
{
    http  *h = user;
    size_t len = size * count;

    if (len > MAX_ANSWER_BYTES - h->body.len)
        return 0; /* CURLE_WRITE_ERROR */
    text_add(&h->body, data, len);
    return len;
}

static size_t give_body(char *out, size_t size, size_t count, void *user)
{
    http  *h = user;
    size_t len = h->request->body_len - h->body_sent;

    if (len > size * count)
        len = size * count;
    if (len > 0)
        memcpy(out, h->request->body + h->body_sent, len);
    h->body_sent += len;
    return len;
}

/* libcurl repeats a request by itself when a connection that was used before
 * turns out to be dead. The server may have read the body all the same, so it
 * may not. */
static int refuse_to_repeat(void *user, curl_off_t offset, int origin)
{
    const http *h = user;

    (void)origin;
    return offset == 0 && h->body_sent == 0 ? CURL_SEEKFUNC_OK
                                            : CURL_SEEKFUNC_FAIL;
}

static int give_up(void *user, curl_off_t a, curl_off_t b, curl_off_t c,
                   curl_off_t d)
{
    http *h = user;

    (void)a, (void)b, (void)c, (void)d;
    if (interrupt_signal() == 0)
        return 0;
    if (h->interrupted_ms == 0)
        h->interrupted_ms = now_ms();
    return now_ms() - h->interrupted_ms > GRACE_MS;
}

/* ---- The handle ---------------------------------------------------------- */

static const char *agent(void)
{
    static char name[32] = "sse/";

    return strncat(name, sse_version(), sizeof(name) - strlen(name) - 1);
}

void http_init(http *h)
{
    *h = (http){.easy = curl_easy_init()};
    if (h->easy == NULL)
        exit(fail("cannot start libcurl"));
    curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(h->easy, CURLOPT_USERAGENT, agent());
    curl_easy_setopt(h->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(h->easy, CURLOPT_TIMEOUT_MS, (long)ANSWER_MS);
    curl_easy_setopt(h->easy, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(h->easy, CURLOPT_WRITEDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_READFUNCTION, give_body);
    curl_easy_setopt(h->easy, CURLOPT_READDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_SEEKFUNCTION, refuse_to_repeat);
    curl_easy_setopt(h->easy, CURLOPT_SEEKDATA, h);
    curl_easy_setopt(h->easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h->easy, CURLOPT_XFERINFOFUNCTION, give_up);
    curl_easy_setopt(h->easy, CURLOPT_XFERINFODATA, h);
}

void http_free(http *h)
{
    curl_easy_cleanup(h->easy);
    curl_slist_free_all(h->headers);
    text_free(&h->body);
}

static void add_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (longer == NULL)
        exit(fail("out of memory"));
    *list = longer;
}

int http_add_header(http *h, const command *cmd, const char *header)
{
    const char *colon = strchr(header, ':');

    if (colon == NULL || colon == header || strpbrk(header, "\r\n") != NULL)
        return usage_error(cmd, "-H needs a header such as 'Name: value'");
    add_line(&h->headers, header);
    return EXIT_OK;
}

/* ---- A request ----------------------------------------------------------- */

static struct curl_slist *all_headers(const http *h, const http_request *r)
{
    struct curl_slist *list = NULL;
    text               type = {0};

    add_line(&list, "Expect:"); /* no question before a large body */
    text_add_string(&type, "Content-Type:");
    if (r->type != NULL) {
        text_add_string(&type, " ");
        text_add_string(&type, r->type);
    }
    add_line(&list, type.data);
    text_free(&type);
    for (const struct curl_slist *own = h->headers; own != NULL;
         own = own->next)
        add_line(&list, own->data);
    return list;
}

static void set_request(http *h, const http_request *r)
{
    curl_easy_setopt(h->easy, CURLOPT_URL, r->url);
    if (strcmp(r->method, "GET") == 0) {
        curl_easy_setopt(h->easy, CURLOPT_HTTPGET, 1L);
        return;
    }
    curl_easy_setopt(h->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     (curl_off_t)r->body_len);
}

static http_outcome outcome_of(http *h, CURLcode rc)
{
    long       sent = 0;
    curl_off_t retry_after = 0;

    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->status);
    curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &retry_after);
    curl_easy_getinfo(h->easy, CURLINFO_REQUEST_SIZE, &sent);
    h->retry_after_s = (long)retry_after;
    if (rc == CURLE_OK)
        return HTTP_ANSWERED;
    if (h->error[0] == '\0')
        strncat(h->error, curl_easy_strerror(rc), sizeof(h->error) - 1);
    return sent > 0 ? HTTP_UNKNOWN : HTTP_NOT_SENT;
}

http_outcome http_send(http *h, const http_request *request)
{
    struct curl_slist *headers = all_headers(h, request);
    http_outcome       outcome;

    h->request = request;
    h->body_sent = 0;
    h->status = 0;
    h->interrupted_ms = 0;
    h->error[0] = '\0';
    text_clear(&h->body);
    set_request(h, request);
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, headers);
    outcome = outcome_of(h, curl_easy_perform(h->easy));
    curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return outcome;
}

text http_sentence(const char *body, size_t len)
{
    cJSON       *answer = cJSON_ParseWithLength(body, len);
    const cJSON *message = cJSON_GetObjectItem(answer, "message");
    text         sentence = {0};

    if (cJSON_IsString(message))
        text_add_printable(&sentence, message->valuestring);
    cJSON_Delete(answer);
    return sentence;
}

int http_complain(const http *h, http_outcome outcome)
{
    text sentence;

    if (outcome != HTTP_ANSWERED)
        return fail("%s", h->error);
    sentence = http_sentence(h->body.data, h->body.len);
    if (sentence.len > 0)
        fail("the server says: %s (%ld)", sentence.data, h->status);
    else
        fail("the server answered %ld", h->status);
    text_free(&sentence);
    return EXIT_FAILED;
}
