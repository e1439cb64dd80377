/* SPDX-License-Identifier: MIT */
/* demo.c - one thread produces for all demo streams. It shows a producer that
 * lives outside the library's loop: it appends by the clock, and a queue tells
 * it which of its streams must stop. */
#include "demo.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS_MAX 200

/* One stream on its way through the text. */
typedef struct run {
    sse_stream *stream; /* NULL: a free place                               */
    size_t      at;     /* the next word begins here                        */
    double      next, step; /* seconds                                      */
} run;

struct demo {
    sse_hub        *hub;
    sse_queue      *queue;
    char           *text;
    size_t          len;
    uint32_t        rate;
    pthread_t       thread;
    pthread_mutex_t lock; /* for `runs` and `ending`                        */
    run             runs[RUNS_MAX];
    int             ending;
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A word and the white space behind it. */
static size_t word_len(const demo *d, size_t at)
{
    size_t end = at + strcspn(d->text + at, " \n\t");

    return end + strspn(d->text + end, " \n\t") - at;
}

static void end_run(run *r, int state, const char *data)
{
    sse_stream_end(r->stream, state, "", 0, data, strlen(data), NULL);
    sse_stream_free(r->stream);
    r->stream = NULL;
}

/* Sends the words that are due. Returns when the next one is. */
static double advance(demo *d, run *r, double time)
{
    while (r->next <= time) {
        size_t len = word_len(d, r->at);

        if (len == 0) {
            end_run(r, SSE_STATE_COMPLETED, "{}");
            return time + 3600;
        }
        if (sse_stream_append(r->stream, "", 0, d->text + r->at, len, NULL) <
            0) { /* somebody else has ended it */
            sse_stream_free(r->stream);
            r->stream = NULL;
            return time + 3600;
        }
        r->at += len;
        r->next += r->step;
    }
    return r->next;
}

static void take_notes(demo *d)
{
    const sse_batch *batch;

    while (sse_queue_drain(d->queue, 0, &batch) > 0) {
        for (size_t i = 0; i < batch->note_count; i++) {
            const sse_note *note = &batch->notes[i];

            if (note->kind == SSE_NOTE_STOP && d->runs[note->key].stream)
                end_run(&d->runs[note->key], SSE_STATE_CANCELLED,
                        note->reason == SSE_REASON_SHUTDOWN
                            ? "{\"reason\":\"shutdown\"}"
                            : "{\"reason\":\"stop\"}");
        }
    }
}

static void *produce(void *arg)
{
    demo *d = arg;

    pthread_mutex_lock(&d->lock);
    while (!d->ending) {
        double time = now(), next = time + 3600;

        take_notes(d);
        for (int i = 0; i < RUNS_MAX; i++) {
            double due = d->runs[i].stream ? advance(d, &d->runs[i], time)
                                           : next;

            next = due < next ? due : next;
        }
        pthread_mutex_unlock(&d->lock);
        sse_queue_wait(d->queue, (int64_t)((next - now()) * 1000) + 1);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text = f ? malloc((1 << 20) + 1) : NULL;

    *len = text ? fread(text, 1, 1 << 20, f) : 0;
    if (text)
        text[*len] = '\0';
    if (f)
        fclose(f);
    return text;
}

demo *demo_new(sse_hub *hub, const char *path, uint32_t rate)
{
    demo *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->hub = hub;
    d->rate = rate ? rate : 1;
    d->text = read_file(path, &d->len);
    pthread_mutex_init(&d->lock, NULL);
    if (!d->text || sse_queue_new(hub, NULL, &d->queue) < 0 ||
        pthread_create(&d->thread, NULL, produce, d) != 0) {
        sse_queue_free(d->queue);
        free(d->text);
        free(d);
        return NULL;
    }
    return d;
}

void demo_free(demo *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->ending = 1;
    pthread_mutex_unlock(&d->lock);
    sse_queue_wake(d->queue);
    pthread_join(d->thread, NULL);
    for (int i = 0; i < RUNS_MAX; i++)
        sse_stream_free(d->runs[i].stream);
    sse_queue_free(d->queue);
    free(d->text);
    free(d);
}

uint32_t demo_rate(const demo *d, const char *body, size_t len)
{
    char         text[128];
    const char  *at;
    unsigned int rate;

    snprintf(text, sizeof(text), "%.*s", (int)(len < 127 ? len : 127), body);
    at = strstr(text, "\"rate\"");
    if (at && sscanf(at + 6, " : %u", &rate) == 1 && rate >= 1)
        return rate > 10000 ? 10000 : rate;
    return d->rate;
}

static int open_run(demo *d, int place, uint32_t rate, char *answer,
                    size_t size)
{
    run                   *r = &d->runs[place];
    sse_stream_options     opts = {.size = sizeof(opts), .key = (uint64_t)place};
    const sse_stream_info *info;
    int rc = sse_stream_new(d->hub, "", 0, d->queue, &opts, &r->stream);

    if (rc < 0)
        return rc;
    sse_stream_set_kind(r->stream, "demo", 4);
    r->at = 0;
    r->step = 1.0 / rate;
    r->next = now();
    if ((rc = sse_stream_get_info(r->stream, &info)) == SSE_OK)
        snprintf(answer, size, "{\"streamId\":\"%s\",\"state\":\"active\"}",
                 info->id);
    return rc;
}

int demo_start(demo *d, uint32_t rate, char *answer, size_t size)
{
    int place = 0, rc = SSE_ERR_LIMIT;

    pthread_mutex_lock(&d->lock);
    while (place < RUNS_MAX && d->runs[place].stream)
        place++;
    if (place < RUNS_MAX)
        rc = open_run(d, place, rate, answer, size);
    pthread_mutex_unlock(&d->lock);
    if (rc < 0)
        snprintf(answer, size, "{\"error\":\"%s\",\"message\":\"%s\"}",
                 rc == SSE_ERR_LIMIT ? "limit" : "internal", sse_strerror(rc));
    else
        sse_queue_wake(d->queue);
    return rc;
}
