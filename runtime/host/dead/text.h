/* Texts of strangers, times and ages as they are printed. What could move a terminal's cursor, and what is no
 * UTF-8, becomes \x and two digits. Failure is the buffer's `failed`. Pure. */
#ifndef HOST_DEAD_TEXT_H
#define HOST_DEAD_TEXT_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* On one line, or where `lines` says so with its line feeds and tabs. */
void text_put(struct buffer *to, struct slice text, bool lines);

/* Up to its first line feed. */
struct slice text_first_line(struct slice text);

/* How many columns it takes: a character each. */
size_t text_width(struct slice text);

/* How many of its bytes fit in so many columns. */
size_t text_bytes_in(struct slice text, size_t width);

void text_put_age(struct buffer *to, int64_t seconds);  /* "12m"; nothing where negative */
void text_put_time(struct buffer *to, int64_t seconds); /* "2026-11-24T10:00:00Z" */

#endif
