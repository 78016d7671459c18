/* Giving messages to a worker without a broker; see trial.h. */
#include "test/trial.h"

#include "common/clock.h"
#include "host/pool.h"
#include "host/seccomp.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    ENVELOPE_BYTES = WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES,
    HANDOVERS_MAX = 3, /* to workers that die before they have begun the message */
};

/* Events of the worker */

static void on_ready(void *owner, struct worker_process *worker)
{
    (void)owner;
    (void)worker; /* its state says so */
}

static enum trial_cause cause_of(enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_ACK:
    case WIRE_RETRY:
    case WIRE_REQUEUE:
    case WIRE_REJECT:
        return TRIAL_NONE;
    case WIRE_UNDECODABLE:
        return TRIAL_BODY;
    case WIRE_OUT_OF_MEMORY:
        return TRIAL_MEMORY;
    case WIRE_OUT_OF_TIME:
        return TRIAL_TIME;
    case WIRE_ERROR:
    case WIRE_SKIPPED:
    case WIRE_RETURNED:
    default:
        return TRIAL_RAISED;
    }
}

static void set_text(struct trial_outcome *outcome, struct slice text)
{
    outcome->text_bytes = text.size < WIRE_TEXT_MAX ? text.size : WIRE_TEXT_MAX;
    if (outcome->text_bytes > 0)
        memcpy(outcome->text, text.data, outcome->text_bytes);
    outcome->text[outcome->text_bytes] = '\0';
}

static void on_result(void *owner, struct worker_process *worker, const struct wire_result *result,
                      struct slice text, struct buffer *messages)
{
    struct trial *trial = owner;
    struct trial_outcome *outcome = trial->outcome;
    const struct delivery *delivery = ledger_find(&trial->ledger, result->slot, worker, result->seq);
    if (!outcome || !delivery)
        return;
    enum wire_verdict verdict = (enum wire_verdict)result->verdict;
    outcome->cause = cause_of(verdict);
    outcome->verdict = outcome->cause == TRIAL_NONE ? verdict : WIRE_ERROR;
    outcome->ruling = ruling_for_result(verdict, delivery->attempt, trial->config->retry.attempts).kind;
    outcome->elapsed_ns = result->elapsed_ns;
    outcome->delay_ns = result->delay_ns;
    outcome->heap_bytes = atomic_load(&worker->board->heap_bytes);
    set_text(outcome, text);
    buffer_swap(&trial->published, messages);
    trial->answered = true;
}

static void on_log(void *owner, struct worker_process *worker, enum log_level level, struct slice attributes)
{
    (void)worker;
    struct trial *trial = owner;
    struct buffer *to = trial->answered ? &trial->loose : &trial->logs;
    const struct wire_log line = { .level = (uint8_t)level };
    /* Where there is no room for it all, none of it must be there. */
    if (!buffer_reserve(to, WIRE_HEADER_BYTES + WIRE_LOG_BYTES + attributes.size)) {
        to->failed = false;
        trial->logs_lost++;
        return;
    }
    size_t mark = wire_begin(to, WIRE_LOG);
    wire_add_log(to, &line);
    (void)buffer_append(to, attributes.data, attributes.size);
    wire_end(to, mark);
}

/* What has come until now belongs to no message. */
static void set_logs_aside(struct trial *trial)
{
    if (trial->logs.size > 0 && !buffer_append(&trial->loose, trial->logs.data, trial->logs.size)) {
        trial->loose.failed = false;
        trial->logs_lost++;
    }
    buffer_reset(&trial->logs);
}

/* Lines that come before it are those of the old state's teardown and of the new state's loading. */
static void on_recycled(void *owner, struct worker_process *worker, const struct wire_recycled *recycled)
{
    (void)worker;
    struct trial *trial = owner;
    trial->recycled[recycled->reason]++;
    trial->last_recycled = *recycled;
    if (!trial->answered)
        set_logs_aside(trial);
}

static void on_leak(void *owner, struct worker_process *worker, const struct wire_leak *leak,
                    const struct leak_names *names)
{
    struct trial *trial = owner;
    bool is_new;
    (void)leaks_add(&trial->leaks, worker->lane, leak, names, clock_now_ns(), &is_new);
}

static void on_looked(void *owner, struct worker_process *worker, const struct wire_looked *looked)
{
    struct trial *trial = owner;
    (void)worker;
    trial->looked = *looked;
    trial->has_looked = true;
}

static void on_gone(void *owner, struct worker_process *worker)
{
    (void)worker;
    struct trial *trial = owner;
    trial->gone = true;
}

