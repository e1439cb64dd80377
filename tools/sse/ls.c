/* SPDX-License-Identifier: MIT */
/* ls.c - `sse ls`: the streams of a server, as a table or as JSON. */
#include <cjson/cJSON.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "http.h"
#include "store.h"
#include "text.h"
#include "url.h"

#define DEFAULT_PATH "/api/stream"

typedef struct listing {
    http        http;
    const char *user;  /* NULL: everybody                                   */
    const char *store; /* NULL: ask a server                                */
    bool        json;
} listing;

/* ---- The table ----------------------------------------------------------- */

typedef struct column {
    const char *title;
    const char *member; /* of the stream's object                           */
    bool        time;   /* "2026-01-31T09:30:00.000Z", shown to the second  */
} column;

static const column columns[] = {
    {"STREAM", "streamId", false},
    {"STATE", "state", false},
    {"TYPE", "streamType", false},
    {"USER", "userId", false},
    {"STARTED (UTC)", "startedAt", true},
    {"LAST EVENT (UTC)", "lastHeartbeat", true},
};

enum { COLUMN_COUNT = sizeof(columns) / sizeof(columns[0]), TIME_LEN = 19 };

/* Puts one cell into `out`, which is emptied before. */
static void make_cell(text *out, const cJSON *stream, const column *col)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(stream, col->member);
    const char  *string = cJSON_GetStringValue(value);

    text_clear(out);
    text_add_printable(out, string != NULL && *string ? string : "-");
    if (col->time && out->len > TIME_LEN && out->data[10] == 'T') {
        out->data[10] = ' ';
        out->data[out->len = TIME_LEN] = '\0';
    }
}

/* Characters of UTF-8 text: each takes one column, near enough. */
static size_t width_of(const char *string)
{
    size_t width = 0;

    for (; *string != '\0'; string++)
        width += ((unsigned char)*string & 0xc0) != 0x80;
    return width;
}

static void print_cell(const char *cell, size_t width, bool last)
{
    size_t pad = last ? 0 : width + 2 - width_of(cell);

    printf("%s%*s%s", cell, (int)pad, "", last ? "\n" : "");
}

static void print_table(const cJSON *streams)
{
    const cJSON *stream;
    size_t       widths[COLUMN_COUNT];
    text         cell = {0};

    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        widths[i] = width_of(columns[i].title);
        cJSON_ArrayForEach(stream, streams)
        {
            make_cell(&cell, stream, &columns[i]);
            if (widths[i] < width_of(cell.data))
                widths[i] = width_of(cell.data);
        }
    }
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        print_cell(columns[i].title, widths[i], i + 1 == COLUMN_COUNT);
    cJSON_ArrayForEach(stream, streams)
    {
        for (size_t i = 0; i < COLUMN_COUNT; i++) {
            make_cell(&cell, stream, &columns[i]);
            print_cell(cell.data, widths[i], i + 1 == COLUMN_COUNT);
        }
    }
    text_free(&cell);
}

/* ---- JSON ---------------------------------------------------------------- */

/* Each object is printed byte for byte as it came, since cJSON would round its
 * numbers and lose U+0000. These walk a text that cJSON has found right, with a
 * NUL at `end`. */

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *skip_value(const char *at, const char *end)
{
    const char *behind = end;

    cJSON_Delete(cJSON_ParseWithLengthOpts(at, (size_t)(end - at), &behind, 0));
    return behind;
}

/* The first element of the top object's member "streams". */
static const char *first_stream(const char *json, const char *end)
{
    static const char key[] = "\"streams\"";
    const char       *at = skip_space(json) + 1;

    while (at < end) {
        bool found;

        at = skip_space(at);
        found = strncmp(at, key, sizeof(key) - 1) == 0;
        at = skip_space(skip_value(at, end)) + 1; /* the colon */
        at = skip_space(at);
        if (found)
            return skip_space(at + 1);
        at = skip_space(skip_value(at, end)) + 1; /* the comma */
    }
    return end;
}

/* A line end between two tokens is white space; in a string there is none. */
static void print_line(const char *from, const char *to)
{
    for (; from < to; from++)
        if (*from != '\n' && *from != '\r')
            putchar(*from);
    putchar('\n');
}

