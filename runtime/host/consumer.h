/* One consumer: a queue, its channel, its ledger and its workers, and what happens between them.
 *
 * Deliveries come in by the subscription, are put together in the ledger, handed out to the pool's workers,
 * and settled by what the workers answer. consumer_turn does once per turn of the loop what is better done
 * for many at once: hand out, and send settlements. The end is in order: no more deliveries, what runs
 * finishes, the rest is handed back, the channel closes, the workers go; consumer_hurry shortens the wait. */
#ifndef HOST_CONSUMER_H
#define HOST_CONSUMER_H

#include "common/error.h"
#include "host/alarms.h"
#include "host/assembly.h"
#include "host/broker.h"
#include "host/budget.h"
#include "host/config.h"
#include "host/errands.h"
#include "host/handout.h"
#include "host/histogram.h"
#include "host/leaks.h"
#include "host/ledger.h"
#include "host/limiter.h"
#include "host/pool.h"
#include "host/recycles.h"
#include "host/requeue.h"
#include "host/subscription.h"

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

struct consumer;

struct consumer_events {
    void (*started)(void *owner, struct consumer *consumer); /* its workers are ready */
    void (*consuming)(void *owner,
                      struct consumer *consumer); /* the broker delivers; again when it is back */
    /* It cannot start or go on; nothing is lost, the program should end or, after a reload, keep the old one.
     */
    void (*failed)(void *owner, struct consumer *consumer, const struct error *error);
    void (*reloaded)(void *owner, struct consumer *consumer, const struct error *error); /* NULL: done */
    void (*ended)(void *owner, struct consumer *consumer); /* after consumer_stop: free it when you like */
};

/* What all consumers of the program share. */
struct consumer_context {
    struct ev_loop *loop;
    struct broker *broker; /* to consume and settle */
    struct outlet *outlet; /* to publish */
    struct budget *budget;
    struct worker_origin origin;
    char host[65];          /* this machine's name */
    unsigned handler_lines; /* log.handler_lines */
    const struct consumer_events *events;
    void *owner;
};

struct consumer_counts {
    uint64_t delivered;
    uint64_t redelivered;
    uint64_t acked;
    uint64_t retried; /* moved to a delay queue */
    uint64_t requeued;
    uint64_t rejected;
    uint64_t dead;        /* moved to the dead-letter queue */
    uint64_t failed;      /* handler errors, and deaths at a message */
    uint64_t handed_back; /* unhandled, at the end */
    uint64_t stale;       /* results that came after their channel had gone */
    uint64_t worker_deaths;
    uint64_t deadline_kills;          /* of workers, whose messages ran past the deadline and the grace */
    uint64_t crashed;                 /* messages at which a worker died */
    uint64_t verdicts[WIRE_VERDICTS]; /* by enum wire_verdict: what workers answered */
};

/* What the broker last said of a queue. */
struct queue_state {
    bool known;
    uint32_t messages; /* ready to be delivered */
    uint32_t consumers;
    int64_t grown_ns; /* when there last were more than at the look before; 0: never */
    int64_t again_ns; /* not to be asked for before: it was not there */
};

enum consumer_phase {
    CONSUMER_RUNNING,
    CONSUMER_DRAINING, /* cancelled; what runs finishes */
    CONSUMER_FLUSHING, /* all settled; the last settlements are on their way */
    CONSUMER_CLOSING,  /* channel and workers end */
    CONSUMER_ENDED,
};

struct consumer {
    const struct consumer_context *context;
    const struct consumer_config *config;      /* borrowed; outlives its use */
    const struct consumer_config *next_config; /* during a reload */
    enum consumer_phase phase;
    struct subscription subscription;
    struct assembly assembly;
    struct ledger ledger;
    struct pool pool;
    struct handout handout;
    struct requeue_memory requeues;
    struct errands errands;
    struct limiter complaints; /* bounds the log lines about messages */
    struct recycles recycles;
    struct leaks leaks;
    struct consumer_counts counts;
    struct histogram durations; /* of handlers, one for each counted verdict */
    struct queue_state queue;
    struct queue_state dead_letters;
    struct alarms alarms;
    struct limiter handler_lines; /* bounds the log lines that handlers write */
    unsigned oversized;           /* held deliveries that are to be refused for their size */
    bool lowered;                 /* limits.message was: deliveries may be larger that came before */
    int64_t active_ns;            /* when the last delivery came or was settled */
    int64_t awaited_ns;           /* until when what was moved to delay queues may come back */
    ev_timer stragglers;
    ev_timer parked; /* wakes the loop when an errand is due again */
    ev_timer rebalance;
    ev_timer paced;  /* wakes the loop when the rate lets the next message go */
    bool subscribed; /* subscription is valid */
    bool channel_done;
    bool pool_done;
    bool failed;    /* `failed` was told */
    bool cautioned; /* once, not at every subscription */
};

/* Starts the workers; `started` or `failed` follows. NULL with an error where it cannot even begin. */
struct consumer *consumer_new(const struct consumer_context *context, const struct consumer_config *config,
                              struct error *error);
void consumer_free(struct consumer *consumer); /* kills what is left */

/* Takes a channel and consumes as soon as the connection stands. */
bool consumer_subscribe(struct consumer *consumer, struct error *error);

/* Whether this configuration differs only in what new workers need: then consumer_reload will do. */
bool consumer_can_reload(const struct consumer *consumer, const struct consumer_config *config);
void consumer_reload(struct consumer *consumer, const struct consumer_config *config);

void consumer_stop(struct consumer *consumer);
void consumer_hurry(struct consumer *consumer); /* kills the workers; what they had is handed back */

void consumer_turn(struct consumer *consumer);

/* Since when it has been consuming with nothing to do; INT64_MAX where it has something to do, or does not
 * consume. */
int64_t consumer_idle_since_ns(const struct consumer *consumer);

#endif
