/* SPDX-License-Identifier: MIT */
/* io_client_test.c - what a client makes of cuts, slow readers, its
 * application's wishes and lost memory. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client_support.h"
#include "fail_alloc.h"
#include "support.h"

static void state(sse_client *c, uint32_t kind, uint32_t conn_state)
{
    const sse_news *news;

    assert_int_equal(sse_client_next(c, PATIENCE_MS, &news), 1);
    assert_int_equal(news->kind, kind);
    if (kind == SSE_NEWS_STATE)
        assert_int_equal(news->state, conn_state);
}

static void tells_what_happens(void **unused)
{
    stage           s;
    sse_client     *c;
    const sse_news *news;
    call            k;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    assert_int_equal(sse_client_next(c, 0, &news), SSE_ERR_CLOSED);
    assert_int_equal(sse_client_start(c), SSE_OK);
    assert_int_equal(sse_client_start(c), SSE_ERR_CLOSED);
    assert_int_equal(sse_client_set(c, SSE_SETTING_BODY, "", 0),
                     SSE_ERR_CLOSED);
    k = stage_accept(&s);
    state(c, SSE_NEWS_STATE, SSE_CONN_CONNECTING);
    assert_int_equal(sse_client_next(c, 0, &news), SSE_ERR_TIMEOUT);
    assert_null(news);
    assert_int_equal(sse_client_next(c, 20, &news), SSE_ERR_TIMEOUT);
    call_say(&k, FINE "event: x\nid: 7\ndata: a\ndata: b\n\n");
    state(c, SSE_NEWS_OPEN, 0);
    state(c, SSE_NEWS_STATE, SSE_CONN_OPEN);
    assert_int_equal(sse_client_next(c, PATIENCE_MS, &news), 1);
    assert_int_equal(news->kind, SSE_NEWS_EVENT);
    assert_string_equal(news->type, "x");
    assert_string_equal(news->data, "a\nb");
    assert_string_equal(news->id, "7");
    assert_string_equal(news->detail, "");
    assert_int_equal(news->delay_ms, -1);
    sse_client_close(c);
    assert_int_equal(client_end(c), SSE_CAUSE_CLOSED);
    assert_true(call_is_cut(&k));
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void names_causes(void **unused)
{
    (void)unused;
    assert_string_equal(sse_cause_name(SSE_CAUSE_NETWORK), "network");
    assert_string_equal(sse_cause_name(SSE_CAUSE_NO_CURSOR), "no_cursor");
    assert_string_equal(sse_cause_name(19), "unknown");
    assert_string_equal(sse_cause_name(-1), "unknown");
}

/* ---- Cuts ---- */

#define BODY "id: 1\ndata: one\n\nid: 2\ndata: two\n\n" BYE

typedef enum how { CLOSED, RESET, SHORT, UNCHUNKED, HOWS } how;

/* Sends the first `len` bytes and cuts the connection. */
static void send_part(call *k, how cut, size_t from, size_t len)
{
    char head[128];

    call_say(k, STREAM_HEAD);
    if (cut == SHORT) {
        snprintf(head, sizeof(head), "Content-Length: 999\r\n\r\n");
    } else if (cut == UNCHUNKED) {
        snprintf(head, sizeof(head),
                 "Transfer-Encoding: chunked\r\n\r\n999\r\n");
    } else {
        snprintf(head, sizeof(head), "\r\n");
    }
    call_say(k, head);
    call_send(k, &BODY[from], len);
}

/* What the server still has for a reader that sends this cursor. */
static size_t place_of(const call *k)
{
    if (call_has(k, "Last-Event-ID: 2"))
        return strlen("id: 1\ndata: one\n\nid: 2\ndata: two\n\n");
    if (call_has(k, "Last-Event-ID: 1"))
        return strlen("id: 1\ndata: one\n\n");
    assert_false(call_has_name(k, "Last-Event-ID"));
    return 0;
}

/* A server that is cut once, at that byte, and its reader on this thread. */
typedef struct cutter {
    stage *s;
    how    cut;
    size_t at;
} cutter;

static void *cut_once(void *arg)
{
    cutter *w = arg;
    call    k = stage_accept(w->s);

    send_part(&k, w->cut, 0, w->at);
    if (w->cut == RESET)
        call_reset(&k);
    else
        call_close(&k);
    k = stage_accept(w->s);
    send_part(&k, CLOSED, place_of(&k), strlen(&BODY[place_of(&k)]));
    call_close(&k);
    return NULL;
}

