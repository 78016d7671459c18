/* Keeping a consumer's workers; see pool.h. */
#include "host/pool.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

static const struct backoff restart_backoff = { .least_ns = CLOCK_NS_PER_SECOND / 10,
                                                .most_ns = 10 * CLOCK_NS_PER_SECOND };

/* A worker that ran this long, or has answered a message, is not dying in a loop: its successor starts at
 * once. */
static const int64_t settled_life_ns = CLOCK_NS_PER_SECOND;

enum { COMPLAINTS_PER_SECOND = 20 };

static const struct worker_events worker_events;

static void on_restart(struct ev_loop *loop, ev_timer *watcher, int events);

static bool set_init(struct worker_set *set, struct pool *pool, unsigned count)
{
    set->slots = calloc(count, sizeof *set->slots);
    if (!set->slots)
        return false;
    set->count = count;
    for (unsigned i = 0; i < count; i++) {
        set->slots[i].pool = pool;
        set->slots[i].backoff = restart_backoff;
        ev_init(&set->slots[i].restart, on_restart);
        set->slots[i].restart.data = &set->slots[i];
    }
    return true;
}

static void set_clear(struct worker_set *set, struct ev_loop *loop)
{
    for (unsigned i = 0; i < set->count; i++) {
        ev_timer_stop(loop, &set->slots[i].restart);
        worker_free(set->slots[i].worker);
        worker_free(set->slots[i].successor);
    }
    free(set->slots);
    *set = (struct worker_set){ 0 };
}

static bool set_is_ready(const struct worker_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (!set->slots[i].worker || set->slots[i].worker->state != WORKER_READY)
            return false;
    }
    return true;
}

static struct pool_slot *set_find_successor(const struct worker_set *set, const struct worker_process *worker)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->slots[i].successor == worker)
            return &set->slots[i];
    }
    return NULL;
}

static struct pool_slot *set_find(const struct worker_set *set, const struct worker_process *worker)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->slots[i].worker == worker)
            return &set->slots[i];
    }
    return NULL;
}

/* Room is made when a reload begins, so that retiring itself cannot fail. */
static bool reserve_retired(struct pool *pool, unsigned more)
{
    unsigned needed = pool->retired_count + more;
    if (needed <= pool->retired_capacity)
        return true;
    struct worker_process **retired = reallocarray(pool->retired, needed, sizeof *retired);
    if (!retired)
        return false;
    pool->retired = retired;
    pool->retired_capacity = needed;
    return true;
}

/* Lets go of the worker; reserve_retired has made room. */
static void retire(struct pool *pool, struct worker_process **worker, void (*end)(struct worker_process *))
{
    if (!*worker)
        return;
    end(*worker);
    (*worker)->dismissed = true;
    pool->retired[pool->retired_count++] = *worker;
    *worker = NULL;
}

static void retire_set(struct pool *pool, struct worker_set *set, void (*end)(struct worker_process *))
{
    for (unsigned i = 0; i < set->count; i++) {
        retire(pool, &set->slots[i].worker, end);
        retire(pool, &set->slots[i].successor, worker_kill);
    }
    set_clear(set, pool->loop);
}

static void forget_retired(struct pool *pool, const struct worker_process *worker)
{
    for (unsigned i = 0; i < pool->retired_count; i++) {
        if (pool->retired[i] == worker)
            pool->retired[i] = pool->retired[--pool->retired_count];
    }
}

static bool spawn(struct pool_slot *slot, const struct consumer_config *config, unsigned lane,
                  struct error *error)
{
    struct pool *pool = slot->pool;
    slot->worker = worker_spawn(pool->loop, pool->origin, config, lane, &worker_events, pool, error);
    return slot->worker != NULL;
}

static void restart_later(struct pool_slot *slot, bool at_once)
{
    struct pool *pool = slot->pool;
    int64_t wait_ns = at_once ? 0 : backoff_next_ns(&slot->backoff);
    ev_timer_stop(pool->loop, &slot->restart);
    ev_timer_set(&slot->restart, (double)wait_ns / 1e9, 0);
    ev_timer_start(pool->loop, &slot->restart);
}

