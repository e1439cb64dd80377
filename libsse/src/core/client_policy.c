/* SPDX-License-Identifier: MIT */
/* client_policy.c - what a status or an error means in each profile, and
 * Retry-After (RFC 9110, 10.2.3). */
#include <string.h>

#include "client.h"

#define MAX_SECONDS INT64_C(1000000000)
#define DAYS_TO_1970 719468 /* from 0000-03-01 */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_text(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Compares without parameters, case and the space around. */
static bool is_type(const char *text, size_t len, const char *name)
{
    const char *semicolon = len > 0 ? memchr(text, ';', len) : NULL;

    if (semicolon)
        len = (size_t)(semicolon - text);
    while (len > 0 && is_space(*text)) {
        text++;
        len--;
    }
    while (len > 0 && is_space(text[len - 1]))
        len--;
    return len == strlen(name) && same_text(text, name, len);
}

static bool is_passing(uint32_t status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

sse__verdict sse__policy_head(uint32_t profile, bool poll, const sse__head *h,
                              sse_cause *why)
{
    const char *type = poll ? "application/json" : "text/event-stream";

    *why = SSE_CAUSE_NONE;
    if (h->status == 204) {
        *why = SSE_CAUSE_NO_CONTENT;
        return SSE__DONE;
    }
    if (h->status != 200) {
        *why = SSE_CAUSE_STATUS;
        return sse__policy_error(profile, *why, h->status);
    }
    if (is_type(h->content_type, h->content_type_len, type))
        return SSE__ACCEPT;
    *why = SSE_CAUSE_CONTENT_TYPE;
    return SSE__STOP;
}

sse__verdict sse__policy_error(uint32_t profile, sse_cause why, uint32_t status)
{
    switch (why) {
    case SSE_CAUSE_STATUS:
        if (profile == SSE_PROFILE_STRICT)
            return SSE__STOP;
        if (status == 401)
            return SSE__RENEW;
        return is_passing(status) ? SSE__RETRY : SSE__STOP;
    case SSE_CAUSE_BODY_END:
        return profile == SSE_PROFILE_FINITE ? SSE__DONE : SSE__RETRY;
    case SSE_CAUSE_TERMINAL: return SSE__DONE; /* as a recovery gave it */
    case SSE_CAUSE_CONTENT_TYPE:
    case SSE_CAUSE_REDIRECT:
    case SSE_CAUSE_TOO_BIG: return SSE__STOP;
    default: return SSE__RETRY;
    }
}

/* ---- Retry-After --------------------------------------------------------- */

/* Reads a number of `min` to `max` digits and goes behind it. */
static bool take_number(const char **at, const char *end, int min, int max,
                        int64_t *out)
{
    int digits = 0;

    *out = 0;
    while (digits < max && *at < end && **at >= '0' && **at <= '9') {
        *out = *out * 10 + (**at - '0');
        (*at)++;
        digits++;
    }
    return digits >= min;
}

static bool take_char(const char **at, const char *end, char c)
{
    if (*at == end || **at != c)
        return false;
    (*at)++;
    return true;
}

static bool take_month(const char **at, const char *end, int64_t *out)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";

    if (end - *at < 3)
        return false;
    for (int i = 0; i < 12; i++) {
        if (same_text(*at, names + 3 * i, 3)) {
            *out = i + 1;
            *at += 3;
            return true;
        }
    }
    return false;
}

typedef struct date {
    int64_t year, month, day, hour, minute, second;
} date;

static bool take_clock(const char **at, const char *end, date *d)
{
    return take_number(at, end, 2, 2, &d->hour) && take_char(at, end, ':') &&
           take_number(at, end, 2, 2, &d->minute) && take_char(at, end, ':') &&
           take_number(at, end, 2, 2, &d->second);
}

/* Two digits: 1970 to 2069. */
static bool take_short_year(const char **at, const char *end, int64_t *out)
{
    if (!take_number(at, end, 2, 2, out))
        return false;
    *out += *out < 70 ? 2000 : 1900;
    return true;
}

/* "06 Nov 1994 08:49:37 GMT" or "06-Nov-94 08:49:37 GMT" */
static bool take_common(const char *at, const char *end, date *d)
{
    bool old;

    if (!take_char(&at, end, ' ') || !take_number(&at, end, 2, 2, &d->day))
        return false;
    old = at < end && *at == '-';
    return take_char(&at, end, old ? '-' : ' ') &&
           take_month(&at, end, &d->month) &&
           take_char(&at, end, old ? '-' : ' ') &&
           (old ? take_short_year(&at, end, &d->year)
                : take_number(&at, end, 4, 4, &d->year)) &&
           take_char(&at, end, ' ') && take_clock(&at, end, d) &&
           end - at == 4 && memcmp(at, " GMT", 4) == 0;
}

/* "Nov  6 08:49:37 1994" */
static bool take_asctime(const char *at, const char *end, date *d)
{
    if (!take_month(&at, end, &d->month) || !take_char(&at, end, ' '))
        return false;
    take_char(&at, end, ' ');
    return take_number(&at, end, 1, 2, &d->day) && take_char(&at, end, ' ') &&
           take_clock(&at, end, d) && take_char(&at, end, ' ') &&
           take_number(&at, end, 4, 4, &d->year) && at == end;
}

/* Seconds since 1970 of a day in the Gregorian calendar, whose years are
 * counted from March so that the leap day is the last. */
static int64_t to_seconds(const date *d)
{
    int64_t year = d->month > 2 ? d->year : d->year - 1;
    int64_t month = (d->month + 9) % 12;
    int64_t days = year * 365 + year / 4 - year / 100 + year / 400 +
                   (month * 153 + 2) / 5 + d->day - 1 - DAYS_TO_1970;

    return ((days * 24 + d->hour) * 60 + d->minute) * 60 + d->second;
}

static bool parse_date(const char *text, size_t len, date *d)
{
    const char *end = text + len;
    const char *comma = memchr(text, ',', len);
    const char *space = memchr(text, ' ', len);

    *d = (date){0};
    if (comma ? !take_common(comma + 1, end, d)
              : !space || !take_asctime(space + 1, end, d))
        return false;
    return d->year > 0 && d->day >= 1 && d->day <= 31 && d->hour < 24 &&
           d->minute < 60 && d->second <= 60;
}

int64_t sse__retry_after_ms(const char *text, size_t len, int64_t wall_ms)
{
    const char *at = text, *end = text + len;
    int64_t     seconds = 0, delay;
    date        d;

    if (len == 0)
        return SSE__UNKNOWN;
    while (at < end && *at >= '0' && *at <= '9') {
        seconds = seconds * 10 + (*at++ - '0');
        if (seconds > MAX_SECONDS)
            seconds = MAX_SECONDS;
    }
    if (at == end)
        return seconds * 1000;
    if (!parse_date(text, len, &d))
        return SSE__UNKNOWN;
    delay = to_seconds(&d) * 1000 - wall_ms;
    return delay > 0 ? delay : 0;
}
