/* Asking the broker and waiting for its answer; see session.h. */
#include "host/dead/session.h"

#include "common/units.h"
#include "common/wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum {
    CHANNEL = 1,
    ADDRESS_BYTES_MAX = 1024, /* exchange and routing key as attributes */
    BODY_BYTES_MAX = 1024 * 1024 * 1024,
    REFUSAL_BYTES_MAX = 1024,
    NOT_FOUND = 404,
};

/* --- Waiting --- */

static bool refuse(const struct session *session, const char *what, const struct event *event,
                   struct error *error)
{
    return error_set(error, ERROR_FAILED, "broker %s: %s: %u %.*s", connection_name(session->connection),
                     what, event->code, (int)event->text.size, event->text.data);
}

/* Until there is something to read. */
static bool wait_readable(const struct session *session, int64_t deadline_ns, struct error *error)
{
    char text[UNITS_TEXT_MAX];
    struct pollfd readable = { .fd = connection_fd(session->connection), .events = POLLIN };
    int64_t left_ns = deadline_ns - clock_now_ns();
    int polled = left_ns > 0 ? poll(&readable, 1, (int)(left_ns / CLOCK_NS_PER_MS) + 1) : 0;
    if (polled > 0 || (polled < 0 && errno == EINTR))
        return true;
    if (polled < 0)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot wait for the broker");
    return error_set(error, ERROR_FAILED, "broker %s: no answer within %s%s",
                     connection_name(session->connection), units_format_duration(SESSION_PATIENCE_NS, text),
                     session->blocked ? ": it takes no messages now, since it is short of memory or disk"
                                      : "");
}

/* The next event that is an answer; false where there will be none. */
static bool read_answer(struct session *session, struct event *event, struct error *error)
{
    int64_t deadline_ns = clock_now_ns() + SESSION_PATIENCE_NS;
    for (;;) {
        enum connection_next next = connection_read(session->connection, event, error);
        if (next == CONNECTION_LOST)
            return false;
        if (next == CONNECTION_DRY) {
            if (!wait_readable(session, deadline_ns, error))
                return false;
            continue;
        }
        switch (event->kind) {
        case EVENT_BLOCKED:
        case EVENT_UNBLOCKED:
            session->blocked = event->kind == EVENT_BLOCKED;
            break;
        case EVENT_CLOSED:
            return refuse(session, "the broker closed the connection", event, error);
        default:
            return true;
        }
    }
}

