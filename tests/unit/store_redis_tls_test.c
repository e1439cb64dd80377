/* SPDX-License-Identifier: MIT */
/* store_redis_tls_test.c - a link over TLS: who is trusted, and who is not. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "redis_support.h"

static char          dir[] = "/tmp/sse-tls-XXXXXX";
static redis_process redis;

/* $1 is where; a CA, what it signs, and another CA. */
static const char *const make_certificates =
    "set -e; cd $1; exec 2>log\n"
    "new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    " -nodes -keyout $1.key -subj /CN=$1 \"${@:2}\"; }\n"
    "ca() { new $1 -x509 -days 2 -out $1.pem; }\n"
    "cert() { new $1 -out $1.csr; echo \"$2\" >ext;"
    " openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial"
    " -days 2 -extfile ext -out $1.pem; }\n"
    "ca ca; ca stranger\n"
    "cert here subjectAltName=DNS:localhost,IP:127.0.0.1\n"
    "cert there subjectAltName=DNS:other.example\n"
    "cert client extendedKeyUsage=clientAuth\n"
    "openssl ec -aes128 -passout pass:x -in client.key -out locked.key\n";

static int set_up(void **state)
{
    char script[2048], config[1024];

    assert_non_null(mkdtemp(dir));
    snprintf(script, sizeof(script), "bash -c '%s' make %s", make_certificates,
             dir);
    assert_int_equal(system(script), 0);
    snprintf(config, sizeof(config),
             "bind 127.0.0.1 127.0.0.2\ntls-ca-cert-file %s/ca.pem\n"
             "tls-cert-file %s/here.pem\ntls-key-file %s/here.key\n"
             "tls-auth-clients optional",
             dir, dir, dir);
    redis_new(&redis, REDIS_TLS, config);
    return redis_set_up(state);
}

static int tear_down(void **state)
{
    char script[64];

    redis_remove(&redis);
    snprintf(script, sizeof(script), "rm -r %s", dir);
    return system(script) + redis_tear_down(state);
}

/* ---- Trust ---- */

static void assert_trusted(const char *host, const char *options)
{
    linked l;

    link_prepare(&l, "rediss://%s:%u?%s", host, redis.port, options);
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "PING", "PONG");
    assert_int_equal(l.downs, 0);
    link_close(&l);
}

static void assert_refused(const char *host, const char *options,
                           const char *why)
{
    linked l;

    link_prepare(&l, "rediss://%s:%u?%s", host, redis.port, options);
    link_open(&l);
    AWAIT(l.downs >= 2);
    assert_int_equal(l.fatals, l.downs);
    assert_int_equal(l.ups, 0);
    if (!strstr(l.why, why))
        fail_msg("%s", l.why);
    link_close(&l);
}

static const char *with_ca(void)
{
    static char text[64];

    snprintf(text, sizeof(text), "ca=%s/ca.pem", dir);
    return text;
}

static void test_right(void **state)
{
    (void)state;
    assert_trusted("localhost", with_ca());
    assert_trusted("127.0.0.1", with_ca());
}

static void test_wrong_address_or_name(void **state)
{
    (void)state;
    assert_refused("127.0.0.2", with_ca(), "IP address mismatch");
    redis_do(&redis,
             "CONFIG SET tls-cert-file %s/there.pem tls-key-file "
             "%s/there.key",
             dir, dir);
    assert_refused("localhost", with_ca(), "hostname mismatch");
    assert_trusted("localhost", "insecure=1");
    redis_do(&redis,
             "CONFIG SET tls-cert-file %s/here.pem tls-key-file %s/here.key",
             dir, dir);
}

static void test_unknown_ca(void **state)
{
    char options[64];

    (void)state;
    snprintf(options, sizeof(options), "ca=%s/stranger.pem", dir);
    assert_refused("localhost", options, "not trusted");
    assert_refused("localhost", "", "not trusted");
    assert_trusted("127.0.0.2", "insecure=1");
}

static void test_client_certificate(void **state)
{
    char options[256];

    (void)state;
    redis_do(&redis, "CONFIG SET tls-auth-clients yes");
    assert_refused("localhost", with_ca(), "TLS failed");
    snprintf(options, sizeof(options),
             "ca=%s/ca.pem&cert=%s/client.pem"
             "&key=%s/client.key",
             dir, dir, dir);
    assert_trusted("localhost", options);
    redis_do(&redis, "CONFIG SET tls-auth-clients optional");
}