static void on_restart(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct pool_slot *slot = watcher->data;
    struct pool *pool = slot->pool;
    struct error error;
    if (!spawn(slot, pool->config, (unsigned)(slot - pool->active.slots), &error)) {
        log_error(log_message("a worker cannot be started"), log_text("error", error.text));
        restart_later(slot, false);
    }
}

static bool spawn_set(struct pool *pool, struct worker_set *set, const struct consumer_config *config,
                      struct error *error)
{
    if (!set_init(set, pool, config->workers))
        return error_set(error, ERROR_FAILED, "no memory for %u workers", config->workers);
    for (unsigned i = 0; i < set->count; i++) {
        if (!spawn(&set->slots[i], config, i, error))
            return false;
    }
    return true;
}

static void give_up_reload(struct pool *pool, const struct error *error)
{
    retire_set(pool, &pool->incoming, worker_kill);
    pool->next_config = NULL;
    pool->events->reloaded(pool->owner, error);
}

static void take_over(struct pool *pool)
{
    retire_set(pool, &pool->active, worker_stop);
    pool->active = pool->incoming;
    pool->incoming = (struct worker_set){ 0 };
    pool->config = pool->next_config;
    pool->next_config = NULL;
    pool->events->reloaded(pool->owner, NULL);
}

static void on_ready(void *owner, struct worker_process *worker)
{
    struct pool *pool = owner;
    struct pool_slot *slot = set_find(&pool->active, worker);
    struct pool_slot *heir = set_find_successor(&pool->active, worker);
    log_debug(log_message("worker ready"), log_text("consumer", pool->config->name),
              log_unsigned("worker", worker->lane + 1), log_integer("pid", worker->pid));
    if (slot)
        slot->failed_starts = 0;
    if (heir) {
        heir->successor = NULL;
        retire(pool, &heir->worker, worker_stop);
        heir->worker = worker;
        ev_timer_stop(pool->loop, &heir->restart);
    }
    if (pool->incoming.count > 0 && set_is_ready(&pool->incoming)) {
        take_over(pool);
    } else if (!pool->started && set_is_ready(&pool->active)) {
        pool->started = true;
        pool->events->started(pool->owner);
    }
}

static void on_result(void *owner, struct worker_process *worker, const struct wire_result *result,
                      struct slice text, struct buffer *messages)
{
    struct pool *pool = owner;
    pool->events->result(pool->owner, worker, result, text, messages);
}

static void on_published(void *owner, struct worker_process *worker, struct slice message)
{
    struct pool *pool = owner;
    pool->events->published(pool->owner, worker, message);
}

static void on_log(void *owner, struct worker_process *worker, enum log_level level, struct slice attributes)
{
    struct pool *pool = owner;
    pool->events->log(pool->owner, worker, level, attributes);
}

static void on_recycled(void *owner, struct worker_process *worker, const struct wire_recycled *recycled)
{
    struct pool *pool = owner;
    pool->events->recycled(pool->owner, worker, recycled);
}

static void on_leak(void *owner, struct worker_process *worker, const struct wire_leak *leak,
                    const struct leak_names *names)
{
    struct pool *pool = owner;
    pool->events->leak(pool->owner, worker, leak, names);
}

/* Nobody asks here: workers look by themselves. */
static void on_looked(void *owner, struct worker_process *worker, const struct wire_looked *looked)
{
    (void)owner;
    (void)worker;
    (void)looked;
}

/* What it said itself is the better reason; a script that does not load is the user's to mend. */
static void explain_failed_start(const struct worker_process *worker, struct error *error)
{
    if (*worker->last_words)
        error_set(error, ERROR_USAGE, "%s", worker->last_words);
    else
        error_set(error, ERROR_FAILED, "a worker ended before it was ready: %s", worker->reason);
}

