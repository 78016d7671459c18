/* The life of the program: start, turns of the loop, signals, end; see host.h. */
#include "host/host.h"

#include "common/clock.h"
#include "common/log.h"
#include "host/amqp/connection.h"
#include "host/gather.h"
#include "host/program.h"
#include "host/seccomp.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* After the workers were killed, or all consumers have ended: how long the broker has for its last answers.
 */
static const double last_answers_seconds = 2.0;
static const double log_flush_seconds = 0.25;
static const double tick_seconds = 0.002;
static const int64_t idle_look_ns = 20 * CLOCK_NS_PER_MS;

struct shared_config *shared_config_new(const struct config *config, struct config *owned)
{
    struct shared_config *shared = calloc(1, sizeof *shared);
    if (!shared)
        return NULL;
    *shared = (struct shared_config){ .config = config, .owned = owned, .users = 1 };
    return shared;
}

void shared_config_release(struct shared_config *shared)
{
    if (!shared || --shared->users > 0)
        return;
    config_free(shared->owned);
    free(shared);
}

/* Members */

struct member *program_add(struct program *program, struct shared_config *shared,
                           const struct consumer_config *config, struct error *error)
{
    struct member *member = calloc(1, sizeof *member);
    if (!member) {
        error_set(error, ERROR_FAILED, "no memory for a consumer");
        return NULL;
    }
    member->consumer = consumer_new(&program->context, config, error);
    if (!member->consumer) {
        free(member);
        return NULL;
    }
    shared->users++;
    member->shared = shared;
    member->next = program->members;
    program->members = member;
    return member;
}

struct member *program_find(const struct program *program, const struct consumer *consumer)
{
    struct member *member = program->members;
    while (member && member->consumer != consumer)
        member = member->next;
    return member;
}

/* A newer member stands before an older one. */
static bool is_shown(const struct program *program, const struct member *member)
{
    if (member->joining)
        return false;
    for (const struct member *newer = program->members; newer != member; newer = newer->next) {
        if (!newer->joining && strcmp(newer->consumer->config->name, member->consumer->config->name) == 0)
            return false;
    }
    return true;
}

const struct member *program_next_shown(const struct program *program, const struct member *after)
{
    const struct member *member = after ? after->next : program->members;
    while (member && !is_shown(program, member))
        member = member->next;
    return member;
}

static void free_members(struct program *program, bool only_ended)
{
    struct member **link = &program->members;
    while (*link) {
        struct member *member = *link;
        if (only_ended && !member->ended) {
            link = &member->next;
            continue;
        }
        *link = member->next;
        consumer_free(member->consumer);
        shared_config_release(member->shared);
        shared_config_release(member->next_shared);
        free(member);
    }
}

static bool all_started(const struct program *program)
{
    for (const struct member *member = program->members; member; member = member->next) {
        if (!member->consumer->pool.started)
            return false;
    }
    return true;
}

/* The end */

static void stop_now(struct program *program)
{
    program->phase = PROGRAM_STOPPED;
    ev_break(program->loop, EVBREAK_ALL);
}

static void set_shutdown(struct program *program, double seconds)
{
    ev_timer_stop(program->loop, &program->shutdown);
    ev_timer_set(&program->shutdown, seconds, 0);
    ev_timer_start(program->loop, &program->shutdown);
}

/* First time: whoever is still running is killed and its message handed back. Second time: the broker is
 * silent. */
static void on_shutdown(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct program *program = watcher->data;
    if (program->closing || program->hurried) {
        log_warning(log_message("the broker did not answer the end in time; it will notice by itself"));
        stop_now(program);
        return;
    }
    program->hurried = true;
    log_warning(
        log_message("shutdown_timeout is over: running handlers are ended and their messages handed back"));
    for (struct member *member = program->members; member; member = member->next)
        consumer_hurry(member->consumer);
    set_shutdown(program, last_answers_seconds);
}

void program_stop(struct program *program)
{
    if (program->phase == PROGRAM_STOPPING || program->phase == PROGRAM_STOPPED)
        return;
    program->phase = PROGRAM_STOPPING;
    ev_timer_stop(program->loop, &program->idle);
    set_shutdown(program, (double)program->shutdown_timeout_ns / 1e9);
    for (struct member *member = program->members; member; member = member->next)
        consumer_stop(member->consumer);
}

void program_fail(struct program *program, const struct error *error)
{
    if (program->exit_code == 0) {
        program->exit_code = error->code;
        program->failure = *error;
    }
    program_stop(program);
}

