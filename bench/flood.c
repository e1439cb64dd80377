/* SPDX-License-Identifier: MIT */
/* A server that sends a stream as fast as its reader takes it, or event by
 * event: for the client's rows. One reader at a time.
 *
 *     GET /SHAPE/FRAMING/COUNT
 *
 * SHAPE is tok or oai. FRAMING: `large`, chunks of 16 KiB; `each`, a chunk for
 * every event, many in one write; or a number, that many events a second, each
 * in a write of its own. */
#include <stdbool.h>

#include "common.h"
#include "flood.h"

enum { LARGE = 16 << 10, WRITE = 64 << 10, HEAD_MAX = 4096 };

struct body {
    char   *bytes; /* framed                                                 */
    size_t  len, cap;
    size_t *ends; /* of each chunk                                          */
    size_t  chunk_count, chunk_cap;
};

struct flood {
    const struct shape *shape;
    bool                large;
    unsigned            rate; /* 0: as fast as it goes */
    unsigned            count;
};

/* ---- The body ------------------------------------------------------------ */

static void add(struct body *b, const char *text, size_t len)
{
    if (b->len + len > b->cap) {
        b->cap = (b->len + len) * 2;
        b->bytes = must_alloc(realloc(b->bytes, b->cap));
    }
    memcpy(b->bytes + b->len, text, len);
    b->len += len;
}

static void add_chunk(struct body *b, const char *text, size_t len)
{
    char size[16];

    add(b, size, (size_t)sprintf(size, "%zx\r\n", len));
    add(b, text, len);
    add(b, "\r\n", 2);
    if (b->chunk_count == b->chunk_cap) {
        b->chunk_cap = b->chunk_cap * 2 + 1024;
        b->ends = must_alloc(realloc(b->ends, b->chunk_cap * sizeof(*b->ends)));
    }
    b->ends[b->chunk_count++] = b->len;
}

static size_t write_event(char *out, const struct shape *s, uint32_t number)
{
    char data[FLOOD_DATA_MAX];
    int  n = 0;

    flood_data(data, s, number);
    if (s->has_id)
        n += sprintf(out, "id: %0*u\n", FLOOD_ID_LEN, number + 1);
    if (s->type[0] != '\0')
        n += sprintf(out + n, "event: %s\n", s->type);
    return (size_t)(n + sprintf(out + n, "data: %s\n\n", data));
}

static struct body make_body(const struct flood *f)
{
    static char piece[LARGE + 2 * FLOOD_DATA_MAX];
    struct body b = {0};
    size_t      len = 0;

    for (unsigned i = 0; i < f->count; i++) {
        len += write_event(piece + len, f->shape, i);
        if (f->large && len < LARGE)
            continue;
        add_chunk(&b, piece, len);
        len = 0;
    }
    len += (size_t)sprintf(piece + len, "data: " FLOOD_LAST "\n\n");
    add_chunk(&b, piece, len);
    add(&b, "0\r\n\r\n", 5);
    b.ends[b.chunk_count - 1] = b.len;
    return b;
}

/* ---- Sending ------------------------------------------------------------- */

static bool send_some(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0)
            return false; /* it went away */
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec t = {.tv_sec = (time_t)(at_ns / 1000000000u),
                         .tv_nsec = (long)(at_ns % 1000000000u)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* What is late is not joined: each event is a write, whatever the clock says. */
static void send_paced(int fd, const struct body *b, unsigned rate)
{
    uint64_t start = now_ns();
    size_t   at = 0;

    for (size_t i = 0; i < b->chunk_count; at = b->ends[i++]) {
        sleep_until(start + i * 1000000000u / rate);
        if (!send_some(fd, b->bytes + at, b->ends[i] - at))
            return;
    }
}

static void send_body(int fd, const struct flood *f, const struct body *b)
{
    if (f->rate > 0) {
        send_paced(fd, b, f->rate);
        return;
    }
    for (size_t at = 0; at < b->len; at += WRITE)
        if (!send_some(fd, b->bytes + at,
                       b->len - at < WRITE ? b->len - at : WRITE))
            return;
}

/* ---- Serving ------------------------------------------------------------- */

static bool read_head(int fd, char *head)
{
    size_t len = 0;

    while (len < HEAD_MAX - 1) {
        ssize_t n = recv(fd, head + len, HEAD_MAX - 1 - len, 0);

        if (n <= 0)
            return false;
        len += (size_t)n;
        head[len] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL)
            return true;
    }
    return false;
}

static bool read_request(const char *head, struct flood *f)
{
    char shape[16], framing[16];

    if (sscanf(head, "GET /%15[a-z]/%15[a-z0-9]/%u", shape, framing,
               &f->count) != 3)
        return false;
    f->shape = find_shape(shape);
    f->large = strcmp(framing, "large") == 0;
    f->rate = (unsigned)atoi(framing);
    return f->shape != NULL;
}

static void serve(int fd)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\n"
                             "Content-Type: text/event-stream\r\n"
                             "Transfer-Encoding: chunked\r\n"
                             "Connection: close\r\n\r\n";
    struct flood      f = {0};
    struct body       body;
    char              head[HEAD_MAX];

    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (!read_head(fd, head) || !read_request(head, &f))
        return;
    body = make_body(&f);
    if (send_some(fd, ok, sizeof(ok) - 1))
        send_body(fd, &f, &body);
    free(body.bytes);
    free(body.ends);
}

int main(void)
{
    uint16_t port = 0;
    int      listener = listen_on(&port);

    printf("listening on http://127.0.0.1:%u\n", port);
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            die("accept: %s", strerror(errno));
        serve(fd);
        close(fd);
    }
}
