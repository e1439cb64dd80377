/* SPDX-License-Identifier: MIT */
/* driver.h - what the files of sse-client-driver share. */
#ifndef TESTS_SERVICE_DRIVER_H
#define TESTS_SERVICE_DRIVER_H

#include <cjson/cJSON.h>

#include "sse.h"
#include "text.h"

/* Makes a client from the members of a start command, and starts it. Returns
 * SSE_OK or the sse_err of what failed. */
int driver_make(sse_loop *loop, const cJSON *command, sse_client **out);

/* Adds one line of JSON: a piece of news of client `number`. */
void driver_write_news(text *out, int number, const sse_news *news);

/* Adds the bytes as hexadecimal digits; reads them back: 0, or -1 where they
 * are none. */
void driver_add_hex(text *out, const char *data, size_t len);
int  driver_read_hex(text *out, const char *digits);

#endif
