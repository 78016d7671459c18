/* Bytes as text in JSON and back: base64 (RFC 4648). Pure. */
#ifndef COMMON_BASE64_H
#define COMMON_BASE64_H

#include "common/buffer.h"

#include <stdbool.h>

/* Appends the text of the bytes, padded. Failure is the buffer's `failed`. */
void base64_encode(struct slice bytes, struct buffer *to);

/* Appends the bytes of a text; blanks and line ends in it, and padding at its end, do not matter. False where
 * it is no base64, with some of it appended perhaps; or where the buffer failed. */
bool base64_decode(struct slice text, struct buffer *to);

#endif
