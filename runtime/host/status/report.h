/* All that the program knows of itself, as the JSON of /status; runtime/doc/monitoring.md has its members. */
#ifndef HOST_STATUS_REPORT_H
#define HOST_STATUS_REPORT_H

#include "common/buffer.h"

struct program;

void report_write(const struct program *program, struct buffer *to);

#endif