static void on_published(void *owner, struct worker_process *worker, struct slice message)
{
    struct trial *trial = owner;
    (void)worker;
    if (!buffer_append(&trial->published_loose, message.data, message.size)) {
        trial->published_loose.failed = false;
        trial->published_lost++;
    }
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

/* The worker */

static void forget_worker(struct trial *trial)
{
    worker_free(trial->worker);
    trial->worker = NULL;
    trial->gone = false;
}

static bool refuse_start(struct trial *trial, struct error *error)
{
    const struct worker_process *worker = trial->worker;
    if (*worker->last_words)
        error_set(error, ERROR_USAGE, "%s", worker->last_words);
    else
        error_set(error, ERROR_FAILED, "a worker ended before it was ready: %s", worker->reason);
    forget_worker(trial);
    return false;
}

/* False where the worker could not even be spawned; what became of it else is in its state. */
static bool start_once(struct trial *trial, struct error *error)
{
    forget_worker(trial);
    log_set_level(trial->log_level); /* each worker is told the level of the log at its birth */
    ev_now_update(trial->loop);
    trial->worker = worker_spawn(trial->loop, &trial->origin, trial->config, 0, &worker_events, trial, error);
    if (!trial->worker)
        return false;
    while (!trial->gone && !worker_accepts(trial->worker))
        (void)ev_run(trial->loop, EVRUN_ONCE);
    return true;
}

/* Where limits.deadline is short and the machine busy, loading may run over it without any fault of the
 * script: as in host/pool.c it is tried again. */
static bool start_worker(struct trial *trial, struct error *error)
{
    for (int i = 0; i < POOL_START_ATTEMPTS; i++) {
        if (!start_once(trial, error))
            return false;
        if (!trial->gone) {
            trial->processes++;
            return true;
        }
        if (!trial->worker->ran_over)
            break;
    }
    return refuse_start(trial, error);
}

/* A worker that takes messages, with all that it has said so far heard. */
static bool ensure_worker(struct trial *trial, struct error *error)
{
    ev_now_update(trial->loop);
    (void)ev_run(trial->loop, EVRUN_NOWAIT);
    if (trial->gone)
        forget_worker(trial);
    if (!trial->worker && !start_worker(trial, error))
        return false;
    if (!trial->answered)
        set_logs_aside(trial);
    return true;
}

bool trial_init(struct trial *trial, const struct config *config, const struct consumer_config *consumer,
                struct error *error)
{
    const struct cache_config cache = { .memory_bytes = (size_t)config->cache.memory_bytes,
                                        .entries = (size_t)config->cache.entries,
                                        .ttl_ns = config->cache.ttl_ns };
    *trial = (struct trial){ .origin = { .program_fd = -1, .cache_fd = -1, .on_trial = true },
                             .config = consumer,
                             .log_level = config->log_level };
    buffer_init(&trial->logs, TRIAL_LOGS_BYTES_MAX);
    buffer_init(&trial->loose, TRIAL_LOGS_BYTES_MAX);
    buffer_init(&trial->published, SIZE_MAX); /* by the worker's own bound */
    buffer_init(&trial->published_loose, TRIAL_PUBLISHED_BYTES_MAX);
    trial->loop = ev_default_loop(EVFLAG_AUTO); /* the only one that hears of children */
    if (!trial->loop)
        return error_set(error, ERROR_FAILED,
                         "cannot make an event loop: is a kernel limit (open files) reached?");
    trial->origin.program_fd = worker_program_open(error);
    return trial->origin.program_fd >= 0 &&
           seccomp_choose(config->sandbox.seccomp, &trial->origin.seccomp, error) &&
           cache_create(&trial->cache, &cache, &trial->origin.cache_fd, error) &&
           ledger_init(&trial->ledger, 1, error) && ensure_worker(trial, error);
}

/* Messages */

/* As host/assembly.c lays a delivery out. */
static struct delivery *hold(struct trial *trial, const struct trial_message *message, struct error *error)
{
    ledger_drop(&trial->ledger);
    struct delivery *delivery = ledger_arrive(&trial->ledger, 1);
    size_t bytes = ENVELOPE_BYTES + message->attributes.size + message->body.size;
    if (!delivery || !delivery_reserve(delivery, bytes)) {
        error_set(error, ERROR_FAILED, "no memory for a message of %zu bytes", bytes);
        return NULL;
    }
    char *cursor = delivery->frame + ENVELOPE_BYTES;
    if (message->attributes.size > 0)
        memcpy(cursor, message->attributes.data, message->attributes.size);
    if (message->body.size > 0)
        memcpy(cursor + message->attributes.size, message->body.data, message->body.size);
    delivery->attributes_bytes = (uint32_t)message->attributes.size;
    delivery->body_bytes = message->body.size;
    delivery->frame_bytes = bytes;
    delivery->attempt = message->attempt;
    delivery->redelivered = message->redelivered;
    ledger_hold(&trial->ledger, delivery);
    return delivery;
}

static void take_death(struct trial *trial, const struct delivery *delivery, int64_t began_ns)
{
    const struct worker_process *worker = trial->worker;
    struct trial_outcome *outcome = trial->outcome;
    outcome->verdict = WIRE_ERROR;
    outcome->cause = TRIAL_KILLED;
    outcome->ruling = ruling_for_crash(delivery->attempt, trial->config->retry.attempts).kind;
    outcome->elapsed_ns = clock_now_ns() - began_ns;
    set_text(outcome, slice_of(*worker->last_words ? worker->last_words : worker->reason));
}

/* True where the message is answered, or has cost the worker its life. */
static bool hand_over(struct trial *trial, struct delivery *delivery)
{
    int64_t began_ns = clock_now_ns();
    uint64_t running;
    (void)worker_send(trial->worker, &trial->ledger, &delivery, 1);
    while (!trial->answered && !trial->gone)
        (void)ev_run(trial->loop, EVRUN_ONCE);
    if (trial->answered)
        return true;
    bool begun = worker_running(trial->worker, &running) && running == delivery->seq;
    if (begun)
        take_death(trial, delivery, began_ns);
    else if (delivery->state == DELIVERY_DISPATCHED)
        ledger_return(&trial->ledger, delivery);
    return begun;
}

static void refuse_size(const struct trial *trial, const struct trial_message *message,
                        struct trial_outcome *outcome)
{
    char reason[128];
    int size = snprintf(reason, sizeof reason, "its body has %zu bytes, limits.message is %lld",
                        message->body.size, (long long)trial->config->limits.message_bytes);
    outcome->verdict = WIRE_ERROR;
    outcome->cause = TRIAL_SIZE;
    outcome->ruling = ruling_for_oversized().kind;
    set_text(outcome, (struct slice){ .data = reason, .size = size > 0 ? (size_t)size : 0 });
}

bool trial_deliver(struct trial *trial, const struct trial_message *message, struct trial_outcome *ret,
                   struct error *error)
{
    *ret = (struct trial_outcome){ .delay_ns = -1 };
    set_logs_aside(trial);
    buffer_reset(&trial->published);
    if (message->attributes.size > WIRE_ATTRIBUTES_MAX)
        return error_set(error, ERROR_USAGE, "headers and properties have %zu bytes, and %d are possible",
                         message->attributes.size, WIRE_ATTRIBUTES_MAX);
    if (message->body.size > (uint64_t)trial->config->limits.message_bytes) {
        refuse_size(trial, message, ret);
        return true;
    }
    struct delivery *delivery = hold(trial, message, error);
    bool done = false;
    trial->outcome = ret;
    trial->answered = false;
    for (int i = 0; delivery && !done && i < HANDOVERS_MAX; i++) {
        if (!ensure_worker(trial, error))
            delivery = NULL;
        else
            done = hand_over(trial, delivery);
    }
    trial->outcome = NULL;
    if (delivery && !done)
        return error_set(error, ERROR_FAILED, "%d workers in a row died before they began the message",
                         HANDOVERS_MAX);
    return done;
}

bool trial_recycle(struct trial *trial, struct wire_recycled *ret, struct error *error)
{
    if (!ensure_worker(trial, error))
        return false;
    uint64_t before = trial->recycled[WIRE_RECYCLE_ASKED];
    worker_recycle(trial->worker);
    while (!trial->gone && trial->recycled[WIRE_RECYCLE_ASKED] == before)
        (void)ev_run(trial->loop, EVRUN_ONCE);
    if (trial->gone)
        return refuse_start(trial, error);
    *ret = trial->last_recycled;
    return true;
}

void trial_look(struct trial *trial)
{
    ev_now_update(trial->loop);
    (void)ev_run(trial->loop, EVRUN_NOWAIT);
    trial->has_looked = false;
    if (!trial->worker || trial->gone)
        return;
    worker_look(trial->worker);
    while (!trial->gone && !trial->has_looked)
        (void)ev_run(trial->loop, EVRUN_ONCE);
}

void trial_stop(struct trial *trial)
{
    if (!trial->worker)
        return;
    ev_now_update(trial->loop);
    worker_stop(trial->worker);
    while (!trial->gone)
        (void)ev_run(trial->loop, EVRUN_ONCE);
    forget_worker(trial);
}

static void close_descriptor(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

void trial_clear(struct trial *trial)
{
    forget_worker(trial);
    ledger_clear(&trial->ledger);
    cache_unmap(&trial->cache);
    close_descriptor(trial->origin.program_fd);
    close_descriptor(trial->origin.cache_fd);
    buffer_clear(&trial->logs);
    buffer_clear(&trial->loose);
    buffer_clear(&trial->published);
    buffer_clear(&trial->published_loose);
    *trial = (struct trial){ .origin = { .program_fd = -1, .cache_fd = -1 } };
}
