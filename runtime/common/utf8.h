/* Telling texts that can be shown from bytes that cannot. Pure. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* How many bytes the character at `text` takes, of which `size` are there, at least one; 0 where it is broken
 * UTF-8. */
size_t utf8_length(const char *text, size_t size);

/* Whether this character, of so many bytes, moves the cursor or worse: C0, DEL and C1. Its code is in
 * *ret_code. */
bool utf8_is_control(const char *text, size_t length, unsigned *ret_code);

#endif
