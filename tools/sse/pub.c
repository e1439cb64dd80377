/* SPDX-License-Identifier: MIT */
/* pub.c - `sse pub`: standard input into a stream, an event a line. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "interrupt.h"
#include "text.h"
#include "writer.h"

/* A batch is far smaller than a stream's log, so that it pushes no reader that
 * keeps up off the log's tail. */
enum {
    READ_BYTES = 64 * 1024,
    BATCH_LINES = 500,
    BATCH_BYTES = 256 * 1024, /* unless one line has more         */
    MAX_LINE_BYTES = 16 * 1024 * 1024,
    MAX_RETRY_S = 24 * 60 * 60
};

typedef struct pub {
    writer      writer;
    const char *type;   /* NULL: message                                    */
    text        prefix; /* what stands before the data of each event        */

    text   in;      /* read, and not yet sent                               */
    size_t scanned; /* no line ends before this, from `sent` on             */
    size_t sent;    /* up to here the lines in `in` are done                */
    bool   ended;   /* there is no more input                               */

    /* The batch: line i ends before the LF at ends[i]. */
    size_t ends[BATCH_LINES];
    size_t count;
    text   body;

    uint64_t event_count; /* in the stream                                  */
} pub;

/* ---- Input --------------------------------------------------------------- */

static void drop_sent(pub *p)
{
    memmove(p->in.data, p->in.data + p->sent, p->in.len - p->sent);
    p->in.len -= p->sent;
    p->scanned -= p->sent;
    p->sent = 0;
}

/* Waits for more input and takes it. */
static writer_result read_more(pub *p)
{
    char   *end = text_reserve(&p->in, READ_BYTES);
    ssize_t n;

    if (interrupt_wait(STDIN_FILENO, -1) < 0)
        return WRITER_INTERRUPTED;
    n = read(STDIN_FILENO, end, READ_BYTES);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return WRITER_OK;
    if (n < 0) {
        fail("cannot read: %s", strerror(errno));
        return WRITER_REFUSED;
    }
    p->in.len += (size_t)n;
    p->ended = n == 0;
    if (p->ended && p->in.len > 0) /* the last line needs no end */
        text_add(&p->in, "\n", 1);
    return WRITER_OK;
}

/* Collects the lines that wait, as many as fit. Returns false when none is
 * whole. */
static bool collect(pub *p)
{
    p->count = 0;
    while (p->count < BATCH_LINES && p->scanned < p->in.len &&
           (p->count == 0 || p->scanned - p->sent < BATCH_BYTES)) {
        const char *lf =
            memchr(p->in.data + p->scanned, '\n', p->in.len - p->scanned);
        if (lf == NULL)
            break;
        p->ends[p->count] = (size_t)(lf - p->in.data);
        p->scanned = p->ends[p->count++] + 1;
    }
    return p->count > 0;
}

/* ---- Output -------------------------------------------------------------- */

static void add_event(pub *p, size_t from, size_t to)
{
    text clean = {0};

    if (to > from && p->in.data[to - 1] == '\r')
        to--;
    text_add_utf8(&clean, p->in.data + from, to - from);
    text_add(&p->body, p->prefix.data, p->prefix.len);
    text_add_json(&p->body, clean.data, clean.len);
    text_add_string(&p->body, "}\n");
    text_free(&clean);
}

/* Sends lines `first` to `last` of the batch. The server takes all of them or
 * none; when they are too much for it, the halves may not be. */
static writer_result send_lines(pub *p, size_t first, size_t last)
{
    size_t        from = first == 0 ? p->sent : p->ends[first - 1] + 1;
    size_t        middle = first + (last - first) / 2;
    writer_result result;

    text_clear(&p->body);
    for (size_t i = first; i <= last; i++) {
        add_event(p, from, p->ends[i]);
        from = p->ends[i] + 1;
    }
    result = writer_append(&p->writer, &p->body);
    if (result == WRITER_OK) {
        p->event_count += last - first + 1;
    } else if (result == WRITER_TOO_LARGE && first < last) {
        result = send_lines(p, first, middle);
        if (result == WRITER_OK)
            result = send_lines(p, middle + 1, last);
    } else if (result == WRITER_TOO_LARGE) {
        fail("line %" PRIu64 " is longer than the server allows",
             p->event_count + 1);
        result = WRITER_REFUSED;
    }
    return result;
}

static writer_result send_collected(pub *p)
{
    writer_result result = send_lines(p, 0, p->count - 1);

    p->sent = p->ends[p->count - 1] + 1;
    if (result == WRITER_OK && p->writer.verbose)
        fprintf(stderr, "sse: %" PRIu64 " events, the last is %s\n",
                p->event_count, p->writer.last_id.data);
    return result;
}

