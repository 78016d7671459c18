/* Telling texts that can be shown from bytes that cannot. Pure. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* How many bytes the character at `text` takes, of which `size` are there, at least one; 0 where it is broken
 * UTF-8. */
size_t utf8_length(const char *text, size_t size);

/* Whether all of the text is UTF-8. */
bool utf8_is_valid(struct slice text);

/* Whether it is a text that people write: UTF-8 without control characters but tab, line feed and carriage
 * return. */
bool utf8_is_plain(struct slice text);

/* Whether this character, of so many bytes, moves the cursor or worse: C0, DEL and C1. Its code is in
 * *ret_code. */
bool utf8_is_control(const char *text, size_t length, unsigned *ret_code);

enum { UTF8_QUOTED_MAX = 6 };

/* How this character, of so many bytes (0: it is broken UTF-8), stands inside a quoted text of JSON or
 * logfmt: a slice of itself, of `room`, or of a constant. No text can end the quotes or begin a line by it.
 */
struct slice utf8_quoted(const char *text, size_t length, char room[UTF8_QUOTED_MAX + 1]);

#endif
