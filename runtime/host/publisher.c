/* Publishing with confirms; see publisher.h. */
#include "host/publisher.h"

#include "common/clock.h"
#include "common/log.h"

#include <assert.h>
#include <string.h>

/* Between two questions to the socket so much goes out: see CONNECTION_SEND_BATCH. */
enum { SEND_BYTES = CONNECTION_PIECE_MAX };

enum { COMPLAINTS_PER_SECOND = 10 };

/* The list of those that wait */

static void append(struct publisher *publisher, struct parcel *parcel)
{
    parcel->state = PARCEL_WAITING;
    parcel->previous = publisher->last;
    parcel->next = NULL;
    *(publisher->last ? &publisher->last->next : &publisher->first) = parcel;
    publisher->last = parcel;
    publisher->waiting++;
}

static void prepend(struct publisher *publisher, struct parcel *parcel)
{
    parcel->state = PARCEL_WAITING;
    parcel->previous = NULL;
    parcel->next = publisher->first;
    *(publisher->first ? &publisher->first->previous : &publisher->last) = parcel;
    publisher->first = parcel;
    publisher->waiting++;
}

static void take_out(struct publisher *publisher, struct parcel *parcel)
{
    if (parcel->state != PARCEL_WAITING)
        return;
    *(parcel->previous ? &parcel->previous->next : &publisher->first) = parcel->next;
    *(parcel->next ? &parcel->next->previous : &publisher->last) = parcel->previous;
    parcel->previous = parcel->next = NULL;
    parcel->state = PARCEL_SENT;
    publisher->waiting--;
}

/* What becomes of a parcel */

static void finish(struct parcel *parcel)
{
    if (parcel->state != PARCEL_SENT || parcel->unconfirmed > 0)
        return;
    parcel->state = PARCEL_IDLE;
    parcel->done(parcel);
}

/* The first failure ends it: what was not sent yet is not sent any more. */
static void fail(struct publisher *publisher, struct parcel *parcel, uint16_t failure, size_t offset)
{
    if (parcel->failure == 0) {
        parcel->failure = failure;
        parcel->failed_at = offset;
    }
    take_out(publisher, parcel);
}

static void take_answers(struct publisher *publisher, const struct event *event)
{
    struct confirm confirm;
    broker_made_progress(publisher->broker);
    while (confirms_take(&publisher->confirms, event->tag, event->multiple, &confirm)) {
        bool refused = event->kind == EVENT_REFUSE;
        *(refused ? &publisher->counts.refused : &publisher->counts.confirmed) += 1;
        if (publisher->suspects > 0)
            publisher->suspects--;
        struct parcel *parcel = confirm.parcel;
        if (!parcel)
            continue;
        parcel->unconfirmed--;
        if (refused)
            fail(publisher, parcel, PARCEL_REFUSED, confirm.offset);
        else if (parcel->failure == 0) /* what was returned is confirmed, too, and may be posted again */
            parcel_mark_confirmed(parcel, confirm.offset);
        finish(parcel);
    }
}

static bool is_for(const struct confirm *confirm, const struct event *event)
{
    struct publication publication;
    size_t offset = confirm->offset;
    struct slice exchange = { 0 }, key = { 0 };
    if (!confirm->parcel || !parcel_next(confirm->parcel, &offset, &publication))
        return false;
    (void)wire_find(publication.attributes, WIRE_EXCHANGE, &exchange);
    (void)wire_find(publication.attributes, WIRE_ROUTING_KEY, &key);
    return slice_same(exchange, event->exchange) && slice_same(key, event->routing_key);
}

/* A return has no number, only a route, and comes before the confirm. Everything that took the same route and
 * is not confirmed yet counts as returned: some of it may be published again for nothing, and none is lost.
 */
static void take_return(struct publisher *publisher, const struct event *event)
{
    uint64_t number = publisher->confirms.next;
    struct confirm *confirm;
    publisher->counts.returned++;
    while ((confirm = confirms_before(&publisher->confirms, &number))) {
        if (is_for(confirm, event))
            fail(publisher, confirm->parcel, event->code, confirm->offset);
    }
}

/* Losing the channel */

