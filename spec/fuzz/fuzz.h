/* What the fuzz targets share. Each is one function, called with any bytes at all: by libFuzzer, which makes
 * them up (`make fuzz`), and by replay.c, which is part of `make test`. Beyond what the sanitizers see a
 * target says by MUST what holds for whatever bytes came. */
#ifndef SPEC_FUZZ_FUZZ_H
#define SPEC_FUZZ_FUZZ_H

#include "common/buffer.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);             \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline struct slice fuzz_input(const uint8_t *data, size_t size)
{
    return (struct slice){ .data = (const char *)data, .size = size };
}

/* The bytes with a NUL behind them; the caller frees. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    MUST(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

#endif
