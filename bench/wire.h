/* SPDX-License-Identifier: MIT */
/* The bytes a reader checks: what a published event says about itself, the
 * chunks of a body, the events of a stream. No I/O. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- What an event holds ------------------------------------------------ */

/* "p03 n0007 s00000042 l00124 " and then filling that depends on the number:
 * a lost, doubled, strayed or damaged event shows in the event itself. */
enum { PAYLOAD_HEAD = 27, PAYLOAD_MAX = 65535, FILLING_PERIOD = 61 };

struct payload {
    unsigned publisher;
    unsigned stream;
    uint32_t seq; /* counts per publisher and stream, from 0 */
};

static inline const char *filling(uint32_t seq)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz012345678";
    static char made[PAYLOAD_MAX + FILLING_PERIOD];

    if (made[0] == '\0')
        for (size_t i = 0; i < sizeof(made); i++)
            made[i] = letters[i % FILLING_PERIOD];
    return made + seq % FILLING_PERIOD;
}

static inline void payload_write(char *out, size_t len, struct payload p)
{
    char head[64];

    snprintf(head, sizeof(head), "p%02u n%04u s%08u l%05u ", p.publisher % 100,
             p.stream % 10000, p.seq % 100000000, (unsigned)len % 100000);
    memcpy(out, head, PAYLOAD_HEAD);
    memcpy(out + PAYLOAD_HEAD, filling(p.seq), len - PAYLOAD_HEAD);
}

/* Reads `digits` digits that follow the letter `name`. */
static inline bool take_number(const char **p, char name, int digits,
                               uint32_t *out)
{
    const char *s = *p;

    if (*s++ != name)
        return false;
    *out = 0;
    for (int i = 0; i < digits; i++, s++) {
        if (*s < '0' || *s > '9')
            return false;
        *out = *out * 10 + (uint32_t)(*s - '0');
    }
    *p = s + 1;
    return *s == ' ';
}

/* False when the event is not, byte for byte, one that was published. */
static inline bool payload_read(const char *data, size_t len,
                                struct payload *out)
{
    const char *p = data;
    uint32_t    said_len;

    return len >= PAYLOAD_HEAD && len <= PAYLOAD_MAX &&
           take_number(&p, 'p', 2, &out->publisher) &&
           take_number(&p, 'n', 4, &out->stream) &&
           take_number(&p, 's', 8, &out->seq) &&
           take_number(&p, 'l', 5, &said_len) && said_len == len &&
           memcmp(p, filling(out->seq), len - PAYLOAD_HEAD) == 0;
}

/* ---- Chunked bodies ----------------------------------------------------- */

struct chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_LAST } state;
    size_t left;  /* of this chunk's data */
    bool   digit; /* this size line has had a digit */
};

static inline int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline bool chunk_size_byte(struct chunks *c, char byte)
{
    int digit = hex_value(byte);

    if (byte == '\n') {
        if (!c->digit)
            return false;
        c->state = c->left > 0 ? CHUNK_DATA : CHUNK_LAST;
        c->digit = false;
    } else if (digit >= 0) {
        c->left = c->left * 16 + (size_t)digit;
        c->digit = true;
    }
    return digit >= 0 || byte == '\n' || byte == '\r';
}

/* Takes the framing out of `p`, in place; false when it is no framing. After
 * the last chunk the state is CHUNK_LAST. */
static inline bool dechunk(struct chunks *c, char *p, size_t len, size_t *out)
{
    size_t used = 0, kept = 0;

    while (used < len && c->state != CHUNK_LAST) {
        if (c->state == CHUNK_DATA) {
            size_t n = c->left < len - used ? c->left : len - used;

            memmove(p + kept, p + used, n);
            kept += n;
            used += n;
            c->left -= n;
            if (c->left == 0)
                c->state = CHUNK_END;
        } else if (c->state == CHUNK_END) {
            if (p[used] == '\n')
                c->state = CHUNK_SIZE;
            else if (p[used] != '\r')
                return false;
            used++;
        } else if (!chunk_size_byte(c, p[used++])) {
            return false;
        }
    }
    *out = kept;
    return true;
}

/* ---- Events ------------------------------------------------------------- */

struct wire_event {
    const char *id, *data; /* NULL: the event has none */
    size_t      id_len, data_len;
    bool        strange; /* it has a type, or a field that is no field, or
                              its data in pieces: nothing that was published */
};

static inline const char *field_value(const char *line, const char *end,
                                      const char *name, size_t name_len)
{
    if ((size_t)(end - line) <= name_len || memcmp(line, name, name_len) != 0 ||
        line[name_len] != ':')
        return NULL;
    line += name_len + 1;
    return line < end && *line == ' ' ? line + 1 : line;
}

static inline void take_field(struct wire_event *ev, const char *line,
                              const char *end)
{
    const char *value;

    if ((value = field_value(line, end, "data", 4)) != NULL) {
        ev->strange |= ev->data != NULL;
        ev->data = value;
        ev->data_len = (size_t)(end - value);
    } else if ((value = field_value(line, end, "id", 2)) != NULL) {
        ev->id = value;
        ev->id_len = (size_t)(end - value);
    } else if (*line != ':' && field_value(line, end, "retry", 5) == NULL) {
        ev->strange = true;
    }
}

/* Reads the block of lines at `p`. Returns the bytes it took, or 0 when its
 * end has not come. The servers measured here end their lines with LF. */
static inline size_t wire_event_take(const char *p, size_t len,
                                     struct wire_event *out)
{
    const char *line = p, *stop = p + len, *end;

    memset(out, 0, sizeof(*out));
    while (line < stop &&
           (end = memchr(line, '\n', (size_t)(stop - line))) != NULL) {
        if (end == line)
            return (size_t)(end + 1 - p);
        take_field(out, line, end);
        line = end + 1;
    }
    return 0;
}

#endif
