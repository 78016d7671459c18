/* Asking the broker about queues; see probe.h. */
#include "host/probe.h"

#include "common/clock.h"
#include "host/program.h"

#include <stdio.h>
#include <string.h>

static const int64_t missing_wait_ns = 300 * CLOCK_NS_PER_SECOND;

static void open_channel(struct probe *probe)
{
    struct broker *broker = &probe->program->broker;
    struct error error;
    probe->state = PROBE_OPENING;
    if (!connection_send_channel_open(broker->connection, probe->channel, &error))
        broker_fail(broker, &error);
}

/* Question n of a round: even ones are about the queue of the member n / 2, odd ones about its dead letters.
 * NULL where there is no such member; else *ret_queue, NULL where there is nothing to ask. */
static struct queue_state *question(const struct program *program, unsigned n, const char **ret_queue,
                                    const struct member **ret_member)
{
    struct member *member = program->members;
    for (unsigned i = 0; member && i < n / 2; i++)
        member = member->next;
    if (!member)
        return NULL;
    bool about_dead = n % 2 == 1;
    *ret_member = member;
    *ret_queue = about_dead ? member->consumer->config->dead_letter : member->consumer->config->queue;
    return about_dead ? &member->consumer->dead_letters : &member->consumer->queue;
}

/* What is not consumed may not be declared yet. */
static bool may_be_asked(const struct member *member, const struct queue_state *about, const char *queue)
{
    const struct consumer *consumer = member->consumer;
    return queue && consumer->subscribed && consumer->subscription.state == SUBSCRIPTION_CONSUMING &&
           clock_now_ns() >= about->again_ns;
}

static void ask_next(struct probe *probe)
{
    static const struct declare_config passively = { .enabled = false };
    struct broker *broker = &probe->program->broker;
    const struct queue_state *about;
    const struct member *member;
    const char *queue = NULL;
    struct error error;
    probe->state = PROBE_IDLE;
    while ((about = question(probe->program, probe->next++, &queue, &member))) {
        if (!may_be_asked(member, about, queue))
            continue;
        (void)snprintf(probe->asked, sizeof probe->asked, "%s", queue);
        probe->state = PROBE_ASKING;
        if (!connection_send_declare(broker->connection, probe->channel, queue, &passively, &error))
            broker_fail(broker, &error);
        return;
    }
}

/* Hands what is known now to all whom it concerns: consumers come and go while the broker thinks. */
static void tell(struct probe *probe, const struct event *event)
{
    bool known = event && event->kind == EVENT_DECLARED;
    int64_t now_ns = clock_now_ns();
    const struct member *member;
    const char *queue = NULL;
    struct queue_state *state;
    for (unsigned n = 0; (state = question(probe->program, n, &queue, &member)); n++) {
        if (event && (!queue || strcmp(queue, probe->asked) != 0))
            continue;
        if (known && state->known && event->messages > state->messages)
            state->grown_ns = now_ns;
        state->known = known;
        state->messages = known ? event->messages : 0;
        state->consumers = known ? event->consumers : 0;
        state->again_ns = known || !event ? 0 : now_ns + missing_wait_ns;
    }
}

static void on_up(void *owner)
{
    struct probe *probe = owner;
    unsigned most = connection_channel_max(probe->program->broker.connection);
    if (most == 0 || most >= probe->channel)
        open_channel(probe);
}

static void on_down(void *owner)
{
    struct probe *probe = owner;
    probe->state = PROBE_DOWN;
    tell(probe, NULL);
}

static void on_event(void *owner, const struct event *event)
{
    struct probe *probe = owner;
    bool up = broker_is_up(&probe->program->broker);
    switch (event->kind) {
    case EVENT_CHANNEL_OPENED:
        if (up)
            ask_next(probe);
        break;
    case EVENT_DECLARED:
        tell(probe, event);
        if (up)
            ask_next(probe);
        break;
    case EVENT_CHANNEL_CLOSED:
        if (probe->state == PROBE_ASKING)
            tell(probe, event);
        if (up)
            open_channel(probe);
        break;
    default:
        break;
    }
}

void probe_begin(struct probe *probe)
{
    if (probe->state != PROBE_IDLE || !broker_is_up(&probe->program->broker))
        return;
    probe->next = 0;
    ask_next(probe);
}

void probe_init(struct probe *probe, struct program *program)
{
    const struct broker_listener listener = {
        .up = on_up, .down = on_down, .event = on_event, .owner = probe
    };
    *probe = (struct probe){ .program = program };
    probe->channel = broker_channel_spare(&program->broker, &listener);
}
