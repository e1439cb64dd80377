/* SPDX-License-Identifier: MIT */
/* redis_handshake.c - what a new connection must pass before it is used: the
 * login, the database, a name, the role of a master, leave to publish, and the
 * scripts. */
#include "redis_link_state.h"

#include <stdio.h>
#include <string.h>

#include "sse.h"

/* Steps are numbered in the order of their commands; from FIRST_SCRIPT on each
 * loads one script. */
enum { LOGIN, DATABASE, NAME, ROLE, PROBE, FIRST_SCRIPT };

static uint32_t step_count(const sse__redis_link *l)
{
    return FIRST_SCRIPT + l->opts.script_count;
}

/* Channels belong to no database, and subscribers run no scripts. */
static bool is_wanted(const sse__redis_link *l, uint32_t step)
{
    bool commands = l->opts.role == SSE__REDIS_COMMANDS;

    switch (step) {
    case LOGIN: return l->url->password != NULL;
    case DATABASE: return commands && l->url->db > 0;
    case NAME: return l->opts.client_name != NULL;
    case ROLE: return true;
    case PROBE: return commands && l->opts.probe_channel != NULL;
    default: return commands && step < step_count(l);
    }
}

static uint32_t next_step(const sse__redis_link *l, uint32_t step)
{
    while (step < step_count(l) && !is_wanted(l, step))
        step++;
    return step;
}

/* ---- Asking ---- */

static int send_words(sse__redis_link *l, uint32_t count,
                      const char *const *argv)
{
    const sse__redis_args args = {count, argv, NULL};

    return sse__redis_conn_send(l->conn, &args, NULL);
}

static int send_login(sse__redis_link *l)
{
    const char *const with_user[] = {"AUTH", l->url->user, l->url->password};
    const char *const without[] = {"AUTH", l->url->password};

    return l->url->user ? send_words(l, 3, with_user)
                        : send_words(l, 2, without);
}

static int send_database(sse__redis_link *l)
{
    char              number[12];
    const char *const argv[] = {"SELECT", number};

    snprintf(number, sizeof(number), "%u", l->url->db);
    return send_words(l, 2, argv);
}

static int send_script(sse__redis_link *l, uint32_t i)
{
    const char *const     argv[] = {"SCRIPT", "LOAD", l->opts.scripts[i].text};
    const size_t          lens[] = {6, 4, l->opts.scripts[i].len};
    const sse__redis_args args = {3, argv, lens};

    return sse__redis_conn_send(l->conn, &args, NULL);
}

static int send_step(sse__redis_link *l, uint32_t step)
{
    const char *const naming[] = {"CLIENT", "SETNAME", l->opts.client_name};
    const char *const role[] = {"ROLE"};
    const char *const probe[] = {"PUBLISH", l->opts.probe_channel, ""};

    switch (step) {
    case LOGIN: return send_login(l);
    case DATABASE: return send_database(l);
    case NAME: return send_words(l, 3, naming);
    case ROLE: return send_words(l, 1, role);
    case PROBE: return send_words(l, 3, probe);
    default: return send_script(l, step - FIRST_SCRIPT);
    }
}

/* Sends all that is left, in one write. The login is waited for: to whom is
 * not logged in, Redis answers a long command as a mistake of the protocol. */
static void send_steps(sse__redis_link *l)
{
    uint32_t last = l->step == LOGIN ? DATABASE : step_count(l);
    int      rc = SSE_OK;

    for (uint32_t i = l->step; rc == SSE_OK && i < last;
         i = next_step(l, i + 1))
        rc = send_step(l, i);
    if (rc < 0)
        sse__redis_link_drop(l, sse_strerror(rc), false);
}

void sse__redis_handshake_begin(sse__redis_link *l)
{
    l->step = next_step(l, LOGIN);
    send_steps(l);
}

/* ---- Answers ---- */

/* Errors that stay until somebody changes a configuration. All others may go
 * by themselves. */
static bool is_hopeless(const redisReply *reply)
{
    static const char *const beginnings[] = {
        "WRONGPASS",
        "NOAUTH",
        "NOPERM",
        "DENIED",
        "ERR invalid password",
        "ERR Client sent AUTH",
        "ERR AUTH ",
        "ERR DB index",
        "ERR invalid DB index",
        "ERR SELECT is not allowed",
        "ERR unknown command",
    };

    for (size_t i = 0; i < sizeof(beginnings) / sizeof(*beginnings); i++)
        if (sse__redis_is_error(reply, beginnings[i]))
            return true;
    return false;
}

static void refuse(sse__redis_link *l, const char *reason, bool fatal)
{
    char why[SSE__REDIS_WHY_BYTES];

    snprintf(why, sizeof(why), "%s: %s", sse__redis_conn_where(l->conn),
             reason);
    sse__redis_link_drop(l, why, fatal);
}

/* An array that begins with "master", "slave" or "sentinel". */
static bool take_role(sse__redis_link *l, const redisReply *reply)
{
    const char *role = "";

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
        reply->element[0]->type == REDIS_REPLY_STRING)
        role = reply->element[0]->str;
    if (strcmp(role, "master") == 0)
        return true;
    if (strcmp(role, "sentinel") == 0)
        refuse(l, "it is a Sentinel, for which redis+sentinel:// is written",
               true);
    else
        refuse(l, "it is a replica and not the master", false);
    return false;
}

static bool take_script(sse__redis_link *l, uint32_t i, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_STRING &&
        reply->len == SSE__REDIS_SHA_BYTES - 1) {
        memcpy(l->shas[i], reply->str, SSE__REDIS_SHA_BYTES);
        return true;
    }
    refuse(l, "the answer to SCRIPT LOAD is no digest", false);
    return false;
}

/* False when the link has been dropped for it. A name is a courtesy: who may
 * not give one works without. */
static bool take_answer(sse__redis_link *l, const redisReply *reply)
{
    if (l->step == NAME)
        return true;
    if (reply->type == REDIS_REPLY_ERROR) {
        refuse(l, sse__redis_refusal(reply, l->url->password),
               is_hopeless(reply));
        return false;
    }
    if (l->step == ROLE)
        return take_role(l, reply);
    if (l->step >= FIRST_SCRIPT)
        return take_script(l, l->step - FIRST_SCRIPT, reply);
    return true;
}

void sse__redis_handshake_reply(sse__redis_link *l, const redisReply *reply)
{
    bool logged_in = l->step == LOGIN;

    if (!take_answer(l, reply))
        return;
    l->step = next_step(l, l->step + 1);
    if (logged_in)
        send_steps(l);
    else if (l->step == step_count(l))
        sse__redis_link_is_up(l);
}
