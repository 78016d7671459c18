/* The command `capture`: real messages as lines that `moonrabbit replay` reads.
 *
 * Those of a queue stay there: each is taken and not acked, and at the end all are handed back to their
 * places, however that end comes about: what was not handed back goes back with the connection. Or an
 * exchange is tapped, and no queue but one of our own is touched. Of the messages nothing is kept but the one
 * at hand. */
#ifndef HOST_CAPTURE_CAPTURE_H
#define HOST_CAPTURE_CAPTURE_H

#include "host/config.h"
#include "host/session.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CAPTURE_QUEUE_MAX = SESSION_RUN_MAX, /* they are out of the queue meanwhile */
    CAPTURE_TAP_MAX = 100000000,
};

struct capture_order {
    const char *queue;    /* NULL: the exchange is meant */
    const char *exchange; /* NULL: the queue is meant */
    const char *routing_key;
    uint32_t max;       /* so many messages at the most */
    const char *output; /* NULL or "-": standard output */
    bool json;          /* the summary as one JSON object */
};

/* Does it, and says what came of it: on standard output where the messages go elsewhere, else on standard
 * error. Returns the exit code. */
int capture_run(const struct broker_config *config, const struct capture_order *order);

#endif
