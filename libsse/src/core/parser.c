/* SPDX-License-Identifier: MIT */
/* parser.c - event streams (HTML standard, 9.2.6). */
#include <stdbool.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "encoder.h"
#include "options.h"
#include "scan.h"
#include "sse.h"
#include "utf8.h"

#define DEFAULT_MAX_BYTES ((size_t)16 << 20)
#define MAX_RETRY_MS INT32_MAX /* 24 days; larger numbers mean no more */
#define BOM "\xef\xbb\xbf"
#define BOM_LEN 3

/* A value of the block at hand. It may stand in the fed bytes or in the tail,
 * and moves to `own` before those go, or when more is added to it. */
typedef struct field {
    const char *text; /* never NULL                                         */
    size_t      len;
    sse__buf    own;
} field;

struct sse_parser {
    uint32_t  flags; /* SSE_PARSER_*                                        */
    size_t    max_line;
    size_t    max_event;
    sse__scan scan;     /* over the fed bytes                               */
    sse__buf  tail;     /* the front of a line whose end is not yet fed     */
    size_t    skipped;  /* or just its length, when it can be no field      */
    uint8_t   bom_seen; /* how much of a byte order mark                    */
    bool      started;  /* the place for one is behind us                   */
    bool      drained;  /* nothing is left of the last feed                 */
    bool      after_cr; /* a CR ended the last line: an LF belongs to it    */
    bool      has_data; /* the block at hand has a data line                */
    bool      has_id;   /* it has an id, maybe empty                        */
    field     data, type, id;
    field     comment; /* the last one reported                             */
    sse__buf  last_id;
    sse_item  item;
    int       error; /* sticky                                              */
};

static void clear_field(field *f)
{
    f->text = "";
    f->len = 0;
}

static void init_field(field *f, size_t max)
{
    clear_field(f);
    sse__buf_init(&f->own, max);
}

static int add_text(sse__buf *b, const sse__line *value)
{
    if (!value->wide || sse__utf8_valid(value->text, value->len))
        return sse__buf_add(b, value->text, value->len);
    return sse__utf8_repair(b, value->text, value->len);
}

static int set_field(field *f, const sse__line *value)
{
    int rc;

    if (!value->wide || sse__utf8_valid(value->text, value->len)) {
        f->text = value->text;
        f->len = value->len;
        return SSE_OK;
    }
    f->own.len = 0;
    rc = sse__utf8_repair(&f->own, value->text, value->len);
    f->text = f->own.data;
    f->len = f->own.len;
    return rc;
}

/* Makes the field independent of the fed bytes and the tail. */
static int own_field(field *f)
{
    int rc;

    if (f->text == f->own.data)
        return SSE_OK;
    f->own.len = 0;
    rc = sse__buf_add(&f->own, f->text, f->len);
    f->text = f->len > 0 ? f->own.data : "";
    return rc;
}

/* Lines of data after the first one. */
static int append_field(field *f, const sse__line *value)
{
    int rc = own_field(f);

    if (rc == SSE_OK)
        rc = sse__buf_add(&f->own, "\n", 1);
    if (rc == SSE_OK)
        rc = add_text(&f->own, value);
    f->text = f->own.data;
    f->len = f->own.len;
    return rc;
}

/* Either all of `text`, which may be part of `b`, or no change. */
static int replace(sse__buf *b, const char *text, size_t len)
{
    if (len > b->len) {
        int rc = sse__buf_reserve(b, len - b->len);

        if (rc < 0)
            return rc;
    }
    if (len > 0)
        memmove(b->data, text, len);
    b->len = len;
    return SSE_OK;
}

/* The values of data and id do not matter while there are none. */
static void clear_block(sse_parser *p)
{
    p->has_data = p->has_id = false;
    p->type.len = 0;
}

/* What the next body must not inherit from this one. */
static void clear_body(sse_parser *p)
{
    sse__scan_init(&p->scan, "", 0);
    p->tail.len = 0;
    p->skipped = 0;
    p->bom_seen = 0;
    p->started = p->after_cr = false;
    p->drained = true;
    clear_block(p);
}

static int read_options(sse_parser_options *o, const sse_parser_options *opts)
{
    int rc = sse__options_copy(o, sizeof(*o), opts);

    if (rc < 0)
        return rc;
    if (o->flags & ~(SSE_PARSER_COMMENTS | SSE_PARSER_RETRY))
        return SSE_ERR_INVAL;
    if (o->max_line_bytes == 0)
        o->max_line_bytes = DEFAULT_MAX_BYTES;
    if (o->max_event_bytes == 0)
        o->max_event_bytes = DEFAULT_MAX_BYTES;
    return SSE_OK;
}

static size_t to_size(uint64_t bytes)
{
    return bytes < SIZE_MAX ? (size_t)bytes : SIZE_MAX;
}

