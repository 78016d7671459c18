/* The life of a consumer's channel; see subscription.h. */
#include "host/subscription.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct backoff retry_backoff = { .least_ns = CLOCK_NS_PER_SECOND / 4,
                                              .most_ns = 30 * CLOCK_NS_PER_SECOND };
static const int64_t settled_look_ns = 20 * CLOCK_NS_PER_MS;

enum {
    REPLY_NOT_FOUND = 404,
    REPLY_ACCESS_REFUSED = 403,
    REPLY_RESOURCE_LOCKED = 405,
    REPLY_PRECONDITION_FAILED = 406
};

static void check_sent(struct subscription *subscription, bool sent, const struct error *error)
{
    if (!sent)
        broker_fail(subscription->broker, error);
}

static void open_channel(struct subscription *subscription)
{
    struct error error;
    subscription->state = SUBSCRIPTION_OPENING;
    subscription->channel_open = true; /* as far as the broker is concerned, from its next look on */
    check_sent(subscription,
               connection_send_channel_open(subscription->broker->connection, subscription->channel, &error),
               &error);
}

static void declare_queue(struct subscription *subscription)
{
    struct error error;
    subscription->state = SUBSCRIPTION_DECLARING;
    check_sent(subscription,
               connection_send_declare(subscription->broker->connection, subscription->channel,
                                       subscription->config->queue, &subscription->config->declare, &error),
               &error);
}

static void set_prefetch(struct subscription *subscription)
{
    struct error error;
    subscription->state = SUBSCRIPTION_LIMITING;
    check_sent(subscription,
               connection_send_qos(subscription->broker->connection, subscription->channel,
                                   (uint16_t)subscription->config->prefetch, &error),
               &error);
}

/* The next binding, or, where all are made, the next step. */
static void bind_or_go_on(struct subscription *subscription)
{
    const struct declare_config *declare = &subscription->config->declare;
    struct error error;
    if (subscription->bound == declare->binding_count) {
        set_prefetch(subscription);
        return;
    }
    const struct binding_config *binding = &declare->bindings[subscription->bound];
    subscription->state = SUBSCRIPTION_BINDING;
    check_sent(subscription,
               connection_send_bind(subscription->broker->connection, subscription->channel,
                                    subscription->config->queue, slice_of(binding->exchange),
                                    slice_of(binding->routing_key), &error),
               &error);
}

/* hostname-pid-consumer, and from the second session on its number: a stale tag never names a new consumer.
 */
static void make_tag(struct subscription *subscription)
{
    char host[65] = "";
    if (gethostname(host, sizeof host - 1) < 0)
        (void)snprintf(host, sizeof host, "host");
    char session[16] = "";
    if (++subscription->sessions > 1)
        (void)snprintf(session, sizeof session, "-%u", subscription->sessions);
    (void)snprintf(subscription->tag, sizeof subscription->tag, "%s-%ld-%.150s%s", host, (long)getpid(),
                   subscription->config->name, session);
}

static void subscribe(struct subscription *subscription)
{
    struct error error;
    make_tag(subscription);
    subscription->state = SUBSCRIPTION_SUBSCRIBING;
    check_sent(subscription,
               connection_send_consume(subscription->broker->connection, subscription->channel,
                                       subscription->config->queue, subscription->tag, &error),
               &error);
}

static void set_retry(struct subscription *subscription, int64_t wait_ns)
{
    ev_timer_set(&subscription->retry, (double)wait_ns / 1e9, 0);
    ev_timer_start(subscription->broker->loop, &subscription->retry);
}

/* Before the channel, or its connection, is gone. */
static void note_how_long(struct subscription *subscription)
{
    if (subscription->state == SUBSCRIPTION_CONSUMING)
        backoff_lasted(&subscription->backoff, clock_now_ns() - subscription->consuming_ns);
}

static void wait_and_retry(struct subscription *subscription)
{
    note_how_long(subscription);
    subscription->state = SUBSCRIPTION_WAITING;
    int64_t wait_ns = backoff_next_ns(&subscription->backoff);
    set_retry(subscription, wait_ns);
    log_info(log_message("consuming again soon"), log_text("queue", subscription->config->queue),
             log_duration("wait_seconds", wait_ns));
}

/* On a channel that is still open the broker counts the prefetch of a new consumer from zero, so what the old
 * one has to settle is waited for: both together would be more than the ledger has room for. */
static void subscribe_when_settled(struct subscription *subscription)
{
    subscription->state = SUBSCRIPTION_SETTLING;
    if (subscription->events->settled(subscription->owner))
        subscribe(subscription);
    else
        set_retry(subscription, settled_look_ns);
}

/* A refused declaration costs the channel, and with it what is not settled, so that is waited for; but what
 * is on its way to the very queue that is gone needs it to be there first. */
static bool may_declare(const struct subscription *subscription)
{
    const struct subscription_events *events = subscription->events;
    return subscription->config->declare.enabled ? events->handled(subscription->owner)
                                                 : events->settled(subscription->owner);
}

