/* Doing errands; see errands.h. */
#include "host/errands.h"

#include "common/clock.h"
#include "common/log.h"
#include "host/assembly.h"
#include "host/letter.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    LETTER_MARKS_MAX = 8 * 1024, /* what letter_write adds to a message's attributes, at most */
    REPLY_NO_ROUTE = 312,
};

static const int64_t first_pause_ns = CLOCK_NS_PER_SECOND / 4;
static const int64_t longest_pause_ns = 30 * CLOCK_NS_PER_SECOND;

static void on_done(struct parcel *parcel);

/* Beginning */

static void begin(struct errands *errands, struct delivery *delivery, enum errand errand)
{
    delivery->errand = errand;
    delivery->tries = 0;
    delivery->due_ns = errands->look_ns = errands->due_ns = 0;
    delivery->parcel = (struct parcel){
        .done = on_done,
        .owner = errands,
        .content = delivery->outbox.data,
        .content_bytes = delivery->outbox.size,
        .body = delivery_body(delivery),
    };
    if (delivery->state == DELIVERY_PUBLISHING)
        ledger_park(errands->ledger, delivery);
    else
        ledger_publish(errands->ledger, delivery);
}

void errands_publish(struct errands *errands, struct delivery *delivery, struct buffer *content)
{
    buffer_swap(&delivery->outbox, content);
    begin(errands, delivery, ERRAND_MESSAGES);
}

static bool write_letter(const struct errands *errands, struct delivery *delivery,
                         const struct letter *letter)
{
    struct slice attributes = delivery_attributes(delivery);
    struct buffer *outbox = &delivery->outbox;
    buffer_reset(outbox);
    if (!buffer_reserve(outbox, WIRE_PUBLISH_BYTES + attributes.size + LETTER_MARKS_MAX))
        return false;
    const struct wire_publish head = { .seq = PARCEL_BODY_ELSEWHERE };
    wire_add_publish(outbox, &head);
    letter_write(letter, attributes, outbox);
    uint32_t size = (uint32_t)(outbox->size - WIRE_PUBLISH_BYTES);
    memcpy(outbox->data + sizeof head.seq, &size, sizeof size);
    return !outbox->failed && size <= connection_attributes_max(errands->outlet->broker.connection);
}

static int64_t wait_in_ms(int64_t wait_ns)
{
    return wait_ns / CLOCK_NS_PER_MS + (wait_ns % CLOCK_NS_PER_MS > 0);
}

bool errands_retry(struct errands *errands, struct delivery *delivery, int64_t wait_ns)
{
    char name[RETRY_QUEUE_NAME_MAX];
    const char *queue = errands->config->queue;
    struct letter letter = { .to = queue, .queue = queue, .attempt = delivery->attempt, .wait_ms = -1 };
    delivery->wait_ms = wait_in_ms(wait_ns);
    if (delivery->wait_ms > 0) {
        retry_queue_name(queue, retry_step_ms(delivery->wait_ms), name);
        letter.to = name;
        letter.wait_ms = delivery->wait_ms;
    }
    if (!write_letter(errands, delivery, &letter))
        return false;
    begin(errands, delivery, ERRAND_RETRY);
    return true;
}

bool errands_bury(struct errands *errands, struct delivery *delivery, const char *reason, struct slice error)
{
    struct letter letter = {
        .to = errands->config->dead_letter,
        .queue = errands->config->queue,
        .attempt = delivery->attempt,
        .wait_ms = -1,
        .reason = reason,
        .error = error,
        .time = (int64_t)time(NULL),
        .host = errands->host,
        .consumer = errands->config->name,
        .body_bytes = delivery->oversized ? (int64_t)delivery->body_bytes : -1,
        .bare = delivery->stripped,
    };
    if (!write_letter(errands, delivery, &letter)) {
        letter.bare = delivery->stripped = true;
        if (!write_letter(errands, delivery, &letter))
            return false;
    }
    begin(errands, delivery, ERRAND_DEATH);
    return true;
}

/* Posting */

/* The queue that a move goes to, as its letter says: the configuration may be another one by now. */
static void name_target(const struct delivery *delivery, char to[TOPOLOGY_NAME_MAX])
{
    struct publication publication;
    struct slice name = { .data = "", .size = 0 };
    size_t offset = 0;
    if (parcel_next(&delivery->parcel, &offset, &publication))
        (void)wire_find(publication.attributes, WIRE_ROUTING_KEY, &name);
    (void)snprintf(to, TOPOLOGY_NAME_MAX, "%.*s", (int)name.size, name.data);
}

/* Whether the queue that it goes to is there; messages of handlers go where they were told to. */
static enum topology_answer ask(struct errands *errands, const struct delivery *delivery)
{
    struct declare_config arguments;
    char name[TOPOLOGY_NAME_MAX];
    if (delivery->errand == ERRAND_MESSAGES || (delivery->errand == ERRAND_RETRY && delivery->wait_ms <= 0))
        return TOPOLOGY_READY;
    arguments = delivery->errand == ERRAND_RETRY
                    ? topology_delay_queue(errands->config, retry_step_ms(delivery->wait_ms))
                    : topology_dead_letter_queue(errands->config);
    name_target(delivery, name);
    return topology_ask(&errands->outlet->topology, name, &arguments);
}

