/* An open connection on the loop: frames in, events out, requests sent; see connection.h. */
#include "host/amqp/internal.h"

#include "common/clock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void connection_free(struct connection *connection)
{
    if (!connection)
        return;
    if (connection->state)
        (void)amqp_destroy_connection(connection->state);
    empty_amqp_pool(&connection->scratch);
    address_clear(&connection->address);
    buffer_clear(&connection->attributes);
    free(connection);
}

int connection_fd(const struct connection *connection)
{
    return amqp_get_sockfd(connection->state);
}

const char *connection_name(const struct connection *connection)
{
    return connection->address.name;
}

unsigned connection_channel_max(const struct connection *connection)
{
    return (unsigned)amqp_get_channel_max(connection->state);
}

int connection_heartbeat_seconds(const struct connection *connection)
{
    return amqp_get_heartbeat(connection->state);
}

static struct slice slice_from(amqp_bytes_t bytes)
{
    return (struct slice){ .data = bytes.bytes, .size = bytes.len };
}

static bool lost(const struct connection *connection, int status, struct error *error)
{
    return error_set(error, ERROR_FAILED, "broker %s: connection lost: %s", connection->address.name,
                     amqp_error_string2(status));
}

static bool send_method(struct connection *connection, uint16_t channel, amqp_method_number_t id,
                        void *decoded, struct error *error)
{
    int status = amqp_send_method(connection->state, channel, id, decoded);
    return status == AMQP_STATUS_OK || lost(connection, status, error);
}

static void take_deliver(const amqp_basic_deliver_t *deliver, struct event *event)
{
    event->kind = EVENT_DELIVER;
    event->tag = deliver->delivery_tag;
    event->redelivered = deliver->redelivered != 0;
    event->exchange = slice_from(deliver->exchange);
    event->routing_key = slice_from(deliver->routing_key);
    event->text = slice_from(deliver->consumer_tag);
}

static void take_got(const amqp_basic_get_ok_t *got, struct event *event)
{
    event->kind = EVENT_GOT;
    event->tag = got->delivery_tag;
    event->messages = got->message_count;
    event->redelivered = got->redelivered != 0;
    event->exchange = slice_from(got->exchange);
    event->routing_key = slice_from(got->routing_key);
}

static void take_declared(const amqp_queue_declare_ok_t *declared, struct event *event)
{
    event->kind = EVENT_DECLARED;
    event->messages = declared->message_count;
    event->consumers = declared->consumer_count;
}

static void take_confirm(enum event_kind kind, uint64_t tag, bool multiple, struct event *event)
{
    event->kind = kind;
    event->tag = tag;
    event->multiple = multiple;
}

static void take_return(const amqp_basic_return_t *returned, struct event *event)
{
    event->kind = EVENT_RETURN;
    event->code = returned->reply_code;
    event->text = slice_from(returned->reply_text);
    event->exchange = slice_from(returned->exchange);
    event->routing_key = slice_from(returned->routing_key);
}

/* A close is answered at once: the other end waits for it. The answer's failure shows at the next read. */
static void take_channel_close(struct connection *connection, const amqp_channel_close_t *close,
                               struct event *event)
{
    amqp_channel_close_ok_t ok = { 0 };
    struct error ignored;
    event->kind = EVENT_CHANNEL_CLOSED;
    event->code = close->reply_code;
    event->text = slice_from(close->reply_text);
    (void)send_method(connection, event->channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok, &ignored);
}

static void take_connection_close(struct connection *connection, const amqp_connection_close_t *close,
                                  struct event *event)
{
    amqp_connection_close_ok_t ok = { 0 };
    struct error ignored;
    event->kind = EVENT_CLOSED;
    event->code = close->reply_code;
    event->text = slice_from(close->reply_text);
    (void)send_method(connection, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok, &ignored);
}

