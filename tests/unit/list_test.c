/* SPDX-License-Identifier: MIT */
/* list_test.c - the intrusive list. */
#include "support.h"

#include "list.h"

typedef struct thing {
    int       number;
    sse__link link;
} thing;

/* The numbers on the list, as the digits of one; both ways round. */
static int digits(const sse__link *list)
{
    int forth = 0, back = 0, place = 1;

    for (const sse__link *l = list->next; l != list; l = l->next)
        forth = forth * 10 + SSE__OWNER(l, const thing, link)->number;
    for (const sse__link *l = list->prev; l != list; l = l->prev) {
        back += place * SSE__OWNER(l, const thing, link)->number;
        place *= 10;
    }
    assert_int_equal(forth, back);
    return forth;
}

static void adds_and_drops(void **state)
{
    thing     things[3] = {{1, {0}}, {2, {0}}, {3, {0}}};
    sse__link list;

    (void)state;
    sse__list_init(&list);
    assert_true(sse__list_empty(&list));
    for (int i = 0; i < 3; i++)
        sse__list_add(&list, &things[i].link);
    assert_int_equal(digits(&list), 123);
    sse__list_drop(&things[1].link);
    sse__list_drop(&things[1].link); /* does nothing */
    assert_int_equal(digits(&list), 13);
    sse__list_add(&list, &things[1].link);
    assert_int_equal(digits(&list), 132);
    for (int i = 0; i < 3; i++)
        sse__list_drop(&things[i].link);
    assert_true(sse__list_empty(&list));
}

static void splices(void **state)
{
    thing     things[4] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}};
    sse__link list, from;

    (void)state;
    sse__list_init(&list);
    sse__list_init(&from);
    sse__list_splice(&list, &from);
    assert_true(sse__list_empty(&list));
    sse__list_add(&from, &things[0].link);
    sse__list_add(&from, &things[1].link);
    sse__list_splice(&list, &from);
    assert_true(sse__list_empty(&from));
    assert_int_equal(digits(&list), 12);
    sse__list_add(&from, &things[2].link);
    sse__list_add(&from, &things[3].link);
    sse__list_splice(&list, &from);
    assert_int_equal(digits(&list), 1234);
    sse__list_splice(&list, &from);
    assert_int_equal(digits(&list), 1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_and_drops),
        cmocka_unit_test(splices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
