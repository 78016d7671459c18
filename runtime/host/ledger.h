/* The ledger: every delivery of one channel from its arrival until it is settled, each exactly once.
 *
 *     arriving -> held -> dispatched -> publishing -> settled -> (sent to the broker, entry free again)
 *                  ^          |                        ^
 *                  +----------+------------------------+  where nothing is to be published
 *     its worker died, or it was taken back before it was begun
 *
 * It is pure: no socket, no clock, no loop. The consumer moves deliveries along and asks, once a turn, which
 * settlements to send. Its size is the prefetch, so a broker that sends more than it was allowed to finds no
 * entry.
 *
 * Acks are coalesced: the longest settled prefix, in order of tags, goes as one ack of many. An ack behind a
 * delivery that is still at work waits LEDGER_STRAGGLER_NS for the prefix to reach it, or until half of the
 * entries wait so. Requeues and rejects go at once, before any ack, so that an ack of many never covers one.
 */
#ifndef HOST_LEDGER_H
#define HOST_LEDGER_H

#include "common/buffer.h"
#include "common/error.h"
#include "host/parcel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_STRAGGLER_NS INT64_C(10000000)

enum {
    /* Memory that a free entry keeps for its next delivery. A larger frame's is kept too, as far as free
     * entries have no more than LEDGER_SPARE_BYTES of such together, until it was not needed for a while
     * (ledger_tend): for the system to take it and give it again costs more than to copy a message into it.
     */
    LEDGER_KEEP_BYTES = 4096,
    LEDGER_SPARE_BYTES = 16 * 1024 * 1024,
};

enum delivery_state {
    DELIVERY_FREE,
    DELIVERY_ARRIVING,
    DELIVERY_HELD,
    DELIVERY_DISPATCHED,
    DELIVERY_PUBLISHING, /* its errand has to be done, and confirmed, before it is settled */
    DELIVERY_SETTLED,
};

/* What is published for a delivery before it is settled. */
enum errand { ERRAND_NONE, ERRAND_MESSAGES, ERRAND_RETRY, ERRAND_DEATH };

enum settlement_kind { SETTLE_ACK, SETTLE_REQUEUE, SETTLE_REJECT };

struct delivery_links {
    struct delivery *previous;
    struct delivery *next;
};

struct delivery {
    uint32_t slot; /* index in the ledger, constant */
    enum delivery_state state;
    uint64_t tag;
    uint32_t attempt;
    uint32_t failed; /* attempts that our own header counts */
    bool redelivered;
    bool oversized; /* the body was over limits.message and was not kept: to be rejected, not dispatched */
    bool stripped;  /* its own headers are left out: of an oversized one, or of its dead letter */
    uint64_t body_bytes; /* as the broker declared it */

    char *frame; /* WIRE_DELIVER as it goes to a worker: room for header and struct, attributes, body */
    size_t frame_bytes;
    size_t frame_capacity;
    uint32_t attributes_bytes;

    /* Valid while publishing; see errands.h. */
    enum errand errand;
    struct parcel parcel;
    struct buffer outbox; /* the parcel's content; its memory is kept as the frame's is */
    int64_t wait_ms;      /* of a retry */
    bool parked;
    unsigned tries; /* of the errand that have failed */
    int64_t due_ns; /* while parked: when it is tried again */

    unsigned company; /* it may be under way with so many in one worker, itself among them; 0: any number. See
                         ledger_company_least */
    uint32_t key_hash;               /* for ordering by key: equal keys go to one worker */
    const void *worker;              /* valid while dispatched: whom it was given to, and */
    uint64_t seq;                    /* under which number (common/wire.h) */
    enum settlement_kind settlement; /* valid when settled */
    int64_t settled_ns;

    struct delivery_links order; /* all entries in use, by tag */
    struct delivery_links queue; /* at most one of: free, held, parked, refused, acked */
};

