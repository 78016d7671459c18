/* A message as a line of NDJSON, in the form that `moonrabbit replay` reads (runtime/doc/testing.md): what a
 * handler would be given of it, byte for byte. A text that JSON cannot hold stands as base64, under its name
 * with _base64 behind it; so do headers, whole, as an AMQP table. Pure.
 *
 * A body is written piece by piece, so that a large one needs no second copy of itself. */
#ifndef HOST_CAPTURE_LINE_H
#define HOST_CAPTURE_LINE_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINE_PIECE_BYTES = 48 * 1024 }; /* of a body; base64 takes bytes by three */

struct line_message {
    struct slice attributes; /* as in WIRE_DELIVER */
    struct slice body;
    bool redelivered;
    uint32_t attempt;
};

struct line {
    struct slice rest; /* of the body; borrowed */
    bool plain;        /* it is a text that people write */
    bool ended;
};

/* Appends everything up to the body. */
void line_begin(struct line *line, const struct line_message *message, struct buffer *to);

/* Appends the next piece of the body, or the end of the line; false where it has ended before. */
bool line_next(struct line *line, struct buffer *to);

#endif
