/* The retry policy: how long a failed message waits for its next attempt, and in which delay queue.
 *
 * A delay queue holds messages for one step of a fixed ladder. Each has its own time to live, so it waits as
 * long as the policy says; but only the message at a queue's head leaves, so it may have to wait for one
 * before it, at most from its own wait to the step: RETRY_STEP_PERCENT, or RETRY_FIRST_STEP_MS. The ladder
 * has about 120 steps up to 30 days, so their number is bounded whatever delays handlers ask for. Pure. */
#ifndef HOST_RETRY_H
#define HOST_RETRY_H

#include <stddef.h>
#include <stdint.h>

enum {
    RETRY_FIRST_STEP_MS = 100,
    RETRY_STEP_PERCENT = 15,    /* by how much each step is longer than the one before */
    RETRY_QUEUE_NAME_MAX = 256, /* with its NUL */
};

#define RETRY_WAIT_MAX_NS                                                                                    \
    (INT64_C(30) * 24 * 3600 * 1000000000) /* a longer wait of a handler's is cut to 30 days */

struct retry_policy {
    unsigned attempts; /* deliveries of one message at the most; at least 1 */
    int64_t delay_ns;
    double factor;
    int64_t max_delay_ns;
    double jitter; /* 0 to 1 */
};

/* The wait after this attempt (1: the first) has failed. `random`, 0 to 1, spreads it by jitter / 2 to both
 * sides. */
int64_t retry_wait_ns(const struct retry_policy *policy, uint32_t attempt, double random);

/* The same where the handler named a wait itself, which goes before the policy's; negative: it named none. */
int64_t retry_chosen_wait_ns(const struct retry_policy *policy, uint32_t attempt, int64_t named_ns,
                             double random);

/* The step that holds messages with this wait: the least that is not shorter. */
int64_t retry_step_ms(int64_t wait_ms);

/* What the names of all delay queues of a queue begin with: "orders.retry."; the name itself ends in the
 * step. A name that would be too long for AMQP is cut and told apart by a hash. */
size_t retry_queue_prefix(const char *queue, char to[RETRY_QUEUE_NAME_MAX]);
void retry_queue_name(const char *queue, int64_t step_ms, char to[RETRY_QUEUE_NAME_MAX]);

#endif
