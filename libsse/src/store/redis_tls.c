/* SPDX-License-Identifier: MIT */
/* redis_tls.c - TLS between two heaps of bytes, by OpenSSL. */
#include "redis_tls.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "../core/alloc.h"
#include "sse.h"

struct sse__tls {
    SSL *ssl;
    BIO *in;  /* from the peer; freed with `ssl`, as is `out`               */
    BIO *out; /* to the peer                                                */
    char error[160];
};

/* ---- What connections share ---- */

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());

    return text ? text : "unknown reason";
}

/* A key that asks for a password must not ask on the terminal. */
static int no_password(char *buf, int size, int writing, void *user)
{
    (void)buf, (void)size, (void)writing, (void)user;
    return 0;
}

static bool use_ca(SSL_CTX *context, const char *file)
{
    return SSL_CTX_load_verify_locations(context, file, NULL) == 1;
}

static bool use_cert(SSL_CTX *context, const char *file)
{
    return SSL_CTX_use_certificate_chain_file(context, file) == 1;
}

/* The certificate is there by now: the two must fit. */
static bool use_key(SSL_CTX *context, const char *file)
{
    return SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_check_private_key(context) == 1;
}

static int use_file(SSL_CTX *context, const char *file, const char *what,
                    bool (*use)(SSL_CTX *, const char *), char *why,
                    size_t why_size)
{
    if (!file)
        return SSE_OK;
    ERR_clear_error();
    if (access(file, R_OK) < 0)
        snprintf(why, why_size, "the file that %s names cannot be read: %s",
                 what, strerror(errno));
    else if (!use(context, file))
        snprintf(why, why_size, "the file that %s names does not serve: %s",
                 what, reason());
    else
        return SSE_OK;
    ERR_clear_error();
    return SSE_ERR_INVAL;
}

static int set_up(SSL_CTX *context, const sse__redis_url *url, char *why,
                  size_t why_size)
{
    int rc;

    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_default_passwd_cb(context, no_password);
    SSL_CTX_set_verify(context,
                       url->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!url->ca)
        SSL_CTX_set_default_verify_paths(context);
    rc = use_file(context, url->ca, "ca", use_ca, why, why_size);
    if (rc == SSE_OK)
        rc = use_file(context, url->cert, "cert", use_cert, why, why_size);
    if (rc == SSE_OK)
        rc = use_file(context, url->key, "key", use_key, why, why_size);
    return rc;
}

int sse__tls_context_new(const sse__redis_url *url, SSL_CTX **out, char *why,
                         size_t why_size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int      rc;

    *out = NULL;
    if (!context) {
        snprintf(why, why_size, "%s", sse_strerror(SSE_ERR_NOMEM));
        return SSE_ERR_NOMEM;
    }
    rc = set_up(context, url, why, why_size);
    if (rc == SSE_OK)
        *out = context;
    else
        SSL_CTX_free(context);
    return rc;
}

void sse__tls_context_free(SSL_CTX *context)
{
    SSL_CTX_free(context);
}

/* ---- One connection ---- */

/* The certificate must be made out to the name, or to the address, that was
 * asked for. Only names are sent ahead (RFC 6066, section 3). */
static bool expect(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return true;
    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, host) == 1;
}

int sse__tls_new(SSL_CTX *context, const char *host, sse__tls **out)
{
    sse__tls *tls = sse__calloc(1, sizeof(*tls));

    *out = NULL;
    if (!tls)
        return SSE_ERR_NOMEM;
    tls->ssl = SSL_new(context);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (!tls->ssl || !tls->in || !tls->out || !expect(tls->ssl, host)) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        SSL_free(tls->ssl);
        sse__free(tls);
        ERR_clear_error();
        return SSE_ERR_NOMEM;
    }
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_connect_state(tls->ssl);
    *out = tls;
    return SSE_OK;
}

void sse__tls_free(sse__tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    sse__free(tls);
}

/* Says why `rc` of the last call is what it is. */
static int failure(sse__tls *tls, int rc)
{
    int  kind = SSL_get_error(tls->ssl, rc);
    long verdict = SSL_get_verify_result(tls->ssl);

    if (kind == SSL_ERROR_WANT_READ)
        return 0;
    if (kind == SSL_ERROR_ZERO_RETURN) {
        snprintf(tls->error, sizeof(tls->error), "the connection was closed");
        return SSE_ERR_CLOSED;
    }
    if (verdict != X509_V_OK &&
        SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE)
        snprintf(tls->error, sizeof(tls->error),
                 "its certificate is not trusted: %s",
                 X509_verify_cert_error_string(verdict));
    else
        snprintf(tls->error, sizeof(tls->error), "TLS failed: %s", reason());
    ERR_clear_error();
    return SSE_ERR_IO;
}

int sse__tls_feed(sse__tls *tls, const void *data, size_t len)
{
    return BIO_write(tls->in, data, (int)len) == (int)len ? SSE_OK
                                                          : SSE_ERR_NOMEM;
}

int sse__tls_handshake(sse__tls *tls)
{
    int rc;

    ERR_clear_error();
    rc = SSL_do_handshake(tls->ssl);
    return rc == 1 ? 1 : failure(tls, rc);
}

int sse__tls_write(sse__tls *tls, const void *data, size_t len)
{
    int rc;

    if (len == 0)
        return SSE_OK;
    if (len > INT_MAX)
        return SSE_ERR_IO;
    ERR_clear_error();
    rc = SSL_write(tls->ssl, data, (int)len);
    if (rc > 0)
        return SSE_OK;
    failure(tls, rc);
    return SSE_ERR_IO;
}

int sse__tls_read(sse__tls *tls, void *data, size_t len)
{
    int rc;

    ERR_clear_error();
    rc = SSL_read(tls->ssl, data, (int)len);
    return rc > 0 ? rc : failure(tls, rc);
}

int sse__tls_take(sse__tls *tls, sse__buf *out)
{
    size_t len = BIO_ctrl_pending(tls->out);
    int    rc;

    if (len == 0)
        return SSE_OK;
    rc = sse__buf_reserve(out, len);
    if (rc < 0)
        return rc;
    rc = BIO_read(tls->out, out->data + out->len, (int)len);
    out->len += rc > 0 ? (size_t)rc : 0;
    return SSE_OK;
}

const char *sse__tls_error(const sse__tls *tls)
{
    return tls->error;
}
