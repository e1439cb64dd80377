/* SPDX-License-Identifier: MIT */
/* net.h - libcurl's transfers on libuv: its sockets and its timer. All of it
 * belongs to the loop's thread. */
#ifndef SSE_IO_NET_H
#define SSE_IO_NET_H

#include <curl/curl.h>

#include "loop.h"

typedef struct sse__net sse__net;

/* The loop's, made when it is first asked for. NULL when out of memory. */
sse__net *sse__net_get(sse_loop *loop);

/* With the loop at rest; its handles close when it runs once more. */
void sse__net_free(sse__net *net);

/* `easy` has its owner, an sse__fetch, as CURLOPT_PRIVATE: when the transfer is
 * over, sse__fetch_done() is called for it. False when out of memory. */
bool sse__net_add(sse__net *net, CURL *easy);

/* Not from one of curl's callbacks. */
void sse__net_remove(sse__net *net, CURL *easy);


#endif