static void stop_broker_when_all_ended(struct program *program)
{
    if (program->phase != PROGRAM_STOPPING || program->members || program->closing)
        return;
    /* What teardown published is still on its way; it has until shutdown_timeout. */
    if (program->outlet.loose_count > 0 && broker_is_up(&program->outlet.broker) && !program->hurried)
        return;
    program->closing = true;
    set_shutdown(program, last_answers_seconds);
    broker_stop(&program->outlet.broker);
}

/* The loop's turns */

static bool something_ends(const struct program *program)
{
    bool ends = program->phase == PROGRAM_STOPPING;
    for (const struct member *member = program->members; member; member = member->next)
        ends = ends || member->consumer->phase != CONSUMER_RUNNING;
    return ends;
}

/* A timer that does not run wakes nobody. */
static void run_while(struct ev_loop *loop, ev_timer *timer, bool wanted)
{
    if (!wanted)
        ev_timer_stop(loop, timer);
    else if (!ev_is_active(timer))
        ev_timer_again(loop, timer);
}

/* Looked at now and then; what was found holds until the next look. */
static void let_gather(struct program *program)
{
    int64_t now_ns = clock_now_ns();
    int64_t while_ns = now_ns - program->gathered_ns;
    struct gather gather;
    if (while_ns < GATHER_LOOK_NS)
        return;
    program->gathered_ns = now_ns;
    gather_begin(&gather, while_ns);
    for (struct member *member = program->members; member; member = member->next) {
        uint64_t delivered = member->consumer->counts.delivered;
        gather_add(&gather, delivered - member->delivered_before, member->consumer->config->prefetch);
        member->delivered_before = delivered;
    }
    ev_set_io_collect_interval(program->loop, (double)gather_pause_ns(&gather) / 1e9);
}

static void on_turn(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)events;
    struct program *program = watcher->data;
    for (struct member *member = program->members; member; member = member->next)
        consumer_turn(member->consumer);
    outlet_turn(&program->outlet);
    broker_turn(&program->broker);
    if (budget_is_spent(&program->budget))
        program_stop(program);
    free_members(program, true);
    stop_broker_when_all_ended(program);
    run_while(loop, &program->tick, something_ends(program));
    run_while(loop, &program->flush_log, log_waits());
    let_gather(program);
}

static void on_idle(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)events;
    struct program *program = watcher->data;
    int64_t since_ns = 0;
    for (const struct member *member = program->members; member; member = member->next) {
        int64_t idle_ns = consumer_idle_since_ns(member->consumer);
        since_ns = idle_ns > since_ns ? idle_ns : since_ns;
    }
    int64_t left_ns = idle_look_ns;
    if (since_ns < INT64_MAX)
        left_ns = since_ns + program->exit_when_idle_ns - clock_now_ns();
    if (left_ns <= 0) {
        log_info(log_message("idle: the queues have been empty for as long as --exit-when-idle says"));
        program_stop(program);
        return;
    }
    ev_timer_set(watcher, (double)left_ns / 1e9, 0);
    ev_timer_start(loop, watcher);
}

static void on_flush_log(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
    log_flush();
}

static void on_stop_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    struct program *program = watcher->data;
    if (program->phase == PROGRAM_STOPPING) {
        log_warning(log_message("stopping at once: the broker delivers again what was not settled"));
        program->exit_code = ERROR_FAILED;
        stop_now(program);
        return;
    }
    log_info(log_message("stopping"), log_text("signal", strsignal(watcher->signum)),
             log_duration("timeout_seconds", program->shutdown_timeout_ns));
    program_stop(program);
}

static void on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop;
    (void)events;
    program_reload(watcher->data);
}

/* The turn that follows does the work. */
static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

/* Consumers */

static void begin_consuming(struct program *program)
{
    struct error error;
    program->phase = PROGRAM_RUNNING;
    for (struct member *member = program->members; member; member = member->next) {
        if (!consumer_subscribe(member->consumer, &error)) {
            program_fail(program, &error);
            return;
        }
    }
    if (!broker_start(&program->broker, &error)) {
        program_fail(program, &error);
        return;
    }
    if (program->exit_when_idle_ns >= 0)
        ev_timer_start(program->loop, &program->idle);
    if (program->reload_waits)
        program_reload(program);
}

