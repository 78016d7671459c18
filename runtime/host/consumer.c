/* A consumer's deliveries from arrival to settlement; see consumer.h. */
#include "host/consumer.h"

#include "common/clock.h"
#include "common/fields.h"
#include "common/log.h"
#include "host/caution.h"
#include "host/handler_log.h"
#include "host/letter.h"
#include "host/ruling.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMPLAINTS_PER_SECOND = 10,
    SUSPECTS_PARTED = 4, /* how many groups are made of messages of which one has ended their worker */
};

static const struct subscription_events subscription_events;
static const struct pool_events pool_events;

/* Arrival */

static bool find_header(const struct delivery *delivery, const char *name, struct field *ret_field)
{
    struct slice table, key;
    if (!wire_find(delivery_attributes(delivery), WIRE_HEADERS, &table))
        return false;
    while (fields_next_entry(&table, &key, ret_field) == FIELDS_ONE) {
        if (slice_equals(key, name))
            return true;
    }
    return false;
}

static uint64_t fingerprint_of(const struct delivery *delivery)
{
    return requeue_fingerprint(delivery_attributes(delivery), delivery_body(delivery)) + delivery->failed;
}

/* A message that comes without the redelivered flag although it was sent back; see requeue.h. */
static bool has_lost_its_flag(const struct consumer *consumer, uint64_t fingerprint)
{
    uint32_t prefetch = consumer->config->prefetch;
    uint32_t most = prefetch < REQUEUE_ENTRIES / 2 ? prefetch : REQUEUE_ENTRIES / 2;
    return consumer->requeues.count > most && requeue_count(&consumer->requeues, fingerprint) > most;
}

/* The attempt after the one with which it was sent back to the queue; 0 where nothing is known of that. */
static uint32_t next_attempt(struct consumer *consumer, const struct delivery *delivery)
{
    if (consumer->requeues.count == 0)
        return 0;
    uint64_t fingerprint = fingerprint_of(delivery);
    if (!delivery->redelivered && !has_lost_its_flag(consumer, fingerprint))
        return 0;
    uint32_t made = requeue_recall(&consumer->requeues, fingerprint);
    return made ? made + 1 : 0;
}

/* Every failure that moved the message to a delay queue counts (our own header), and every time since then
 * that it came back to the queue. */
static uint32_t attempt_of(struct consumer *consumer, const struct delivery *delivery)
{
    uint32_t next = next_attempt(consumer, delivery);
    uint32_t told = letter_attempt(delivery_attributes(delivery), delivery->redelivered, delivery->failed);
    return next > told ? next : told;
}

