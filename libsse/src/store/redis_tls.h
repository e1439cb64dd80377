/* SPDX-License-Identifier: MIT */
/* redis_tls.h - TLS between two heaps of bytes; the socket is somebody else's.
 * Certificates and names are checked unless the URL says `insecure`. */
#ifndef SSE_STORE_REDIS_TLS_H
#define SSE_STORE_REDIS_TLS_H

#include <openssl/ssl.h>

#include "../core/buf.h"
#include "redis_url.h"

typedef struct sse__tls sse__tls;

/* What all connections to one Redis share. SSE_OK, SSE_ERR_NOMEM, or
 * SSE_ERR_INVAL with a sentence in `why` when a file does not serve. */
int  sse__tls_context_new(const sse__redis_url *url, SSL_CTX **out, char *why,
                          size_t why_size);
void sse__tls_context_free(SSL_CTX *context);

/* One connection, to whom the certificate must call `host`. */
int  sse__tls_new(SSL_CTX *context, const char *host, sse__tls **out);
void sse__tls_free(sse__tls *tls);

/* Bytes that the peer has sent. SSE_OK or SSE_ERR_NOMEM. */
int sse__tls_feed(sse__tls *tls, const void *data, size_t len);

/* 1 when both sides trust the other, 0 when bytes of the peer are missing,
 * SSE_ERR_IO with a sentence in sse__tls_error(). */
int sse__tls_handshake(sse__tls *tls);

/* Bytes for the peer go in plain. SSE_OK or SSE_ERR_IO. */
int sse__tls_write(sse__tls *tls, const void *data, size_t len);

/* Bytes of the peer come out plain: how many; 0 when more must be fed;
 * SSE_ERR_CLOSED when there will be no more; SSE_ERR_IO. */
int sse__tls_read(sse__tls *tls, void *data, size_t len);

/* Moves what must be sent to the peer to the end of `out`; errors as for
 * sse__buf_add(). */
int sse__tls_take(sse__tls *tls, sse__buf *out);

const char *sse__tls_error(const sse__tls *tls);

#endif
