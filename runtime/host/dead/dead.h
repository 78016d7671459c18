/* The command `dead`: looking at the messages of a dead-letter queue, and sending chosen ones back or
 * dropping them.
 *
 * Messages are taken one after the other from the head of the queue, and those that are not acked go back to
 * where they were. One that is sent back is acked only after the broker has confirmed it in its old queue:
 * whatever ends the command half-way loses none, and doubles at most the SESSION_WINDOW that were under way.
 */
#ifndef HOST_DEAD_DEAD_H
#define HOST_DEAD_DEAD_H

#include "host/config.h"
#include "host/dead/filter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dead_action { DEAD_LIST, DEAD_SHOW, DEAD_RETRY, DEAD_DROP };

enum {
    DEAD_LOOK_DEFAULT = 100,
    DEAD_LOOK_MAX = 10000000,
    DEAD_FILTERS_MAX = 32,
};

struct dead_order {
    enum dead_action action;
    const char *queue;
    uint32_t look;          /* at so many messages at the most */
    const char *const *ids; /* where any are given: only messages with one of them */
    size_t id_count;
    struct filter filters[DEAD_FILTERS_MAX]; /* all must match */
    size_t filter_count;
    bool json;
    bool body; /* SHOW: nothing but the body, as it came */
    bool yes;  /* DROP: do not ask */
};

/* Does it, and says on standard output and error what came of it; returns the exit code. */
int dead_run(const struct broker_config *config, const struct dead_order *order);

#endif