/* ---- The command --------------------------------------------------------- */

static writer_result publish(pub *p)
{
    writer_result result = writer_create(&p->writer);

    while (result == WRITER_OK && !p->ended) {
        result = read_more(p);
        while (result == WRITER_OK && collect(p)) {
            result = send_collected(p);
            if (interrupt_signal() != 0)
                result = WRITER_INTERRUPTED;
        }
        drop_sent(p);
        p->scanned = p->in.len;
        if (result == WRITER_OK && p->in.len > MAX_LINE_BYTES) {
            fail("line %" PRIu64 " is longer than 16 MiB", p->event_count + 1);
            result = WRITER_REFUSED;
        }
    }
    return result == WRITER_OK ? writer_complete(&p->writer) : result;
}

/* A stream that nobody will write any more is ended, so that its readers know:
 * they would wait for ever otherwise. */
static int run_pub(pub *p)
{
    interrupt_catch();
    switch (publish(p)) {
    case WRITER_OK:
        if (p->writer.verbose)
            fprintf(stderr, "sse: completed\n");
        return EXIT_OK;
    case WRITER_INTERRUPTED:
        writer_fail(&p->writer, "interrupted");
        return 128 + interrupt_signal();
    case WRITER_TOO_LARGE:
        http_complain(&p->writer.http, HTTP_ANSWERED);
        return EXIT_FAILED;
    case WRITER_REFUSED: writer_fail(&p->writer, "error"); return EXIT_FAILED;
    case WRITER_FAILED: break;
    }
    return EXIT_FAILED;
}

static void make_prefix(pub *p)
{
    text clean = {0};

    text_add_string(&p->prefix, "{");
    if (p->type != NULL && *p->type != '\0') {
        text_add_utf8(&clean, p->type, strlen(p->type));
        text_add_string(&p->prefix, "\"type\":");
        text_add_json(&p->prefix, clean.data, clean.len);
        text_add_string(&p->prefix, ",");
        text_free(&clean);
    }
    text_add_string(&p->prefix, "\"data\":");
}

static int take_option(pub *p, int opt, char **argv)
{
    long seconds;

    switch (opt) {
    case 't':
        if (strpbrk(optarg, "\r\n") != NULL)
            return usage_error(&pub_command, "a type has no line end in it");
        p->type = optarg;
        return EXIT_OK;
    case 'r':
        seconds = read_number(optarg, MAX_RETRY_S);
        if (seconds < 0)
            return usage_error(&pub_command, "--retry-for needs seconds");
        p->writer.retry_ms = seconds * 1000;
        return EXIT_OK;
    case 'v': p->writer.verbose = true; return EXIT_OK;
    case 'H': return http_add_header(&p->writer.http, &pub_command, optarg);
    default: return other_option(&pub_command, opt, argv);
    }
}

static int read_options(pub *p, int argc, char **argv)
{
    static const struct option options[] = {
        {"type", required_argument, NULL, 't'},
        {"retry-for", required_argument, NULL, 'r'},
        {"verbose", no_argument, NULL, 'v'},
        {"header", required_argument, NULL, 'H'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *arg;
    int         opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":hvH:", options, NULL)) != -1) {
        int rc = take_option(p, opt, argv);

        if (rc != EXIT_OK || opt == 'h')
            return rc;
    }
    arg = only_operand(&pub_command, argc, argv);
    if (arg == NULL ||
        stream_url_parse(&pub_command, arg, &p->writer.url) != EXIT_OK)
        return EXIT_USAGE;
    make_prefix(p);
    return run_pub(p);
}

static int run(int argc, char **argv)
{
    static pub p;
    int        rc;

    writer_init(&p.writer);
    rc = read_options(&p, argc, argv);
    writer_free(&p.writer);
    text_free(&p.prefix);
    text_free(&p.in);
    text_free(&p.body);
    return rc;
}

const command pub_command = {
    .name = "pub",
    .summary = "append standard input to a stream, an event a line",
    .usage =
        "Usage: sse pub [OPTION]... URL\n"
        "\n"
        "Appends standard input to a stream, a line an event, as it comes,\n"
        "and completes the stream at the end of input. URL is the stream's:\n"
        "http://HOST:PORT/api/stream/ID; it is created where there is none.\n"
        "\n"
        "      --type T                type of the events; message by default\n"
        "      --retry-for SECONDS     how long to try again when the server\n"
        "                              is away or busy; 30 by default\n"
        "  -H, --header 'NAME: VALUE'  send this header too\n"
        "  -v, --verbose               say what is done\n"
        "  -h, --help                  this text\n",
    .run = run,
};
