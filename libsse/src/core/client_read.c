/* SPDX-License-Identifier: MIT */
/* client_read.c - from the bytes of a body to what the application gets:
 * each event once, and a gap where one is missing. */
#include <string.h>

#include "client.h"
#include "encoder.h"
#include "hub.h"
#include "id.h"
#include "json.h"

#define MAX_SEQ INT64_C(100000000000000)

/* What the parser begins each body with in place of the last id, so that an id
 * of this body can be told from the one before it. No server sends it. */
static const char NO_ID[] = "\001no id";

typedef enum look { DELIVER, SKIP, TELL_GAP } look;

/* Inline, as the length of a literal is then known. */
static inline bool is_text(const char *text, size_t len, const char *other)
{
    return len == strlen(other) && memcmp(text, other, len) == 0;
}

static bool is_no_id(const char *id, size_t len)
{
    return is_text(id, len, NO_ID);
}

/* ---- Gaps ---------------------------------------------------------------- */

static void fill_gap(sse__client *c, int64_t from, int64_t to, int64_t missed,
                     sse_gap reason)
{
    c->item = (sse__client_item){
        .kind = SSE__TOLD_GAP,
        .from = from,
        .to = to,
        .missed = missed,
        .gap = reason,
    };
}

static int64_t to_number(sse__json_slice value)
{
    int64_t number = 0;

    for (size_t i = 0; i < value.len; i++) {
        if (value.text[i] < '0' || value.text[i] > '9' || number > MAX_SEQ)
            return SSE__UNKNOWN;
        number = number * 10 + (value.text[i] - '0');
    }
    return number <= MAX_SEQ ? number : SSE__UNKNOWN;
}

/* The value is a JSON string, with its quotes. */
static sse_gap to_reason(sse__json_slice value)
{
    for (uint32_t i = 0; value.len > 2 && i < SSE__GAP_REASONS; i++)
        if (is_text(value.text + 1, value.len - 2, sse__gap_names[i]))
            return (sse_gap)i;
    return SSE_GAP_OTHER;
}

/* Whether the event is a server's word about what is gone. */
static bool read_gap(sse__client *c, const sse_item *e)
{
    const char     *at = e->data, *end = e->data + e->data_len;
    sse__json_slice key, value;
    bool            reason = false;
    int             rc;

    if (!is_text(e->type, e->type_len, "gap") || e->data_len == 0)
        return false;
    at += sse__json_space(at, e->data_len);
    if (at == end || *at++ != '{')
        return false;
    fill_gap(c, SSE__UNKNOWN, SSE__UNKNOWN, SSE__UNKNOWN, SSE_GAP_OTHER);
    while ((rc = sse__json_member(&at, end, &key, &value)) > 0) {
        if (sse__json_is_key(key, "from")) {
            c->item.from = to_number(value);
        } else if (sse__json_is_key(key, "to")) {
            c->item.to = to_number(value);
        } else if (sse__json_is_key(key, "missed")) {
            c->item.missed = to_number(value);
        } else if (sse__json_is_key(key, "reason")) {
            c->item.gap = to_reason(value);
            reason = true;
        }
    }
    return rc == 0 && reason;
}

/* The log is another one. What was asked for by a cursor of the old one, to
 * take over from this body, would bring all of this again. */
static void leave_log(sse__client *c)
{
    sse__client_forget_seen(c);
    c->astray = true;
    if (!c->next.generation)
        return;
    sse__client_drop(c, &c->next);
    c->renew = SSE__RENEWAL_READY;
}

/* Leaves out what has come by another connection. */
static void clip_gap(sse__client *c)
{
    int64_t seq = (int64_t)c->seq;

    if (!c->has_seq || c->item.from < 0 || c->item.from > seq)
        return;
    c->item.from = seq + 1;
    if (c->item.missed >= 0)
        c->item.missed = c->item.to - seq;
}

/* Moves the place where the next event is expected. False when this gap has
 * been told before. */
static bool pass_gap(sse__client *c)
{
    int64_t to = c->item.to;

    if (c->item.gap == SSE_GAP_DIVERGED) {
        leave_log(c);
        c->has_seq = to >= 0;
    } else if (to < 0) {
        c->has_seq = false; /* the next event says where we are */
        return true;
    } else if (c->has_seq && (uint64_t)to <= c->seq) {
        return false;
    } else {
        clip_gap(c);
        c->has_seq = true;
    }
    c->seq = to >= 0 ? (uint64_t)to : 0;
    c->run = 0;
    return true;
}

