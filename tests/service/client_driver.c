/* SPDX-License-Identifier: MIT */
/* client_driver.c - sse-client-driver: clients that do what standard input
 * says, and write their news to standard output.
 *
 * Each line is an object. A command names what to "do" and the number of a
 * "client", 0 unless given:
 *
 *     start (driver_make.c), with "manual":true to take no news unasked
 *     take "count"     of a manual client's news; "rc" says how many came
 *     suspend, resume, offline, online, restart, close
 *     token "token"|null, "lifetime_ms"?
 *     decide "decision"        (a number)
 *     header "name", "value"
 *     ack "id"
 *     export           answered with "data", in hexadecimal
 *     free
 *
 * Each gets {"client","kind":"answer","do","rc"}. The end of input ends it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "driver.h"

#define MAX_CLIENTS 4096
#define WAIT_MS 10000
#define INPUT MAX_CLIENTS /* in epoll, beside the clients */

typedef struct place {
    sse_client *client;
    bool        manual; /* its news is taken when a command says so         */
} place;

static sse_loop *loop;
static place     places[MAX_CLIENTS];
static int       poller;
static text      out; /* not written yet */

static void flush(void)
{
    size_t done = 0;

    while (done < out.len) {
        ssize_t n = write(STDOUT_FILENO, out.data + done, out.len - done);

        if (n < 0 && errno != EINTR)
            exit(1);
        done += n > 0 ? (size_t)n : 0;
    }
    out.len = 0;
}

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "sse-client-driver: %s: %d\n", what, rc);
    exit(1);
}

static void watch(int fd, int number)
{
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u32 = (uint32_t)number};

    must(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

/* Takes what there is, so that the descriptor is unreadable again. */
static void take_news(int number)
{
    sse_client     *c = places[number].client;
    const sse_news *news;
    int             rc = 1;

    while (c && (rc > 0 || rc == SSE_ERR_NOMEM)) {
        rc = sse_client_next(c, 0, &news);
        if (rc > 0)
            driver_write_news(&out, number, news);
        if (out.len > 1 << 20)
            flush();
    }
}

/* ---- Commands ------------------------------------------------------------ */

static const char *str(const cJSON *command, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(command, name));
}

static int64_t number_of(const cJSON *command, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(command, name);

    return cJSON_IsNumber(item) ? (int64_t)item->valuedouble : 0;
}

static void watch_news(int number, bool on)
{
    int fd = sse_client_fd(places[number].client);

    must(fd, "sse_client_fd");
    if (on)
        watch(fd, number);
    else
        must(epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL), "epoll_ctl");
}

static int start(int number, const cJSON *command)
{
    place *p = &places[number];
    int    rc;

    if (p->client)
        return SSE_ERR_EXISTS;
    rc = driver_make(loop, command, &p->client);
    if (rc < 0)
        return rc;
    p->manual = cJSON_IsTrue(cJSON_GetObjectItem(command, "manual"));
    if (!p->manual)
        watch_news(number, true);
    return sse_client_start(p->client);
}

static int release(int number)
{
    place *p = &places[number];

    if (!p->manual)
        watch_news(number, false);
    sse_client_free(p->client);
    *p = (place){0};
    return SSE_OK;
}

/* Waits for so many news, but not for ever. Returns how many there were. */
static int take(int number, const cJSON *command)
{
    int64_t         count = number_of(command, "count");
    const sse_news *news;
    int             taken = 0;

    while (taken < count &&
           sse_client_next(places[number].client, WAIT_MS, &news) > 0) {
        driver_write_news(&out, number, news);
        taken++;
    }
    return taken;
}

static int give_token(sse_client *c, const cJSON *command)
{
    const char *token = str(command, "token");

    return sse_client_set_token(c, token, token ? strlen(token) : 0,
                                number_of(command, "lifetime_ms"));
}

static int set_header(sse_client *c, const cJSON *command)
{
    const char *name = str(command, "name"), *value = str(command, "value");

    if (!name || !value)
        return SSE_ERR_INVAL;
    return sse_client_set_header(c, name, strlen(name), value, strlen(value));
}