static void on_retry(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct subscription *subscription = watcher->data;
    if (!broker_is_up(subscription->broker))
        return;
    if (!subscription->channel_open)
        open_channel(subscription);
    else if (subscription->state == SUBSCRIPTION_SETTLING)
        subscribe_when_settled(subscription);
    else if (may_declare(subscription))
        declare_queue(subscription);
    else
        set_retry(subscription, settled_look_ns);
}

static const char *advice_for(const struct subscription *subscription, unsigned code)
{
    switch (code) {
    case REPLY_NOT_FOUND:
        return subscription->config->declare.enabled ? "see the broker's words"
                                                     : "create the queue, correct its name, or add `declare "
                                                       "= { durable = true, max_length = 100000 }` "
                                                       "to the consumer";
    case REPLY_PRECONDITION_FAILED:
        return subscription->state == SUBSCRIPTION_DECLARING
                   ? "the queue exists with other properties: make `declare` say what it has, or delete the "
                     "queue, or leave `declare` out"
                   : "see the broker's log";
    case REPLY_ACCESS_REFUSED:
        return "give the user configure, write and read permission on the queue";
    case REPLY_RESOURCE_LOCKED:
        return "another connection uses the queue exclusively";
    default:
        return "see the broker's log";
    }
}

static void explain_unbound(const struct subscription *subscription, const struct event *event,
                            struct error *error)
{
    const struct binding_config *binding = &subscription->config->declare.bindings[subscription->bound];
    const char *advice = "see the broker's log";
    if (event->code == REPLY_NOT_FOUND)
        advice = "create the exchange, or correct its name in declare.bindings";
    else if (event->code == REPLY_ACCESS_REFUSED)
        advice = "give the user write permission on the queue and read permission on the exchange";
    error_set(error, ERROR_FAILED,
              "queue %s: it cannot be bound to the exchange %s with the routing key \"%s\": the broker says: "
              "%u %.*s; %s",
              subscription->config->queue, binding->exchange, binding->routing_key, event->code,
              (int)event->text.size, event->text.data, advice);
}

static void explain_close(const struct subscription *subscription, const struct event *event,
                          struct error *error)
{
    if (subscription->state == SUBSCRIPTION_BINDING)
        explain_unbound(subscription, event, error);
    else
        error_set(error, ERROR_FAILED, "queue %s: the broker says: %u %.*s; %s", subscription->config->queue,
                  event->code, (int)event->text.size, event->text.data,
                  advice_for(subscription, event->code));
}

/* Whatever took the channel away: true where the subscription was on its way to an end, which it has now
 * reached. */
static bool channel_is_gone(struct subscription *subscription)
{
    enum subscription_state before = subscription->state;
    subscription->channel_open = false;
    subscription->events->reset(subscription->owner);
    switch (before) {
    case SUBSCRIPTION_CANCELLING:
        subscription->state = SUBSCRIPTION_CANCELLED;
        subscription->events->cancelled(subscription->owner);
        return true;
    case SUBSCRIPTION_CLOSING:
        subscription->state = SUBSCRIPTION_CLOSED;
        subscription->events->closed(subscription->owner);
        return true;
    default:
        return before == SUBSCRIPTION_CANCELLED || before == SUBSCRIPTION_CLOSED;
    }
}

static void channel_is_closed(struct subscription *subscription, const struct event *event)
{
    struct error error;
    explain_close(subscription, event, &error);
    if (channel_is_gone(subscription))
        return;
    if (!subscription->consumed_once) {
        subscription->state = SUBSCRIPTION_CLOSED;
        subscription->events->refused(subscription->owner, &error);
    } else {
        log_warning(log_message("the broker closed the channel"), log_text("error", error.text));
        wait_and_retry(subscription);
    }
}

static void consumer_is_cancelled(struct subscription *subscription, const struct event *event)
{
    if (subscription->state != SUBSCRIPTION_CONSUMING || !slice_equals(event->text, subscription->tag))
        return;
    log_warning(log_message("the broker cancelled the consumer: the queue was deleted or moved"),
                log_text("queue", subscription->config->queue));
    wait_and_retry(subscription);
}

static void is_consuming(struct subscription *subscription)
{
    subscription->state = SUBSCRIPTION_CONSUMING;
    subscription->consumed_once = true;
    subscription->consuming_ns = clock_now_ns();
    broker_is_useful(subscription->broker);
    log_info(log_message("consuming"), log_text("queue", subscription->config->queue),
             log_unsigned("waiting", subscription->messages_at_start),
             log_unsigned("prefetch", subscription->config->prefetch),
             log_text("consumer_tag", subscription->tag));
    subscription->events->consuming(subscription->owner);
}

