/* SPDX-License-Identifier: MIT */
/* cat.c - `sse cat`: follows a stream to its end, whatever the network does. */
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "command.h"
#include "follow.h"
#include "sse.h"
#include "text.h"
#include "url.h"

enum { READ_BYTES = 64 * 1024, MAX_RETRY_S = 24 * 60 * 60 };

typedef struct cat {
    sse_client_options opts;
    bool               profile_given;
    const char       **headers;   /* as given; as many as argv has words    */
    const char       **end_types; /* the same                               */
    const char        *body_arg;  /* text, "@file" or "@-"                  */
    const char        *method;    /* NULL when not given, as are the others */
    const char        *last_id;
    const char        *state_path;
    size_t             header_count, end_type_count;

    sse_loop   *loop;
    sse_client *client;
    follow      follow;
} cat;

/* ---- Setting up ---------------------------------------------------------- */

static int set(cat *c, int setting, const char *value, size_t len,
               const char *what)
{
    int rc = sse_client_set(c->client, setting, value, len);

    if (rc == SSE_ERR_INVAL)
        return usage_error(&cat_command, "that is no %s", what);
    return rc < 0 ? fail("%s", sse_strerror(rc)) : EXIT_OK;
}

static int set_header(cat *c, const char *header)
{
    size_t      name_len = strcspn(header, ":");
    const char *value = header + name_len;
    size_t      len;
    int         rc = SSE_ERR_INVAL;

    if (name_len == 13 && strncasecmp(header, "Last-Event-ID", 13) == 0)
        return usage_error(&cat_command, "for Last-Event-ID there is "
                                         "--last-event-id");
    if (*value == ':') {
        value += 1 + strspn(value + 1, " \t");
        len = strlen(value);
        while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
            len--;
        rc = sse_client_set_header(c->client, header, name_len, value, len);
    }
    if (rc == SSE_ERR_INVAL)
        return usage_error(&cat_command,
                           "-H needs a header such as 'Name: value'");
    return rc < 0 ? fail("%s", sse_strerror(rc)) : EXIT_OK;
}

static int read_body(const char *arg, text *out)
{
    bool   standard = strcmp(arg, "@-") == 0;
    FILE  *file = standard ? stdin : fopen(arg + 1, "rb");
    size_t n;
    int    failed;

    if (file == NULL)
        return fail("cannot read '%s'", arg + 1);
    do {
        n = fread(text_reserve(out, READ_BYTES), 1, READ_BYTES, file);
        out->len += n;
    } while (n > 0);
    failed = ferror(file);
    if (!standard)
        fclose(file);
    return failed ? fail("cannot read '%s'", arg + 1) : EXIT_OK;
}

static int set_body(cat *c)
{
    text body = {0};
    int  rc = EXIT_OK;

    if (c->body_arg == NULL)
        return EXIT_OK;
    if (c->body_arg[0] == '@')
        rc = read_body(c->body_arg, &body);
    else
        text_add_string(&body, c->body_arg);
    if (rc == EXIT_OK)
        rc = set(c, SSE_SETTING_BODY, body.len > 0 ? body.data : "", body.len,
                 "body");
    text_free(&body);
    return rc;
}

static int set_end_types(cat *c)
{
    for (size_t i = 0; i < c->end_type_count; i++) {
        const char *type = c->end_types[i];
        int         rc = sse_client_add_end_type(c->client, type, strlen(type));

        if (rc == SSE_ERR_INVAL)
            return usage_error(&cat_command, "a type has no line end in it");
        if (rc < 0)
            return fail("%s", sse_strerror(rc));
    }
    return EXIT_OK;
}

static int set_all(cat *c)
{
    char agent[32];
    int  rc;

    snprintf(agent, sizeof(agent), "sse/%s", sse_version());
    rc = set(c, SSE_SETTING_USER_AGENT, agent, strlen(agent), "agent");
    if (rc == EXIT_OK && c->method != NULL)
        rc = set(c, SSE_SETTING_METHOD, c->method, strlen(c->method), "method");
    if (rc == EXIT_OK && c->last_id != NULL)
        rc = set(c, SSE_SETTING_CURSOR, c->last_id, strlen(c->last_id),
                 "event id");
    if (rc == EXIT_OK)
        rc = set_body(c);
    for (size_t i = 0; i < c->header_count && rc == EXIT_OK; i++)
        rc = set_header(c, c->headers[i]);
    return rc == EXIT_OK ? set_end_types(c) : rc;
}

static int make_client(cat *c, const char *arg)
{
    CURLU *parsed = url_parse(&cat_command, arg);
    char  *url;
    int    rc;

    if (parsed == NULL)
        return EXIT_USAGE;
    url = url_make(parsed, NULL, NULL);
    curl_url_cleanup(parsed);
    rc = sse_loop_new(&c->loop);
    if (rc == SSE_OK)
        rc = sse_loop_start(c->loop);
    if (rc == SSE_OK)
        rc = sse_client_new(c->loop, url, strlen(url), &c->opts, &c->client);
    curl_free(url);
    if (rc == SSE_ERR_INVAL)
        return usage_error(&cat_command, "'%s' cannot be used", arg);
    return rc < 0 ? fail("%s", sse_strerror(rc)) : EXIT_OK;
}

/* A request that is more than a question is not made again where the answer
 * would begin anew: two halves of two answers are none. */
static void choose_profile(cat *c)
{
    bool asks =
        c->method == NULL ? c->body_arg == NULL : strcmp(c->method, "GET") == 0;

    if (!c->profile_given && !asks)
        c->opts.profile = SSE_PROFILE_FINITE;
}

