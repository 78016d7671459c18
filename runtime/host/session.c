/* Asking the broker and waiting for its answers; see session.h. */
#include "host/session.h"

#include "common/units.h"
#include "common/wire.h"
#include "host/stop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHANNEL = 1,
    COUNT_CHANNEL = 2, /* the broker closes it where there is no such queue */
    CHANNELS = 2,
    ADDRESS_BYTES_MAX = 1024, /* exchange and routing key as attributes */
    BODY_BYTES_MAX = 1024 * 1024 * 1024,
    NOT_FOUND = 404,
    TAP_PREFETCH = 100, /* copies that are under way */
};

#define ASK_AGAIN_NS (CLOCK_NS_PER_SECOND / 5) /* where something is left, and does not come */

static const char consumer_tag[] = "moonrabbit";

/* Waiting */

static bool refuse(const struct session *session, const char *what, const struct event *event,
                   struct error *error)
{
    return error_set(error, ERROR_FAILED, "broker %s: %s: %u %.*s", connection_name(session->connection),
                     what, event->code, (int)event->text.size, event->text.data);
}

/* Until there is something to read, or with POLLOUT room to write. */
static bool wait_ready(const struct session *session, short events, int64_t deadline_ns, struct error *error)
{
    char text[UNITS_TEXT_MAX];
    struct pollfd ready = { .fd = connection_fd(session->connection), .events = (short)(events | POLLIN) };
    int64_t left_ns = deadline_ns - clock_now_ns();
    int polled = left_ns > 0 ? poll(&ready, 1, (int)(left_ns / CLOCK_NS_PER_MS) + 1) : 0;
    if (polled > 0 || (polled < 0 && errno == EINTR))
        return true;
    if (polled < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot wait for the broker");
    return error_set(error, ERROR_FAILED, "broker %s: no answer within %s%s",
                     connection_name(session->connection), units_format_duration(SESSION_PATIENCE_NS, text),
                     session->blocked ? ": it takes no messages now, since it is short of memory or disk"
                                      : "");
}

static struct published *published_at(struct session *session, uint64_t number)
{
    return &session->window[number % SESSION_WINDOW];
}

static bool settle_one(struct session *session, uint64_t number, const char *refusal, struct error *error)
{
    struct published *published = published_at(session, number);
    if (number < session->first || number >= session->next || !published->open)
        return true;
    published->open = false;
    if (published->returned)
        refusal = "no queue takes it";
    return session->settled(session->owner, published, refusal, error);
}

static bool take_confirm(struct session *session, const struct event *event, struct error *error)
{
    const char *refusal = event->kind == EVENT_REFUSE ? "the queue refuses it: it is full" : NULL;
    uint64_t last = event->tag < session->next ? event->tag : session->next - 1;
    for (uint64_t number = event->multiple ? session->first : event->tag; number <= last; number++) {
        if (!settle_one(session, number, refusal, error))
            return false;
    }
    while (session->first < session->next && !published_at(session, session->first)->open)
        session->first++;
    return true;
}

/* A return does not say which message it is of, but comes before the confirm of that. So all are refused that
 * are under way to the same queue: one too many is there twice, and none is lost. */
static void take_return(struct session *session, const struct event *event)
{
    for (uint64_t number = session->first; number < session->next; number++) {
        struct published *published = published_at(session, number);
        if (published->open && slice_equals(event->routing_key, published->queue))
            published->returned = true;
    }
}

/* What comes unasked. False where it is the end; *ret_taken where it was such an event. */
static bool take_unasked(struct session *session, const struct event *event, bool *ret_taken,
                         struct error *error)
{
    *ret_taken = true;
    switch (event->kind) {
    case EVENT_BLOCKED:
    case EVENT_UNBLOCKED:
        session->blocked = event->kind == EVENT_BLOCKED;
        return true;
    case EVENT_CONFIRM:
    case EVENT_REFUSE:
        return take_confirm(session, event, error);
    case EVENT_RETURN:
        take_return(session, event);
        return true;
    case EVENT_CLOSED:
        return refuse(session, "the broker closed the connection", event, error);
    default:
        *ret_taken = false;
        return true;
    }
}

/* What is there to read; *ret_dry: nothing is. *ret_answer: the event is an answer. */
static bool read_event(struct session *session, struct event *event, bool *ret_dry, bool *ret_answer,
                       struct error *error)
{
    bool taken = true;
    enum connection_next next = connection_read(session->connection, event, error);
    *ret_dry = next == CONNECTION_DRY;
    bool going_on =
        next != CONNECTION_LOST && (next == CONNECTION_DRY || take_unasked(session, event, &taken, error));
    *ret_answer = going_on && !taken;
    session->lost = session->lost || !going_on;
    return going_on;
}

/* Waits until `is_done` says so, or for an answer where it is NULL; what else comes meanwhile is taken. */
static bool wait_until(struct session *session, bool (*is_done)(const struct session *session), short events,
                       struct event *event, struct error *error)
{
    int64_t deadline_ns = clock_now_ns() + SESSION_PATIENCE_NS;
    for (;;) {
        bool dry, answer;
        if (is_done && is_done(session))
            return true;
        if (!read_event(session, event, &dry, &answer, error))
            return false;
        if (answer && !is_done)
            return true;
        if (answer && event->kind == EVENT_CHANNEL_CLOSED) {
            session->lost = true;
            return refuse(session, "the broker refuses", event, error);
        }
        if (dry && !wait_ready(session, events, deadline_ns, error)) {
            session->lost = true;
            return false;
        }
    }
}

/* The next event that is an answer; false where there will be none. */
static bool next_event(struct session *session, struct event *event, struct error *error)
{
    return wait_until(session, NULL, 0, event, error);
}

/* The next event must be of this kind; a channel that the broker closed instead is the end. */
static bool await(struct session *session, enum event_kind kind, struct event *event, struct error *error)
{
    do {
        if (!next_event(session, event, error))
            return false;
        if (event->kind == EVENT_CHANNEL_CLOSED)
            return refuse(session, "the broker refuses", event, error);
    } while (event->kind != kind);
    return true;
}

/* Opening and closing */

static struct connection *dial(const struct broker_config *config, struct error *error)
{
    struct connection *connection = NULL;
    for (size_t i = 0; i < config->url_count && !connection; i++)
        connection = connection_dial(config, config->urls[i], CHANNELS, error);
    return connection;
}

bool session_open(struct session *session, const struct broker_config *config, session_settled *settled,
                  void *owner, struct error *error)
{
    struct event event;
    *session = (struct session){
        .connection = dial(config, error), .settled = settled, .owner = owner, .first = 1, .next = 1
    };
    buffer_init(&session->attributes, WIRE_ATTRIBUTES_MAX + ADDRESS_BYTES_MAX);
    buffer_init(&session->body, BODY_BYTES_MAX);
    session->window = calloc(SESSION_WINDOW, sizeof *session->window);
    if (session->connection && !session->window)
        return error_set(error, ERROR_FAILED, "no memory for a connection");
    return session->connection && connection_send_channel_open(session->connection, CHANNEL, error) &&
           await(session, EVENT_CHANNEL_OPENED, &event, error);
}

void session_close(struct session *session)
{
    struct error ignored;
    struct event event;
    if (session->connection && !session->lost && connection_send_close(session->connection, &ignored)) {
        while (next_event(session, &event, &ignored) && event.kind != EVENT_DONE)
            continue;
    }
    connection_free(session->connection);
    free(session->window);
    session->connection = NULL;
    session->window = NULL;
    buffer_clear(&session->attributes);
    buffer_clear(&session->body);
}

/* Counting */

enum session_answer session_count(struct session *session, const char *queue, struct counted *ret_counted,
                                  struct error *error)
{
    static const struct declare_config passive = { .enabled = false };
    struct event event;
    if (!connection_send_channel_open(session->connection, COUNT_CHANNEL, error) ||
        !await(session, EVENT_CHANNEL_OPENED, &event, error) ||
        !connection_send_declare(session->connection, COUNT_CHANNEL, queue, &passive, error))
        return SESSION_FAILED;
    do {
        if (!next_event(session, &event, error))
            return SESSION_FAILED;
    } while (event.kind != EVENT_DECLARED && event.kind != EVENT_CHANNEL_CLOSED);
    if (event.kind == EVENT_CHANNEL_CLOSED) {
        (void)refuse(session, "the broker refuses", &event, error);
        return event.code == NOT_FOUND ? SESSION_NO : SESSION_FAILED;
    }
    *ret_counted = (struct counted){ .messages = event.messages, .consumers = event.consumers };
    bool closed = connection_send_channel_close(session->connection, COUNT_CHANNEL, error) &&
                  await(session, EVENT_CHANNEL_DONE, &event, error);
    return closed ? SESSION_YES : SESSION_FAILED;
}

/* Taking */

static bool keep_attributes(struct session *session, struct slice more, struct error *error)
{
    (void)buffer_append(&session->attributes, more.data, more.size);
    return !session->attributes.failed ||
           error_set(error, ERROR_FAILED, "no memory for the properties of a message");
}

static bool take_body(struct session *session, uint64_t body_bytes, size_t body_max, struct error *error)
{
    struct event event;
    for (uint64_t came = 0; came < body_bytes; came += event.text.size) {
        if (!await(session, EVENT_BODY, &event, error))
            return false;
        size_t room = body_max - session->body.size;
        if (!buffer_append(&session->body, event.text.data, event.text.size < room ? event.text.size : room))
            return error_set(error, ERROR_FAILED, "no memory for a message of %llu bytes",
                             (unsigned long long)body_bytes);
    }
    return true;
}

static bool take_content(struct session *session, size_t body_max, struct taken *taken, struct error *error)
{
    struct event event;
    if (!await(session, EVENT_HEADER, &event, error) || !keep_attributes(session, event.attributes, error))
        return false;
    taken->body_bytes = event.body_bytes;
    return take_body(session, taken->body_bytes, body_max, error);
}

static bool refuse_missing(const struct session *session, const char *queue, struct error *error)
{
    return error_set(error, ERROR_FAILED, "broker %s: there is no queue %s",
                     connection_name(session->connection), queue);
}

static bool refuse_queue(const struct session *session, const char *queue, const struct event *event,
                         struct error *error)
{
    if (event->code != NOT_FOUND)
        return refuse(session, "the broker refuses", event, error);
    return refuse_missing(session, queue, error);
}

/* What follows an event that begins a message. */
static enum session_answer take_message(struct session *session, const struct event *event, size_t body_max,
                                        struct taken *ret_taken, struct error *error)
{
    *ret_taken =
        (struct taken){ .tag = event->tag, .redelivered = event->redelivered, .left = event->messages };
    buffer_reset(&session->attributes);
    buffer_reset(&session->body);
    wire_add(&session->attributes, WIRE_EXCHANGE, event->exchange);
    wire_add(&session->attributes, WIRE_ROUTING_KEY, event->routing_key);
    if (!take_content(session, body_max, ret_taken, error))
        return SESSION_FAILED;
    ret_taken->attributes =
        (struct slice){ .data = session->attributes.data, .size = session->attributes.size };
    ret_taken->body = (struct slice){ .data = session->body.data, .size = session->body.size };
    return SESSION_YES;
}

enum session_answer session_take(struct session *session, const char *queue, size_t body_max,
                                 struct taken *ret_taken, struct error *error)
{
    struct event event;
    if (!connection_send_get(session->connection, CHANNEL, queue, error))
        return SESSION_FAILED;
    do {
        if (!next_event(session, &event, error))
            return SESSION_FAILED;
        if (event.kind == EVENT_CHANNEL_CLOSED) {
            (void)refuse_queue(session, queue, &event, error);
            return SESSION_FAILED;
        }
        if (event.kind == EVENT_EMPTY)
            return SESSION_NO;
    } while (event.kind != EVENT_GOT);
    return take_message(session, &event, body_max, ret_taken, error);
}

/* Runs */

static bool begin_run(struct session *session, const char *queue, uint16_t prefetch, struct error *error)
{
    struct connection *connection = session->connection;
    struct event event;
    session->run.came_ns = clock_now_ns();
    return connection_send_qos(connection, CHANNEL, prefetch, error) &&
           await(session, EVENT_QOS_SET, &event, error) &&
           connection_send_consume(connection, CHANNEL, queue, consumer_tag, error) &&
           await(session, EVENT_CONSUMING, &event, error);
}

static bool ask_depth(struct session *session, const char *queue, struct error *error)
{
    static const struct declare_config passive;
    session->run.asked = true;
    session->run.asked_ns = clock_now_ns();
    return connection_send_declare(session->connection, CHANNEL, queue, &passive, error);
}

bool session_run(struct session *session, const char *queue, uint32_t most, uint32_t *ret_depth,
                 struct error *error)
{
    struct counted counted;
    enum session_answer answer = session_count(session, queue, &counted, error);
    if (answer == SESSION_NO)
        return refuse_missing(session, queue, error);
    if (answer == SESSION_FAILED)
        return false;
    *ret_depth = counted.messages;
    session->run.queue = queue;
    session->run.left = most;
    return begin_run(session, queue, most <= SESSION_RUN_MAX ? (uint16_t)most : 0, error);
}

bool session_tap(struct session *session, const char *exchange, const char *routing_key, struct error *error)
{
    struct connection *connection = session->connection;
    struct event event;
    return connection_send_declare_own(connection, CHANNEL, SESSION_TAP_LENGTH, SESSION_TAP_BYTES, error) &&
           await(session, EVENT_DECLARED, &event, error) &&
           connection_send_bind(connection, CHANNEL, "", slice_of(exchange), slice_of(routing_key), error) &&
           await(session, EVENT_BOUND, &event, error) && begin_run(session, "", TAP_PREFETCH, error);
}

/* What was on its way to us when a queue said that nothing is left comes before its next answer. */
static bool is_over(struct session_run *run, uint32_t left)
{
    run->asked = false;
    run->empty = left == 0 ? run->empty + 1 : 0;
    return run->empty == 2 || (left > 0 && clock_now_ns() - run->came_ns > SESSION_QUIET_NS);
}

/* Heartbeats are sent by whoever reads. */
static int64_t longest_sleep_ns(const struct session *session)
{
    int seconds = connection_heartbeat_seconds(session->connection);
    return seconds > 0 ? seconds * CLOCK_NS_PER_SECOND / 2 : SESSION_PATIENCE_NS;
}

/* Nothing has come: asks whether something is left, or waits for the answer or the next message. */
static bool rest(struct session *session, struct error *error)
{
    struct session_run *run = &session->run;
    int64_t now_ns = clock_now_ns();
    bool soon = run->empty == 0 && now_ns - run->asked_ns < ASK_AGAIN_NS;
    if (run->queue && !run->asked && !soon)
        return ask_depth(session, run->queue, error);
    if (run->asked && now_ns - run->asked_ns > SESSION_PATIENCE_NS)
        return error_set(error, ERROR_FAILED, "broker %s: it does not answer any more",
                         connection_name(session->connection));
    (void)stop_wait_readable(connection_fd(session->connection),
                             run->queue && !run->asked ? ASK_AGAIN_NS : longest_sleep_ns(session));
    return true;
}

/* Nothing more is to be delivered while what was taken is dealt with. */
static enum session_answer end_run(struct session *session, enum session_answer answer, struct error *error)
{
    if (session->run.queue && !connection_send_cancel(session->connection, CHANNEL, consumer_tag, error))
        return SESSION_FAILED;
    return answer;
}

static enum session_answer take_of_run(struct session *session, const struct event *event, size_t body_max,
                                       struct taken *ret_taken, struct error *error)
{
    struct session_run *run = &session->run;
    run->empty = 0;
    run->came_ns = clock_now_ns();
    enum session_answer answer = take_message(session, event, body_max, ret_taken, error);
    return answer == SESSION_YES && run->left > 0 && --run->left == 0 ? end_run(session, SESSION_YES, error)
                                                                      : answer;
}

enum session_answer session_next(struct session *session, size_t body_max, struct taken *ret_taken,
                                 struct error *error)
{
    struct event event;
    while (!stop_asked()) {
        bool dry, answer;
        if (!read_event(session, &event, &dry, &answer, error) || (dry && !rest(session, error)))
            return SESSION_FAILED;
        if (answer && event.kind == EVENT_DELIVER)
            return take_of_run(session, &event, body_max, ret_taken, error);
        if (answer && event.kind == EVENT_DECLARED && is_over(&session->run, event.messages))
            return end_run(session, SESSION_NO, error);
        if (answer && (event.kind == EVENT_CHANNEL_CLOSED || event.kind == EVENT_CANCEL)) {
            (void)refuse(session, "the broker ends it", &event, error);
            return SESSION_FAILED;
        }
    }
    return SESSION_NO;
}

bool session_ack(struct session *session, uint64_t tag, struct error *error)
{
    return connection_send_ack(session->connection, CHANNEL, tag, false, error);
}

bool session_hand_back(struct session *session, uint64_t tag, struct error *error)
{
    return connection_send_nack(session->connection, CHANNEL, tag, error);
}

/* Publishing */

static bool begin_confirming(struct session *session, struct error *error)
{
    struct event event;
    if (session->confirming)
        return true;
    session->confirming = connection_send_confirm_select(session->connection, CHANNEL, error) &&
                          await(session, EVENT_CONFIRMING, &event, error);
    return session->confirming;
}

static bool has_room(const struct session *session)
{
    return session->next - session->first < SESSION_WINDOW;
}

static bool is_settled(const struct session *session)
{
    return session->next == session->first;
}

static bool can_send(const struct session *session)
{
    return connection_can_send(session->connection);
}

/* The socket is asked before each piece: a broker that reads nothing is given up after a while. */
static bool send(struct session *session, struct slice attributes, struct slice body, struct error *error)
{
    struct event event;
    if (!wait_until(session, can_send, POLLOUT, &event, error) ||
        !connection_send_publish(session->connection, CHANNEL, attributes, body.size, error))
        return false;
    while (body.size > 0) {
        const struct slice piece = { .data = body.data,
                                     .size = body.size < CONNECTION_PIECE_MAX ? body.size
                                                                              : CONNECTION_PIECE_MAX };
        if (!wait_until(session, can_send, POLLOUT, &event, error) ||
            !connection_send_piece(session->connection, CHANNEL, piece, error))
            return false;
        body.data += piece.size;
        body.size -= piece.size;
    }
    return true;
}

bool session_publish(struct session *session, const struct published *published, struct slice attributes,
                     struct slice body, struct error *error)
{
    struct event event;
    if (!begin_confirming(session, error) || !wait_until(session, has_room, 0, &event, error))
        return false;
    struct published *place = published_at(session, session->next++);
    *place = *published;
    place->open = true;
    place->returned = false;
    return send(session, attributes, body, error);
}

bool session_settle(struct session *session, struct error *error)
{
    struct event event;
    return wait_until(session, is_settled, 0, &event, error);
}