/* What comes of publishing. */
static bool take_publishing(const amqp_method_t *method, struct event *event)
{
    const amqp_basic_ack_t *ack = method->decoded;
    const amqp_basic_nack_t *nack = method->decoded;
    switch (method->id) {
    case AMQP_BASIC_ACK_METHOD:
        take_confirm(EVENT_CONFIRM, ack->delivery_tag, ack->multiple != 0, event);
        return true;
    case AMQP_BASIC_NACK_METHOD:
        take_confirm(EVENT_REFUSE, nack->delivery_tag, nack->multiple != 0, event);
        return true;
    case AMQP_BASIC_RETURN_METHOD:
        take_return(method->decoded, event);
        return true;
    case AMQP_CONFIRM_SELECT_OK_METHOD:
        event->kind = EVENT_CONFIRMING;
        return true;
    case AMQP_QUEUE_BIND_OK_METHOD:
        event->kind = EVENT_BOUND;
        return true;
    default:
        return false;
    }
}

static void take_method(struct connection *connection, const amqp_method_t *method, struct event *event)
{
    if (take_publishing(method, event))
        return;
    switch (method->id) {
    case AMQP_BASIC_DELIVER_METHOD:
        take_deliver(method->decoded, event);
        break;
    case AMQP_BASIC_GET_OK_METHOD:
        take_got(method->decoded, event);
        break;
    case AMQP_BASIC_GET_EMPTY_METHOD:
        event->kind = EVENT_EMPTY;
        break;
    case AMQP_CHANNEL_OPEN_OK_METHOD:
        event->kind = EVENT_CHANNEL_OPENED;
        break;
    case AMQP_CHANNEL_CLOSE_OK_METHOD:
        event->kind = EVENT_CHANNEL_DONE;
        break;
    case AMQP_CHANNEL_CLOSE_METHOD:
        take_channel_close(connection, method->decoded, event);
        break;
    case AMQP_QUEUE_DECLARE_OK_METHOD:
        take_declared(method->decoded, event);
        break;
    case AMQP_BASIC_QOS_OK_METHOD:
        event->kind = EVENT_QOS_SET;
        break;
    case AMQP_BASIC_CONSUME_OK_METHOD:
        event->kind = EVENT_CONSUMING;
        event->text = slice_from(((const amqp_basic_consume_ok_t *)method->decoded)->consumer_tag);
        break;
    case AMQP_BASIC_CANCEL_OK_METHOD:
        event->kind = EVENT_CANCELLED;
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        event->kind = EVENT_CANCEL;
        event->text = slice_from(((const amqp_basic_cancel_t *)method->decoded)->consumer_tag);
        break;
    case AMQP_CONNECTION_BLOCKED_METHOD:
        event->kind = EVENT_BLOCKED;
        event->text = slice_from(((const amqp_connection_blocked_t *)method->decoded)->reason);
        break;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        event->kind = EVENT_UNBLOCKED;
        break;
    case AMQP_CONNECTION_CLOSE_METHOD:
        take_connection_close(connection, method->decoded, event);
        break;
    case AMQP_CONNECTION_CLOSE_OK_METHOD:
        event->kind = EVENT_DONE;
        break;
    default:
        break;
    }
}

/* A broker that adds headers where a message dies may make more of them than anybody can use. */
static bool take_header(struct connection *connection, const amqp_frame_t *frame, struct event *event,
                        struct error *error)
{
    struct buffer *attributes = &connection->attributes;
    amqp_basic_properties_t *properties = frame->payload.properties.decoded;
    bool basic = frame->payload.properties.class_id == AMQP_BASIC_CLASS;
    buffer_reset(attributes);
    event->too_large = basic && !properties_encode(properties, attributes);
    if (event->too_large) {
        properties->_flags &= ~(amqp_flags_t)AMQP_BASIC_HEADERS_FLAG;
        buffer_reset(attributes);
    }
    if (!basic || (event->too_large && !properties_encode(properties, attributes)))
        return error_set(error, ERROR_FAILED,
                         "broker %s: connection given up: a message's properties cannot be read",
                         connection->address.name);
    event->kind = EVENT_HEADER;
    event->body_bytes = frame->payload.properties.body_size;
    event->attributes = (struct slice){ .data = attributes->data, .size = attributes->size };
    return true;
}

