/* SPDX-License-Identifier: MIT */
/* Reads one stream of bench/python_server.py with many readers in one thread,
 * checks every byte, and prints one line of JSON: what it cost the server.
 *
 *     stream_load PORT PID READERS EVENTS PAUSE_US
 *
 * The server produces when it is told to: some events to warm up, then those
 * that are measured, then one more, behind which nothing doubled can hide. Exit
 * status: 0; 1 for a wrong result; 2 when it could not run. */
#include <sys/epoll.h>

#include "common.h"
#include "wire.h"

enum {
    SCRATCH = 256 << 10,
    REST_MAX = 4096, /* more than a head, or than one event */
    TURN = 256,
    OPENING_MAX = 64,
    WARMUP_SHARE = 10,  /* of the events; and at least one */
    PATIENCE_MS = 20000 /* without any event: comments come for ever */
};

struct reader {
    int           fd;
    bool          in_body;
    struct chunks chunks;
    uint32_t      next; /* the number of the event that it must see next */
    size_t        rest_len;
    char          rest[REST_MAX]; /* the beginning of a head, or an event */
};

struct load {
    uint16_t       port;
    int            epoll;
    struct reader *readers;
    unsigned       count;
    unsigned       let_in;      /* readers that have their 200 */
    uint32_t       produced;    /* events that the server was told to send */
    uint64_t       delivered;   /* to all readers together */
    uint64_t       progress_ns; /* when the latest of these came */
    uint64_t       bytes;       /* of bodies, without the framing of chunks */
    char           scratch[REST_MAX + SCRATCH];
};

_Noreturn static void wrong(const struct load *load, const struct reader *r,
                            const char *what)
{
    fprintf(stderr, "WRONG RESULT: stream_load: reader %d, event %u: %s\n",
            (int)(r - load->readers), r->next, what);
    exit(1);
}

/* ---- Readers ------------------------------------------------------------ */

static void open_reader(struct load *load, struct reader *r)
{
    static const char  ask[] = "GET /read HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                               "Accept: text/event-stream\r\n\r\n";
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = r};

    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (r->fd < 0)
        die("socket: %s", strerror(errno));
    start_connect(r->fd, load->port);
    send_all(r->fd, ask, sizeof(ask) - 1);
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, r->fd, &ev) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

/* The length of the head at the front of `p`, or 0 when it is not whole. */
static size_t take_head(struct load *load, struct reader *r, char *p,
                        size_t len)
{
    char *end = memmem(p, len, "\r\n\r\n", 4);

    if (end == NULL)
        return 0;
    end[3] = '\0';
    if (strncmp(p, "HTTP/1.1 200", 12) != 0 ||
        strcasestr(p, "\r\nTransfer-Encoding: chunked") == NULL)
        wrong(load, r, "the answer is no chunked 200");
    r->in_body = true;
    load->let_in++;
    return (size_t)(end + 4 - p);
}

static void check(struct load *load, struct reader *r,
                  const struct wire_event *ev)
{
    struct payload got;

    if (ev->strange || !payload_read(ev->data, ev->data_len, &got))
        wrong(load, r, "it is damaged");
    if (got.seq != r->next || got.seq >= load->produced)
        wrong(load, r, got.seq < r->next ? "doubled" : "lost, or never sent");
    r->next++;
    load->delivered++;
}

/* `p` begins with what was kept; the bytes from `fresh` on are new. Returns
 * how many of them are the beginning of an event, and moves them to `p`. */
static size_t take_body(struct load *load, struct reader *r, char *p,
                        size_t len, size_t fresh)
{
    struct wire_event ev;
    size_t            used, at = 0, kept;

    if (!dechunk(&r->chunks, p + fresh, len - fresh, &kept))
        wrong(load, r, "the chunks of a body are damaged");
    if (r->chunks.state == CHUNK_LAST)
        wrong(load, r, "the server ended the stream");
    load->bytes += kept;
    len = fresh + kept;
    while ((used = wire_event_take(p + at, len - at, &ev)) > 0) {
        if (ev.data != NULL)
            check(load, r, &ev);
        at += used;
    }
    memmove(p, p + at, len - at);
    return len - at;
}

