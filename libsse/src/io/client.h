/* SPDX-License-Identifier: MIT */
/* client.h - the public client: the state machine of core/client.h, a lock
 * around it, and the requests that the loop's thread makes for it. */
#ifndef SSE_IO_CLIENT_H
#define SSE_IO_CLIENT_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "../core/buf.h"
#include "../core/client.h"
#include "../core/list.h"
#include "loop.h"
#include "sse.h"

#define SSE__SETTINGS (SSE_SETTING_USER_AGENT + 1)
#define SSE__FETCHES 2 /* one, and the one that is to replace it */
#define SSE__NOTES 8

/* What is known of an attempt's end beside its cause. */
typedef struct sse__note {
    uint32_t generation; /* 0: not in use                                   */
    sse__buf detail;
    sse__buf body;       /* of a refusal                                    */
} sse__note;

/* One request at a time, redirects included. Belongs to the loop's thread. */
typedef struct sse__fetch {
    sse_client        *client;
    CURL              *easy;       /* NULL: not in use                      */
    struct curl_slist *headers;    /* as sent                               */
    uint32_t           generation; /* 0: the recovery                       */
    bool               poll;
    bool               recovery;
    bool               plain_get;  /* a redirect took method and body away  */
    bool               foreign;    /* it has left the origin                */
    bool               blocked;    /* libcurl holds bytes back for us       */
    bool               head_over;  /* of the final answer                   */
    bool               redirect;   /* it is one to be followed              */
    bool               refused;    /* its body is an error's                */
    bool               told;       /* the head                              */
    bool               cut;        /* what it got is complete for us        */
    bool               nomem;
    bool               starved;    /* nobody waits for its socket           */
    uint32_t           redirects;
    uint32_t           status;
    int64_t            report_at_ms; /* of a refusal, at the latest         */
    sse__buf           url;
    sse__buf           cursor;
    sse__buf           head;       /* lines of the final answer             */
    sse__buf           body;       /* of a refusal or a recovery            */
    const char        *trouble;    /* a sentence, in place of curl's        */
    char               error[CURL_ERROR_SIZE];
} sse__fetch;

/* Fires when the machine wants a tick. On the heap: libuv needs it until it
 * has closed. */
typedef struct sse__alarm {
    uv_timer_t  timer;
    sse_client *client;
} sse__alarm;

struct sse_client {
    sse_loop      *loop;        /* counted                                  */
    sse__link      link;        /* on the loop's clients; under its inbox   */
    sse__link      woken;       /* on the loop's woken; under its inbox     */
    atomic_bool    close_asked; /* by a stop of the loop                    */
    atomic_bool    leaving;     /* another thread waits in free             */
    bool           left;        /* under the loop's gate                    */

    /* On the loop's thread. */
    sse__fetch  fetches[SSE__FETCHES];
    sse__fetch  recovery;
    sse__alarm *alarm;
    bool        alarm_set_up;
    bool        keeps;          /* the loop running                         */
    bool        in_turn;
    bool        freed;          /* by its own hook                          */
    bool        fresh_connect;  /* the last attempt did not end in order    */
    sse__buf    cursor;         /* of the attempt that begins               */

    /* Fixed by start. */
    sse_client_options opts;
    sse__buf           url;
    sse__buf           settings[SSE__SETTINGS]; /* with a NUL each          */
    bool               is_set[SSE__SETTINGS];
    void (*hook)(void *user);
    void *hook_user;

    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t  arrived;
    sse__client    *core;
    bool            started;
    bool            armed;       /* wake waiters and the descriptor         */
    bool            hook_armed;  /* call the hook                           */
    int             fd;          /* -1: nobody asked for it                 */
    sse__buf        headers;     /* of the application: lines with NULs     */
    sse__buf        token;       /* with a NUL                              */
    bool            token_spare; /* given unasked: answers the next ask     */
    int64_t         renew_at_ms;
    bool            asks_token, asks_decision; /* news to give              */
    uint32_t        ask_status;
    sse__action     question;    /* of the decision                         */
    bool            end_told;
    int64_t         alarm_at_ms; /* when the loop looks next                */
    sse__note       notes[SSE__NOTES];
    uint32_t        note_next;
    sse__buf        head;        /* of the last answer                      */
    uint32_t        head_count;  /* answers so far                          */
    uint32_t        head_taken;  /* which one `shown_head` is               */

    /* The application's, between two calls of next. */
    sse__buf shown_head;
    sse__buf text;
    sse_news news;
    sse__client_item kept; /* what `news` was made of, its strings apart    */
    bool     item_kept;    /* there was no memory: the next call gives it   */
};

/* ---- client.c ------------------------------------------------------------ */

/* Does what the machine wants done. On the loop's thread. */
void sse__follow_turn(sse_client *c);

/* Has the loop give it a turn. Any thread. */
void sse__follow_wake(sse_client *c);

/* Lock, unless this is a child process: SSE_OK or SSE_ERR_FORKED. Leaving
 * tells who waits, and wakes the loop when there is work for it. */
int  sse__follow_enter(sse_client *c);
void sse__follow_leave(sse_client *c);

/* SSE_OK, with a URL that can be requested and a NUL in `out`; NOMEM, INVAL. */
int sse__follow_check_url(const char *url, size_t len, sse__buf *out);

/* ---- client_news.c ------------------------------------------------------- */

void sse__follow_init_news(sse_client *c);
bool sse__follow_has_news(const sse_client *c);

/* Tells that there are news, with the lock. True: wake those who wait for
 * `arrived`, without it. */
bool sse__follow_signal(sse_client *c);

void sse__follow_free_news(sse_client *c);

/* A new one, without text. */
sse__note *sse__follow_note(sse_client *c, uint32_t generation);

/* Wakes the loop if the machine wants something. With the lock. */
void sse__follow_nudge(sse_client *c);

/* ---- client_settings.c --------------------------------------------------- */

const char *sse__follow_setting(const sse_client *c, int setting); /* or NULL */

/* Asks the application, unless the answer is there. With the lock. */
void sse__follow_ask_token(sse_client *c);

/* ---- client_request.c ---------------------------------------------------- */

/* Begins a request; `a` NULL: for the stored completion. */
void sse__fetch_begin(sse_client *c, const sse__action *a, const char *cursor);
void sse__fetch_abort(sse_client *c, uint32_t generation);
void sse__fetch_pause(sse_client *c, uint32_t generation, bool pause);
void sse__fetch_unblock(sse_client *c);
void sse__fetch_starve(sse__fetch *f); /* its socket cannot be waited for    */
void sse__fetch_end_all(sse_client *c);
void sse__fetch_done(sse__fetch *f, CURLcode result);

/* Tells what has waited for its time; the earliest time that is left. */
int64_t sse__fetch_tick(sse_client *c, int64_t now_ms);

#endif
