/* SPDX-License-Identifier: MIT */
/* The floor under every fan-out number: a server that does nothing but call
 * send(), once per event and reader, or with --join once per reader for all
 * events of a turn of its loop. It speaks just enough of docs/http.md for
 * bench/load.c, checks nothing, and forgets nothing. */
#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common.h"

enum { MAX_STREAMS = 4096, TURN = 512 };

struct conn;

struct stream {
    char          id[64];
    char         *log; /* wire bytes of all events, one after the other */
    size_t        log_len, log_cap;
    size_t       *ends; /* where each event ends in `log` */
    size_t        count, ends_cap;
    struct conn **readers;
    size_t        reader_count, readers_cap;
    bool          dirty; /* has events that no reader was sent yet */
};

struct conn {
    int            fd;
    char          *in; /* a request that is not whole yet */
    size_t         in_len, in_cap;
    struct stream *stream; /* NULL: publishes, or has not said */
    size_t         place;  /* in stream->readers */
    size_t         sent;   /* bytes of stream->log it was sent */
    bool           full;   /* its socket is full: wait for EPOLLOUT */
};

struct raw {
    int            epoll, listener;
    bool           join;
    struct stream  streams[MAX_STREAMS];
    struct stream *dirty[MAX_STREAMS];
    size_t         dirty_count;
};

static void *grow(void *p, size_t need, size_t *cap, size_t item)
{
    if (need <= *cap)
        return p;
    *cap = need * 2;
    return must_alloc(realloc(p, *cap * item));
}

static void watch(struct raw *raw, struct conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    epoll_ctl(raw->epoll, op, c->fd, &ev);
}

/* ---- Streams ------------------------------------------------------------ */

static struct stream *find_stream(struct raw *raw, const char *id, size_t len)
{
    uint32_t hash = 2166136261u;

    if (len >= sizeof(raw->streams[0].id))
        die("stream id too long");
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)id[i]) * 16777619u;
    for (size_t i = 0; i < MAX_STREAMS; i++) {
        struct stream *s = &raw->streams[(hash + i) % MAX_STREAMS];

        if (s->id[0] == '\0')
            memcpy(s->id, id, len);
        if (strlen(s->id) == len && memcmp(s->id, id, len) == 0)
            return s;
    }
    die("too many streams");
}

