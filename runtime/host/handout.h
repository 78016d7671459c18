/* Which held delivery goes to which worker, and when.
 *
 * Fast handlers are handed many deliveries at once, because a lone message costs a system call on both sides;
 * slow ones are handed one, so that nothing waits behind a slow message while another worker is free. The
 * measure is how long a message takes in that worker: it is handed HANDOUT_AHEAD_NS of work, at most
 * HANDOUT_WINDOW_MAX messages, and no fewer than it runs at once (`concurrency`). Where a message turns out
 * slow after all, what waits behind it is taken back for a worker that is idle. Where the consumer has a
 * rate, what goes beyond it waits, held. With ordering by key a delivery's worker is given by its key, and
 * nothing is taken back. */
#ifndef HOST_HANDOUT_H
#define HOST_HANDOUT_H

#include "common/error.h"
#include "host/budget.h"
#include "host/ledger.h"
#include "host/pool.h"
#include "host/rate.h"

#include <stdbool.h>
#include <stdint.h>

#define HANDOUT_AHEAD_NS INT64_C(5000000)
#define HANDOUT_STUCK_NS INT64_C(5000000) /* a message that has run this long has made its worker slow */

enum { HANDOUT_WINDOW_MAX = 128 };

struct handout_batch;

struct handout {
    struct ledger *ledger;
    struct pool *pool;
    struct budget *budget;
    struct rate rate;
    bool by_key;                   /* a delivery belongs to the worker `key_hash` modulo their number */
    struct handout_batch *batches; /* one for each worker */
    unsigned batch_count;
};

void handout_init(struct handout *handout, struct ledger *ledger, struct pool *pool, struct budget *budget);
void handout_clear(struct handout *handout);

/* Gives out what can be given; false where memory was short (nothing is lost: it stays held). */
bool handout_run(struct handout *handout, int64_t now_ns);

/* Takes deliveries back from behind slow messages where another worker is idle. Returns whether a worker is
 * idle while another has a backlog: the caller then looks again after HANDOUT_STUCK_NS. */
bool handout_rebalance(struct handout *handout, int64_t now_ns);

/* Takes back everything that no worker has begun. */
void handout_recall(struct handout *handout);

/* How many messages a worker may have unanswered, where it runs so many at once and a message takes
 * `service_ns` (0: not known yet). */
unsigned handout_window(int64_t service_ns, unsigned concurrency);

#endif
