/* SPDX-License-Identifier: MIT */
/* redis_url.h - where a Redis is, and how to be let in:
 *
 *     redis://[[USER]:PASSWORD@]HOST[:PORT][/DB][?OPTIONS]
 *     rediss://...                                the same, over TLS
 *     unix://[[USER]:PASSWORD@]/PATH[?db=DB]
 *     redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],.../MASTER[/DB]
 *     rediss+sentinel://...                       both over TLS
 *
 * Options: db, prefix, timeout_ms; ca, cert, key (files) and insecure=1 with
 * TLS; sentinel_user and sentinel_password with Sentinel. An IPv6 address
 * stands in brackets; whatever means something in a URL is written %XX. */
#ifndef SSE_STORE_REDIS_URL_H
#define SSE_STORE_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SSE__REDIS_HOSTS 16        /* Sentinels that one URL may name       */
#define SSE__REDIS_HOST_BYTES 254  /* the longest name, with its NUL        */
#define SSE__REDIS_PREFIX_BYTES 64 /* the longest prefix of keys            */

typedef enum sse__redis_kind {
    SSE__REDIS_TCP,
    SSE__REDIS_UNIX,
    SSE__REDIS_SENTINEL
} sse__redis_kind;

typedef struct sse__redis_host {
    const char *name; /* a name or an address, without brackets             */
    uint16_t    port;
} sse__redis_host;

/* Text that the URL does not give is NULL. */
typedef struct sse__redis_url {
    sse__redis_host hosts[SSE__REDIS_HOSTS];
    uint32_t        host_count; /* 0 for a Unix socket                      */
    uint32_t        db;
    uint32_t        timeout_ms; /* 0: not given                             */
    uint8_t         kind;       /* an sse__redis_kind                       */
    bool            tls;
    bool            insecure; /* any certificate will do                    */
    const char     *path;     /* of the Unix socket                         */
    const char     *master;   /* the name that the Sentinels know           */
    const char     *user;
    const char     *password;
    const char     *prefix;
    const char     *ca;
    const char     *cert; /* never without `key`                            */
    const char     *key;
    const char     *sentinel_user;
    const char     *sentinel_password;
    char           *text; /* where all of these live                        */
} sse__redis_url;

/* SSE_OK, SSE_ERR_NOMEM, or SSE_ERR_INVAL with a sentence in `why` that holds
 * nothing of the URL, so that a mistyped password ends up in no log. */
int sse__redis_url_parse(const char *text, size_t len, sse__redis_url *out,
                         char *why, size_t why_size);

/* Legal after a parse that failed, too. */
void sse__redis_url_free(sse__redis_url *url);

#endif