static void on_started(void *owner, struct consumer *consumer)
{
    struct program *program = owner;
    struct member *member = program_find(program, consumer);
    if (member && member->joining)
        program_member_ready(program, member);
    else if (program->phase == PROGRAM_STARTING && all_started(program) && program->check_only)
        program_stop(program);
    else if (program->phase == PROGRAM_STARTING && all_started(program))
        begin_consuming(program);
}

static void on_consuming(void *owner, struct consumer *consumer)
{
    struct program *program = owner;
    struct member *member = program_find(program, consumer);
    if (member && member->joining)
        program_member_joined(program, member);
}

static void on_failed(void *owner, struct consumer *consumer, const struct error *error)
{
    struct program *program = owner;
    struct member *member = program_find(program, consumer);
    if (member && member->joining)
        program_member_failed(program, member, error);
    else
        program_fail(program, error);
}

static void on_reloaded(void *owner, struct consumer *consumer, const struct error *error)
{
    struct program *program = owner;
    struct member *member = program_find(program, consumer);
    if (member)
        program_member_reloaded(program, member, error);
}

static void on_ended(void *owner, struct consumer *consumer)
{
    struct member *member = program_find(owner, consumer);
    if (member)
        member->ended = true;
}

static const struct consumer_events consumer_events = {
    .started = on_started,
    .consuming = on_consuming,
    .failed = on_failed,
    .reloaded = on_reloaded,
    .ended = on_ended,
};

static void on_broker_stopped(void *owner)
{
    stop_now(owner);
}

/* One connection after the other: the one that settles goes last. */
static void on_outlet_stopped(void *owner)
{
    struct program *program = owner;
    broker_stop(&program->broker);
}

/* The first connection stands: the second may be made. */
static void on_broker_up(void *owner)
{
    struct program *program = owner;
    struct error error;
    if (program->outlet_started)
        return;
    program->outlet_started = true;
    program->outlet.broker.was_up = true; /* the broker was reached: from now on it is waited for */
    if (!broker_start(&program->outlet.broker, &error))
        program_fail(program, &error);
}

static void on_broker_failed(void *owner, const struct error *error)
{
    program_fail(owner, error);
}

/* Start */

static void init_watchers(struct program *program)
{
    ev_prepare_init(&program->turn, on_turn);
    ev_signal_init(&program->interrupt, on_stop_signal, SIGINT);
    ev_signal_init(&program->terminate, on_stop_signal, SIGTERM);
    ev_signal_init(&program->hangup, on_hangup, SIGHUP);
    ev_timer_init(&program->idle, on_idle, (double)idle_look_ns / 1e9, 0);
    ev_set_priority(&program->idle, EV_MINPRI); /* after whatever has come meanwhile */
    ev_init(&program->shutdown, on_shutdown);
    ev_timer_init(&program->tick, on_tick, tick_seconds, tick_seconds);
    ev_timer_init(&program->flush_log, on_flush_log, log_flush_seconds, log_flush_seconds);
    program->turn.data = program->interrupt.data = program->terminate.data = program->hangup.data =
        program->idle.data = program->shutdown.data = program;
    ev_prepare_start(program->loop, &program->turn);
    ev_signal_start(program->loop, &program->interrupt);
    ev_signal_start(program->loop, &program->terminate);
    ev_signal_start(program->loop, &program->hangup);
}

static void stop_watchers(struct program *program)
{
    ev_prepare_stop(program->loop, &program->turn);
    ev_signal_stop(program->loop, &program->interrupt);
    ev_signal_stop(program->loop, &program->terminate);
    ev_signal_stop(program->loop, &program->hangup);
    ev_timer_stop(program->loop, &program->idle);
    ev_timer_stop(program->loop, &program->shutdown);
    ev_timer_stop(program->loop, &program->flush_log);
    ev_timer_stop(program->loop, &program->tick);
}

