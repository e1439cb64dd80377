/* SPDX-License-Identifier: MIT */
/* client_support.h - a client on a loop of its own thread, and the test as the
 * server it talks to: byte by byte, on a socket of the loopback. */
#ifndef CLIENT_SUPPORT_H
#define CLIENT_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sse.h"

#define PATIENCE_MS 30000 /* for what must come */

#define STREAM_HEAD \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

/* ---- The server's side ---- */

typedef struct stage {
    int       listener;
    uint32_t  port;
    sse_loop *loop;
    char      url[256];
} stage;

void stage_open(stage *s); /* and a loop that runs on a thread */
void stage_listen(stage *s); /* without a loop */
void stage_close(stage *s);

/* One request as it came. */
typedef struct call {
    int    fd;
    char  *text; /* the head, and the body, with a NUL */
    size_t head_len;
} call;

/* Waits for the next connection and its request. */
call stage_accept(const stage *s);

/* The same; false when the listener is shut down. */
bool stage_try_accept(const stage *s, call *out);

/* The next request of a connection that was there; text NULL at its end. */
void call_again(call *c);
void call_say(const call *c, const char *text);
void call_send(const call *c, const void *data, size_t len);
bool call_is_cut(const call *c); /* waits for the client to hang up */
void call_close(call *c);
void call_reset(call *c);

/* Whether the head has this line. */
bool call_has(const call *c, const char *line);
bool call_has_name(const call *c, const char *name);
const char *call_body(const call *c);

/* ---- The client's side ---- */

sse_client *client_new(const stage *s, const char *path,
                       const sse_client_options *opts);
void        client_set(sse_client *c, int setting, const char *text);

/* The next news of that kind; what comes before is passed over, but no END. */
const sse_news *client_await(sse_client *c, uint32_t kind);

/* The next news must be an event with this data. */
void client_expect(sse_client *c, const char *data);

#define FINE STREAM_HEAD "\r\n"
#define BYE "event: done\ndata: bye\n\n"

/* A client that comes back at once. */
extern const sse_client_options quick;

/* Answers the next call with FINE and BYE, which must end the client. The call
 * stays open when `last` takes it. */
void stage_finish(const stage *s, sse_client *c, call *last);

/* Takes all until the end and returns its cause. */
uint32_t client_end(sse_client *c);

bool text_is(const char *text, size_t len, const char *other);

#endif
