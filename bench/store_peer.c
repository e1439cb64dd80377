/* SPDX-License-Identifier: MIT */
/* The same as bench/store_bench, without libsse: commands to Redis by hiredis.
 * Prints one line of JSON.
 *
 *     store_peer WAY LOAD PORT PID SECONDS
 *
 * WAY is one of
 *
 *   rpush    RPUSH and PUBLISH, sent together
 *   plain    RPUSH, and when that is answered, EXPIRE; `catchup` is LRANGE of
 *            the whole list
 *   evalsha  the script that libsse appends with
 *
 * With rpush and evalsha a second connection subscribes to every stream. Where
 * an append is awaited it only looks now and then at what has come. plain tells
 * nobody, so its events count when they are stored.
 *
 * Exit status: 0; 1 for a wrong result; 2 when it could not run. */
#include <hiredis.h>
#include <stdbool.h>

#include "../store/redis_scripts.h"
#include "common.h"
#include "id.h"
#include "store_load.h"

enum {
    ROW_MAX = 256,
    BATCH_MAX = 100,
    ARGS_MAX = 32 + 2 * BATCH_MAX,
    REPLIES_MAX = 1024, /* that are due at once */
    LOOK_EVERY = 256    /* appends */
};

enum way { RPUSH, PLAIN, EVALSHA };

enum due { LENGTH, RECEIVERS, EXPIRED, APPENDED };

struct reply_due {
    enum due what;
    unsigned stream;
    uint32_t top; /* events that the stream has then */
};

struct peer {
    enum way           way;
    const struct load *load;
    struct meter       meter;
    redisContext      *commands, *pushes;
    char               script[41];
    struct line        lines[STREAMS_MAX];
    uint32_t           seen[STREAMS_MAX]; /* messages */
    struct reply_due   due[REPLIES_MAX];
    unsigned           due_first, due_last;
    uint32_t           appends;
    bool               ready[STREAMS_MAX]; /* may have room for an event */
};

static const char *const ways[] = {"rpush", "plain", "evalsha"};

/* ---- Connections --------------------------------------------------------- */