/* ---- Judging an event ---------------------------------------------------- */

static bool has_own_id(const sse__client *c, const sse_item *e)
{
    return e->id_len > 0 && !is_no_id(e->id, e->id_len) &&
           sse__client_hash(e->id, e->id_len) != c->body_id;
}

/* The sequence number of an id of the form seq-tag, else 0. */
static uint64_t tagged_seq(const sse_item *e)
{
    sse__cursor cursor;

    if (sse__cursor_parse(&cursor, e->id, e->id_len) < 0 || !cursor.tagged)
        return 0;
    return cursor.seq;
}

/* An id that proves another log than the one followed so far. */
static look look_diverged(sse__client *c, uint64_t seq)
{
    fill_gap(c, SSE__UNKNOWN, SSE__UNKNOWN, SSE__UNKNOWN, SSE_GAP_UNANNOUNCED);
    leave_log(c);
    c->seq = seq - 1;
    return TELL_GAP;
}

/* A position that lies behind us: known, of another log, or so old that the
 * window cannot tell. The last is a replay by a server that got no cursor. */
static look look_back(sse__client *c, uint64_t seq, uint64_t hash)
{
    if (c->seq - seq >= c->run || c->seq - seq >= c->recent.size) {
        c->unproved = true;
        return SKIP;
    }
    if (sse__client_add_seen(c, hash))
        return look_diverged(c, seq);
    c->unproved = false;
    return SKIP;
}

/* Changes nothing that a second look at the same event would see, except when
 * it says DELIVER. */
static look look_at(sse__client *c, const sse_item *e)
{
    uint64_t hash = sse__client_hash(e->id, e->id_len);
    uint64_t seq = tagged_seq(e);

    if (seq > 0 && c->has_seq) {
        if (seq <= c->seq)
            return look_back(c, seq, hash);
        if (seq > c->seq + 1) {
            fill_gap(c, (int64_t)c->seq + 1, (int64_t)seq - 1,
                     (int64_t)(seq - 1 - c->seq), SSE_GAP_UNANNOUNCED);
            c->seq = seq - 1;
            c->run = 0;
            return TELL_GAP;
        }
    }
    c->unproved = false;
    if (!sse__client_add_seen(c, hash))
        return SKIP;
    c->has_seq = seq > 0;
    c->seq = seq;
    c->run = seq == 0 ? 0 : c->run < UINT32_MAX ? c->run + 1 : c->run;
    return DELIVER;
}

static bool is_end(const sse__client *c, const sse_item *e)
{
    const char *at = c->end_types.data, *end = at + c->end_types.len;
    bool        may = c->end_lens & sse__client_length_bit(e->type_len);

    for (; may && at < end; at += strlen(at) + 1)
        if (is_text(e->type, e->type_len, at))
            return true;
    return c->o.profile != SSE_PROFILE_STRICT &&
           is_text(e->data, e->data_len, "[DONE]");
}

/* There is room for the id. */
static int deliver(sse__client *c, const sse_item *e)
{
    bool inherits = is_no_id(e->id, e->id_len);

    memset(&c->item, 0, offsetof(sse__client_item, event));
    c->item.kind = SSE__TOLD_EVENT;
    c->item.event = *e;
    if (!inherits)
        (void)sse__client_keep_id(c, e->id, e->id_len);
    c->item.event.id = c->last_id.len > 0 ? c->last_id.data : "";
    c->item.event.id_len = c->last_id.len;
    c->unsettled = true;
    c->body_events++;
    c->got = NULL;
    if (is_end(c, e))
        sse__client_finish(c, SSE_CAUSE_TERMINAL);
    return 1;
}

/* In the profiles that keep a stream whole. */
static int judge_event(sse__client *c, const sse_item *e)
{
    bool own = has_own_id(c, e);
    look found;

    if (!own && read_gap(c, e)) {
        c->got = NULL;
        return pass_gap(c);
    }
    if (own)
        found = look_at(c, e);
    else if (is_text(e->type, e->type_len, "heartbeat"))
        found = SKIP;
    else
        found = c->replaying ? SKIP : DELIVER;
    if (found == TELL_GAP)
        return 1;
    if (own && found == DELIVER)
        c->astray = false;
    if (own) {
        c->body_id = sse__client_hash(e->id, e->id_len);
        c->replaying = found == SKIP;
    }
    if (found == DELIVER)
        return deliver(c, e);
    c->got = NULL;
    return 0;
}

