/* Keeping the connection up and handing its events to the channels' owners; see broker.h. */
#include "host/broker.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"

#include <stdlib.h>

static const struct backoff reconnect_backoff = { .least_ns = CLOCK_NS_PER_SECOND / 4,
                                                  .most_ns = 30 * CLOCK_NS_PER_SECOND };

static void dial_next(struct broker *broker);

static void tell_all(struct broker *broker, bool up)
{
    for (unsigned i = 0; i <= broker->channel_count; i++) {
        const struct broker_listener *listener = &broker->channels[i];
        if (listener->owner)
            (up ? listener->up : listener->down)(listener->owner);
    }
}

static void set_blocked(struct broker *broker, bool blocked)
{
    if (broker->blocked && !blocked)
        broker->blocked_ns += clock_now_ns() - broker->blocked_since_ns;
    if (blocked && !broker->blocked)
        broker->blocked_since_ns = clock_now_ns();
    broker->blocked = blocked;
}

int64_t broker_blocked_ns(const struct broker *broker)
{
    return broker->blocked_ns + (broker->blocked ? clock_now_ns() - broker->blocked_since_ns : 0);
}

static void drop_connection(struct broker *broker)
{
    ev_io_stop(broker->loop, &broker->readable);
    ev_io_stop(broker->loop, &broker->writable);
    ev_timer_stop(broker->loop, &broker->heartbeat);
    connection_free(broker->connection);
    broker->connection = NULL;
    if (broker->useful_ns > 0)
        backoff_lasted(&broker->backoff, clock_now_ns() - broker->useful_ns);
    broker->useful_ns = 0;
    broker->broken = false;
    set_blocked(broker, false);
}

static void wait_and_dial(struct broker *broker)
{
    broker->state = BROKER_DOWN;
    int64_t wait_ns = backoff_next_ns(&broker->backoff);
    int64_t left_ns = broker->give_up_ns - clock_now_ns();
    if (!broker->was_up && wait_ns > left_ns)
        wait_ns = left_ns > 0 ? left_ns : 0;
    ev_timer_set(&broker->retry, (double)wait_ns / 1e9, 0);
    ev_timer_start(broker->loop, &broker->retry);
    log_info(log_message("connecting again soon"), log_text("purpose", broker->purpose),
             log_duration("wait_seconds", wait_ns));
}

static void connection_is_lost(struct broker *broker)
{
    bool closing = broker->state == BROKER_CLOSING;
    if (!closing)
        log_warning(log_message("connection lost; what was under way on it comes again"),
                    log_text("purpose", broker->purpose), log_text("error", broker->failure.text));
    drop_connection(broker);
    broker->state = closing ? BROKER_STOPPED : BROKER_DOWN;
    tell_all(broker, false);
    if (closing)
        broker->stopped(broker->owner);
    else
        wait_and_dial(broker);
}

void broker_fail(struct broker *broker, const struct error *error)
{
    if (!broker->connection || broker->broken)
        return;
    broker->broken = true;
    broker->failure = *error;
}

static void connection_event(struct broker *broker, const struct event *event)
{
    struct error error;
    switch (event->kind) {
    case EVENT_BLOCKED:
        set_blocked(broker, true);
        connection_set_patient(broker->connection, true);
        log_warning(log_message("the broker blocks publishers: it is short of memory or disk"),
                    log_bytes("reason", event->text.data, event->text.size));
        break;
    case EVENT_UNBLOCKED:
        set_blocked(broker, false);
        connection_set_patient(broker->connection, false);
        log_info(log_message("the broker takes publishes again"));
        break;
    case EVENT_CLOSED:
        error_set(&error, ERROR_FAILED, "the broker closed the connection: %u %.*s", event->code,
                  (int)event->text.size, event->text.data);
        broker_fail(broker, &error);
        break;
    case EVENT_DONE:
        error_set(&error, ERROR_FAILED, "closed");
        broker_fail(broker, &error);
        break;
    default:
        break;
    }
}

