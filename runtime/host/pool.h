/* The workers of one consumer: as many as configured are kept running, and replaced as a whole on reload.
 *
 * A worker that dies is replaced, at once the first time and with backoff after that. Before all were ready
 * for the first time, one that says why it cannot start, or that dies POOL_START_ATTEMPTS times in a row
 * before it is ready, ends the program with the reason: that is a broken script or machine, and a loop would
 * hide it. Later the others go on, and it is tried with backoff for as long as it takes. A reload starts a
 * whole new set beside the old one; only when all of it is ready does it take over, and the old set answers
 * what it has and goes. Where the new set does not come up, the old one stays. */
#ifndef HOST_POOL_H
#define HOST_POOL_H

#include "common/error.h"
#include "host/backoff.h"
#include "host/config.h"
#include "host/limiter.h"
#include "host/worker_process.h"

#include <stdbool.h>

#include <ev.h>

enum { POOL_START_ATTEMPTS = 5 };

struct pool_events {
    void (*result)(void *owner, struct worker_process *worker, const struct wire_result *result,
                   struct slice text, struct buffer *messages);
    void (*published)(void *owner, struct worker_process *worker, struct slice message);
    void (*log)(void *owner, struct worker_process *worker, enum log_level level, struct slice attributes);
    void (*recycled)(void *owner, struct worker_process *worker, const struct wire_recycled *recycled);
    void (*leak)(void *owner, struct worker_process *worker, const struct wire_leak *leak,
                 const struct leak_names *names);
    /* The worker is no more; its deliveries are to be taken back. It is freed after the call. */
    void (*gone)(void *owner, struct worker_process *worker);
    /* The last word on a start (or on a reload): it succeeded, or not. A failed reload leaves the old set at
     * work. */
    void (*started)(void *owner);
    void (*reloaded)(void *owner, const struct error *error); /* error NULL: the new set has taken over */
    /* The pool cannot go on; the program should end with this. */
    void (*failed)(void *owner, const struct error *error);
    void (*empty)(void *owner); /* after pool_stop: the last worker has gone */
};

struct pool;

struct pool_slot {
    struct pool *pool;
    struct worker_process *worker;    /* NULL while the restart timer runs */
    struct worker_process *successor; /* takes the worker's place when it is ready; else NULL */
    ev_timer restart;
    struct backoff backoff;
    unsigned failed_starts; /* in a row, before the pool was ready */
};

struct worker_set {
    struct pool_slot *slots;
    unsigned count;
};

struct pool {
    struct ev_loop *loop;
    const struct worker_origin *origin;
    const struct consumer_config *config;      /* of the set at work */
    const struct consumer_config *next_config; /* of the incoming set */
    const struct pool_events *events;
    void *owner;
    struct worker_set active;
    struct worker_set incoming;      /* count 0: no reload is going on */
    struct worker_process **retired; /* stopping, or being killed; told of no more than results and logs */
    unsigned retired_count;
    unsigned retired_capacity;
    uint64_t replaced;         /* processes that pool_replace gave a successor */
    struct limiter complaints; /* about workers that died */
    bool started;
    bool draining; /* no worker is started any more */
    bool stopping; /* nor does any go on */
};

bool pool_init(struct pool *pool, struct ev_loop *loop, const struct worker_origin *origin,
               const struct consumer_config *config, const struct pool_events *events, void *owner,
               struct error *error);
void pool_clear(struct pool *pool); /* kills what is left */

/* Begins the reload with this configuration; `reloaded` follows. It supersedes one that is still going on, of
 * which nothing more is told. */
void pool_reload(struct pool *pool, const struct consumer_config *config);

/* Puts a fresh process in the place of this one, which answers what it has and goes. Until the fresh one is
 * ready the old one works on; where it does not become ready, the old one stays. Nothing is done where that
 * is under way. */
void pool_replace(struct pool *pool, struct worker_process *worker, const char *reason);

/* From now on no worker is started: one that dies is not replaced, and what was to take over is ended. */
void pool_drain(struct pool *pool);

/* Drains, and sends every worker WIRE_STOP; `empty` follows. pool_kill hurries those that are left. */
void pool_stop(struct pool *pool);
void pool_kill(struct pool *pool);

/* The worker in this place, where it takes deliveries now; NULL where it does not. */
struct worker_process *pool_worker(const struct pool *pool, unsigned lane);
unsigned pool_size(const struct pool *pool);

/* Every process there is, those of earlier sets too: index 0 up to the first NULL. */
struct worker_process *pool_process(const struct pool *pool, unsigned index);

/* Deliveries that workers of an earlier set have still to answer: order is kept by waiting for them. */
unsigned pool_retired_unanswered(const struct pool *pool);

#endif
