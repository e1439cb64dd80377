/* SPDX-License-Identifier: MIT */
/* client_ids.c - the ids that came, and the cursor, which is the last one that
 * the application is done with. */
#include <string.h>

#include "client.h"

#define FNV1A_64_INIT UINT64_C(14695981039346656037)
#define FNV1A_64_PRIME UINT64_C(1099511628211)

uint64_t sse__client_hash(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    uint64_t             hash = FNV1A_64_INIT;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * FNV1A_64_PRIME;
    return hash;
}

static int reserve(sse__buf *b, size_t len)
{
    return len > b->len ? sse__buf_reserve(b, len - b->len) : SSE_OK;
}

static void set(sse__buf *b, const char *text, size_t len)
{
    if (len > 0)
        memcpy(b->data, text, len);
    b->len = len;
}

/* The cursor gets its room now, so that settling cannot fail. */
int sse__client_reserve_id(sse__client *c, size_t len)
{
    int rc = reserve(&c->last_id, len);

    return rc < 0 ? rc : reserve(&c->cursor, len);
}

int sse__client_keep_id(sse__client *c, const char *id, size_t len)
{
    int rc = sse__client_reserve_id(c, len);

    if (rc == SSE_OK)
        set(&c->last_id, id, len);
    return rc;
}

void sse__client_settle(sse__client *c)
{
    if (!c->unsettled || c->o.flags & SSE_CLIENT_ACK)
        return;
    set(&c->cursor, c->last_id.data, c->last_id.len);
    c->recent.pending = 0;
    c->unsettled = false;
}

void sse__client_forget_seen(sse__client *c)
{
    sse__dedupe_clear(&c->seen);
    c->recent.count = c->recent.head = c->recent.pending = 0;
    c->run = 0;
}

/* False when it was there. */
bool sse__client_add_seen(sse__client *c, uint64_t hash)
{
    sse__recent *r = &c->recent;

    if (sse__dedupe_add(&c->seen, (const char *)&hash, sizeof(hash)))
        return false;
    if (r->size == 0)
        return true;
    r->hashes[r->head] = hash;
    r->head = (r->head + 1) % r->size;
    r->count += r->count < r->size;
    r->pending += r->pending < r->size;
    return true;
}

int sse__client_ack(sse__client *c, const char *id, size_t len)
{
    sse__recent *r = &c->recent;
    uint64_t     hash = sse__client_hash(id, len);
    int          rc = reserve(&c->cursor, len);

    if (rc < 0)
        return rc;
    for (uint32_t newer = 0; newer < r->pending; newer++) {
        uint32_t at = (r->head + r->size - 1 - newer) % r->size;

        if (r->hashes[at] != hash)
            continue;
        r->pending = newer;
        set(&c->cursor, id, len);
        return SSE_OK;
    }
    return SSE_ERR_NOT_FOUND;
}