static void check_cut(stage *s, how cut, size_t at)
{
    cutter      w = {s, cut, at};
    sse_client *c = client_new(s, "/", &quick);
    pthread_t   thread;

    assert_int_equal(pthread_create(&thread, NULL, cut_once, &w), 0);
    sse_client_start(c);
    client_expect(c, "one");
    client_expect(c, "two");
    client_expect(c, "bye");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    sse_client_free(c);
    pthread_join(thread, NULL);
}

static void resumes_after_any_byte(void **unused)
{
    stage s;

    (void)unused;
    stage_open(&s);
    for (int cut = 0; cut < HOWS; cut++)
        for (size_t at = 0; at < strlen(BODY); at++)
            check_cut(&s, (how)cut, at);
    stage_close(&s);
}

static void tells_a_cut_from_an_end(void **unused)
{
    static const struct {
        const char *answer;
        uint32_t    cause;
    } cases[] = {
        {FINE "data: x\n\n", SSE_CAUSE_BODY_END},
        {STREAM_HEAD "Content-Length: 9\r\n\r\ndata: x\n\n",
         SSE_CAUSE_BODY_END},
        {STREAM_HEAD "Content-Length: 10\r\n\r\ndata: x\n\n",
         SSE_CAUSE_NETWORK},
        {STREAM_HEAD "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n"
                     "0\r\n\r\n",
         SSE_CAUSE_BODY_END},
        {STREAM_HEAD "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n",
         SSE_CAUSE_NETWORK},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stage       s;
        sse_client *c;
        call        k;

        stage_open(&s);
        c = client_new(&s, "/", &quick);
        sse_client_start(c);
        k = stage_accept(&s);
        call_say(&k, cases[i].answer);
        call_close(&k);
        client_expect(c, "x");
        assert_int_equal(client_await(c, SSE_NEWS_ERROR)->cause,
                         cases[i].cause);
        sse_client_free(c);
        stage_close(&s);
    }
}

/* It hears this, and then no more. */
static void check_silence(const sse_client_options *o, const char *answer,
                          uint32_t cause)
{
    stage       s;
    sse_client *c;
    call        k;

    stage_open(&s);
    c = client_new(&s, "/", o);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, answer);
    assert_int_equal(client_await(c, SSE_NEWS_ERROR)->cause, cause);
    assert_true(call_is_cut(&k));
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

static void is_stalled_without_a_byte(void **unused)
{
    sse_client_options first = quick, stall = quick;

    (void)unused;
    first.first_byte_ms = 50;
    check_silence(&first, "", SSE_CAUSE_NO_ANSWER);
    stall.stall_ms = 50;
    check_silence(&stall, FINE, SSE_CAUSE_STALLED);
}

/* ---- Slow readers ---- */

#define BIG_EVENTS 3000

typedef struct flood {
    call        k;
    const void *data;
    size_t      len;
    atomic_bool done;
} flood;

static void *pour(void *arg)
{
    flood *f = arg;

    call_send(&f->k, f->data, f->len);
    atomic_store(&f->done, true);
    call_close(&f->k);
    return NULL;
}

static char *big_body(size_t *out_len)
{
    size_t size = BIG_EVENTS * 4200 + 100, len = 0;
    char  *body = malloc(size);

    assert_non_null(body);
    for (int i = 0; i < BIG_EVENTS; i++) {
        len += (size_t)snprintf(body + len, size - len, "id: %d\ndata: ", i);
        memset(body + len, 'a' + i % 26, 4096);
        len += 4096;
        memcpy(body + len, "\n\n", 2);
        len += 2;
    }
    len += (size_t)snprintf(body + len, size - len, BYE);
    *out_len = len;
    return body;
}

/* Nobody reads, so the sender has to stop: memory has a ceiling. */
static void check_flood(const void *data, size_t len, const char *head,
                        bool holds)
{
    sse_client_options o = quick;
    flood              f = {.data = data, .len = len};
    pthread_t          thread;
    stage              s;
    sse_client        *c;

    o.queue_bytes = 65536;
    stage_open(&s);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    f.k = stage_accept(&s);
    call_say(&f.k, head);
    assert_int_equal(pthread_create(&thread, NULL, pour, &f), 0);
    client_await(c, SSE_NEWS_OPEN);
    usleep(100000); /* enough for all of it, if nothing held it back */
    if (holds)
        assert_false(atomic_load(&f.done));
    for (int i = 0; i < BIG_EVENTS; i++) {
        const sse_news *news = client_await(c, SSE_NEWS_EVENT);

        assert_int_equal(news->data_len, 4096);
        assert_int_equal(news->data[4095], 'a' + i % 26);
        assert_int_equal(strtol(news->id, NULL, 10), i);
    }
    client_expect(c, "bye");
    client_end(c);
    sse_client_free(c);
    pthread_join(thread, NULL);
    stage_close(&s);
}

