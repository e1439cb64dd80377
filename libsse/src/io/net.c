/* SPDX-License-Identifier: MIT */
/* net.c - one curl multi handle a loop. libcurl says which sockets and what
 * time it waits for; libuv waits. */
#include "net.h"

#include <pthread.h>

#include "../core/alloc.h"
#include "client.h"

struct sse__net {
    sse_loop  *loop;
    CURLM     *multi;
    uv_timer_t timer;
    uint32_t   handles; /* of libuv, to close before it can be freed */
    bool       freed;
};

/* One socket of libcurl. It lives until libuv has let go of it. */
typedef struct watch {
    uv_poll_t     poll;
    sse__net     *net;
    curl_socket_t fd;
} watch;

/* ---- The library ---- */

static bool global_ok;

static void init_global(void)
{
    global_ok = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static bool init_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, init_global);
    return global_ok;
}

/* ---- From libuv to libcurl ---- */

static void release(sse__net *net)
{
    if (--net->handles == 0 && net->freed)
        sse__free(net);
}

static void tell_done(sse__net *net)
{
    CURLMsg *msg;
    int      left;

    while ((msg = curl_multi_info_read(net->multi, &left))) {
        CURL       *easy = msg->easy_handle;
        CURLcode    result = msg->data.result;
        sse__fetch *fetch = NULL;

        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &fetch);
        sse__fetch_done(fetch, result);
    }
}

static void act(sse__net *net, curl_socket_t fd, int events)
{
    int running;

    net->loop->in_turn = true; /* who is woken by this gets his turn below */
    curl_multi_socket_action(net->multi, fd, events, &running);
    tell_done(net);
    sse__loop_turn(net->loop);
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    watch *w = poll->data;
    int    bits = 0;

    if (status < 0)
        bits = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        bits |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        bits |= CURL_CSELECT_OUT;
    act(w->net, w->fd, bits);
}

/* ---- From libcurl to libuv ---- */

static void on_watch_closed(uv_handle_t *handle)
{
    watch    *w = handle->data;
    sse__net *net = w->net;

    sse__free(w);
    release(net);
}

/* NULL when out of memory, or for a descriptor that cannot be waited for. */
static watch *watch_new(sse__net *net, curl_socket_t fd)
{
    watch *w = sse__calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    if (uv_poll_init_socket(&net->loop->uv, &w->poll, fd) < 0) {
        sse__free(w);
        return NULL;
    }
    uv_unref((uv_handle_t *)&w->poll); /* clients keep the loop running */
    w->poll.data = w;
    w->net = net;
    w->fd = fd;
    net->handles++;
    curl_multi_assign(net->multi, fd, w);
    return w;
}

/* Only this transfer fails: a negative result would end all of them. */
static int starve(CURL *easy)
{
    sse__fetch *fetch = NULL;

    if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &fetch) == CURLE_OK && fetch)
        sse__fetch_starve(fetch);
    return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user,
                     void *socket_user)
{
    sse__net *net = user;
    watch    *w = socket_user;
    int       events = 0;

    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(net->multi, fd, NULL);
        if (w)
            uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        return 0;
    }
    if (!w && !(w = watch_new(net, fd)))
        return starve(easy);
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    return uv_poll_start(&w->poll, events, on_ready) < 0 ? starve(easy) : 0;
}

/* libuv's idea of now may be old: a timer would fire too soon. */
static int on_timeout(CURLM *multi, long timeout_ms, void *user)
{
    sse__net *net = user;

    (void)multi;
    if (timeout_ms < 0) {
        uv_timer_stop(&net->timer);
        return 0;
    }
    uv_update_time(&net->loop->uv);
    uv_timer_start(&net->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ---- Life ---- */

static sse__net *net_new(sse_loop *loop)
{
    sse__net *net = init_once() ? sse__calloc(1, sizeof(*net)) : NULL;

    if (!net)
        return NULL;
    net->loop = loop;
    net->multi = curl_multi_init();
    if (!net->multi) {
        sse__free(net);
        return NULL;
    }
    uv_timer_init(&loop->uv, &net->timer);
    uv_unref((uv_handle_t *)&net->timer);
    net->timer.data = net;
    net->handles = 1;
    curl_multi_setopt(net->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(net->multi, CURLMOPT_SOCKETDATA, net);
    curl_multi_setopt(net->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(net->multi, CURLMOPT_TIMERDATA, net);
    return net;
}

sse__net *sse__net_get(sse_loop *loop)
{
    if (!loop->net)
        loop->net = net_new(loop);
    return loop->net;
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

void sse__net_free(sse__net *net)
{
    if (!net)
        return;
    curl_multi_cleanup(net->multi); /* closes connections, tells sockets */
    net->freed = true;
    uv_close((uv_handle_t *)&net->timer, on_timer_closed);
}

bool sse__net_add(sse__net *net, CURL *easy)
{
    return curl_multi_add_handle(net->multi, easy) == CURLM_OK;
}

void sse__net_remove(sse__net *net, CURL *easy)
{
    curl_multi_remove_handle(net->multi, easy);
}
