/* SPDX-License-Identifier: MIT */
/* A network between a client and a server that fails when told to, or by
 * chance: for rows 15 and 16.
 *
 *     relay SERVER_PORT [SEED]
 *
 * It prints where it listens, and on the next line the port of its control.
 * A connection there sends one letter and gets it back when it is done:
 *
 *     d  down: nobody listens any more, and every connection is reset
 *     u  up: somebody listens again
 *     r  every connection is reset; the next one is as good as any
 *
 * With a seed, each connection draws a fate (choose_fate). */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "common.h"

enum { ROOM = 8192, TURN = 256, TICK_MS = 2, SEGMENT = 1460 };

#define MS UINT64_C(1000000)
#define NEVER UINT64_MAX

enum fate {
    GOOD,
    REFUSED, /* reset as soon as it is made                                 */
    BUSY,    /* answered with 5xx                                           */
    MUTE,    /* never answered                                              */
    CUT,     /* closed behind `limit` bytes                                 */
    RESET,   /* reset there                                                 */
    STALLED, /* nothing moves for a while there                             */
    DEAD,    /* nothing moves ever again there                              */
    SLOW,    /* slow to connect, small pieces, each of them late            */
    LOSSY    /* one segment in ten is lost and comes 200 ms late            */
};

struct link {
    struct link *next;
    int          client, server; /* -1: closed, or not connected yet */
    enum fate    fate;
    size_t       sent, limit; /* bytes to the client */
    uint64_t     wait_ns;     /* nothing moves before */
    bool         readable;    /* the server may have sent something */
    bool         full;        /* the client takes no more */
    size_t       at, len;     /* of `bytes`: on the way to the client */
    size_t       ask_len;
    char         bytes[ROOM];
    char         ask[ROOM]; /* what the client sent before we connected */
};

struct relay {
    int          epoll, listener, control, controller;
    uint16_t     server_port, port;
    bool         chance;
    uint64_t     random;
    struct link *links;
};

/* ---- Chance -------------------------------------------------------------- */

static uint32_t pick(struct relay *r, uint32_t below)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return (uint32_t)(r->random >> 32) % below;
}

/* One connection in five is good. The places where the others fail lie
 * anywhere in the head of the answer and the first few kilobytes of events. */
static void choose_fate(struct relay *r, struct link *l)
{
    static const struct {
        enum fate fate;
        unsigned  percent;
    } chances[] = {{REFUSED, 10}, {BUSY, 10}, {MUTE, 5}, {CUT, 16}, {RESET, 16},
                   {STALLED, 6},  {DEAD, 6},  {SLOW, 5}, {LOSSY, 6}};
    unsigned at = pick(r, 100);

    l->fate = GOOD;
    l->limit = SIZE_MAX;
    for (size_t i = 0; r->chance && i < sizeof(chances) / sizeof(chances[0]);
         i++) {
        if (at < chances[i].percent) {
            l->fate = chances[i].fate;
            break;
        }
        at -= chances[i].percent;
    }
    if (l->fate >= CUT && l->fate <= DEAD)
        l->limit = pick(r, 6000);
    if (l->fate == SLOW)
        l->wait_ns = now_ns() + pick(r, 500) * MS;
}

/* How long the next bytes take. */
static uint64_t delay_ns(struct relay *r, const struct link *l)
{
    uint64_t delay = 0;

    if (l->fate == SLOW)
        return pick(r, 50) * MS;
    if (l->fate == LOSSY)
        for (uint64_t wait = 200 * MS; pick(r, 10) == 0; wait *= 2)
            delay += wait;
    return delay;
}

static size_t piece_size(const struct link *l)
{
    if (l->fate == SLOW)
        return 100;
    return l->fate == LOSSY ? SEGMENT : ROOM;
}

/* ---- Links --------------------------------------------------------------- */

static void watch(struct relay *r, int fd, void *who)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                             .data.ptr = who};

    epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static void end_link(struct link *l, bool by_reset)
{
    if (l->client >= 0) {
        if (by_reset)
            cut(l->client);
        else
            close(l->client);
    }
    if (l->server >= 0)
        cut(l->server);
    l->client = l->server = -1;
    l->wait_ns = NEVER;
}

static void connect_server(struct relay *r, struct link *l)
{
    l->server = open_socket();
    start_connect(l->server, r->server_port);
    watch(r, l->server, l);
}

/* What the client asks, once there is a server to ask. */
static void send_ask(struct link *l)
{
    ssize_t n;

    if (l->server < 0 || l->ask_len == 0)
        return;
    n = send(l->server, l->ask, l->ask_len, MSG_NOSIGNAL);
    if (n < 0)
        return; /* it connects still */
    l->ask_len -= (size_t)n;
    memmove(l->ask, l->ask + n, l->ask_len);
}

static void answer_busy(struct relay *r, struct link *l)
{
    static const char *const statuses[] = {
        "500 Internal Server Error", "502 Bad Gateway",
        "503 Service Unavailable", "504 Gateway Timeout"};
    char answer[256];
    int  n = sprintf(answer,
                     "HTTP/1.1 %s\r\nContent-Type: text/plain\r\n"
                      "Content-Length: 8\r\nConnection: close\r\n\r\ntrouble\n",
                     statuses[pick(r, 4)]);

    send_all(l->client, answer, (size_t)n);
    end_link(l, false);
}

/* Reads what the client sends. A client that goes away ends the link. */
static void hear_client(struct relay *r, struct link *l)
{
    ssize_t n;

    while (l->client >= 0) {
        n = recv(l->client, l->ask + l->ask_len, ROOM - l->ask_len, 0);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0 || l->ask_len + (size_t)n == ROOM) {
            end_link(l, true);
            return;
        }
        l->ask_len += (size_t)n;
        if (l->fate == BUSY &&
            memmem(l->ask, l->ask_len, "\r\n\r\n", 4) != NULL)
            answer_busy(r, l);
    }
    send_ask(l);
}

