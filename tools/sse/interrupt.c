/* SPDX-License-Identifier: MIT */
/* interrupt.c - SIGINT and SIGTERM, taken between two steps. */
#include "interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

/* The handler writes here, so that a signal just before poll() wakes it. */
static int                   wake[2];
static volatile sig_atomic_t caught;

static void note(int signo)
{
    int     saved = errno;
    ssize_t n = write(wake[1], "", 1);

    (void)n; /* an empty pipe takes a byte */
    caught = signo;
    errno = saved;
}

/* A signal that the parent ignores (nohup, a background job) stays ignored. */
static void catch_one(int signo)
{
    struct sigaction now, act = {0};

    act.sa_handler = note;
    act.sa_flags = (int)SA_RESETHAND;
    sigemptyset(&act.sa_mask);
    if (sigaction(signo, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
        sigaction(signo, &act, NULL);
}

void interrupt_catch(void)
{
    if (pipe(wake) != 0)
        exit(fail("cannot make a pipe: %s", strerror(errno)));
    catch_one(SIGINT);
    catch_one(SIGTERM);
}

int interrupt_signal(void)
{
    return caught;
}

int interrupt_wait(int fd, int timeout_ms)
{
    struct pollfd fds[2] = {
        {.fd = wake[0], .events = POLLIN},
        {.fd = fd, .events = POLLIN}, /* poll() passes over -1 */
    };
    int n = poll(fds, 2, timeout_ms);

    if (caught)
        return -1;
    return n > 0 || (n < 0 && fd >= 0);
}