static void dispatch(struct broker *broker, const struct event *event)
{
    if (event->channel == 0) {
        connection_event(broker, event);
        return;
    }
    unsigned index = event->channel - 1u;
    if (index <= broker->channel_count && broker->channels[index].owner)
        broker->channels[index].event(broker->channels[index].owner, event);
}

static void drain(struct broker *broker)
{
    struct event event;
    struct error error;
    enum connection_next next = CONNECTION_EVENT;
    while (!broker->broken && next == CONNECTION_EVENT) {
        next = connection_read(broker->connection, &event, &error);
        if (next == CONNECTION_EVENT)
            dispatch(broker, &event);
        else if (next == CONNECTION_LOST)
            broker_fail(broker, &error);
    }
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    drain(watcher->data);
}

/* The turn that follows sends what waited. */
static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    ev_io_stop(loop, watcher);
}

/* rabbitmq-c sends heartbeats, and notices that the broker's stay away, only inside its calls. */
static void on_heartbeat(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    drain(watcher->data);
}

static void on_retry(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    dial_next(watcher->data);
}

static void connection_is_up(struct broker *broker, struct connection *connection)
{
    broker->connection = connection;
    broker->state = BROKER_UP;
    broker->reconnects += broker->was_connected;
    broker->was_up = broker->was_connected = true;
    ev_io_set(&broker->readable, connection_fd(connection), EV_READ);
    ev_io_set(&broker->writable, connection_fd(connection), EV_WRITE);
    ev_io_start(broker->loop, &broker->readable);
    int heartbeat = connection_heartbeat_seconds(connection);
    if (heartbeat > 0) {
        ev_timer_set(&broker->heartbeat, heartbeat / 4.0, heartbeat / 4.0);
        ev_timer_start(broker->loop, &broker->heartbeat);
    }
    log_info(log_message("connected"), log_text("purpose", broker->purpose),
             log_text("broker", connection_name(connection)), log_integer("heartbeat_seconds", heartbeat));
    if (broker->came_up)
        broker->came_up(broker->owner);
    tell_all(broker, true);
    /* What came with the last answer of the login lies in the library's buffer, and no descriptor wakes for
     * it. */
    drain(broker);
}

static bool too_few_channels(const struct broker *broker, struct connection *connection, struct error *error)
{
    unsigned highest = 0;
    for (unsigned i = 0; i < broker->channel_count; i++)
        highest = broker->channels[i].owner ? i + 1 : highest;
    unsigned most = connection_channel_max(connection);
    if (most == 0 || highest <= most)
        return false;
    error_set(
        error, ERROR_FAILED,
        "broker %s allows %u channels on a connection, but %u consumers are configured: run fewer in one "
        "process, or raise channel_max in the broker",
        connection_name(connection), most, highest);
    return true;
}

/* The last failure of a start that is given up is the program's own last word; all others are lines of the
 * log. */
static void log_failures(const struct dial_result *result, bool given_up)
{
    for (size_t i = 0; i < result->failure_count; i++) {
        if (!given_up || i + 1 < result->failure_count)
            log_warning(log_message("cannot connect"), log_text("error", result->failures[i].text));
    }
}

static void on_dialed(void *owner, const struct dial_result *result)
{
    struct broker *broker = owner;
    struct connection *connection = result->connection;
    bool last_try = !broker->was_up && clock_now_ns() >= broker->give_up_ns;
    struct error error = { 0 };
    broker->dial = NULL;
    log_failures(result, last_try && !connection);
    if (result->failure_count > 0)
        error = result->failures[result->failure_count - 1];
    if (connection && too_few_channels(broker, connection, &error)) {
        if (!last_try)
            log_warning(log_message("connection given up"), log_text("error", error.text));
        connection_free(connection);
        connection = NULL;
    }
    if (connection) {
        broker->next_url = result->url;
        connection_is_up(broker, connection);
    } else if (last_try) {
        broker->state = BROKER_STOPPED;
        broker->failed(broker->owner, &error);
    } else {
        wait_and_dial(broker);
    }
}

/* The spare one too. */
static unsigned channels_asked(const struct broker *broker)
{
    return broker->channel_count < UINT16_MAX ? broker->channel_count + 1 : broker->channel_count;
}

