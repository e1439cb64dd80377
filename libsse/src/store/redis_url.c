/* SPDX-License-Identifier: MIT */
/* redis_url.c - where a Redis is, and how to be let in. */
#include "redis_url.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "../core/alloc.h"
#include "sse.h"

#define REDIS_PORT 6379
#define SENTINEL_PORT 26379
#define MAX_TIMEOUT_MS 600000
#define MAX_DB 1000000

/* Bytes for the NUL behind each text that a URL can give. */
#define NUL_BYTES (SSE__REDIS_HOSTS + 16)

typedef struct span {
    const char *at;
    size_t      len;
} span;

typedef struct parser {
    sse__redis_url *url;
    char           *free; /* of url->text                                   */
    char           *why;
    size_t          why_size;
} parser;

static int refuse(parser *p, const char *sentence)
{
    snprintf(p->why, p->why_size, "%s", sentence);
    return SSE_ERR_INVAL;
}

/* Cuts off and returns what stands before the first `sep`, which goes too.
 * Without one, all of `rest` is taken. */
static span cut(span *rest, char sep)
{
    const char *end = rest->len ? memchr(rest->at, sep, rest->len) : NULL;
    span        head = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t      used = head.len + (end != NULL);

    rest->at += used;
    rest->len -= used;
    return head;
}

static bool is(span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Keeps `s` with its %XX resolved. */
static int take_text(parser *p, span s, const char **out)
{
    char *to = p->free;

    *out = to;
    for (size_t i = 0; i < s.len; i++) {
        int high, low;

        if (s.at[i] != '%') {
            *to++ = s.at[i];
            continue;
        }
        high = s.len - i > 2 ? hex(s.at[i + 1]) : -1;
        low = s.len - i > 2 ? hex(s.at[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0)
            return refuse(p, "a % is followed by two hexadecimal digits, "
                             "and not by 00");
        *to++ = (char)(high * 16 + low);
        i += 2;
    }
    *to++ = '\0';
    p->free = to;
    return SSE_OK;
}

/* Whether `s` is a plain number up to `max`. */
static bool take_number(span s, uint32_t max, uint32_t *out)
{
    uint64_t n = 0;

    if (s.len == 0 || s.len > 9)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s.at[i] - '0');
    }
    *out = (uint32_t)n;
    return n <= max;
}

/* ---- Who ---- */

/* `USER:PASSWORD`; the user may be empty, for Redis's default user. */
static int take_login(parser *p, span login)
{
    sse__redis_url *url = p->url;
    span            user;
    int             rc;

    if (login.len == 0 || !memchr(login.at, ':', login.len))
        return refuse(p, "before the @ stands USER:PASSWORD or :PASSWORD");
    user = cut(&login, ':');
    if (user.len == 0 && login.len == 0)
        return SSE_OK;
    rc = take_text(p, login, &url->password);
    if (rc == SSE_OK && user.len > 0)
        rc = take_text(p, user, &url->user);
    return rc;
}

/* Takes what stands before the last @ of the authority, if there is one. */
static int take_authority_login(parser *p, span *authority)
{
    const char *at =
        authority->len ? memrchr(authority->at, '@', authority->len) : NULL;
    span login = {authority->at, at ? (size_t)(at - authority->at) : 0};

    if (!at)
        return SSE_OK;
    authority->at += login.len + 1;
    authority->len -= login.len + 1;
    return take_login(p, login);
}

/* ---- Where ---- */

/* Takes `HOST`, or `[ADDRESS]` of IPv6, and leaves `:PORT`. */
static int take_name(parser *p, span *rest, const char **out)
{
    span name = {rest->at, 0};

    if (rest->len > 0 && rest->at[0] == '[') {
        cut(rest, '[');
        if (!memchr(rest->at, ']', rest->len))
            return refuse(p, "a [ needs its ]");
        name = cut(rest, ']');
    } else {
        while (name.len < rest->len && rest->at[name.len] != ':')
            name.len++;
        rest->at += name.len;
        rest->len -= name.len;
    }
    if (name.len == 0)
        return refuse(p, "the URL names no host");
    if (name.len >= SSE__REDIS_HOST_BYTES)
        return refuse(p, "the name of a host is too long");
    return take_text(p, name, out);
}

