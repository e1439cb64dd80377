/* SPDX-License-Identifier: MIT */
/* url.h - the URLs of a server's streams, made from the one that was given. */
#ifndef SSE_TOOL_URL_H
#define SSE_TOOL_URL_H

#include <curl/curl.h>

#include "command.h"

/* A stream's URL in its parts. A query is kept in every URL made from it. */
typedef struct stream_url {
    CURLU *whole;
    char  *id;         /* the last segment of the path, decoded             */
    char  *path;       /* of the stream, without a slash at its end         */
    char  *collection; /* the path without the last segment                 */
} stream_url;

/* Reads an http or https URL; without a scheme it is http. Returns NULL after
 * a complaint. curl_url_cleanup() frees it. */
CURLU *url_parse(const command *cmd, const char *arg);

/* Returns EXIT_OK, or EXIT_USAGE after a complaint. */
int  stream_url_parse(const command *cmd, const char *arg, stream_url *out);
void stream_url_free(stream_url *url);

/* The same URL with another path, or with a query added ("name=value", not
 * yet encoded); NULL leaves one as it is. curl_free() frees it. */
char *url_make(CURLU *url, const char *path, const char *query);

/* The URL of what stands below a stream: "/events", "/stop", ... */
char *stream_url_make(const stream_url *url, const char *below);

#endif
