/* SPDX-License-Identifier: MIT */
/* store_producer.c - producers in processes of their own. */
#include "store_producer.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define OK(call) assert_int_equal(call, SSE_OK)

sse_hub *store_lease_hub(const redis_process *r, uint32_t sweep_ms)
{
    sse_store_options opts = {
        .size = sizeof(opts), .lease_ms = LEASE_MS, .sweep_ms = sweep_ms};

    return store_hub(r, NULL, &opts);
}

static void say(int fd, char c)
{
    if (write(fd, &c, 1) != 1)
        _exit(2);
}

/* The producer of `count` streams, from number `first` on: two events each,
 * then it waits, and tells what becomes of the first one. */
static void produce(const redis_process *r, int fd, unsigned first,
                    unsigned count)
{
    sse_hub    *hub = store_lease_hub(r, SSE_NEVER);
    sse_stream *streams[16];
    sse_queue  *q;
    sse_note    note;
    char        id[16];

    OK(sse_queue_new(hub, NULL, &q));
    for (unsigned i = 0; i < count; i++) {
        snprintf(id, sizeof(id), "s%u", first + i);
        streams[i] = store_stream(hub, id, q, 0);
        store_append_many(streams[i], 0, 2);
    }
    UNTIL(store_metric(hub, "sse_store_waiting_events") == 0);
    say(fd, 'r');
    note = store_note(q, SSE_NOTE_STOP, NULL, 0);
    say(fd, note.reason == SSE_REASON_REMOVED ? 'l' : '?');
    say(fd, store_append(streams[0], "x") == SSE_ERR_NOT_FOUND ? 'n' : '?');
    pause();
}

producer producer_run(const redis_process *r, unsigned first, unsigned count)
{
    producer p;
    int      fds[2];

    assert_int_equal(pipe(fds), 0);
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        produce(r, fds[1], first, count);
        _exit(0);
    }
    close(fds[1]);
    p.said = fds[0];
    return p;
}

char producer_hear(const producer *p)
{
    struct pollfd ready = {.fd = p->said, .events = POLLIN};
    char          c = 0;

    if (poll(&ready, 1, 30000) != 1 || read(p->said, &c, 1) != 1)
        fail_msg("a producer said nothing");
    return c;
}

void producer_kill(producer *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    close(p->said);
}

void producer_pause(const producer *p)
{
    kill(p->pid, SIGSTOP);
    assert_int_equal(waitpid(p->pid, NULL, WUNTRACED), p->pid);
}

void producer_resume(const producer *p)
{
    kill(p->pid, SIGCONT);
}

int store_settle(sse_hub *hub, const char *id, int state, const char *data)
{
    return sse_hub_settle(hub, id, strlen(id), state, "", 0, data,
                          strlen(data));
}
