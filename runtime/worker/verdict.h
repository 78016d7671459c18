/* What a handler returned, as a verdict. Read raw: no metamethod of the script runs here. */
#ifndef WORKER_VERDICT_H
#define WORKER_VERDICT_H

#include "common/buffer.h"
#include "common/wire.h"
#include "worker/state.h"

#include <stdint.h>

struct outcome {
    enum wire_verdict verdict;
    int64_t delay_ns;  /* for WIRE_RETRY: -1 where the handler named none */
    struct slice text; /* reason or error; borrowed from the state's note until its next call */
};

/* Reads the two results on top of the stack; what is no verdict becomes WIRE_ERROR with a text that names it.
 */
void verdict_read(struct state *state, struct outcome *outcome);

#endif
