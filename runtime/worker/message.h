/* One delivery as it came over the wire, taken apart without copying: every slice points into the link's
 * input and is valid until that moves, but a body that lies on the shelf (common/shelf.h), which is valid
 * until the message is answered. Pure. */
#ifndef WORKER_MESSAGE_H
#define WORKER_MESSAGE_H

#include "common/buffer.h"
#include "common/shelf.h"
#include "common/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum { MESSAGE_ATTRIBUTES = 64 };
_Static_assert((int)WIRE_DELIVERY_MODE < (int)MESSAGE_ATTRIBUTES, "each attribute has a bit in `present`");

struct message {
    struct wire_deliver deliver;
    uint64_t present;                            /* bit i: attributes[i] came */
    struct slice attributes[MESSAGE_ATTRIBUTES]; /* by enum wire_attribute_id; valid where present says so */
    struct slice body;
};

/* Takes the payload of a WIRE_DELIVER apart; false where it is none, or its body lies beyond the shelf.
 * Numbers among the attributes have their size. */
bool message_parse(struct slice payload, const struct shelf *shelf, struct message *message);

/* The attribute's bytes; false where the message has none. */
bool message_find(const struct message *message, enum wire_attribute_id id, struct slice *ret_value);

/* Whether the content type promises JSON: application/json or anything ending in +json, parameters aside. */
bool message_is_json(const struct message *message);

#endif
