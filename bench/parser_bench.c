/* SPDX-License-Identifier: MIT */
/* Measures the event stream parser, in MB/s, beside a memcpy of the same bytes
 * and a scan of them for line ends. Rounds are interleaved and the median of
 * each is shown, so that a noisy machine slows all three alike.
 *
 * Exit status: 0; 1 when the parser found other events than were written; 2
 * when it could not run. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sse.h"

enum {
    ROUNDS = 11,
    INPUT_BYTES = 4 << 20,
    SMALL_FEED = 1400, /* what a packet brings */
    LARGE_FEED = 64 << 10,
    LARGE_EVENT = 64 << 10,
};

#define ROUND_SECONDS 0.02
#define MIB ((size_t)1 << 20)

typedef struct input {
    const char *name;
    char       *text;
    size_t      len;
    size_t      count;    /* events                                         */
    size_t      data_len; /* of all of them                                 */
} input;

static void die(const char *why)
{
    fprintf(stderr, "parser_bench: %s\n", why);
    exit(2);
}

static void wrong(const char *name, const char *why)
{
    fprintf(stderr, "parser_bench: %s: %s\n", name, why);
    exit(1);
}

static void *must_alloc(size_t size)
{
    void *ptr = malloc(size);

    if (!ptr)
        die("out of memory");
    return ptr;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- Inputs, the same in parser_peer.mjs ---------------------------------- */

static void add_event(input *in, const char *head, const char *data)
{
    in->len +=
        (size_t)sprintf(in->text + in->len, "%sdata: %s\n\n", head, data);
    in->data_len += strlen(data);
    in->count++;
}

/* The tokens of a language model, and nothing but. */
static void fill_tok(input *in)
{
    while (in->len < INPUT_BYTES)
        add_event(in, "", "{\"c\":\"tok\"}");
}

/* Tokens in the wrapping that OpenAI's interface gives them. */
static void fill_oai(input *in)
{
    char head[64];

    while (in->len < INPUT_BYTES) {
        sprintf(head, "id: %08zu\nevent: completion\n", in->count + 1);
        add_event(
            in, head,
            "{\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk"
            "\",\"created\":1694268190,\"model\":\"gpt-4o\",\"choices\":"
            "[{\"index\":0,\"delta\":{\"content\":\" streaming words\"}}]}");
    }
}

static void fill_one(input *in, size_t data_len)
{
    char *data = must_alloc(data_len + 1);

    for (size_t i = 0; i < data_len; i++)
        data[i] = (char)('a' + i % 26);
    data[data_len] = '\0';
    add_event(in, "", data);
    free(data);
}

static void fill_large(input *in)
{
    while (in->len < INPUT_BYTES)
        fill_one(in, LARGE_EVENT);
}

static input new_input(const char *name, size_t room)
{
    return (input){.name = name, .text = must_alloc(room)};
}

/* ---- What is measured: each goes over the input once ---------------------- */

static char   copy[LARGE_FEED];
static size_t sink; /* keeps the compiler from leaving work out */

static void copy_input(const input *in, size_t feed)
{
    for (size_t at = 0; at < in->len; at += feed) {
        size_t len = in->len - at < feed ? in->len - at : feed;

        memcpy(copy, in->text + at, len);
        sink += (unsigned char)copy[len / 2];
    }
}

static void scan_input(const input *in, size_t feed)
{
    for (size_t at = 0; at < in->len; at += feed) {
        const char *from = in->text + at;
        const char *end = from + (in->len - at < feed ? in->len - at : feed);

        while ((from = memchr(from, '\n', (size_t)(end - from)))) {
            from++;
            sink++;
        }
    }
}

static sse_parser *parser;

static void parse_input(const input *in, size_t feed)
{
    size_t          count = 0, data_len = 0;
    const sse_item *item;
    int             rc = 0;

    for (size_t at = 0; at < in->len && rc == 0; at += feed) {
        size_t len = in->len - at < feed ? in->len - at : feed;

        rc = sse_parser_feed(parser, in->text + at, len);
        while (rc == 0 && (rc = sse_parser_next(parser, &item)) > 0) {
            count++;
            data_len += item->data_len;
            rc = 0;
        }
    }
    if (rc < 0)
        wrong(in->name, sse_strerror(rc));
    if (count != in->count || data_len != in->data_len)
        wrong(in->name, "not the events that were written");
}

static sse_parser *new_parser(void)
{
    sse_parser_options opts = {
        .size = sizeof(opts),
        .max_line_bytes = 64 * MIB,
        .max_event_bytes = 64 * MIB,
    };
    sse_parser *p;

    if (sse_parser_new(&opts, &p) < 0)
        die("out of memory");
    return p;
}

static void parse_with_new_parser(const input *in, size_t feed)
{
    sse_parser_free(parser);
    parser = new_parser();
    parse_input(in, feed);
}

static char *kept; /* as large as the input, for the next job             */

static void copy_to_kept_memory(const input *in, size_t feed)
{
    for (size_t at = 0; at < in->len; at += feed)
        memcpy(kept + at, in->text + at,
               in->len - at < feed ? in->len - at : feed);
    sink += (unsigned char)kept[in->len / 2];
}

static void copy_to_new_memory(const input *in, size_t feed)
{
    char *old = kept;

    kept = must_alloc(in->len);
    copy_to_kept_memory(in, feed);
    free(kept);
    kept = old;
}

/* ---- Rounds ---------------------------------------------------------------- */

typedef void job(const input *in, size_t feed);

/* Seconds for one pass over the input. */
static double time_job(job *run, const input *in, size_t feed)
{
    double start = now(), end;
    int    passes = 0;

    do {
        run(in, feed);
        passes++;
        end = now();
    } while (end - start < ROUND_SECONDS);
    return (end - start) / passes;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values)
{
    double sorted[ROUNDS];

    memcpy(sorted, values, sizeof(sorted));
    qsort(sorted, ROUNDS, sizeof(*sorted), compare);
    return sorted[ROUNDS / 2];
}

/* How many times faster `a` was than `b`: the median over rounds, in each of
 * which both met the same noise. */
static double ratio(const double *a, const double *b)
{
    double ratios[ROUNDS];

    for (int i = 0; i < ROUNDS; i++)
        ratios[i] = b[i] / a[i];
    return median(ratios);
}

/* Seconds for a pass over one input, by round. */
typedef struct times {
    size_t feed;
    double copy[ROUNDS], scan[ROUNDS], parse[ROUNDS];
} times;

static void run_round(times *t, const input *in, int round)
{
    t->copy[round] = time_job(copy_input, in, t->feed);
    t->scan[round] = time_job(scan_input, in, t->feed);
    t->parse[round] = time_job(parse_input, in, t->feed);
}

static void report(const times *t, const input *in)
{
    double megabytes = (double)in->len / 1e6;

    printf("%-6s %6zu %9.0f %9.0f %9.0f %9.2f %9.2f %9.1f\n", in->name, t->feed,
           megabytes / median(t->copy), megabytes / median(t->scan),
           megabytes / median(t->parse), ratio(t->parse, t->copy),
           ratio(t->parse, t->scan),
           1e9 * median(t->parse) / (double)in->count);
}

static void report_input(const char *name, void (*fill)(input *in))
{
    static times small = {.feed = SMALL_FEED}, large = {.feed = LARGE_FEED};
    input        in = new_input(name, INPUT_BYTES + 2 * LARGE_EVENT);

    fill(&in);
    for (int i = 0; i < ROUNDS; i++) {
        run_round(&small, &in, i);
        run_round(&large, &in, i);
    }
    report(&small, &in);
    report(&large, &in);
    printf("%-6s small feeds at %.2f of the speed of large ones\n", name,
           ratio(small.parse, large.parse));
    free(in.text);
}

/* One event in small pieces: what a byte costs must not grow with its size, or
 * no more than that of a copy does, when it leaves the caches. A parser that
 * has met such an event has the memory; a new one has to get it, and pays what
 * the system charges for fresh pages. */
static void report_growth(size_t mebibytes)
{
    static job *const jobs[] = {parse_input, copy_to_kept_memory,
                                parse_with_new_parser, copy_to_new_memory};
    enum { JOBS = sizeof(jobs) / sizeof(jobs[0]) };
    static double seconds[JOBS][ROUNDS];
    input         in = new_input("growth", mebibytes * MIB + 64);

    fill_one(&in, mebibytes * MIB);
    kept = must_alloc(in.len);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < JOBS; i++)
            seconds[i][round] = time_job(jobs[i], &in, SMALL_FEED);
    printf("%-6zu", mebibytes);
    for (int i = 0; i < JOBS; i++)
        printf(" %14.3f", 1e9 * median(seconds[i]) / (double)in.len);
    printf("\n");
    free(kept);
    free(in.text);
}

static void report_growths(void)
{
    printf("\none event, fed %d bytes at a time, in ns per byte\n", SMALL_FEED);
    printf("%-6s %14s %14s %14s %14s\n", "MiB", "parser", "memcpy",
           "new parser", "new memcpy");
    report_growth(1);
    report_growth(4);
    report_growth(16);
}

int main(void)
{
    /* Big blocks come from the system and grow in place, as in a program that
     * has not freed any: else malloc() changes its mind between the rounds. */
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    parser = new_parser();
    printf("%-6s %6s %9s %9s %9s %9s %9s %9s\n", "MB/s", "feed", "memcpy",
           "memchr", "parser", "of copy", "of memchr", "ns/event");
    report_input("tok", fill_tok);
    report_input("oai", fill_oai);
    report_input("large", fill_large);
    report_growths();
    sse_parser_free(parser);
    return sink == 0;
}