/* Each answer begins the next step, if it answers the step at hand. */
static void advance(struct subscription *subscription, const struct event *event)
{
    enum subscription_state state = subscription->state;
    if (state == SUBSCRIPTION_OPENING && event->kind == EVENT_CHANNEL_OPENED) {
        declare_queue(subscription);
    } else if (state == SUBSCRIPTION_DECLARING && event->kind == EVENT_DECLARED) {
        subscription->messages_at_start = event->messages;
        subscription->bound = 0;
        bind_or_go_on(subscription);
    } else if (state == SUBSCRIPTION_BINDING && event->kind == EVENT_BOUND) {
        subscription->bound++;
        bind_or_go_on(subscription);
    } else if (state == SUBSCRIPTION_LIMITING && event->kind == EVENT_QOS_SET) {
        subscribe_when_settled(subscription);
    } else if (state == SUBSCRIPTION_SUBSCRIBING && event->kind == EVENT_CONSUMING) {
        is_consuming(subscription);
    } else if (state == SUBSCRIPTION_CANCELLING && event->kind == EVENT_CANCELLED) {
        subscription->state = SUBSCRIPTION_CANCELLED;
        subscription->events->cancelled(subscription->owner);
    } else if (state == SUBSCRIPTION_CLOSING && event->kind == EVENT_CHANNEL_DONE) {
        subscription->channel_open = false;
        subscription->state = SUBSCRIPTION_CLOSED;
        subscription->events->closed(subscription->owner);
    }
}

/* What a channel that the broker has closed was sending still comes behind the close. It is another's to
 * settle: its tags mean nothing, or other messages, on the channel that follows. */
static bool is_of_this_channel(const struct subscription *subscription)
{
    return subscription->channel_open && subscription->state != SUBSCRIPTION_OPENING;
}

static void on_event(void *owner, const struct event *event)
{
    struct subscription *subscription = owner;
    switch (event->kind) {
    case EVENT_DELIVER:
    case EVENT_HEADER:
    case EVENT_BODY:
        if (is_of_this_channel(subscription))
            subscription->events->content(subscription->owner, event);
        break;
    case EVENT_CHANNEL_CLOSED:
        channel_is_closed(subscription, event);
        break;
    case EVENT_CANCEL:
        consumer_is_cancelled(subscription, event);
        break;
    default:
        advance(subscription, event);
        break;
    }
}

static void on_up(void *owner)
{
    struct subscription *subscription = owner;
    if (subscription->state == SUBSCRIPTION_IDLE)
        open_channel(subscription);
}

static void on_down(void *owner)
{
    struct subscription *subscription = owner;
    ev_timer_stop(subscription->broker->loop, &subscription->retry);
    note_how_long(subscription);
    if (!channel_is_gone(subscription))
        subscription->state = SUBSCRIPTION_IDLE;
}

bool subscription_init(struct subscription *subscription, struct broker *broker,
                       const struct consumer_config *config, const struct subscription_events *events,
                       void *owner, struct error *error)
{
    *subscription = (struct subscription){
        .broker = broker, .config = config, .events = events, .owner = owner, .backoff = retry_backoff
    };
    const struct broker_listener listener = {
        .up = on_up, .down = on_down, .event = on_event, .owner = subscription
    };
    subscription->channel = broker_channel_take(broker, &listener, error);
    if (subscription->channel == 0)
        return false;
    ev_init(&subscription->retry, on_retry);
    subscription->retry.data = subscription;
    if (broker_is_up(broker))
        open_channel(subscription);
    return true;
}

void subscription_clear(struct subscription *subscription)
{
    if (!subscription->broker)
        return;
    ev_timer_stop(subscription->broker->loop, &subscription->retry);
    broker_channel_release(subscription->broker, subscription->channel);
    *subscription = (struct subscription){ 0 };
}

void subscription_cancel(struct subscription *subscription)
{
    struct error error;
    ev_timer_stop(subscription->broker->loop, &subscription->retry);
    /* A consumer that is just being set up is cancelled too: the broker answers in order. */
    bool begun =
        subscription->state == SUBSCRIPTION_CONSUMING || subscription->state == SUBSCRIPTION_SUBSCRIBING;
    if (!begun || !broker_is_up(subscription->broker)) {
        subscription->state = SUBSCRIPTION_CANCELLED;
        subscription->events->cancelled(subscription->owner);
        return;
    }
    subscription->state = SUBSCRIPTION_CANCELLING;
    check_sent(subscription,
               connection_send_cancel(subscription->broker->connection, subscription->channel,
                                      subscription->tag, &error),
               &error);
}

void subscription_close(struct subscription *subscription)
{
    struct error error;
    if (!subscription->channel_open || !broker_is_up(subscription->broker)) {
        subscription->state = SUBSCRIPTION_CLOSED;
        subscription->events->closed(subscription->owner);
        return;
    }
    subscription->state = SUBSCRIPTION_CLOSING;
    check_sent(subscription,
               connection_send_channel_close(subscription->broker->connection, subscription->channel, &error),
               &error);
}

void subscription_made_progress(struct subscription *subscription)
{
    backoff_reset(&subscription->backoff);
    broker_made_progress(subscription->broker);
}

bool subscription_can_settle(const struct subscription *subscription)
{
    return subscription->channel_open && broker_is_up(subscription->broker);
}