static int take_host(parser *p, span text)
{
    sse__redis_url  *url = p->url;
    sse__redis_host *host = &url->hosts[url->host_count];
    uint32_t         port;
    int              rc;

    if (url->host_count == SSE__REDIS_HOSTS)
        return refuse(p, "the URL names more than 16 hosts");
    rc = take_name(p, &text, &host->name);
    if (rc < 0)
        return rc;
    port = url->kind == SSE__REDIS_SENTINEL ? SENTINEL_PORT : REDIS_PORT;
    if (text.len > 0) {
        text = (span){text.at + 1, text.len - 1};
        if (text.at[-1] != ':' || !take_number(text, UINT16_MAX, &port) ||
            port == 0)
            return refuse(p, "a port is a number from 1 to 65535, and an "
                             "IPv6 address stands in brackets");
    }
    host->port = (uint16_t)port;
    url->host_count++;
    return SSE_OK;
}

static int take_hosts(parser *p, span authority)
{
    int rc;

    do {
        rc = take_host(p, cut(&authority, ','));
    } while (rc == SSE_OK && authority.len > 0);
    if (rc == SSE_OK && p->url->host_count > 1 &&
        p->url->kind != SSE__REDIS_SENTINEL)
        return refuse(p, "only redis+sentinel:// takes more than one host");
    return rc;
}

static int take_db(parser *p, span text)
{
    if (take_number(text, MAX_DB, &p->url->db))
        return SSE_OK;
    return refuse(p, "the database is a number, as in redis://host:6379/0");
}

/* What stands between the host and the options, without its first slash. */
static int take_place(parser *p, span place)
{
    if (p->url->kind == SSE__REDIS_SENTINEL) {
        span name = cut(&place, '/');
        int  rc;

        if (name.len == 0)
            return refuse(p, "behind the Sentinels stands /NAME, the name "
                             "they have for the master");
        rc = take_text(p, name, &p->url->master);
        if (rc < 0)
            return rc;
    }
    return place.len > 0 ? take_db(p, place) : SSE_OK;
}

