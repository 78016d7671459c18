/* Counts how often a message went back to the queue, so that a requeue ends after retry.attempts.
 *
 * A nack with requeue carries no count, and classic queues keep none. So the host remembers a fingerprint of
 * each message it sent back with the attempt it had made; when a message with that fingerprint comes, the
 * entry is taken out again. Equal messages share a fingerprint and are interchangeable: each return takes one
 * entry. The memory is fixed: it holds the last REQUEUE_ENTRIES that went back. A redelivery that is not
 * remembered (another program sent it back, or this one was restarted) counts as the second attempt at least,
 * so nothing loops for ever.
 *
 * A message without the redelivered flag is a new one, however much it is like one that was sent back. But
 * RabbitMQ 3.10 can lose the flag for good on a classic queue that a restart recovered. What goes round there
 * shows by more of its like being out than one prefetch, since the broker hands out first what came back. */
#ifndef HOST_REQUEUE_H
#define HOST_REQUEUE_H

#include "common/buffer.h"
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { REQUEUE_ENTRIES = 4096 }; /* a power of two; 80 KiB with the buckets */

struct requeue_entry {
    uint64_t fingerprint;
    uint32_t attempt; /* 0: free */
    uint32_t next;    /* in its bucket; index + 1, 0 ends */
};

struct requeue_memory {
    struct requeue_entry *entries; /* REQUEUE_ENTRIES, used round robin */
    uint32_t *buckets;             /* index + 1 of the newest entry */
    uint32_t cursor;
    uint32_t count; /* entries in use */
};

bool requeue_init(struct requeue_memory *memory, struct error *error);
void requeue_clear(struct requeue_memory *memory);

/* Of what makes a message itself: its attributes (common/wire.h) and body. The consumer tag is left out, as a
 * reconnect changes it, and the headers, as a quorum queue counts deliveries in one of them. */
uint64_t requeue_fingerprint(struct slice attributes, struct slice body);

void requeue_remember(struct requeue_memory *memory, uint64_t fingerprint, uint32_t attempt);

/* How many with this fingerprint are out: sent back and not seen again. */
uint32_t requeue_count(const struct requeue_memory *memory, uint64_t fingerprint);

/* The attempt that the message had made when it was sent back; 0 where it is not remembered. */
uint32_t requeue_recall(struct requeue_memory *memory, uint64_t fingerprint);

#endif
