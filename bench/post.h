/* SPDX-License-Identifier: MIT */
/* A connection to sse-server that posts, one request at a time. */
#ifndef BENCH_POST_H
#define BENCH_POST_H

#include <fcntl.h>

#include "common.h"
#include "wire.h"

enum { POST_DATA = 100 };

static inline int open_poster(uint16_t port)
{
    int fd = open_socket();

    fcntl(fd, F_SETFL, 0);
    start_connect(fd, port);
    return fd;
}

/* Waits for the answer, which fits into one piece. */
static inline void post(int fd, const char *path, const char *body, size_t len)
{
    char    request[1024], answer[2048];
    int     head = snprintf(request, sizeof(request),
                            "POST /api/stream%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                "Content-Type: text/plain\r\n"
                                "Content-Length: %zu\r\n\r\n",
                            path, len);
    ssize_t n;

    memcpy(request + head, body, len);
    send_all(fd, request, (size_t)head + len);
    n = recv(fd, answer, sizeof(answer) - 1, 0);
    if (n <= 0 || strncmp(answer, "HTTP/1.1 20", 11) != 0)
        die("POST %s: answered %.*s", path, (int)(n > 0 ? n : 0), answer);
}

static inline void post_new(int fd, unsigned stream)
{
    char body[64];

    post(fd, "", body, (size_t)sprintf(body, "{\"streamId\":\"b%u\"}", stream));
}

static inline void post_event(int fd, unsigned stream, uint32_t seq)
{
    struct payload payload = {.stream = stream, .seq = seq};
    char           path[64], data[POST_DATA];

    sprintf(path, "/b%u/events", stream);
    payload_write(data, sizeof(data), payload);
    post(fd, path, data, sizeof(data));
}

static inline void post_end(int fd, unsigned stream)
{
    char path[64];

    sprintf(path, "/b%u/complete", stream);
    post(fd, path, "{}", 2);
}

#endif