static int take_path(parser *p, span path)
{
    int rc = take_text(p, path, &p->url->path);

    if (rc < 0)
        return rc;
    if (strlen(p->url->path) < 2 || p->url->path[0] != '/')
        return refuse(p, "a Unix socket is written unix:///PATH");
    if (strlen(p->url->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return refuse(p, "the path of the Unix socket is too long");
    return SSE_OK;
}

/* ---- How ---- */

typedef struct text_option {
    const char *name;
    size_t      offset; /* of the field in sse__redis_url                   */
    bool        tls;    /* only for that                                    */
    bool        sentinel;
} text_option;

#define FIELD(name) offsetof(sse__redis_url, name)

static const text_option text_options[] = {
    {"prefix", FIELD(prefix), false, false},
    {"ca", FIELD(ca), true, false},
    {"cert", FIELD(cert), true, false},
    {"key", FIELD(key), true, false},
    {"sentinel_user", FIELD(sentinel_user), false, true},
    {"sentinel_password", FIELD(sentinel_password), false, true},
};

static int take_text_option(parser *p, const text_option *option, span value)
{
    void *field = (char *)p->url + option->offset;

    if (option->tls && !p->url->tls)
        return refuse(p, "ca, cert, key and insecure are for rediss://");
    if (option->sentinel && p->url->kind != SSE__REDIS_SENTINEL)
        return refuse(p, "sentinel_user and sentinel_password are for "
                         "redis+sentinel://");
    if (value.len == 0)
        return refuse(p, "an option has no value");
    return take_text(p, value, (const char **)field);
}

static int take_insecure(parser *p, span value)
{
    uint32_t on;

    if (!p->url->tls)
        return refuse(p, "ca, cert, key and insecure are for rediss://");
    if (!take_number(value, 1, &on))
        return refuse(p, "insecure is 0 or 1");
    p->url->insecure = on == 1;
    return SSE_OK;
}

static int take_timeout(parser *p, span value)
{
    if (take_number(value, MAX_TIMEOUT_MS, &p->url->timeout_ms) &&
        p->url->timeout_ms > 0)
        return SSE_OK;
    return refuse(p, "timeout_ms is a number from 1 to 600000");
}

static int take_option(parser *p, span name, span value)
{
    if (is(name, "db"))
        return take_db(p, value);
    if (is(name, "insecure"))
        return take_insecure(p, value);
    if (is(name, "timeout_ms"))
        return take_timeout(p, value);
    for (size_t i = 0; i < sizeof(text_options) / sizeof(*text_options); i++)
        if (is(name, text_options[i].name))
            return take_text_option(p, &text_options[i], value);
    return refuse(p, "behind the ? stand db, prefix, timeout_ms, ca, cert, "
                     "key, insecure, sentinel_user or sentinel_password, each "
                     "as NAME=VALUE");
}

static int take_options(parser *p, span query)
{
    const sse__redis_url *url = p->url;

    while (query.len > 0) {
        span value = cut(&query, '&');
        span name = cut(&value, '=');
        int  rc = take_option(p, name, value);

        if (rc < 0)
            return rc;
    }
    if (!url->cert != !url->key)
        return refuse(p, "cert and key go together");
    if (url->prefix && strlen(url->prefix) > SSE__REDIS_PREFIX_BYTES)
        return refuse(p, "the prefix is longer than 64 bytes");
    if (url->sentinel_user && !url->sentinel_password)
        return refuse(p, "sentinel_user needs sentinel_password");
    return SSE_OK;
}

/* ---- All of it ---- */

typedef struct scheme {
    const char *name;
    uint8_t     kind;
    bool        tls;
} scheme;

static const scheme schemes[] = {
    {"redis://", SSE__REDIS_TCP, false},
    {"rediss://", SSE__REDIS_TCP, true},
    {"unix://", SSE__REDIS_UNIX, false},
    {"redis+sentinel://", SSE__REDIS_SENTINEL, false},
    {"rediss+sentinel://", SSE__REDIS_SENTINEL, true},
};

static int take_scheme(parser *p, span *rest)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
        size_t len = strlen(schemes[i].name);

        if (rest->len < len || memcmp(rest->at, schemes[i].name, len) != 0)
            continue;
        p->url->kind = schemes[i].kind;
        p->url->tls = schemes[i].tls;
        *rest = (span){rest->at + len, rest->len - len};
        return SSE_OK;
    }
    return refuse(p, "the URL begins with redis://, rediss://, unix://, "
                     "redis+sentinel:// or rediss+sentinel://");
}

static bool is_printable(span s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] <= ' ' || s.at[i] == 0x7f)
            return false;
    return true;
}

static int take_url(parser *p, span rest)
{
    span query, authority;
    int  rc;

    if (!is_printable(rest))
        return refuse(p, "a URL has no blanks and no control characters");
    if (rest.len > 0 && memchr(rest.at, '#', rest.len))
        return refuse(p, "a # is written %23");
    rc = take_scheme(p, &rest);
    if (rc < 0)
        return rc;
    query = rest;
    rest = cut(&query, '?');
    authority = cut(&rest, '/');
    rc = take_authority_login(p, &authority);
    if (rc < 0)
        return rc;
    if (p->url->kind != SSE__REDIS_UNIX) {
        rc = take_hosts(p, authority);
        if (rc == SSE_OK)
            rc = take_place(p, rest);
    } else if (authority.len > 0 || rest.len == 0) {
        rc = refuse(p, "a Unix socket is written unix:///PATH");
    } else { /* with the slash that was cut off */
        rc = take_path(p, (span){rest.at - 1, rest.len + 1});
    }
    return rc < 0 ? rc : take_options(p, query);
}

int sse__redis_url_parse(const char *text, size_t len, sse__redis_url *out,
                         char *why, size_t why_size)
{
    parser p = {.url = out, .why = why, .why_size = why_size};
    int    rc;

    *out = (sse__redis_url){0};
    out->text = sse__malloc(len + NUL_BYTES);
    if (!out->text) {
        snprintf(why, why_size, "%s", sse_strerror(SSE_ERR_NOMEM));
        return SSE_ERR_NOMEM;
    }
    p.free = out->text;
    rc = take_url(&p, (span){text, len});
    if (rc < 0)
        sse__redis_url_free(out);
    return rc;
}

void sse__redis_url_free(sse__redis_url *url)
{
    sse__free(url->text);
    *url = (sse__redis_url){0};
}