static int run_cat(cat *c, const char *url)
{
    int rc;

    choose_profile(c);
    rc = make_client(c, url);
    if (rc == EXIT_OK)
        rc = set_all(c);
    if (rc == EXIT_OK) {
        c->follow.client = c->client;
        c->follow.any_end = c->end_type_count > 0;
        rc = follow_run(&c->follow, c->state_path);
    }
    sse_client_free(c->client);
    sse_loop_free(c->loop);
    return rc;
}

/* ---- Options ------------------------------------------------------------- */

static int take_profile(cat *c, const char *name)
{
    static const char *const names[] = {"resilient", "strict", "finite"};

    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(names[i], name) == 0) {
            c->opts.profile = i;
            c->profile_given = true;
            return EXIT_OK;
        }
    }
    return usage_error(&cat_command,
                       "--profile is resilient, strict or finite");
}

static int take_body(cat *c, const char *arg)
{
    if (c->body_arg != NULL)
        return usage_error(&cat_command, "there is only one body");
    c->body_arg = arg;
    return EXIT_OK;
}

static int take_stall(cat *c, const char *arg)
{
    long ms = read_number(arg, INT_MAX);

    if (ms < 0)
        return usage_error(&cat_command, "--stall-ms needs milliseconds");
    c->opts.stall_ms = ms == 0 ? SSE_NEVER : (uint32_t)ms;
    return EXIT_OK;
}

static int take_retry(cat *c, const char *arg)
{
    long seconds = read_number(arg, MAX_RETRY_S);

    if (seconds < 0)
        return usage_error(&cat_command, "--retry-for needs seconds");
    c->opts.max_attempts = seconds == 0 ? 1 : SSE_NEVER;
    c->opts.budget_ms = (uint32_t)seconds * 1000;
    return EXIT_OK;
}

static int take_option(cat *c, int opt, char **argv)
{
    switch (opt) {
    case 'H': c->headers[c->header_count++] = optarg; return EXIT_OK;
    case 'u': c->end_types[c->end_type_count++] = optarg; return EXIT_OK;
    case 'X': c->method = optarg; return EXIT_OK;
    case 'd': return take_body(c, optarg);
    case 'i': c->last_id = optarg; return EXIT_OK;
    case 's': c->state_path = optarg; return EXIT_OK;
    case 'j': c->follow.json = true; return EXIT_OK;
    case 'l': c->opts.flags |= SSE_CLIENT_POLL; return EXIT_OK;
    case 'p': return take_profile(c, optarg);
    case 't': return take_stall(c, optarg);
    case 'r': return take_retry(c, optarg);
    default: return other_option(&cat_command, opt, argv);
    }
}

static int read_options(cat *c, int argc, char **argv)
{
    static const struct option options[] = {
        {"header", required_argument, NULL, 'H'},
        {"request", required_argument, NULL, 'X'},
        {"data", required_argument, NULL, 'd'},
        {"json", no_argument, NULL, 'j'},
        {"state", required_argument, NULL, 's'},
        {"last-event-id", required_argument, NULL, 'i'},
        {"profile", required_argument, NULL, 'p'},
        {"until", required_argument, NULL, 'u'},
        {"stall-ms", required_argument, NULL, 't'},
        {"retry-for", required_argument, NULL, 'r'},
        {"poll", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *arg;
    int         opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":hH:X:d:", options, NULL)) != -1) {
        int rc = take_option(c, opt, argv);

        if (rc != EXIT_OK || opt == 'h')
            return rc;
    }
    arg = only_operand(&cat_command, argc, argv);
    return arg == NULL ? EXIT_USAGE : run_cat(c, arg);
}

static int run(int argc, char **argv)
{
    static cat c;
    int        rc;

    c.opts.size = sizeof(c.opts);
    c.headers = calloc((size_t)argc, sizeof(*c.headers));
    c.end_types = calloc((size_t)argc, sizeof(*c.end_types));
    if (c.headers == NULL || c.end_types == NULL)
        exit(fail("out of memory"));
    rc = read_options(&c, argc, argv);
    free(c.headers);
    free(c.end_types);
    return rc;
}

const command cat_command = {
    .name = "cat",
    .summary = "follow a stream to its end and print its events",
    .usage =
        "Usage: sse cat [OPTION]... URL\n"
        "\n"
        "Follows the event stream at URL to its end and prints the data of each\n"
        "event and a line end. When the connection is lost it comes back and\n"
        "goes on where it was: no event twice, and what is missing is told.\n"
        "\n"
        "  -H, --header 'NAME: VALUE'  send this header too\n"
        "  -X, --request METHOD        GET, or POST with -d\n"
        "  -d, --data BODY             send this; @FILE a file, @- standard\n"
        "                              input\n"
        "      --json                  print {\"type\",\"data\",\"lastEventId\"}\n"
        "                              for events, {\"gap\":{...}} for gaps\n"
        "      --state FILE            go on where the last run with FILE ended\n"
        "      --last-event-id ID      begin behind this event\n"
        "      --until TYPE            an event of this type is the end\n"
        "      --profile P             resilient, strict (as EventSource) or\n"
        "                              finite (a complete answer is the end)\n"
        "      --stall-ms N            silence that means a dead connection;\n"
        "                              30000 by default, 0 for never\n"
        "      --retry-for SECONDS     how long to try again; 10 times by\n"
        "                              default\n"
        "      --poll                  long poll where nothing streams\n"
        "  -h, --help                  this text\n"
        "\n"
        "Exit status: 0 the stream has ended, 1 it could not be followed, 2\n"
        "called wrongly, 3 it ended as failed or cancelled, 130 SIGINT, 143\n"
        "SIGTERM.\n",
    .run = run,
};
