/* SPDX-License-Identifier: MIT */
/* What libsse's client makes of a bad network (bench/relay); prints one line of
 * JSON.
 *
 *     trouble_bench told   SERVER RELAY CONTROL COUNT
 *     trouble_bench cut    SERVER RELAY CONTROL COUNT
 *     trouble_bench outage SERVER RELAY CONTROL COUNT
 *     trouble_bench mix    SERVER RELAY CONTROL COUNT
 *
 * The first three are ports. `told`: one client, COUNT times: the network goes,
 * the application says so; it comes back, the application says so. `cut`: the
 * connections of COUNT clients are reset, and nobody says anything. `outage`:
 * neither does anybody, and the network is away for OUTAGE_MS. All three tell
 * the time from the network's being back to the first new event. `mix`: COUNT
 * streams of 50 to 100 events, each with a client, through a relay with a seed.
 *
 * Exit status: 0; 1 when an event was lost, doubled or damaged; 2 when it could
 * not run. */
#include <pthread.h>
#include <stdbool.h>

#include "common.h"
#include "post.h"
#include "sse.h"
#include "wire.h"

enum {
    OUTAGE_MS = 3000,
    PATIENCE_S = 180, /* what has not come then does not come */
    ROUND_MS = 100,   /* each stream of the mix gets an event */
    LIMIT_MS = 1000,  /* of silence, in the mix */
    COMPLAINTS = 5
};

struct follower {
    struct bench *bench;
    sse_client   *client;
    unsigned      stream;
    uint32_t      next;  /* the number it must see next */
    uint32_t      total; /* so many come; 0: nobody knows */
    uint64_t      seen_ns;
    bool          ended; /* by the terminal event */
    bool          wrong;
};

struct bench {
    sse_loop        *loop;
    int              poster, control;
    uint16_t         relay_port;
    unsigned         count;
    struct follower *followers;

    pthread_mutex_t lock; /* of what follows, and of all followers */
    pthread_cond_t  moved;
    uint32_t        awaited; /* the number of an event */
    unsigned        missing; /* followers that have not seen it, or the end */
    unsigned        wrong, events, failures, given_up;
};

/* ---- What the clients get ------------------------------------------------ */

static void wrong(struct bench *b, struct follower *f, const char *what)
{
    f->wrong = true;
    if (b->wrong++ < COMPLAINTS)
        fprintf(stderr, "WRONG RESULT: stream %u, event %u: %s\n", f->stream,
                f->next, what);
}

static void one_less(struct bench *b)
{
    if (--b->missing == 0)
        pthread_cond_signal(&b->moved);
}

static void take_event(struct follower *f, const sse_news *e)
{
    struct bench  *b = f->bench;
    struct payload got;

    if (strcmp(e->type, "completed") == 0)
        return;
    if (!payload_read(e->data, e->data_len, &got) || got.stream != f->stream) {
        wrong(b, f, "damaged");
        got.seq = f->next;
    } else if (got.seq != f->next) {
        wrong(b, f, got.seq < f->next ? "doubled" : "lost");
    }
    f->next = got.seq + 1;
    b->events++;
    if (f->total == 0 && f->next == b->awaited + 1) {
        f->seen_ns = now_ns();
        one_less(b);
    }
}

static void take_end(struct follower *f, const sse_news *e)
{
    struct bench *b = f->bench;

    f->ended = e->cause == SSE_CAUSE_TERMINAL;
    if (f->ended && f->next != f->total)
        wrong(b, f, "the end before the last event");
    if (!f->ended && b->given_up++ < COMPLAINTS)
        fprintf(stderr, "stream %u: gave up at event %u of %u: %s\n", f->stream,
                f->next, f->total, e->detail);
    one_less(b);
}

