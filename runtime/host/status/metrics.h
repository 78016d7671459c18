/* The text of /metrics; runtime/doc/monitoring.md has its families. Labels are consumer, queue, worker,
 * verdict and reason, whose values the configuration or this program bounds. */
#ifndef HOST_STATUS_METRICS_H
#define HOST_STATUS_METRICS_H

#include "common/buffer.h"

struct program;

void metrics_write(const struct program *program, struct buffer *to);

#endif