static void print_json(const char *json, const char *end)
{
    const char *at = first_stream(json, end);

    while (*at == '{') {
        const char *behind = skip_value(at, end);

        print_line(at, behind);
        at = skip_space(behind);
        if (*at == ',')
            at = skip_space(at + 1);
    }
}

/* ---- The command --------------------------------------------------------- */

static int print_answer(const listing *l)
{
    const text *body = &l->http.body;
    cJSON      *answer = cJSON_ParseWithLength(body->data, body->len);
    cJSON      *streams = cJSON_GetObjectItemCaseSensitive(answer, "streams");
    int         rc = EXIT_OK;

    if (!cJSON_IsArray(streams))
        rc = fail("the server's answer is no list of streams");
    else if (l->json)
        print_json(body->data, body->data + body->len);
    else
        print_table(streams);
    cJSON_Delete(answer);
    return rc;
}

/* The URL of the collection; NULL after a complaint. */
static char *make_url(const listing *l, const char *arg)
{
    CURLU *base = url_parse(&ls_command, arg);
    text   query = {0};
    char  *path = NULL;
    char  *made;

    if (base == NULL)
        return NULL;
    if (l->user != NULL) {
        text_add_string(&query, "userId=");
        text_add_string(&query, l->user);
    }
    curl_url_get(base, CURLUPART_PATH, &path, 0);
    made = url_make(base, strcmp(path, "/") == 0 ? DEFAULT_PATH : NULL,
                    query.data);
    curl_free(path);
    text_free(&query);
    curl_url_cleanup(base);
    return made;
}

static int list(listing *l, const char *arg)
{
    char        *url = make_url(l, arg);
    http_request request = {.method = "GET", .url = url};
    http_outcome outcome;

    if (url == NULL)
        return EXIT_USAGE;
    outcome = http_send(&l->http, &request);
    curl_free(url);
    if (outcome == HTTP_ANSWERED && l->http.status == 200)
        return print_answer(l);
    return http_complain(&l->http, outcome);
}

static int list_store(listing *l)
{
    int rc = store_list(l->store, l->user, &l->http.body);

    return rc == EXIT_OK ? print_answer(l) : rc;
}

static int read_options(listing *l, int argc, char **argv)
{
    static const struct option options[] = {
        {"user", required_argument, NULL, 'u'},
        {"store", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"header", required_argument, NULL, 'H'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *arg;
    int         opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":hH:", options, NULL)) != -1) {
        switch (opt) {
        case 'u': l->user = optarg; break;
        case 's': l->store = optarg; break;
        case 'j': l->json = true; break;
        case 'H':
            if (http_add_header(&l->http, &ls_command, optarg) != EXIT_OK)
                return EXIT_USAGE;
            break;
        default: return other_option(&ls_command, opt, argv);
        }
    }
    if (l->store != NULL)
        return optind < argc
                   ? usage_error(&ls_command, "--store takes no URL beside it")
                   : list_store(l);
    arg = only_operand(&ls_command, argc, argv);
    return arg == NULL ? EXIT_USAGE : list(l, arg);
}

static int run(int argc, char **argv)
{
    listing l = {0};
    int     rc;

    http_init(&l.http);
    rc = read_options(&l, argc, argv);
    http_free(&l.http);
    return rc;
}

const command ls_command = {
    .name = "ls",
    .summary = "list the streams of a server",
    .usage =
        "Usage: sse ls [OPTION]... URL\n"
        "       sse ls [OPTION]... --store URL\n"
        "\n"
        "Lists the streams of a server, the newest first. URL is the server's\n"
        "or that of its streams: http://HOST:PORT/api/stream.\n"
        "\n"
        "      --store URL             ask the store, redis://HOST:PORT: the\n"
        "                              streams that run, or those of --user\n"
        "      --user U                only the streams of this user\n"
        "      --json                  one JSON object a line, as the server\n"
        "                              sent it\n"
        "  -H, --header 'NAME: VALUE'  send this header too\n"
        "  -h, --help                  this text\n",
    .run = run,
};
