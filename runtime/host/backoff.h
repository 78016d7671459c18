/* How long to wait before the next try: doubles from `least_ns` to `most_ns`, with jitter so that a hundred
 * programs do not come back to a broker at once. Pure but for the random numbers. */
#ifndef HOST_BACKOFF_H
#define HOST_BACKOFF_H

#include <stdint.h>

struct backoff {
    int64_t least_ns;
    int64_t most_ns;
    unsigned failures; /* in a row */
};

/* What lasted no longer has proved nothing. */
#define BACKOFF_PROVED_NS INT64_C(1000000000)

/* The wait before the next try, one more failure counted: between half and the whole of the doubled step. */
int64_t backoff_next_ns(struct backoff *backoff);
void backoff_reset(struct backoff *backoff); /* after a success */

/* What was tried has worked and is over again, after so long: a success, but where it ended at once. So what
 * always does that is not tried at the shortest wait for ever. How long the wait before it was does not
 * count, or a connection that is lost again soon after a long outage would wait as long once more. */
void backoff_lasted(struct backoff *backoff, int64_t lasted_ns);

double backoff_random_share(void); /* 0 to 1 */

#endif
