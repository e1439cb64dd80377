/* SPDX-License-Identifier: MIT */
/* server.h - the HTTP server's own state. Everything here belongs to the
 * loop's thread; what it shares with others stands behind the hub's lock. */
#ifndef SSE_IO_SERVER_H
#define SSE_IO_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "../core/buf.h"
#include "../core/list.h"
#include "../core/map.h"
#include "../core/wheel.h"
#include "host.h"
#include "loop.h"
#include "sse.h"

typedef enum sse__refused {
    SSE__REFUSED_BAD_REQUEST,
    SSE__REFUSED_DENIED,
    SSE__REFUSED_NOT_FOUND,
    SSE__REFUSED_METHOD,
    SSE__REFUSED_TIMEOUT,
    SSE__REFUSED_CONFLICT,
    SSE__REFUSED_TOO_LARGE,
    SSE__REFUSED_LIMIT,
    SSE__REFUSED_INTERNAL,
    SSE__REFUSED_COUNT
} sse__refused;

#define SSE__DELAY_BUCKETS 8

typedef struct sse__server_counters {
    uint64_t connections; /* ever                                           */
    uint64_t requests;
    uint64_t polls;
    uint64_t refused[SSE__REFUSED_COUNT];
    uint64_t delay[SSE__DELAY_BUCKETS + 1]; /* loop delay: a histogram      */
    uint64_t delay_sum_us;
} sse__server_counters;

/* The server's door to the hub. It may outlive the server by a moment, while
 * another thread finishes a wake-up. */
typedef struct sse__server_door {
    sse__door   door;
    sse__bell  *bell;
    sse_server *server; /* for the loop's thread; NULL once it is closed     */
    atomic_bool rung;   /* by another thread                                 */
} sse__server_door;

struct sse_server {
    sse_loop          *loop;
    sse_hub           *hub;     /* counted                                  */
    atomic_uint        close_asked; /* by any thread; not among plain bools,
                                     * which the compiler loads together    */
    sse__server_door  *door;
    sse_server_options opts;    /* with the defaults filled in              */
    sse__link          link;    /* on the loop's servers                    */
    uv_tcp_t           listener;
    uv_check_t         check;   /* flushes, once a turn                     */
    uv_idle_t          idle;    /* active while there is more to flush      */
    uv_timer_t         timer;   /* drives `wheel`                           */
    uv_timer_t         pulse;   /* measures the loop's delay                */
    sse__wheel         wheel;   /* of connections' timers                   */
    sse__timer         deadline; /* of the close                            */
    sse__link          conns;
    sse__link          parked;  /* appends that wait for slow readers       */
    sse__link          answers; /* of the store; under the hub's lock       */
    sse__map           users;   /* connections by user                      */
    uint32_t           conn_count;
    uint32_t           admitted; /* of these, not refused                   */
    uint32_t           open_handles; /* to close before it can be freed     */
    bool               listening;
    bool               accept_waits; /* for memory: a connection was not taken */
    bool               ready;   /* something to flush                       */
    bool               closing;
    bool               closed;  /* handles are being closed                 */
    bool               freed;   /* the owner has let go                     */
    sse__buf           prefix;
    sse__buf           origins; /* each with a NUL behind it                */
    sse__buf           scratch; /* bodies of answers                        */
    sse__buf           head;    /* heads of answers, fronts of chunks       */
    sse__buf           arena;   /* decoded strings of one request           */
    char               date[40];
    int64_t            date_s;
    int64_t            pulse_due_us;
    int64_t            close_by_ms;
    char               error[384];
    int (*authorize)(sse_request *r, int verb, const char *id, size_t id_len,
                     void *user);
    void *authorize_user;
    void (*on_request)(sse_request *r, void *user);
    void                *on_request_user;
    sse__server_counters counters;
};

void    sse__server_begin_close(sse_server *s);
void    sse__server_cut(sse_server *s);     /* closes everything now        */
void    sse__server_on_bell(sse_server *s); /* another thread has rung      */
void    sse__server_set_timer(sse_server *s, sse__timer *t, uint32_t ms);
void    sse__server_flush_soon(sse_server *s);
void    sse__server_conn_gone(sse_server *s); /* one connection less        */
int64_t sse__server_now(const sse_server *s);
int     sse__server_metrics(const sse_server *s, sse__buf *out);

#endif