/* It has come to the place where its fate meets it. */
static void meet_limit(struct relay *r, struct link *l)
{
    l->limit = SIZE_MAX;
    if (l->fate == STALLED)
        l->wait_ns = now_ns() + (200 + pick(r, 2800)) * MS;
    else if (l->fate == DEAD)
        l->wait_ns = NEVER;
    else
        end_link(l, l->fate == RESET);
}

/* False when there is nothing to take. */
static bool take_from_server(struct relay *r, struct link *l)
{
    ssize_t n;

    if (!l->readable || l->server < 0)
        return false;
    n = recv(l->server, l->bytes, piece_size(l), 0);
    if (n > 0) {
        l->at = 0;
        l->len = (size_t)n;
        l->wait_ns = now_ns() + delay_ns(r, l);
        return true;
    }
    l->readable = false;
    if (n == 0 || errno != EAGAIN)
        end_link(l, n < 0);
    return false;
}

/* False when the client takes no more, or the link is over. */
static bool give_to_client(struct relay *r, struct link *l)
{
    size_t  len = l->len - l->at, left = l->limit - l->sent;
    ssize_t n = send(l->client, l->bytes + l->at, len < left ? len : left,
                     MSG_NOSIGNAL);

    if (n < 0) {
        l->full = errno == EAGAIN;
        if (!l->full)
            end_link(l, true);
        return false;
    }
    l->at += (size_t)n;
    l->sent += (size_t)n;
    if (l->sent == l->limit)
        meet_limit(r, l);
    return l->client >= 0;
}

static void move(struct relay *r, struct link *l)
{
    while (l->client >= 0 && !l->full && l->wait_ns <= now_ns()) {
        if (l->at < l->len ? !give_to_client(r, l) : !take_from_server(r, l))
            return;
    }
}

/* What a moment brings: the connection of a slow one, the end of a wait. */
static void tick(struct relay *r, struct link *l)
{
    if (l->client < 0 || l->wait_ns > now_ns())
        return;
    if (l->server < 0 && l->fate != MUTE && l->fate != BUSY)
        connect_server(r, l);
    if (l->at < l->len || l->readable)
        move(r, l);
}

static void accept_links(struct relay *r)
{
    int fd;

    while ((fd = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct link *l = must_alloc(calloc(1, sizeof(*l)));

        *l = (struct link){.next = r->links, .client = fd, .server = -1};
        r->links = l;
        choose_fate(r, l);
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (l->fate == REFUSED) {
            end_link(l, true);
            continue;
        }
        watch(r, fd, l);
        tick(r, l);
    }
}

static void sweep(struct relay *r)
{
    for (struct link **at = &r->links; *at != NULL;) {
        struct link *l = *at;

        if (l->client >= 0) {
            tick(r, l);
            at = &l->next;
        } else {
            *at = l->next;
            free(l);
        }
    }
}

/* ---- Control ------------------------------------------------------------- */

static void go_up(struct relay *r)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &r->listener};

    r->listener = listen_on(&r->port);
    fcntl(r->listener, F_SETFL, O_NONBLOCK);
    epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->listener, &ev);
}

static void reset_all(struct relay *r)
{
    for (struct link *l = r->links; l != NULL; l = l->next)
        end_link(l, true);
}

static void obey(struct relay *r)
{
    char letter;

    if (recv(r->controller, &letter, 1, 0) != 1)
        exit(0);
    if (letter == 'd')
        close(r->listener);
    if (letter == 'd' || letter == 'r')
        reset_all(r);
    if (letter == 'u')
        go_up(r);
    send_all(r->controller, &letter, 1);
}

static void accept_controller(struct relay *r)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &r->controller};

    r->controller = accept(r->control, NULL, NULL);
    set_option(r->controller, IPPROTO_TCP, TCP_NODELAY, 1);
    epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->controller, &ev);
}

/* ---- Turns --------------------------------------------------------------- */

/* Edges tell of a link, and not of which of its two sockets: look at both. */
static void look_at(struct relay *r, struct link *l)
{
    if (l->client < 0)
        return;
    hear_client(r, l);
    l->readable = true;
    l->full = false;
    tick(r, l);
}

static void turn(struct relay *r)
{
    struct epoll_event events[TURN];
    int n = epoll_wait(r->epoll, events, TURN, r->chance ? TICK_MS : -1);

    for (int i = 0; i < n; i++) {
        void *who = events[i].data.ptr;

        if (who == &r->listener)
            accept_links(r);
        else if (who == &r->control)
            accept_controller(r);
        else if (who == &r->controller)
            obey(r);
        else
            look_at(r, who);
    }
    sweep(r);
}

int main(int argc, char **argv)
{
    static struct relay r = {.controller = -1};
    struct epoll_event  ev = {.events = EPOLLIN, .data.ptr = &r.control};
    uint16_t            control_port = 0;

    if (argc < 2 || argc > 3)
        die("usage: relay SERVER_PORT [SEED]");
    raise_descriptor_limit();
    r.server_port = (uint16_t)atoi(argv[1]);
    r.chance = argc > 2;
    r.random = argc > 2 ? strtoull(argv[2], NULL, 10) * 2 + 1 : 1;
    r.epoll = epoll_create1(0);
    go_up(&r);
    r.control = listen_on(&control_port);
    epoll_ctl(r.epoll, EPOLL_CTL_ADD, r.control, &ev);
    printf("listening on http://127.0.0.1:%u\n%u\n", r.port, control_port);
    fflush(stdout);
    for (;;)
        turn(&r);
}
