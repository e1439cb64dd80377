/* SPDX-License-Identifier: MIT */
/* map_test.c - the hash map from text to structs. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "fail_alloc.h"
#include "map.h"

#define COUNT 1000

typedef struct thing {
    sse__map_node node;
    char          key[16];
} thing;

static thing things[COUNT];

static void name(int i)
{
    snprintf(things[i].key, sizeof(things[i].key), "key-%d", i);
}

static void *find(const sse__map *m, const char *key)
{
    size_t len = strlen(key);

    return sse__map_get(m, guarded(key, len), len);
}

static void empty_at_first(void **state)
{
    sse__map m;

    (void)state;
    sse__map_init(&m, 1);
    assert_null(find(&m, "a"));
    assert_null(sse__map_get(&m, NULL, 0));
    sse__map_free(&m);
}

static void grows_and_drops(void)
{
    sse__map m;

    sse__map_init(&m, 42);
    for (int i = 0; i < COUNT; i++) {
        name(i);
        OK(sse__map_add(&m, &things[i].node, things[i].key,
                        strlen(things[i].key)));
        assert_int_equal(m.count, i + 1);
        assert_true(m.size >= m.count);
    }
    for (int i = 0; i < COUNT; i++)
        assert_ptr_equal(find(&m, things[i].key), &things[i].node);
    assert_null(find(&m, "key-"));
    assert_null(find(&m, "key-1000"));
    for (int i = 0; i < COUNT; i += 2)
        sse__map_drop(&m, &things[i].node);
    for (int i = 0; i < COUNT; i++)
        assert_ptr_equal(find(&m, things[i].key),
                         i % 2 ? &things[i].node : NULL);
    assert_int_equal(m.count, COUNT / 2);
    sse__map_free(&m);
}

/* Whether two nodes share a bucket follows from their hash: with a table of
 * 16 and 17 keys, some do. Each stays findable whoever is dropped first. */
static void chains_collisions(void **state)
{
    (void)state;
    for (int dropped = 0; dropped < 16; dropped++) {
        sse__map m;

        sse__map_init(&m, (uint32_t)dropped);
        for (int i = 0; i < 16; i++) {
            name(i);
            assert_int_equal(sse__map_add(&m, &things[i].node, things[i].key,
                                          strlen(things[i].key)),
                             0);
        }
        assert_int_equal(m.size, 16);
        sse__map_drop(&m, &things[dropped].node);
        for (int i = 0; i < 16; i++)
            assert_ptr_equal(find(&m, things[i].key),
                             i == dropped ? NULL : &things[i].node);
        sse__map_free(&m);
    }
}

/* Keys are bytes with a length: no NUL ends them, no prefix matches. */
static void compares_bytes(void **state)
{
    sse__map      m;
    sse__map_node a, b, c;

    (void)state;
    sse__map_init(&m, 0);
    sse__map_add(&m, &a, "x\0y", 3);
    sse__map_add(&m, &b, "x\0z", 3);
    sse__map_add(&m, &c, "x", 1);
    assert_ptr_equal(sse__map_get(&m, "x\0y", 3), &a);
    assert_ptr_equal(sse__map_get(&m, "x\0z", 3), &b);
    assert_ptr_equal(sse__map_get(&m, "x", 1), &c);
    assert_null(sse__map_get(&m, "x\0", 2));
    assert_null(sse__map_get(&m, "", 0));
    sse__map_free(&m);
}

static uint32_t longest_chain(const sse__map *m)
{
    uint32_t longest = 0;

    for (uint32_t i = 0; i < m->size; i++) {
        uint32_t n = 0;

        for (const sse__map_node *at = m->buckets[i]; at; at = at->next)
            n++;
        longest = n > longest ? n : longest;
    }
    return longest;
}

static void spreads_keys(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 20; seed++) {
        sse__map m;

        sse__map_init(&m, seed * 2654435761u);
        for (int i = 0; i < COUNT; i++) {
            name(i);
            sse__map_add(&m, &things[i].node, things[i].key,
                         strlen(things[i].key));
        }
        assert_true(longest_chain(&m) <= 10);
        sse__map_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_at_first),    FAIL_ALLOC_TEST(grows_and_drops),
        cmocka_unit_test(chains_collisions), cmocka_unit_test(compares_bytes),
        cmocka_unit_test(spreads_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
