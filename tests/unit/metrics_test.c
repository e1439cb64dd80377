/* SPDX-License-Identifier: MIT */
/* metrics_test.c - what a hub counts, as Prometheus text. */
#include "support.h"

#include <string.h>

#include "fail_alloc.h"
#include "metrics.h"
#include "subscriber.h"

static void writes_lines(void)
{
    sse__buf b;

    sse__buf_init(&b, 10000);
    if (fail_alloc_again(sse__metric_one(&b, "a_total", "counter", "Help.",
                                         18446744073709551615u))) {
        b.len = 0;
        OK(sse__metric_one(&b, "a_total", "counter", "Help.", UINT64_MAX));
    }
    assert_buf_str(&b, "# HELP a_total Help.\n# TYPE a_total counter\n"
                       "a_total 18446744073709551615\n");
    b.len = 0;
    OK(sse__metric_add(&b, "m", "state", "active", 0));
    assert_buf_str(&b, "m{state=\"active\"} 0\n");
    sse__buf_free(&b);
}

static void has(const sse__buf *b, const char *line)
{
    assert_non_null(b->data);
    if (!strstr(b->data, line))
        fail_msg("no \"%s\" in:\n%s", line, b->data);
}

static void counts(void **state)
{
    static const char *const lines[] = {
        "sse_streams{state=\"active\"} 1\n",
        "sse_streams{state=\"completed\"} 1\n",
        "sse_streams_ended_total{state=\"completed\"} 1\n",
        "sse_streams_ended_total{state=\"failed\"} 0\n",
        "sse_streams_created_total 2\n",
        "sse_subscribers 1\n",
        "sse_subscribed_total 1\n",
        "sse_replays_total 1\n",
        "sse_events_in_total 4\n",
        "sse_bytes_in_total 5\n",
        "sse_events_out_total 2\n",
        "sse_gaps_total{reason=\"trimmed\"} 1\n",
        "sse_missed_events_total{reason=\"trimmed\"} 1\n",
        "sse_gaps_total{reason=\"diverged\"} 0\n",
        "sse_lagged_disconnects_total 0\n",
    };
    sse_hub_options opts = {.size = sizeof(opts), .log_events = 2};
    sse__new_event  x = {"", 0, "x", 1}, last = {"", 0, "{}", 2};
    sse__hub        h;
    sse__port       port;
    sse__stream    *s;
    sse__subscriber sub;
    sse__take       take;
    sse__buf        b;

    (void)state;
    OK(sse__hub_init(&h, &opts, 1, 0, 0));
    sse__port_init(&port, &h);
    OK(sse__stream_create(&h, "a", 1, NULL, NULL, &s));
    OK(sse__stream_end(s, SSE_STATE_COMPLETED, &last, NULL));
    OK(sse__stream_create(&h, "b", 1, NULL, NULL, &s));
    for (int i = 0; i < 3; i++)
        OK(sse__stream_append(s, &x, 1, NULL));
    OK(sse__subscriber_open(&sub, s, &port, "", 0, NULL));
    sse__subscriber_take_now(&sub, 1000, &take);
    sse__take_drop(&take);
    sse__buf_init(&b, 100000);
    OK(sse__hub_metrics(&h, &b));
    OK(sse__buf_add(&b, "", 1));
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
        has(&b, lines[i]);
    sse__buf_free(&b);
    sse__subscriber_close(&sub);
    sse__port_free(&port);
    sse__hub_free(&h);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Each sample follows the HELP and TYPE of its own metric, once. */
static void is_well_formed(void **state)
{
    sse__hub h;
    sse__buf b;
    char     name[100] = "";

    (void)state;
    OK(sse__hub_init(&h, NULL, 1, 0, 0));
    sse__buf_init(&b, 100000);
    OK(sse__hub_metrics(&h, &b));
    assert_int_equal(b.data[b.len - 1], '\n');
    OK(sse__buf_add(&b, "", 1));
    for (char *line = strtok(b.data, "\n"); line; line = strtok(NULL, "\n")) {
        size_t n = 0;

        if (strncmp(line, "# HELP ", 7) == 0) {
            while (name_char(line[7 + n]))
                n++;
            assert_true(strncmp(line + 7, "sse_", 4) == 0);
            assert_false(strlen(name) == n && memcmp(name, line + 7, n) == 0);
            memcpy(name, line + 7, n);
            name[n] = '\0';
            continue;
        }
        if (strncmp(line, "# TYPE ", 7) == 0)
            line += 7;
        assert_int_equal(strncmp(line, name, strlen(name)), 0);
        assert_false(name_char(line[strlen(name)]));
    }
    sse__buf_free(&b);
    sse__hub_free(&h);
}

static void keeps_to_the_ceiling(void **state)
{
    sse__hub h;
    sse__buf b;
    size_t   size;

    (void)state;
    OK(sse__hub_init(&h, NULL, 1, 0, 0));
    sse__buf_init(&b, 100000);
    OK(sse__hub_metrics(&h, &b));
    size = b.len;
    sse__buf_free(&b);
    for (size_t max = 1; max <= size; max++) {
        sse__buf_init(&b, max);
        assert_int_equal(sse__hub_metrics(&h, &b),
                         max < size ? SSE_ERR_TOO_BIG : SSE_OK);
        sse__buf_free(&b);
    }
    sse__hub_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAIL_ALLOC_TEST(writes_lines),
        cmocka_unit_test(counts),
        cmocka_unit_test(is_well_formed),
        cmocka_unit_test(keeps_to_the_ceiling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
