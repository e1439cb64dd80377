/* SPDX-License-Identifier: MIT */
/* server.h - the HTTP server's structs. Everything here belongs to the loop's
 * thread; what it shares with others stands behind the hub's lock. */
#ifndef SSE_IO_SERVER_H
#define SSE_IO_SERVER_H

#include <http_parser.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "../core/buf.h"
#include "../core/hub.h"
#include "../core/list.h"
#include "../core/map.h"
#include "../core/wheel.h"
#include "host.h"
#include "loop.h"
#include "sse.h"

#define SSE__HEADERS_MAX 100
#define SSE__WRITE_MAX 262144   /* bytes that one subscriber gets in a turn */
#define SSE__STASH_MAX 65536    /* input kept while an answer is not ready  */

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

typedef struct sse__header {
    uint32_t name, name_len, value, value_len; /* in the head's text */
} sse__header;

/* A request, from its first byte to its answer. */
struct sse_request {
    sse__conn  *conn;
    http_parser parser;
    sse__buf    text;      /* the target, then names and values             */
    sse__header headers[SSE__HEADERS_MAX];
    uint32_t    header_count;
    uint32_t    target_len;
    uint32_t    path, path_len; /* in `text`, as are the next two           */
    uint32_t    query, query_len;
    sse__buf    body;
    sse__buf    added;     /* header lines for the answer                   */
    sse__buf    value;     /* of the last query parameter asked for         */
    sse__buf    user;      /* who asks, if a hook said so                   */
    sse__buf    id;        /* the stream's, decoded from the path           */
    bool        has_user;
    bool        in_value;  /* the last header piece was a value             */
    bool        begun, line_start, after_cr, head_over; /* of head lines     */
    bool        headers_done, complete, answered;
    bool        continued; /* 100 Continue has been sent                     */
    bool        pinned;    /* a hook may still look at it                    */
    bool        dead;      /* to be freed once it is not pinned              */
    int         status;    /* of the answer to a head or body that is wrong */
    int64_t     wait_until_ms; /* of a parked append; 0 before it waits     */
    uint32_t    parked_state;  /* what a parked append sets                 */
};

/* ---- server.c ---- */

void    sse__server_begin_close(sse_server *s);
void    sse__server_cut(sse_server *s);     /* closes everything now        */
void    sse__server_on_bell(sse_server *s); /* another thread has rung      */
void    sse__server_set_timer(sse_server *s, sse__timer *t, uint32_t ms);
void    sse__server_flush_soon(sse_server *s);
void    sse__server_conn_gone(sse_server *s); /* one connection less        */
int64_t sse__server_now(const sse_server *s);
int     sse__server_metrics(const sse_server *s, sse__buf *out);

/* ---- conn.c ---- */

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
void sse__conn_end(sse__conn *c);      /* no further request */
void sse__conn_unsubscribe(sse__conn *c);
int  sse__conn_set_user(sse__conn *c, const char *user, size_t len);

/* ---- request.c ---- */

sse_request *sse__request_new(sse__conn *c);
void         sse__request_free(sse_request *r); /* once it is not pinned */
void         sse__request_unpin(sse_request *r);

/* Feeds input; returns the number of bytes used. Afterwards the request is
 * complete, or has a status to refuse it with, or wants more. */
size_t      sse__request_feed(sse_request *r, const char *data, size_t len);
bool        sse__request_wants_continue(sse_request *r); /* true once */
const char *sse__request_find(const sse_request *r, const char *name,
                              size_t *out_len);

/* Puts the decoded text into `out`: SSE_OK, SSE_ERR_NOMEM, SSE_ERR_INVAL. */
int sse__percent_decode(sse__buf *out, const char *text, size_t len,
                        bool plus_is_space);

/* ---- respond.c ---- */

void sse__respond_json(sse_request *r, int status, const sse__buf *body);
void sse__respond_empty(sse_request *r, int status);
void sse__respond_error(sse_request *r, int status, const char *code,
                        const char *message);
void sse__respond_err(sse_request *r, int err); /* an sse_err               */

/* Writes the head of a stream's answer into the server's `head`. */
int  sse__respond_stream_head(sse_request *r, const char *id, size_t id_len);
void sse__respond_options(sse_request *r, const char *allow);
void sse__respond_method(sse_request *r, const char *allow);

/* ---- routes.c ---- */

void sse__route(sse_request *r);

/* Whether the owner rule lets the request at the stream. With the lock. */
bool sse__request_may(const sse_request *r, const sse__stream *s);

/* ---- append.c ---- */

void sse__append_events(sse_request *r);
void sse__append_end(sse_request *r, uint32_t state);
void sse__append_retry(sse_server *s); /* looks at the parked ones again */
void sse__append_again(sse__conn *c);  /* looks at this one */

/* ---- api.c ---- */

void sse__api_create(sse_request *r);
void sse__api_list(sse_request *r);
void sse__api_remove(sse_request *r);
void sse__api_stop(sse_request *r);
void sse__api_recover(sse_request *r);
void sse__api_metrics(sse_request *r);
void sse__api_health(sse_request *r);

/* ---- reader.c ---- */

void sse__reader_start(sse_request *r); /* subscribes, and answers */
bool sse__reader_flush(sse_server *s); /* true: it stopped early */
void sse__reader_written(sse__conn *c);
void sse__reader_goodbye(sse__conn *c); /* ends a stream for a shutdown     */
void sse__reader_poll_timeout(sse__conn *c);

/* ---- events.c ---- */

/* Adds the events in `take` as JSON objects, with commas between; `*last` gets
 * the last id among them. Errors as for buf add. */
int sse__events_add(sse__buf *out, const sse__take *take, sse_event_id *last,
                    bool *first);
int sse__stream_json(sse__buf *out, const sse_stream_info *info);

/* A parser without limits: for what is in the log already. */
int sse__events_parser(sse_parser **out);
int sse__time_json(sse__buf *out, int64_t ms); /* ISO 8601, quoted */

#endif
