/* SPDX-License-Identifier: MIT */
/* redis_support.c - Redis processes of a test's own, and links to them. */
#include "redis_support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "sse.h"
#include "support.h"

#define PATIENCE_MS 30000

/* ---- Processes ---- */

/* One that nobody has, and nobody else gets: a socket that does not listen
 * keeps it, and lets only those share it who ask for it by its number. */
static void take_port(redis_process *r)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t          len = sizeof(addr);
    int                on = 1;
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)),
                     0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    r->port_fd = fd;
    r->port = ntohs(addr.sin_port);
}

void redis_prepare(redis_process *r, uint32_t flags, const char *config)
{
    bool tls = flags & REDIS_TLS;

    *r = (redis_process){.is_sentinel = flags & REDIS_SENTINEL, .port_fd = -1};
    strcpy(r->dir, "/tmp/sse-redis-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->socket, sizeof(r->socket), "%s/s", r->dir);
    if (flags)
        take_port(r);
    snprintf(r->config, sizeof(r->config),
             "bind 127.0.0.1\nport %u\n%s %u\ndir %s\nunixsocket %s\n"
             "logfile %s/log\nsave \"\"\n%s\n%s\n",
             tls ? 0 : r->port, tls ? "tls-port" : "port", r->port, r->dir,
             r->socket, r->dir,
             r->is_sentinel ? "" : "enable-debug-command yes", config);
}

static void write_config(const redis_process *r, const char *path)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(r->config, f);
    fclose(f);
}

/* It dies with the test, however that ends. */
static void run(const char *path, bool is_sentinel)
{
    const char *argv[] = {"redis-server", path,
                          is_sentinel ? "--sentinel" : NULL, NULL};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static redisContext *dial(redis_process *r)
{
    redisContext *c = redisConnectUnix(r->socket);

    assert_non_null(c);
    if (!c->err && r->password)
        freeReplyObject(redisCommand(c, "AUTH %s", r->password));
    return c;
}

static bool answers(redis_process *r)
{
    redisContext *c = dial(r);
    redisReply   *reply = c->err ? NULL : redisCommand(c, "PING");
    bool          yes = reply && reply->type == REDIS_REPLY_STATUS;

    if (reply)
        freeReplyObject(reply);
    redisFree(c);
    return yes;
}

void redis_start(redis_process *r)
{
    char path[96];
    int  status;

    snprintf(path, sizeof(path), "%s/conf", r->dir);
    write_config(r, path);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0)
        run(path, r->is_sentinel);
    for (int ms = 0; !answers(r); ms += 2) {
        if (waitpid(r->pid, &status, WNOHANG) != 0)
            fail_msg("redis-server did not start: see %s", r->dir);
        assert_true(ms < PATIENCE_MS);
        usleep(2000);
    }
}

void redis_new(redis_process *r, uint32_t flags, const char *config)
{
    redis_prepare(r, flags, config);
    redis_start(r);
}

void redis_kill(redis_process *r)
{
    if (r->pid == 0)
        return;
    kill(r->pid, SIGKILL);
    assert_int_equal(waitpid(r->pid, NULL, 0), r->pid);
    unlink(r->socket);
    r->pid = 0;
}

void redis_pause(redis_process *r)
{
    int status;

    kill(r->pid, SIGSTOP);
    assert_int_equal(waitpid(r->pid, &status, WUNTRACED), r->pid);
}

void redis_resume(redis_process *r)
{
    kill(r->pid, SIGCONT);
}

void redis_remove(redis_process *r)
{
    static const char *const files[] = {"conf", "log", "s", "dump.rdb"};
    char                     path[96];

    redis_kill(r);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "%s/%s", r->dir, files[i]);
        unlink(path);
    }
    rmdir(r->dir);
    if (r->port_fd >= 0)
        close(r->port_fd);
}

static redisReply *ask(redis_process *r, const char *format, va_list args)
{
    redisContext *c = dial(r);
    redisReply   *reply = redisvCommand(c, format, args);

    if (!reply)
        fail_msg("%s: %s", format, c->errstr);
    redisFree(c);
    return reply;
}

redisReply *redis_ask(redis_process *r, const char *format, ...)
{
    va_list     args;
    redisReply *reply;

    va_start(args, format);
    reply = ask(r, format, args);
    va_end(args);
    return reply;
}

void redis_do(redis_process *r, const char *format, ...)
{
    va_list     args;
    redisReply *reply;

    va_start(args, format);
    reply = ask(r, format, args);
    va_end(args);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, reply->str);
    freeReplyObject(reply);
}

long long redis_info(redis_process *r, const char *section, const char *name)
{
    redisReply *reply = redis_ask(r, "INFO %s", section);
    const char *at = strstr(reply->str, name);
    long long   number = at ? strtoll(at + strlen(name), NULL, 10) : -1;

    freeReplyObject(reply);
    return number;
}

/* ---- The loop ---- */

uv_loop_t redis_loop;

static uv_timer_t patience;

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("it did not come");
}

int redis_set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as a loop of libsse's does */
    uv_loop_init(&redis_loop);
    uv_timer_init(&redis_loop, &patience);
    return 0;
}

int redis_tear_down(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&patience, NULL);
    uv_run(&redis_loop, UV_RUN_NOWAIT); /* no longer: a failed test leaves */
    return uv_loop_close(&redis_loop);  /* links that never end */
}

void redis_turn(void)
{
    uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    uv_run(&redis_loop, UV_RUN_ONCE);
    uv_timer_stop(&patience);
}

/* ---- Links ---- */

static void on_up(void *user)
{
    linked *l = user;

    l->ups++;
    if (l->close_on_up)
        sse__redis_link_close(l->link, 0);
}

