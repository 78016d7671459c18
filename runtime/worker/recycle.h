/* Recycling: when a state is exchanged for a new one between two messages, and doing it.
 *
 * A state is over after recycle.messages messages, when what is left of its heap after a full collection is
 * above recycle.memory, where small blocks are scattered (quota.h), after a trip, or when the host asks. A
 * full collection is only made when one of LuaJIT's own cycles has left more, or when the heap with its
 * garbage is above that by an eighth, and by a quarter above what the last cycle has left. It takes a
 * hundredth of the worker's time at the most, except where the heap has grown by a quarter of recycle.memory
 * since; and those while resting another. */
#ifndef WORKER_RECYCLE_H
#define WORKER_RECYCLE_H

#include "common/error.h"
#include "common/wire.h"
#include "worker/state.h"

#include <stdbool.h>
#include <stdint.h>

struct recycle {
    uint64_t messages;    /* that the state at hand has handled */
    int64_t opened_ns;    /* since when it has been at hand */
    int64_t next_look_ns; /* no full collection before this, */
    int64_t next_rest_ns; /* and none while resting before this */
    size_t rested;        /* bytes of the heap after the last one while resting; 0: of no state before */
    bool too_low; /* recycle.memory is below what the script needs from the start: it is not looked at */
};

/* The first state is loaded: recycle.memory is tried on it. Whether it is too low is in `too_low`. */
void recycle_start(struct recycle *recycle, struct state *state);

/* One message more is handled. Whether the state is over, and why; WIRE_RECYCLE_NONE where it is not. */
enum wire_recycle_reason recycle_after_message(struct recycle *recycle, struct state *state, int64_t now_ns);

/* No message is under way, the worker is about to wait: collects where there is much to collect. When to come
 * again, where it is too soon for that; INT64_MAX: not before another message. */
int64_t recycle_rest(struct recycle *recycle, struct state *state);

/* Teardown (not after a trip), and a new state with the script loaded; false with error where that fails.
 * Fills `told` for the host. Who asks is told what lived in the old state: full collections go before. */
bool recycle_run(struct recycle *recycle, struct state *state, enum wire_recycle_reason reason,
                 struct wire_recycled *told, struct error *error);

#endif
