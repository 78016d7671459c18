/* The command line of `capture`: from where, how many messages, and where they go. Pure. */
#ifndef RUNTIME_CLI_CAPTURE_H
#define RUNTIME_CLI_CAPTURE_H

#include "common/buffer.h"
#include "host/capture/capture.h"

#include <stdbool.h>

/* Whether the command knows this option; `ret_takes_value` says whether the next word belongs to it. */
bool cli_capture_knows(const char *name, bool *ret_takes_value);

/* Takes an option that it knows; `value` is NULL where there was none. */
void cli_capture_take_option(struct capture_order *order, const char *name, const char *value,
                             struct buffer *problems);

/* All words are taken: whether they make sense together. */
void cli_capture_check(struct capture_order *order, struct buffer *problems);

#endif