static void dial_next(struct broker *broker)
{
    struct error error;
    broker->state = BROKER_DIALING;
    broker->dial = dial_start(broker->loop, broker->config, channels_asked(broker), broker->next_url,
                              on_dialed, broker, &error);
    if (!broker->dial) {
        log_error(log_message("cannot connect"), log_text("error", error.text));
        wait_and_dial(broker);
    }
}

bool broker_init(struct broker *broker, struct ev_loop *loop, const struct broker_config *config,
                 const char *purpose, unsigned channel_count, struct error *error)
{
    *broker = (struct broker){ .loop = loop,
                               .config = config,
                               .purpose = purpose,
                               .channel_count = channel_count,
                               .backoff = reconnect_backoff };
    broker->channels = calloc((size_t)channel_count + 1, sizeof *broker->channels);
    if (!broker->channels)
        return error_set(error, ERROR_FAILED, "no memory for %u channels", channel_count);
    ev_io_init(&broker->readable, on_readable, -1, EV_READ);
    ev_io_init(&broker->writable, on_writable, -1, EV_WRITE);
    ev_init(&broker->heartbeat, on_heartbeat);
    ev_init(&broker->retry, on_retry);
    broker->readable.data = broker->heartbeat.data = broker->retry.data = broker;
    return true;
}

void broker_clear(struct broker *broker)
{
    if (!broker->loop)
        return;
    ev_timer_stop(broker->loop, &broker->retry);
    dial_abandon(broker->dial);
    drop_connection(broker);
    free(broker->channels);
    *broker = (struct broker){ 0 };
}

uint16_t broker_channel_take(struct broker *broker, const struct broker_listener *listener,
                             struct error *error)
{
    for (unsigned i = 0; i < broker->channel_count; i++) {
        if (!broker->channels[i].owner) {
            broker->channels[i] = *listener;
            return (uint16_t)(i + 1);
        }
    }
    error_set(error, ERROR_USAGE,
              "all %u channels are in use: raise broker.max_channels or run fewer consumers in one process",
              broker->channel_count);
    return 0;
}

unsigned broker_channels_taken(const struct broker *broker)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < broker->channel_count; i++)
        taken += broker->channels[i].owner != NULL;
    return taken;
}

uint16_t broker_channel_spare(struct broker *broker, const struct broker_listener *listener)
{
    if (broker->channel_count >= UINT16_MAX)
        return 0;
    broker->channels[broker->channel_count] = *listener;
    return (uint16_t)(broker->channel_count + 1);
}

void broker_channel_release(struct broker *broker, uint16_t channel)
{
    if (channel)
        broker->channels[channel - 1] = (struct broker_listener){ 0 };
}

bool broker_start(struct broker *broker, struct error *error)
{
    broker->give_up_ns = clock_now_ns() + broker->config->wait_ns;
    broker->state = BROKER_DIALING;
    broker->dial =
        dial_start(broker->loop, broker->config, channels_asked(broker), 0, on_dialed, broker, error);
    return broker->dial != NULL;
}

void broker_stop(struct broker *broker)
{
    struct error error;
    ev_timer_stop(broker->loop, &broker->retry);
    if (broker->state == BROKER_UP && !broker->broken) {
        broker->state = BROKER_CLOSING;
        if (!connection_send_close(broker->connection, &error))
            broker_fail(broker, &error);
        return;
    }
    dial_abandon(broker->dial);
    broker->dial = NULL;
    drop_connection(broker);
    broker->state = BROKER_STOPPED;
    broker->stopped(broker->owner);
}

void broker_is_useful(struct broker *broker)
{
    if (broker->useful_ns == 0)
        broker->useful_ns = clock_now_ns();
}

void broker_made_progress(struct broker *broker)
{
    backoff_reset(&broker->backoff);
}

bool broker_is_up(const struct broker *broker)
{
    return broker->state == BROKER_UP && !broker->broken;
}

void broker_wait_writable(struct broker *broker)
{
    if (broker_is_up(broker))
        ev_io_start(broker->loop, &broker->writable);
}

void broker_turn(struct broker *broker)
{
    if (broker->broken)
        connection_is_lost(broker);
}
