/* SPDX-License-Identifier: MIT */
/* metrics.c - what a hub counts, as Prometheus text. */
#include "metrics.h"

#include "stream.h"

int sse__metric_head(sse__buf *out, const char *name, const char *type,
                     const char *help)
{
    const char *const parts[] = {"# HELP ", name, " ",  help, "\n# TYPE ",
                                 name,      " ",  type, "\n"};
    int               rc = SSE_OK;

    for (size_t i = 0; rc == SSE_OK && i < sizeof(parts) / sizeof(*parts); i++)
        rc = sse__buf_add_str(out, parts[i]);
    return rc;
}

static int add_label(sse__buf *out, const char *label, const char *value)
{
    const char *const parts[] = {"{", label, "=\"", value, "\"}"};
    int               rc = SSE_OK;

    for (size_t i = 0; rc == SSE_OK && i < sizeof(parts) / sizeof(*parts); i++)
        rc = sse__buf_add_str(out, parts[i]);
    return rc;
}

int sse__metric_add(sse__buf *out, const char *name, const char *label,
                    const char *value, uint64_t number)
{
    int rc = sse__buf_add_str(out, name);

    if (rc == SSE_OK && label)
        rc = add_label(out, label, value);
    if (rc == SSE_OK)
        rc = sse__buf_add_str(out, " ");
    if (rc == SSE_OK)
        rc = sse__buf_add_u64(out, number);
    return rc < 0 ? rc : sse__buf_add_str(out, "\n");
}

int sse__metric_one(sse__buf *out, const char *name, const char *type,
                    const char *help, uint64_t number)
{
    int rc = sse__metric_head(out, name, type, help);

    return rc < 0 ? rc : sse__metric_add(out, name, NULL, NULL, number);
}

typedef struct plain_metric {
    const char *name, *type, *help;
    uint64_t    number;
} plain_metric;

static int add_plain(sse__buf *out, const plain_metric *m, size_t count)
{
    int rc = SSE_OK;

    for (size_t i = 0; rc == SSE_OK && i < count; i++)
        rc = sse__metric_one(out, m[i].name, m[i].type, m[i].help, m[i].number);
    return rc;
}

static int add_states(const sse__hub *h, sse__buf *out)
{
    static const char name[] = "sse_streams_ended_total";
    int               rc =
        sse__metric_head(out, name, "counter", "Streams that ended, by state.");

    for (int s = SSE_STATE_COMPLETED; rc == SSE_OK && s <= SSE_STATE_EXPIRED;
         s++)
        rc = sse__metric_add(out, name, "state", sse_state_name(s),
                             h->counters.streams_ended[s]);
    return rc;
}

static int add_kept(const sse__hub *h, sse__buf *out)
{
    static const char name[] = "sse_streams";
    uint64_t          kept[SSE_STATE_EXPIRED + 1] = {0};
    int               rc = sse__metric_head(out, name, "gauge",
                                            "Streams that the hub keeps, by state.");

    for (const sse__link *l = h->all.next; l != &h->all; l = l->next)
        kept[SSE__OWNER(l, sse__stream, all_link)->state]++;
    for (int s = SSE_STATE_ACTIVE; rc == SSE_OK && s <= SSE_STATE_EXPIRED; s++)
        rc = sse__metric_add(out, name, "state", sse_state_name(s), kept[s]);
    return rc;
}

static int add_reasons(sse__buf *out, const char *name, const char *help,
                       const uint64_t *numbers)
{
    int rc = sse__metric_head(out, name, "counter", help);

    for (int i = 0; rc == SSE_OK && i < (int)SSE__GAP_REASONS; i++)
        rc =
            sse__metric_add(out, name, "reason", sse__gap_names[i], numbers[i]);
    return rc;
}

int sse__hub_metrics(const sse__hub *h, sse__buf *out)
{
    const sse__counters *c = &h->counters;
    const plain_metric   plain[] = {
          {"sse_streams_created_total", "counter", "Streams created.",
           c->streams_created},
          {"sse_subscribers", "gauge", "Readers subscribed now.", c->subscribers},
          {"sse_subscribed_total", "counter", "Readers that subscribed.",
           c->subscribed},
          {"sse_replays_total", "counter",
           "Readers that subscribed behind the newest event.", c->replays},
          {"sse_events_in_total", "counter", "Events appended.", c->events_in},
          {"sse_bytes_in_total", "counter", "Bytes of their data.", c->bytes_in},
          {"sse_events_out_total", "counter", "Events given to readers.",
           c->events_out},
          {"sse_bytes_out_total", "counter", "Bytes given to readers.",
           c->bytes_out},
          {"sse_heartbeats_total", "counter", "Heartbeats sent.", c->heartbeats},
          {"sse_lagged_disconnects_total", "counter",
           "Readers ended because they were too slow.", c->lagged_ends},
          {"sse_blocked_appends_total", "counter",
           "Appends that waited for a slow reader.", c->blocked},
          {"sse_stops_total", "counter", "Stops asked for.", c->stops},
          {"sse_log_bytes", "gauge", "Bytes held in logs.", c->log_bytes},
    };
    int rc = add_kept(h, out);

    if (rc == SSE_OK)
        rc = add_states(h, out);
    if (rc == SSE_OK)
        rc = add_plain(out, plain, sizeof(plain) / sizeof(*plain));
    if (rc == SSE_OK)
        rc = add_reasons(out, "sse_gaps_total", "Gap events sent, by reason.",
                         c->gaps);
    if (rc == SSE_OK)
        rc = add_reasons(out, "sse_missed_events_total",
                         "Events that gap events stood for, by reason.",
                         c->missed);
    return rc;
}