/* One send() of all that the reader has not been sent. */
static void flush_reader(struct raw *raw, struct conn *c)
{
    struct stream *s = c->stream;
    ssize_t        n;

    if (c->full || c->sent == s->log_len)
        return;
    n = send(c->fd, s->log + c->sent, s->log_len - c->sent,
             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        c->sent += (size_t)n;
    if (c->sent < s->log_len && (n >= 0 || errno == EAGAIN)) {
        c->full = true;
        watch(raw, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
}

static void flush_stream(struct raw *raw, struct stream *s)
{
    for (size_t i = 0; i < s->reader_count; i++)
        flush_reader(raw, s->readers[i]);
    s->dirty = false;
}

static void append(struct stream *s, const char *data, size_t len)
{
    char *to;
    int   head;

    s->log = grow(s->log, s->log_len + len + 64, &s->log_cap, 1);
    to = s->log + s->log_len;
    head = sprintf(to, "id: %zu-00000000\ndata: ", s->count + 1);
    memcpy(to + head, data, len);
    memcpy(to + head + len, "\n\n", 2);
    s->log_len += (size_t)head + len + 2;
    s->ends = grow(s->ends, s->count + 1, &s->ends_cap, sizeof(*s->ends));
    s->ends[s->count++] = s->log_len;
}

/* ---- Requests ----------------------------------------------------------- */

static void answer(struct conn *c, const char *text)
{
    size_t len = strlen(text);

    if (send(c->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len &&
        errno != EPIPE && errno != ECONNRESET)
        die("send: %s", strerror(errno));
}

static void subscribe(struct raw *raw, struct conn *c, struct stream *s,
                      const char *head)
{
    const char *cursor = strstr(head, "\r\nLast-Event-ID: ");
    size_t      seen = cursor ? strtoul(cursor + 17, NULL, 10) : 0;

    c->stream = s;
    c->sent = seen > 0 && seen <= s->count ? s->ends[seen - 1] : 0;
    c->place = s->reader_count;
    s->readers = grow(s->readers, s->reader_count + 1, &s->readers_cap,
                      sizeof(struct conn *));
    s->readers[s->reader_count++] = c;
    answer(c, "HTTP/1.1 200 OK\r\n"
              "Content-Type: text/event-stream\r\n"
              "Cache-Control: no-cache, no-transform\r\n"
              "X-Accel-Buffering: no\r\n"
              "Connection: keep-alive\r\n\r\n");
    flush_reader(raw, c);
}

static void publish(struct raw *raw, struct conn *c, struct stream *s,
                    const char *data, size_t len)
{
    append(s, data, len);
    answer(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    if (!raw->join)
        flush_stream(raw, s);
    else if (!s->dirty)
        raw->dirty[raw->dirty_count++] = s;
    s->dirty = raw->join;
}

/* `head` ends with a NUL in place of its last byte. */
static void handle(struct raw *raw, struct conn *c, const char *head,
                   const char *body, size_t body_len)
{
    static const char prefix[] = "/api/stream/";
    const char       *path = strchr(head, ' ') + 1;
    const char       *id = path + sizeof(prefix) - 1;
    size_t            id_len;

    if (strncmp(path, prefix, sizeof(prefix) - 1) != 0) {
        answer(c, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    id_len = strcspn(id, "/ ");
    if (head[0] == 'G')
        subscribe(raw, c, find_stream(raw, id, id_len), head);
    else
        publish(raw, c, find_stream(raw, id, id_len), body, body_len);
}

/* Handles the request at the start of c->in, if it is whole. */
static bool take_request(struct raw *raw, struct conn *c)
{
    char  *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    char  *length;
    size_t body_len, used;

    if (end == NULL)
        return false;
    end[3] = '\0';
    length = strstr(c->in, "\r\nContent-Length: ");
    body_len = length ? strtoul(length + 18, NULL, 10) : 0;
    used = (size_t)(end + 4 - c->in) + body_len;
    if (used > c->in_len) {
        end[3] = '\n';
        return false;
    }
    handle(raw, c, c->in, end + 4, body_len);
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
    return true;
}

/* ---- Connections -------------------------------------------------------- */

static void drop(struct conn *c)
{
    if (c->stream != NULL) {
        struct conn **readers = c->stream->readers;

        readers[c->place] = readers[--c->stream->reader_count];
        readers[c->place]->place = c->place;
    }
    close(c->fd);
    free(c->in);
    free(c);
}

static void receive(struct raw *raw, struct conn *c)
{
    ssize_t n;

    c->in = grow(c->in, c->in_len + 1024, &c->in_cap, 1);
    n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        drop(c);
        return;
    }
    if (n > 0)
        c->in_len += (size_t)n;
    while (take_request(raw, c))
        continue;
    if (c->stream != NULL && c->in_len == 0) { /* it will ask for no more */
        free(c->in);
        c->in = NULL;
        c->in_cap = 0;
    }
}

static void accept_all(struct raw *raw)
{
    struct conn *c;
    int          fd;

    while ((fd = accept4(raw->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        c = must_alloc(calloc(1, sizeof(*c)));
        c->fd = fd;
        watch(raw, c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void serve(struct raw *raw)
{
    struct epoll_event events[TURN];
    int                n = epoll_wait(raw->epoll, events, TURN, -1);

    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;

        if (c == NULL) {
            accept_all(raw);
            continue;
        }
        if ((events[i].events & EPOLLOUT) && c->full) {
            c->full = false;
            watch(raw, c, EPOLL_CTL_MOD, EPOLLIN);
            flush_reader(raw, c);
        }
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            receive(raw, c);
    }
    while (raw->dirty_count > 0)
        flush_stream(raw, raw->dirty[--raw->dirty_count]);
}

static void start(struct raw *raw)
{
    struct sockaddr_in addr = loopback(0);
    socklen_t          addr_len = sizeof(addr);
    struct epoll_event ev = {.events = EPOLLIN};

    raw->epoll = epoll_create1(0);
    raw->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(raw->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(raw->listener, 4096) < 0)
        die("listen: %s", strerror(errno));
    epoll_ctl(raw->epoll, EPOLL_CTL_ADD, raw->listener, &ev);
    getsockname(raw->listener, (struct sockaddr *)&addr, &addr_len);
    printf("listening on http://127.0.0.1:%u\n", ntohs(addr.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct raw raw;

    raw.join = argc > 1 && strcmp(argv[1], "--join") == 0;
    if (argc > 1 + raw.join) {
        fprintf(stderr, "usage: raw [--join]\n");
        return 2;
    }
    raise_descriptor_limit();
    start(&raw);
    for (;;)
        serve(&raw);
}
