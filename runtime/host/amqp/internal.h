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
    amqp_pool_t scratch;      /* header tables on their way out; recycled by each message */
    unsigned io_timeout_ms;
    int frame_max;            /* as agreed with the broker; 0: none */
    uint16_t release_channel; /* whose buffers the last event borrowed; freed before the next read */
    bool release;
};

/* Appends a message's properties as attributes of WIRE_DELIVER, the headers last; false where they do not fit
 * the buffer. */
bool properties_encode(const amqp_basic_properties_t *properties, struct buffer *to);

/* The other way: what the attributes say of properties, tables from the pool; false where they are broken or
 * memory is short. */
bool properties_decode(struct slice attributes, amqp_pool_t *pool, amqp_basic_properties_t *ret_properties);

#endif
