/* SPDX-License-Identifier: MIT */
/* callback.h - sends numbered POSTs to one URL: /1, /2, /3, ... */
#ifndef TESTS_SERVICE_CALLBACK_H
#define TESTS_SERVICE_CALLBACK_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct callback callback;

/* `gone` becomes true when nobody waits for what is being sent. It must live
 * as long as the callback. Gives NULL when there is no memory. */
callback *callback_new(const char *url, const atomic_bool *gone);
void      callback_free(callback *c);

/* Sends the next one and waits for its answer; tries a few times. Returns 0,
 * or -1 when nobody answers as one should. */
int callback_send(callback *c, const char *body, size_t len);

#endif
