/* SPDX-License-Identifier: MIT */
/* redis_scripts.h - the scripts that libsse runs in Redis, one for each thing
 * that must happen whole or not at all.
 *
 * Load each with SCRIPT LOAD when a connection is made, and run it by the hash
 * that this answers. What a script takes and replies stands at the head of its
 * file in scripts/, and in docs/redis.md. They have in common:
 *
 *   KEYS     are, for one stream, always the same five, used or not:
 *            sse:stream:<id>, sse:events:<id>, sse:meta:<id>,
 *            sse:completion:<id> and sse:active; register and describe have
 *            the user's set behind them
 *   numbers  are decimal text without sign, below 10^14
 *   replies  are arrays that begin with a word, then strings and integers;
 *            {"wrongtype"} from any script: a key holds something else, and
 *            nothing was changed
 *   errors   begin with Redis' own code (OOM, READONLY, MISCONF, ...), and
 *            nothing was changed; "ERR argument ..." is a caller's mistake
 *
 * Channel of a stream (sse:ch:<id>), messages:
 *
 *   <first> <tag before, or -> [<state>]\n<tag> <row>\n<tag> <row>...
 *              rows from number `first` on; a state with the last of a stream
 *   removed    the stream has been forgotten
 *   (empty, or anything else)  something has changed: read
 *
 * Control channel of a node (sse:ctl:<node>), messages:
 *
 *   stop <owner token> <id>     from stop
 *   removed <owner token> <id>  from remove
 *
 * An owner token is <node>.<run>, without spaces; the run has no dot. */
#ifndef SSE_STORE_REDIS_SCRIPTS_H
#define SSE_STORE_REDIS_SCRIPTS_H

#include <stddef.h>

typedef enum sse__redis_script_id {
    SSE__REDIS_APPEND = 0,
    SSE__REDIS_READ,
    SSE__REDIS_RESTORE,
    SSE__REDIS_REGISTER,
    SSE__REDIS_BEAT,
    SSE__REDIS_REMOVE,
    SSE__REDIS_LIST,
    SSE__REDIS_CLAIM,
    SSE__REDIS_SETTLE,
    SSE__REDIS_STOP,
    SSE__REDIS_COUNT,
    SSE__REDIS_DESCRIBE,
    SSE__REDIS_SCRIPT_COUNT
} sse__redis_script_id;

/* `text` has no NUL but the one behind it, which `len` does not count. */
typedef struct sse__redis_lua {
    const char *name;
    const char *text;
    size_t      len;
} sse__redis_lua;

extern const sse__redis_lua sse__redis_scripts[SSE__REDIS_SCRIPT_COUNT];

#endif