/* Returns 1 when it has filled the item, 0 when there is nothing to tell. */
static int judge(sse__client *c)
{
    const sse_item *e = c->got;
    int             rc;

    if (e->kind == SSE_ITEM_RETRY)
        sse__client_set_retry(c, e->retry_ms);
    if (e->kind == SSE_ITEM_COMMENT)
        c->item = (sse__client_item){.kind = SSE__TOLD_COMMENT, .event = *e};
    if (e->kind != SSE_ITEM_EVENT) {
        c->got = NULL;
        return e->kind == SSE_ITEM_COMMENT;
    }
    rc = sse__client_reserve_id(c, e->id_len);
    if (rc < 0)
        return rc;
    return c->o.profile == SSE_PROFILE_STRICT ? deliver(c, e)
                                              : judge_event(c, e);
}

/* ---- The body ------------------------------------------------------------ */

int sse__client_begin_body(sse__client *c)
{
    const sse_parser_options opts = {
        .size = sizeof(opts),
        .flags = SSE_PARSER_RETRY |
                 (c->o.flags & SSE_CLIENT_COMMENTS ? SSE_PARSER_COMMENTS : 0),
        .max_line_bytes = (uint64_t)c->o.max_event_bytes + 64,
        .max_event_bytes = c->o.max_event_bytes,
    };
    int rc = c->parser ? SSE_OK : sse_parser_new(&opts, &c->parser);

    if (rc == SSE_OK)
        rc = sse_parser_reset(c->parser, NO_ID, sizeof(NO_ID) - 1);
    if (rc < 0)
        return rc;
    sse__client_drop_body(c);
    c->body_id = 0;
    c->replaying = c->unproved = false;
    c->body_events = 0;
    return SSE_OK;
}

void sse__client_drop_body(sse__client *c)
{
    c->got = NULL;
    c->parsing = false;
    c->in.len = c->answer.len = 0;
}

bool sse__client_drained(const sse__client *c)
{
    return !c->got && !c->parsing && c->in.len == 0;
}

/* The parser is of no more use; what was not read comes again. */
static int give_up_body(sse__client *c, int rc)
{
    sse_parser_free(c->parser);
    c->parser = NULL;
    sse__client_drop_body(c);
    sse__client_fail(c,
                     rc == SSE_ERR_NOMEM ? SSE_CAUSE_NOMEM : SSE_CAUSE_TOO_BIG);
    return rc == SSE_ERR_NOMEM ? rc : 0;
}

/* A block with an id and no data moves the cursor, too. */
static int take_bare_id(sse__client *c)
{
    size_t      len;
    const char *id = sse_parser_last_event_id(c->parser, &len);
    int         rc;

    if (is_no_id(id, len) || c->replaying ||
        (len == c->last_id.len &&
         (len == 0 || memcmp(id, c->last_id.data, len) == 0)))
        return SSE_OK;
    rc = sse__client_keep_id(c, id, len);
    if (rc == SSE_OK)
        c->unsettled = true;
    return rc;
}

/* Gets the next item of the parser: 1, 0 or an error. */
static int pull(sse__client *c)
{
    for (;;) {
        sse__buf swapped = c->fed;
        int      rc = c->parsing ? sse_parser_next(c->parser, &c->got) : 0;

        if (rc > 0)
            return rc;
        if (rc < 0)
            return give_up_body(c, rc);
        if (c->parsing && (rc = take_bare_id(c)) < 0)
            return rc;
        c->parsing = false;
        if (c->in.len == 0)
            return 0;
        c->fed = c->in;
        c->in = swapped;
        c->in.len = 0;
        rc = sse_parser_feed(c->parser, c->fed.data, c->fed.len);
        if (rc < 0)
            return give_up_body(c, rc);
        c->parsing = true;
    }
}

int sse__client_read(sse__client *c)
{
    const sse__recent *r = &c->recent;

    for (;;) {
        int rc;

        if (c->o.flags & SSE_CLIENT_ACK && r->size > 0 && r->pending == r->size)
            return 0; /* the application has to ack first */
        if (!c->got && (rc = pull(c)) <= 0)
            return rc;
        if ((rc = judge(c)) != 0)
            return rc;
    }
}
