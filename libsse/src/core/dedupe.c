/* SPDX-License-Identifier: MIT */
/* dedupe.c - the last ids seen, to find one that comes again. */
#include "dedupe.h"

#include <string.h>

#include "alloc.h"
#include "sse.h"

#define FNV1A_INIT UINT64_C(14695981039346656037)
#define FNV1A_PRIME UINT64_C(1099511628211)
#define MAX_SIZE (UINT32_C(1) << 30)

static uint64_t hash_id(const char *id, size_t len)
{
    uint64_t hash = FNV1A_INIT;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)id[i]) * FNV1A_PRIME;
    return hash;
}

/* Twice the window, so that a search meets an empty place soon. */
static uint32_t table_size(const sse__dedupe *d)
{
    return d->size * 2;
}

static uint32_t place_of(const sse__dedupe *d, uint64_t hash)
{
    /* FNV-1a mixes its last byte into the low bits only. */
    return (uint32_t)(hash ^ hash >> 32) & (table_size(d) - 1);
}

/* Where the hash is in the table, or the empty place where it would go. */
static uint32_t find(const sse__dedupe *d, uint64_t hash)
{
    uint32_t at = place_of(d, hash);

    while (d->table[at] && d->ring[d->table[at] - 1] != hash)
        at = (at + 1) & (table_size(d) - 1);
    return at;
}

/* Empties a place, and moves up what stands behind it only because it was
 * taken, so that no search ends too early. */
static void empty(sse__dedupe *d, uint32_t hole)
{
    uint32_t mask = table_size(d) - 1;

    for (uint32_t at = (hole + 1) & mask; d->table[at]; at = (at + 1) & mask) {
        uint32_t home = place_of(d, d->ring[d->table[at] - 1]);

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        d->table[hole] = d->table[at];
        hole = at;
    }
    d->table[hole] = 0;
}

int sse__dedupe_init(sse__dedupe *d, uint32_t size)
{
    *d = (sse__dedupe){.size = size > 0};
    if (size == 0)
        return SSE_OK; /* a window of none remembers none */
    while (d->size < size && d->size < MAX_SIZE)
        d->size *= 2;
    d->ring = sse__malloc(d->size * sizeof(*d->ring));
    d->table = sse__calloc(table_size(d), sizeof(*d->table));
    if (d->ring && d->table)
        return SSE_OK;
    sse__dedupe_free(d);
    return SSE_ERR_NOMEM;
}

void sse__dedupe_free(sse__dedupe *d)
{
    sse__free(d->ring);
    sse__free(d->table);
    *d = (sse__dedupe){0};
}

void sse__dedupe_clear(sse__dedupe *d)
{
    if (d->count > 0)
        memset(d->table, 0, table_size(d) * sizeof(*d->table));
    d->count = d->head = 0;
}

bool sse__dedupe_add(sse__dedupe *d, const char *id, size_t len)
{
    uint64_t hash;
    uint32_t at;

    if (len == 0 || d->size == 0)
        return false;
    hash = hash_id(id, len);
    if (d->table[find(d, hash)])
        return true;
    if (d->count == d->size)
        empty(d, find(d, d->ring[d->head]));
    else
        d->count++;
    at = find(d, hash);
    d->ring[d->head] = hash;
    d->table[at] = d->head + 1;
    d->head = (d->head + 1) & (d->size - 1);
    return false;
}
