/* SPDX-License-Identifier: MIT */
/* must.h - what must succeed, on whatever thread it happens. */
#ifndef MUST_H
#define MUST_H

#include <pthread.h>

#include "net_support.h"

static inline void must(int rc)
{
    net_check(rc >= 0, sse_strerror(rc));
}

static inline pthread_t start(void *(*run)(void *), void *arg)
{
    pthread_t thread;

    net_check(pthread_create(&thread, NULL, run, arg) == 0, "a thread");
    return thread;
}

#endif
