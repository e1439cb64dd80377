/* SPDX-License-Identifier: MIT */
/* client_support.c - a scripted server, and a client to try on it. */
#include "client_support.h"

#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_support.h"

/* ---- The server's side ---- */

static void await_input(int fd, const char *what)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    net_check(poll(&p, 1, PATIENCE_MS) == 1, what);
}

void stage_listen(stage *s)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t          len = sizeof(addr);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    net_check(s->listener >= 0 &&
                  bind(s->listener, (struct sockaddr *)&addr, len) == 0 &&
                  listen(s->listener, 512) == 0 &&
                  getsockname(s->listener, (struct sockaddr *)&addr, &len) == 0,
              "listening");
    s->port = ntohs(addr.sin_port);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", s->port);
}

void stage_open(stage *s)
{
    stage_listen(s);
    net_check(sse_loop_new(&s->loop) == SSE_OK, "a loop");
    net_check(sse_loop_start(s->loop) == SSE_OK, "the loop's thread");
}

void stage_close(stage *s)
{
    sse_loop_free(s->loop);
    close(s->listener);
}

static size_t body_len(const call *c)
{
    const char *at = strcasestr(c->text, "\r\nContent-Length:");

    if (!at || at > c->text + c->head_len)
        return 0;
    return strtoul(at + 17, NULL, 10);
}

void call_again(call *c)
{
    size_t len = 0, cap = 65536;
    char  *end = NULL;

    free(c->text);
    c->text = malloc(cap);
    net_check(c->text != NULL, "memory");
    c->text[0] = '\0';
    do {
        ssize_t n;

        await_input(c->fd, "a request");
        n = recv(c->fd, c->text + len, cap - len - 1, 0);
        if (n <= 0) {
            free(c->text);
            c->text = NULL;
            return;
        }
        len += (size_t)n;
        c->text[len] = '\0';
        end = strstr(c->text, "\r\n\r\n");
        c->head_len = end ? (size_t)(end - c->text) + 4 : 0;
    } while (!end || len < c->head_len + body_len(c));
}

bool stage_try_accept(const stage *s, call *out)
{
    int on = 1;

    *out = (call){0};
    await_input(s->listener, "a connection");
    out->fd = accept(s->listener, NULL, NULL);
    if (out->fd < 0)
        return false;
    setsockopt(out->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    call_again(out);
    return true;
}

call stage_accept(const stage *s)
{
    call c;

    net_check(stage_try_accept(s, &c), "accepting");
    net_check(c.text != NULL, "a request on a new connection");
    return c;
}

void call_send(const call *c, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = send(c->fd, at, len, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        at += n;
        len -= (size_t)n;
    }
}

void call_say(const call *c, const char *text)
{
    call_send(c, text, strlen(text));
}

bool call_is_cut(const call *c)
{
    char    rest[4096];
    ssize_t n;

    do {
        await_input(c->fd, "the client's hanging up");
        n = recv(c->fd, rest, sizeof(rest), 0);
    } while (n > 0);
    return true;
}

void call_close(call *c)
{
    close(c->fd);
    free(c->text);
    c->text = NULL;
}

void call_reset(call *c)
{
    struct linger now = {.l_onoff = 1};

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    call_close(c);
}

static const char *find_line(const call *c, const char *start)
{
    size_t      len = strlen(start);
    const char *at = c->text, *end = at ? at + c->head_len : NULL;

    while (at && at < end) {
        if (strncasecmp(at, start, len) == 0)
            return at;
        at = strstr(at, "\r\n");
        at = at ? at + 2 : NULL;
    }
    return NULL;
}

bool call_has(const call *c, const char *line)
{
    const char *at = find_line(c, line);

    return at && strncmp(at + strlen(line), "\r\n", 2) == 0;
}

bool call_has_name(const call *c, const char *name)
{
    const char *at = find_line(c, name);

    return at && at[strlen(name)] == ':';
}

const char *call_body(const call *c)
{
    return c->text + c->head_len;
}

/* ---- The client's side ---- */

sse_client *client_new(const stage *s, const char *path,
                       const sse_client_options *opts)
{
    sse_client *c;
    char        url[512];

    snprintf(url, sizeof(url), "%s%s", s->url, path);
    net_check(sse_client_new(s->loop, url, strlen(url), opts, &c) == SSE_OK,
              "a client");
    return c;
}

void client_set(sse_client *c, int setting, const char *text)
{
    net_check(sse_client_set(c, setting, text, strlen(text)) == SSE_OK, text);
}

bool text_is(const char *text, size_t len, const char *other)
{
    return len == strlen(other) && memcmp(text, other, len) == 0;
}

const sse_news *client_await(sse_client *c, uint32_t kind)
{
    const sse_news *news;

    do {
        int rc = sse_client_next(c, PATIENCE_MS, &news);

        if (rc != 1)
            fprintf(stderr, "waiting for news %u: %d\n", kind, rc);
        net_check(rc == 1, "news");
        if (news->kind == SSE_NEWS_END && kind != SSE_NEWS_END)
            fprintf(stderr, "%s: %s\n", sse_cause_name((int)news->cause),
                    news->detail);
        net_check(news->kind != SSE_NEWS_END || kind == SSE_NEWS_END,
                  "more than the end");
    } while (news->kind != kind);
    return news;
}

void client_expect(sse_client *c, const char *data)
{
    const sse_news *news = client_await(c, SSE_NEWS_EVENT);

    if (!text_is(news->data, news->data_len, data))
        fprintf(stderr, "\"%s\" in place of \"%s\"\n", news->data, data);
    net_check(text_is(news->data, news->data_len, data), "the event's data");
}

uint32_t client_end(sse_client *c)
{
    const sse_news *news = client_await(c, SSE_NEWS_END);
    uint32_t        cause = news->cause;

    net_check(sse_client_next(c, -1, &news) == 0, "nothing after the end");
    return cause;
}

const sse_client_options quick = {
    .size = sizeof(quick),
    .retry_ms = 1,
    .retry_floor_ms = 1,
};

void stage_finish(const stage *s, sse_client *c, call *last)
{
    call mine = stage_accept(s);

    call_say(&mine, FINE BYE);
    client_expect(c, "bye");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    if (last)
        *last = mine;
    else
        call_close(&mine);
}