static int ack(sse_client *c, const cJSON *command)
{
    const char *id = str(command, "id");

    return id ? sse_client_ack(c, id, strlen(id)) : SSE_ERR_INVAL;
}

/* Leaves the bytes in `hex`. */
static int export(sse_client *c, text *hex)
{
    sse_buffer *bytes;
    int         rc = sse_buffer_new(0, &bytes);

    if (rc < 0)
        return rc;
    rc = sse_client_export(c, bytes);
    if (rc >= 0)
        driver_add_hex(hex, sse_buffer_data(bytes), sse_buffer_size(bytes));
    sse_buffer_free(bytes);
    return rc;
}

static const struct signal_command {
    const char *name;
    void (*call)(sse_client *c);
} signals[] = {
    {"suspend", sse_client_suspend}, {"resume", sse_client_resume},
    {"offline", sse_client_offline}, {"online", sse_client_online},
    {"restart", sse_client_restart}, {"close", sse_client_close},
};

static int act(int number, const char *what, const cJSON *command, text *hex)
{
    sse_client *c = places[number].client;

    if (strcmp(what, "start") == 0)
        return start(number, command);
    if (!c)
        return SSE_ERR_NOT_FOUND;
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (strcmp(what, signals[i].name) != 0)
            continue;
        signals[i].call(c);
        return SSE_OK;
    }
    if (strcmp(what, "take") == 0)
        return take(number, command);
    if (strcmp(what, "token") == 0)
        return give_token(c, command);
    if (strcmp(what, "decide") == 0)
        return sse_client_decide(c, (int)number_of(command, "decision"));
    if (strcmp(what, "header") == 0)
        return set_header(c, command);
    if (strcmp(what, "ack") == 0)
        return ack(c, command);
    if (strcmp(what, "export") == 0)
        return export(c, hex);
    if (strcmp(what, "free") == 0)
        return release(number);
    return SSE_ERR_INVAL;
}

static void obey(const char *line)
{
    cJSON      *command = cJSON_Parse(line);
    const char *what = str(command, "do");
    int64_t     number = number_of(command, "client");
    text        hex = {0};
    int         rc = SSE_ERR_INVAL;

    if (what && number >= 0 && number < MAX_CLIENTS)
        rc = act((int)number, what, command, &hex);
    text_add_str(&out, "{\"client\":");
    text_add_number(&out, number);
    text_add_str(&out, ",\"kind\":\"answer\"");
    text_add_member(&out, "do", what ? what : "", what ? strlen(what) : 0);
    text_add_count(&out, "rc", rc);
    if (hex.len > 0)
        text_add_member(&out, "data", hex.data, hex.len);
    text_add_str(&out, "}\n");
    text_free(&hex);
    cJSON_Delete(command);
}

/* Reads some input and obeys its whole lines. False at its end. */
static bool read_input(void)
{
    static text input;
    char        piece[65536];
    ssize_t     n = read(STDIN_FILENO, piece, sizeof(piece));
    char       *line, *end;

    if (n <= 0)
        return n < 0 && errno == EINTR;
    text_add(&input, piece, (size_t)n);
    for (line = input.data; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        obey(line);
    }
    input.len -= (size_t)(line - input.data);
    memmove(input.data, line, input.len + 1);
    if (input.len == 0)
        text_free(&input);
    return true;
}

/* ---- The program --------------------------------------------------------- */

static void run(void)
{
    struct epoll_event events[64];

    for (;;) {
        int n = epoll_wait(poller, events, 64, -1);

        for (int i = 0; i < n; i++) {
            uint32_t number = events[i].data.u32;

            if (number < MAX_CLIENTS)
                take_news((int)number);
            else if (!read_input())
                return;
        }
        flush();
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    must(poller, "epoll_create1");
    watch(STDIN_FILENO, INPUT);
    must(sse_loop_new(&loop), "loop");
    must(sse_loop_start(loop), "loop");
    run();
    for (int i = 0; i < MAX_CLIENTS; i++)
        sse_client_free(places[i].client);
    sse_loop_free(loop);
    flush();
    text_free(&out);
    close(poller);
    return 0;
}