/* Everything that is not confirmed goes to the front again, in its old order. */
static void take_all_back(struct publisher *publisher)
{
    uint64_t number = publisher->confirms.next;
    struct confirm *confirm;
    publisher->piece.size = 0;
    while ((confirm = confirms_before(&publisher->confirms, &number))) {
        struct parcel *parcel = confirm->parcel;
        if (!parcel)
            continue;
        parcel->unconfirmed = 0;
        parcel->cursor = 0;
        if (parcel->failure == 0) {
            take_out(publisher, parcel);
            prepend(publisher, parcel);
        }
    }
    /* What had failed already is of no more use. Its owner may post another in the call. */
    for (number = publisher->confirms.next; (confirm = confirms_before(&publisher->confirms, &number));) {
        struct parcel *parcel = confirm->parcel;
        if (parcel && parcel->failure != 0) {
            confirms_forget(&publisher->confirms, parcel);
            finish(parcel);
        }
    }
    confirms_reset(&publisher->confirms);
}

static void blame_the_only_one(struct publisher *publisher, uint16_t code)
{
    uint64_t number = publisher->confirms.next;
    struct confirm *confirm = confirms_before(&publisher->confirms, &number);
    publisher->counts.returned++;
    if (confirm && confirm->parcel)
        fail(publisher, confirm->parcel, code, confirm->offset);
    if (publisher->suspects > 0)
        publisher->suspects--;
}

static void open_channel(struct publisher *publisher)
{
    struct error error;
    publisher->state = PUBLISHER_OPENING;
    if (!connection_send_channel_open(publisher->broker->connection, publisher->channel, &error))
        broker_fail(publisher->broker, &error);
}

static void channel_is_closed(struct publisher *publisher, const struct event *event)
{
    if (limiter_pass(&publisher->complaints, clock_now_ns()))
        log_warning(log_message("the broker closed the publishing channel over a message"),
                    log_unsigned("code", event->code), log_bytes("text", event->text.data, event->text.size),
                    log_unsigned("unconfirmed", publisher->confirms.open),
                    log_suppressed(limiter_take_held_back(&publisher->complaints)));
    if (publisher->confirms.open == 1)
        blame_the_only_one(publisher, event->code);
    else
        publisher->suspects = publisher->confirms.open;
    take_all_back(publisher);
    if (broker_is_up(publisher->broker))
        open_channel(publisher);
}

static void on_up(void *owner)
{
    open_channel(owner);
}

static void on_down(void *owner)
{
    struct publisher *publisher = owner;
    publisher->state = PUBLISHER_IDLE;
    publisher->suspects = 0;
    take_all_back(publisher);
}

static void select_confirms(struct publisher *publisher)
{
    struct error error;
    publisher->state = PUBLISHER_SELECTING;
    if (!connection_send_confirm_select(publisher->broker->connection, publisher->channel, &error))
        broker_fail(publisher->broker, &error);
}

static void on_event(void *owner, const struct event *event)
{
    struct publisher *publisher = owner;
    switch (event->kind) {
    case EVENT_CHANNEL_OPENED:
        select_confirms(publisher);
        break;
    case EVENT_CONFIRMING:
        publisher->state = PUBLISHER_READY;
        broker_is_useful(publisher->broker);
        break;
    case EVENT_CONFIRM:
    case EVENT_REFUSE:
        take_answers(publisher, event);
        break;
    case EVENT_RETURN:
        take_return(publisher, event);
        break;
    case EVENT_CHANNEL_CLOSED:
        channel_is_closed(publisher, event);
        break;
    default: /* header and body of what was returned among them */
        break;
    }
}

/* Sending */

static bool may_begin(const struct publisher *publisher)
{
    return publisher->suspects > 0 ? publisher->confirms.open == 0 : confirms_have_room(&publisher->confirms);
}

static bool is_open(const struct publisher *publisher)
{
    return publisher->state == PUBLISHER_READY && broker_is_up(publisher->broker) &&
           !publisher->broker->blocked;
}

/* What is the next publication to send of the parcel in front; the parcel leaves the list with its last. */
static bool next_publication(struct publisher *publisher, struct parcel **ret_parcel, size_t *ret_offset,
                             struct publication *ret)
{
    while (publisher->first) {
        struct parcel *parcel = publisher->first;
        do {
            *ret_offset = parcel->cursor;
            if (!parcel_next(parcel, &parcel->cursor, ret)) {
                take_out(publisher, parcel);
                finish(parcel);
                break;
            }
            *ret_parcel = parcel;
        } while (ret->confirmed);
        if (parcel->state == PARCEL_WAITING)
            return true;
    }
    return false;
}

