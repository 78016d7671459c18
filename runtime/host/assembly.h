/* Putting a delivery together from its frames (method, header, body pieces), in the ledger's own memory.
 *
 * Pure: it knows neither socket nor loop. The frame to the worker is built in place, so a body is copied
 * once. A body over the limit is never allocated: its pieces are counted and dropped, and the delivery is
 * marked oversized. So is one whose headers were too large to be kept. */
#ifndef HOST_ASSEMBLY_H
#define HOST_ASSEMBLY_H

#include "common/buffer.h"
#include "common/error.h"
#include "host/amqp/connection.h"
#include "host/ledger.h"

#include <stdbool.h>
#include <stdint.h>

struct assembly {
    struct delivery *delivery; /* arriving; NULL between deliveries */
    struct buffer head;        /* attributes that came with the method frame; memory is kept */
    struct buffer restored;    /* all attributes of a message that comes back; memory is kept */
    uint64_t missing;          /* bytes of the body still to come */
    bool has_header;
};

enum assembly_next {
    ASSEMBLY_MORE,
    ASSEMBLY_WHOLE, /* *ret_delivery is held in the ledger now */
    ASSEMBLY_BROKEN /* the broker broke the protocol, or its word on prefetch: error says how */
};

void assembly_init(struct assembly *assembly);
void assembly_clear(struct assembly *assembly);
void assembly_reset(
    struct assembly *assembly); /* the channel is gone; the ledger drops the delivery itself */

/* Takes EVENT_DELIVER, EVENT_HEADER or EVENT_BODY. */
/* A message that the host itself had sent on is restored (letter.h): `queue` is where it comes from. */
enum assembly_next assembly_take(struct assembly *assembly, struct ledger *ledger, const struct event *event,
                                 const char *queue, uint64_t body_limit, struct delivery **ret_delivery,
                                 struct error *error);

/* The parts of a delivery that is held or dispatched; borrowed, valid until it is settled. */
struct slice delivery_attributes(const struct delivery *delivery);
struct slice delivery_body(const struct delivery *delivery); /* empty where oversized */

#endif
