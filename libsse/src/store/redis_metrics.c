/* SPDX-License-Identifier: MIT */
/* redis_metrics.c - what the engine and its links count. */
#include "redis_metrics.h"

#include <stdio.h>

#include "../core/metrics.h"
#include "redis_writer.h"

typedef struct metric {
    const char *name, *type, *help;
    uint64_t    number;
} metric;

static int add_all(sse__buf *out, const metric *m, size_t count)
{
    int rc = SSE_OK;

    for (size_t i = 0; rc == SSE_OK && i < count; i++)
        rc = sse__metric_one(out, m[i].name, m[i].type, m[i].help, m[i].number);
    return rc;
}

/* One metric, for each of the two links. */
typedef struct link_metric {
    const char *name, *type, *help;
    uint64_t    commands, pushes;
} link_metric;

static int add_links(sse__buf *out, const link_metric *m, size_t count)
{
    int rc = SSE_OK;

    for (size_t i = 0; rc == SSE_OK && i < count; i++) {
        rc = sse__metric_head(out, m[i].name, m[i].type, m[i].help);
        if (rc == SSE_OK)
            rc = sse__metric_add(out, m[i].name, "link", "commands",
                                 m[i].commands);
        if (rc == SSE_OK)
            rc = sse__metric_add(out, m[i].name, "link", "subscriptions",
                                 m[i].pushes);
    }
    return rc;
}

static int add_round_trips(sse__buf *out, const sse__redis_stats *s)
{
    static const char name[] = "sse_store_round_trip_seconds";
    uint64_t          below = 0;
    char              bound[16];
    int               rc = sse__metric_head(out, name, "histogram",
                                            "From a command to its reply.");

    for (size_t i = 0; rc == SSE_OK && i < SSE__REDIS_RTT_BUCKETS; i++) {
        below += s->rtt_counts[i];
        if (i < SSE__REDIS_RTT_BUCKETS - 1)
            snprintf(bound, sizeof(bound), "%u.%06u",
                     sse__redis_rtt_us[i] / 1000000,
                     sse__redis_rtt_us[i] % 1000000);
        else
            snprintf(bound, sizeof(bound), "+Inf");
        rc = sse__metric_add(out, "sse_store_round_trip_seconds_bucket", "le",
                             bound, below);
    }
    return rc;
}

static int add_round_trip_sums(sse__buf *out, const sse__redis_stats *s)
{
    char text[80];
    int  rc;

    snprintf(text, sizeof(text), "sse_store_round_trip_seconds_sum %llu.%06u\n",
             (unsigned long long)(s->rtt_sum_us / 1000000),
             (unsigned)(s->rtt_sum_us % 1000000));
    rc = sse__buf_add_str(out, text);
    return rc < 0 ? rc
                  : sse__metric_add(out, "sse_store_round_trip_seconds_count",
                                    NULL, NULL, s->replies);
}

static int add_link_metrics(sse__buf *out, const sse__redis_stats *c,
                            const sse__redis_stats *p)
{
    const link_metric links[] = {
        {"sse_store_connects_total", "counter", "Times a link came up.", c->ups,
         p->ups},
        {"sse_store_disconnects_total", "counter", "Times a link was lost.",
         c->downs, p->downs},
        {"sse_store_connect_failures_total", "counter", "Attempts that failed.",
         c->failures, p->failures},
        {"sse_store_link_timeouts_total", "counter",
         "Times that Redis was silent for too long.", c->timeouts, p->timeouts},
        {"sse_store_received_bytes_total", "counter", "Bytes from Redis.",
         c->bytes_in, p->bytes_in},
        {"sse_store_sent_bytes_total", "counter", "Bytes to Redis.",
         c->bytes_out, p->bytes_out},
    };
    const metric plain[] = {
        {"sse_store_commands_total", "counter", "Commands sent.", c->commands},
        {"sse_store_replies_total", "counter", "Replies to them.", c->replies},
        {"sse_store_errors_total", "counter", "Replies that were errors.",
         c->errors},
        {"sse_store_lost_replies_total", "counter",
         "Commands whose outcome the loss of a link has hidden.", c->lost},
        {"sse_store_messages_total", "counter",
         "Messages on subscribed channels.", p->pushes},
        {"sse_store_in_flight", "gauge", "Commands that wait for a reply.",
         c->in_flight},
    };
    int rc = add_links(out, links, sizeof(links) / sizeof(*links));

    if (rc == SSE_OK)
        rc = add_all(out, plain, sizeof(plain) / sizeof(*plain));
    if (rc == SSE_OK)
        rc = add_round_trips(out, c);
    return rc < 0 ? rc : add_round_trip_sums(out, c);
}