/* Method and header of the next publication, at most; how many bytes went, 0 where there is none. */
static size_t begin_next(struct publisher *publisher)
{
    struct connection *connection = publisher->broker->connection;
    struct publication publication;
    struct parcel *parcel = NULL;
    struct error error;
    size_t offset;
    if (!next_publication(publisher, &parcel, &offset, &publication))
        return 0;
    assert(parcel);
    if (publication.attributes.size > connection_attributes_max(connection)) {
        fail(publisher, parcel, PARCEL_TOO_LARGE, offset);
        finish(parcel);
        return 1;
    }
    size_t bytes = publication.attributes.size + publication.body.size;
    confirms_add(&publisher->confirms, parcel, offset, bytes);
    parcel->unconfirmed++;
    publisher->counts.published++;
    publisher->piece = publication.body;
    publisher->sender = parcel;
    if (!connection_send_publish(connection, publisher->channel, publication.attributes,
                                 publication.body.size, &error))
        broker_fail(publisher->broker, &error);
    /* One that is sent whole leaves the list at once: its confirms may be all that it waits for. */
    size_t next = parcel->cursor;
    struct publication another;
    if (!parcel_next(parcel, &next, &another))
        take_out(publisher, parcel);
    return publication.attributes.size + 64;
}

static size_t send_piece(struct publisher *publisher)
{
    struct error error;
    struct slice piece = publisher->piece;
    if (piece.size > CONNECTION_PIECE_MAX)
        piece.size = CONNECTION_PIECE_MAX;
    publisher->piece.data += piece.size;
    publisher->piece.size -= piece.size;
    if (!connection_send_piece(publisher->broker->connection, publisher->channel, piece, &error))
        broker_fail(publisher->broker, &error);
    return piece.size;
}

void publisher_turn(struct publisher *publisher)
{
    size_t sent = SEND_BYTES;
    while (is_open(publisher) && (publisher->piece.size > 0 || (publisher->first && may_begin(publisher)))) {
        if (sent >= SEND_BYTES) {
            if (!connection_can_send(publisher->broker->connection)) {
                broker_wait_writable(publisher->broker);
                return;
            }
            sent = 0;
        }
        size_t bytes = publisher->piece.size > 0 ? send_piece(publisher) : begin_next(publisher);
        if (bytes == 0)
            return;
        sent += bytes;
    }
}

/* Life */

bool publisher_init(struct publisher *publisher, struct broker *broker, struct error *error)
{
    *publisher = (struct publisher){ .broker = broker, .complaints.per_second = COMPLAINTS_PER_SECOND };
    const struct broker_listener listener = {
        .up = on_up, .down = on_down, .event = on_event, .owner = publisher
    };
    confirms_reset(&publisher->confirms);
    publisher->channel = broker_channel_take(broker, &listener, error);
    return publisher->channel != 0;
}

void publisher_clear(struct publisher *publisher)
{
    if (publisher->broker)
        broker_channel_release(publisher->broker, publisher->channel);
    *publisher = (struct publisher){ 0 };
}

void publisher_post(struct publisher *publisher, struct parcel *parcel)
{
    assert(parcel->state == PARCEL_IDLE);
    parcel->cursor = 0;
    parcel->unconfirmed = 0;
    parcel->failure = 0;
    append(publisher, parcel);
}

void publisher_withdraw(struct publisher *publisher, struct parcel *parcel)
{
    struct error error;
    if (parcel->state == PARCEL_IDLE)
        return;
    take_out(publisher, parcel);
    confirms_forget(&publisher->confirms, parcel);
    parcel->state = PARCEL_IDLE;
    if (publisher->piece.size > 0 && publisher->sender == parcel) {
        /* Half a message cannot be taken back on a channel that stays. */
        publisher->piece.size = 0;
        error_set(&error, ERROR_FAILED, "a message was given up in the middle of its body");
        broker_fail(publisher->broker, &error);
    }
}

bool publisher_is_congested(const struct publisher *publisher)
{
    return publisher->first && (!is_open(publisher) || !may_begin(publisher) || publisher->piece.size > 0);
}

bool publisher_is_empty(const struct publisher *publisher)
{
    return !publisher->first && publisher->confirms.open == 0;
}
