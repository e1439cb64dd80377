/* SPDX-License-Identifier: MIT */
/* client_calls.c - what an application tells a client that runs. */
#include "../core/buffer.h"
#include "client.h"
#include "host.h"

int sse_client_start(sse_client *c)
{
    int rc = sse__follow_enter(c);

    if (rc < 0)
        return rc;
    if (c->started || c->core->phase != SSE__PHASE_IDLE) {
        pthread_mutex_unlock(&c->lock);
        return SSE_ERR_CLOSED;
    }
    c->started = true;
    sse__client_start(c->core, sse__clock_mono_ms(), sse__clock_wall_ms());
    sse__follow_leave(c);
    return SSE_OK;
}

static void tell(sse_client *c, void (*what)(sse__client *core, int64_t now_ms))
{
    if (sse__follow_enter(c) < 0)
        return;
    what(c->core, sse__clock_mono_ms());
    sse__follow_leave(c);
}

void sse_client_suspend(sse_client *c)
{
    tell(c, sse__client_suspend);
}

void sse_client_resume(sse_client *c)
{
    tell(c, sse__client_resume);
}

void sse_client_offline(sse_client *c)
{
    tell(c, sse__client_offline);
}

void sse_client_online(sse_client *c)
{
    tell(c, sse__client_online);
}

void sse_client_restart(sse_client *c)
{
    tell(c, sse__client_restart);
}

void sse_client_close(sse_client *c)
{
    tell(c, sse__client_close);
}

int sse_client_decide(sse_client *c, int decision)
{
    int rc;

    if (decision < SSE_DECISION_RETRY || decision > SSE_DECISION_DEFAULT)
        return SSE_ERR_INVAL;
    rc = sse__follow_enter(c);
    if (rc < 0)
        return rc;
    c->asks_decision = false;
    sse__client_decide(c->core, sse__clock_mono_ms(), (sse__verdict)decision);
    sse__follow_leave(c);
    return SSE_OK;
}

int sse_client_ack(sse_client *c, const char *id, size_t len)
{
    int rc = sse__follow_enter(c);

    if (rc < 0)
        return rc;
    rc = sse__client_ack(c->core, id, len);
    sse__follow_leave(c);
    return rc;
}

int sse_client_export(sse_client *c, sse_buffer *out)
{
    int rc = sse__follow_enter(c);

    if (rc < 0)
        return rc;
    rc = sse__client_export(c->core, &out->buf);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int sse_client_import(sse_client *c, const void *data, size_t len)
{
    int rc = sse__follow_enter(c);

    if (rc < 0)
        return rc;
    rc = c->started ? SSE_ERR_INVAL : sse__client_import(c->core, data, len);
    pthread_mutex_unlock(&c->lock);
    return rc;
}