/* On the loop's thread. */
static void on_news(void *user)
{
    struct follower *f = user;
    struct bench    *b = f->bench;
    const sse_news  *news;

    pthread_mutex_lock(&b->lock);
    while (sse_client_next(f->client, 0, &news) > 0) {
        switch (news->kind) {
        case SSE_NEWS_EVENT: take_event(f, news); break;
        case SSE_NEWS_END: take_end(f, news); break;
        case SSE_NEWS_GAP: wrong(b, f, "a gap"); break;
        case SSE_NEWS_ERROR: b->failures++; break;
        default: break;
        }
    }
    pthread_mutex_unlock(&b->lock);
}

/* False when it takes too long. */
static bool wait_for_all(struct bench *b)
{
    struct timespec until;
    int             rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&b->lock);
    while (b->missing > 0 && rc == 0)
        rc = pthread_cond_timedwait(&b->moved, &b->lock, &until);
    pthread_mutex_unlock(&b->lock);
    return rc == 0;
}

/* ---- Making them --------------------------------------------------------- */

static void start_client(struct follower *f, const sse_client_options *opts)
{
    struct bench *b = f->bench;
    char          url[128];

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/api/stream/b%u",
             b->relay_port, f->stream);
    if (sse_client_new(b->loop, url, strlen(url), opts, &f->client) < 0 ||
        sse_client_on_news(f->client, on_news, f) < 0 ||
        sse_client_start(f->client) < 0)
        die("no client");
}

static void make_followers(struct bench *b, unsigned count)
{
    b->followers = must_alloc(calloc(count, sizeof(*b->followers)));
    b->count = count;
    for (unsigned i = 0; i < count; i++)
        b->followers[i].bench = b;
}

static void free_clients(struct bench *b)
{
    for (unsigned i = 0; i < b->count; i++)
        sse_client_free(b->followers[i].client);
}

/* ---- Back again ---------------------------------------------------------- */

static void command(struct bench *b, char letter)
{
    char answer = 0;

    send_all(b->control, &letter, 1);
    if (recv(b->control, &answer, 1, 0) != 1 || answer != letter)
        die("the relay is gone");
}

/* From now on every follower misses the next event, which is posted. */
static void post_awaited(struct bench *b)
{
    uint32_t seq;

    pthread_mutex_lock(&b->lock);
    seq = ++b->awaited;
    b->missing = b->count;
    pthread_mutex_unlock(&b->lock);
    post_event(b->poster, 0, seq);
}

static void wait_for_awaited(struct bench *b)
{
    if (!wait_for_all(b)) {
        fprintf(stderr, "WRONG RESULT: event %u never came to %u clients\n",
                b->awaited, b->missing);
        exit(1);
    }
}

/* All of them follow stream 0 and have had an event by it. */
static void settle(struct bench *b)
{
    post_new(b->poster, 0);
    post_event(b->poster, 0, 0);
    for (unsigned i = 0; i < b->count; i++)
        start_client(&b->followers[i], NULL);
    post_awaited(b);
    wait_for_awaited(b);
}

static void sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

static double told_once(struct bench *b)
{
    sse_client *client = b->followers[0].client;
    uint64_t    back;

    command(b, 'd');
    sse_client_offline(client);
    post_awaited(b);
    command(b, 'u');
    back = now_ns();
    sse_client_online(client);
    wait_for_awaited(b);
    return (double)(b->followers[0].seen_ns - back) / 1e6;
}

static void run_told(struct bench *b, unsigned count, double *times)
{
    make_followers(b, 1);
    settle(b);
    for (unsigned i = 0; i < count; i++)
        times[i] = told_once(b);
}

