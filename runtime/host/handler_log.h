/* The log lines that handlers write, in the program's log. */
#ifndef HOST_HANDLER_LOG_H
#define HOST_HANDLER_LOG_H

#include "common/buffer.h"
#include "common/log.h"

/* Writes the line that these attributes of a WIRE_LOG make: its fields are the handler's own, the consumer's
 * name, the worker's number (lane + 1) and how many lines were left out before it are ours. */
void handler_log_write(const char *consumer, unsigned lane, enum log_level level, uint64_t suppressed,
                       struct slice attributes);

#endif
