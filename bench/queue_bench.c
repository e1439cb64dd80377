/* SPDX-License-Identifier: MIT */
/* queue_bench.c - what the host's side of the library costs: an append, and a
 * delivery through a queue to one subscriber and to many. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sse.h"

#define DATA_LEN 100

static const char data[DATA_LEN + 1] =
    "0123456789012345678901234567890123456789"
    "0123456789012345678901234567890123456789"
    "01234567890123456789";

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void check(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "queue_bench: wrong result: %s\n", what);
    exit(1);
}

static double time_appends(sse_stream *s, int count)
{
    double start = now_ns();

    for (int i = 0; i < count; i++)
        check(sse_stream_append(s, "", 0, data, DATA_LEN, NULL) == SSE_OK,
              "append");
    return (now_ns() - start) / count;
}

/* Nanoseconds for each delivery, `burst` events joined for each subscriber. */
static double time_deliveries(sse_hub *hub, int readers, int burst, int rounds)
{
    sse_subscriber_options opts = {
        .size = sizeof(opts), .heartbeat_ms = SSE_NEVER, .retry_ms = SSE_NEVER};
    sse_subscriber **subs = calloc((size_t)readers, sizeof(*subs));
    sse_stream      *s;
    sse_queue       *q;
    const sse_batch *batch;
    size_t           bytes = 0;
    double           spent = 0;

    check(subs && sse_queue_new(hub, NULL, &q) == SSE_OK &&
              sse_stream_new(hub, "", 0, NULL, NULL, &s) == SSE_OK,
          "set-up");
    for (int i = 0; i < readers; i++)
        check(sse_subscriber_new(s, q, "", 0, &opts, &subs[i]) == SSE_OK,
              "subscribe");
    for (int r = 0; r < rounds; r++) {
        time_appends(s, burst);
        double start = now_ns();
        while (sse_queue_drain(q, 0, &batch) > 0)
            bytes += batch->data_len;
        spent += now_ns() - start;
    }
    check(bytes > (size_t)readers * (size_t)burst * (size_t)rounds * DATA_LEN,
          "not every reader got every event");
    for (int i = 0; i < readers; i++)
        sse_subscriber_free(subs[i]);
    sse_stream_free(s);
    sse_queue_free(q);
    free(subs);
    return spent / ((double)readers * burst * rounds);
}

int main(void)
{
    sse_hub    *hub;
    sse_stream *s;

    check(sse_hub_new(NULL, &hub) == SSE_OK, "a hub");
    check(sse_stream_new(hub, "", 0, NULL, NULL, &s) == SSE_OK, "a stream");
    time_appends(s, 20000);
    printf("%-44s %8.0f ns\n", "append, 100 bytes, nobody reads",
           time_appends(s, 300000));
    printf("%-44s %8.0f ns\n", "delivery to 1 reader, one event a drain",
           time_deliveries(hub, 1, 1, 200000));
    printf("%-44s %8.0f ns\n", "delivery to 1 reader, 64 events a drain",
           time_deliveries(hub, 1, 64, 5000));
    printf("%-44s %8.0f ns\n", "delivery to 1000 readers, one event a drain",
           time_deliveries(hub, 1000, 1, 1000));
    printf("%-44s %8.0f ns\n", "delivery to 1000 readers, 16 events a drain",
           time_deliveries(hub, 1000, 16, 100));
    sse_stream_free(s);
    sse_hub_free(hub);
    return 0;
}
