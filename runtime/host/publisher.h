/* A publishing channel in confirm mode: parcels go in, and each comes out when the broker has taken all of
 * it, or has not.
 *
 * A send never waits: nothing is sent while the broker blocks publishers, nor past the window of what is
 * unconfirmed (confirms.h), and the socket is asked before each piece. So a parcel may wait here; there is
 * one for each delivery at the most, and publisher_is_congested tells whoever hands out new work to stop.
 * After a lost connection or channel what was not confirmed is published again: at least once.
 *
 * An exchange that is not there makes the broker close the channel over one publication, without a word of
 * which. What was unconfirmed then goes one at a time until it is settled; the one that is alone when it
 * happens again is the culprit. */
#ifndef HOST_PUBLISHER_H
#define HOST_PUBLISHER_H

#include "host/backoff.h"
#include "host/broker.h"
#include "host/confirms.h"
#include "host/limiter.h"
#include "host/parcel.h"

#include <stdbool.h>
#include <stdint.h>

enum publisher_state {
    PUBLISHER_IDLE, /* no connection */
    PUBLISHER_OPENING,
    PUBLISHER_SELECTING, /* confirm mode */
    PUBLISHER_READY,
};

struct publisher_counts {
    uint64_t published; /* sent, again ones included */
    uint64_t confirmed;
    uint64_t refused;  /* by basic.nack */
    uint64_t returned; /* as unroutable, or with the channel */
};

struct publisher {
    struct broker *broker;
    uint16_t channel;
    enum publisher_state state;
    struct confirms confirms;
    struct parcel *first; /* waiting: oldest first */
    struct parcel *last;
    unsigned waiting;
    struct slice piece;    /* what is left of the body that is being sent; size 0: none is */
    struct parcel *sender; /* whose that is; valid with a piece */
    unsigned suspects;     /* publications to go one at a time */
    struct publisher_counts counts;
    struct limiter complaints; /* about a channel that was closed */
};

bool publisher_init(struct publisher *publisher, struct broker *broker, struct error *error);
void publisher_clear(struct publisher *publisher);

/* The parcel is idle and its content set; it must stay where it is until `done` was called, which never
 * happens inside this call. */
void publisher_post(struct publisher *publisher, struct parcel *parcel);

/* Forgets the parcel, whatever of it is under way; `done` is not called. */
void publisher_withdraw(struct publisher *publisher, struct parcel *parcel);

/* Sends what can be sent; once for each turn of the loop. */
void publisher_turn(struct publisher *publisher);

/* Whether parcels wait that cannot go out now. */
bool publisher_is_congested(const struct publisher *publisher);
bool publisher_is_empty(const struct publisher *publisher); /* nothing waits, nothing is unconfirmed */

#endif
