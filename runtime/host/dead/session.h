/* A conversation with the broker, one question at a time: what a command needs that looks at a queue and
 * ends. (A consumer's connection lives on the loop: host/broker.h.)
 *
 * Each call waits for its answer, for SESSION_PATIENCE_NS at the most. What was taken and neither acked nor
 * handed back goes back to the queue with the connection, however that ends: nothing is lost by stopping
 * half-way. */
#ifndef HOST_DEAD_SESSION_H
#define HOST_DEAD_SESSION_H

#include "common/buffer.h"
#include "common/clock.h"
#include "common/error.h"
#include "host/amqp/connection.h"
#include "host/config.h"

#include <stdbool.h>
#include <stdint.h>

#define SESSION_PATIENCE_NS (30 * CLOCK_NS_PER_SECOND)

struct session {
    struct connection *connection;
    bool confirming;
    bool lost;                /* the broker does not answer any more */
    bool blocked;             /* the broker takes no messages now */
    struct buffer attributes; /* of the message taken last */
    struct buffer body;
    struct buffer refusal; /* why the message published last was refused */
};

/* A message that was taken: unacked, and valid until the next session_take. */
struct taken {
    uint64_t tag;
    uint64_t body_bytes;
    struct slice attributes; /* as in WIRE_DELIVER */
    struct slice body;       /* its first bytes, as many as were asked for */
};

/* Connects to the first URL that answers. */
bool session_open(struct session *session, const struct broker_config *config, struct error *error);
void session_close(struct session *session);

/* How many messages are ready in the queue, which must be there. */
bool session_count(struct session *session, const char *queue, uint32_t *ret_messages, struct error *error);

enum session_answer { SESSION_YES, SESSION_NO, SESSION_FAILED };

/* Takes the next message, and keeps at most so much of its body; SESSION_NO: there is none. */
enum session_answer session_take(struct session *session, const char *queue, size_t body_max,
                                 struct taken *ret_taken, struct error *error);
bool session_ack(struct session *session, uint64_t tag, struct error *error);
bool session_hand_back(struct session *session, uint64_t tag, struct error *error);

/* Publishes (persistently or not, as the attributes say), and waits until the broker has confirmed;
 * SESSION_NO: it has refused or found no queue for it, see `refusal`. */
enum session_answer session_publish(struct session *session, struct slice attributes, struct slice body,
                                    struct error *error);

#endif
