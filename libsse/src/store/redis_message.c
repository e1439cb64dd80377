/* SPDX-License-Identifier: MIT */
/* redis_message.c - what is published on a stream's channel: kept while its
 * tail reads, then taken by sequence number. */
#include <string.h>

#include "../core/alloc.h"
#include "redis_tail.h"

#define KEPT_BYTES ((size_t)1 << 20) /* of one tail, then it reads again */
#define KEPT_BYTES_ALL ((uint64_t)64 << 20)

/* ---- Rows ---- */

void sse__tail_set_whole(sse__tail *t)
{
    t->stream->backing->whole = t->stream->log.first_seq <= t->base + 1;
}

bool sse__tail_add_row(sse__tail *t, const char *row, size_t len, uint32_t tag)
{
    int rc = sse__mirror_add(t->stream, row, len, tag);

    t->engine->counters.unreadable += rc > 0;
    return rc >= 0;
}

/* ---- A message, taken apart ---- */

typedef struct message {
    const char *at, *end; /* its rows, each a line                           */
    uint64_t    first;
    uint32_t    before; /* the tag of the event before                     */
    bool        before_known;
    sse__text   state; /* of a stream that has ended with these; or empty */
} message;

static bool take_number(const char **at, const char *end, uint64_t *out)
{
    const char *start = *at;

    *out = 0;
    while (*at < end && **at >= '0' && **at <= '9' && *at - start < 15)
        *out = *out * 10 + (uint64_t)(*(*at)++ - '0');
    return *at > start && *out > 0;
}

static bool take_char(const char **at, const char *end, char c)
{
    return *at < end && *(*at)++ == c;
}

