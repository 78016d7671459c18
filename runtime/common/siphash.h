/* SipHash-1-3: a keyed hash, so that who writes messages cannot choose keys that all fall into one bucket
 * (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012). Pure. */
#ifndef COMMON_SIPHASH_H
#define COMMON_SIPHASH_H

#include "common/buffer.h"

#include <stdint.h>

uint64_t siphash(const uint64_t seed[2], struct slice bytes);

#endif
