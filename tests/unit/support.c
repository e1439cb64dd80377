/* SPDX-License-Identifier: MIT */
/* support.c - what unit tests share. */
#include "support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail_alloc.h"

#define GUARDED_SIZE ((size_t)1 << 20)
#define PAGE_SIZE ((size_t)4096)

const char *guarded(const void *data, size_t len)
{
    static char *region;

    if (!region) {
        region = mmap(NULL, GUARDED_SIZE + PAGE_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(region != MAP_FAILED);
        assert_int_equal(mprotect(region + GUARDED_SIZE, PAGE_SIZE, PROT_NONE),
                         0);
    }
    assert_true(len <= GUARDED_SIZE);
    if (len > 0)
        memcpy(region + GUARDED_SIZE - len, data, len);
    return region + GUARDED_SIZE - len;
}

void assert_buf(const sse__buf *b, const void *text, size_t len)
{
    assert_int_equal(b->len, len);
    if (len > 0)
        assert_memory_equal(b->data, text, len);
}

static void put(transcript *t, const char *text, size_t len)
{
    assert_non_null(text);
    assert_true(len < sizeof(t->text) - t->len);
    memcpy(t->text + t->len, text, len);
    t->len += len;
    t->text[t->len] = '\0';
}

static void put_number(transcript *t, const char *word, int64_t number)
{
    char text[64];

    snprintf(text, sizeof(text), "%s %lld\n", word, (long long)number);
    put(t, text, strlen(text));
}

void transcribe(transcript *t, const sse_item *item)
{
    if (t->only && t->only != item->kind)
        return;
    switch (item->kind) {
    case SSE_ITEM_EVENT:
        put(t, "event ", 6);
        put(t, item->type, item->type_len);
        put(t, "|", 1);
        put(t, item->data, item->data_len);
        put(t, "|", 1);
        put(t, item->id, item->id_len);
        put(t, "\n", 1);
        assert_int_equal(item->retry_ms, -1);
        break;
    case SSE_ITEM_COMMENT:
        put(t, "comment ", 8);
        put(t, item->data, item->data_len);
        put(t, "\n", 1);
        assert_int_equal(item->retry_ms, -1);
        break;
    case SSE_ITEM_RETRY: put_number(t, "retry", item->retry_ms); break;
    default: fail();
    }
}

/* Feeds one piece; returns what ended the draining of it. */
static int feed_piece(sse_parser *p, transcript *t, const char *data,
                      size_t len)
{
    const char     *piece = guarded(data, len);
    const sse_item *item;
    int             rc = sse_parser_feed(p, piece, len);

    while (rc == 0 && (rc = sse_parser_next(p, &item)) > 0) {
        transcribe(t, item);
        rc = 0;
    }
    memset((char *)(uintptr_t)piece, '!', len);
    return rc;
}

/* An error is final: every call gives it again. */
static void assert_final(sse_parser *p, int error)
{
    const sse_item *item;

    assert_int_equal(sse_parser_next(p, &item), error);
    assert_null(item);
    assert_int_equal(sse_parser_feed(p, "x", 1), error);
    assert_int_equal(sse_parser_reset(p, NULL, 0), error);
}

static int replay_once(sse_parser *p, transcript *out, const char *seed,
                       const char *input, size_t len, size_t step)
{
    int         rc = 0;
    const char *id;

    out->len = 0;
    if (seed)
        OK(sse_parser_reset(p, seed, strlen(seed)));
    for (size_t at = 0; at < len && rc == 0; at += step)
        rc = feed_piece(p, out, input + at, len - at < step ? len - at : step);
    if (rc < 0) {
        assert_final(p, rc);
        put_number(out, "error", rc);
    }
    id = sse_parser_last_event_id(p, &out->last_id_len);
    assert_true(out->last_id_len <= sizeof(out->last_id));
    memcpy(out->last_id, id, out->last_id_len);
    return rc;
}

void replay(transcript *out, const sse_parser_options *opts, const char *seed,
            const void *input, size_t len, size_t step)
{
    sse_parser *p;
    int         rc;

    do {
        OK(sse_parser_new(opts, &p));
        rc = replay_once(p, out, seed, input, len, step);
        sse_parser_free(p);
    } while (fail_alloc_again(rc));
}

char *read_test_file(const char *name, size_t *out_len)
{
    char  path[1024];
    FILE *file;
    char *text;
    long  size;

    snprintf(path, sizeof(path), "%s/%s", SSE_TESTS_DIR, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    text = malloc((size_t)size + 1);
    assert_non_null(text);
    *out_len = fread(text, 1, (size_t)size, file);
    text[*out_len] = '\0';
    fclose(file);
    return text;
}

bool readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

/* Without a descriptor, which the thread that ends may just have closed. */
int thread_count(void)
{
    struct stat info;
    int         count;

    assert_int_equal(stat("/proc/self/task", &info), 0);
    count = (int)info.st_nlink - 2;
#ifdef __SANITIZE_THREAD__
    if (count > 1)
        count--; /* its own, which comes with the first other */
#endif
    return count;
}

bool thread_count_becomes(int count)
{
    for (int tries = 0; tries < 30000 && thread_count() != count; tries++)
        usleep(1000);
    return thread_count() == count;
}
