/* Declaring delay and dead-letter queues on demand; see topology.h. */
#include "host/topology.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A delay queue's own bounds. It lives far longer than any message in it, even where the queue behind it is
 * full or away for a while: the broker deletes it with what is still in it. */
static const int64_t delay_queue_messages = 100000;
static const int64_t delay_queue_spare_ns = 24 * INT64_C(3600) * CLOCK_NS_PER_SECOND;

static const int64_t refusal_lasts_ns = 5 * CLOCK_NS_PER_SECOND;

enum { REPLY_PRECONDITION_FAILED = 406 };

struct declare_config topology_delay_queue(const struct consumer_config *config, int64_t step_ms)
{
    static char default_exchange[] = "";
    static char refuse[] = "reject-publish";
    int64_t step_ns = step_ms * CLOCK_NS_PER_MS;
    return (struct declare_config){
        .enabled = true,
        .durable = true,
        .has_type = true,
        .type = CONFIG_QUEUE_QUORUM,
        .at_least_once = true,
        .max_length = delay_queue_messages,
        .max_bytes = -1,
        .delivery_limit = -1,
        .ttl_ns = step_ns,
        .expires_ns = step_ns + delay_queue_spare_ns,
        .overflow = refuse,
        .dead_letter_exchange = default_exchange,
        .dead_letter_routing_key = config->queue,
    };
}

struct declare_config topology_dead_letter_queue(const struct consumer_config *config)
{
    static const int64_t default_length = 100000;
    static char refuse[] = "reject-publish";
    const struct declare_config *source = &config->declare;
    return (struct declare_config){
        .enabled = true,
        .durable = true,
        .has_type = source->has_type,
        .type = source->type,
        .max_length = source->enabled && source->max_length > 0 ? source->max_length : default_length,
        .max_bytes = source->enabled ? source->max_bytes : -1,
        .delivery_limit = -1,
        .ttl_ns = -1,
        .expires_ns = -1,
        .overflow = refuse,
    };
}

static struct topology_entry *find(const struct topology *topology, const char *name)
{
    for (unsigned i = 0; i < TOPOLOGY_ENTRIES; i++) {
        if (strcmp(topology->entries[i].name, name) == 0)
            return &topology->entries[i];
    }
    return NULL;
}

static void remember(struct topology *topology, bool refused, int64_t lasts_ns)
{
    struct topology_entry *entry = find(topology, topology->asked.name);
    if (!entry) {
        entry = &topology->entries[topology->cursor];
        topology->cursor = (topology->cursor + 1) % TOPOLOGY_ENTRIES;
    }
    *entry = topology->asked;
    entry->refused = refused;
    entry->good_until_ns = lasts_ns < INT64_MAX ? clock_now_ns() + lasts_ns : INT64_MAX;
}

void topology_forget(struct topology *topology, const char *name)
{
    struct topology_entry *entry = find(topology, name);
    if (entry)
        *entry = (struct topology_entry){ 0 };
}

static void open_channel(struct topology *topology)
{
    struct error error;
    topology->state = TOPOLOGY_OPENING;
    if (!connection_send_channel_open(topology->broker->connection, topology->channel, &error))
        broker_fail(topology->broker, &error);
}

static bool mentions(struct slice text, const char *words)
{
    return memmem(text.data, text.size, words, strlen(words)) != NULL;
}

/* 406 has two meanings: it is there with other properties, or the broker does not know what it is asked for.
 */
static void is_refused(struct topology *topology, const struct event *event)
{
    const char *name = topology->asked.name;
    bool precondition = event->code == REPLY_PRECONDITION_FAILED;
    if (precondition && mentions(event->text, "inequivalent arg")) {
        log_warning(log_message("a queue to publish to exists with other properties; it is used as it is"),
                    log_text("queue", name), log_bytes("text", event->text.data, event->text.size));
        remember(topology, false, INT64_MAX);
    } else if (precondition && topology->arguments.at_least_once && !topology->plain) {
        log_warning(log_message("the broker has no confirmed dead-lettering (RabbitMQ 3.10 and later have): "
                                "retries wait in classic queues, and may be lost where the broker dies"),
                    log_bytes("text", event->text.data, event->text.size));
        topology->plain = true;
    } else {
        log_error(log_message("a queue to publish to cannot be declared; what is for it waits"),
                  log_text("queue", name), log_unsigned("code", event->code),
                  log_bytes("text", event->text.data, event->text.size));
        remember(topology, true, refusal_lasts_ns);
    }
}

static void is_declared(struct topology *topology)
{
    int64_t expires_ns = topology->arguments.expires_ns;
    topology->state = TOPOLOGY_IDLE;
    remember(topology, false, expires_ns < 0 ? INT64_MAX : delay_queue_spare_ns / 2);
}

static void on_event(void *owner, const struct event *event)
{
    struct topology *topology = owner;
    switch (event->kind) {
    case EVENT_CHANNEL_OPENED:
        topology->state = TOPOLOGY_IDLE;
        break;
    case EVENT_DECLARED:
        is_declared(topology);
        break;
    case EVENT_CHANNEL_CLOSED:
        if (topology->state == TOPOLOGY_DECLARING)
            is_refused(topology, event);
        if (broker_is_up(topology->broker))
            open_channel(topology);
        break;
    default:
        break;
    }
}

static void on_up(void *owner)
{
    open_channel(owner);
}

static void on_down(void *owner)
{
    struct topology *topology = owner;
    topology->state = TOPOLOGY_DOWN;
    topology->plain = false;
    memset(topology->entries, 0, TOPOLOGY_ENTRIES * sizeof *topology->entries);
}

static void declare(struct topology *topology, const char *name, const struct declare_config *declare)
{
    struct error error;
    topology->state = TOPOLOGY_DECLARING;
    topology->asked = (struct topology_entry){ 0 };
    (void)snprintf(topology->asked.name, sizeof topology->asked.name, "%s", name);
    topology->arguments = *declare;
    if (topology->arguments.at_least_once && topology->plain) {
        topology->arguments.at_least_once = false;
        topology->arguments.type = CONFIG_QUEUE_CLASSIC;
    }
    if (!connection_send_declare(topology->broker->connection, topology->channel, name, &topology->arguments,
                                 &error))
        broker_fail(topology->broker, &error);
}

enum topology_answer topology_ask(struct topology *topology, const char *name,
                                  const struct declare_config *arguments)
{
    const struct topology_entry *entry = find(topology, name);
    if (entry && clock_now_ns() < entry->good_until_ns)
        return entry->refused ? TOPOLOGY_REFUSED : TOPOLOGY_READY;
    if (topology->state == TOPOLOGY_IDLE && broker_is_up(topology->broker))
        declare(topology, name, arguments);
    return TOPOLOGY_PENDING;
}

bool topology_init(struct topology *topology, struct broker *broker, struct error *error)
{
    *topology = (struct topology){ .broker = broker };
    topology->entries = calloc(TOPOLOGY_ENTRIES, sizeof *topology->entries);
    if (!topology->entries)
        return error_set(error, ERROR_FAILED, "no memory for the names of queues");
    const struct broker_listener listener = {
        .up = on_up, .down = on_down, .event = on_event, .owner = topology
    };
    topology->channel = broker_channel_take(broker, &listener, error);
    return topology->channel != 0;
}

void topology_clear(struct topology *topology)
{
    if (topology->broker)
        broker_channel_release(topology->broker, topology->channel);
    free(topology->entries);
    *topology = (struct topology){ 0 };
}
