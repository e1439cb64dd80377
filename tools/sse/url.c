/* SPDX-License-Identifier: MIT */
/* url.c - the URLs of a server's streams, made from the one that was given. */
#include "url.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

static bool is_http(CURLU *url)
{
    char *scheme = NULL;
    bool  yes;

    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        return false;
    yes = strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0;
    curl_free(scheme);
    return yes;
}

CURLU *url_parse(const command *cmd, const char *arg)
{
    CURLU    *url = curl_url();
    text      full = {0};
    CURLUcode rc;

    if (url == NULL)
        exit(fail("out of memory"));
    if (strstr(arg, "://") == NULL)
        text_add_string(&full, "http://");
    text_add_string(&full, arg);
    rc = *arg == '/' ? CURLUE_NO_HOST /* libcurl takes the next name for one */
                     : curl_url_set(url, CURLUPART_URL, full.data, 0);
    text_free(&full);
    if (rc == CURLUE_OK && is_http(url))
        return url;

    usage_error(cmd, "'%s' is no http or https URL", arg);
    curl_url_cleanup(url);
    return NULL;
}

char *url_make(CURLU *url, const char *path, const char *query)
{
    CURLU    *copy = curl_url_dup(url);
    char     *made = NULL;
    CURLUcode rc = copy == NULL ? CURLUE_OUT_OF_MEMORY : CURLUE_OK;

    if (rc == CURLUE_OK && path != NULL)
        rc = curl_url_set(copy, CURLUPART_PATH, path, 0);
    if (rc == CURLUE_OK && query != NULL)
        rc = curl_url_set(copy, CURLUPART_QUERY, query,
                          CURLU_APPENDQUERY | CURLU_URLENCODE);
    if (rc == CURLUE_OK)
        rc = curl_url_get(copy, CURLUPART_URL, &made, 0);
    if (rc != CURLUE_OK)
        exit(fail("cannot make a URL: %s", curl_url_strerror(rc)));
    curl_url_cleanup(copy);
    return made;
}

char *stream_url_make(const stream_url *url, const char *below)
{
    text  path = {0};
    char *made;

    text_add_string(&path, url->path);
    text_add_string(&path, below);
    made = url_make(url->whole, path.data, NULL);
    text_free(&path);
    return made;
}

/* Splits a path at the slash before its last segment. */
static bool split_path(stream_url *url)
{
    size_t len = strlen(url->path);
    char  *slash;

    while (len > 0 && url->path[len - 1] == '/')
        url->path[--len] = '\0';
    slash = strrchr(url->path, '/');
    if (slash == NULL)
        return false;
    url->collection = strndup(url->path, (size_t)(slash - url->path));
    url->id = curl_easy_unescape(NULL, slash + 1, 0, NULL);
    return url->collection != NULL && url->id != NULL && *url->id != '\0';
}

int stream_url_parse(const command *cmd, const char *arg, stream_url *out)
{
    *out = (stream_url){.whole = url_parse(cmd, arg)};
    if (out->whole == NULL)
        return EXIT_USAGE;
    if (curl_url_get(out->whole, CURLUPART_PATH, &out->path, 0) == CURLUE_OK &&
        split_path(out))
        return EXIT_OK;

    stream_url_free(out);
    return usage_error(cmd, "'%s' names no stream", arg);
}

void stream_url_free(stream_url *url)
{
    curl_url_cleanup(url->whole);
    curl_free(url->path);
    free(url->collection);
    curl_free(url->id);
    *url = (stream_url){0};
}
