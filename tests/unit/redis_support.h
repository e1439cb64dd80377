/* SPDX-License-Identifier: MIT */
/* redis_support.h - Redis processes of a test's own, and links to them that
 * remember what they were told. What must come is waited for on one loop, and
 * a test that waits in vain fails. */
#ifndef REDIS_SUPPORT_H
#define REDIS_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "redis_link.h"

/* ---- Processes ---- */

typedef struct redis_process {
    char     dir[64];     /* all its files                                  */
    char     socket[80];  /* always there; not encrypted                    */
    uint32_t port;        /* on 127.0.0.1 only                              */
    int      port_fd;     /* keeps it, also while nobody listens; or -1     */
    pid_t    pid;         /* 0 while it does not run                        */
    char     config[2048];
    bool     is_sentinel;
    const char *password; /* of its default user, or NULL                   */
} redis_process;

#define REDIS_PORT 1u     /* listens on a port, too                         */
#define REDIS_TLS 2u      /* which speaks TLS                               */
#define REDIS_SENTINEL 4u /* is a Sentinel                                  */

/* Chooses its place. `config` are lines of its configuration. */
void redis_prepare(redis_process *r, uint32_t flags, const char *config);
void redis_start(redis_process *r); /* and waits until it answers           */
void redis_kill(redis_process *r);  /* SIGKILL, waited for                  */
void redis_pause(redis_process *r); /* SIGSTOP, waited for                  */
void redis_resume(redis_process *r);
void redis_remove(redis_process *r); /* legal in every state                */

/* Prepares and starts. */
void redis_new(redis_process *r, uint32_t flags, const char *config);

/* Sends a command by another way; redis_do() demands that it succeeds. The
 * reply is the caller's to free. */
redisReply *redis_ask(redis_process *r, const char *format, ...);
void        redis_do(redis_process *r, const char *format, ...);

/* The number behind `name` in what INFO `section` says; -1 without. */
long long redis_info(redis_process *r, const char *section, const char *name);

/* ---- The loop ---- */

extern uv_loop_t redis_loop;

int redis_set_up(void **state);    /* of a group of tests                   */
int redis_tear_down(void **state); /* all handles must be gone              */

/* One turn of the loop, which ends the test when nothing comes. */
void redis_turn(void);
#define AWAIT(truth) \
    do { \
        while (!(truth)) \
            redis_turn(); \
    } while (0)

/* ---- Links ---- */

typedef struct linked {
    sse__redis_link        *link; /* NULL once closed                       */
    sse__redis_url          url;
    sse__redis_link_options opts; /* may be set before link_open()          */
    unsigned                ups, downs, fatals, pushes;
    bool                    close_on_up, close_on_down, close_on_push;
    char                    why[512];    /* of the last down                */
    char                    heard[4096]; /* pushes: "kind channel text\n"   */
    size_t                  heard_len;
} linked;

typedef struct answer {
    unsigned         count; /* of calls: 1 at most                          */
    int              err;
    int              type;
    long long        integer;
    char             text[160];
    size_t           len;
    bool             too_early;    /* inside the call that took the command */
    sse__redis_link *close;        /* a link to close when it comes         */
} answer;

/* Options that make tests quick; `text` is a format for the URL. */
void link_prepare(linked *l, const char *text, ...);
void link_open(linked *l);
void link_to(linked *l, redis_process *r); /* both, by the Unix socket      */
void link_close(linked *l);                /* at once, and waited for       */
void link_await_up(linked *l, unsigned ups);
sse__redis_stats link_stats(const linked *l);

/* Sends the words of `command`, separated by blanks, or a script. */
int link_send(linked *l, answer *a, const char *command);
int link_eval(linked *l, answer *a, uint32_t script, uint32_t keys,
              const char *args);

/* Sends and waits: the answer must be this text. */
void link_expect(linked *l, const char *command, const char *text);

void take_answer(void *user, int err, const redisReply *reply);

/* For the body of a FAIL_ALLOC_TEST: opens a link, sends, and closes it. What
 * fails is returned, or ends an attempt that is followed by another. */
void link_short_of_memory(const char *url,
                          const sse__redis_link_options *opts);

#endif
