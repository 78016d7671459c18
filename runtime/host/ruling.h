/* What a worker's result means for its message: the verdict table of the handler contract, in one place.
 * Pure.
 *
 * A failure is tried again after a wait, at most retry.attempts deliveries of one message; after the last it
 * is given up: a dead letter, or where there is no queue for those a reject. */
#ifndef HOST_RULING_H
#define HOST_RULING_H

#include "common/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum ruling_kind {
    RULING_ACK,
    RULING_RETRY,   /* later */
    RULING_REQUEUE, /* at once, by the broker */
    RULING_GIVE_UP,
};

struct ruling {
    enum ruling_kind kind;
    bool by_choice;      /* the handler refuses the message: nothing is wrong */
    const char *reason;  /* why it is given up, one word for people and programs; valid with RULING_GIVE_UP */
    const char *message; /* for the log; NULL: not worth a line */
};

/* "ack", "out_of_memory", ...: as status and metrics name it. */
const char *ruling_verdict_name(enum wire_verdict verdict);

struct ruling ruling_for_result(enum wire_verdict verdict, uint32_t attempt, unsigned attempts);

/* For a message whose worker died at it. */
struct ruling ruling_for_crash(uint32_t attempt, unsigned attempts);

/* For one whose handler succeeded, and what it published was not taken. */
struct ruling ruling_for_unpublished(uint32_t attempt, unsigned attempts);

/* For a body over limits.message. */
struct ruling ruling_for_oversized(void);

#endif
