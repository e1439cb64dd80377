/* SPDX-License-Identifier: MIT */
/* client_settings.c - what an application says about its requests. */
#include <string.h>
#include <strings.h>

#include "client.h"
#include "host.h"

/* ---- Text ---------------------------------------------------------------- */

/* A token of RFC 9110, 5.6.2. */
static bool is_token(const char *text, size_t len)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
              (c >= 'A' && c <= 'Z') || (c && strchr(others, c))))
            return false;
    }
    return len > 0;
}

/* What a header's value may hold (RFC 9110, 5.5). */
static bool is_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') ||
            text[i] == 0x7f)
            return false;
    return true;
}

static bool is_name(const char *text, size_t len, const char *name)
{
    return len == strlen(name) && strncasecmp(text, name, len) == 0;
}

/* ---- Settings ------------------------------------------------------------ */

const char *sse__follow_setting(const sse_client *c, int setting)
{
    return c->is_set[setting] ? c->settings[setting].data : NULL;
}

/* HEAD and CONNECT have answers of another kind. */
static bool is_method(const char *text, size_t len)
{
    return is_token(text, len) && !is_name(text, len, "HEAD") &&
           !is_name(text, len, "CONNECT");
}

static bool fits(int setting, const char *text, size_t len)
{
    switch (setting) {
    case SSE_SETTING_METHOD: return is_method(text, len);
    case SSE_SETTING_BODY: return true;
    case SSE_SETTING_PROXY: return is_value(text, len);
    case SSE_SETTING_CURSOR: return true; /* the machine looks */
    case SSE_SETTING_KEY_PASSWORD: return !memchr(text, '\0', len);
    default: return len > 0 && is_value(text, len);
    }
}

/* With the lock. */
static int set(sse_client *c, int setting, const char *text, size_t len)
{
    sse__buf made;
    int      rc;

    sse__buf_init(&made, SIZE_MAX);
    if (setting == SSE_SETTING_RECOVERY_URL) {
        rc = sse__follow_check_url(text, len, &made);
    } else {
        rc = sse__buf_add(&made, text, len);
        if (rc == SSE_OK)
            rc = sse__buf_add(&made, "", 1);
    }
    if (rc < 0) {
        sse__buf_free(&made);
        return rc;
    }
    sse__buf_free(&c->settings[setting]);
    c->settings[setting] = made;
    c->is_set[setting] = true;
    if (setting == SSE_SETTING_RECOVERY_URL)
        c->core->o.flags |= SSE__CLIENT_RECOVERY;
    return SSE_OK;
}

int sse_client_set(sse_client *c, int setting, const char *text, size_t len)
{
    int rc;

    if (setting < SSE_SETTING_METHOD || setting >= SSE__SETTINGS ||
        (len > 0 && !fits(setting, text, len)) ||
        (len == 0 && !fits(setting, "", 0)))
        return SSE_ERR_INVAL;
    rc = sse__follow_enter(c);
    if (rc < 0)
        return rc;
    if (c->started)
        rc = SSE_ERR_CLOSED;
    else if (setting == SSE_SETTING_CURSOR)
        rc = sse__client_set_cursor(c->core, len ? text : "", len);
    else
        rc = set(c, setting, text, len);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int sse_client_add_end_type(sse_client *c, const char *type, size_t len)
{
    int rc = sse__follow_enter(c);

    if (rc < 0)
        return rc;
    rc = c->started ? SSE_ERR_CLOSED
                    : sse__client_add_end_type(c->core, type, len);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* ---- Headers ------------------------------------------------------------- */

/* Of the connection, or ours to say. */
static bool is_ours(const char *name, size_t len)
{
    static const char *const names[] = {"Last-Event-ID",     "Content-Length",
                                        "Transfer-Encoding", "Connection",
                                        "Upgrade",           "Expect"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (is_name(name, len, names[i]))
            return true;
    return false;
}

/* One line, as libcurl wants it: without a value, it sends no such header. */
static int add_line(sse__buf *to, const char *name, size_t name_len,
                    const char *value, size_t value_len)
{
    int rc = sse__buf_reserve(to, name_len + value_len + 3);

    if (rc < 0)
        return rc;
    (void)sse__buf_add(to, name, name_len);
    (void)sse__buf_add(to, ": ", value_len > 0 ? 2 : 1);
    (void)sse__buf_add(to, value, value_len);
    return sse__buf_add(to, "", 1);
}

/* All lines but those of that name. With the lock. */
static int copy_others(const sse_client *c, const char *name, size_t len,
                       sse__buf *to)
{
    const char *at = c->headers.data, *end = at + c->headers.len;
    int         rc = SSE_OK;

    for (; rc == SSE_OK && at < end; at += strlen(at) + 1)
        if (strncasecmp(at, name, len) != 0 || at[len] != ':')
            rc = sse__buf_add(to, at, strlen(at) + 1);
    return rc;
}

int sse_client_set_header(sse_client *c, const char *name, size_t name_len,
                          const char *value, size_t value_len)
{
    sse__buf lines;
    int      rc;

    if (!is_token(name, name_len) || is_ours(name, name_len) ||
        !is_value(value, value_len))
        return SSE_ERR_INVAL;
    rc = sse__follow_enter(c);
    if (rc < 0)
        return rc;
    sse__buf_init(&lines, SIZE_MAX);
    rc = copy_others(c, name, name_len, &lines);
    if (rc == SSE_OK)
        rc = add_line(&lines, name, name_len, value, value_len);
    if (rc == SSE_OK) {
        sse__buf_free(&c->headers);
        c->headers = lines;
    } else {
        sse__buf_free(&lines);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* ---- The token ----------------------------------------------------------- */

void sse__follow_ask_token(sse_client *c)
{
    if (c->token_spare) {
        c->token_spare = false;
        sse__client_token_ready(c->core, c->core->now_ms, true);
        return;
    }
    c->asks_token = true;
    c->ask_status = c->core->token_fresh ? 401 : 0;
}

/* With the lock. */
static void give_token(sse_client *c, int64_t now_ms)
{
    if (sse__client_asks(c->core, SSE__ACT_ASK_TOKEN)) {
        sse__client_token_ready(c->core, now_ms, true);
        return;
    }
    c->token_spare = c->opts.flags & SSE_CLIENT_TOKEN;
    sse__client_renew_token(c->core, now_ms);
}

static int keep_token(sse_client *c, const char *token, size_t len)
{
    int rc = sse__buf_reserve(&c->token, len + 1);

    if (rc < 0)
        return rc;
    c->token.len = 0;
    return sse__buf_add(&c->token, token, len);
}

int sse_client_set_token(sse_client *c, const char *token, size_t len,
                         int64_t lifetime_ms)
{
    int64_t now_ms = sse__clock_mono_ms();
    int     rc;

    if (token && !is_value(token, len))
        return SSE_ERR_INVAL;
    rc = sse__follow_enter(c);
    if (rc < 0)
        return rc;
    if (!token) {
        sse__client_token_ready(c->core, now_ms, false);
    } else if ((rc = keep_token(c, token, len)) == SSE_OK) {
        c->renew_at_ms = SSE__NO_TIME;
        if (lifetime_ms > 0 && c->opts.flags & SSE_CLIENT_TOKEN &&
            lifetime_ms < INT64_MAX / 8)
            c->renew_at_ms = now_ms + lifetime_ms / 5 * 4;
        give_token(c, now_ms);
    }
    if (rc == SSE_OK)
        c->asks_token = false;
    sse__follow_leave(c);
    return rc;
}