static bool take_frame(struct connection *connection, const amqp_frame_t *frame, struct event *event,
                       struct error *error)
{
    *event = (struct event){ .kind = EVENT_OTHER, .channel = frame->channel };
    switch (frame->frame_type) {
    case AMQP_FRAME_METHOD:
        take_method(connection, &frame->payload.method, event);
        return true;
    case AMQP_FRAME_HEADER:
        return take_header(connection, frame, event, error);
    case AMQP_FRAME_BODY:
        event->kind = EVENT_BODY;
        event->text = slice_from(frame->payload.body_fragment);
        return true;
    default:
        return true;
    }
}

enum connection_next connection_read(struct connection *connection, struct event *event, struct error *error)
{
    const struct timeval zero = { 0 };
    amqp_frame_t frame;
    if (connection->release) {
        amqp_maybe_release_buffers_on_channel(connection->state, connection->release_channel);
        connection->release = false;
    }
    int status = amqp_simple_wait_frame_noblock(connection->state, &frame, &zero);
    if (status == AMQP_STATUS_TIMEOUT)
        return CONNECTION_DRY;
    if (status != AMQP_STATUS_OK) {
        lost(connection, status, error);
        return CONNECTION_LOST;
    }
    connection->release = true;
    connection->release_channel = frame.channel;
    return take_frame(connection, &frame, event, error) ? CONNECTION_EVENT : CONNECTION_LOST;
}

bool connection_can_send(const struct connection *connection)
{
    struct pollfd poll_fd = { .fd = connection_fd(connection), .events = POLLOUT };
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);
}

bool connection_send_channel_open(struct connection *connection, uint16_t channel, struct error *error)
{
    amqp_channel_open_t request = { .out_of_band = amqp_empty_bytes };
    return send_method(connection, channel, AMQP_CHANNEL_OPEN_METHOD, &request, error);
}

bool connection_send_channel_close(struct connection *connection, uint16_t channel, struct error *error)
{
    amqp_channel_close_t request = { .reply_code = AMQP_REPLY_SUCCESS,
                                     .reply_text = amqp_cstring_bytes("bye") };
    return send_method(connection, channel, AMQP_CHANNEL_CLOSE_METHOD, &request, error);
}

static int64_t milliseconds(int64_t nanoseconds)
{
    return nanoseconds < 0 ? -1 : nanoseconds / CLOCK_NS_PER_MS;
}

static void add_number(amqp_table_t *table, const char *key, int64_t value)
{
    if (value < 0)
        return;
    amqp_table_entry_t *entry = &table->entries[table->num_entries++];
    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_I64;
    entry->value.value.i64 = value;
}

/* Absent is false to the broker, so only true is said. */
static void add_true(amqp_table_t *table, const char *key, bool value)
{
    if (!value)
        return;
    amqp_table_entry_t *entry = &table->entries[table->num_entries++];
    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry->value.value.boolean = 1;
}

static void add_text(amqp_table_t *table, const char *key, const char *value)
{
    if (!value)
        return;
    amqp_table_entry_t *entry = &table->entries[table->num_entries++];
    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_UTF8;
    entry->value.value.bytes = amqp_cstring_bytes(value);
}

