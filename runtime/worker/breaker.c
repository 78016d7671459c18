/* Circuit breakers; see breaker.h. */
#include "worker/breaker.h"

bool breaker_admit(struct breaker *breaker, unsigned most, int64_t now_ns)
{
    if (most == 0 || breaker->failures < most)
        return true;
    if (breaker->probing || now_ns < breaker->open_until_ns)
        return false;
    breaker->probing = true;
    return true;
}

void breaker_succeed(struct breaker *breaker)
{
    breaker->failures = 0;
    breaker->probing = false;
}

void breaker_fail(struct breaker *breaker, int64_t now_ns, int64_t pause_ns)
{
    if (breaker->failures < UINT32_MAX)
        breaker->failures++;
    breaker->open_until_ns = now_ns + pause_ns;
    breaker->probing = false;
}

void breaker_leave(struct breaker *breaker)
{
    breaker->probing = false;
}
