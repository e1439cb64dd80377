/* SPDX-License-Identifier: MIT */
/* store_reader.c - readers of a stream on a hub with a store. */
#include "store_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"
#include "support.h"

bool reader_like_server;

static int fetch(sse_hub *hub, const char *id, const char *cursor)
{
    sse__cursor at;
    int         rc = sse__cursor_parse(&at, cursor, strlen(cursor));

    assert_int_equal(rc, SSE_OK);
    assert_int_equal(sse__hub_enter(hub), SSE_OK);
    rc = sse__store_fetch(hub, id, strlen(id), &at);
    sse__hub_leave(hub);
    return rc;
}

int reader_try(reader *r, sse_hub *hub, const char *id, const char *cursor)
{
    sse_subscriber_options opts = {
        .size = sizeof(opts), .heartbeat_ms = SSE_NEVER, .retry_ms = SSE_NEVER};
    int rc;

    *r = (reader){.hub = hub};
    r->text = calloc(1, r->cap = 4096);
    assert_non_null(r->text);
    if (reader_like_server && (rc = fetch(hub, id, cursor)) < 0)
        return rc;
    rc = sse_stream_open(hub, id, strlen(id), &r->stream);
    if (rc < 0)
        return rc;
    assert_int_equal(sse_queue_new(hub, NULL, &r->queue), SSE_OK);
    return sse_subscriber_new(r->stream, r->queue, cursor, strlen(cursor),
                              &opts, &r->sub);
}

void reader_open(reader *r, sse_hub *hub, const char *id, const char *cursor)
{
    assert_int_equal(reader_try(r, hub, id, cursor), SSE_OK);
}

/* A batch's bytes are whole events. */
static unsigned count_events(const char *data, size_t len)
{
    const char *at = data, *end = data + len;
    unsigned    count = 0;

    while (at) {
        count += end - at >= 4 && memcmp(at, "id: ", 4) == 0;
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    return count;
}

static void add(reader *r, const char *data, size_t len)
{
    r->count += count_events(data, len);
    while (r->len + len + 1 > r->cap) {
        r->text = realloc(r->text, r->cap *= 2);
        assert_non_null(r->text);
    }
    memcpy(r->text + r->len, data, len);
    r->len += len;
    r->text[r->len] = '\0';
}

void reader_drain(reader *r)
{
    const sse_batch *batch;

    while (r->queue && sse_queue_drain(r->queue, 0, &batch) > 0) {
        for (size_t i = 0; i < batch->note_count; i++) {
            const sse_note *n = &batch->notes[i];

            if (n->kind == SSE_NOTE_BYTES)
                add(r, batch->data + n->offset, n->len);
            else if (n->kind == SSE_NOTE_END)
                r->reason = n->reason;
        }
    }
}

void reader_close(reader *r)
{
    sse_subscriber_free(r->sub);
    sse_queue_free(r->queue);
    sse_stream_free(r->stream);
    free(r->text);
    *r = (reader){0};
}

unsigned reader_count(reader *r)
{
    reader_drain(r);
    return r->count;
}

bool reader_has(reader *r, const char *text)
{
    reader_drain(r);
    return strstr(r->text, text) != NULL;
}

bool reader_ended(reader *r)
{
    reader_drain(r);
    return r->reason != SSE_REASON_NONE;
}

void reader_last_id(reader *r, char *out, size_t size)
{
    const char *last = NULL;

    reader_drain(r);
    for (const char *at = r->text; (at = strstr(at, "id: ")); at++)
        last = at + 4;
    snprintf(out, size, "%.*s", last ? (int)strcspn(last, "\n") : 0,
             last ? last : "");
}

void readers_agree(reader *a, reader *b)
{
    UNTIL((reader_drain(a), reader_drain(b), a->len == b->len));
    if (strcmp(a->text, b->text) != 0)
        fail_msg("they differ:\n%.2000s\n---\n%.2000s", a->text, b->text);
}