/* Whether the pool, which has never been ready, is given up. */
static bool is_hopeless(const struct pool *pool, struct pool_slot *slot, const struct worker_process *worker,
                        struct error *error)
{
    if (*worker->last_words)
        return true;
    if (++slot->failed_starts < POOL_START_ATTEMPTS)
        return false;
    error_prefix(error, "consumer %s: its worker failed to start %d times in a row", pool->config->name,
                 POOL_START_ATTEMPTS);
    return true;
}

/* A script that has loaded once may be mended on the disk: it is tried until it loads again. */
static void failed_start(struct pool *pool, struct pool_slot *slot, const struct worker_process *worker)
{
    struct error error;
    explain_failed_start(worker, &error);
    if (!pool->started && is_hopeless(pool, slot, worker, &error)) {
        pool->events->failed(pool->owner, &error);
        return;
    }
    log_error(log_message("a worker failed to start; another follows"),
              log_text("consumer", pool->config->name), log_text("error", error.text));
    restart_later(slot, false);
}

static void tell_death_while_stopping(const struct pool *pool, const struct worker_process *worker)
{
    if (!worker->dismissed)
        log_warning(log_message("a worker died while its consumer stops; what it had is handed back"),
                    log_text("consumer", pool->config->name), log_unsigned("worker", worker->lane + 1),
                    log_integer("pid", worker->pid), log_text("reason", worker->reason));
}

static void tell_death(struct pool *pool, const struct worker_process *worker)
{
    log_error(log_message("a worker died and is replaced; what it had not finished goes to others"),
              log_text("consumer", pool->config->name), log_unsigned("worker", worker->lane + 1),
              log_integer("pid", worker->pid), log_text("reason", worker->reason),
              log_text("words", *worker->last_words ? worker->last_words : NULL),
              log_unsigned("answered", worker->answered),
              log_suppressed(limiter_take_held_back(&pool->complaints)));
}

static void lost_worker(struct pool *pool, struct pool_slot *slot, const struct worker_process *worker)
{
    if (pool->draining) {
        tell_death_while_stopping(pool, worker);
        return;
    }
    if (!worker->was_ready) {
        failed_start(pool, slot, worker);
        return;
    }
    bool lived = worker->answered > 0 || clock_now_ns() - worker->started_ns >= settled_life_ns;
    if (lived)
        backoff_reset(&slot->backoff);
    bool first = slot->backoff.failures == 0;
    if (limiter_pass(&pool->complaints, clock_now_ns()))
        tell_death(pool, worker);
    if (first)
        slot->backoff.failures = 1;
    restart_later(slot, first);
}

static void tell_empty(struct pool *pool)
{
    if (pool->stopping && !pool_process(pool, 0))
        pool->events->empty(pool->owner);
}

static void on_gone(void *owner, struct worker_process *worker)
{
    struct pool *pool = owner;
    struct pool_slot *slot = set_find(&pool->active, worker);
    struct pool_slot *heir = set_find_successor(&pool->active, worker);
    struct pool_slot *incoming = set_find(&pool->incoming, worker);
    pool->events->gone(pool->owner, worker);
    forget_retired(pool, worker);
    if (slot) {
        slot->worker = NULL;
        if (!pool->stopping)
            lost_worker(pool, slot, worker);
    } else if (heir) {
        heir->successor = NULL;
        log_error(log_message("a worker's successor did not start; the old one works on"),
                  log_text("consumer", pool->config->name),
                  log_text("reason", *worker->last_words ? worker->last_words : worker->reason));
    } else if (incoming) {
        struct error error;
        incoming->worker = NULL;
        explain_failed_start(worker, &error);
        give_up_reload(pool, &error);
    }
    worker_free(worker);
    tell_empty(pool);
}

static const struct worker_events worker_events = {
    .ready = on_ready,
    .result = on_result,
    .published = on_published,
    .log = on_log,
    .recycled = on_recycled,
    .leak = on_leak,
    .looked = on_looked,
    .gone = on_gone,
};