static redisContext *dial(const char *port)
{
    redisContext *c = redisConnect("127.0.0.1", atoi(port));

    if (!c || c->err)
        die("no Redis on port %s", port);
    set_option(c->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return c;
}

/* The next reply, which ends the program when it is an error. */
static redisReply *next_reply(redisContext *c)
{
    void *reply;

    if (redisGetReply(c, &reply) != REDIS_OK)
        die("Redis: %s", c->errstr);
    if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
        die("Redis: %s", ((redisReply *)reply)->str);
    return reply;
}

static void flush(redisContext *c)
{
    int done = 0;

    while (!done)
        if (redisBufferWrite(c, &done) != REDIS_OK)
            die("Redis: %s", c->errstr);
}

/* With the text that all scripts share in front, as libsse has it. */
static void load_script(struct peer *p)
{
    const sse__redis_lua *lua = &sse__redis_scripts[SSE__REDIS_APPEND];
    redisReply           *reply;

    redisAppendCommand(p->commands, "SCRIPT LOAD %b", lua->text, lua->len);
    reply = next_reply(p->commands);
    snprintf(p->script, sizeof(p->script), "%s", reply->str);
    freeReplyObject(reply);
}

static void open_stream(struct peer *p, unsigned i)
{
    p->lines[i].stream = i;
    p->ready[i] = true;
    redisAppendCommand(p->commands,
                       "HSET sse:stream:b%u streamId b%u state active", i, i);
    freeReplyObject(next_reply(p->commands));
    if (p->way == PLAIN)
        return;
    redisAppendCommand(p->pushes, "SUBSCRIBE sse:ch:b%u", i);
    freeReplyObject(next_reply(p->pushes));
}

static void open_peer(struct peer *p, const char *port)
{
    p->commands = dial(port);
    p->pushes = dial(port);
    load_script(p);
    for (unsigned i = 0; i < p->load->streams; i++)
        open_stream(p, i);
}

/* ---- Rows ---------------------------------------------------------------- */

static const char row_head[] = "{\"type\":\"message\",\"data\":\"";

/* As libsse forms it. */
static size_t form_row(char out[ROW_MAX], unsigned stream, uint32_t seq)
{
    size_t len = sizeof(row_head) - 1;

    memcpy(out, row_head, len);
    event_data(out + len, stream, seq);
    len += EVENT_DATA;
    return len + (size_t)sprintf(out + len, "\",\"ts\":1700000000000}");
}

/* Returns what stands behind the row. */
static const char *check_row(const char *text, const char *end, unsigned stream,
                             uint32_t seq)
{
    const char *row =
        memmem(text, (size_t)(end - text), row_head, sizeof(row_head) - 1);
    size_t len = sizeof(row_head) - 1 + EVENT_DATA;

    if (!row || (size_t)(end - row) < len)
        wrong("stream %u, event %u: no row", stream, seq);
    check_data(row + sizeof(row_head) - 1, EVENT_DATA, stream, seq);
    return row + len;
}

/* ---- Commands ------------------------------------------------------------ */

struct command {
    const char *argv[ARGS_MAX];
    size_t      lens[ARGS_MAX];
    int         argc;
};

static void add(struct command *c, const char *text, size_t len)
{
    c->argv[c->argc] = text;
    c->lens[c->argc++] = len;
}

static void add_text(struct command *c, const char *text)
{
    add(c, text, strlen(text));
}

static void send_command(struct peer *p, const struct command *c, enum due what,
                         unsigned stream, uint32_t top)
{
    p->due[p->due_last++ % REPLIES_MAX] = (struct reply_due){what, stream, top};
    if (p->due_last - p->due_first > REPLIES_MAX ||
        redisAppendCommandArgv(p->commands, c->argc, (const char **)c->argv,
                               c->lens) != REDIS_OK)
        die("too many commands");
}

struct rows {
    char   text[BATCH_MAX][ROW_MAX];
    size_t lens[BATCH_MAX];
    char   tags[BATCH_MAX][9];
};

static void send_rpush(struct peer *p, unsigned stream, const struct rows *rows,
                       unsigned count, uint32_t top)
{
    struct command push = {0};
    char           key[32];

    sprintf(key, "sse:events:b%u", stream);
    add_text(&push, "RPUSH");
    add_text(&push, key);
    for (unsigned i = 0; i < count; i++)
        add(&push, rows->text[i], rows->lens[i]);
    send_command(p, &push, LENGTH, stream, top);
}

static void send_publish(struct peer *p, unsigned stream,
                         const struct rows *rows, unsigned count)
{
    struct command publish = {0};
    char           channel[32], message[BATCH_MAX * ROW_MAX];
    size_t         len = 0;

    for (unsigned i = 0; i < count; i++) {
        memcpy(message + len, rows->text[i], rows->lens[i]);
        len += rows->lens[i];
    }
    sprintf(channel, "sse:ch:b%u", stream);
    add_text(&publish, "PUBLISH");
    add_text(&publish, channel);
    add(&publish, message, len);
    send_command(p, &publish, RECEIVERS, stream, p->lines[stream].sent);
}

static void send_expire(struct peer *p, unsigned stream)
{
    struct command expire = {0};
    char           key[32];

    sprintf(key, "sse:events:b%u", stream);
    add_text(&expire, "EXPIRE");
    add_text(&expire, key);
    add_text(&expire, "300");
    send_command(p, &expire, EXPIRED, stream, p->lines[stream].sent);
}

/* What stands in front of the rows of a shared stream's append. */
static void add_append_args(struct command *c, const char *id,
                            const char *batch, const char *channel)
{
    const char *const args[] = {
        id,        /* of the stream */
        "",        /* owner */
        "",        /* claim */
        "",        /* expected top */
        "peer",    /* writer */
        batch,     /* its number */
        "1000000", /* events kept */
        "3600",    /* their time to live */
        "7200",    /* that of meta */
        "3600",    /* that of the stream */
        "",        /* life sign */
        channel,   /* where readers listen */
        "PUBLISH", /* how they are told */
        "",        /* state at the end */
        "",        /* type of the last event */
        "",        /* its data */
        "",        /* its time */
        "300",     /* time to live of the end */
    };

    for (size_t i = 0; i < sizeof(args) / sizeof(*args); i++)
        add_text(c, args[i]);
}

static void add_row(struct command *c, struct rows *rows, unsigned i)
{
    sprintf(rows->tags[i], "%08x",
            sse__fnv1a(SSE__FNV1A_INIT, rows->text[i], rows->lens[i]));
    add_text(c, rows->tags[i]);
    add(c, rows->text[i], rows->lens[i]);
}

static void send_evalsha(struct peer *p, unsigned stream, struct rows *rows,
                         unsigned count, uint32_t top)
{
    static const char *const kinds[] = {"stream", "events", "meta",
                                        "completion"};
    struct command           eval = {0};
    char                     keys[4][32], id[16], channel[32], batch[16];

    add_text(&eval, "EVALSHA");
    add_text(&eval, p->script);
    add_text(&eval, "5");
    for (unsigned i = 0; i < 4; i++) {
        sprintf(keys[i], "sse:%s:b%u", kinds[i], stream);
        add_text(&eval, keys[i]);
    }
    add_text(&eval, "sse:active");
    sprintf(id, "b%u", stream);
    sprintf(channel, "sse:ch:b%u", stream);
    sprintf(batch, "%u", ++p->appends);
    add_append_args(&eval, id, batch, channel);
    for (unsigned i = 0; i < count; i++)
        add_row(&eval, rows, i);
    send_command(p, &eval, APPENDED, stream, top);
}

static void append(struct peer *p, unsigned stream)
{
    struct line *l = &p->lines[stream];
    unsigned     count = p->way == PLAIN ? 1 : p->load->batch;
    struct rows  rows;

    for (unsigned i = 0; i < count; i++)
        rows.lens[i] = form_row(rows.text[i], stream, l->sent + i);
    line_sent(l, count);
    if (p->way == EVALSHA) {
        send_evalsha(p, stream, &rows, count, l->sent);
        return;
    }
    send_rpush(p, stream, &rows, count, l->sent);
    if (p->way == RPUSH)
        send_publish(p, stream, &rows, count);
}

/* ---- Replies ------------------------------------------------------------- */

static void counts_to(struct peer *p, unsigned stream, uint32_t top)
{
    while (p->lines[stream].counted < top)
        line_counts(&p->lines[stream], &p->meter);
    p->ready[stream] = true;
}

/* It is new, and has the number that is due. */
static void check_appended(const redisReply *r, const struct reply_due *due,
                           unsigned count)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 2 ||
        r->element[0]->type != REDIS_REPLY_STRING ||
        strcmp(r->element[0]->str, "ok") != 0)
        wrong("stream %u, event %u: %s", due->stream, due->top - 1,
              r->type == REDIS_REPLY_ARRAY ? r->element[0]->str : "no array");
    if (r->element[1]->integer != due->top - count + 1)
        wrong("stream %u, event %u: it is number %lld", due->stream,
              due->top - 1, r->element[1]->integer);
}

