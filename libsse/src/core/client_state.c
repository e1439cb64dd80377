/* SPDX-License-Identifier: MIT */
/* client_state.c - where a client stands, as bytes: what a program saves to go
 * on after a restart.
 *
 *     magic 4, version 4, hash of the URL 8, retry_ms 4, run 4,
 *     count of ids 4, length of the cursor 4,
 *     the cursor, the hashes of the ids 8 each, oldest first,
 *     hash of all that 8
 *
 * Numbers are little-endian. Only ids up to the cursor are in it: one behind
 * it was not taken, and has to come again. */
#include <string.h>

#include "client.h"
#include "encoder.h"
#include "id.h"

#define MAGIC UINT32_C(0x43455353) /* "SSEC" */
#define VERSION 1
#define HEAD_BYTES 32
#define SUM_BYTES 8
#define MAX_CURSOR_BYTES (64 * 1024)

static int put(sse__buf *b, uint64_t number, int bytes)
{
    char text[8];

    for (int i = 0; i < bytes; i++)
        text[i] = (char)(number >> (8 * i) & 255);
    return sse__buf_add(b, text, (size_t)bytes);
}

static uint64_t get(const char *at, int bytes)
{
    uint64_t number = 0;

    for (int i = bytes; i-- > 0;)
        number = number << 8 | (unsigned char)at[i];
    return number;
}

/* The `i`-th oldest hash. */
static uint64_t hash_at(const sse__recent *r, uint32_t i)
{
    return r->hashes[(r->head + r->size - r->count + i) % r->size];
}

/* How many of the ids up to the cursor followed each other. */
static uint32_t settled_run(const sse__client *c)
{
    return c->run > c->recent.pending ? c->run - c->recent.pending : 0;
}

static int put_all(const sse__client *c, sse__buf *out)
{
    const sse__recent *r = &c->recent;
    uint32_t           count = r->count - r->pending;
    size_t             start = out->len;
    int rc = sse__buf_reserve(out, HEAD_BYTES + c->cursor.len + 8 * count +
                                       SUM_BYTES);

    if (rc < 0)
        return rc;
    put(out, MAGIC, 4);
    put(out, VERSION, 4);
    put(out, c->url_hash, 8);
    put(out, c->backoff.base_ms, 4);
    put(out, settled_run(c), 4);
    put(out, count, 4);
    put(out, c->cursor.len, 4);
    sse__buf_add(out, c->cursor.data, c->cursor.len);
    for (uint32_t i = 0; i < count; i++)
        put(out, hash_at(r, i), 8);
    return put(out, sse__client_hash(out->data + start, out->len - start), 8);
}

int sse__client_export(const sse__client *c, sse__buf *out)
{
    if (c->cursor.len > MAX_CURSOR_BYTES)
        return SSE_ERR_TOO_BIG;
    return put_all(c, out);
}

static void adopt(sse__client *c)
{
    sse__cursor cursor;

    sse__client_settle(c);
    c->cursor.len = c->last_id.len;
    if (c->last_id.len > 0)
        memcpy(c->cursor.data, c->last_id.data, c->last_id.len);
    c->has_seq =
        sse__cursor_parse(&cursor, c->last_id.data, c->last_id.len) == SSE_OK &&
        cursor.tagged;
    c->seq = c->has_seq ? cursor.seq : 0;
    c->run = 0;
    sse__client_forget_seen(c);
}

int sse__client_set_cursor(sse__client *c, const char *id, size_t len)
{
    int rc;

    if (c->phase != SSE__PHASE_IDLE || len > MAX_CURSOR_BYTES ||
        sse__encode_check_name(id, len) < 0)
        return SSE_ERR_INVAL;
    rc = sse__client_keep_id(c, id, len);
    if (rc == SSE_OK)
        adopt(c);
    return rc;
}

/* Whether the bytes are whole, of this version and of this URL. */
static bool is_ours(const sse__client *c, const char *at, size_t len)
{
    uint64_t count, cursor_len;

    if (len < HEAD_BYTES + SUM_BYTES)
        return false;
    count = get(at + 24, 4);
    cursor_len = get(at + 28, 4);
    return get(at, 4) == MAGIC && get(at + 4, 4) == VERSION &&
           get(at + 8, 8) == c->url_hash && cursor_len <= MAX_CURSOR_BYTES &&
           len == HEAD_BYTES + cursor_len + 8 * count + SUM_BYTES &&
           get(at + len - SUM_BYTES, 8) ==
               sse__client_hash(at, len - SUM_BYTES);
}

int sse__client_import(sse__client *c, const void *data, size_t len)
{
    const char *at = data, *hashes;
    uint32_t    run, count;
    size_t      cursor_len;
    int         rc;

    if (c->phase != SSE__PHASE_IDLE || !is_ours(c, at, len))
        return SSE_ERR_INVAL;
    run = (uint32_t)get(at + 20, 4);
    count = (uint32_t)get(at + 24, 4);
    cursor_len = (size_t)get(at + 28, 4);
    rc = sse__client_set_cursor(c, at + HEAD_BYTES, cursor_len);
    if (rc < 0)
        return rc;
    sse__client_set_retry(c, (int64_t)get(at + 16, 4));
    hashes = at + HEAD_BYTES + cursor_len;
    for (uint32_t i = 0; i < count; i++)
        sse__client_add_seen(c, get(hashes + 8 * (size_t)i, 8));
    c->run = run < count ? run : count;
    c->recent.pending = 0;
    return SSE_OK;
}