static uint32_t hash_of(struct slice key)
{
    uint32_t hash = UINT32_C(2166136261);
    for (size_t i = 0; i < key.size; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * UINT32_C(16777619);
    return hash;
}

static uint32_t key_hash_of(const struct consumer *consumer, const struct delivery *delivery)
{
    struct slice key = { 0 };
    struct field field;
    if (consumer->config->ordering == CONFIG_ORDERING_KEY)
        (void)wire_find(delivery_attributes(delivery), WIRE_ROUTING_KEY, &key);
    else if (consumer->config->ordering == CONFIG_ORDERING_HEADER &&
             find_header(delivery, consumer->config->ordering_header, &field))
        key = field.kind == FIELD_BYTES
                  ? field.bytes
                  : (struct slice){ .data = (const char *)&field.integer, .size = sizeof field.integer };
    return hash_of(key);
}

static void delivery_is_whole(struct consumer *consumer, struct delivery *delivery)
{
    consumer->counts.delivered++;
    consumer->counts.redelivered += delivery->redelivered;
    consumer->oversized += delivery->oversized;
    consumer->active_ns = clock_now_ns();
    delivery->attempt = attempt_of(consumer, delivery);
    if (consumer->config->ordering != CONFIG_ORDERING_NONE)
        delivery->key_hash = key_hash_of(consumer, delivery);
}

static void on_content(void *owner, const struct event *event)
{
    struct consumer *consumer = owner;
    struct delivery *delivery;
    struct error error;
    switch (assembly_take(&consumer->assembly, &consumer->ledger, event, consumer->config->queue,
                          (uint64_t)consumer->config->limits.message_bytes, &delivery, &error)) {
    case ASSEMBLY_WHOLE:
        delivery_is_whole(consumer, delivery);
        break;
    case ASSEMBLY_BROKEN:
        broker_fail(consumer->context->broker, &error);
        break;
    case ASSEMBLY_MORE:
        break;
    }
}

/* Settlement */

static void count_settlement(struct consumer_counts *counts, const struct delivery *delivery,
                             enum settlement_kind kind)
{
    if (delivery->errand == ERRAND_RETRY)
        counts->retried++;
    else if (delivery->errand == ERRAND_DEATH)
        counts->dead++;
    else if (kind == SETTLE_ACK)
        counts->acked++;
    else if (kind == SETTLE_REQUEUE)
        counts->requeued++;
    else
        counts->rejected++;
}

/* One place in the budget was taken for the delivery. */
static void settle(struct consumer *consumer, struct delivery *delivery, enum settlement_kind kind)
{
    if (kind == SETTLE_REQUEUE)
        requeue_remember(&consumer->requeues, fingerprint_of(delivery), delivery->attempt);
    consumer->active_ns = clock_now_ns();
    count_settlement(&consumer->counts, delivery, kind);
    if (delivery->errand == ERRAND_DEATH)
        consumer->dead_letters.again_ns = 0; /* its queue is there now */
    ledger_settle(&consumer->ledger, delivery, kind, consumer->active_ns);
    budget_settle(consumer->context->budget);
}

static void take_back(struct consumer *consumer, struct delivery *delivery)
{
    ledger_return(&consumer->ledger, delivery);
    budget_return(consumer->context->budget);
}

static struct slice attribute_of(const struct delivery *delivery, enum wire_attribute_id id)
{
    struct slice value = { .data = "", .size = 0 };
    (void)wire_find(delivery_attributes(delivery), id, &value);
    return value;
}

/* A line about one message: what happened, where, to which message, why. */
static void complain(struct consumer *consumer, const struct delivery *delivery, const struct ruling *ruling,
                     struct slice reason)
{
    enum log_level level = ruling->by_choice ? LOG_INFO : LOG_WARNING;
    const char *dead_letter = ruling->kind == RULING_GIVE_UP ? consumer->config->dead_letter : NULL;
    if (level < log_get_level() || !limiter_pass(&consumer->complaints, clock_now_ns()))
        return;
    uint64_t held_back = limiter_take_held_back(&consumer->complaints);
    struct slice id = attribute_of(delivery, WIRE_MESSAGE_ID);
    struct slice key = attribute_of(delivery, WIRE_ROUTING_KEY);
    const struct log_field fields[] = {
        log_message(ruling->message),
        log_text("queue", consumer->config->queue),
        id.size ? log_bytes("id", id.data, id.size) : log_text("id", NULL),
        log_bytes("routing_key", key.data, key.size),
        log_unsigned("attempt", delivery->attempt),
        log_unsigned("attempts", consumer->config->retry.attempts),
        log_text("dead_letter", dead_letter),
        reason.size ? log_bytes("reason", reason.data, reason.size) : log_text("reason", NULL),
        log_suppressed(held_back),
        { 0 },
    };
    log_write(level, fields);
}

/* `named_ns` is the handler's own wish; negative: it has none. */
static void retry(struct consumer *consumer, struct delivery *delivery, int64_t named_ns)
{
    int64_t wait_ns =
        retry_chosen_wait_ns(&consumer->config->retry, delivery->attempt, named_ns, backoff_random_share());
    if (!errands_retry(&consumer->errands, delivery, wait_ns))
        settle(consumer, delivery, SETTLE_REQUEUE);
}

static void give_up(struct consumer *consumer, struct delivery *delivery, const char *reason,
                    struct slice text)
{
    if (!consumer->config->dead_letter || !errands_bury(&consumer->errands, delivery, reason, text))
        settle(consumer, delivery, SETTLE_REJECT);
}

static void apply(struct consumer *consumer, struct delivery *delivery, struct ruling ruling,
                  struct slice reason, int64_t wait_ns)
{
    if (ruling.message)
        complain(consumer, delivery, &ruling, reason);
    switch (ruling.kind) {
    case RULING_ACK:
        settle(consumer, delivery, SETTLE_ACK);
        break;
    case RULING_REQUEUE:
        settle(consumer, delivery, SETTLE_REQUEUE);
        break;
    case RULING_RETRY:
        retry(consumer, delivery, wait_ns);
        break;
    case RULING_GIVE_UP:
        give_up(consumer, delivery, ruling.reason, reason);
        break;
    }
}

static void on_result(void *owner, struct worker_process *worker, const struct wire_result *result,
                      struct slice text, struct buffer *messages)
{
    struct consumer *consumer = owner;
    struct delivery *delivery = ledger_find(&consumer->ledger, result->slot, worker, result->seq);
    if (!delivery) {
        consumer->counts.stale += result->verdict != WIRE_SKIPPED;
        return;
    }
    if (result->verdict == WIRE_SKIPPED || result->verdict == WIRE_RETURNED) {
        consumer->counts.verdicts[result->verdict]++;
        take_back(consumer, delivery);
        return;
    }
    consumer->counts.verdicts[result->verdict]++;
    histogram_add(&consumer->durations, result->elapsed_ns);
    if (messages->size > 0) {
        errands_publish(&consumer->errands, delivery, messages);
        return;
    }
    consumer->counts.failed += result->verdict == WIRE_ERROR || result->verdict == WIRE_OUT_OF_MEMORY ||
                               result->verdict == WIRE_OUT_OF_TIME;
    apply(consumer, delivery,
          ruling_for_result((enum wire_verdict)result->verdict, delivery->attempt,
                            consumer->config->retry.attempts),
          text, result->delay_ns);
}

/* What setup or teardown published. */
static void on_published(void *owner, struct worker_process *worker, struct slice message)
{
    const struct consumer *consumer = owner;
    (void)worker;
    outlet_publish_loose(consumer->context->outlet, consumer->config->name, message);
}

static void on_errand_done(void *owner, struct delivery *delivery)
{
    struct consumer *consumer = owner;
    if (delivery->errand == ERRAND_RETRY) {
        int64_t back_ns = clock_now_ns() + retry_step_ms(delivery->wait_ms) * CLOCK_NS_PER_MS;
        consumer->awaited_ns = back_ns > consumer->awaited_ns ? back_ns : consumer->awaited_ns;
    }
    /* The whole of what was left out in part is still the broker's: it goes to the queue's own dead-letter
     * exchange where there is one. */
    bool whole = delivery->errand != ERRAND_DEATH || (!delivery->oversized && !delivery->stripped);
    settle(consumer, delivery, whole ? SETTLE_ACK : SETTLE_REJECT);
}

static void on_errand_failed(void *owner, struct delivery *delivery, struct slice text)
{
    struct consumer *consumer = owner;
    consumer->counts.failed++;
    apply(consumer, delivery, ruling_for_unpublished(delivery->attempt, consumer->config->retry.attempts),
          text, -1);
}

static void on_immovable(void *owner, struct delivery *delivery, enum errand errand)
{
    settle(owner, delivery, errand == ERRAND_RETRY ? SETTLE_REQUEUE : SETTLE_REJECT);
}

static const struct errands_events errands_events = { .done = on_errand_done,
                                                      .failed = on_errand_failed,
                                                      .immovable = on_immovable };

static bool is_under_way(const struct delivery *delivery, const struct worker_process *worker)
{
    return delivery->state == DELIVERY_DISPATCHED && delivery->worker == worker &&
           worker_has_begun(worker, delivery->seq);
}

static unsigned count_under_way(const struct consumer *consumer, const struct worker_process *worker,
                                uint64_t *ret_last)
{
    unsigned count = 0;
    for (const struct delivery *delivery = consumer->ledger.order.first; delivery;
         delivery = delivery->order.next) {
        if (is_under_way(delivery, worker)) {
            *ret_last = delivery->seq;
            count++;
        }
    }
    return count;
}

static void tell_suspects(struct consumer *consumer, unsigned count)
{
    if (limiter_pass(&consumer->complaints, clock_now_ns()))
        log_warning(log_message("a worker died while several messages waited in it, and which has done it is "
                                "not known; they are tried again, fewer at once"),
                    log_text("consumer", consumer->config->name), log_unsigned("messages", count),
                    log_suppressed(limiter_take_held_back(&consumer->complaints)));
}

/* The message that the worker died at: what it was running, or what alone was under way. 0: several waited,
 * and it may have been any; or none was begun. */
static uint64_t culprit_of(struct consumer *consumer, const struct worker_process *worker,
                           unsigned *ret_suspects)
{
    uint64_t seq = 0;
    *ret_suspects = 0;
    if (consumer->phase != CONSUMER_RUNNING || worker_running(worker, &seq))
        return seq;
    unsigned count = count_under_way(consumer, worker, &seq);
    if (count <= 1)
        return seq;
    *ret_suspects = count;
    tell_suspects(consumer, count);
    return 0;
}

/* Only the message that the worker died at is charged; the others go to other workers as if nothing had been.
 * Where that is one of several, they are parted until it is known. */
static void on_gone(void *owner, struct worker_process *worker)
{
    struct consumer *consumer = owner;
    unsigned suspects;
    uint64_t culprit = culprit_of(consumer, worker, &suspects);
    consumer->counts.worker_deaths +=
        worker->was_ready && !worker->dismissed && consumer->phase == CONSUMER_RUNNING;
    consumer->counts.deadline_kills += worker->ran_over;
    struct delivery *next;
    for (struct delivery *delivery = consumer->ledger.order.first; delivery; delivery = next) {
        next = delivery->order.next;
        if (delivery->state != DELIVERY_DISPATCHED || delivery->worker != worker)
            continue;
        if (suspects > 0 && is_under_way(delivery, worker))
            ledger_set_company(&consumer->ledger, delivery,
                               suspects / SUSPECTS_PARTED > 1 ? suspects / SUSPECTS_PARTED : 1);
        if (culprit > 0 && delivery->seq == culprit) {
            consumer->counts.failed++;
            consumer->counts.crashed++;
            apply(consumer, delivery, ruling_for_crash(delivery->attempt, consumer->config->retry.attempts),
                  slice_of(*worker->last_words ? worker->last_words : worker->reason), -1);
        } else {
            take_back(consumer, delivery);
        }
    }
}

/* Bodies over limits.message: known by their header, never kept, never handed out. Nor are messages whose
 * headers the broker has made too large. */
static void refuse_oversized(struct consumer *consumer)
{
    struct delivery *next;
    if (consumer->oversized == 0)
        return;
    for (struct delivery *delivery = consumer->ledger.held.first; delivery; delivery = next) {
        next = delivery->queue.next;
        if (!delivery->oversized || !budget_take(consumer->context->budget))
            continue;
        char reason[128] = "its headers are larger than any that a message is published with";
        if (!delivery->stripped)
            (void)snprintf(reason, sizeof reason,
                           "its body has %" PRIu64 " bytes, limits.message is %" PRId64, delivery->body_bytes,
                           consumer->config->limits.message_bytes);
        consumer->oversized--;
        apply(consumer, delivery, ruling_for_oversized(), slice_of(reason), -1);
    }
}

/* A reload has lowered limits.message: what came before it, is larger now and at no worker goes back to the
 * queue, from where it comes again as too large. No worker of the new set would take it. */
static void hand_back_too_large(struct consumer *consumer)
{
    uint64_t limit = (uint64_t)consumer->config->limits.message_bytes;
    struct delivery *next;
    if (!consumer->lowered)
        return;
    consumer->lowered = false;
    for (struct delivery *delivery = consumer->ledger.order.first; delivery; delivery = next) {
        next = delivery->order.next;
        if (delivery->oversized || delivery->body_bytes <= limit)
            continue;
        if (delivery->state == DELIVERY_HELD) {
            consumer->counts.handed_back++;
            ledger_settle(&consumer->ledger, delivery, SETTLE_REQUEUE, clock_now_ns());
        } else if (delivery->state == DELIVERY_ARRIVING || delivery->state == DELIVERY_DISPATCHED) {
            consumer->lowered = true; /* it may be held later */
        }
    }
}

static bool send_settlement(struct consumer *consumer, const struct settlement *settlement)
{
    struct broker *broker = consumer->context->broker;
    uint16_t channel = consumer->subscription.channel;
    struct error error;
    bool sent = true;
    switch (settlement->kind) {
    case SETTLE_ACK:
        sent =
            connection_send_ack(broker->connection, channel, settlement->tag, settlement->multiple, &error);
        break;
    case SETTLE_REQUEUE:
        sent = connection_send_nack(broker->connection, channel, settlement->tag, &error);
        break;
    case SETTLE_REJECT:
        sent = connection_send_reject(broker->connection, channel, settlement->tag, &error);
        break;
    }
    if (!sent)
        broker_fail(broker, &error);
    return sent;
}

static void send_settlements(struct consumer *consumer)
{
    struct ledger *ledger = &consumer->ledger;
    struct settlement settlement;
    unsigned sent = 0;
    if (ledger->acked.count + ledger->refused.count == 0 || !subscription_can_settle(&consumer->subscription))
        return;
    int64_t now_ns = clock_now_ns();
    for (;;) {
        if (sent % CONNECTION_SEND_BATCH == 0 &&
            !connection_can_send(consumer->context->broker->connection)) {
            broker_wait_writable(consumer->context->broker);
            return;
        }
        if (!ledger_next_settlement(ledger, now_ns, &settlement) || !send_settlement(consumer, &settlement))
            return;
        if (sent++ == 0)
            subscription_made_progress(&consumer->subscription);
    }
}

/* The subscription */

static void on_consuming(void *owner)
{
    struct consumer *consumer = owner;
    consumer->active_ns = clock_now_ns();
    if (!consumer->cautioned)
        caution_log(consumer->config);
    consumer->cautioned = true;
    consumer->context->events->consuming(consumer->context->owner, consumer);
}

static void abandon_errands(struct consumer *consumer)
{
    for (struct delivery *delivery = consumer->ledger.order.first; delivery;
         delivery = delivery->order.next) {
        if (delivery->state == DELIVERY_PUBLISHING)
            errands_abandon(&consumer->errands, delivery);
    }
}

/* What was at work stays at work: its results come late, and are dropped. */
static void on_reset(void *owner)
{
    struct consumer *consumer = owner;
    handout_recall(&consumer->handout);
    for (unsigned i = 0; i < consumer->ledger.dispatched + consumer->ledger.publishing; i++)
        budget_return(consumer->context->budget);
    abandon_errands(consumer);
    assembly_reset(&consumer->assembly);
    ledger_drop(&consumer->ledger);
    consumer->oversized = 0;
    consumer->queue.known = false;
}

static bool is_settled(void *owner)
{
    const struct consumer *consumer = owner;
    return ledger_in_use(&consumer->ledger) == 0;
}

static bool is_handled(void *owner)
{
    const struct ledger *ledger = &((const struct consumer *)owner)->ledger;
    return ledger->held.count == 0 && ledger->dispatched == 0;
}

static void on_cancelled(void *owner)
{
    (void)owner; /* the next turn looks whether all is drained */
}

static void check_ended(struct consumer *consumer)
{
    if (consumer->phase != CONSUMER_CLOSING || !consumer->channel_done || !consumer->pool_done)
        return;
    consumer->phase = CONSUMER_ENDED;
    const struct consumer_counts *counts = &consumer->counts;
    log_info(log_message("consumer stopped"), log_text("queue", consumer->config->queue),
             log_unsigned("delivered", counts->delivered), log_unsigned("acked", counts->acked),
             log_unsigned("retried", counts->retried), log_unsigned("requeued", counts->requeued),
             log_unsigned("rejected", counts->rejected), log_unsigned("dead_letters", counts->dead),
             log_unsigned("failed", counts->failed), log_unsigned("redelivered", counts->redelivered),
             log_unsigned("handed_back", counts->handed_back), log_unsigned("stale_results", counts->stale),
             log_unsigned("worker_deaths", counts->worker_deaths),
             log_unsigned("recycled", consumer->recycles.total));
    consumer->context->events->ended(consumer->context->owner, consumer);
}

static void on_closed(void *owner)
{
    struct consumer *consumer = owner;
    consumer->channel_done = true;
    check_ended(consumer);
}

static void fail(struct consumer *consumer, const struct error *error)
{
    if (consumer->failed)
        return;
    consumer->failed = true;
    consumer->context->events->failed(consumer->context->owner, consumer, error);
}

static void on_refused(void *owner, const struct error *error)
{
    fail(owner, error);
}

static const struct subscription_events subscription_events = {
    .consuming = on_consuming,
    .content = on_content,
    .reset = on_reset,
    .settled = is_settled,
    .handled = is_handled,
    .cancelled = on_cancelled,
    .closed = on_closed,
    .refused = on_refused,
};

/* The pool */

static void on_log(void *owner, struct worker_process *worker, enum log_level level, struct slice attributes)
{
    struct consumer *consumer = owner;
    consumer->handler_lines.per_second = consumer->context->handler_lines;
    if (limiter_pass(&consumer->handler_lines, clock_now_ns()))
        handler_log_write(consumer->config->name, worker->lane, level,
                          limiter_take_held_back(&consumer->handler_lines), attributes);
}

static void on_recycled(void *owner, struct worker_process *worker, const struct wire_recycled *recycled)
{
    struct consumer *consumer = owner;
    recycles_add(&consumer->recycles, consumer->config, worker->lane, recycled);
}

static void on_leak(void *owner, struct worker_process *worker, const struct wire_leak *leak,
                    const struct leak_names *names)
{
    struct consumer *consumer = owner;
    leaks_take(&consumer->leaks, consumer->config->name, worker->lane, leak, names);
}

static void on_started(void *owner)
{
    struct consumer *consumer = owner;
    consumer->context->events->started(consumer->context->owner, consumer);
}

static void on_reloaded(void *owner, const struct error *error)
{
    struct consumer *consumer = owner;
    if (!error) {
        consumer->lowered = consumer->lowered || consumer->next_config->limits.message_bytes <
                                                     consumer->config->limits.message_bytes;
        consumer->config = consumer->errands.config = consumer->next_config;
        consumer->subscription.config = consumer->config;
        consumer->handout.by_key = consumer->config->ordering != CONFIG_ORDERING_NONE;
        consumer->dead_letters = (struct queue_state){ 0 }; /* it may be another queue now */
        rate_set(&consumer->handout.rate, consumer->config->rate_interval_ns, clock_now_ns());
        /* What the old workers have not begun is for the new code. */
        handout_recall(&consumer->handout);
    }
    consumer->next_config = NULL;
    consumer->context->events->reloaded(consumer->context->owner, consumer, error);
}

static void on_pool_failed(void *owner, const struct error *error)
{
    fail(owner, error);
}

static void on_pool_empty(void *owner)
{
    struct consumer *consumer = owner;
    consumer->pool_done = true;
    check_ended(consumer);
}

static const struct pool_events pool_events = {
    .result = on_result,
    .published = on_published,
    .log = on_log,
    .recycled = on_recycled,
    .leak = on_leak,
    .gone = on_gone,
    .started = on_started,
    .reloaded = on_reloaded,
    .failed = on_pool_failed,
    .empty = on_pool_empty,
};

/* Turns */

static void close_down(struct consumer *consumer)
{
    consumer->phase = CONSUMER_CLOSING;
    pool_stop(&consumer->pool);
    if (consumer->subscribed)
        subscription_close(&consumer->subscription);
    else
        on_closed(consumer);
}

static void hand_back(struct consumer *consumer)
{
    int64_t now_ns = clock_now_ns();
    while (consumer->ledger.held.first) {
        consumer->counts.handed_back++;
        ledger_settle(&consumer->ledger, consumer->ledger.held.first, SETTLE_REQUEUE, now_ns);
    }
}

/* One step of the end for each turn that finds it possible. */
static void advance_end(struct consumer *consumer)
{
    bool cancelled = !consumer->subscribed || consumer->subscription.state == SUBSCRIPTION_CANCELLED;
    if (consumer->phase == CONSUMER_DRAINING && cancelled && consumer->ledger.dispatched == 0 &&
        consumer->ledger.publishing == 0) {
        hand_back(consumer);
        consumer->phase = CONSUMER_FLUSHING;
    }
    if (consumer->phase == CONSUMER_FLUSHING) {
        send_settlements(consumer);
        if (ledger_in_use(&consumer->ledger) == 0)
            close_down(consumer);
    }
}

/* Whether it fires then or earlier; the loop's own clock may be a little behind. */
static bool is_set(struct ev_loop *loop, ev_timer *timer, double wait_seconds)
{
    static const double behind_seconds = 0.002;
    return ev_is_active(timer) && ev_timer_remaining(loop, timer) <= wait_seconds + behind_seconds;
}

static void set_timer(struct ev_loop *loop, ev_timer *timer, int64_t wait_ns)
{
    double wait_seconds = wait_ns > 0 ? (double)wait_ns / 1e9 : 0;
    if (is_set(loop, timer, wait_seconds))
        return;
    ev_timer_stop(loop, timer);
    ev_timer_set(timer, wait_seconds, 0);
    ev_timer_start(loop, timer);
}

/* The turn that follows does the work. */
static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void hand_out(struct consumer *consumer)
{
    refuse_oversized(consumer);
    hand_back_too_large(consumer);
    if (errands_are_stuck(&consumer->errands))
        return;
    int64_t now_ns = clock_now_ns();
    if (!handout_run(&consumer->handout, now_ns)) {
        struct error error;
        error_set(&error, ERROR_FAILED, "no memory to hand out messages");
        fail(consumer, &error);
    }
    if (handout_rebalance(&consumer->handout, now_ns)) {
        (void)handout_run(&consumer->handout, now_ns);
        set_timer(consumer->context->loop, &consumer->rebalance, HANDOUT_STUCK_NS);
    }
    int64_t due_ns = rate_due_ns(&consumer->handout.rate);
    if (consumer->ledger.held.count > 0 && due_ns > now_ns)
        set_timer(consumer->context->loop, &consumer->paced, due_ns - now_ns);
}

void consumer_turn(struct consumer *consumer)
{
    if (consumer->ledger.parked.count > 0)
        errands_turn(&consumer->errands, clock_now_ns());
    if (consumer->phase == CONSUMER_RUNNING) {
        hand_out(consumer);
        send_settlements(consumer);
    } else if (consumer->phase == CONSUMER_DRAINING || consumer->phase == CONSUMER_FLUSHING) {
        send_settlements(consumer);
        advance_end(consumer);
    }
    int64_t due_ns = ledger_due_ns(&consumer->ledger);
    if (due_ns < INT64_MAX)
        set_timer(consumer->context->loop, &consumer->stragglers, due_ns - clock_now_ns());
    due_ns = consumer->ledger.parked.count > 0 ? errands_due_ns(&consumer->errands) : INT64_MAX;
    if (due_ns < INT64_MAX)
        set_timer(consumer->context->loop, &consumer->parked, due_ns - clock_now_ns());
}

/* Life */

struct consumer *consumer_new(const struct consumer_context *context, const struct consumer_config *config,
                              struct error *error)
{
    struct consumer *consumer = calloc(1, sizeof *consumer);
    if (!consumer) {
        error_set(error, ERROR_FAILED, "no memory for a consumer");
        return NULL;
    }
    consumer->context = context;
    consumer->config = config;
    consumer->complaints.per_second = COMPLAINTS_PER_SECOND;
    recycles_init(&consumer->recycles);
    assembly_init(&consumer->assembly);
    ev_init(&consumer->stragglers, on_timer);
    ev_init(&consumer->rebalance, on_timer);
    ev_init(&consumer->parked, on_timer);
    ev_init(&consumer->paced, on_timer);
    consumer->errands = (struct errands){
        .outlet = context->outlet,
        .ledger = &consumer->ledger,
        .config = config,
        .events = &errands_events,
        .owner = consumer,
        .host = context->host,
        .complaints = { .per_second = 1 },
    };
    handout_init(&consumer->handout, &consumer->ledger, &consumer->pool, context->budget);
    consumer->handout.by_key = config->ordering != CONFIG_ORDERING_NONE;
    rate_set(&consumer->handout.rate, config->rate_interval_ns, clock_now_ns());
    if (!ledger_init(&consumer->ledger, config->prefetch, error) ||
        !requeue_init(&consumer->requeues, error) ||
        !pool_init(&consumer->pool, context->loop, &context->origin, config, &pool_events, consumer, error)) {
        consumer_free(consumer);
        return NULL;
    }
    return consumer;
}

void consumer_free(struct consumer *consumer)
{
    if (!consumer)
        return;
    ev_timer_stop(consumer->context->loop, &consumer->stragglers);
    ev_timer_stop(consumer->context->loop, &consumer->rebalance);
    ev_timer_stop(consumer->context->loop, &consumer->parked);
    ev_timer_stop(consumer->context->loop, &consumer->paced);
    abandon_errands(consumer);
    subscription_clear(&consumer->subscription);
    pool_clear(&consumer->pool);
    handout_clear(&consumer->handout);
    assembly_clear(&consumer->assembly);
    ledger_clear(&consumer->ledger);
    requeue_clear(&consumer->requeues);
    free(consumer);
}

bool consumer_subscribe(struct consumer *consumer, struct error *error)
{
    consumer->subscribed = subscription_init(&consumer->subscription, consumer->context->broker,
                                             consumer->config, &subscription_events, consumer, error);
    return consumer->subscribed;
}

static bool same_text(const char *one, const char *other)
{
    return one == other || (one && other && strcmp(one, other) == 0);
}

static bool same_bindings(const struct declare_config *one, const struct declare_config *other)
{
    if (one->binding_count != other->binding_count)
        return false;
    for (size_t i = 0; i < one->binding_count; i++) {
        if (!same_text(one->bindings[i].exchange, other->bindings[i].exchange) ||
            !same_text(one->bindings[i].routing_key, other->bindings[i].routing_key))
            return false;
    }
    return true;
}

static bool same_declare(const struct declare_config *one, const struct declare_config *other)
{
    return one->enabled == other->enabled && one->type == other->type && one->has_type == other->has_type &&
           one->durable == other->durable && one->max_length == other->max_length &&
           one->max_bytes == other->max_bytes && one->ttl_ns == other->ttl_ns &&
           same_text(one->overflow, other->overflow) &&
           same_text(one->dead_letter_exchange, other->dead_letter_exchange) &&
           same_text(one->dead_letter_routing_key, other->dead_letter_routing_key) &&
           one->single_active_consumer == other->single_active_consumer &&
           one->delivery_limit == other->delivery_limit && same_bindings(one, other);
}

bool consumer_can_reload(const struct consumer *consumer, const struct consumer_config *config)
{
    const struct consumer_config *now = consumer->config;
    return same_text(now->name, config->name) && same_text(now->queue, config->queue) &&
           now->prefetch == config->prefetch && same_declare(&now->declare, &config->declare);
}

void consumer_reload(struct consumer *consumer, const struct consumer_config *config)
{
    consumer->next_config = config;
    pool_reload(&consumer->pool, config);
}

void consumer_stop(struct consumer *consumer)
{
    if (consumer->phase != CONSUMER_RUNNING)
        return;
    consumer->phase = CONSUMER_DRAINING;
    pool_drain(&consumer->pool);
    handout_recall(&consumer->handout);
    if (consumer->subscribed)
        subscription_cancel(&consumer->subscription);
}

void consumer_hurry(struct consumer *consumer)
{
    int64_t now_ns = clock_now_ns();
    pool_kill(&consumer->pool);
    abandon_errands(consumer);
    for (struct delivery *delivery = consumer->ledger.order.first; delivery;
         delivery = delivery->order.next) {
        if (delivery->state == DELIVERY_PUBLISHING) {
            consumer->counts.handed_back++;
            budget_return(consumer->context->budget);
            ledger_settle(&consumer->ledger, delivery, SETTLE_REQUEUE, now_ns);
        }
    }
}

int64_t consumer_idle_since_ns(const struct consumer *consumer)
{
    bool idle = consumer->phase == CONSUMER_RUNNING && consumer->subscribed &&
                consumer->subscription.state == SUBSCRIPTION_CONSUMING &&
                ledger_in_use(&consumer->ledger) == 0;
    int64_t since_ns =
        consumer->awaited_ns > consumer->active_ns ? consumer->awaited_ns : consumer->active_ns;
    return idle ? since_ns : INT64_MAX;
}
