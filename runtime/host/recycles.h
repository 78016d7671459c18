/* The states that a consumer's workers exchanged for new ones: counted by reason, the last of them kept,
 * and told in the log, at most one a second. */
#ifndef HOST_RECYCLES_H
#define HOST_RECYCLES_H

#include "common/wire.h"
#include "host/config.h"
#include "host/histogram.h"
#include "host/limiter.h"

#include <stdint.h>

enum { RECYCLES_KEPT = 16 };

struct recycle_event {
    int64_t time_ns; /* monotonic */
    unsigned lane;
    struct wire_recycled told;
};

struct recycles {
    uint64_t counts[WIRE_RECYCLE_REASONS]; /* by enum wire_recycle_reason */
    uint64_t total;
    struct histogram pauses;
    struct recycle_event recent[RECYCLES_KEPT]; /* the next goes to `total` modulo their number */
    struct limiter lines;
};

void recycles_init(struct recycles *recycles);

/* Takes what the worker in this place told. */
void recycles_add(struct recycles *recycles, const struct consumer_config *config, unsigned lane,
                  const struct wire_recycled *recycled);

/* The one that was told so many before the last (0: the last); NULL where it is not kept. */
const struct recycle_event *recycles_recent(const struct recycles *recycles, unsigned before);

/* "messages", "memory", ...: as logs and metrics name it. */
const char *recycles_reason(enum wire_recycle_reason reason);

#endif
