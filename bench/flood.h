/* SPDX-License-Identifier: MIT */
/* The events of row 14, the same in client_peer.mjs: three letters say which
 * one it is, so that each one can be told from its neighbours. */
#ifndef BENCH_FLOOD_H
#define BENCH_FLOOD_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LETTERS = 3, FLOOD_DATA_MAX = 256, FLOOD_ID_LEN = 8 };

#define FLOOD_LAST "[DONE]" /* data of the event behind the last one */

struct shape {
    const char *name;
    const char *type; /* "" for none */
    bool        has_id;
    size_t      letters_at;
    const char *data; /* with letters that are replaced */
};

static const struct shape shapes[] = {
    {"tok", "", false, 6, "{\"c\":\"tok\"}"},
    {"oai", "completion", true, 16,
     "{\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk\","
     "\"created\":1694268190,\"model\":\"gpt-4o\",\"choices\":"
     "[{\"index\":0,\"delta\":{\"content\":\" streaming words\"}}]}"},
};

static inline const struct shape *find_shape(const char *name)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

static inline void put_letters(char *out, uint32_t number)
{
    for (int i = 0; i < LETTERS; i++, number /= 26)
        out[i] = (char)('a' + number % 26);
}

/* The data of event `number`, with a NUL. */
static inline void flood_data(char out[FLOOD_DATA_MAX], const struct shape *s,
                              uint32_t number)
{
    snprintf(out, FLOOD_DATA_MAX, "%s", s->data);
    put_letters(out + s->letters_at, number);
}

#endif
