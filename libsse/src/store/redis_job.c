/* SPDX-License-Identifier: MIT */
/* redis_job.c - operations on their way to Redis and back. */
#include "redis_job.h"

#include <stdio.h>

#include "../core/alloc.h"
#include "redis_guardian.h"
#include "redis_registry.h"

#define LOOK_MS 50 /* between two looks at what took too long */

static void free_job(sse__job *job)
{
    sse__list_drop(&job->link);
    sse__free(job->text);
    sse__free(job);
}

void sse__job_begin(sse__redis *r, sse__op *op)
{
    sse__job *job = sse__calloc(1, sizeof(*job));

    if (!job) {
        sse__op_finish(r->base.hub, op, SSE_ERR_NOMEM);
        return;
    }
    job->engine = r;
    job->op = op;
    job->known = op->kind == SSE__OP_REMOVE && op->look;
    snprintf(job->writer, sizeof(job->writer), "%sx%llu", r->node,
             (unsigned long long)++r->names);
    sse__list_init(&job->link);
    sse__list_add(&r->jobs, &job->link);
}

void sse__job_finish(sse__job *job, int rc)
{
    sse__op_finish(job->engine->base.hub, job->op, rc);
    free_job(job);
}

void sse__job_again(sse__job *job)
{
    sse__list_drop(&job->link);
    sse__list_add(&job->engine->jobs, &job->link);
}

bool sse__job_keep(sse__job *job, sse__text text)
{
    char *copy = sse__memdup(text.text, text.len);

    if (!copy) {
        sse__job_finish(job, SSE_ERR_NOMEM);
        return false;
    }
    sse__free(job->text);
    job->text = copy;
    return true;
}

void sse__job_form_append(sse__job *job, const char *owner, const char *claim,
                          uint32_t state)
{
    sse__redis *r = job->engine;
    sse__op    *op = job->op;

    sse__call_begin(r, SSE__REDIS_APPEND);
    sse__call_keys(r, op->id, op->id_len);
    sse__call_text(r, op->id, op->id_len);
    sse__call_str(r, owner);
    sse__call_str(r, claim);
    sse__call_str(r, "");
    sse__call_str(r, job->writer);
    sse__call_u64(r, 1);
    sse__call_u64(r, r->base.hub->core.opts.log_events);
    sse__call_u64(r, r->keep.events);
    sse__call_u64(r, r->keep.meta);
    sse__call_u64(r, r->keep.stream);
    sse__call_str(r, "");
    sse__call_channel(r, op->id, op->id_len);
    sse__call_final(r, state, op->rows[op->row_count - 1]);
    for (size_t i = 0; i < op->row_count; i++)
        sse__call_row(r, op->rows[i]);
}

/* ---- Sending ---- */

static void got_reply(void *user, const redisReply *reply)
{
    sse__job *job = user;

    if (!job->op) {
        free_job(job);
    } else if (!reply) {
        job->doubt = true;
        sse__job_again(job);
    } else if (sse__reply_is(reply, "wrongtype")) {
        sse__job_finish(job, SSE_ERR_STORE);
    } else if (job->op->kind == SSE__OP_SETTLE) {
        sse__guardian_settled(job, reply);
    } else {
        sse__registry_answered(job, reply);
    }
}

static void send_job(sse__job *job)
{
    sse__redis *r = job->engine;
    int         rc;

    if (job->op->kind == SSE__OP_SETTLE) {
        if (!sse__guardian_form(job))
            return;
    } else {
        sse__registry_form(job);
    }
    rc = sse__call_send(r, got_reply, job);
    if (rc == SSE_ERR_STORE || rc == SSE_ERR_LIMIT) {
        r->hold_ms = sse__redis_now(r) + LOOK_MS;
    } else if (rc < 0) {
        sse__job_finish(job, rc == SSE_ERR_NOMEM ? rc : SSE_ERR_STORE);
    } else {
        sse__list_drop(&job->link);
        sse__list_add(&r->sent_jobs, &job->link);
    }
}

void sse__job_pump(sse__redis *r)
{
    while (!sse__list_empty(&r->jobs) && sse__redis_room(r) > 0)
        send_job(SSE__OWNER(r->jobs.next, sse__job, link));
}

/* ---- The end ---- */

/* The reply that is still due frees the job. */
static void give_up(sse__job *job, int rc)
{
    sse__op_finish(job->engine->base.hub, job->op, rc);
    job->op = NULL;
}

static void tick_list(sse__redis *r, sse__link *list, bool sent)
{
    sse__link *next;

    for (sse__link *l = list->next; l != list; l = next) {
        sse__job *job = SSE__OWNER(l, sse__job, link);

        next = l->next;
        if (!job->op || job->op->by_ms > sse__redis_now(r))
            continue;
        r->counters.timeouts++;
        if (sent)
            give_up(job, SSE_ERR_STORE);
        else
            sse__job_finish(job, SSE_ERR_STORE);
    }
}

void sse__job_tick(sse__redis *r)
{
    if (r->jobs_ms > sse__redis_now(r))
        return;
    tick_list(r, &r->jobs, false);
    tick_list(r, &r->sent_jobs, true);
}

void sse__job_close(sse__redis *r)
{
    while (!sse__list_empty(&r->jobs))
        sse__job_finish(SSE__OWNER(r->jobs.next, sse__job, link),
                        SSE_ERR_CLOSED);
    for (sse__link *l = r->sent_jobs.next; l != &r->sent_jobs; l = l->next) {
        sse__job *job = SSE__OWNER(l, sse__job, link);

        if (job->op)
            give_up(job, SSE_ERR_CLOSED);
    }
}
