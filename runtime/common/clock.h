/* Time: monotonic nanoseconds in int64_t, which is what every `_ns` in the program means. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_MS     INT64_C(1000000)
#define CLOCK_NS_PER_SECOND INT64_C(1000000000)

/* The monotonic clock now; never fails on Linux and costs no system call there (vDSO). Async-signal-safe. */
static inline int64_t clock_now_ns(void)
{
    struct timespec now = { 0 };
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * CLOCK_NS_PER_SECOND + now.tv_nsec;
}

/* Processor time of this thread: other processes that the machine is busy with are not its doing. A system
 * call.
 */
static inline int64_t clock_cpu_ns(void)
{
    struct timespec now = { 0 };
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * CLOCK_NS_PER_SECOND + now.tv_nsec;
}

#endif
