/* How long the loop lets more come before it looks again, while much comes.
 *
 * A broker in full flow sends a few messages at a time, and each time wakes the host, which wakes a worker,
 * which wakes the host: half of what a small message costs is that. Where messages come quickly the loop
 * therefore sleeps a moment between its turns, as network cards do between their interrupts, and takes what
 * has come together. It never sleeps where that would hold anything up: not while messages come one by one,
 * and never so long that more could come than a small share of what the prefetch lets the broker send. */
#ifndef HOST_GATHER_H
#define HOST_GATHER_H

#include "common/clock.h"

#include <stdint.h>

#define GATHER_MOST_NS (300 * INT64_C(1000))
#define GATHER_LOOK_NS (10 * CLOCK_NS_PER_MS) /* how often it is reckoned anew */

enum {
    GATHER_WORTH = 12,          /* fewer messages are not slept for */
    GATHER_PREFETCH_SHARE = 16, /* no more than this part of the prefetch may come meanwhile: a 16th */
};

/* What came in a while. */
struct gather {
    int64_t while_ns;
    uint64_t messages;
    int64_t most_ns;
};

/* `while_ns` is more than 0. */
void gather_begin(struct gather *gather, int64_t while_ns);

/* Of one consumer, whose prefetch is more than 0. */
void gather_add(struct gather *gather, uint64_t messages, unsigned prefetch);

/* How long to sleep, 0 for not at all. */
int64_t gather_pause_ns(const struct gather *gather);

#endif
