/* Buckets of durations; see histogram.h. */
#include "host/histogram.h"

#include "common/clock.h"

#define US (CLOCK_NS_PER_MS / 1000)
#define MS CLOCK_NS_PER_MS
#define S  CLOCK_NS_PER_SECOND

static const int64_t longest_ns = 86400 * CLOCK_NS_PER_SECOND;

const int64_t histogram_bounds_ns[HISTOGRAM_BOUNDS] = {
    10 * US, 25 * US, 50 * US,  100 * US, 250 * US, 500 * US, 1 * MS,           2500 * US, 5 * MS, 10 * MS,
    25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, 1 * S,    2 * S + 500 * MS, 5 * S,     10 * S, 30 * S,
};

void histogram_add(struct histogram *histogram, int64_t elapsed_ns)
{
    unsigned bucket = 0;
    if (elapsed_ns < 0)
        elapsed_ns = 0;
    if (elapsed_ns > longest_ns)
        elapsed_ns = longest_ns;
    while (bucket < HISTOGRAM_BOUNDS && elapsed_ns > histogram_bounds_ns[bucket])
        bucket++;
    histogram->counts[bucket]++;
    histogram->count++;
    histogram->sum_ns += (uint64_t)elapsed_ns;
}