bool pool_init(struct pool *pool, struct ev_loop *loop, const struct worker_origin *origin,
               const struct consumer_config *config, const struct pool_events *events, void *owner,
               struct error *error)
{
    *pool = (struct pool){ .loop = loop,
                           .origin = origin,
                           .config = config,
                           .events = events,
                           .owner = owner,
                           .complaints.per_second = COMPLAINTS_PER_SECOND };
    return spawn_set(pool, &pool->active, config, error);
}

void pool_clear(struct pool *pool)
{
    if (!pool->loop)
        return;
    set_clear(&pool->active, pool->loop);
    set_clear(&pool->incoming, pool->loop);
    for (unsigned i = 0; i < pool->retired_count; i++)
        worker_free(pool->retired[i]);
    free(pool->retired);
    *pool = (struct pool){ 0 };
}

void pool_reload(struct pool *pool, const struct consumer_config *config)
{
    struct error error;
    if (pool->incoming.count > 0)
        retire_set(pool, &pool->incoming, worker_kill);
    pool->next_config = config;
    if (!reserve_retired(pool, 2 * (pool->active.count + config->workers))) {
        error_set(&error, ERROR_FAILED, "no memory for %u more workers", config->workers);
        give_up_reload(pool, &error);
    } else if (!spawn_set(pool, &pool->incoming, config, &error)) {
        give_up_reload(pool, &error);
    }
}

void pool_replace(struct pool *pool, struct worker_process *worker, const char *reason)
{
    struct pool_slot *slot = set_find(&pool->active, worker);
    struct error error;
    if (!slot || slot->successor || pool->draining || pool->incoming.count > 0)
        return;
    log_info(log_message("a worker process is replaced"), log_text("consumer", pool->config->name),
             log_unsigned("worker", worker->lane + 1), log_integer("pid", worker->pid),
             log_text("reason", reason), log_unsigned("answered", worker->answered),
             log_duration("age_seconds", clock_now_ns() - worker->started_ns));
    if (!reserve_retired(pool, 2 * pool->active.count)) {
        log_error(log_message("a worker's successor did not start; the old one works on"),
                  log_text("error", "no memory"));
        return;
    }
    slot->successor =
        worker_spawn(pool->loop, pool->origin, pool->config, worker->lane, &worker_events, pool, &error);
    pool->replaced += slot->successor != NULL;
    if (!slot->successor)
        log_error(log_message("a worker's successor did not start; the old one works on"),
                  log_text("error", error.text));
}

void pool_drain(struct pool *pool)
{
    pool->draining = true;
    if (pool->incoming.count > 0)
        retire_set(pool, &pool->incoming, worker_kill);
    for (unsigned i = 0; i < pool->active.count; i++) {
        ev_timer_stop(pool->loop, &pool->active.slots[i].restart);
        retire(pool, &pool->active.slots[i].successor, worker_kill);
    }
}

void pool_stop(struct pool *pool)
{
    pool_drain(pool);
    pool->stopping = true;
    for (unsigned i = 0; i < pool->active.count; i++) {
        if (pool->active.slots[i].worker)
            worker_stop(pool->active.slots[i].worker);
    }
    tell_empty(pool);
}

void pool_kill(struct pool *pool)
{
    struct worker_process *worker;
    for (unsigned i = 0; (worker = pool_process(pool, i)); i++) {
        worker->dismissed = true;
        worker_kill(worker);
    }
}

struct worker_process *pool_worker(const struct pool *pool, unsigned lane)
{
    struct worker_process *worker = pool->active.slots[lane].worker;
    return worker && worker_accepts(worker) ? worker : NULL;
}

unsigned pool_size(const struct pool *pool)
{
    return pool->active.count;
}

struct worker_process *pool_process(const struct pool *pool, unsigned index)
{
    for (unsigned i = 0; i < pool->active.count; i++) {
        if (pool->active.slots[i].worker && index-- == 0)
            return pool->active.slots[i].worker;
    }
    return index < pool->retired_count ? pool->retired[index] : NULL;
}

unsigned pool_retired_unanswered(const struct pool *pool)
{
    unsigned unanswered = 0;
    for (unsigned i = 0; i < pool->retired_count; i++)
        unanswered += pool->retired[i]->unanswered;
    return unanswered;
}
