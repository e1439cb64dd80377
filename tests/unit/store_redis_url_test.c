/* SPDX-License-Identifier: MIT */
/* store_redis_url_test.c - what a URL says, and what is said against one. */
#include "support.h"

#include <stdbool.h>
#include <string.h>

#include "fail_alloc.h"
#include "redis_url.h"

static sse__redis_url url;
static char           why[256];

static int parse(const char *text)
{
    sse__redis_url_free(&url);
    why[0] = '\0';
    return sse__redis_url_parse(text, strlen(text), &url, why, sizeof(why));
}

static void accept(const char *text)
{
    if (parse(text) != SSE_OK)
        fail_msg("%s: %s", text, why);
}

static void assert_host(uint32_t i, const char *name, uint16_t port)
{
    assert_in_range(i + 1, 1, url.host_count);
    assert_string_equal(url.hosts[i].name, name);
    assert_int_equal(url.hosts[i].port, port);
}

static void assert_text(const char *got, const char *want)
{
    if (!want)
        assert_null(got);
    else if (!got)
        fail_msg("nothing, not %s", want);
    else
        assert_string_equal(got, want);
}

/* ---- What it says ---- */

static void test_host(void **state)
{
    (void)state;
    accept("redis://cache");
    assert_int_equal(url.kind, SSE__REDIS_TCP);
    assert_int_equal(url.host_count, 1);
    assert_host(0, "cache", 6379);
    assert_false(url.tls);
    assert_int_equal(url.db, 0);
    assert_null(url.user);
    assert_null(url.password);
    assert_null(url.prefix);
    accept("redis://10.0.0.1:7000/");
    assert_host(0, "10.0.0.1", 7000);
    accept("redis://[::1]");
    assert_host(0, "::1", 6379);
    accept("redis://[fe80::1%25eth0]:65535/15");
    assert_host(0, "fe80::1%eth0", 65535);
    assert_int_equal(url.db, 15);
}

static void test_login(void **state)
{
    static const struct {
        const char *text, *user, *password;
    } rows[] = {
        {"redis://ann:secret@h", "ann", "secret"},
        {"redis://:secret@h", NULL, "secret"},
        {"redis://ann:@h", "ann", ""},
        {"redis://:@h", NULL, NULL},
        {"redis://a%3Ab:c%40d%2f%25@h", "a:b", "c@d/%"},
        {"redis://:p@ss@h", NULL, "p@ss"},
        {"redis://:a:b@h", NULL, "a:b"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        accept(rows[i].text);
        assert_host(0, "h", 6379);
        assert_text(url.user, rows[i].user);
        assert_text(url.password, rows[i].password);
    }
}

static void test_unix(void **state)
{
    (void)state;
    accept("unix:///run/redis.sock");
    assert_int_equal(url.kind, SSE__REDIS_UNIX);
    assert_int_equal(url.host_count, 0);
    assert_text(url.path, "/run/redis.sock");
    accept("unix://ann:x@/run/a%20b.sock?db=3&prefix=p:");
    assert_text(url.path, "/run/a b.sock");
    assert_text(url.user, "ann");
    assert_text(url.password, "x");
    assert_text(url.prefix, "p:");
    assert_int_equal(url.db, 3);
}

static void test_sentinel(void **state)
{
    (void)state;
    accept("redis+sentinel://:pw@a,b:26380,[::1]:1/main/2"
           "?sentinel_user=s&sentinel_password=t");
    assert_int_equal(url.kind, SSE__REDIS_SENTINEL);
    assert_false(url.tls);
    assert_int_equal(url.host_count, 3);
    assert_host(0, "a", 26379);
    assert_host(1, "b", 26380);
    assert_host(2, "::1", 1);
    assert_text(url.master, "main");
    assert_text(url.password, "pw");
    assert_text(url.sentinel_user, "s");
    assert_text(url.sentinel_password, "t");
    assert_int_equal(url.db, 2);
    accept("rediss+sentinel://a/m%2F1");
    assert_true(url.tls);
    assert_text(url.master, "m/1");
}

static void test_options(void **state)
{
    (void)state;
    accept("rediss://h/1?ca=/a&cert=/b%26&key=/c&insecure=1&timeout_ms=250"
           "&prefix=x&db=7");
    assert_true(url.tls);
    assert_true(url.insecure);
    assert_text(url.ca, "/a");
    assert_text(url.cert, "/b&");
    assert_text(url.key, "/c");
    assert_text(url.prefix, "x");
    assert_int_equal(url.timeout_ms, 250);
    assert_int_equal(url.db, 7);
    accept("rediss://h?insecure=0");
    assert_false(url.insecure);
    accept("redis://h?");
    accept("redis://h?prefix=a&prefix=b&prefix=c&prefix=d&prefix=e&prefix=f");
    assert_text(url.prefix, "f");
}

/* ---- What is said against it ---- */

/* The beginning of the sentence is enough to tell them apart. */
static void test_refusals(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "the URL begins with"},
        {"http://h", "the URL begins with"},
        {"redis:h", "the URL begins with"},
        {"redis://", "the URL names no host"},
        {"redis:///0", "the URL names no host"},
        {"redis://:6379", "the URL names no host"},
        {"redis://[]", "the URL names no host"},
        {"redis://[::1", "a [ needs its ]"},
        {"redis://h:", "a port is"},
        {"redis://h:0", "a port is"},
        {"redis://h:65536", "a port is"},
        {"redis://h:4294973675", "a port is"},
        {"redis://h:63x", "a port is"},
        {"redis://::1", "the URL names no host"},
        {"redis://fe80::1", "a port is"},
        {"redis://[::1]6379", "a port is"},
        {"redis://a,b", "only redis+sentinel://"},
        {"redis://h/one", "the database is"},
        {"redis://h/0/1", "the database is"},
        {"redis://h/-1", "the database is"},
        {"redis://h/1000001", "the database is"},
        {"redis://ann@h", "before the @"},
        {"redis://@h", "before the @"},
        {"redis://h h", "a URL has no blanks"},
        {"redis://h\n", "a URL has no blanks"},
        {"redis://h#1", "a # is written"},
        {"redis://%zz", "a % is followed"},
        {"redis://h%2", "a % is followed"},
        {"redis://h%", "a % is followed"},
        {"redis://h%00", "a % is followed"},
        {"unix://run/x", "a Unix socket is written"},
        {"unix://", "a Unix socket is written"},
        {"unix:///", "a Unix socket is written"},
        {"redis+sentinel://a", "behind the Sentinels"},
        {"redis+sentinel://a/", "behind the Sentinels"},
        {"redis+sentinel://a,,b/m", "the URL names no host"},
        {"redis+sentinel://a/m/x", "the database is"},
        {"redis+sentinel://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17/m",
         "the URL names more than 16"},
        {"redis://h?nope=1", "behind the ? stand"},
        {"redis://h?&", "behind the ? stand"},
        {"redis://h?prefix=", "an option has no value"},
        {"redis://h?ca=/a", "ca, cert, key and insecure"},
        {"redis://h?insecure=1", "ca, cert, key and insecure"},
        {"rediss://h?insecure=yes", "insecure is"},
        {"rediss://h?cert=/a", "cert and key go together"},
        {"rediss://h?key=/a", "cert and key go together"},
        {"redis://h?timeout_ms=0", "timeout_ms is"},
        {"redis://h?timeout_ms=600001", "timeout_ms is"},
        {"redis://h?sentinel_password=x", "sentinel_user and"},
        {"redis+sentinel://h/m?sentinel_user=x", "sentinel_user needs"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (parse(rows[i].text) != SSE_ERR_INVAL)
            fail_msg("%s was taken", rows[i].text);
        if (strncmp(why, rows[i].why, strlen(rows[i].why)) != 0)
            fail_msg("%s: %s", rows[i].text, why);
        assert_null(url.text);
    }
}