static void close_descriptor(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

/* The cache is made once and outlives every worker and every reload. */
static bool open_origin(struct program *program, const struct config *config, struct error *error)
{
    const struct cache_config cache = { .memory_bytes = (size_t)config->cache.memory_bytes,
                                        .entries = (size_t)config->cache.entries,
                                        .ttl_ns = config->cache.ttl_ns };
    struct worker_origin *origin = &program->context.origin;
    origin->program_fd = worker_program_open(error);
    program->seccomp = config->sandbox.seccomp;
    return origin->program_fd >= 0 && seccomp_choose(program->seccomp, &origin->seccomp, error) &&
           cache_create(&program->cache, &cache, &origin->cache_fd, error);
}

static bool program_init(struct program *program, const struct config *config, struct error *error)
{
    program->started_ns = clock_now_ns();
    program->started_at = (int64_t)time(NULL);
    program->loop = ev_default_loop(EVFLAG_AUTO);
    if (!program->loop)
        return error_set(error, ERROR_FAILED,
                         "cannot make an event loop: is a kernel limit (open files) reached?");
    program->context = (struct consumer_context){ .loop = program->loop,
                                                  .broker = &program->broker,
                                                  .outlet = &program->outlet,
                                                  .budget = &program->budget,
                                                  .events = &consumer_events,
                                                  .owner = program,
                                                  .origin = { .program_fd = -1, .cache_fd = -1 } };
    if (gethostname(program->context.host, sizeof program->context.host - 1) < 0)
        (void)snprintf(program->context.host, sizeof program->context.host, "host");
    if (!open_origin(program, config, error))
        return false;
    program->context.handler_lines = config->log_handler_lines;
    program->budget.limit = (uint64_t)config->max_messages;
    program->exit_when_idle_ns = config->exit_when_idle_ns;
    program->shutdown_timeout_ns = config->shutdown_timeout_ns;
    program->shared = shared_config_new(config, NULL);
    if (!program->shared)
        return error_set(error, ERROR_FAILED, "no memory");
    /* A peer that goes away, or a log that may not grow any more, is an error of the call that writes to it,
     * not the end of the program. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return error_set(error, ERROR_FAILED, "cannot ignore SIGPIPE and SIGXFSZ");
    init_watchers(program);
    if (!broker_init(&program->broker, program->loop, &config->broker, "consuming",
                     config->broker.max_channels, error) ||
        !outlet_init(&program->outlet, program->loop, &config->broker, error))
        return false;
    program->outlet.muted = program->check_only;
    program->outlet.broker.stopped = on_outlet_stopped;
    program->outlet.broker.failed = on_broker_failed;
    program->outlet.broker.owner = program;
    program->broker.came_up = on_broker_up;
    program->broker.stopped = on_broker_stopped;
    program->broker.failed = on_broker_failed;
    program->broker.owner = program;
    probe_init(&program->probe, program);
    monitor_start(program, config);
    return program->check_only || status_start(&program->status, program, config, error);
}

static void program_clear(struct program *program)
{
    status_stop(&program->status);
    free_members(program, false);
    program->reconnects = program->broker.reconnects;
    outlet_clear(&program->outlet);
    broker_clear(&program->broker);
    shared_config_release(program->shared);
    cache_unmap(&program->cache);
    close_descriptor(program->context.origin.program_fd);
    close_descriptor(program->context.origin.cache_fd);
    if (program->loop) {
        monitor_stop(program);
        stop_watchers(program);
        ev_loop_destroy(program->loop);
    }
    log_flush();
}

static bool start_consumers(struct program *program, const struct config *config, struct error *error)
{
    assert(program->shared);
    for (size_t i = 0; i < config->consumer_count; i++) {
        if (!program_add(program, program->shared, &config->consumers[i], error))
            return false;
    }
    return true;
}

/* Runs the program to its end; its failure, if any, is in program->failure. */
static void run(struct program *program, const struct config *config)
{
    struct error error;
    program->context.origin = (struct worker_origin){ .program_fd = -1, .cache_fd = -1 };
    if (connection_check(&config->broker, &error) && program_init(program, config, &error) &&
        start_consumers(program, config, &error)) {
        ev_run(program->loop, 0);
    } else {
        program->exit_code = error.code;
        program->failure = error;
    }
    program_clear(program);
}

int host_run(const struct config *config, const struct config_source *source)
{
    struct program program = { .source = source };
    log_info(log_message("moonrabbit starts"), log_text("version", MOONRABBIT_VERSION),
             log_integer("pid", getpid()));
    run(&program, config);
    if (program.exit_code != 0 && *program.failure.text)
        log_error(log_message("moonrabbit stopped by an error"), log_text("error", program.failure.text));
    else
        log_info(log_message("moonrabbit stopped"), log_unsigned("settled", program.budget.settled),
                 log_unsigned("reconnects", program.reconnects));
    log_flush();
    return program.exit_code;
}

bool host_check(const struct config *config, struct error *error)
{
    struct program program = { .check_only = true };
    run(&program, config);
    if (program.exit_code != 0)
        *error = program.failure;
    return program.exit_code == 0;
}