static bool next_event(struct session *session, struct event *event, struct error *error)
{
    session->lost = session->lost || !read_answer(session, event, error);
    return !session->lost;
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

/* --- Opening and closing --- */

static struct connection *dial(const struct broker_config *config, struct error *error)
{
    struct connection *connection = NULL;
    for (size_t i = 0; i < config->url_count && !connection; i++)
        connection = connection_dial(config, config->urls[i], CHANNEL, error);
    return connection;
}

bool session_open(struct session *session, const struct broker_config *config, struct error *error)
{
    struct event event;
    *session = (struct session){ .connection = dial(config, error) };
    buffer_init(&session->attributes, WIRE_ATTRIBUTES_MAX + ADDRESS_BYTES_MAX);
    buffer_init(&session->body, BODY_BYTES_MAX);
    buffer_init(&session->refusal, REFUSAL_BYTES_MAX);
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
    session->connection = NULL;
    buffer_clear(&session->attributes);
    buffer_clear(&session->body);
    buffer_clear(&session->refusal);
}

/* --- Taking --- */

bool session_count(struct session *session, const char *queue, uint32_t *ret_messages, struct error *error)
{
    const struct declare_config passively = { .enabled = false };
    struct event event;
    if (!connection_send_declare(session->connection, CHANNEL, queue, &passively, error))
        return false;
    do {
        if (!next_event(session, &event, error))
            return false;
        if (event.kind == EVENT_CHANNEL_CLOSED && event.code == NOT_FOUND)
            return error_set(error, ERROR_FAILED, "broker %s: there is no queue %s",
                             connection_name(session->connection), queue);
        if (event.kind == EVENT_CHANNEL_CLOSED)
            return refuse(session, "the broker refuses", &event, error);
    } while (event.kind != EVENT_DECLARED);
    *ret_messages = event.messages;
    return true;
}

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

enum session_answer session_take(struct session *session, const char *queue, size_t body_max,
                                 struct taken *ret_taken, struct error *error)
{
    struct event event;
    buffer_reset(&session->attributes);
    buffer_reset(&session->body);
    if (!connection_send_get(session->connection, CHANNEL, queue, error))
        return SESSION_FAILED;
    do {
        if (!next_event(session, &event, error))
            return SESSION_FAILED;
        if (event.kind == EVENT_CHANNEL_CLOSED) {
            (void)refuse(session, "the broker refuses", &event, error);
            return SESSION_FAILED;
        }
        if (event.kind == EVENT_EMPTY)
            return SESSION_NO;
    } while (event.kind != EVENT_GOT);
    *ret_taken = (struct taken){ .tag = event.tag };
    wire_add(&session->attributes, WIRE_EXCHANGE, event.exchange);
    wire_add(&session->attributes, WIRE_ROUTING_KEY, event.routing_key);
    if (!take_content(session, body_max, ret_taken, error))
        return SESSION_FAILED;
    ret_taken->attributes =
        (struct slice){ .data = session->attributes.data, .size = session->attributes.size };
    ret_taken->body = (struct slice){ .data = session->body.data, .size = session->body.size };
    return SESSION_YES;
}

bool session_ack(struct session *session, uint64_t tag, struct error *error)
{
    return connection_send_ack(session->connection, CHANNEL, tag, false, error);
}

bool session_hand_back(struct session *session, uint64_t tag, struct error *error)
{
    return connection_send_nack(session->connection, CHANNEL, tag, error);
}

/* --- Publishing --- */

static bool begin_confirming(struct session *session, struct error *error)
{
    struct event event;
    if (session->confirming)
        return true;
    session->confirming = connection_send_confirm_select(session->connection, CHANNEL, error) &&
                          await(session, EVENT_CONFIRMING, &event, error);
    return session->confirming;
}

static bool send(struct session *session, struct slice attributes, struct slice body, struct error *error)
{
    if (!connection_send_publish(session->connection, CHANNEL, attributes, body.size, error))
        return false;
    while (body.size > 0) {
        const struct slice piece = { .data = body.data,
                                     .size = body.size < CONNECTION_PIECE_MAX ? body.size
                                                                              : CONNECTION_PIECE_MAX };
        if (!connection_send_piece(session->connection, CHANNEL, piece, error))
            return false;
        body.data += piece.size;
        body.size -= piece.size;
    }
    return true;
}

/* A returned message is confirmed, too, and its content comes first: only the confirm ends the waiting. */
static enum session_answer await_confirm(struct session *session, struct error *error)
{
    struct event event;
    buffer_reset(&session->refusal);
    for (;;) {
        if (!next_event(session, &event, error))
            return SESSION_FAILED;
        switch (event.kind) {
        case EVENT_RETURN:
            (void)buffer_printf(&session->refusal, "no queue takes it: %u %.*s", event.code,
                                (int)event.text.size, event.text.data);
            break;
        case EVENT_REFUSE:
            (void)buffer_append_text(&session->refusal, "the queue refuses it: it is full");
            return SESSION_NO;
        case EVENT_CONFIRM:
            return session->refusal.size > 0 ? SESSION_NO : SESSION_YES;
        case EVENT_CHANNEL_CLOSED:
            (void)refuse(session, "the broker refuses", &event, error);
            return SESSION_FAILED;
        default:
            break;
        }
    }
}

enum session_answer session_publish(struct session *session, struct slice attributes, struct slice body,
                                    struct error *error)
{
    if (!begin_confirming(session, error) || !send(session, attributes, body, error))
        return SESSION_FAILED;
    return await_confirm(session, error);
}
