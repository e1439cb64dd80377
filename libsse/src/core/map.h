/* SPDX-License-Identifier: MIT */
/* map.h - intrusive hash map from text to the struct that holds the node. */
#ifndef SSE_CORE_MAP_H
#define SSE_CORE_MAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct sse__map_node {
    struct sse__map_node *next;
    const char           *key; /* owned by the struct around the node       */
    uint32_t              key_len;
    uint32_t              hash;
} sse__map_node;

typedef struct sse__map {
    sse__map_node **buckets; /* NULL until the first node                   */
    uint32_t        size;    /* of `buckets`, a power of two                */
    uint32_t        count;
    uint32_t        seed;    /* so that nobody can aim at one bucket        */
} sse__map;

void sse__map_init(sse__map *m, uint32_t seed);
void sse__map_free(sse__map *m); /* the nodes are their owners'             */

sse__map_node *sse__map_get(const sse__map *m, const char *key, size_t len);

/* The key must not be in the map. SSE_OK or SSE_ERR_NOMEM. */
int  sse__map_add(sse__map *m, sse__map_node *node, const char *key, size_t len);
void sse__map_drop(sse__map *m, sse__map_node *node);

#endif
