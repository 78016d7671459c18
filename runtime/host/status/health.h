/* Whether the program does what it is there for: connected, every consumer consuming, with a worker that
 * takes messages. */
#ifndef HOST_STATUS_HEALTH_H
#define HOST_STATUS_HEALTH_H

#include "common/buffer.h"

#include <stdbool.h>

struct program;

/* Appends "ready", or what is missing first; `to` may be NULL. */
bool health_is_ready(const struct program *program, struct buffer *to);

#endif