static void take_reply(struct peer *p, const redisReply *r)
{
    struct reply_due due = p->due[p->due_first++ % REPLIES_MAX];
    bool             counts = p->load->awaited || p->way == PLAIN;

    if (r->type == REDIS_REPLY_ERROR)
        wrong("stream %u: %s", due.stream, r->str);
    if (due.what == APPENDED)
        check_appended(r, &due, p->load->batch);
    else if (r->type != REDIS_REPLY_INTEGER ||
             r->integer != (due.what == LENGTH ? due.top : 1))
        wrong("stream %u, event %u: answered %lld", due.stream, due.top - 1,
              r->integer);
    if (p->way == PLAIN && due.what == LENGTH)
        send_expire(p, due.stream);
    else if (due.what != LENGTH && counts)
        counts_to(p, due.stream, due.top);
}

/* "message", the channel, the text. */
static void take_message(struct peer *p, const redisReply *r)
{
    const char *at = r->element[2]->str, *end = at + r->element[2]->len;
    unsigned    stream = (unsigned)atoi(r->element[1]->str + 8);

    for (unsigned i = 0; i < p->load->batch; i++)
        at = check_row(at, end, stream, p->seen[stream]++);
    if (!p->load->awaited)
        counts_to(p, stream, p->seen[stream]);
}

static void take_all(struct peer *p, redisContext *c)
{
    void *reply;

    for (;;) {
        if (redisGetReplyFromReader(c, &reply) != REDIS_OK)
            die("Redis: %s", c->errstr);
        if (!reply)
            return;
        if (c == p->commands)
            take_reply(p, reply);
        else
            take_message(p, reply);
        freeReplyObject(reply);
    }
}

static void take_input(struct peer *p, redisContext *c)
{
    if (redisBufferRead(c) != REDIS_OK)
        die("Redis: %s", c->errstr);
    take_all(p, c);
}

/* Waits for either until `due_ns`, or as long as one has patience. */
static void wait_input(struct peer *p, uint64_t due_ns)
{
    struct pollfd   fds[] = {{.fd = p->commands->fd, .events = POLLIN},
                             {.fd = p->pushes->fd, .events = POLLIN}};
    uint64_t        now = now_ns(), left = due_ns > now ? due_ns - now : 0;
    struct timespec time = {.tv_sec = (time_t)(left / 1000000000),
                            .tv_nsec = (long)(left % 1000000000)};

    if (ppoll(fds, 2, &time, NULL) < 0 && errno != EINTR)
        die("poll: %s", strerror(errno));
    if (fds[0].revents)
        take_input(p, p->commands);
    if (fds[1].revents)
        take_input(p, p->pushes);
}

/* ---- Loads --------------------------------------------------------------- */

static bool has_room(const struct peer *p, const struct line *l)
{
    if (p->way == PLAIN) /* it waits for each of its events */
        return l->sent == l->counted;
    return line_has_room(l, p->load);
}

static void fill(struct peer *p)
{
    for (unsigned i = 0; i < p->load->streams; i++) {
        while (p->ready[i] && has_room(p, &p->lines[i]))
            append(p, i);
        p->ready[i] = false;
    }
}

