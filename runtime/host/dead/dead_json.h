/* Dead letters as JSON, for other programs. Pure. */
#ifndef HOST_DEAD_DEAD_JSON_H
#define HOST_DEAD_DEAD_JSON_H

#include "common/buffer.h"
#include "host/dead/dead_letter.h"

#include <stdbool.h>

/* Appends one object and a line feed. `whole`: with properties, headers and body: "body" where it is UTF-8,
 * else "body_base64". Failure is the buffer's `failed`. */
void dead_json_put(struct buffer *to, const struct dead_letter *letter, bool whole);

#endif
