/* SPDX-License-Identifier: MIT */
/* map.c - chained hashing; the table doubles when it is full. */
#include "map.h"

#include <string.h>

#include "alloc.h"
#include "id.h"
#include "sse.h"

#define FIRST_SIZE 16u

void sse__map_init(sse__map *m, uint32_t seed)
{
    *m = (sse__map){.seed = seed};
}

void sse__map_free(sse__map *m)
{
    sse__free(m->buckets);
    *m = (sse__map){.seed = m->seed};
}

static uint32_t hash_of(const sse__map *m, const char *key, size_t len)
{
    uint32_t h = sse__fnv1a(SSE__FNV1A_INIT ^ m->seed, key, len);

    return h ^ h >> 15; /* the low bits choose the bucket: mix the high in */
}

static sse__map_node **bucket_of(const sse__map *m, uint32_t hash)
{
    return &m->buckets[hash & (m->size - 1)];
}

sse__map_node *sse__map_get(const sse__map *m, const char *key, size_t len)
{
    if (m->count == 0)
        return NULL;

    uint32_t hash = hash_of(m, key, len);
    for (sse__map_node *n = *bucket_of(m, hash); n; n = n->next)
        if (n->hash == hash && n->key_len == len &&
            memcmp(n->key, key, len) == 0)
            return n;
    return NULL;
}

static int grow(sse__map *m)
{
    sse__map bigger = *m;

    bigger.size = m->size ? m->size * 2 : FIRST_SIZE;
    bigger.buckets = sse__calloc(bigger.size, sizeof(*bigger.buckets));
    if (!bigger.buckets)
        return SSE_ERR_NOMEM;
    for (uint32_t i = 0; i < m->size; i++) {
        for (sse__map_node *n = m->buckets[i], *next; n; n = next) {
            sse__map_node **bucket = bucket_of(&bigger, n->hash);

            next = n->next;
            n->next = *bucket;
            *bucket = n;
        }
    }
    sse__free(m->buckets);
    *m = bigger;
    return SSE_OK;
}

int sse__map_add(sse__map *m, sse__map_node *node, const char *key, size_t len)
{
    sse__map_node **bucket;

    if (m->count == m->size && grow(m) < 0)
        return SSE_ERR_NOMEM;
    node->key = key;
    node->key_len = (uint32_t)len;
    node->hash = hash_of(m, key, len);
    bucket = bucket_of(m, node->hash);
    node->next = *bucket;
    *bucket = node;
    m->count++;
    return SSE_OK;
}

void sse__map_drop(sse__map *m, sse__map_node *node)
{
    sse__map_node **at = bucket_of(m, node->hash);

    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    m->count--;
}
