/* Readiness; see health.h. */
#include "host/status/health.h"

#include "host/json.h"
#include "host/program.h"

static bool has_ready_worker(const struct consumer *consumer)
{
    const struct worker_set *set = &consumer->pool.active;
    for (unsigned i = 0; i < set->count; i++) {
        if (set->slots[i].worker && set->slots[i].worker->state == WORKER_READY)
            return true;
    }
    return false;
}

/* What is missing of a consumer; NULL where nothing is. */
static const char *missing_of(const struct consumer *consumer)
{
    if (!has_ready_worker(consumer))
        return "no worker is ready";
    if (consumer->phase != CONSUMER_RUNNING)
        return "it stops";
    if (!consumer->subscribed || consumer->subscription.state != SUBSCRIPTION_CONSUMING)
        return "it does not consume";
    return NULL;
}

/* What is missing of the program itself. */
static const char *missing(const struct program *program)
{
    if (program->phase == PROGRAM_STARTING)
        return "not ready: the program starts";
    if (program->phase != PROGRAM_RUNNING)
        return "not ready: the program stops";
    if (!broker_is_up(&program->broker))
        return "not ready: the consuming connection is down";
    if (!broker_is_up(&program->outlet.broker))
        return "not ready: the publishing connection is down";
    return NULL;
}

/* Names are quoted: they may hold anything. */
static void say(struct buffer *to, const struct consumer *consumer, const char *what)
{
    (void)buffer_append_text(to, "not ready: consumer ");
    json_put_text(to, slice_of(consumer->config->name));
    (void)buffer_printf(to, ": %s", what);
}

bool health_is_ready(const struct program *program, struct buffer *to)
{
    const char *what = missing(program);
    if (what) {
        if (to)
            (void)buffer_append_text(to, what);
        return false;
    }
    for (const struct member *member = program_next_shown(program, NULL); member;
         member = program_next_shown(program, member)) {
        what = missing_of(member->consumer);
        if (what && to)
            say(to, member->consumer, what);
        if (what)
            return false;
    }
    if (to)
        (void)buffer_append_text(to, "ready");
    return true;
}
