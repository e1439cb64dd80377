/* SPDX-License-Identifier: MIT */
#include "log_support.h"

#include <string.h>

#include "fail_alloc.h"
#include "support.h"

void log_fill(sse__log *log, size_t len, int64_t now_ms)
{
    static char data[300000];

    assert_true(len > 0 && len <= sizeof(data));
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(log->next_seq * 31 + i);
    OK(sse__log_reserve(log, 1, len));
    sse__log_add(log, data, len, (uint32_t)log->next_seq * 7, now_ms);
}

void log_fill_many(sse__log *log, int count, size_t len)
{
    while (count-- > 0) {
        log_fill(log, len, 0);
        sse__log_trim(log);
    }
}

void log_unpin(sse__span *spans, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sse__segment_unpin(spans[i].seg);
}

size_t log_bytes_of(const sse__span *spans, uint32_t n)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < n; i++)
        bytes += spans[i].len;
    return bytes;
}

void log_copy_of(char *out, const sse__span *spans, uint32_t n)
{
    for (uint32_t i = 0; i < n; out += spans[i++].len)
        memcpy(out, spans[i].data, spans[i].len);
}

void log_assert_copy(const char *copy, const sse__span *spans, uint32_t n)
{
    for (uint32_t i = 0; i < n; copy += spans[i++].len)
        assert_memory_equal(copy, spans[i].data, spans[i].len);
}
