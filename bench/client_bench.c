/* SPDX-License-Identifier: MIT */
/* Reads one stream of bench/flood with libsse's client, and prints one line of
 * JSON: what it cost this process.
 *
 *     client_bench PORT SHAPE FRAMING COUNT
 *
 * A first, shorter stream warms up; each byte of it is checked. In the one that
 * is measured, each event must be the next one, of the right length. Exit
 * status: 0; 1 for a wrong event; 2 when it could not run. */
#include <stdbool.h>

#include "common.h"
#include "flood.h"
#include "sse.h"

enum { WARMUP = 20000, PATIENCE_MS = 60000 };

struct reading {
    const struct shape *shape;
    unsigned            count;
    bool                every_byte;
    size_t              data_len; /* of each event */
    unsigned            seen;
};

_Noreturn static void wrong(const struct reading *r, const char *what)
{
    fprintf(stderr, "WRONG RESULT: client_bench: event %u: %s\n", r->seen,
            what);
    exit(1);
}

static bool is_number(const char *id, size_t len, unsigned number)
{
    unsigned found = 0;

    for (size_t i = 0; i < len; i++)
        found = found * 10 + (unsigned)(id[i] - '0');
    return found == number;
}

static void check(const struct reading *r, const sse_news *e)
{
    const struct shape *s = r->shape;
    char                letters[LETTERS], data[FLOOD_DATA_MAX];

    put_letters(letters, r->seen);
    if (e->data_len != r->data_len ||
        memcmp(e->data + s->letters_at, letters, LETTERS) != 0)
        wrong(r, "it is not the next one");
    if (s->has_id && !is_number(e->id, e->id_len, r->seen + 1))
        wrong(r, "it has another id");
    if (!r->every_byte)
        return;
    flood_data(data, s, r->seen);
    if (memcmp(e->data, data, e->data_len) != 0 ||
        strcmp(e->type, s->type[0] ? s->type : "message") != 0)
        wrong(r, "it is damaged");
}

static void take(struct reading *r, const sse_news *e)
{
    bool last = e->data_len == strlen(FLOOD_LAST) &&
                memcmp(e->data, FLOOD_LAST, e->data_len) == 0;

    if (last != (r->seen == r->count))
        wrong(r, last ? "the stream ended too soon" : "one too many");
    if (!last) {
        check(r, e);
        r->seen++;
    }
}

static void follow(sse_client *client, struct reading *r)
{
    const sse_news *news;
    int             rc;

    while ((rc = sse_client_next(client, PATIENCE_MS, &news)) > 0) {
        if (news->kind == SSE_NEWS_EVENT)
            take(r, news);
        else if (news->kind == SSE_NEWS_ERROR || news->kind == SSE_NEWS_GAP)
            wrong(r, news->kind == SSE_NEWS_GAP ? "a gap" : news->detail);
        else if (news->kind == SSE_NEWS_END &&
                 news->cause != SSE_CAUSE_TERMINAL)
            wrong(r, news->detail);
    }
    if (rc < 0 || r->seen != r->count)
        wrong(r, rc < 0 ? sse_strerror(rc) : "the stream ended too soon");
}

/* The seconds of CPU that all threads of this process took for it. */
static double run(sse_loop *loop, const char *url, struct reading *r)
{
    double      start = cpu_seconds(getpid());
    sse_client *client;

    if (sse_client_new(loop, url, strlen(url), NULL, &client) < 0 ||
        sse_client_start(client) < 0)
        die("no client");
    follow(client, r);
    sse_client_free(client);
    return cpu_seconds(getpid()) - start;
}

static double read_stream(sse_loop *loop, char **argv, unsigned count,
                          bool every_byte)
{
    struct reading r = {
        .shape = find_shape(argv[2]), .count = count, .every_byte = every_byte};
    char url[256];

    r.data_len = strlen(r.shape->data);

    snprintf(url, sizeof(url), "http://127.0.0.1:%s/%s/%s/%u", argv[1], argv[2],
             argv[3], count);
    return run(loop, url, &r);
}

int main(int argc, char **argv)
{
    unsigned  count = argc == 5 ? (unsigned)atoi(argv[4]) : 0;
    unsigned  warmup = count < 2 * WARMUP ? count / 10 : WARMUP;
    sse_loop *loop;
    uint64_t  start;
    double    cpu;

    if (count == 0 || find_shape(argv[2]) == NULL)
        die("usage: client_bench PORT SHAPE FRAMING COUNT");
    if (sse_loop_new(&loop) < 0 || sse_loop_start(loop) < 0)
        die("no loop");
    read_stream(loop, argv, warmup, true);
    start = now_ns();
    cpu = read_stream(loop, argv, count, false);
    printf("{\"events\": %u, \"cpu\": %.6f, \"seconds\": %.6f}\n", count, cpu,
           (double)(now_ns() - start) / 1e9);
    sse_loop_free(loop);
    return 0;
}