static int add_probe_metrics(sse__buf *out, const sse__probe *p)
{
    const metric counts[] = {
        {"sse_store_probes_total", "counter",
         "Messages to itself that arrived.", p->came},
        {"sse_store_probes_lost_total", "counter",
         "Messages to itself that did not.", p->lost},
    };
    char text[80];
    int  rc = add_all(out, counts, sizeof(counts) / sizeof(*counts));

    if (rc == SSE_OK)
        rc = sse__metric_head(out, "sse_store_probe_delay_seconds", "gauge",
                              "What the last one took.");
    snprintf(text, sizeof(text), "sse_store_probe_delay_seconds %llu.%06u\n",
             (unsigned long long)(p->delay_us / 1000000),
             (unsigned)(p->delay_us % 1000000));
    return rc < 0 ? rc : sse__buf_add_str(out, text);
}

static int add_writer_metrics(const sse__redis *r, sse__buf *out)
{
    const sse__redis_counters *c = &r->counters;
    uint64_t                   rows, bytes;

    sse__writer_count(r, &rows, &bytes);
    {
        const metric m[] = {
            {"sse_store_appended_events_total", "counter",
             "Events of this hub's producers that were stored.", c->appended},
            {"sse_store_batches_total", "counter", "Appends sent for them.",
             c->batches},
            {"sse_store_waiting_events", "gauge", "Events not stored yet.",
             rows},
            {"sse_store_waiting_bytes", "gauge", "About how many bytes.",
             bytes},
            {"sse_store_lost_events_total", "counter",
             "Events that left the log before they could be stored.", c->lost},
            {"sse_store_duplicates_total", "counter",
             "Appends that turned out to have been stored before.", c->dups},
            {"sse_store_moved_total", "counter",
             "Times that the store stood elsewhere than expected.", c->moved},
            {"sse_store_restores_total", "counter",
             "Streams that were given back to a store which had lost them.",
             c->restores},
            {"sse_store_renumbered_total", "counter",
             "Streams whose waiting events got new numbers.", c->renumbered},
            {"sse_store_stolen_total", "counter",
             "Streams lost to another producer.", c->stolen},
            {"sse_store_closed_total", "counter",
             "Streams that were ended elsewhere.", c->closed},
            {"sse_store_forgotten_total", "counter",
             "Registrations that the store had lost.", c->gone},
        };

        return add_all(out, m, sizeof(m) / sizeof(*m));
    }
}

static int add_other_metrics(const sse__redis *r, sse__buf *out)
{
    const sse__redis_counters *c = &r->counters;
    const metric               m[] = {
                      {"sse_store_timeouts_total", "counter",
                       "Operations that got no answer in time.", c->timeouts},
                      {"sse_store_life_signs_total", "counter", "Leases renewed.", c->beats},
                      {"sse_store_stops_told_total", "counter",
                       "Stops that reached a producer's node.", c->stops_told},
                      {"sse_store_subscriptions", "gauge", "Streams followed now.",
                       sse__tail_count(r)},
                      {"sse_store_reads_total", "counter", "Reads of streams.", c->reads},
                      {"sse_store_read_events_total", "counter", "Events that these brought.",
                       c->rows_read},
                      {"sse_store_gaps_total", "counter",
                       "Times that a followed stream had a hole, which was read.", c->gaps},
                      {"sse_store_unreadable_events_total", "counter",
                       "Events of others that cannot be read.", c->unreadable},
                      {"sse_guardian_claimed_total", "counter", "Orphans found.", c->claimed},
                      {"sse_guardian_settled_total", "counter",
                       "Orphans that were ended here.", c->settled},
    };

    return add_all(out, m, sizeof(m) / sizeof(*m));
}

int sse__redis_metrics(sse__store *store, sse__buf *out)
{
    sse__redis *r = sse__redis_of(store);
    const char *why;
    int         rc;

    rc = sse__metric_one(out, "sse_store_up", "gauge",
                         "1 while the store can be reached and takes writes.",
                         store->ops->is_up(store, &why) == 1);
    if (rc == SSE_OK)
        rc = add_link_metrics(out, &r->commands_stats, &r->pushes_stats);
    if (rc == SSE_OK)
        rc = add_probe_metrics(out, &r->probe_state);
    if (rc == SSE_OK)
        rc = add_writer_metrics(r, out);
    return rc < 0 ? rc : add_other_metrics(r, out);
}
