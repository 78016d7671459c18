/* So many messages a second, of all workers of a consumer together: a token bucket, told by one number, when
 * the next token would be due if none were saved up. Saved up are at most those of RATE_BURST_NS, and one; so
 * in any span of time no more go out than the rate gives in it, and those once. Pure: time is an argument. */
#ifndef HOST_RATE_H
#define HOST_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define RATE_BURST_NS INT64_C(100000000)

struct rate {
    int64_t interval_ns; /* between two messages in the long run; 0: no limit */
    int64_t next_ns;     /* when the bucket is full again */
};

/* Another rate from now on; as many places stay taken as were. */
void rate_set(struct rate *rate, int64_t interval_ns, int64_t now_ns);

/* Takes the place of one message; false where it has to wait, until rate_due_ns. */
bool rate_take(struct rate *rate, int64_t now_ns);
void rate_return(struct rate *rate); /* of one that did not go out after all */

/* When a place is free; in the past where one is. */
int64_t rate_due_ns(const struct rate *rate);

#endif
