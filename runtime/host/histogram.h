/* How long things took, in buckets with fixed bounds: adding a measure is a few compares, and no call. Pure.
 */
#ifndef HOST_HISTOGRAM_H
#define HOST_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 20 };

extern const int64_t histogram_bounds_ns[HISTOGRAM_BOUNDS]; /* rising */

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* of measures up to each bound, but over the one before it; last:
                                              over all */
    uint64_t count;
    uint64_t sum_ns;
};

/* A negative measure counts as none, one of more than a day as a day: workers tell them, and may lie. */
void histogram_add(struct histogram *histogram, int64_t elapsed_ns);

#endif
