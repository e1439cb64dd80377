/* SPDX-License-Identifier: MIT */
/* parse.c - `sse parse`: an event stream in, a JSON object a line out. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "sse.h"
#include "text.h"

enum {
    INPUT_BYTES = 256 * 1024, /* of one read                                */
    OUTPUT_BYTES = 64 * 1024  /* written as soon as there are so many       */
};

typedef struct parse {
    size_t      chunk; /* bytes fed at a time                               */
    uint32_t    flags; /* SSE_PARSER_*                                      */
    const char *id;    /* NULL: none given                                  */
    sse_parser *parser;
    text        out; /* printed and not yet written                         */
} parse;

/* ---- Output -------------------------------------------------------------- */

static void print_item(text *out, const sse_item *item)
{
    char retry[64];

    switch (item->kind) {
    case SSE_ITEM_EVENT: text_add_event(out, item); break;
    case SSE_ITEM_COMMENT:
        text_add_string(out, "{\"comment\":");
        text_add_json(out, item->data, item->data_len);
        text_add_string(out, "}\n");
        break;
    case SSE_ITEM_RETRY:
        snprintf(retry, sizeof(retry), "{\"retry\":%lld}\n",
                 (long long)item->retry_ms);
        text_add_string(out, retry);
        break;
    }
}

/* ---- Input --------------------------------------------------------------- */

/* What came before the error is right, and is printed. */
static int parser_error(parse *p, int err)
{
    int rc = text_write(&p->out);

    if (rc != EXIT_OK)
        return rc;
    if (err == SSE_ERR_TOO_BIG)
        return fail("a line or an event of the stream is longer than 16 MiB");
    return fail("%s", sse_strerror(err));
}

static int parse_bytes(parse *p, const char *data, size_t len)
{
    const sse_item *item;
    int             rc = sse_parser_feed(p->parser, data, len);

    while (rc >= 0 && (rc = sse_parser_next(p->parser, &item)) > 0) {
        print_item(&p->out, item);
        if (p->out.len >= OUTPUT_BYTES && text_write(&p->out) != EXIT_OK)
            return EXIT_FAILED;
    }
    return rc < 0 ? parser_error(p, rc) : EXIT_OK;
}

static int parse_input(parse *p)
{
    static char in[INPUT_BYTES];
    ssize_t     got;
    int         rc = EXIT_OK;

    while (rc == EXIT_OK && (got = read(STDIN_FILENO, in, sizeof(in))) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail("cannot read: %s", strerror(errno));
        for (size_t at = 0; at < (size_t)got && rc == EXIT_OK; at += p->chunk) {
            size_t left = (size_t)got - at;
            rc = parse_bytes(p, in + at, left < p->chunk ? left : p->chunk);
        }
        if (rc == EXIT_OK)
            rc = text_write(&p->out); /* the next read may wait for long */
    }
    return rc;
}

static int run_parser(parse *p)
{
    sse_parser_options opts = {.size = sizeof(opts), .flags = p->flags};
    int                rc = sse_parser_new(&opts, &p->parser);

    if (rc == SSE_OK && p->id != NULL)
        rc = sse_parser_reset(p->parser, p->id, strlen(p->id));
    if (rc == SSE_ERR_INVAL || rc == SSE_ERR_UTF8)
        rc = usage_error(&parse_command, "an event id has no line end in it "
                                         "and is UTF-8");
    else if (rc < 0)
        rc = fail("%s", sse_strerror(rc));
    else
        rc = parse_input(p);

    sse_parser_free(p->parser);
    text_free(&p->out);
    return rc;
}

static int run(int argc, char **argv)
{
    static const struct option options[] = {
        {"chunk", required_argument, NULL, 'n'},
        {"comments", no_argument, NULL, 'c'},
        {"retry", no_argument, NULL, 'r'},
        {"last-event-id", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    parse p = {.chunk = INPUT_BYTES};
    long  chunk;
    int   opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (opt) {
        case 'n':
            chunk = read_number(optarg, INT_MAX);
            if (chunk < 1)
                return usage_error(&parse_command,
                                   "--chunk needs a number of 1 or more");
            p.chunk = (size_t)chunk;
            break;
        case 'c': p.flags |= SSE_PARSER_COMMENTS; break;
        case 'r': p.flags |= SSE_PARSER_RETRY; break;
        case 'i': p.id = optarg; break;
        default: return other_option(&parse_command, opt, argv);
        }
    }
    if (optind < argc)
        return usage_error(&parse_command, "unexpected operand '%s'",
                           argv[optind]);
    return run_parser(&p);
}

const command parse_command = {
    .name = "parse",
    .summary = "print an event stream as JSON, one object a line",
    .usage =
        "Usage: sse parse [OPTION]...\n"
        "\n"
        "Reads an event stream on standard input, such as curl -N prints it,\n"
        "and prints one JSON object a line for each event:\n"
        "  {\"type\":\"message\",\"data\":\"Hello\",\"lastEventId\":\"1\"}\n"
        "What is unfinished at the end of input is not printed.\n"
        "\n"
        "      --comments          print {\"comment\":\"...\"} for comments\n"
        "      --retry             print {\"retry\":ms} for retry fields\n"
        "      --last-event-id ID  the last event id before the first event\n"
        "      --chunk N           feed the parser N bytes at a time\n"
        "  -h, --help              this text\n",
    .run = run,
};
