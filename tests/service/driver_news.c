/* SPDX-License-Identifier: MIT */
/* driver_news.c - news as lines of JSON. */
#include <string.h>

#include "driver.h"

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = {"none", "open",  "event", "comment",
                                        "gap",  "state", "retry", "error",
                                        "end",  "token", "decide"};

    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {"idle",    "connecting", "open",
                                        "waiting", "offline",    "suspended",
                                        "ended"};

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

static const char *gap_name(uint32_t gap)
{
    static const char *const names[] = {"trimmed",  "expired", "lagged",
                                        "diverged", "other",   "unannounced"};

    return gap < sizeof(names) / sizeof(names[0]) ? names[gap] : "unknown";
}

static void add_word(text *out, const char *member, const char *word)
{
    text_add_member(out, member, word, strlen(word));
}

static void add_trouble(text *out, const sse_news *news)
{
    add_word(out, "cause", sse_cause_name((int)news->cause));
    text_add_count(out, "status", news->status);
    text_add_member(out, "detail", news->detail, news->detail_len);
}

/* The members that hold for a kind. */
static void add_members(text *out, const sse_news *news)
{
    switch (news->kind) {
    case SSE_NEWS_OPEN: text_add_count(out, "status", news->status); break;
    case SSE_NEWS_EVENT:
        text_add_member(out, "type", news->type, news->type_len);
        text_add_member(out, "data", news->data, news->data_len);
        text_add_member(out, "id", news->id, news->id_len);
        break;
    case SSE_NEWS_COMMENT:
        text_add_member(out, "data", news->data, news->data_len);
        break;
    case SSE_NEWS_GAP:
        text_add_count(out, "from", news->from_seq);
        text_add_count(out, "to", news->to_seq);
        text_add_count(out, "missed", news->missed);
        add_word(out, "gap", gap_name(news->gap));
        break;
    case SSE_NEWS_STATE: add_word(out, "state", state_name(news->state)); break;
    case SSE_NEWS_RETRY: text_add_count(out, "delay_ms", news->delay_ms); break;
    case SSE_NEWS_ERROR:
        text_add_member(out, "data", news->data, news->data_len);
        add_trouble(out, news);
        break;
    case SSE_NEWS_DECIDE:
        text_add_count(out, "decision", news->decision);
        add_trouble(out, news);
        break;
    case SSE_NEWS_END: add_trouble(out, news); break;
    case SSE_NEWS_TOKEN: text_add_count(out, "status", news->status); break;
    default: break;
    }
}

void driver_write_news(text *out, int number, const sse_news *news)
{
    text_add_str(out, "{\"client\":");
    text_add_number(out, number);
    add_word(out, "kind", kind_name(news->kind));
    add_members(out, news);
    text_add_str(out, "}\n");
}

void driver_add_hex(text *out, const char *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)data[i];

        text_add(out, &digits[byte >> 4], 1);
        text_add(out, &digits[byte & 15], 1);
    }
}

static int digit(char c)
{
    const char *digits = "0123456789abcdef", *at = strchr(digits, c);

    return c && at ? (int)(at - digits) : -1;
}

int driver_read_hex(text *out, const char *digits)
{
    for (; *digits; digits += 2) {
        int  high = digit(digits[0]), low = high < 0 ? -1 : digit(digits[1]);
        char byte = (char)(high * 16 + low);

        if (low < 0)
            return -1;
        text_add(out, &byte, 1);
    }
    return 0;
}