bool connection_send_declare(struct connection *connection, uint16_t channel, const char *queue,
                             const struct declare_config *declare, struct error *error)
{
    enum { ARGUMENTS_MAX = 12 };
    amqp_table_entry_t entries[ARGUMENTS_MAX];
    amqp_table_t arguments = { .entries = entries };
    if (declare->enabled) {
        if (declare->has_type)
            add_text(&arguments, "x-queue-type", declare->type == CONFIG_QUEUE_QUORUM ? "quorum" : "classic");
        add_number(&arguments, "x-max-length", declare->max_length);
        add_number(&arguments, "x-max-length-bytes", declare->max_bytes);
        add_number(&arguments, "x-message-ttl", milliseconds(declare->ttl_ns));
        add_number(&arguments, "x-expires", milliseconds(declare->expires_ns));
        add_text(&arguments, "x-overflow", declare->overflow);
        add_text(&arguments, "x-dead-letter-exchange", declare->dead_letter_exchange);
        add_text(&arguments, "x-dead-letter-routing-key", declare->dead_letter_routing_key);
        add_true(&arguments, "x-single-active-consumer", declare->single_active_consumer);
        add_number(&arguments, "x-delivery-limit", declare->delivery_limit);
        add_text(&arguments, "x-dead-letter-strategy", declare->at_least_once ? "at-least-once" : NULL);
    }
    amqp_queue_declare_t request = {
        .queue = amqp_cstring_bytes(queue),
        .passive = !declare->enabled,
        .durable = declare->enabled && declare->durable,
        .arguments = arguments,
    };
    return send_method(connection, channel, AMQP_QUEUE_DECLARE_METHOD, &request, error);
}

bool connection_send_declare_own(struct connection *connection, uint16_t channel, int64_t max_length,
                                 int64_t max_bytes, struct error *error)
{
    amqp_table_entry_t entries[2];
    amqp_table_t arguments = { .entries = entries };
    add_number(&arguments, "x-max-length", max_length);
    add_number(&arguments, "x-max-length-bytes", max_bytes);
    amqp_queue_declare_t request = {
        .queue = amqp_empty_bytes, .exclusive = 1, .auto_delete = 1, .arguments = arguments
    };
    return send_method(connection, channel, AMQP_QUEUE_DECLARE_METHOD, &request, error);
}

bool connection_send_qos(struct connection *connection, uint16_t channel, uint16_t prefetch,
                         struct error *error)
{
    amqp_basic_qos_t request = { .prefetch_count = prefetch };
    return send_method(connection, channel, AMQP_BASIC_QOS_METHOD, &request, error);
}

bool connection_send_consume(struct connection *connection, uint16_t channel, const char *queue,
                             const char *tag, struct error *error)
{
    amqp_basic_consume_t request = { .queue = amqp_cstring_bytes(queue),
                                     .consumer_tag = amqp_cstring_bytes(tag),
                                     .arguments = amqp_empty_table };
    return send_method(connection, channel, AMQP_BASIC_CONSUME_METHOD, &request, error);
}

bool connection_send_cancel(struct connection *connection, uint16_t channel, const char *tag,
                            struct error *error)
{
    amqp_basic_cancel_t request = { .consumer_tag = amqp_cstring_bytes(tag) };
    return send_method(connection, channel, AMQP_BASIC_CANCEL_METHOD, &request, error);
}

bool connection_send_get(struct connection *connection, uint16_t channel, const char *queue,
                         struct error *error)
{
    amqp_basic_get_t request = { .queue = amqp_cstring_bytes(queue) };
    return send_method(connection, channel, AMQP_BASIC_GET_METHOD, &request, error);
}

bool connection_send_ack(struct connection *connection, uint16_t channel, uint64_t tag, bool multiple,
                         struct error *error)
{
    int status = amqp_basic_ack(connection->state, channel, tag, multiple);
    return status == AMQP_STATUS_OK || lost(connection, status, error);
}

bool connection_send_nack(struct connection *connection, uint16_t channel, uint64_t tag, struct error *error)
{
    int status = amqp_basic_nack(connection->state, channel, tag, 0, 1);
    return status == AMQP_STATUS_OK || lost(connection, status, error);
}

bool connection_send_reject(struct connection *connection, uint16_t channel, uint64_t tag,
                            struct error *error)
{
    int status = amqp_basic_reject(connection->state, channel, tag, 0);
    return status == AMQP_STATUS_OK || lost(connection, status, error);
}

