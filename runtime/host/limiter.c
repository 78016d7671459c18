/* A bound on log lines per second; see limiter.h. */
#include "host/limiter.h"

#include "common/clock.h"

bool limiter_pass(struct limiter *limiter, int64_t now_ns)
{
    if (limiter->passed == 0 || now_ns - limiter->window_ns >= CLOCK_NS_PER_SECOND) {
        limiter->window_ns = now_ns;
        limiter->passed = 0;
    }
    if (limiter->passed >= limiter->per_second) {
        limiter->held_back++;
        return false;
    }
    limiter->passed++;
    return true;
}

uint64_t limiter_take_held_back(struct limiter *limiter)
{
    uint64_t held_back = limiter->held_back;
    limiter->held_back = 0;
    return held_back;
}

uint64_t limiter_take_ended(struct limiter *limiter, int64_t now_ns)
{
    return now_ns - limiter->window_ns >= 2 * CLOCK_NS_PER_SECOND ? limiter_take_held_back(limiter) : 0;
}
