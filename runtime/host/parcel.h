/* A parcel: messages that have to be published, all of them confirmed, before their owner goes on. Retries,
 * dead letters and what handlers publish are parcels of their delivery (ledger.h).
 *
 * Its content is a run of publications, each encoded as the worker sends them (common/wire.h): struct
 * wire_publish, attributes, body, one behind the other. A publication whose body is the delivery's own takes
 * that from `body` and has none in the run. What the broker has confirmed is marked in the run itself, so
 * that after a lost connection only the others are published again. Pure. */
#ifndef HOST_PARCEL_H
#define HOST_PARCEL_H

#include "common/buffer.h"
#include "common/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum parcel_state {
    PARCEL_IDLE,
    PARCEL_WAITING, /* in a publisher's list: some of it is still to be sent */
    PARCEL_SENT,    /* all of it was sent, or it has failed; confirms are awaited */
};

/* Why the broker did not take a publication: an AMQP reply code, or one of these. */
enum { PARCEL_REFUSED = 1, PARCEL_TOO_LARGE = 2 };

struct parcel {
    void (*done)(struct parcel *parcel); /* all is confirmed, or `failure` says why not; it is idle then */
    void *owner;
    char *content; /* borrowed, and written to: the marks */
    size_t content_bytes;
    struct slice body; /* for publications with PARCEL_BODY_ELSEWHERE */

    /* The publisher's own. */
    enum parcel_state state;
    struct parcel *previous;
    struct parcel *next;
    size_t cursor;        /* where the next publication begins */
    unsigned unconfirmed; /* sent, and not heard of */
    uint16_t failure;     /* 0: none; of the first that failed */
    size_t failed_at;     /* where in the content that is; valid with a failure */
};

/* Marks, in the place of the seq of struct wire_publish, which means nothing any more in a parcel. */
enum { PARCEL_CONFIRMED = 1, PARCEL_BODY_ELSEWHERE = 2 };

struct publication {
    struct slice attributes;
    struct slice body;
    bool confirmed;
};

/* The publication at *offset, which is moved behind it; false at the end. The content is trusted: it was
 * checked when it was put together. */
bool parcel_next(const struct parcel *parcel, size_t *offset, struct publication *ret);

void parcel_mark_confirmed(struct parcel *parcel, size_t offset);

/* Whether these attributes, from a worker, can be published: known, of the right sizes, each once. */
bool parcel_attributes_are_sound(struct slice attributes);

/* Appends a publication without its body. */
void parcel_add_head(struct buffer *to, uint64_t mark, struct slice attributes, uint32_t body_bytes);

/* Appends the failure as a sentence. */
void parcel_describe_failure(const struct parcel *parcel, struct buffer *to);

#endif
