/* SPDX-License-Identifier: MIT */
/* error.c - codes as sentences. */
#include "sse.h"

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)

const char *sse_strerror(int err)
{
    switch (err) {
    case SSE_OK: return "success";
    case SSE_ERR_NOMEM: return "out of memory";
    case SSE_ERR_INVAL: return "an argument breaks a documented rule";
    case SSE_ERR_LIMIT: return "a limit on how many is reached";
    case SSE_ERR_TOO_BIG: return "a limit on how large is passed";
    case SSE_ERR_NOT_FOUND: return "there is no such stream";
    case SSE_ERR_EXISTS: return "an active stream has that id";
    case SSE_ERR_ENDED: return "the stream has ended";
    case SSE_ERR_CURSOR: return "the text is not a cursor";
    case SSE_ERR_UTF8: return "the text is not UTF-8";
    case SSE_ERR_TIMEOUT: return "the time given has passed";
    case SSE_ERR_DENIED: return "the authorize hook said no";
    case SSE_ERR_CLOSED: return "the object is closing";
    case SSE_ERR_IO: return "the system refused";
    case SSE_ERR_STORE: return "the store cannot be reached";
    case SSE_ERR_FORKED: return "the object was made before a fork";
    default: return err > 0 ? "success" : "unknown error";
    }
}

const char *sse_version(void)
{
    return NUMBER(SSE_VERSION_MAJOR) "." NUMBER(SSE_VERSION_MINOR) "." NUMBER(
        SSE_VERSION_PATCH);
}