/* What does not serve is said at once. */
static void test_files(void **state)
{
    static const char *const rows[][2] = {
        {"ca=%s/none.pem", "the file that ca names cannot be read: No such"},
        {"ca=%s/ca.key", "the file that ca names does not serve"},
        {"cert=%s/here.key&key=%s/here.key", "the file that cert names does"},
        {"cert=%s/here.pem&key=%s/there.key", "the file that key names does"},
        {"cert=%s/client.pem&key=%s/locked.key",
         "the file that key names does"},
    };
    const sse__redis_link_events  events = {0};
    const sse__redis_link_options opts = {0};
    sse__redis_link              *link;
    linked                        l;
    char                          options[256], why[256];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        snprintf(options, sizeof(options), rows[i][0], dir, dir);
        link_prepare(&l, "rediss://h?%s", options);
        assert_int_equal(sse__redis_link_new(&redis_loop, &l.url, &opts,
                                             &events, NULL, &link, why,
                                             sizeof(why)),
                         SSE_ERR_INVAL);
        assert_null(link);
        assert_memory_equal(why, rows[i][1], strlen(rows[i][1]));
        sse__redis_url_free(&l.url);
    }
}

/* TLS to a peer that does not speak it, and the other way round. */
static void test_plain(void **state)
{
    redis_process plain;
    linked        l;

    (void)state;
    redis_new(&plain, REDIS_PORT, "");
    link_prepare(&l, "rediss://127.0.0.1:%u", plain.port);
    l.opts.connect_ms = 50;
    link_open(&l);
    AWAIT(l.downs == 1);
    link_close(&l);
    link_prepare(&l, "redis://127.0.0.1:%u", redis.port);
    link_open(&l);
    AWAIT(l.downs == 1);
    link_close(&l);
    redis_remove(&plain);
}

/* ---- Use ---- */

static char big[4 << 20];

static void take_big(void *user, int err, const redisReply *reply)
{
    assert_int_equal(err, SSE_OK);
    assert_int_equal(reply->len, sizeof(big));
    assert_memory_equal(reply->str, big, sizeof(big));
    *(bool *)user = true;
}

/* More than a record, and more than a socket takes, both ways. */
static void test_big_values(void **state)
{
    linked      l;
    const char *argv[] = {"SET", "big", big};
    size_t      lens[] = {3, 3, sizeof(big)};
    bool        came = false;

    (void)state;
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 2654435761u >> 24);
    link_prepare(&l, "rediss://localhost:%u?%s", redis.port, with_ca());
    link_open(&l);
    link_await_up(&l, 1);
    assert_int_equal(sse__redis_send(l.link, 3, argv, lens, NULL, NULL),
                     SSE_OK);
    assert_int_equal(sse__redis_send(l.link, 2, (const char *[]){"GET", "big"},
                                     NULL, take_big, &came),
                     SSE_OK);
    AWAIT(came);
    link_expect(&l, "DEL big", "1");
    link_close(&l);
}

/* Many small ones share a record. */
static void test_cork(void **state)
{
    static answer    answers[200];
    linked           l;
    sse__redis_stats before;

    (void)state;
    link_prepare(&l, "rediss://localhost:%u?%s", redis.port, with_ca());
    link_open(&l);
    link_await_up(&l, 1);
    link_expect(&l, "DEL n", "0");
    before = link_stats(&l);
    for (int i = 0; i < 200; i++)
        assert_int_equal(link_send(&l, &answers[i], "INCR n"), SSE_OK);
    AWAIT(answers[199].count);
    for (int i = 0; i < 200; i++)
        assert_int_equal(answers[i].integer, i + 1);
    assert_int_equal(link_stats(&l).writes, before.writes + 1);
    assert_true(link_stats(&l).bytes_out - before.bytes_out < 200 * 24 + 100);
    link_expect(&l, "DEL n", "1");
    link_close(&l);
}

static void test_lost_and_found(void **state)
{
    linked l;

    (void)state;
    link_prepare(&l, "rediss://localhost:%u?%s", redis.port, with_ca());
    link_open(&l);
    link_await_up(&l, 1);
    redis_do(&redis, "CLIENT KILL TYPE normal");
    link_await_up(&l, 2);
    link_expect(&l, "PING", "PONG");
    assert_int_equal(l.fatals, 0);
    link_close(&l);
}

static void test_close_in_every_state(void **state)
{
    (void)state;
    for (unsigned turns = 0, ups = 0; ups < 3; turns++) {
        linked l;

        link_prepare(&l, "rediss://localhost:%u?%s", redis.port, with_ca());
        link_open(&l);
        for (unsigned i = 0; i < turns && l.ups == 0; i++)
            redis_turn();
        ups += l.ups;
        link_close(&l);
    }
}

static void no_memory(void)
{
    const sse__redis_link_options opts = {0};
    char                          url[160];

    snprintf(url, sizeof(url), "rediss://localhost:%u?%s", redis.port,
             with_ca());
    link_short_of_memory(url, &opts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_wrong_address_or_name),
        cmocka_unit_test(test_unknown_ca),
        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_big_values),
        cmocka_unit_test(test_cork),
        cmocka_unit_test(test_lost_and_found),
        cmocka_unit_test(test_close_in_every_state),
        FAIL_ALLOC_TEST(no_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