static void readable(struct load *load, struct reader *r)
{
    char   *p = load->scratch;
    size_t  len, head = 0, fresh = r->rest_len;
    ssize_t n;

    memcpy(p, r->rest, r->rest_len);
    n = recv(r->fd, p + r->rest_len, SCRATCH, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        wrong(load, r, "the server closed the connection");
    len = r->rest_len + (size_t)n;
    if (!r->in_body && (head = take_head(load, r, p, len)) > 0) {
        p += head;
        len -= head;
        fresh = 0;
    }
    if (r->in_body)
        len = take_body(load, r, p, len, fresh);
    if (len > REST_MAX)
        wrong(load, r, "it has no end");
    memcpy(r->rest, p, len);
    r->rest_len = len;
}

_Noreturn static void give_up(const struct load *load)
{
    fprintf(stderr,
            "WRONG RESULT: stream_load: %u readers let in; %llu deliveries "
            "of %llu, and no more came\n",
            load->let_in, (unsigned long long)load->delivered,
            (unsigned long long)load->produced * load->count);
    exit(1);
}

static void turn(struct load *load)
{
    struct epoll_event events[TURN];
    uint64_t           before = load->delivered + load->let_in;
    int                n = epoll_wait(load->epoll, events, TURN, 1000);

    for (int i = 0; i < n; i++)
        readable(load, events[i].data.ptr);
    if (load->delivered + load->let_in != before)
        load->progress_ns = now_ns();
    else if (now_ns() - load->progress_ns > PATIENCE_MS * 1000000ull)
        give_up(load);
}

static void open_readers(struct load *load)
{
    unsigned asked = 0;

    while (load->let_in < load->count) {
        while (asked < load->count && asked < load->let_in + OPENING_MAX)
            open_reader(load, &load->readers[asked++]);
        turn(load);
    }
}

/* ---- What the server does ----------------------------------------------- */

/* On a connection of its own, which the server closes behind its answer. */
static void tell(struct load *load, unsigned events, unsigned pause_us)
{
    char request[256], answer[1024];
    int  fd = socket(AF_INET, SOCK_STREAM, 0);
    int  len = sprintf(request,
                       "POST /produce/%u/%u HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                        "Connection: close\r\nContent-Length: 0\r\n\r\n",
                       events, pause_us);

    load->produced += events;
    start_connect(fd, load->port);
    send_all(fd, request, (size_t)len);
    if (recv(fd, answer, sizeof(answer), 0) < 12 ||
        strncmp(answer, "HTTP/1.1 2", 10) != 0)
        die("the server was told to produce, and refused");
    close(fd);
}

/* Until everybody has everything. */
static void produce(struct load *load, unsigned events, unsigned pause_us)
{
    tell(load, events, pause_us);
    while (load->delivered < (uint64_t)load->produced * load->count)
        turn(load);
}

static void measure(struct load *load, int pid, unsigned events,
                    unsigned pause_us)
{
    uint64_t delivered = load->delivered, bytes = load->bytes;
    double   cpu = cpu_seconds(pid);
    uint64_t start = now_ns();

    produce(load, events, pause_us);
    printf("{\"deliveries\": %llu, \"bytes\": %llu, \"seconds\": %.6f, "
           "\"cpu\": %.6f, \"pss_kib\": %ld}\n",
           (unsigned long long)(load->delivered - delivered),
           (unsigned long long)(load->bytes - bytes),
           (double)(now_ns() - start) / 1e9, cpu_seconds(pid) - cpu,
           pss_kib(pid));
}

int main(int argc, char **argv)
{
    static struct load load;
    unsigned           events, pause_us;

    if (argc != 6)
        die("usage: stream_load PORT PID READERS EVENTS PAUSE_US");
    load.port = (uint16_t)atoi(argv[1]);
    load.count = (unsigned)atoi(argv[3]);
    events = (unsigned)atoi(argv[4]);
    pause_us = (unsigned)atoi(argv[5]);
    raise_descriptor_limit();
    load.readers = must_alloc(calloc(load.count, sizeof(*load.readers)));
    load.epoll = epoll_create1(0);
    load.progress_ns = now_ns();

    open_readers(&load);
    produce(&load, events / WARMUP_SHARE + 1, pause_us);
    measure(&load, atoi(argv[2]), events, pause_us);
    produce(&load, 1, 0);
    free(load.readers);
    return 0;
}
