/* Waits, steps and names of delay queues; see retry.h. */
#include "host/retry.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

int64_t retry_wait_ns(const struct retry_policy *policy, uint32_t attempt, double random)
{
    double most = (double)policy->max_delay_ns;
    double wait = (double)policy->delay_ns * pow(policy->factor, (double)attempt - 1);
    if (!(wait < most))
        wait = most;
    wait *= 1 + policy->jitter * (random - 0.5);
    return wait < most ? (int64_t)wait : policy->max_delay_ns;
}

int64_t retry_chosen_wait_ns(const struct retry_policy *policy, uint32_t attempt, int64_t named_ns,
                             double random)
{
    if (named_ns < 0)
        return retry_wait_ns(policy, attempt, random);
    return named_ns < RETRY_WAIT_MAX_NS ? named_ns : RETRY_WAIT_MAX_NS;
}

int64_t retry_step_ms(int64_t wait_ms)
{
    int64_t step = RETRY_FIRST_STEP_MS;
    while (step < wait_ms)
        step += step * RETRY_STEP_PERCENT / 100;
    return step;
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash;
}

size_t retry_queue_prefix(const char *queue, char to[RETRY_QUEUE_NAME_MAX])
{
    enum {
        WHOLE_MAX = 230,
        CUT_TO = 200
    }; /* what is left takes ".retry." and a step, or a hash before them */
    int size = strlen(queue) <= WHOLE_MAX ? snprintf(to, RETRY_QUEUE_NAME_MAX, "%s.retry.", queue)
                                          : snprintf(to, RETRY_QUEUE_NAME_MAX, "%.*s~%016" PRIx64 ".retry.",
                                                     CUT_TO, queue, hash_of(queue));
    return (size_t)size;
}

void retry_queue_name(const char *queue, int64_t step_ms, char to[RETRY_QUEUE_NAME_MAX])
{
    size_t size = retry_queue_prefix(queue, to);
    (void)snprintf(to + size, RETRY_QUEUE_NAME_MAX - size, "%" PRId64, step_ms);
}
