/* What the files of this folder share: the connection as rabbitmq-c sees it. */
#ifndef HOST_AMQP_INTERNAL_H
#define HOST_AMQP_INTERNAL_H

#include "host/amqp/address.h"
#include "host/amqp/connection.h"

#include <amqp.h>

struct connection {
    amqp_connection_state_t state;
    struct address address;
    struct buffer attributes; /* of the header frame read last */
    uint16_t release_channel; /* whose buffers the last event borrowed; freed before the next read */
    bool release;
};

/* Appends a message's properties as attributes of WIRE_DELIVER; false where the headers cannot be encoded. */
bool properties_encode(const amqp_basic_properties_t *properties, struct buffer *to);

#endif