bool connection_send_close(struct connection *connection, struct error *error)
{
    amqp_connection_close_t request = { .reply_code = AMQP_REPLY_SUCCESS,
                                        .reply_text = amqp_cstring_bytes("bye") };
    return send_method(connection, 0, AMQP_CONNECTION_CLOSE_METHOD, &request, error);
}

static amqp_bytes_t bytes_of(struct slice slice)
{
    return (amqp_bytes_t){ .bytes = (void *)(uintptr_t)slice.data, .len = slice.size };
}

bool connection_send_bind(struct connection *connection, uint16_t channel, const char *queue,
                          struct slice exchange, struct slice routing_key, struct error *error)
{
    amqp_queue_bind_t request = { .queue = amqp_cstring_bytes(queue),
                                  .exchange = bytes_of(exchange),
                                  .routing_key = bytes_of(routing_key),
                                  .arguments = amqp_empty_table };
    return send_method(connection, channel, AMQP_QUEUE_BIND_METHOD, &request, error);
}

bool connection_send_confirm_select(struct connection *connection, uint16_t channel, struct error *error)
{
    amqp_confirm_select_t request = { 0 };
    return send_method(connection, channel, AMQP_CONFIRM_SELECT_METHOD, &request, error);
}

/* A header frame is no larger than its attributes: an attribute has more in front of it than a property. The
 * broker adds headers of its own where a message leaves a delay queue, and sends the frame even if it is too
 * large then: other consumers than this one lose the connection over it, each time anew. */
size_t connection_attributes_max(const struct connection *connection)
{
    enum { FRAME_AROUND_HEADER = 64, SHARE_OF_BROKER = 16 };
    int frame_max = connection && connection->frame_max > 0 ? connection->frame_max : CONNECTION_FRAME_MAX;
    int most = frame_max - frame_max / SHARE_OF_BROKER - FRAME_AROUND_HEADER;
    return most > 0 ? (size_t)most : 0;
}

static struct slice name_in(struct slice attributes, enum wire_attribute_id id)
{
    struct slice name = { .data = "", .size = 0 };
    (void)wire_find(attributes, id, &name);
    return name;
}

static bool send_frame(struct connection *connection, const amqp_frame_t *frame, struct error *error)
{
    int status = amqp_send_frame(connection->state, frame);
    return status == AMQP_STATUS_OK || lost(connection, status, error);
}

bool connection_send_publish(struct connection *connection, uint16_t channel, struct slice attributes,
                             uint64_t body_bytes, struct error *error)
{
    amqp_basic_properties_t properties;
    recycle_amqp_pool(&connection->scratch);
    if (!properties_decode(attributes, &connection->scratch, &properties))
        return error_set(error, ERROR_FAILED, "no memory for the headers of a message to publish");
    amqp_basic_publish_t publish = { .exchange = bytes_of(name_in(attributes, WIRE_EXCHANGE)),
                                     .routing_key = bytes_of(name_in(attributes, WIRE_ROUTING_KEY)),
                                     .mandatory = 1 };
    amqp_frame_t header = { .frame_type = AMQP_FRAME_HEADER, .channel = channel };
    header.payload.properties.class_id = AMQP_BASIC_CLASS;
    header.payload.properties.body_size = body_bytes;
    header.payload.properties.decoded = &properties;
    return send_method(connection, channel, AMQP_BASIC_PUBLISH_METHOD, &publish, error) &&
           send_frame(connection, &header, error);
}

bool connection_send_piece(struct connection *connection, uint16_t channel, struct slice piece,
                           struct error *error)
{
    amqp_frame_t body = { .frame_type = AMQP_FRAME_BODY, .channel = channel };
    body.payload.body_fragment = bytes_of(piece);
    return send_frame(connection, &body, error);
}

void connection_set_patient(struct connection *connection, bool patient)
{
    unsigned timeout_ms = patient ? 0 : connection->io_timeout_ms;
    /* Where it fails the connection is lost sooner than it need be, and comes back. */
    (void)setsockopt(connection_fd(connection), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
                     sizeof timeout_ms);
}

const char *amqp_connection_library(void)
{
    return amqp_version();
}
