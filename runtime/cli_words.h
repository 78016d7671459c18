/* What the command lines of all commands share: problems in words, and numbers. Pure. */
#ifndef RUNTIME_CLI_WORDS_H
#define RUNTIME_CLI_WORDS_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum { CLI_NAME_BYTES_MAX = 255 }; /* of a queue, an exchange or a routing key */

/* Adds a problem: a line, with a password in `word` hidden. Returns false. */
bool cli_complain(struct buffer *problems, const char *before, const char *word, const char *after);

/* Reads a whole number from 1 to `most` into *ret_count, or complains that `option` has none. */
void cli_take_count(const char *option, const char *value, uint32_t most, uint32_t *ret_count,
                    struct buffer *problems);

#endif
