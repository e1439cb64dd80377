/* SPDX-License-Identifier: MIT */
/* random.h - SplitMix64 (Steele, Lea, Flood 2014): for ids and jitter, not for
 * secrets. The state is the caller's, and any number is a good seed. */
#ifndef SSE_CORE_RANDOM_H
#define SSE_CORE_RANDOM_H

#include <stdint.h>

uint64_t sse__random_next(uint64_t *state);

#endif