static void waits_for_slow_readers(void **unused)
{
    size_t len;
    char  *body = big_body(&len);

    (void)unused;
    check_flood(body, len, FINE, true);
    free(body);
}

/* The same through a coding that packs it by hundreds. */
static void waits_with_packed_bodies(void **unused)
{
    char   path[] = "/tmp/sse-test-XXXXXX", command[128];
    size_t len;
    char  *body = big_body(&len);
    FILE  *pipe;
    int    fd = mkstemp(path);

    (void)unused;
    assert_true(fd >= 0);
    snprintf(command, sizeof(command), "gzip -c >%s", path);
    pipe = popen(command, "w");
    assert_non_null(pipe);
    assert_int_equal(fwrite(body, 1, len, pipe), len);
    assert_int_equal(pclose(pipe), 0);
    len = (size_t)pread(fd, body, len, 0);
    check_flood(body, len, STREAM_HEAD "Content-Encoding: gzip\r\n\r\n", false);
    close(fd);
    unlink(path);
    free(body);
}

/* ---- The application's wishes ---- */

/* The next attempt waits until everything has been taken. */
static void take_rest(sse_client *c)
{
    const sse_news *news;

    while (sse_client_next(c, 0, &news) > 0)
        ;
}

static void comes_and_goes(void **unused)
{
    stage       s;
    sse_client *c;
    call        k;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, FINE "id: 1\ndata: x\n\n");
    client_expect(c, "x");
    sse_client_suspend(c);
    assert_true(call_is_cut(&k));
    call_close(&k);
    while (client_await(c, SSE_NEWS_STATE)->state != SSE_CONN_SUSPENDED)
        ;
    take_rest(c);
    assert_false(readable(s.listener, 50));
    sse_client_resume(c);
    k = stage_accept(&s);
    assert_true(call_has(&k, "Last-Event-ID: 1"));
    sse_client_offline(c);
    assert_true(call_is_cut(&k));
    call_close(&k);
    while (client_await(c, SSE_NEWS_STATE)->state != SSE_CONN_OFFLINE)
        ;
    take_rest(c);
    sse_client_online(c);
    k = stage_accept(&s);
    sse_client_restart(c);
    assert_true(call_is_cut(&k));
    call_close(&k);
    stage_finish(&s, c, NULL);
    sse_client_free(c);
    stage_close(&s);
}

static void goes_on_from_an_export(void **unused)
{
    sse_buffer *state_bytes;
    stage       s;
    sse_client *c;
    call        k;
    char        bad[3] = "x";

    (void)unused;
    stage_open(&s);
    assert_int_equal(sse_buffer_new(0, &state_bytes), SSE_OK);
    c = client_new(&s, "/", NULL);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, FINE "id: 5\ndata: x\n\nid: 6\ndata: y\n\n");
    client_expect(c, "x");
    client_expect(c, "y"); /* so x is dealt with */
    assert_int_equal(sse_client_export(c, state_bytes), SSE_OK);
    assert_int_equal(sse_client_import(c, bad, 3), SSE_ERR_INVAL);
    sse_client_free(c); /* before it could come back */
    call_close(&k);

    c = client_new(&s, "/", NULL);
    assert_int_equal(sse_client_import(c, bad, 3), SSE_ERR_INVAL);
    assert_int_equal(sse_client_import(c, sse_buffer_data(state_bytes),
                                       sse_buffer_size(state_bytes)),
                     SSE_OK);
    sse_client_start(c);
    k = stage_accept(&s);
    assert_true(call_has(&k, "Last-Event-ID: 5"));
    call_say(&k, FINE "id: 5\ndata: x\n\nid: 6\ndata: y\n\n");
    client_expect(c, "y");
    call_close(&k);
    sse_client_free(c);
    sse_buffer_free(state_bytes);
    stage_close(&s);
}

static void moves_by_acks(void **unused)
{
    sse_client_options o = quick;
    stage              s;
    sse_client        *c;
    sse_buffer        *out, *later;
    call               k;

    (void)unused;
    o.flags = SSE_CLIENT_ACK;
    o.window = 2;
    stage_open(&s);
    assert_int_equal(sse_buffer_new(0, &out), SSE_OK);
    assert_int_equal(sse_buffer_new(0, &later), SSE_OK);
    c = client_new(&s, "/", &o);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, FINE "id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\n");
    client_expect(c, "a");
    client_expect(c, "b");
    sse_client_export(c, out);
    assert_int_equal(sse_client_ack(c, "9", 1), SSE_ERR_NOT_FOUND);
    assert_int_equal(sse_client_ack(c, "1", 1), SSE_OK);
    sse_client_export(c, later);
    assert_int_not_equal(sse_buffer_size(out), sse_buffer_size(later));
    client_expect(c, "c");
    call_close(&k);
    sse_client_free(c);
    sse_buffer_free(out);
    sse_buffer_free(later);
    stage_close(&s);
}

