/* SIGHUP: a new configuration and new scripts take over without losing a message, or the old ones stay.
 *
 * A consumer whose channel is as before gets a new set of workers beside the old one (pool.h). One whose
 * queue, prefetch or declaration changed is started anew and replaces the old one once it consumes; until
 * then it is `joining`. One that is no longer configured leaves. What concerns the connection itself needs a
 * restart and is only warned of. */
#include "host/program.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

static void log_problems(const struct buffer *problems)
{
    const char *cursor = problems->data;
    const char *end = cursor + problems->size;
    while (cursor < end) {
        const char *newline = memchr(cursor, '\n', (size_t)(end - cursor));
        size_t size = (size_t)((newline ? newline : end) - cursor);
        log_error(log_message("configuration not reloaded; the old one stays"),
                  log_bytes("problem", cursor, size));
        cursor += size + 1;
    }
}

static struct shared_config *read_again(const struct program *program)
{
    enum { PROBLEMS_MAX = 64 * 1024 };
    struct buffer problems;
    buffer_init(&problems, PROBLEMS_MAX);
    struct config *config = config_load(program->source, &problems);
    log_info(log_message("reloading configuration and scripts")); /* who reads it may write the next file */
    struct shared_config *shared = config ? shared_config_new(config, config) : NULL;
    if (!config)
        log_problems(&problems);
    buffer_clear(&problems);
    return shared;
}

static struct member *find_by_name(const struct program *program, const char *name)
{
    for (struct member *member = program->members; member; member = member->next) {
        if (!member->joining && !member->ended && member->consumer->phase == CONSUMER_RUNNING &&
            strcmp(member->consumer->config->name, name) == 0)
            return member;
    }
    return NULL;
}

static const struct consumer_config *find_config(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->consumer_count; i++) {
        if (strcmp(config->consumers[i].name, name) == 0)
            return &config->consumers[i];
    }
    return NULL;
}

static void reload_member(struct member *member, struct shared_config *shared,
                          const struct consumer_config *config)
{
    /* A reload that is still going on is superseded, and says nothing more. */
    struct shared_config *superseded = member->next_shared;
    shared->users++;
    member->next_shared = shared;
    consumer_reload(member->consumer, config);
    shared_config_release(superseded);
}

static void start_member(struct program *program, struct shared_config *shared,
                         const struct consumer_config *config, bool replaces)
{
    struct error error;
    struct member *member = program_add(program, shared, config, &error);
    if (!member) {
        log_error(log_message("consumer not started; the old one, if any, stays"),
                  log_text("consumer", config->name), log_text("error", error.text));
        return;
    }
    member->joining = true;
    member->replaces = replaces;
}

/* What an earlier reload began and had not finished: this one decides anew. It goes on as `joining`, so that
 * its last events concern nobody. */
static void give_up_joining(struct program *program)
{
    for (struct member *member = program->members; member; member = member->next) {
        if (member->joining)
            consumer_stop(member->consumer);
    }
}

static bool same_urls(const struct broker_config *one, const struct broker_config *other)
{
    if (one->url_count != other->url_count || one->heartbeat_seconds != other->heartbeat_seconds ||
        one->max_channels != other->max_channels)
        return false;
    for (size_t i = 0; i < one->url_count; i++) {
        if (strcmp(one->urls[i], other->urls[i]) != 0)
            return false;
    }
    return true;
}

static bool same_listener(const struct config *one, const struct config *other)
{
    const char *here = one->status.listen, *there = other->status.listen;
    return here && there ? strcmp(here, there) == 0 : here == there;
}

static void stop_left_out(struct program *program, const struct config *config)
{
    for (struct member *member = program->members; member; member = member->next) {
        if (!member->joining && !find_config(config, member->consumer->config->name)) {
            log_info(log_message("consumer is no longer configured; it stops"),
                     log_text("consumer", member->consumer->config->name));
            consumer_stop(member->consumer);
        }
    }
}

/* Where it cannot be now it is told, and while the program starts it is remembered. */
static bool may_reload(struct program *program)
{
    if (program->phase == PROGRAM_STARTING) {
        log_info(log_message("still starting: configuration and scripts are reloaded right after that"));
        program->reload_waits = true;
    } else if (program->phase != PROGRAM_RUNNING) {
        log_info(log_message("stopping: nothing is reloaded"));
    }
    return program->phase == PROGRAM_RUNNING;
}

void program_reload(struct program *program)
{
    if (!may_reload(program))
        return;
    struct shared_config *shared = read_again(program);
    if (!shared)
        return;
    const struct config *config = shared->config;
    if (!same_urls(program->broker.config, &config->broker))
        log_warning(log_message("changes of `broker` take effect at the next start of the program"));
    if (!same_listener(program->shared->config, config))
        log_warning(log_message("changes of `status` take effect at the next start of the program"));
    if (config->sandbox.seccomp != program->seccomp)
        log_warning(log_message("changes of `sandbox` take effect at the next start of the program"));
    log_set_level(config->log_level);
    program->context.handler_lines = config->log_handler_lines;
    program->shutdown_timeout_ns = config->shutdown_timeout_ns;
    monitor_start(program, config);
    give_up_joining(program);
    for (size_t i = 0; i < config->consumer_count; i++) {
        const struct consumer_config *wanted = &config->consumers[i];
        struct member *member = find_by_name(program, wanted->name);
        if (member && consumer_can_reload(member->consumer, wanted))
            reload_member(member, shared, wanted);
        else
            start_member(program, shared, wanted, member != NULL);
    }
    stop_left_out(program, config);
    shared_config_release(program->shared);
    program->shared = shared;
}

void program_member_ready(struct program *program, struct member *member)
{
    struct error error;
    if (member->consumer->phase == CONSUMER_RUNNING && !consumer_subscribe(member->consumer, &error))
        program_member_failed(program, member, &error);
}

void program_member_joined(struct program *program, struct member *member)
{
    const char *name = member->consumer->config->name;
    if (member->consumer->phase != CONSUMER_RUNNING)
        return;
    struct member *old = member->replaces ? find_by_name(program, name) : NULL;
    member->joining = false;
    log_info(log_message("consumer started by the reload"), log_text("consumer", name));
    if (old)
        consumer_stop(old->consumer);
}

void program_member_failed(struct program *program, struct member *member, const struct error *error)
{
    (void)program;
    if (member->consumer->phase != CONSUMER_RUNNING)
        return;
    log_error(log_message("consumer not started; the old one, if any, stays"),
              log_text("consumer", member->consumer->config->name), log_text("error", error->text));
    consumer_stop(member->consumer);
}

void program_member_reloaded(struct program *program, struct member *member, const struct error *error)
{
    (void)program;
    const char *name = member->consumer->config->name;
    if (error) {
        log_error(log_message("scripts not reloaded; the old code stays"), log_text("consumer", name),
                  log_text("error", error->text));
        shared_config_release(member->next_shared);
    } else {
        log_info(log_message("reloaded: new workers have taken over"), log_text("consumer", name));
        shared_config_release(member->shared);
        member->shared = member->next_shared;
    }
    member->next_shared = NULL;
}