static void run_untold(struct bench *b, unsigned count, bool outage,
                       double *times)
{
    uint64_t back;

    make_followers(b, count);
    settle(b);
    command(b, outage ? 'd' : 'r');
    if (outage)
        sleep_ms(OUTAGE_MS);
    post_awaited(b);
    if (outage)
        command(b, 'u');
    back = now_ns();
    wait_for_awaited(b);
    for (unsigned i = 0; i < count; i++) {
        uint64_t seen = b->followers[i].seen_ns;

        times[i] = seen > back ? (double)(seen - back) / 1e6 : 0;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void run_back(struct bench *b, const char *mode, unsigned count)
{
    double *times = must_alloc(calloc(count, sizeof(*times))), sum = 0;

    if (strcmp(mode, "told") == 0)
        run_told(b, count, times);
    else
        run_untold(b, count, strcmp(mode, "outage") == 0, times);
    free_clients(b);
    qsort(times, count, sizeof(*times), by_value);
    for (unsigned i = 0; i < count; i++)
        sum += times[i];
    printf("{\"count\": %u, \"mean_ms\": %.3f, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f}\n",
           count, sum / count, times[count / 2], times[count * 99 / 100]);
    free(times);
}

/* ---- A mix of faults ----------------------------------------------------- */

/* A round brings each stream one event, so that all of them are under way for
 * as long as any is. */
static void publish_mix(struct bench *b)
{
    uint64_t round = now_ns();
    bool     any = true;

    for (uint32_t seq = 0; any; seq++) {
        any = false;
        for (unsigned i = 0; i < b->count; i++) {
            if (seq < b->followers[i].total)
                post_event(b->poster, i, seq);
            else if (seq == b->followers[i].total)
                post_end(b->poster, i);
            any |= seq < b->followers[i].total;
        }
        round += ROUND_MS * UINT64_C(1000000);
        if (now_ns() < round)
            sleep_ms((unsigned)((round - now_ns()) / 1000000));
        else
            round = now_ns();
    }
}

/* Streams that came to their end, whole. */
static unsigned count_ended(struct bench *b)
{
    unsigned ended = 0;

    pthread_mutex_lock(&b->lock);
    for (unsigned i = 0; i < b->count; i++)
        ended += b->followers[i].ended && !b->followers[i].wrong;
    pthread_mutex_unlock(&b->lock);
    return ended;
}

static void start_mix(struct bench *b, unsigned count)
{
    const sse_client_options opts = {
        .size = sizeof(opts),
        .connect_ms = LIMIT_MS,
        .first_byte_ms = LIMIT_MS,
        .stall_ms = LIMIT_MS,
    };

    make_followers(b, count);
    b->missing = count;
    for (unsigned i = 0; i < count; i++) {
        b->followers[i].stream = i;
        b->followers[i].total = 50 + i * 7 % 51;
        post_new(b->poster, i);
    }
    for (unsigned i = 0; i < count; i++)
        start_client(&b->followers[i], &opts);
}

static void run_mix(struct bench *b, unsigned count)
{
    uint64_t start = now_ns();
    unsigned ended;

    start_mix(b, count);
    publish_mix(b);
    if (!wait_for_all(b))
        fprintf(stderr, "%u streams took too long\n", b->missing);
    ended = count_ended(b);
    free_clients(b);
    printf("{\"streams\": %u, \"completed\": %u, \"events\": %u, "
           "\"failures\": %u, \"gave_up\": %u, \"seconds\": %.3f}\n",
           count, ended, b->events, b->failures, b->given_up,
           (double)(now_ns() - start) / 1e9);
}

/* ---- Start --------------------------------------------------------------- */

static uint16_t to_port(const char *text)
{
    return (uint16_t)atoi(text);
}

int main(int argc, char **argv)
{
    static struct bench b = {.lock = PTHREAD_MUTEX_INITIALIZER,
                             .moved = PTHREAD_COND_INITIALIZER};
    unsigned            count = argc == 6 ? (unsigned)atoi(argv[5]) : 0;

    if (count == 0 || count > 10000)
        die("usage: trouble_bench told|cut|outage|mix SERVER RELAY CONTROL "
            "COUNT");
    raise_descriptor_limit();
    if (sse_loop_new(&b.loop) < 0 || sse_loop_start(b.loop) < 0)
        die("no loop");
    b.poster = open_poster(to_port(argv[2]));
    b.relay_port = to_port(argv[3]);
    b.control = open_poster(to_port(argv[4]));
    if (strcmp(argv[1], "mix") == 0)
        run_mix(&b, count);
    else
        run_back(&b, argv[1], count);
    sse_loop_free(b.loop);
    free(b.followers);
    return b.wrong > 0;
}
