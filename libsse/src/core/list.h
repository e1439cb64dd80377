/* SPDX-License-Identifier: MIT */
/* list.h - intrusive circular list. A link that is on no list is its own
 * neighbour, so that dropping it twice does nothing. */
#ifndef SSE_CORE_LIST_H
#define SSE_CORE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sse__link {
    struct sse__link *prev, *next;
} sse__link;

#define SSE__OWNER(link, type, member) \
    ((type *)(void *)((char *)(link) - offsetof(type, member)))

static inline void sse__list_init(sse__link *l)
{
    l->prev = l->next = l;
}

static inline bool sse__list_empty(const sse__link *l)
{
    return l->next == l;
}

/* Adds `l` at the end of `list`. */
static inline void sse__list_add(sse__link *list, sse__link *l)
{
    l->prev = list->prev;
    l->next = list;
    list->prev->next = l;
    list->prev = l;
}

static inline void sse__list_drop(sse__link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    sse__list_init(l);
}

/* Moves all of `from` to the end of `list`. */
static inline void sse__list_splice(sse__link *list, sse__link *from)
{
    if (sse__list_empty(from))
        return;
    from->next->prev = list->prev;
    list->prev->next = from->next;
    from->prev->next = list;
    list->prev = from->prev;
    sse__list_init(from);
}

#endif
