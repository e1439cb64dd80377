/* SPDX-License-Identifier: MIT */
/* client_policy_test.c - what statuses, content types and Retry-After mean. */
#include "support.h"

#include <stdbool.h>
#include <string.h>

#include "client.h"

static sse__verdict judge(uint32_t profile, bool poll, uint32_t status,
                          const char *type, sse_cause *why)
{
    sse__head h = {
        .status = status,
        .content_type = type,
        .content_type_len = strlen(type),
    };

    return sse__policy_head(profile, poll, &h, why);
}

static void content_types_compare_by_essence(void **state)
{
    static const char *const good[] = {
        "text/event-stream",
        "text/event-stream;",
        "text/event-stream;charset=windows-1252",
        "Text/Event-Stream ; charset=utf-8",
        " text/event-stream\t",
    };
    static const char *const bad[] = {"",
                                      "x bogus",
                                      "text/x-bogus",
                                      "text/html",
                                      "text/event-streams",
                                      "text/event-strea",
                                      ";text/event-stream",
                                      "application/json"};
    sse_cause                why;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(judge(SSE_PROFILE_STRICT, false, 200, good[i], &why),
                         SSE__ACCEPT);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(judge(SSE_PROFILE_RESILIENT, false, 200, bad[i], &why),
                         SSE__STOP);
        assert_int_equal(why, SSE_CAUSE_CONTENT_TYPE);
    }
    assert_int_equal(
        judge(SSE_PROFILE_RESILIENT, true, 200, "application/json", &why),
        SSE__ACCEPT);
    assert_int_equal(
        judge(SSE_PROFILE_RESILIENT, true, 200, "text/event-stream", &why),
        SSE__STOP);
}

static void statuses_mean_what_the_profile_says(void **state)
{
    static const uint32_t again[] = {408, 425, 429, 500, 502, 503, 504, 520};
    static const uint32_t never[] = {201, 205, 206, 301, 304, 400,
                                     403, 404, 405, 407, 410, 451};
    const char           *type = "text/event-stream";
    sse_cause             why;

    (void)state;
    for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++) {
        assert_int_equal(
            judge(SSE_PROFILE_RESILIENT, false, again[i], type, &why),
            SSE__RETRY);
        assert_int_equal(judge(SSE_PROFILE_FINITE, false, again[i], type, &why),
                         SSE__RETRY);
        assert_int_equal(judge(SSE_PROFILE_STRICT, false, again[i], type, &why),
                         SSE__STOP);
    }
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        for (uint32_t profile = 0; profile < 3; profile++)
            assert_int_equal(judge(profile, false, never[i], type, &why),
                             SSE__STOP);
    assert_int_equal(judge(SSE_PROFILE_RESILIENT, false, 401, type, &why),
                     SSE__RENEW);
    assert_int_equal(judge(SSE_PROFILE_STRICT, false, 401, type, &why),
                     SSE__STOP);
    for (uint32_t profile = 0; profile < 3; profile++)
        assert_int_equal(judge(profile, false, 204, type, &why), SSE__DONE);
    assert_int_equal(why, SSE_CAUSE_NO_CONTENT);
}

static void errors_mean_what_the_profile_says(void **state)
{
    (void)state;
    for (uint32_t profile = 0; profile < 3; profile++) {
        assert_int_equal(sse__policy_error(profile, SSE_CAUSE_NETWORK, 0),
                         SSE__RETRY);
        assert_int_equal(sse__policy_error(profile, SSE_CAUSE_STALLED, 0),
                         SSE__RETRY);
        assert_int_equal(sse__policy_error(profile, SSE_CAUSE_REDIRECT, 0),
                         SSE__STOP);
        assert_int_equal(sse__policy_error(profile, SSE_CAUSE_TOO_BIG, 0),
                         SSE__STOP);
        assert_int_equal(sse__policy_error(profile, SSE_CAUSE_BODY_END, 0),
                         profile == SSE_PROFILE_FINITE ? SSE__DONE
                                                       : SSE__RETRY);
    }
}

static int64_t retry_after(const char *text, int64_t wall_ms)
{
    return sse__retry_after_ms(guarded(text, strlen(text)), strlen(text),
                               wall_ms);
}

static void retry_after_as_seconds(void **state)
{
    (void)state;
    assert_int_equal(retry_after("0", 5), 0);
    assert_int_equal(retry_after("120", 5), 120000);
    assert_int_equal(retry_after("99999999999999999999999", 5),
                     INT64_C(1000000000000));
    assert_int_equal(retry_after("", 5), SSE__UNKNOWN);
    assert_int_equal(retry_after("-1", 5), SSE__UNKNOWN);
    assert_int_equal(retry_after("1.5", 5), SSE__UNKNOWN);
    assert_int_equal(retry_after("12 s", 5), SSE__UNKNOWN);
}

static void retry_after_as_a_date(void **state)
{
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const broken[] = {
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nox 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun,",
        "Sun ",
        "soon",
        "Sunday, 06-Nov",
        "Sun Nov",
    };
    int64_t then = INT64_C(784111777000);

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(retry_after(same[i], then - 2500), 2500);
        assert_int_equal(retry_after(same[i], then + 1), 0);
    }
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        assert_int_equal(retry_after(broken[i], then), SSE__UNKNOWN);
    assert_int_equal(retry_after("Thu, 29 Feb 2024 00:00:00 GMT", 0),
                     INT64_C(1709164800000));
    assert_int_equal(retry_after("Fri, 31 Dec 1999 23:59:60 GMT", 0),
                     INT64_C(946684800000));
    assert_int_equal(retry_after("Friday, 01-Jan-70 00:00:01 GMT", 0), 1000);
    assert_int_equal(retry_after("Wed, 01 Jan 2070 00:00:00 GMT", 0),
                     INT64_C(3155760000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_types_compare_by_essence),
        cmocka_unit_test(statuses_mean_what_the_profile_says),
        cmocka_unit_test(errors_mean_what_the_profile_says),
        cmocka_unit_test(retry_after_as_seconds),
        cmocka_unit_test(retry_after_as_a_date),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