int sse_parser_new(const sse_parser_options *opts, sse_parser **out)
{
    sse_parser_options o = {0};
    sse_parser        *p;
    int                rc = read_options(&o, opts);

    *out = NULL;
    if (rc < 0)
        return rc;
    p = sse__calloc(1, sizeof(*p));
    if (!p)
        return SSE_ERR_NOMEM;
    p->flags = o.flags;
    p->max_line = to_size(o.max_line_bytes);
    p->max_event = to_size(o.max_event_bytes);
    sse__buf_init(&p->tail, p->max_line);
    sse__buf_init(&p->last_id, SIZE_MAX); /* a seed is as long as it is */
    init_field(&p->data, p->max_event);
    init_field(&p->type, p->max_line);
    init_field(&p->id, p->max_line);
    init_field(&p->comment, p->max_line);
    clear_body(p);
    *out = p;
    return SSE_OK;
}

void sse_parser_free(sse_parser *p)
{
    if (!p)
        return;
    sse__buf_free(&p->tail);
    sse__buf_free(&p->last_id);
    sse__buf_free(&p->data.own);
    sse__buf_free(&p->type.own);
    sse__buf_free(&p->id.own);
    sse__buf_free(&p->comment.own);
    sse__free(p);
}

int sse_parser_reset(sse_parser *p, const char *id, size_t id_len)
{
    if (p->error < 0)
        return p->error;
    if (id) {
        int rc;

        if (sse__encode_check_name(id, id_len) < 0)
            return SSE_ERR_INVAL;
        rc = replace(&p->last_id, id, id_len);
        if (rc < 0)
            return rc;
    }
    clear_body(p);
    return SSE_OK;
}

const char *sse_parser_last_event_id(const sse_parser *p, size_t *out_len)
{
    *out_len = p->last_id.len;
    return p->last_id.len > 0 ? p->last_id.data : "";
}

int sse_parser_feed(sse_parser *p, const void *data, size_t len)
{
    bool wide = p->scan.wide; /* of a line that goes on */

    if (p->error < 0)
        return p->error;
    if (!p->drained)
        return SSE_ERR_INVAL;
    sse__scan_init(&p->scan, len > 0 ? data : "", len);
    p->scan.wide = wide;
    p->drained = false;
    return SSE_OK;
}

/* Goes past a byte order mark, which may come in pieces. False: it may go on
 * in the next feed. */
static bool skip_bom(sse_parser *p)
{
    sse__scan *s = &p->scan;

    while (p->bom_seen < BOM_LEN && s->next < s->end &&
           *s->next == BOM[p->bom_seen]) {
        s->next++;
        p->bom_seen++;
    }
    s->line = s->next;
    if (p->bom_seen < BOM_LEN && s->next == s->end)
        return false;
    p->started = true;
    if (p->bom_seen < BOM_LEN)
        p->skipped = p->bom_seen; /* no field begins like this */
    return true;
}

/* How much of the line at hand earlier feeds brought. */
static size_t held(const sse_parser *p)
{
    return p->skipped + p->tail.len; /* one of them is 0 */
}

/* Whether `more` bytes may be added to it. */
static bool fits(const sse_parser *p, size_t more)
{
    return held(p) <= p->max_line && more <= p->max_line - held(p);
}

/* Puts what earlier feeds brought in front of the rest of a line. Returns 1,
 * 0 when the line can be no field, or an error. */
static int join_tail(sse_parser *p, sse__line *line)
{
    int rc;

    if (p->skipped > 0) {
        p->skipped = 0;
        return 0;
    }
    rc = sse__buf_add(&p->tail, line->text, line->len);
    if (rc < 0)
        return rc;
    line->text = p->tail.data;
    line->len = p->tail.len;
    p->tail.len = 0; /* its bytes stay until the next line is kept there */
    return 1;
}

/* Takes the next whole line. A line ends at LF, CR, or CRLF. A CR ends its
 * line at once, even as the last byte fed: waiting to see whether an LF
 * follows would hold back an event the server has finished sending. Returns
 * 1, 0 when there is none, or an error. */
