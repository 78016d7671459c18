/* What the unit tests of pure modules share: cmocka with what it needs in front of it, bytes whose end is the
 * end of their memory (so that AddressSanitizer sees the first byte read past it), random numbers that are
 * the same in every run, and refusals of memory that do not end a sanitized program. */
#ifndef SPEC_UNIT_TOOLS_H
#define SPEC_UNIT_TOOLS_H

#include "common/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define INIT_BYTES(literal)                                                                                  \
    {                                                                                                        \
        .data = (literal), .size = sizeof(literal) - 1                                                       \
    }
#define BYTES(literal)        ((struct slice)INIT_BYTES(literal))
#define assert_text(is, text) assert_string_equal((is), (text))
#define assert_contains(text, part)                                                                          \
    do {                                                                                                     \
        if (!strstr((text), (part)))                                                                         \
            fail_msg("\"%s\" does not contain \"%s\"", (text), (part));                                      \
    } while (0)
#define assert_slice(slice, text) assert_bytes((slice), BYTES(text))

static inline void assert_bytes(struct slice is, struct slice wanted)
{
    assert_int_equal(is.size, wanted.size);
    if (wanted.size > 0)
        assert_memory_equal(is.data, wanted.data, wanted.size);
}

/* A copy that ends where its memory ends; the caller frees. */
static inline char *exact_copy(const void *bytes, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

/* xorshift64*: plain, fast, and good enough to choose cases. */
struct random {
    uint64_t state; /* not 0 */
};

static inline uint64_t random_next(struct random *random)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return random->state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline unsigned random_below(struct random *random, unsigned bound)
{
    return (unsigned)((random_next(random) >> 32) % bound);
}

static inline bool random_one_in(struct random *random, unsigned bound)
{
    return random_below(random, bound) == 0;
}

#endif
