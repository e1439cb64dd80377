/* SPDX-License-Identifier: MIT */
/* redis_format.c - a command as Redis reads it: an array of bulk strings. */
#include "redis_format.h"

#include <string.h>

#include "sse.h"

#define FRAME 5 /* the mark and the two line ends around an argument */

static size_t digits(size_t number)
{
    size_t count = 1;

    for (; number > 9; number /= 10)
        count++;
    return count;
}

static size_t arg_len(const sse__redis_args *args, uint32_t i)
{
    return args->lens ? args->lens[i] : strlen(args->argv[i]);
}

static size_t args_len(const sse__redis_args *args)
{
    size_t total = 0;

    for (uint32_t i = 0; args && i < args->count; i++) {
        size_t len = arg_len(args, i);

        total += FRAME + digits(len) + len;
    }
    return total;
}

static uint32_t count(const sse__redis_args *head, const sse__redis_args *tail)
{
    return head->count + (tail ? tail->count : 0);
}

size_t sse__redis_format_len(const sse__redis_args *head,
                             const sse__redis_args *tail)
{
    return 3 + digits(count(head, tail)) + args_len(head) + args_len(tail);
}

/* None of these can fail: the room has been made. */
static void add_size(sse__buf *out, const char *mark, size_t size)
{
    sse__buf_add(out, mark, 1);
    sse__buf_add_u64(out, size);
    sse__buf_add(out, "\r\n", 2);
}

static void add_args(sse__buf *out, const sse__redis_args *args)
{
    for (uint32_t i = 0; args && i < args->count; i++) {
        size_t len = arg_len(args, i);

        add_size(out, "$", len);
        sse__buf_add(out, args->argv[i], len);
        sse__buf_add(out, "\r\n", 2);
    }
}

int sse__redis_format(sse__buf *out, const sse__redis_args *head,
                      const sse__redis_args *tail)
{
    int rc = sse__buf_reserve(out, sse__redis_format_len(head, tail));

    if (rc < 0)
        return rc;
    add_size(out, "*", count(head, tail));
    add_args(out, head);
    add_args(out, tail);
    return SSE_OK;
}