static bool take_tag(const char **at, const char *end, uint32_t *out)
{
    *out = 0;
    if (end - *at < 8)
        return false;
    for (int i = 0; i < 8; i++) {
        char c = *(*at)++;

        if (c >= '0' && c <= '9')
            *out = *out << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *out = *out << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    return true;
}

/* "<first> <tag before, or -> [<state>]\n". */
static bool take_head(message *m, const char *text, size_t len)
{
    const char *line_end = memchr(text, '\n', len);

    *m = (message){.at = text, .end = text + len};
    if (!line_end || !take_number(&m->at, line_end, &m->first) ||
        !take_char(&m->at, line_end, ' '))
        return false;
    m->before_known = m->at < line_end && *m->at != '-';
    if (m->before_known ? !take_tag(&m->at, line_end, &m->before)
                        : !take_char(&m->at, line_end, '-'))
        return false;
    if (m->at < line_end) {
        if (!take_char(&m->at, line_end, ' '))
            return false;
        m->state = (sse__text){m->at, (size_t)(line_end - m->at)};
    }
    m->at = line_end + 1;
    return m->at < m->end;
}

/* "<tag> <row>". A tag that is not the row's own is no message of ours. */
static bool take_line(message *m, sse__text *row, uint32_t *tag)
{
    const char *line_end = memchr(m->at, '\n', (size_t)(m->end - m->at));

    if (!line_end)
        line_end = m->end;
    if (!take_tag(&m->at, line_end, tag) || !take_char(&m->at, line_end, ' '))
        return false;
    *row = (sse__text){m->at, (size_t)(line_end - m->at)};
    m->at = line_end < m->end ? line_end + 1 : m->end;
    return sse__fnv1a(SSE__FNV1A_INIT, row->text, row->len) == *tag;
}

/* ---- Taking ---- */

typedef enum taken {
    TAKEN,
    MUST_READ, /* it is not of this log, or not whole                        */
    HAS_GAP,   /* rows in front of it have not come                          */
    REMOVED    /* the stream, and with it the mirror                         */
} taken;

static bool differs(const sse__tail *t, uint64_t seq, uint32_t tag)
{
    uint32_t ours;

    return sse__log_get_tag(&t->stream->log, seq, &ours) && ours != tag;
}

static taken take_rows(sse__tail *t, message *m)
{
    sse__log *log = &t->stream->log;
    sse__text row;
    uint32_t  tag;

    for (uint64_t seq = m->first; m->at < m->end; seq++) {
        if (!take_line(m, &row, &tag))
            return MUST_READ;
        if (seq < log->next_seq) {
            if (differs(t, seq, tag))
                return MUST_READ;
        } else if (!sse__tail_add_row(t, row.text, row.len, tag)) {
            return MUST_READ;
        }
    }
    return TAKEN;
}

static taken take(sse__tail *t, const char *text, size_t len)
{
    sse__stream *s = t->stream;
    message      m;
    taken        what;

    if (len == 7 && memcmp(text, "removed", 7) == 0) {
        sse__stream_remove(s);
        return REMOVED;
    }
    if (!take_head(&m, text, len)) {
        t->describe = t->again = true;
        return TAKEN;
    }
    if (m.first > s->log.next_seq)
        return HAS_GAP;
    if (m.before_known && differs(t, m.first - 1, m.before))
        return MUST_READ;
    what = take_rows(t, &m);
    sse__tail_set_whole(t);
    sse__mirror_added(s);
    if (what == TAKEN && m.state.len > 0)
        sse__mirror_end(s, sse__state_of(m.state));
    return what;
}

bool sse__tail_stands_at(const sse__tail *t, uint64_t seq, uint32_t tag,
                         bool known)
{
    const sse__stream *s = t->stream;
    uint32_t           ours;

    if (!s || s->gone || s->state != SSE_STATE_ACTIVE ||
        s->log.next_seq != seq + 1)
        return false;
    if (!known)
        return seq == 0;
    return sse__log_get_tag(&s->log, seq, &ours) && ours == tag;
}

/* ---- Keeping ---- */

void sse__tail_drop_kept(sse__tail *t)
{
    sse__tails_of(t->engine)->kept_bytes -= t->kept.len;
    sse__buf_free(&t->kept);
    t->kept.max = SIZE_MAX;
    t->overflow = false;
}

/* What cannot be kept is read. */
static void keep(sse__tail *t, const char *text, size_t len)
{
    sse__tails *all = sse__tails_of(t->engine);
    size_t      size = sizeof(len) + len;

    if (t->overflow)
        return;
    if (t->kept.len + size > KEPT_BYTES ||
        all->kept_bytes + size > KEPT_BYTES_ALL ||
        sse__buf_reserve(&t->kept, size) < 0) {
        sse__tail_drop_kept(t);
        t->overflow = true;
        return;
    }
    (void)sse__buf_add(&t->kept, &len, sizeof(len));
    (void)sse__buf_add(&t->kept, text, len);
    all->kept_bytes += size;
}

/* Those behind one that must be read are of no use: the read brings more. */
bool sse__tail_take_kept(sse__tail *t)
{
    size_t at = 0, len;
    taken  what = t->overflow ? MUST_READ : TAKEN;

    while (what == TAKEN && at < t->kept.len) {
        memcpy(&len, t->kept.data + at, sizeof(len));
        at += sizeof(len);
        what = take(t, t->kept.data + at, len);
        at += len;
    }
    t->engine->counters.gaps += what == HAS_GAP;
    sse__tail_drop_kept(t);
    return what == TAKEN || what == REMOVED;
}

void sse__tail_message(sse__tail *t, const char *text, size_t len)
{
    taken what;

    t->heard = true;
    if (t->phase == SSE__TAIL_JOINING) {
        keep(t, text, len);
        return;
    }
    if (t->phase != SSE__TAIL_LIVE || !t->stream)
        return;
    what = take(t, text, len);
    if (what == MUST_READ || what == HAS_GAP) {
        t->engine->counters.gaps += what == HAS_GAP;
        sse__tail_rejoin(t);
        if (what == HAS_GAP)
            keep(t, text, len);
    }
    sse__tail_go_on(t);
}
