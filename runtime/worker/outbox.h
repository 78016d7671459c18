/* What a script publishes, collected until the message that it publishes for has succeeded: a failed one
 * publishes nothing.
 *
 * One buffer, bounded by wire_publishes_bytes_max and by what limits.memory leaves, and charged to the quota.
 * A parcel is put together piece by piece and kept only by outbox_end: one that an error broke off is gone
 * with the next outbox_begin. */
#ifndef WORKER_OUTBOX_H
#define WORKER_OUTBOX_H

#include "common/buffer.h"
#include "worker/link.h"
#include "worker/quota.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outbox {
    struct quota *quota;
    size_t bytes_max; /* attributes and bodies of all parcels */
    bool open;        /* a script runs that may publish */
    size_t count;     /* parcels that are kept */
    struct buffer parcels;
    size_t kept_bytes;    /* of `parcels`: where the next begins */
    size_t body_at;       /* in `parcels`, of the one that is put together */
    size_t charged_bytes; /* to the quota */
};

/* `quota` is borrowed, and must be that of an open state whenever anything is put in. */
void outbox_init(struct outbox *outbox, struct quota *quota, uint64_t message_bytes_max);
void outbox_clear(struct outbox *outbox);

/* A parcel: attributes go into the buffer that outbox_begin returns, then outbox_begin_body, then the body
 * into the same, then outbox_end. */
struct buffer *outbox_begin(struct outbox *outbox);
void outbox_begin_body(struct outbox *outbox);

enum outbox_end {
    OUTBOX_KEPT,
    OUTBOX_NO_MEMORY,  /* limits.memory is used up, and the message is over */
    OUTBOX_TOO_LARGE,  /* more than one message may publish */
    OUTBOX_ATTRIBUTES, /* the attributes take more than WIRE_PUBLISH_ATTRIBUTES_MAX */
    OUTBOX_TOO_MANY,   /* WIRE_PUBLISHES_MAX are kept already */
};
enum outbox_end outbox_end(struct outbox *outbox);

/* Sends all parcels that are kept to the host, in their order; `seq` is that of the delivery, or 0. */
void outbox_send(const struct outbox *outbox, struct link *link, uint64_t seq);

/* Forgets all, gives their memory back and closes the outbox. */
void outbox_reset(struct outbox *outbox);

#endif