/* What is too long, with one byte less is not. */
static void test_lengths(void **state)
{
    static const struct {
        const char *before, *after, *why;
        size_t      max;
    } rows[] = {
        {"redis://", ":1", "the name of a host", 253},
        {"unix:///", "", "the path of the Unix socket", 106},
        {"redis://h?prefix=", "", "the prefix is longer", 64},
    };
    char text[400];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (size_t more = 0; more < 2; more++) {
            size_t before = strlen(rows[i].before);
            size_t len = rows[i].max + more;

            strcpy(text, rows[i].before);
            memset(text + before, 'x', len);
            strcpy(text + before + len, rows[i].after);
            assert_int_equal(parse(text), more ? SSE_ERR_INVAL : SSE_OK);
            assert_int_equal(strncmp(why, more ? rows[i].why : "",
                                     more ? strlen(rows[i].why) : 1),
                             0);
        }
}

/* A password that breaks the URL is told to nobody. */
static void test_secrets(void **state)
{
    static const char *const texts[] = {
        "redis://:hunter2/x@h", "redis://:hunter2?x@h",
        "redis://:hunter2#@h",  "redis://:hunter2%@h",
        "redis://hunter2@h",    "rediss://:hunter2@h?hunter2=hunter2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_int_equal(parse(texts[i]), SSE_ERR_INVAL);
        assert_true(strlen(why) > 0);
        assert_null(strstr(why, "hunter2"));
    }
}

/* Nothing behind the end of the text is read, wherever it ends. */
static void test_every_length(void **state)
{
    static const char text[] =
        "rediss+sentinel://a%41:b@h:1,[::1]:2/m/3?ca=%2Fx&timeout_ms=9";

    (void)state;
    for (size_t len = 0; len < sizeof(text); len++) {
        sse__redis_url_free(&url);
        sse__redis_url_parse(guarded(text, len), len, &url, why, sizeof(why));
    }
    assert_text(url.ca, "/x");
}

static void no_memory(void)
{
    sse__redis_url out;
    const char    *text = "redis://h";

    OK(sse__redis_url_parse(text, strlen(text), &out, why, sizeof(why)));
    sse__redis_url_free(&out);
}

static int tear_down(void **state)
{
    (void)state;
    sse__redis_url_free(&url);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),         cmocka_unit_test(test_login),
        cmocka_unit_test(test_unix),         cmocka_unit_test(test_sentinel),
        cmocka_unit_test(test_options),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_lengths),      cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_every_length), FAIL_ALLOC_TEST(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, tear_down);
}