struct delivery_list {
    struct delivery *first;
    struct delivery *last;
    unsigned count;
};

struct ledger {
    struct delivery *deliveries;
    unsigned capacity;
    struct delivery_list order; /* in use, oldest tag first */
    struct delivery_list free;
    struct delivery_list held;    /* oldest tag first */
    struct delivery_list parked;  /* publishing, but not posted: for want of a queue, or after a failure */
    struct delivery_list refused; /* settled by requeue or reject, not yet sent */
    struct delivery_list acked;   /* settled by ack, not yet sent; oldest settlement first */
    unsigned suspects;            /* in use, with a `company` */
    size_t spare_bytes;           /* that free entries keep beyond LEDGER_KEEP_BYTES each, */
    size_t spare_least;           /* and the least of it since the last ledger_tend */
    unsigned dispatched;
    unsigned publishing; /* parked ones included */
    uint64_t last_tag;   /* that arrived on this channel; 0 before the first */
};

struct settlement {
    enum settlement_kind kind;
    uint64_t tag;
    bool multiple; /* all tags up to this one that are not settled yet */
};

bool ledger_init(struct ledger *ledger, unsigned capacity, struct error *error);
void ledger_clear(struct ledger *ledger);

/* A delivery begins to arrive. NULL where every entry is in use or the tag does not rise: the broker broke
 * its word. The entry is the ledger's; it is valid until settled and sent, or dropped. */
struct delivery *ledger_arrive(struct ledger *ledger, uint64_t tag);

/* Makes `frame` hold `bytes`; false where memory is short. For arriving deliveries only. */
bool delivery_reserve(struct delivery *delivery, size_t bytes);

void ledger_hold(struct ledger *ledger, struct delivery *delivery); /* has arrived whole */
void ledger_dispatch(struct ledger *ledger, struct delivery *delivery, const void *worker, uint64_t seq);
void ledger_return(struct ledger *ledger,
                   struct delivery *delivery); /* dispatched -> held, at its old place */
/* From held or dispatched: it has an errand, and is parked. */
void ledger_publish(struct ledger *ledger, struct delivery *delivery);
void ledger_unpark(struct ledger *ledger, struct delivery *delivery); /* its parcel was posted */
void ledger_park(struct ledger *ledger, struct delivery *delivery);   /* its parcel has failed */
/* From held, dispatched or publishing, when its parcel is idle; a second settlement of one delivery is a bug,
 * not an input. */
void ledger_settle(struct ledger *ledger, struct delivery *delivery, enum settlement_kind kind,
                   int64_t now_ns);

/* The delivery that this worker was given under this seq; NULL where it is no longer (or never was) its own.
 */
struct delivery *ledger_find(const struct ledger *ledger, uint32_t slot, const void *worker, uint64_t seq);

/* The next settlement to send now; false when there is none. Its entries are free when this returns. */
bool ledger_next_settlement(struct ledger *ledger, int64_t now_ns, struct settlement *ret);

/* When the oldest waiting ack is due; INT64_MAX where none waits. */
int64_t ledger_due_ns(const struct ledger *ledger);

/* The channel is gone and the broker will deliver everything anew: every entry is free, tags begin anew. No
 * parcel is under way any more. */
void ledger_drop(struct ledger *ledger);

/* The smaller of two such bounds. A message that was under way when its worker died, and nobody knows of
 * which, is in smaller company at each try, until it is alone: then it is known. */
static inline unsigned ledger_company_least(unsigned one, unsigned other)
{
    return one == 0 || (other > 0 && other < one) ? other : one;
}

void ledger_set_company(struct ledger *ledger, struct delivery *delivery, unsigned company);

/* Now and then: gives back what free entries have kept all the time since the last call. */
void ledger_tend(struct ledger *ledger);

unsigned ledger_in_use(const struct ledger *ledger);
unsigned ledger_unsettled(const struct ledger *ledger); /* arriving, held, dispatched or publishing */

#endif
