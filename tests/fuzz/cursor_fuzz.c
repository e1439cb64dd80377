/* SPDX-License-Identifier: MIT */
/* cursor_fuzz.c - whatever parses as a cursor is written as it was read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_after(const sse__cursor *c, const char *text, size_t len)
{
    sse_event_id id;

    sse__id_make(&id, c->seq, c->tag, c->tagged ? SSE_ID_TAGGED : SSE_ID_PLAIN);
    if (id.text_len != len || memcmp(id.text, text, len) != 0)
        abort();
    if (!sse__stream_id_valid(text, len))
        abort(); /* both are made of the same characters */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    sse__cursor c;

    if (sse__cursor_parse(&c, text, size) < 0)
        return 0;
    switch (c.kind) {
    case SSE__CURSOR_START:
        if (size > 0 && (size != 1 || text[0] != '0'))
            abort();
        break;
    case SSE__CURSOR_NEW:
        if (size != 1 || text[0] != '$')
            abort();
        break;
    case SSE__CURSOR_AFTER: check_after(&c, text, size); break;
    }
    return 0;
}
