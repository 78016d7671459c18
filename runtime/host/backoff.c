/* Exponential backoff with jitter; see backoff.h. */
#include "host/backoff.h"

#include <stdlib.h>
#include <sys/random.h>

double backoff_random_share(void)
{
    uint32_t bits = 0;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits)
        bits = UINT32_MAX / 2;
    return (double)bits / (double)UINT32_MAX;
}

int64_t backoff_next_ns(struct backoff *backoff)
{
    int64_t step = backoff->least_ns;
    for (unsigned i = 0; i < backoff->failures && step < backoff->most_ns; i++)
        step = step > backoff->most_ns / 2 ? backoff->most_ns : step * 2;
    if (step > backoff->most_ns)
        step = backoff->most_ns;
    if (backoff->failures < 1000)
        backoff->failures++;
    int64_t half = step / 2;
    return half + (int64_t)((double)half * backoff_random_share());
}

void backoff_reset(struct backoff *backoff)
{
    backoff->failures = 0;
}

void backoff_lasted(struct backoff *backoff, int64_t lasted_ns)
{
    if (lasted_ns > BACKOFF_PROVED_NS)
        backoff_reset(backoff);
}
