/* The queues that the host itself publishes to, declared when they are first needed: delay queues and
 * dead-letter queues. On a channel of its own, since a refusal closes it; one at a time, so that the
 * refusal's cause is known.
 *
 * What was declared is remembered in a table of fixed size; a new connection, a message that came back as
 * unroutable, and for delay queues the time, make it be declared again. */
#ifndef HOST_TOPOLOGY_H
#define HOST_TOPOLOGY_H

#include "host/broker.h"
#include "host/config.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    TOPOLOGY_ENTRIES = 256,
    TOPOLOGY_NAME_MAX = 256, /* with its NUL */
};

enum topology_answer {
    TOPOLOGY_READY,
    TOPOLOGY_PENDING, /* ask again in a later turn */
    TOPOLOGY_REFUSED, /* was logged; asked again, it is tried again after a while */
};

struct topology_entry {
    char name[TOPOLOGY_NAME_MAX]; /* empty: free */
    bool refused;
    int64_t good_until_ns; /* the answer is */
};

enum topology_state { TOPOLOGY_DOWN, TOPOLOGY_OPENING, TOPOLOGY_IDLE, TOPOLOGY_DECLARING };

struct topology {
    struct broker *broker;
    uint16_t channel;
    enum topology_state state;
    struct topology_entry *entries; /* TOPOLOGY_ENTRIES, replaced round robin */
    unsigned cursor;
    struct topology_entry asked;     /* valid while declaring */
    struct declare_config arguments; /* of it; texts are borrowed for the time of the call only */
    bool plain; /* the broker knows no confirmed dead-lettering (it came with RabbitMQ 3.10): classic queues
                   then */
};

bool topology_init(struct topology *topology, struct broker *broker, struct error *error);
void topology_clear(struct topology *topology);

/* Whether there is such a queue now; where that is not known it begins to be declared. */
enum topology_answer topology_ask(struct topology *topology, const char *name,
                                  const struct declare_config *declare);

/* The queue may not be there any more. */
void topology_forget(struct topology *topology, const char *name);

/* The delay queue of a consumer for this step; texts are borrowed from the configuration. A quorum queue,
 * whatever the consumer's own is: only those move messages back with confirms. Out of a classic one they are
 * lost where the queue behind it is full, or the broker is killed on the way. */
struct declare_config topology_delay_queue(const struct consumer_config *config, int64_t step_ms);
/* The dead-letter queue of a consumer. */
struct declare_config topology_dead_letter_queue(const struct consumer_config *config);

#endif
