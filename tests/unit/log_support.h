/* SPDX-License-Identifier: MIT */
/* log_support.h - logs with events whose bytes follow from their numbers. */
#ifndef LOG_SUPPORT_H
#define LOG_SUPPORT_H

#include "log.h"

/* Appends one event, as the hub does it. */
void log_fill(sse__log *log, size_t len, int64_t now_ms);
void log_fill_many(sse__log *log, int count, size_t len);

void   log_unpin(sse__span *spans, uint32_t n);
size_t log_bytes_of(const sse__span *spans, uint32_t n);
void   log_copy_of(char *out, const sse__span *spans, uint32_t n);
void   log_assert_copy(const char *copy, const sse__span *spans, uint32_t n);

#endif
