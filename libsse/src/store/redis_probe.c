/* SPDX-License-Identifier: MIT */
/* redis_probe.c - whether messages arrive. That a PING is answered proves only
 * that the connection lives: something in between may pass that and no messages.
 * So a node publishes a message to itself now and then, by the link for
 * commands, and waits for it on the one for subscriptions; before, for the
 * confirmation that it is heard there. */
#include "redis_probe.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#define PERIOD_MS 5000 /* from one to the next, and how long one may take     */

static const char WORD[] = "probe ";

static int64_t period_ms(const sse__redis *r)
{
    return r->url.timeout_ms ? (int64_t)r->url.timeout_ms * 2 : PERIOD_MS;
}

static bool can_probe(const sse__redis *r)
{
    return r->commands_up && r->pushes_up;
}

void sse__probe_listens(sse__redis *r, bool listening)
{
    r->probe_state.listening = listening;
    r->probe_state.sent_us = 0;
    r->probe_state.due_ms = sse__redis_now(r) + period_ms(r);
}

/* Only the last one counts. */
bool sse__probe_came(sse__redis *r, const sse__redis_push *push)
{
    sse__probe *p = &r->probe_state;
    char        text[40];
    int         len = snprintf(text, sizeof(text), "%s%llu", WORD,
                               (unsigned long long)p->number);

    if (push->message_len < sizeof(WORD) - 1 ||
        memcmp(push->message, WORD, sizeof(WORD) - 1) != 0)
        return false;
    if (p->sent_us && push->message_len == (size_t)len &&
        memcmp(push->message, text, (size_t)len) == 0) {
        p->delay_us = uv_hrtime() / 1000 - p->sent_us;
        p->came++;
        p->sent_us = 0;
    }
    return true;
}

static void send_probe(sse__redis *r)
{
    sse__probe *p = &r->probe_state;
    char        text[40];
    const char *words[] = {"PUBLISH", r->control, text};

    snprintf(text, sizeof(text), "%s%llu", WORD,
             (unsigned long long)++p->number);
    if (sse__redis_send(r->commands, 3, words, NULL, NULL, NULL) == SSE_OK)
        p->sent_us = uv_hrtime() / 1000;
}

void sse__probe_tick(sse__redis *r)
{
    sse__probe *p = &r->probe_state;

    if (!can_probe(r)) {
        p->sent_us = 0;
        return;
    }
    if (p->due_ms > sse__redis_now(r))
        return;
    if (p->sent_us || !p->listening) {
        p->lost += p->sent_us > 0;
        p->sent_us = 0;
        p->deaf = true; /* the link is dropped once the lock is gone */
    } else if (!p->deaf) {
        send_probe(r);
    }
    p->due_ms = sse__redis_now(r) + period_ms(r);
}

int64_t sse__probe_due_ms(const sse__redis *r)
{
    if (r->probe_state.deaf)
        return sse__redis_now(r);
    return can_probe(r) ? r->probe_state.due_ms : INT64_MAX;
}

void sse__probe_act(sse__redis *r)
{
    if (!r->probe_state.deaf)
        return;
    r->probe_state.deaf = false;
    if (r->pushes)
        sse__redis_link_reset(r->pushes, "messages do not arrive");
}
