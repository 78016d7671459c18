/* What the broker says of the consumers' queues and of their dead letters: how many messages there are, and
 * how many consume them. Asked by passive declares, one at a time, on the spare channel of the consuming
 * connection: a queue that is not there makes the broker close the channel, which must be nobody else's, and
 * the publishing connection is the one that the broker blocks. A queue that is not there is asked for again
 * only after some minutes, or when a dead letter has been moved there: each such question is an error in the
 * broker's log. */
#ifndef HOST_PROBE_H
#define HOST_PROBE_H

#include "host/broker.h"

#include <stdbool.h>
#include <stdint.h>

struct program;

enum { PROBE_NAME_MAX = 256 }; /* with its NUL */

enum probe_state { PROBE_DOWN, PROBE_OPENING, PROBE_IDLE, PROBE_ASKING };

struct probe {
    struct program *program;
    uint16_t channel; /* 0: there is none to be had */
    enum probe_state state;
    unsigned next;              /* question of the round; see probe.c */
    char asked[PROBE_NAME_MAX]; /* valid while asking */
};

void probe_init(struct probe *probe, struct program *program);

/* Begins a round, unless one is still going on. */
void probe_begin(struct probe *probe);

#endif
