/* SPDX-License-Identifier: MIT */
/* Loads a server of event streams from one thread, checks every byte that
 * comes back, and prints one line of JSON. Exit status: 0 what was published
 * arrived; 1 something was lost, doubled or damaged; 2 could not run. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common.h"
#include "load.h"
#include "wire.h"

static void wrong(struct load *load, const char *format, ...)
{
    va_list args;

    if (load->wrong++ >= COMPLAINTS)
        return;
    fputs("WRONG RESULT: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static uint32_t pick(struct load *load, uint32_t below)
{
    load->random ^= load->random << 13;
    load->random ^= load->random >> 17;
    load->random ^= load->random << 5;
    return load->random % below;
}

/* ---- Sockets ------------------------------------------------------------ */

static void watch(struct load *load, int fd, uint32_t events, uint64_t who)
{
    struct epoll_event ev = {.events = events | EPOLLET, .data.u64 = who};

    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

/* ---- Publishers --------------------------------------------------------- */

static void publish(struct load *load, struct publisher *p, unsigned stream,
                    unsigned len)
{
    static char    request[PAYLOAD_MAX + 512];
    struct payload payload = {p->number, stream, p->next[stream]++};
    const char *path = load->opt.nchan ? "/pub/b%u" : "/api/stream/b%u/events";
    int         n;

    n = sprintf(request, "POST ");
    n += sprintf(request + n, path, stream);
    n += sprintf(request + n,
                 " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                 "Content-Type: text/plain\r\nContent-Length: %u\r\n\r\n",
                 len);
    payload_write(request + n, len, payload);

    p->waiting = true;
    p->remaining = load->audience[stream];
    p->sent_ns[payload.seq % 256] = now_ns();
    load->published++;
    load->expected += load->audience[stream];
    send_all(p->fd, request, (size_t)n + len);
}

/* Lets a publisher go on, if the rules of the hour allow it. */
static void publish_next(struct load *load, struct publisher *p)
{
    unsigned stream;

    if (p->waiting || load->publishing == HOLD ||
        (load->publishing == CLOSED_LOOP && p->remaining > 0))
        return;
    stream = load->opt.streams > 1 ? pick(load, load->opt.streams) : 0;
    publish(load, p, stream, load->opt.data_len);
}

/* The length of the answer that begins at `in`, or 0 when it is not whole. */
static size_t answer_len(const char *in, size_t len)
{
    const char *end = memmem(in, len, "\r\n\r\n", 4);
    const char *line;
    size_t      head;

    if (end == NULL)
        return 0;
    head = (size_t)(end + 4 - in);
    line = strcasestr(in, "\r\nContent-Length:");
    if (line != NULL && line < end) {
        head += strtoul(line + 17, NULL, 10);
    } else if ((line = strcasestr(in, "\r\nTransfer-Encoding:")) &&
               line < end) {
        end = memmem(end, len - (size_t)(end - in), "\r\n0\r\n\r\n", 7);
        head = end != NULL ? (size_t)(end + 7 - in) : len + 1;
    }
    return head <= len ? head : 0;
}

static void take_answers(struct load *load, struct publisher *p)
{
    size_t used;

    p->in[p->in_len] = '\0';
    while ((used = answer_len(p->in, p->in_len)) > 0) {
        if (strncmp(p->in, "HTTP/1.1 2", 10) != 0)
            wrong(load, "a publisher was answered: %.60s", p->in);
        p->in_len -= used;
        memmove(p->in, p->in + used, p->in_len + 1);
        p->waiting = false;
        publish_next(load, p);
    }
}

static void publisher_readable(struct load *load, struct publisher *p)
{
    for (;;) {
        ssize_t n =
            recv(p->fd, p->in + p->in_len, sizeof(p->in) - 1 - p->in_len, 0);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            die("the server closed a publisher's connection");
        p->in_len += (size_t)n;
        take_answers(load, p);
    }
}

static void open_publisher(struct load *load, unsigned number)
{
    struct publisher *p = &load->publishers[number];

    p->number = number;
    p->fd = open_socket();
    p->next = must_alloc(calloc(load->opt.streams, sizeof(*p->next)));
    p->sent_ns = must_alloc(calloc(256, sizeof(*p->sent_ns)));
    fcntl(p->fd, F_SETFL, 0); /* wait for this one connection */
    start_connect(p->fd, load->opt.port);
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    watch(load, p->fd, EPOLLIN, number);
}

/* ---- Readers ------------------------------------------------------------ */

static void open_reader(struct load *load, struct reader *r)
{
    r->fd = open_socket();
    if (r->stalls) {
        set_option(r->fd, SOL_SOCKET, SO_RCVBUF, STALLED_RCVBUF);
        set_option(r->fd, IPPROTO_TCP, TCP_MAXSEG, STALLED_MSS);
    }
    r->state = CONNECTING;
    r->rest_len = 0;
    start_connect(r->fd, load->opt.port);
    watch(load, r->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP,
          READER_TAG | (uint64_t)(r - load->readers));
    load->opening++;
}

static void ask(struct load *load, struct reader *r)
{
    const char *path = load->opt.nchan ? "/sub/b%u" : "/api/stream/b%u";
    char        request[512];
    int         n;

    n = sprintf(request, "GET ");
    n += sprintf(request + n, path, r->stream);
    n += sprintf(request + n, " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                              "Accept: text/event-stream\r\n");
    if (r->last_id[0] != '\0')
        n += sprintf(request + n, "Last-Event-ID: %s\r\n", r->last_id);
    n += sprintf(request + n, "\r\n");
    send_all(r->fd, request, (size_t)n);
    r->state = IN_HEAD;
}

static void connected(struct load *load, struct reader *r)
{
    r->state = CONNECTED;
    if (load->holding)
        load->opening--;
    else
        ask(load, r);
}

static void keep_delay(struct load *load, uint64_t sent_ns)
{
    if (load->delay_count == load->delay_cap) {
        load->delay_cap = load->delay_cap * 2 + 4096;
        load->delays = must_alloc(
            realloc(load->delays, load->delay_cap * sizeof(*load->delays)));
    }
    load->delays[load->delay_count++] = (float)(now_ns() - sent_ns) / 1e6f;
}

static void deliver(struct load *load, struct reader *r,
                    const struct wire_event *ev)
{
    struct payload    got;
    struct publisher *p;
    int               reader = (int)(r - load->readers);

    if (ev->strange || !payload_read(ev->data, ev->data_len, &got) ||
        got.publisher >= load->opt.publishers || got.stream != r->stream) {
        wrong(load, "reader %d got a damaged event: %.*s", reader,
              (int)ev->data_len, ev->data);
        return;
    }
    if (got.seq != r->next[got.publisher])
        wrong(load, "reader %d: %s, event %u of publisher %u, not %u", reader,
              got.seq < r->next[got.publisher] ? "doubled" : "lost", got.seq,
              got.publisher, r->next[got.publisher]);
    r->next[got.publisher] = got.seq + 1;
    if (ev->id_len > 0 && ev->id_len < ID_MAX) {
        memcpy(r->last_id, ev->id, ev->id_len);
        r->last_id[ev->id_len] = '\0';
    }

    p = &load->publishers[got.publisher];
    load->delivered++;
    if (load->timing)
        keep_delay(load, p->sent_ns[got.seq % 256]);
    if (p->remaining > 0 && --p->remaining == 0)
        publish_next(load, p);
}

/* Takes the head off the front of `p`. Returns its length, 0 if not whole. */
static size_t take_head(struct load *load, struct reader *r, char *p,
                        size_t len)
{
    char *end = memmem(p, len, "\r\n\r\n", 4);

    if (end == NULL)
        return 0;
    end[3] = '\0';
    if (strncmp(p, "HTTP/1.1 200", 12) != 0)
        wrong(load, "a reader was answered: %.60s", p);
    r->chunked = strcasestr(p, "\r\nTransfer-Encoding: chunked") != NULL;
    memset(&r->chunks, 0, sizeof(r->chunks));
    load->opening--;
    load->opened++;
    r->state = r->stalls ? STALLED : IN_BODY;
    if (r->stalls)
        epoll_ctl(load->epoll, EPOLL_CTL_DEL, r->fd, NULL);
    return (size_t)(end + 4 - p);
}

static void keep_rest(struct reader *r, const char *p, size_t len)
{
    if (len > r->rest_cap) {
        r->rest_cap = len * 2;
        r->rest = must_alloc(realloc(r->rest, r->rest_cap));
    }
    if (len > 0)
        memcpy(r->rest, p, len);
    r->rest_len = len;
}

/* `p` begins with what was kept; the bytes from `fresh` on are new. */
static void take_body(struct load *load, struct reader *r, char *p, size_t len,
                      size_t fresh)
{
    struct wire_event ev;
    size_t            used, kept = len - fresh;

    if (r->chunked && !dechunk(&r->chunks, p + fresh, len - fresh, &kept))
        wrong(load, "the chunks of a body are damaged");
    len = fresh + kept;
    while ((used = wire_event_take(p, len, &ev)) > 0) {
        if (ev.data != NULL)
            deliver(load, r, &ev);
        p += used;
        len -= used;
    }
    keep_rest(r, p, len);
    if (r->chunked && r->chunks.state == CHUNK_LAST)
        wrong(load, "the server ended a stream");
}

/* Reads once; false when the socket has no more, or is gone. */
static bool read_some(struct load *load, struct reader *r)
{
    char   *p = load->scratch;
    size_t  head, len, room = SCRATCH - r->rest_len;
    size_t  fresh = r->rest_len;
    ssize_t n;

    if (r->rest_len > 0)
        memcpy(p, r->rest, r->rest_len);
    n = recv(r->fd, p + r->rest_len, room, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        wrong(load, "the server closed a reader's connection");
        cut(r->fd);
        r->state = CLOSED;
        return false;
    }
    len = fresh + (size_t)n;
    if (r->state != IN_BODY) {
        head = take_head(load, r, p, len);
        if (head == 0 || r->state == STALLED) {
            keep_rest(r, p, head == 0 ? len : 0);
            return false;
        }
        p += head;
        len -= head;
        fresh = 0;
    }
    take_body(load, r, p, len, fresh);
    return (size_t)n == room;
}

static void reader_ready(struct load *load, struct reader *r, uint32_t events)
{
    if (r->state == CLOSED)
        return;
    if (r->state == CONNECTING && (events & EPOLLOUT))
        connected(load, r);
    while (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        if (!read_some(load, r))
            break;
}

/* ---- The loop ----------------------------------------------------------- */

static void turn(struct load *load, int timeout_ms)
{
    struct epoll_event events[TURN];
    uint64_t           before = load->delivered;
    int                n = epoll_wait(load->epoll, events, TURN, timeout_ms);

    for (int i = 0; i < n; i++) {
        uint64_t who = events[i].data.u64;

        if (who & READER_TAG)
            reader_ready(load, &load->readers[who ^ READER_TAG],
                         events[i].events);
        else
            publisher_readable(load, &load->publishers[who]);
    }
    if (load->delivered != before)
        load->last_ns = now_ns();
}

static void loop_for(struct load *load, double seconds)
{
    uint64_t until = now_ns() + (uint64_t)(seconds * 1e9), now;

    while ((now = now_ns()) < until)
        turn(load, (int)((until - now) / 1000000));
}

static bool anybody_waits(struct load *load)
{
    for (unsigned i = 0; i < load->opt.publishers; i++)
        if (load->publishers[i].waiting)
            return true;
    return load->opening > 0;
}

/* Stops publishing and waits until everything has arrived and is answered. */
static void drain(struct load *load)
{
    uint64_t seen = load->delivered, seen_ns = now_ns();

    load->publishing = HOLD; /* and do not wait for what is known to be bad */
    while (load->wrong == 0 &&
           (load->delivered < load->expected || anybody_waits(load))) {
        turn(load, 100);
        if (load->delivered != seen) {
            seen = load->delivered;
            seen_ns = now_ns();
        } else if (now_ns() - seen_ns > PATIENCE_S * 1000000000ull) {
            wrong(load, "lost: %lld deliveries never came",
                  (long long)(load->expected - load->delivered));
            return;
        }
    }
    if (load->delivered > load->expected)
        wrong(load, "%llu deliveries, %llu expected",
              (unsigned long long)load->delivered,
              (unsigned long long)load->expected);
}

static void start_publishing(struct load *load, enum publishing how)
{
    load->publishing = how;
    for (unsigned i = 0; i < load->opt.publishers; i++)
        publish_next(load, &load->publishers[i]);
}

static void create_streams(struct load *load)
{
    struct publisher *p = &load->publishers[0];
    char              body[64], request[256];

    for (unsigned i = 0; i < load->opt.streams && !load->opt.nchan; i++) {
        int n = sprintf(body, "{\"streamId\":\"b%u\"}", i);

        n = sprintf(request,
                    "POST /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    "Content-Type: application/json\r\nContent-Length: %d\r\n"
                    "\r\n%s",
                    n, body);
        p->waiting = true;
        send_all(p->fd, request, (size_t)n);
        while (p->waiting)
            turn(load, 100);
    }
}

/* Which readers stall: spread evenly, never all of them. */
static bool stalls(const struct options *opt, unsigned i)
{
    return i * opt->stalled / 100 != (i + 1) * opt->stalled / 100;
}

/* Gives each reader a connection and the server the time to accept it. */
static void connect_readers(struct load *load)
{
    load->holding = true;
    for (unsigned i = 0; i < load->opt.readers; i++) {
        open_reader(load, &load->readers[i]);
        if (i % OPENING_MAX == 0)
            loop_for(load, 0.002);
    }
    while (load->opening > 0)
        turn(load, 100);
    loop_for(load, 0.1);
    load->holding = false;
}

static void begin(struct load *load, struct reader *r)
{
    if (r->state == CLOSED) {
        open_reader(load, r);
    } else {
        ask(load, r);
        load->opening++;
    }
}

static void open_readers(struct load *load)
{
    uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    unsigned next = 0;

    while (load->opened < load->opt.readers) {
        while (next < load->opt.readers && load->opening < OPENING_MAX)
            begin(load, &load->readers[next++]);
        turn(load, 100);
        if (now_ns() > give_up)
            die("only %llu of %u readers were let in",
                (unsigned long long)load->opened, load->opt.readers);
    }
}

static void make_readers(struct load *load)
{
    struct options *opt = &load->opt;
    uint32_t       *numbers;

    numbers = must_alloc(
        calloc((size_t)opt->readers * opt->publishers + 1, sizeof(*numbers)));
    load->readers = must_alloc(calloc(opt->readers, sizeof(*load->readers)));
    load->audience = must_alloc(calloc(opt->streams, sizeof(uint32_t)));
    for (unsigned i = 0; i < opt->readers; i++) {
        struct reader *r = &load->readers[i];

        r->stream = i % opt->streams;
        r->next = numbers + (size_t)i * opt->publishers;
        r->stalls = stalls(opt, i);
        load->audience[r->stream] += !r->stalls;
    }
}

/* ---- The modes ---------------------------------------------------------- */

static void run_paced(struct load *load)
{
    uint64_t step = (uint64_t)(1e9 / load->opt.rate), due = now_ns();
    uint64_t end = due + (uint64_t)(load->opt.seconds * 1e9);

    load->timing = true;
    for (uint64_t now; (now = now_ns()) < end;) {
        if (now >= due && !load->publishers[0].waiting) {
            due += step;
            publish(load, &load->publishers[0], 0, load->opt.data_len);
        } else {
            turn(load, now < due ? (int)((due - now) / 1000000) + 1 : 1);
        }
    }
}

/* Cuts one reader off, wherever it happens to be, and lets it come back with
 * the id of its last whole event. */
static void cut_one(struct load *load)
{
    struct reader *r;

    do
        r = &load->readers[pick(load, load->opt.readers)];
    while (r->state != IN_BODY);
    cut(r->fd);
    open_reader(load, r);
}

/* A number of cuts and a number of events, each spread evenly over the time:
 * the same work for every server. */
static void run_reconnect(struct load *load)
{
    struct publisher *p = &load->publishers[0];
    uint64_t          start = now_ns(), events = 0, cuts = 0;
    uint64_t          all = (uint64_t)(load->opt.seconds * load->opt.rate);

    load->opened = 0;
    while (cuts < load->opt.cuts || events < all) {
        double part = (double)(now_ns() - start) / 1e9 / load->opt.seconds;

        while (cuts < load->opt.cuts && load->opening < OPENING_MAX &&
               (double)cuts < part * load->opt.cuts) {
            cut_one(load);
            cuts++;
        }
        if (events < all && (double)events < part * (double)all &&
            !p->waiting) {
            publish(load, p, 0, load->opt.data_len);
            events++;
        }
        turn(load, 1);
    }
}

static void run(struct load *load)
{
    const char *mode = load->opt.mode;

    if (load->wrong > 0)
        return;
    if (strcmp(mode, "closed") == 0 || strcmp(mode, "burst") == 0) {
        start_publishing(load, mode[0] == 'c' ? CLOSED_LOOP : BURST);
        loop_for(load, load->opt.seconds);
    } else if (strcmp(mode, "paced") == 0) {
        run_paced(load);
    } else if (strcmp(mode, "reconnect") == 0) {
        run_reconnect(load);
    } else if (strcmp(mode, "connect") == 0) {
        open_readers(load);
    } else if (strcmp(mode, "idle") == 0) {
        loop_for(load, load->opt.seconds);
    } else {
        die("no mode %s", mode);
    }
    drain(load);
}

/* Brings the server to the state from which to measure: readers there, code
 * and sockets warm, and with `prefill` the sockets of stalled readers full. */
static void prepare(struct load *load)
{
    unsigned len = load->opt.data_len;

    if (strcmp(load->opt.mode, "connect") == 0)
        return;
    if (load->opt.prefill > 0) {
        load->opt.data_len = 16384;
        start_publishing(load, CLOSED_LOOP);
        while (load->published * 16 < load->opt.prefill && load->wrong == 0)
            turn(load, 100);
        drain(load);
        load->opt.data_len = len;
    }
    if (load->opt.warmup > 0) {
        start_publishing(load, CLOSED_LOOP);
        loop_for(load, load->opt.warmup);
        drain(load);
    }
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double percentile(struct load *load, double part)
{
    if (load->delay_count == 0)
        return 0;
    return (double)
        load->delays[(size_t)(part * (double)(load->delay_count - 1))];
}

static void measure(struct load *load)
{
    long     before = pss_kib(load->opt.pid), idle, after;
    uint64_t start, events, deliveries, opened;
    double   cpu = cpu_seconds(load->opt.pid), accept_cpu, own, seconds;

    if (strcmp(load->opt.mode, "connect") == 0)
        connect_readers(load);
    else
        open_readers(load);
    accept_cpu = cpu_seconds(load->opt.pid) - cpu;
    if (strcmp(load->opt.mode, "idle") == 0 || load->opt.readers > 1000)
        loop_for(load, 0.3);
    idle = pss_kib(load->opt.pid);
    prepare(load);

    events = load->published;
    deliveries = load->delivered;
    opened = strcmp(load->opt.mode, "reconnect") == 0 ? 0 : load->opened;
    own = cpu_seconds(getpid());
    cpu = cpu_seconds(load->opt.pid);
    start = load->last_ns = now_ns();
    run(load);
    cpu = cpu_seconds(load->opt.pid) - cpu;
    own = cpu_seconds(getpid()) - own;
    if (load->delivered == deliveries)
        load->last_ns = now_ns();
    seconds = (double)(load->last_ns - start) / 1e9;
    after = pss_kib(load->opt.pid);

    if (load->delay_count > 0)
        qsort(load->delays, load->delay_count, sizeof(float), by_value);
    printf(
        "{\"wrong\":%llu,\"events\":%llu,\"deliveries\":%llu,\"opened\":%llu,"
        "\"seconds\":%.6f,\"cpu\":%.6f,\"open_cpu\":%.6f,\"load_cpu\":%.6f,"
        "\"p50_ms\":%.4f,\"p99_ms\":%.4f,"
        "\"pss_before_kib\":%ld,\"pss_idle_kib\":%ld,\"pss_after_kib\":%ld}\n",
        (unsigned long long)load->wrong,
        (unsigned long long)(load->published - events),
        (unsigned long long)(load->delivered - deliveries),
        (unsigned long long)(load->opened - opened), seconds, cpu, accept_cpu,
        own, percentile(load, 0.50), percentile(load, 0.99), before, idle,
        after);
}

int main(int argc, char **argv)
{
    static struct load load = {.opt = {.mode = "closed",
                                       .readers = 1000,
                                       .streams = 1,
                                       .publishers = 1,
                                       .data_len = 124,
                                       .rate = 20,
                                       .seconds = 1,
                                       .warmup = 0.2},
                               .random = 2463534242u};

    read_options(&load.opt, argc, argv);
    raise_descriptor_limit();
    load.epoll = epoll_create1(0);
    load.publishers =
        must_alloc(calloc(load.opt.publishers, sizeof(*load.publishers)));
    for (unsigned i = 0; i < load.opt.publishers; i++)
        open_publisher(&load, i);
    make_readers(&load);
    create_streams(&load);
    measure(&load);
    return load.wrong > 0;
}
