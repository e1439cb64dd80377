/* SPDX-License-Identifier: MIT */
/* net_support.c - a server on a thread of its own, a blocking HTTP client. */
#include "net_support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void net_check(bool truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "it went wrong: %s\n", what);
    abort();
}

/* ---- Server ---- */

void net_server_new(net_server *s, const sse_hub_options *hub_opts,
                    const sse_server_options *opts)
{
    net_check(sse_hub_new(hub_opts, &s->hub) == SSE_OK, "a hub");
    net_check(sse_loop_new(&s->loop) == SSE_OK, "a loop");
    net_check(sse_server_new(s->loop, s->hub, opts, &s->server) == SSE_OK,
              "a server");
}

static void *run(void *arg)
{
    net_server *s = arg;

    net_check(sse_loop_run(s->loop) == SSE_OK, "the loop's run");
    return NULL;
}

void net_server_run(net_server *s)
{
    net_check(sse_server_listen(s->server, "127.0.0.1", 9, 0, &s->port) ==
                  SSE_OK,
              "listening");
    net_check(pthread_create(&s->thread, NULL, run, s) == 0, "a thread");
}

void net_server_join(net_server *s)
{
    pthread_join(s->thread, NULL);
    sse_server_free(s->server);
    sse_loop_free(s->loop);
    sse_hub_free(s->hub);
}

void net_server_stop(net_server *s)
{
    sse_server_close(s->server);
    net_server_join(s);
}

/* ---- Client ---- */

void net_open(net_peer *p, uint32_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port)};
    int                on = 1;

    *p = (net_peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    net_check(p->fd >= 0, "a socket");
    net_check(connect(p->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0,
              "connecting");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void net_free(net_peer *p)
{
    free(p->in);
    free(p->head);
    free(p->body);
    p->in = p->head = p->body = NULL;
    p->len = p->cap = p->body_len = 0;
}

void net_close(net_peer *p)
{
    close(p->fd);
    net_free(p);
}

void net_reset(net_peer *p)
{
    struct linger now = {.l_onoff = 1};

    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    net_close(p);
}

/* A peer that has gone is found out by reading. */
void net_send(net_peer *p, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(p->fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

void net_say(net_peer *p, const char *text)
{
    net_send(p, text, strlen(text));
}

void net_ask(net_peer *p, const char *method, const char *target,
             const char *headers, const char *body)
{
    size_t size = strlen(method) + strlen(target) + strlen(headers) + 200;
    char  *head = malloc(size);
    int    n;

    net_check(head != NULL, "memory");
    n = snprintf(head, size, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method,
                 target, headers);
    if (body)
        n += snprintf(head + n, size - (size_t)n, "Content-Length: %zu\r\n",
                      strlen(body));
    snprintf(head + n, size - (size_t)n, "\r\n");
    net_say(p, head);
    if (body)
        net_say(p, body);
    free(head);
}

static void make_room(net_peer *p)
{
    if (p->cap - p->len > 65536)
        return;
    p->cap = p->cap * 2 + 131072;
    p->in = realloc(p->in, p->cap);
    net_check(p->in != NULL, "memory");
}

/* Receives something; false at the end. */
static bool receive(net_peer *p)
{
    struct pollfd poll_fd = {.fd = p->fd, .events = POLLIN};
    ssize_t       n;
    int           ready;

    make_room(p);
    p->in[p->len] = '\0';
    if (p->ended)
        return false;
    do
        ready = poll(&poll_fd, 1, NET_PATIENCE_MS);
    while (ready < 0 && errno == EINTR);
    net_check(ready == 1, "the server's silence");
    do
        n = recv(p->fd, p->in + p->len, p->cap - p->len - 1, 0);
    while (n < 0 && errno == EINTR);
    p->ended = n <= 0;
    p->len += n > 0 ? (size_t)n : 0;
    p->in[p->len] = '\0';
    return n > 0;
}

bool net_wait_for(net_peer *p, const char *text)
{
    while (!p->in || !memmem(p->in, p->len, text, strlen(text)))
        if (!receive(p))
            return false;
    return true;
}

static char *take(net_peer *p, size_t len)
{
    char *copy = malloc(len + 1);

    net_check(copy != NULL, "memory");
    memcpy(copy, p->in, len);
    copy[len] = '\0';
    p->len -= len;
    memmove(p->in, p->in + len, p->len + 1);
    return copy;
}

static bool take_exactly(net_peer *p, size_t len, char **out)
{
    while (!p->in || p->len < len)
        if (!receive(p))
            return false;
    *out = take(p, len);
    return true;
}

static bool take_chunks(net_peer *p)
{
    for (;;) {
        char  *line, *chunk;
        size_t size;

        if (!net_wait_for(p, "\r\n"))
            return false;
        line = take(p, (size_t)(strstr(p->in, "\r\n") + 2 - p->in));
        size = strtoul(line, NULL, 16);
        free(line);
        if (!take_exactly(p, size + 2, &chunk))
            return false;
        p->body = realloc(p->body, p->body_len + size + 1);
        net_check(p->body != NULL, "memory");
        memcpy(p->body + p->body_len, chunk, size);
        p->body_len += size;
        p->body[p->body_len] = '\0';
        free(chunk);
        if (size == 0)
            return true;
    }
}

int net_answer(net_peer *p, bool is_head)
{
    int  status;
    bool whole = true;

    free(p->head);
    free(p->body);
    p->head = p->body = NULL;
    p->body_len = 0;
    if (!net_wait_for(p, "\r\n\r\n"))
        return 0;
    p->head = take(p, (size_t)(strstr(p->in, "\r\n\r\n") + 4 - p->in));
    net_check(sscanf(p->head, "HTTP/1.1 %d ", &status) == 1, p->head);
    if (is_head || status == 204 || status < 200) {
        p->body = strdup("");
    } else if (*net_header(p, "Transfer-Encoding")) {
        whole = take_chunks(p);
    } else {
        p->body_len = strtoul(net_header(p, "Content-Length"), NULL, 10);
        whole = take_exactly(p, p->body_len, &p->body);
    }
    return whole ? status : 0;
}

int net_do(net_peer *p, const char *method, const char *target,
           const char *headers, const char *body)
{
    net_ask(p, method, target, headers, body);
    return net_answer(p, strcmp(method, "HEAD") == 0);
}

int net_once(uint32_t port, net_peer *p, const char *method, const char *target,
             const char *headers, const char *body)
{
    int status;

    net_open(p, port);
    status = net_do(p, method, target, headers, body);
    close(p->fd);
    return status;
}

bool net_ends(net_peer *p)
{
    return p->len == 0 && !receive(p);
}

const char *net_header(const net_peer *p, const char *name)
{
    static _Thread_local char value[1024];
    size_t                    len = strlen(name);

    for (const char *line = strstr(p->head, "\r\n"); line;
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) != 0 || line[2 + len] != ':')
            continue;
        sscanf(line + 3 + len, " %1023[^\r]", value);
        return value;
    }
    return "";
}

static long metric(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, len) == 0 && at[len] == ' ')
            return strtol(at + len, NULL, 10);
    }
    return -1;
}

void net_await_metric(uint32_t port, const char *name, long want)
{
    net_peer p;
    int      tries = 0;

    net_open(&p, port);
    for (;;) {
        net_check(net_do(&p, "GET", "/metrics", "", NULL) == 200, "metrics");
        if (metric(p.body, name) == want)
            break;
        net_check(++tries < NET_PATIENCE_MS, name);
        usleep(1000);
    }
    net_close(&p);
}
