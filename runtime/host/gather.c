/* Reckoning how long to let more messages come; see gather.h. */
#include "host/gather.h"

void gather_begin(struct gather *gather, int64_t while_ns)
{
    *gather = (struct gather){ .while_ns = while_ns, .most_ns = GATHER_MOST_NS };
}

void gather_add(struct gather *gather, uint64_t messages, unsigned prefetch)
{
    if (messages == 0)
        return;
    double between_ns = (double)gather->while_ns / (double)messages;
    double most_ns = between_ns * prefetch / GATHER_PREFETCH_SHARE;
    if (most_ns < (double)gather->most_ns)
        gather->most_ns = (int64_t)most_ns;
    gather->messages += messages;
}

int64_t gather_pause_ns(const struct gather *gather)
{
    double would_come = (double)gather->messages * (double)gather->most_ns / (double)gather->while_ns;
    return would_come >= GATHER_WORTH ? gather->most_ns : 0;
}
