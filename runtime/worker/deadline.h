/* The time limit of what runs in a Lua state: a message, or loading, setup and teardown.
 *
 * Arming it is one store; the worker's tick (tick.h) compares it with the clock and trips the state when it
 * is over (trip.h). What the trip does not reach is ended by the host, limits.grace later. Where the host
 * waits for nothing (it has all its answers, and teardown or loading spins in the exchange of states) the
 * worker ends itself, one more grace later. */
#ifndef WORKER_DEADLINE_H
#define WORKER_DEADLINE_H

#include "common/inherit.h"
#include "worker/trip.h"

#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

struct deadline {
    struct trip *trip;
    int64_t limit_ns;       /* limits.deadline; 0: none */
    int64_t grace_ns;       /* limits.grace; 0: the worker does not end itself */
    _Atomic int64_t due_ns; /* 0: nothing runs that it holds for */
};

static inline void deadline_begin(struct deadline *deadline, int64_t now_ns)
{
    if (deadline->limit_ns > 0)
        atomic_store_explicit(&deadline->due_ns, now_ns + deadline->limit_ns, memory_order_relaxed);
}

/* Afterwards no trip for time comes any more. */
static inline void deadline_end(struct deadline *deadline)
{
    atomic_store_explicit(&deadline->due_ns, 0, memory_order_relaxed);
}

/* Signal handler only: trips where the time is over, and again each time it is called then; ends the process
 * where that has not helped. */
static inline void deadline_look(struct deadline *deadline, int64_t now_ns)
{
    int64_t due_ns = atomic_load_explicit(&deadline->due_ns, memory_order_relaxed);
    if (!due_ns || now_ns < due_ns)
        return;
    trip_arm(deadline->trip, TRIP_TIME);
    if (deadline->grace_ns > 0 && now_ns - due_ns > 2 * deadline->grace_ns)
        _exit(WORKER_EXIT_OVERDUE);
}

#endif
