/* One dead letter in full, for people: what is known of it, its properties, its headers, its body. */
#ifndef HOST_DEAD_SHOW_H
#define HOST_DEAD_SHOW_H

#include "common/buffer.h"
#include "host/dead/dead_letter.h"

#include <stdint.h>

enum { SHOW_BODY_MAX = 4096 }; /* bytes of the body that are shown */

/* Appends the page; `now`: seconds since 1970. Failure is the buffer's `failed`. */
void show_put_letter(struct buffer *to, const struct dead_letter *letter, int64_t now);

#endif
