/* SPDX-License-Identifier: MIT */
/* conn.h - one connection of a server. */
#ifndef SSE_IO_CONN_H
#define SSE_IO_CONN_H

#include "../core/subscriber.h"
#include "server.h"

#define SSE__WRITE_MAX 262144 /* bytes that one subscriber gets in a turn */
#define SSE__STASH_MAX 65536  /* input kept while an answer is not ready  */

typedef struct sse__conn_user {
    sse__map_node node;
    uint32_t      conns;
    char          name[];
} sse__conn_user;

typedef enum sse__conn_state {
    SSE__CONN_READING,   /* a request, or waits for one                     */
    SSE__CONN_STREAMING, /* subscribed; the body is under way               */
    SSE__CONN_POLLING,   /* subscribed; the answer is not begun             */
    SSE__CONN_PARKED,    /* an append that waits for a slow reader          */
    SSE__CONN_HELD,      /* the application will answer, or the store       */
    SSE__CONN_LINGERING, /* the last answer is out; reads until the end     */
    SSE__CONN_CLOSED
} sse__conn_state;

struct sse__out;

typedef struct sse__conn {
    uv_tcp_t         tcp;
    sse_server      *server;
    sse__link        link;
    sse__timer       timer;
    sse_request     *request;  /* NULL between requests and while streaming */
    sse__conn_user  *user;     /* counted in                                */
    struct sse__out *out;      /* a write under way, or NULL                */
    sse__buf        *stash;    /* input behind the request, or NULL         */
    sse__subscriber  sub;      /* open while streaming or polling           */
    uint8_t          state;    /* an sse__conn_state                        */
    bool             admitted; /* there was room for it                     */
    bool             chunked;  /* the body under way is                     */
    bool             keep_alive;
    bool             feeding;  /* inside feed(): do not enter it again      */
    bool             end_after_write;
    bool             head_started;
    bool             ending;   /* the body's last bytes have been written   */
    bool             goodbye;  /* asked for while a write was under way     */
    size_t           unsent;   /* of that write, when its timer was set     */
} sse__conn;

void sse__conn_accept(sse_server *s);
void sse__conn_close(sse__conn *c); /* at once */
void sse__conn_write(sse__conn *c, const void *data, size_t len);

/* Writes `front`, the spans of `take` (which may be NULL) and `tail`, which is
 * static. SSE_OK: it is out. 1: the rest is under way, pins moved, and
 * sse__conn_written() follows. SSE_ERR_NOMEM, SSE_ERR_IO: close. */
int sse__conn_writev(sse__conn *c, const char *front, size_t front_len,
                     sse__take *take, const char *tail, size_t tail_len);
void sse__conn_written(sse__conn *c);
void sse__conn_answered(sse__conn *c); /* the answer has been given */
void sse__conn_unsubscribe(sse__conn *c);
int  sse__conn_set_user(sse__conn *c, const char *user, size_t len);

#endif