static void look(struct peer *p)
{
    struct pollfd fd = {.fd = p->pushes->fd, .events = POLLIN};

    while (poll(&fd, 1, 0) > 0)
        take_input(p, p->pushes);
}

static uint64_t patience(void)
{
    return now_ns() + PATIENCE_MS * 1000000ull;
}

static void run_closed(struct peer *p)
{
    bool     alone = p->load->awaited || p->way == PLAIN;
    unsigned turns = 0;

    while (!meter_is_over(&p->meter)) {
        fill(p);
        flush(p->commands);
        if (!alone)
            wait_input(p, patience());
        else
            take_input(p, p->commands);
        if (alone && ++turns % LOOK_EVERY == 0)
            look(p);
    }
}

static void run_paced(struct peer *p)
{
    uint64_t due_ns = now_ns();

    while (!meter_is_over(&p->meter)) {
        if (now_ns() >= due_ns && line_has_room(&p->lines[0], p->load)) {
            append(p, 0);
            flush(p->commands);
            due_ns += 1000000000 / p->load->rate;
        }
        wait_input(p,
                   line_has_room(&p->lines[0], p->load) ? due_ns : patience());
    }
}

/* What is under way comes to its end, and Redis has what was sent. */
static void finish(struct peer *p)
{
    uint64_t until_ns = patience();

    for (unsigned i = 0; i < p->load->streams; i++) {
        struct line *l = &p->lines[i];

        while (l->counted < l->sent ||
               (p->way != PLAIN && p->seen[i] < l->sent)) {
            flush(p->commands);
            wait_input(p, until_ns);
            if (now_ns() > until_ns)
                wrong("stream %u, event %u: it did not come", i, l->counted);
        }
    }
    while (p->due_first < p->due_last)
        wait_input(p, until_ns);
    for (unsigned i = 0; i < p->load->streams; i++) {
        redisAppendCommand(p->commands, "LLEN sse:events:b%u", i);
        redisReply *r = next_reply(p->commands);
        if (r->integer != p->lines[i].sent)
            wrong("stream %u: %lld events are stored", i, r->integer);
        freeReplyObject(r);
    }
}

/* ---- Catching up --------------------------------------------------------- */

/* The whole list at once, and a look at each row. */
static void read_list(struct peer *p)
{
    redisReply *r;

    redisAppendCommand(p->commands, "LRANGE sse:events:b0 0 -1");
    r = next_reply(p->commands);
    if (r->elements != CATCH_UP_EVENTS)
        wrong("there are %zu events", r->elements);
    for (unsigned i = 0; i < CATCH_UP_EVENTS; i++)
        check_row(r->element[i]->str, r->element[i]->str + r->element[i]->len,
                  0, i);
    freeReplyObject(r);
}

static void catch_up(struct peer *p)
{
    double   cpu, seconds;
    uint64_t start;

    p->meter.from_ns = UINT64_MAX; /* none of this */
    while (p->lines[0].sent < CATCH_UP_EVENTS) {
        for (unsigned i = 0; i < BATCH_MAX; i++)
            append(p, 0);
        flush(p->commands);
        while (p->lines[0].counted < p->lines[0].sent) {
            take_input(p, p->commands);
            flush(p->commands);
        }
    }
    cpu = both_cpu(&p->meter);
    start = now_ns();
    for (unsigned i = 0; i < CATCH_UP_TIMES; i++)
        read_list(p);
    seconds = (double)(now_ns() - start) / 1e9;
    cpu = both_cpu(&p->meter) - cpu;
    printf("{\"events\": %u, \"seconds\": %.6f, \"cpu\": %.6f}\n",
           CATCH_UP_EVENTS * CATCH_UP_TIMES, seconds, cpu);
}

static enum way find_way(const char *name)
{
    for (enum way way = RPUSH; way <= EVALSHA; way++)
        if (strcmp(ways[way], name) == 0)
            return way;
    die("no such way: %s", name);
}

int main(int argc, char **argv)
{
    static struct peer p;

    if (argc != 6 || (p.load = find_load(argv[2])) == NULL)
        die("usage: store_peer WAY LOAD PORT PID SECONDS");
    p.way = find_way(argv[1]);
    open_peer(&p, argv[3]);
    if (p.load->waiting == 0) {
        p.meter.redis_pid = atoi(argv[4]);
        catch_up(&p);
    } else {
        meter_start(&p.meter, atoi(argv[4]), atof(argv[5]));
        if (p.load->rate)
            run_paced(&p);
        else
            run_closed(&p);
        finish(&p);
        meter_print(&p.meter);
    }
    redisFree(p.commands);
    redisFree(p.pushes);
    return 0;
}
