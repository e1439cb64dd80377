/* SPDX-License-Identifier: MIT */
/* stop.c - `sse stop`: asks a stream to stop. */
#include <getopt.h>
#include <stddef.h>

#include "command.h"
#include "http.h"
#include "store.h"
#include "url.h"

static int ask(http *h, const char *arg)
{
    stream_url   url;
    http_request request = {.method = "POST"};
    http_outcome outcome;
    char        *full;

    if (stream_url_parse(&stop_command, arg, &url) != EXIT_OK)
        return EXIT_USAGE;
    request.url = full = stream_url_make(&url, "/stop");
    outcome = http_send(h, &request);
    curl_free(full);
    stream_url_free(&url);
    if (outcome == HTTP_ANSWERED && h->status / 100 == 2)
        return EXIT_OK;
    return http_complain(h, outcome);
}

static int read_options(http *h, int argc, char **argv)
{
    static const struct option options[] = {
        {"header", required_argument, NULL, 'H'},
        {"store", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *arg, *store = NULL;
    int         opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":hH:", options, NULL)) != -1) {
        if (opt == 's') {
            store = optarg;
            continue;
        }
        if (opt != 'H')
            return other_option(&stop_command, opt, argv);
        if (http_add_header(h, &stop_command, optarg) != EXIT_OK)
            return EXIT_USAGE;
    }
    arg = only_operand(&stop_command, argc, argv);
    if (arg == NULL)
        return EXIT_USAGE;
    return store != NULL ? store_stop(store, arg) : ask(h, arg);
}

static int run(int argc, char **argv)
{
    http h;
    int  rc;

    http_init(&h);
    rc = read_options(&h, argc, argv);
    http_free(&h);
    return rc;
}

const command stop_command = {
    .name = "stop",
    .summary = "ask a stream to stop",
    .usage = "Usage: sse stop [OPTION]... URL\n"
             "\n"
             "Asks the producer of a stream to stop. URL is the stream's:\n"
             "http://HOST:PORT/api/stream/ID, or with --store its id. It does\n"
             "not wait for the end.\n"
             "\n"
             "      --store URL             ask the store, redis://HOST:PORT\n"
             "  -H, --header 'NAME: VALUE'  send this header too\n"
             "  -h, --help                  this text\n",
    .run = run,
};