static void on_down(void *user, const char *why, bool fatal)
{
    linked *l = user;

    l->downs++;
    l->fatals += fatal;
    snprintf(l->why, sizeof(l->why), "%s", why);
    if (l->close_on_down)
        sse__redis_link_close(l->link, 0);
}

static void on_push(void *user, const sse__redis_push *push)
{
    static const char *const kinds[] = {"message", "subscribed",
                                        "unsubscribed"};
    linked                  *l = user;

    l->pushes++;
    l->heard_len += (size_t)snprintf(
        l->heard + l->heard_len, sizeof(l->heard) - l->heard_len,
        "%s %.*s %.*s\n", kinds[push->kind], (int)push->channel_len,
        push->channel, (int)push->message_len, push->message);
    if (l->heard_len >= sizeof(l->heard))
        l->heard_len = sizeof(l->heard) - 1;
    if (l->close_on_push)
        sse__redis_link_close(l->link, 0);
}

static void on_closed(void *user)
{
    linked *l = user;

    l->link = NULL;
}

void link_prepare(linked *l, const char *text, ...)
{
    char    url[512], why[512];
    va_list args;

    *l = (linked){
        .opts = {.backoff_base_ms = 1,
                 .backoff_cap_ms = 20,
                 .connect_ms = PATIENCE_MS,
                 .reply_ms = PATIENCE_MS,
                 .client_name = "test",
                 .probe_channel = "sse:probe"},
    };
    va_start(args, text);
    vsnprintf(url, sizeof(url), text, args);
    va_end(args);
    if (sse__redis_url_parse(url, strlen(url), &l->url, why, sizeof(why)) < 0)
        fail_msg("%s: %s", url, why);
}

void link_open(linked *l)
{
    static const sse__redis_link_events events = {
        .up = on_up, .down = on_down, .push = on_push, .closed = on_closed};
    char why[512];

    if (sse__redis_link_new(&redis_loop, &l->url, &l->opts, &events, l,
                            &l->link, why, sizeof(why)) < 0)
        fail_msg("%s", why);
}

void link_to(linked *l, redis_process *r)
{
    link_prepare(l, "unix://%s", r->socket);
    link_open(l);
}

void link_close(linked *l)
{
    if (l->link)
        sse__redis_link_close(l->link, 0);
    AWAIT(!l->link);
    sse__redis_url_free(&l->url);
}

void link_await_up(linked *l, unsigned ups)
{
    AWAIT(l->ups >= ups);
    assert_int_equal(sse__redis_link_state_of(l->link), SSE__REDIS_LINK_UP);
}

sse__redis_stats link_stats(const linked *l)
{
    sse__redis_stats stats;

    sse__redis_link_get_stats(l->link, &stats);
    return stats;
}

void take_answer(void *user, int err, const redisReply *reply)
{
    answer *a = user;

    if (a->too_early || a->count++ > 0)
        fail_msg("an answer came too early, or twice");
    a->err = err;
    assert_int_equal(reply == NULL, err < 0);
    if (a->close)
        sse__redis_link_close(a->close, 0);
    if (!reply)
        return;
    a->type = reply->type;
    a->integer = reply->integer;
    a->len = reply->len;
    if (reply->str)
        snprintf(a->text, sizeof(a->text), "%s", reply->str);
}

static uint32_t split(char *text, const char **words)
{
    uint32_t count = 0;

    for (char *at = strtok(text, " "); at; at = strtok(NULL, " "))
        words[count++] = at;
    return count;
}

int link_send(linked *l, answer *a, const char *command)
{
    char        text[256];
    const char *words[16];
    uint32_t    count;
    int         rc;

    snprintf(text, sizeof(text), "%s", command);
    count = split(text, words);
    *a = (answer){.too_early = true, .close = a->close};
    rc = sse__redis_send(l->link, count, words, NULL, take_answer, a);
    a->too_early = false;
    return rc;
}

int link_eval(linked *l, answer *a, uint32_t script, uint32_t keys,
              const char *args)
{
    char        text[256];
    const char *words[16];
    uint32_t    count;

    snprintf(text, sizeof(text), "%s", args);
    count = split(text, words);
    *a = (answer){0};
    return sse__redis_eval(l->link, script, keys, count, words, NULL,
                           take_answer, a);
}

void link_expect(linked *l, const char *command, const char *text)
{
    answer a = {0};

    assert_int_equal(link_send(l, &a, command), SSE_OK);
    AWAIT(a.count);
    assert_int_equal(a.err, SSE_OK);
    if (a.type == REDIS_REPLY_INTEGER)
        snprintf(a.text, sizeof(a.text), "%lld", a.integer);
    assert_string_equal(a.text, text);
}

/* ---- Memory ---- */

static void on_down_for_memory(void *user, const char *why, bool fatal)
{
    (void)user;
    assert_false(fatal);
    assert_non_null(strstr(why, "out of memory"));
    assert_true(fail_alloc_again(SSE_ERR_NOMEM));
}

void link_short_of_memory(const char *text, const sse__redis_link_options *opts)
{
    static const sse__redis_link_events events = {
        .up = on_up, .down = on_down_for_memory, .closed = on_closed};
    linked l = {.opts = *opts};
    char   why[128];
    answer a = {0};

    l.opts.backoff_base_ms = l.opts.backoff_cap_ms = 1;
    l.opts.connect_ms = l.opts.reply_ms = PATIENCE_MS;
    OK(sse__redis_url_parse(text, strlen(text), &l.url, why, sizeof(why)));
    OK(sse__redis_link_new(&redis_loop, &l.url, &l.opts, &events, &l, &l.link,
                           why, sizeof(why)));
    AWAIT(l.ups);
    OK(link_send(&l, &a, "PING"));
    AWAIT(a.count);
    assert_string_equal(a.text, "PONG");
    link_close(&l);
}
