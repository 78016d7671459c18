/* What is published for a delivery before it is settled: the handler's messages, its move to a delay queue,
 * its move to the dead-letter queue. One for each delivery at a time, in the delivery's own memory
 * (ledger.h).
 *
 * An errand is parked until the queue that it goes to is declared, then posted to a publisher. When all of it
 * is confirmed the owner settles the delivery. A move that fails is tried again with backoff for as long as
 * it takes, since the message must not be lost: what cannot be moved keeps its place in the prefetch, and the
 * log says so. Only one that never fits into a frame is told to the owner. Messages of a handler that fail
 * are told to the owner, as a failure of the delivery. */
#ifndef HOST_ERRANDS_H
#define HOST_ERRANDS_H

#include "host/config.h"
#include "host/ledger.h"
#include "host/limiter.h"
#include "host/outlet.h"

#include <stdbool.h>
#include <stdint.h>

struct errands_events {
    void (*done)(void *owner, struct delivery *delivery); /* to be settled */
    /* The handler's messages were not taken; the delivery has no errand any more and is neither held nor
     * settled. */
    void (*failed)(void *owner, struct delivery *delivery, struct slice text);
    /* Its letter does not fit into a frame of this connection: as where errands_retry or errands_bury is
     * false. */
    void (*immovable)(void *owner, struct delivery *delivery, enum errand errand);
};

struct errands {
    struct outlet *outlet;
    struct ledger *ledger;
    const struct consumer_config *config; /* follows the consumer's */
    const struct errands_events *events;
    void *owner;
    const char *host; /* this machine's name */
    struct limiter complaints;
    int64_t look_ns; /* no parked errand is looked at before; 0: at the next turn */
    int64_t due_ns;  /* when one that was postponed is due; 0: one has begun since the last look */
};

/* Each takes a delivery that is held or dispatched, or publishing without an errand. False where it does not
 * fit into a frame of the broker, or memory is short: nothing was begun then. A dead letter that would not
 * fit is one without the message's own headers, and the delivery is marked as stripped. `content` is swapped
 * away. */
void errands_publish(struct errands *errands, struct delivery *delivery, struct buffer *content);
bool errands_retry(struct errands *errands, struct delivery *delivery, int64_t wait_ns);
bool errands_bury(struct errands *errands, struct delivery *delivery, const char *reason, struct slice error);

/* Posts what can be posted: looks at the parked ones only where one has begun, is due, or waits for an answer
 * of the broker. */
void errands_turn(struct errands *errands, int64_t now_ns);
/* When the loop should turn again for a parked errand; INT64_MAX where it need not. */
int64_t errands_due_ns(const struct errands *errands);

/* Gives up the errand of a delivery that is publishing. */
void errands_abandon(struct errands *errands, struct delivery *delivery);

/* Whether new work should wait: the consumer's own deliveries wait to be published, and nothing goes out. */
bool errands_are_stuck(const struct errands *errands);

#endif
