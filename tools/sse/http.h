/* SPDX-License-Identifier: MIT */
/* http.h - one request after the other over one connection, by libcurl. */
#ifndef SSE_TOOL_HTTP_H
#define SSE_TOOL_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command.h"
#include "text.h"

/* What is known of a request afterwards. */
typedef enum http_outcome {
    HTTP_ANSWERED, /* `status` and `body` are the answer                    */
    HTTP_NOT_SENT, /* no byte of it left: it was not applied                */
    HTTP_UNKNOWN   /* the connection broke: it may have been applied        */
} http_outcome;

typedef struct http_request {
    const char *method; /* "GET" or "POST"                                  */
    const char *url;
    const char *type;   /* of the body; NULL: there is none                 */
    const char *body;
    size_t      body_len;
} http_request;

typedef struct http {
    CURL              *easy;
    struct curl_slist *headers; /* what -H gave                             */

    /* The answer to the last request. */
    long status;
    long retry_after_s;           /* 0 when it had none                     */
    text body;
    char error[CURL_ERROR_SIZE]; /* why there is none                       */

    /* The request under way. */
    const http_request *request;
    size_t              body_sent;      /* bytes of it that libcurl took    */
    int64_t             interrupted_ms; /* when a signal was seen, 0 before */
} http;

void http_init(http *h);
void http_free(http *h);

/* Takes the value of -H. Returns EXIT_OK, or EXIT_USAGE after a complaint. */
int http_add_header(http *h, const command *cmd, const char *header);

/* Sends, and waits for the answer. It is never sent twice, whatever happens to
 * a connection that was used before. */
http_outcome http_send(http *h, const http_request *request);

/* Prints why the last request failed: the server's sentence, or the network's
 * error. Returns EXIT_FAILED. */
int http_complain(const http *h, http_outcome outcome);

/* The sentence of {"error":"code","message":"sentence"}; empty when the answer
 * is none of ours. text_free() frees it. */
text http_sentence(const char *body, size_t len);

int64_t now_ms(void); /* of a clock that is never set */

#endif
