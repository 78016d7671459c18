/* Dead letters as JSON, for other programs. Pure. */
#ifndef HOST_DEAD_JSON_H
#define HOST_DEAD_JSON_H

#include "common/buffer.h"
#include "common/fields.h"
#include "host/dead/dead_letter.h"

#include <stdbool.h>

/* Appends one object and a line feed. `whole`: with properties, headers and body: "body" where it is UTF-8,
 * else "body_base64". Failure is the buffer's `failed`. */
void json_put_letter(struct buffer *to, const struct dead_letter *letter, bool whole);

/* A field as a JSON value. Texts that are no UTF-8 have U+FFFD where it is broken; what nests too deep is
 * null. */
void json_put_field(struct buffer *to, const struct field *field);

#endif
