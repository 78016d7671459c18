/* A conversation with the broker: what a command needs that goes through a queue and ends. Messages are taken
 * one by one, off a queue or as copies of what an exchange gets; those that are published are confirmed in
 * the background, SESSION_WINDOW of them at a time. (A consumer's connection lives on the loop:
 * host/broker.h.)
 *
 * A call waits for its answer, for SESSION_PATIENCE_NS at the most. What was taken and neither acked nor
 * handed back goes back to the queue with the connection, however that ends: nothing is lost by stopping
 * half-way. */
#ifndef HOST_SESSION_H
#define HOST_SESSION_H

#include "common/buffer.h"
#include "common/clock.h"
#include "common/error.h"
#include "host/amqp/connection.h"
#include "host/config.h"

#include <stdbool.h>
#include <stdint.h>

#define SESSION_PATIENCE_NS (30 * CLOCK_NS_PER_SECOND)
/* What is there and does not come within this time is for somebody else: the single active consumer. */
#define SESSION_QUIET_NS (5 * CLOCK_NS_PER_SECOND)

enum {
    /* Published and not confirmed, at the most. RabbitMQ may take 200 ms to write and confirm a message. */
    SESSION_WINDOW = 1024,
    SESSION_NAME_BYTES = 256,
    SESSION_RUN_MAX = 65535, /* messages of a run that a prefetch bounds; of a larger one nothing does */
    /* What a tap has not taken yet; the broker drops the oldest of more. */
    SESSION_TAP_LENGTH = 10000,
    SESSION_TAP_BYTES = 64 * 1024 * 1024,
};

/* A message that was published, until the broker has answered for it. */
struct published {
    bool open;
    uint64_t tag;                   /* of the message that it was made from */
    char id[SESSION_NAME_BYTES];    /* what to call it */
    char queue[SESSION_NAME_BYTES]; /* that it is to go to */
    bool returned;                  /* there is no such queue */
};

/* `refusal`: NULL where the queue has it; else why not. Called within other calls of the session; may ack. */
typedef bool session_settled(void *owner, const struct published *published, const char *refusal,
                             struct error *error);

/* How a run finds out that it is over: the queue is asked whenever nothing comes. */
struct session_run {
    const char *queue; /* NULL: copies, of which there is no end */
    uint32_t left;     /* messages to come at the most */
    bool asked;        /* an answer is on its way */
    unsigned empty;    /* answers in a row that nothing is left */
    int64_t asked_ns;
    int64_t came_ns; /* the last message */
};

struct session {
    struct connection *connection;
    session_settled *settled;
    void *owner;
    bool confirming;
    bool lost;    /* the broker does not answer any more */
    bool blocked; /* it takes no messages now */
    struct session_run run;
    struct buffer attributes; /* of the message taken last */
    struct buffer body;
    struct published *window; /* number n is at n modulo SESSION_WINDOW */
    uint64_t first;           /* the lowest number that may be open; numbers begin with 1 */
    uint64_t next;            /* the number of the message that is published next */
};

/* A message that was taken: unacked, and valid until the next is taken. */
struct taken {
    uint64_t tag;
    bool redelivered;
    uint64_t body_bytes;
    uint32_t left;           /* in the queue behind it; 0 where it is one of a run */
    struct slice attributes; /* as in WIRE_DELIVER */
    struct slice body;       /* its first bytes, as many as were asked for */
};

/* What the broker tells of a queue to everybody. */
struct counted {
    uint32_t messages; /* ready: without those that are unacked */
    uint32_t consumers;
};

/* Connects to the first URL that answers. */
bool session_open(struct session *session, const struct broker_config *config, session_settled *settled,
                  void *owner, struct error *error);
void session_close(struct session *session);

enum session_answer { SESSION_YES, SESSION_NO, SESSION_FAILED };

/* Counts without touching anything; SESSION_NO: there is no such queue. SESSION_FAILED ends no session that
 * is not `lost`: the broker only does not tell. */
enum session_answer session_count(struct session *session, const char *queue, struct counted *ret_counted,
                                  struct error *error);

/* Takes the next message of the queue, which must be there, and keeps at most so much of its body;
 * SESSION_NO: there is none. */
enum session_answer session_take(struct session *session, const char *queue, size_t body_max,
                                 struct taken *ret_taken, struct error *error);
/* A run of messages, of which session_next takes one after the other; at most one for each session. Either
 * the first `most` of a queue, which must be there (*ret_depth: how many it has). What is not acked goes back
 * with the connection, all to their places: on quorum queues too, which put what is handed back singly in any
 * order. */
bool session_run(struct session *session, const char *queue, uint32_t most, uint32_t *ret_depth,
                 struct error *error);
/* Or a copy of each message that from now on reaches the exchange with this routing key. */
bool session_tap(struct session *session, const char *exchange, const char *routing_key, struct error *error);

/* Keeps at most so much of its body. SESSION_NO: the run is over, or a signal asked for its end
 * (host/stop.h).
 */
enum session_answer session_next(struct session *session, size_t body_max, struct taken *ret_taken,
                                 struct error *error);

bool session_ack(struct session *session, uint64_t tag, struct error *error);
bool session_hand_back(struct session *session, uint64_t tag, struct error *error);

/* Publishes by the default exchange, from a session without a run, whose messages would be lost in the
 * waiting; `published` says for whom, and what comes of it is told by `settled`. Waits where the window is
 * full. */
bool session_publish(struct session *session, const struct published *published, struct slice attributes,
                     struct slice body, struct error *error);

/* Waits until all that was published is settled. */
bool session_settle(struct session *session, struct error *error);

#endif