static struct publisher *publisher_for(const struct errands *errands, const struct delivery *delivery)
{
    return delivery->errand == ERRAND_MESSAGES ? &errands->outlet->messages : &errands->outlet->moves;
}

static void postpone(struct delivery *delivery, int64_t now_ns)
{
    int64_t pause_ns = first_pause_ns;
    for (unsigned i = 0; i < delivery->tries && pause_ns < longest_pause_ns; i++)
        pause_ns *= 2;
    delivery->tries++;
    delivery->due_ns = now_ns + (pause_ns < longest_pause_ns ? pause_ns : longest_pause_ns);
}

static void try_now(struct errands *errands, struct delivery *delivery, int64_t now_ns)
{
    switch (ask(errands, delivery)) {
    case TOPOLOGY_READY:
        ledger_unpark(errands->ledger, delivery);
        publisher_post(publisher_for(errands, delivery), &delivery->parcel);
        break;
    case TOPOLOGY_REFUSED:
        postpone(delivery, now_ns);
        break;
    case TOPOLOGY_PENDING:
        delivery->due_ns = 0; /* the answer wakes the loop */
        break;
    }
}

/* One stays parked. */
static void await(struct errands *errands, int64_t due_ns)
{
    if (due_ns < errands->look_ns)
        errands->look_ns = due_ns;
    if (due_ns > 0 && due_ns < errands->due_ns)
        errands->due_ns = due_ns;
}

void errands_turn(struct errands *errands, int64_t now_ns)
{
    struct delivery *next;
    if (now_ns < errands->look_ns)
        return;
    errands->look_ns = errands->due_ns = INT64_MAX;
    for (struct delivery *delivery = errands->ledger->parked.first; delivery; delivery = next) {
        next = delivery->queue.next;
        if (now_ns >= delivery->due_ns)
            try_now(errands, delivery, now_ns);
        if (delivery->parked)
            await(errands, delivery->due_ns);
    }
}

int64_t errands_due_ns(const struct errands *errands)
{
    return errands->due_ns;
}

/* The end */

static struct delivery *delivery_of(struct parcel *parcel)
{
    return (struct delivery *)((char *)parcel - offsetof(struct delivery, parcel));
}

static void complain(struct errands *errands, const struct delivery *delivery, struct slice text)
{
    int64_t now_ns = clock_now_ns();
    if (!limiter_pass(&errands->complaints, now_ns))
        return;
    log_warning(
        log_message(delivery->errand == ERRAND_RETRY
                        ? "a message cannot be moved to its delay queue; it is kept and tried again"
                        : "a message cannot be moved to the dead-letter queue; it is kept and tried again"),
        log_text("queue", errands->config->queue), log_bytes("reason", text.data, text.size),
        log_suppressed(limiter_take_held_back(&errands->complaints)));
}

static void is_not_moved(struct errands *errands, struct delivery *delivery, struct slice text)
{
    char name[TOPOLOGY_NAME_MAX];
    complain(errands, delivery, text);
    if (delivery->parcel.failure == REPLY_NO_ROUTE) {
        name_target(delivery, name);
        topology_forget(&errands->outlet->topology, name);
    }
    postpone(delivery, clock_now_ns());
    ledger_park(errands->ledger, delivery);
    await(errands, delivery->due_ns);
}

static void on_done(struct parcel *parcel)
{
    enum { TEXT_MAX = 1024 };
    struct errands *errands = parcel->owner;
    struct delivery *delivery = delivery_of(parcel);
    struct buffer text;
    if (!parcel->failure) {
        errands->events->done(errands->owner, delivery);
        return;
    }
    buffer_init(&text, TEXT_MAX);
    parcel_describe_failure(parcel, &text);
    const struct slice words = { .data = text.data, .size = text.size };
    if (delivery->errand == ERRAND_MESSAGES) {
        delivery->errand = ERRAND_NONE;
        errands->events->failed(errands->owner, delivery, words);
    } else if (parcel->failure == PARCEL_TOO_LARGE) {
        const enum errand errand = delivery->errand;
        delivery->errand = ERRAND_NONE;
        errands->events->immovable(errands->owner, delivery, errand);
    } else {
        is_not_moved(errands, delivery, words);
    }
    buffer_clear(&text);
}

void errands_abandon(struct errands *errands, struct delivery *delivery)
{
    assert(delivery->state == DELIVERY_PUBLISHING);
    if (delivery->errand != ERRAND_NONE)
        publisher_withdraw(publisher_for(errands, delivery), &delivery->parcel);
    delivery->errand = ERRAND_NONE;
}

bool errands_are_stuck(const struct errands *errands)
{
    return errands->ledger->publishing > 0 && (publisher_is_congested(&errands->outlet->moves) ||
                                               publisher_is_congested(&errands->outlet->messages));
}
