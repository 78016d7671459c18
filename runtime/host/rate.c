/* A rate of messages; see rate.h. */
#include "host/rate.h"

void rate_set(struct rate *rate, int64_t interval_ns, int64_t now_ns)
{
    int64_t owed_ns = rate->next_ns > now_ns ? rate->next_ns - now_ns : 0;
    double owed = rate->interval_ns > 0 ? (double)owed_ns / (double)rate->interval_ns : 0;
    rate->next_ns = now_ns + (int64_t)(owed * (double)interval_ns);
    rate->interval_ns = interval_ns;
}

int64_t rate_due_ns(const struct rate *rate)
{
    if (rate->interval_ns == 0)
        return INT64_MIN;
    int64_t saved_ns = RATE_BURST_NS - rate->interval_ns;
    return saved_ns > 0 ? rate->next_ns - saved_ns : rate->next_ns;
}

bool rate_take(struct rate *rate, int64_t now_ns)
{
    if (now_ns < rate_due_ns(rate))
        return false;
    rate->next_ns = (rate->next_ns > now_ns ? rate->next_ns : now_ns) + rate->interval_ns;
    return true;
}

void rate_return(struct rate *rate)
{
    rate->next_ns -= rate->interval_ns;
}