static void any_type_may_end_it_or_none(void **unused)
{
    stage       s;
    sse_client *c;
    call        k;

    (void)unused;
    stage_open(&s);
    c = client_new(&s, "/", &quick);
    assert_int_equal(sse_client_add_end_type(c, "", 0), SSE_OK);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, FINE BYE "data: more\n\n");
    client_expect(c, "bye");
    client_expect(c, "more");
    sse_client_free(c); /* before it could come back */
    call_close(&k);
    c = client_new(&s, "/", &quick);
    assert_int_equal(sse_client_add_end_type(c, "stop", 4), SSE_OK);
    sse_client_start(c);
    k = stage_accept(&s);
    call_say(&k, FINE BYE "event: stop\ndata: more\n\n");
    client_expect(c, "bye");
    client_expect(c, "more");
    assert_int_equal(client_end(c), SSE_CAUSE_TERMINAL);
    call_close(&k);
    sse_client_free(c);
    stage_close(&s);
}

/* ---- Memory ---- */

/* Answers all that comes, until it is told to stop by a connection that says
 * nothing. */
static void *answer_all(void *arg)
{
    const stage *s = arg;
    call         k;

    while (stage_try_accept(s, &k)) {
        if (call_has(&k, "GET / HTTP/1.1"))
            call_say(&k, "HTTP/1.1 302 x\r\nLocation: /there\r\n\r\n");
        else if (!call_has_name(&k, "Last-Event-ID"))
            call_say(&k, FINE "id: 1\ndata: one\n\n");
        else
            call_say(&k, FINE BYE);
        call_close(&k);
    }
    return NULL;
}

typedef struct lossy {
    sse_client *c;
    char        seen[64];
} lossy;

/* Each failure of an allocation is told: by the call, or as the cause of an
 * attempt's end. */
static void read_lossy(void *user)
{
    lossy          *l = user;
    const sse_news *news;
    int             rc;

    for (;;) {
        rc = sse_client_next(l->c, 0, &news);
        if (fail_alloc_again(rc))
            continue;
        if (rc <= 0)
            return;
        if (news->kind == SSE_NEWS_ERROR && news->cause == SSE_CAUSE_NOMEM)
            fail_alloc_again(SSE_ERR_NOMEM);
        if (news->kind == SSE_NEWS_EVENT)
            strncat(l->seen, news->data, sizeof(l->seen) - strlen(l->seen) - 1);
    }
}

static void survives_lost_memory(void)
{
    stage     s;
    lossy     l = {.c = NULL};
    sse_loop *loop;
    pthread_t thread;
    char      url[300];
    size_t    len;

    stage_listen(&s);
    assert_int_equal(pthread_create(&thread, NULL, answer_all, &s), 0);
    OK(sse_loop_new(&loop));
    len = (size_t)snprintf(url, sizeof(url), "%s/", s.url);
    OK(sse_client_new(loop, url, len, &quick, &l.c));
    OK(sse_client_set(l.c, SSE_SETTING_USER_AGENT, "t", 1));
    OK(sse_client_set_header(l.c, "X-A", 3, "b", 1));
    OK(sse_client_set_token(l.c, "t", 1, 0));
    sse_client_on_news(l.c, read_lossy, &l);
    assert_int_equal(sse_client_start(l.c), SSE_OK);
    assert_int_equal(sse_loop_run(loop), SSE_OK);
    assert_string_equal(l.seen, "onebye");
    sse_client_free(l.c);
    sse_loop_free(loop);
    shutdown(s.listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(s.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_happens),
        cmocka_unit_test(names_causes),
        cmocka_unit_test(resumes_after_any_byte),
        cmocka_unit_test(tells_a_cut_from_an_end),
        cmocka_unit_test(is_stalled_without_a_byte),
        cmocka_unit_test(waits_for_slow_readers),
        cmocka_unit_test(waits_with_packed_bodies),
        cmocka_unit_test(comes_and_goes),
        cmocka_unit_test(goes_on_from_an_export),
        cmocka_unit_test(moves_by_acks),
        cmocka_unit_test(any_type_may_end_it_or_none),
        FAIL_ALLOC_TEST(survives_lost_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
