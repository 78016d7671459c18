/* The states that a consumer's workers exchanged for new ones: counted by reason, and told in the log, at
 * most one a second. */
#ifndef HOST_RECYCLES_H
#define HOST_RECYCLES_H

#include "common/wire.h"
#include "host/config.h"
#include "host/limiter.h"

#include <stdint.h>

struct recycles {
    uint64_t counts[WIRE_RECYCLE_REASONS]; /* by enum wire_recycle_reason */
    struct limiter lines;
};

void recycles_init(struct recycles *recycles);

/* Takes what the worker in this place told. */
void recycles_add(struct recycles *recycles, const struct consumer_config *config, unsigned lane,
                  const struct wire_recycled *recycled);

uint64_t recycles_total(const struct recycles *recycles);

/* "messages", "memory", ...: as logs and metrics name it. */
const char *recycles_reason(enum wire_recycle_reason reason);

#endif
