/* One AMQP connection: dialling, reading events, sending requests. This folder is the only place that knows
 * rabbitmq-c.
 *
 * A connection is dialled by connection_dial on a thread of its own (it waits), and then belongs to the
 * loop's thread, where nothing waits: connection_read takes frames with a zero timeout, and what it asks of
 * the broker is sent as a bare method whose answer is an event like any other. Sends go out whole; they are
 * small, and the caller asks connection_can_send before it sends many. */
#ifndef HOST_AMQP_CONNECTION_H
#define HOST_AMQP_CONNECTION_H

#include "common/buffer.h"
#include "common/error.h"
#include "host/config.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CONNECTION_FRAME_MAX = 131072,
    /* What the broker may send all the same: where a message dies in a queue it adds headers of its own,
     * again and again, and does not look at the size of the frame that comes of it. */
    CONNECTION_FRAME_TAKEN_MAX = 1024 * 1024,
    /* Settlements are sent this many at a time between two looks at connection_can_send: 256 frames of 21
     * bytes are 5.4 KB, less than the free third of a socket buffer that Linux promises by POLLOUT. */
    CONNECTION_SEND_BATCH = 256,
    /* A body goes out in frames of at most so many bytes: one fits that third, too. */
    CONNECTION_PIECE_MAX = 16 * 1024,
};

struct connection;

/* Connects and logs in; waits up to connection_timeout for each. NULL with an error that names the broker
 * (without its password), what it said and what to do. May run in any thread. */
struct connection *connection_dial(const struct broker_config *config, const char *url, unsigned channel_max,
                                   struct error *error);
/* Whether the files that broker.tls names can be used, where a URL asks for TLS; connects to nothing. */
bool connection_check(const struct broker_config *config, struct error *error);
/* Closes the socket at once and frees; NULL is allowed. An orderly end is connection_send_close and its
 * answer. */
void connection_free(struct connection *connection);

int connection_fd(const struct connection *connection);
const char *connection_name(const struct connection *connection);     /* "host:port/vhost" for logs */
unsigned connection_channel_max(const struct connection *connection); /* as agreed with the broker */
int connection_heartbeat_seconds(
    const struct connection *connection); /* as agreed with the broker; 0: none */

enum event_kind {
    EVENT_CHANNEL_OPENED,
    EVENT_CHANNEL_CLOSED, /* by the broker: code and text say why; it has been answered */
    EVENT_CHANNEL_DONE,   /* the answer to connection_send_channel_close */
    EVENT_DECLARED,       /* messages, consumers */
    EVENT_QOS_SET,
    EVENT_CONSUMING,  /* text: the consumer tag */
    EVENT_CANCELLED,  /* the answer to connection_send_cancel */
    EVENT_CANCEL,     /* the broker cancelled the consumer `text` */
    EVENT_DELIVER,    /* tag, redelivered, exchange, routing_key, text: the consumer tag */
    EVENT_HEADER,     /* body_bytes, attributes: as WIRE_DELIVER carries them; too_large: without headers */
    EVENT_BODY,       /* text: the next piece */
    EVENT_CONFIRMING, /* the answer to connection_send_confirm_select */
    EVENT_CONFIRM,    /* tag, multiple: the broker has taken what was published under this number */
    EVENT_REFUSE,     /* tag, multiple: it has not */
    EVENT_RETURN,     /* exchange, routing_key, code, text: no queue took it; its confirm comes later */
    EVENT_GOT,   /* as EVENT_DELIVER, with `messages` left and without a tag: an answer to connection_send_get
                  */
    EVENT_EMPTY, /* the other answer to it */
    EVENT_BOUND, /* the answer to connection_send_bind */
    EVENT_BLOCKED, /* text: the reason */
    EVENT_UNBLOCKED,
    EVENT_CLOSED, /* the broker closed the connection: code and text; it has been answered */
    EVENT_DONE,   /* the answer to connection_send_close */
    EVENT_OTHER,  /* nothing that this program asked for */
};

struct event {
    enum event_kind kind;
    uint16_t channel;
    uint16_t code; /* AMQP reply code */
    uint64_t tag;
    uint64_t body_bytes;
    uint32_t messages;
    uint32_t consumers;
    bool redelivered;
    bool multiple;  /* all numbers up to `tag` */
    bool too_large; /* its properties are more than WIRE_ATTRIBUTES_MAX */
    struct slice text;
    struct slice exchange;
    struct slice routing_key;
    struct slice attributes;
};

enum connection_next { CONNECTION_EVENT, CONNECTION_DRY, CONNECTION_LOST };

/* The next event; its slices live until the next call. Sends heartbeats that are due. LOST fills the error.
 */
enum connection_next connection_read(struct connection *connection, struct event *event, struct error *error);

/* Whether a batch of settlements goes out without waiting. */
bool connection_can_send(const struct connection *connection);

/* Requests; false with an error means that the connection is lost. Their answers come as events. */
bool connection_send_channel_open(struct connection *connection, uint16_t channel, struct error *error);
bool connection_send_channel_close(struct connection *connection, uint16_t channel, struct error *error);
/* Declares as configured, or passively (does it exist?) where the configuration declares nothing. */
bool connection_send_declare(struct connection *connection, uint16_t channel, const char *queue,
                             const struct declare_config *declare, struct error *error);
/* Declares a queue of this connection's own, which the broker names: gone with its consumer, and bounded;
 * what is too much is dropped from its front. For the requests that follow on the channel it is "". */
bool connection_send_declare_own(struct connection *connection, uint16_t channel, int64_t max_length,
                                 int64_t max_bytes, struct error *error);
bool connection_send_qos(struct connection *connection, uint16_t channel, uint16_t prefetch,
                         struct error *error);
bool connection_send_consume(struct connection *connection, uint16_t channel, const char *queue,
                             const char *tag, struct error *error);
bool connection_send_cancel(struct connection *connection, uint16_t channel, const char *tag,
                            struct error *error);
/* Takes one message off the queue, if there is one. */
bool connection_send_get(struct connection *connection, uint16_t channel, const char *queue,
                         struct error *error);
bool connection_send_ack(struct connection *connection, uint16_t channel, uint64_t tag, bool multiple,
                         struct error *error);
bool connection_send_nack(struct connection *connection, uint16_t channel, uint64_t tag, struct error *error);
bool connection_send_reject(struct connection *connection, uint16_t channel, uint64_t tag,
                            struct error *error);
bool connection_send_close(struct connection *connection, struct error *error);
bool connection_send_bind(struct connection *connection, uint16_t channel, const char *queue,
                          struct slice exchange, struct slice routing_key, struct error *error);
bool connection_send_confirm_select(struct connection *connection, uint16_t channel, struct error *error);

/* Publishing: the method and header of a message (always mandatory), then its body in pieces of at most
 * CONNECTION_PIECE_MAX; nothing else may go out on the channel before the last. `attributes` as in
 * WIRE_PUBLISH, at most connection_attributes_max bytes of them. */
size_t connection_attributes_max(const struct connection *connection); /* NULL: of one that will be made */
bool connection_send_publish(struct connection *connection, uint16_t channel, struct slice attributes,
                             uint64_t body_bytes, struct error *error);
bool connection_send_piece(struct connection *connection, uint16_t channel, struct slice piece,
                           struct error *error);

/* Whether a broker that reads nothing for longer than io_timeout counts as lost. It may well read nothing
 * while it blocks publishers. */
void connection_set_patient(struct connection *connection, bool patient);

const char *amqp_connection_library(void); /* the version of rabbitmq-c: "0.11.0" */

#endif
