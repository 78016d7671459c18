/* A message that the host sends on: to a delay queue for its next attempt, or to the dead-letter queue. Its
 * attributes are rewritten here on the way out, and restored when it is back, so that a handler sees what the
 * publisher wrote and the number of the attempt. The marks are in common/own_headers.h. Pure. */
#ifndef HOST_LETTER_H
#define HOST_LETTER_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum { LETTER_ERROR_MAX = 2048 }; /* bytes of an error's text that a header keeps */

struct letter {
    const char *to;    /* the queue that it is published to */
    const char *queue; /* that it was consumed from */
    uint32_t attempt;  /* deliveries that have failed so far */
    int64_t wait_ms;   /* how long it lives there; negative: for ever */

    const char *reason; /* of a dead letter, one word; NULL for a retry */
    struct slice error; /* the following are valid with a reason */
    int64_t time;       /* seconds since 1970 */
    const char *host;
    const char *consumer;
    int64_t body_bytes; /* of a body that was left out; negative: none was */
    bool bare;          /* leaves the message's own headers out, and says so */
};

/* Appends the attributes with which the message is published. Failure is the buffer's. */
void letter_write(const struct letter *letter, struct slice attributes, struct buffer *to);

enum letter_kind {
    LETTER_NEW,      /* none of ours: `to` is as it was */
    LETTER_RETURNED, /* it was sent back from a dead-letter queue: a first attempt again */
    LETTER_RETRIED,
};

/* What a message is that has come from `queue`. Where it is ours, its attributes are appended as they were
 * before the host first sent it on; *ret_failed is how many deliveries of it have failed. */
enum letter_kind letter_restore(struct slice attributes, const char *queue, struct buffer *to,
                                uint32_t *ret_failed);

/* Which attempt this delivery is, by what the message itself and the broker say; `failed` as letter_restore
 * has it, or 0. Quorum queues count how often a message came back to them
 * (https://www.rabbitmq.com/quorum-queues.html#poison-message-handling). */
uint32_t letter_attempt(struct slice attributes, bool redelivered, uint32_t failed);

/* Where a dead letter came from. */
struct letter_origin {
    struct slice queue;
    struct slice exchange; /* that it was first published to */
    struct slice routing_key;
    bool by_broker; /* the broker dead-lettered it by itself: its notes of that go, too */
};

/* Appends the attributes with which a dead letter is published to its queue again: letter_restore then says
 * LETTER_RETURNED. */
void letter_write_back(const struct letter_origin *origin, struct slice attributes, struct buffer *to);

#endif
