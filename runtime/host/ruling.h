/* What a worker's result means for the broker: the verdict table of the handler contract, in one place. Pure.
 *
 * A failure is tried again by a requeue, at most retry.attempts deliveries of one message; the last is a
 * reject, which the broker drops or, where the queue has a dead-letter exchange, moves there. */
#ifndef HOST_RULING_H
#define HOST_RULING_H

#include "common/wire.h"
#include "host/ledger.h"

struct ruling {
    enum settlement_kind settlement;
    bool exhausted;      /* a failure that had no attempt left */
    bool by_choice;      /* the handler refuses the message: nothing is wrong */
    const char *message; /* for the log; NULL: not worth a line */
};

struct ruling ruling_for_result(enum wire_verdict verdict, uint32_t attempt, unsigned attempts);

/* For a message whose worker died at it. */
struct ruling ruling_for_crash(uint32_t attempt, unsigned attempts);

#endif
