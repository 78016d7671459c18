/* What came of a delivery, told to the host. */
#ifndef WORKER_RESULT_H
#define WORKER_RESULT_H

#include "worker/message.h"
#include "worker/state.h"
#include "worker/verdict.h"

#include <stdint.h>

/* The result, behind what a message that succeeded has published: all that is in the state's outbox, which is
 * empty then. */
void result_send(struct state *state, const struct wire_deliver *deliver, const struct outcome *outcome,
                 int64_t elapsed_ns);

#endif
