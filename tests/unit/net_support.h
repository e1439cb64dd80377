/* SPDX-License-Identifier: MIT */
/* net_support.h - a server on a thread of its own, and a blocking HTTP client.
 * What goes wrong in here ends the program: it may happen on any thread. */
#ifndef NET_SUPPORT_H
#define NET_SUPPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sse.h"

#define NET_PATIENCE_MS 30000 /* for what must come: no test waits for less */

/* Ends the program when `truth` is false. */
void net_check(bool truth, const char *what);

/* ---- Server ---- */

typedef struct net_server {
    sse_hub    *hub;
    sse_loop   *loop;
    sse_server *server;
    uint32_t    port;
    pthread_t   thread;
} net_server;

/* Makes all of it; between the two, hooks may be set. */
void net_server_new(net_server *s, const sse_hub_options *hub_opts,
                    const sse_server_options *opts);
void net_server_run(net_server *s);  /* listens; runs the loop on a thread */
void net_server_join(net_server *s); /* waits for the loop, frees all      */
void net_server_stop(net_server *s); /* closes, then joins                 */

/* ---- Client ---- */

typedef struct net_peer {
    int    fd;
    bool   ended;      /* the server has sent all, or reset the connection */
    char  *in;         /* received and not yet taken, with a NUL behind it */
    size_t len, cap;
    char  *head, *body; /* of the last answer, each with a NUL             */
    size_t body_len;
} net_peer;

void net_open(net_peer *p, uint32_t port);
void net_close(net_peer *p);
void net_reset(net_peer *p); /* closes with a RST */
void net_send(net_peer *p, const char *data, size_t len);
void net_say(net_peer *p, const char *text);

/* Sends a request. `headers` are whole lines; `body` may be NULL for none. */
void net_ask(net_peer *p, const char *method, const char *target,
             const char *headers, const char *body);

/* Reads until `text` has come, and takes nothing; false at the end. */
bool net_wait_for(net_peer *p, const char *text);

/* Takes one whole answer. Returns its status; 0 when the connection ends
 * first. The body of an answer to HEAD is not waited for. */
int net_answer(net_peer *p, bool is_head);

/* Both. */
int net_do(net_peer *p, const char *method, const char *target,
           const char *headers, const char *body);

/* The same on a connection of its own; the peer is closed, the answer left. */
int  net_once(uint32_t port, net_peer *p, const char *method,
              const char *target, const char *headers, const char *body);
void net_free(net_peer *p);

/* Whether the connection ends without another byte. */
bool net_ends(net_peer *p);

/* The value of a header of the last answer; "" without. Good until the next
 * call. */
const char *net_header(const net_peer *p, const char *name);

/* The number behind a metric's name and label in the text of /metrics, asked
 * for until it is `want`. */
void net_await_metric(uint32_t port, const char *name, long want);

#endif
