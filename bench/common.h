/* SPDX-License-Identifier: MIT */
/* What the benchmark programs share: clocks, the cost of a process, sockets. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Ends the program with status 2: it could not run, which says nothing about
 * the server. */
_Noreturn static inline void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

static inline void *must_alloc(void *p)
{
    if (p == NULL)
        die("out of memory");
    return p;
}

static inline uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* CPU time that all threads of a process have used, in seconds, from the
 * scheduler's own clock: /proc/PID/stat counts in ticks of 10 ms. */
static inline double cpu_seconds(int pid)
{
    clockid_t       clock;
    struct timespec t;

    if (pid <= 0)
        return 0;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        die("no process %d", pid);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The memory of a process, shared pages divided among those who share. */
static inline long pss_kib(int pid)
{
    char  path[64], line[256];
    long  kib = 0;
    FILE *f;

    if (pid <= 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
    f = fopen(path, "r");
    if (f == NULL)
        die("cannot read %s", path);
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "Pss: %ld kB", &kib) == 1)
            break;
    fclose(f);
    return kib;
}

static inline void raise_descriptor_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static inline struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

static inline void set_option(int fd, int level, int name, int value)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
        die("setsockopt %d: failed", name);
}

static inline void start_connect(int fd, uint16_t port)
{
    struct sockaddr_in addr = loopback(port);

    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 &&
        errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
}

/* Listens on loopback, on a free port where `*port` is 0. The result blocks. */
static inline int listen_on(uint16_t *port)
{
    struct sockaddr_in addr = loopback(*port);
    socklen_t          addr_len = sizeof(addr);
    int                fd = socket(AF_INET, SOCK_STREAM, 0);

    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(fd, 4096) < 0)
        die("listen: %s", strerror(errno));
    getsockname(fd, (struct sockaddr *)&addr, &addr_len);
    *port = ntohs(addr.sin_port);
    return fd;
}

static inline int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0)
        die("socket: %s", strerror(errno));
    return fd;
}

/* Sends all of it; these few bytes seldom meet a full socket. */
static inline void send_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            struct pollfd full = {.fd = fd, .events = POLLOUT};
            poll(&full, 1, 1000);
        } else if (n < 0) {
            die("send: %s", strerror(errno));
        } else {
            p += n;
            len -= (size_t)n;
        }
    }
}

/* By reset: nothing stays behind in TIME_WAIT, and no server gets the chance
 * to see it coming. */
static inline void cut(int fd)
{
    struct linger now = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

#endif