static int take_line(sse_parser *p, sse__line *line)
{
    while (sse__scan_next(&p->scan, line)) {
        char end = line->text[line->len];
        bool rest_of_crlf = p->after_cr && line->len == 0 && end == '\n';
        int  rc = 1;

        p->after_cr = end == '\r';
        if (rest_of_crlf)
            continue;
        if (!fits(p, line->len))
            return SSE_ERR_TOO_BIG;
        if (held(p) > 0)
            rc = join_tail(p, line);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Whether the line is a field called `name`. Its value is what stands behind
 * the colon and the one space that may follow it; without a colon, empty. */
static inline bool is_field(const sse__line *line, const char *name,
                            size_t name_len, sse__line *value)
{
    size_t at = name_len;

    if (line->len < at || memcmp(line->text, name, at) != 0)
        return false;
    if (at < line->len && line->text[at++] != ':')
        return false;
    if (at < line->len && line->text[at] == ' ')
        at++;
    *value = (sse__line){line->text + at, line->len - at, line->wide};
    return true;
}

static int take_data(sse_parser *p, const sse__line *value)
{
    if (p->has_data)
        return append_field(&p->data, value);
    if (value->len > p->max_event)
        return SSE_ERR_TOO_BIG;
    p->has_data = true;
    return set_field(&p->data, value);
}

static int take_id(sse_parser *p, const sse__line *value)
{
    if (memchr(value->text, '\0', value->len))
        return SSE_OK;
    p->has_id = true;
    return set_field(&p->id, value);
}

static sse_item empty_item(sse_item_kind kind)
{
    return (sse_item){
        .kind = kind, .type = "", .data = "", .id = "", .retry_ms = -1};
}

/* Fills the item and returns 1 when the value is a number. */
static int take_retry(sse_parser *p, const sse__line *value)
{
    int64_t ms = 0;

    if (!(p->flags & SSE_PARSER_RETRY) || value->len == 0)
        return 0;
    for (size_t i = 0; i < value->len; i++) {
        char c = value->text[i];

        if (c < '0' || c > '9')
            return 0;
        ms = ms * 10 + (c - '0');
        if (ms > MAX_RETRY_MS)
            ms = MAX_RETRY_MS;
    }
    p->item = empty_item(SSE_ITEM_RETRY);
    p->item.retry_ms = ms;
    return 1;
}

static int take_comment(sse_parser *p, const sse__line *line)
{
    sse__line text = {line->text + 1, line->len - 1, line->wide};
    int       rc;

    if (!(p->flags & SSE_PARSER_COMMENTS))
        return 0;
    rc = set_field(&p->comment, &text);
    if (rc < 0)
        return rc;
    p->item = empty_item(SSE_ITEM_COMMENT);
    p->item.data = p->comment.text;
    p->item.data_len = p->comment.len;
    return 1;
}

/* Returns 1 when it has filled the item, 0 or an error. */
static int take_field(sse_parser *p, const sse__line *line)
{
    sse__line value;

    if (is_field(line, "data", 4, &value))
        return take_data(p, &value);
    if (is_field(line, "id", 2, &value))
        return take_id(p, &value);
    if (is_field(line, "event", 5, &value))
        return set_field(&p->type, &value);
    if (is_field(line, "retry", 5, &value))
        return take_retry(p, &value);
    return line->text[0] == ':' ? take_comment(p, line) : 0;
}

/* At a blank line: the id holds from now on, and the event is complete if
 * there is data. Returns 1 when it has filled the item, 0 or an error. */
static int end_block(sse_parser *p)
{
    bool has_event = p->has_data;

    if (p->has_id) {
        int rc = replace(&p->last_id, p->id.text, p->id.len);

        if (rc < 0)
            return rc;
    }
    if (has_event)
        p->item = (sse_item){
            .kind = SSE_ITEM_EVENT,
            .type = p->type.len > 0 ? p->type.text : "message",
            .type_len = p->type.len > 0 ? p->type.len : 7,
            .data = p->data.text,
            .data_len = p->data.len,
            .id = p->last_id.len > 0 ? p->last_id.data : "",
            .id_len = p->last_id.len,
            .retry_ms = -1,
        };
    clear_block(p);
    return has_event;
}

/* Whether a line that begins with `c` can matter. */
static bool may_be_field(const sse_parser *p, char c)
{
    switch (c) {
    case 'd':
    case 'e':
    case 'i': return true;
    case 'r': return p->flags & SSE_PARSER_RETRY;
    case ':': return p->flags & SSE_PARSER_COMMENTS;
    default: return false;
    }
}

/* Keeps what the fed bytes hold of a line that is not at its end. */
static int keep_tail(sse_parser *p)
{
    size_t len = (size_t)(p->scan.end - p->scan.line);

    if (len == 0)
        return SSE_OK;
    if (!fits(p, len))
        return SSE_ERR_TOO_BIG;
    p->after_cr = false;
    if (p->skipped > 0 || (held(p) == 0 && !may_be_field(p, *p->scan.line))) {
        p->skipped += len;
        return SSE_OK;
    }
    return sse__buf_add(&p->tail, p->scan.line, len);
}

/* Lets go of the fed bytes. The fields come first: one may be in the tail. */
static int let_go(sse_parser *p)
{
    bool wide;
    int  rc = SSE_OK;

    if (p->has_data)
        rc = own_field(&p->data);
    if (rc == SSE_OK && p->has_id)
        rc = own_field(&p->id);
    if (rc == SSE_OK && p->type.len > 0)
        rc = own_field(&p->type);
    if (rc == SSE_OK)
        rc = keep_tail(p);
    wide = p->scan.wide;
    sse__scan_init(&p->scan, "", 0);
    p->scan.wide = wide;
    p->drained = true;
    return rc;
}

/* Goes on to the next item. Returns 1, 0 or an error. */
static int find_item(sse_parser *p)
{
    sse__line line;
    int       rc;

    if (!p->started && !skip_bom(p))
        return let_go(p);
    while ((rc = take_line(p, &line)) > 0) {
        rc = line.len > 0 ? take_field(p, &line) : end_block(p);
        if (rc != 0)
            return rc;
    }
    return rc < 0 ? rc : let_go(p);
}

int sse_parser_next(sse_parser *p, const sse_item **out)
{
    int rc = p->error < 0 ? p->error : find_item(p);

    *out = rc > 0 ? &p->item : NULL;
    if (rc < 0)
        p->error = rc;
    return rc;
}
