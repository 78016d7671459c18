/* The publishing connection and its channels, which all consumers share.
 *
 * The host's own moves (retries, dead letters) and what handlers publish have a channel each: a message to an
 * exchange that is not there closes its channel, and must not make the others be sent twice. What setup and
 * teardown publish belongs to no delivery and is kept here until it is confirmed, up to
 * OUTLET_LOOSE_BYTES_MAX. */
#ifndef HOST_OUTLET_H
#define HOST_OUTLET_H

#include "common/error.h"
#include "host/broker.h"
#include "host/limiter.h"
#include "host/publisher.h"
#include "host/topology.h"

#include <stdbool.h>
#include <stddef.h>

#include <ev.h>

enum {
    OUTLET_CHANNELS = 3,
    OUTLET_LOOSE_BYTES_MAX = 16 * 1024 * 1024,
    OUTLET_LOOSE_MAX = 10000,
};

struct loose;

struct outlet {
    struct broker broker;
    struct publisher moves;
    struct publisher messages;
    struct topology topology;
    bool muted;          /* nothing is connected, and what setup publishes is forgotten: for check */
    struct loose *loose; /* messages of setup and teardown that are under way */
    size_t loose_bytes;
    unsigned loose_count;
    struct limiter complaints; /* about those that are lost */
};

bool outlet_init(struct outlet *outlet, struct ev_loop *loop, const struct broker_config *config,
                 struct error *error);
void outlet_clear(struct outlet *outlet);

/* Takes a copy of one publication as a parcel holds them. What cannot be published is logged by the name of
 * `consumer`, and lost: there is no delivery that could be tried again. */
void outlet_publish_loose(struct outlet *outlet, const char *consumer, struct slice publication);

void outlet_turn(struct outlet *outlet);

/* Of both channels together. */
struct publisher_counts outlet_counts(const struct outlet *outlet);
unsigned outlet_unconfirmed(const struct outlet *outlet);

/* Nothing is under way. */
bool outlet_is_empty(const struct outlet *outlet);

#endif
