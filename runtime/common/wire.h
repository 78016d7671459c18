/* The frames that host and worker exchange over their socketpair, and nothing else passes between them there.
 *
 * A frame is a header { u32 payload bytes, u8 type, u8[3] zero } and a payload: a fixed struct for its type,
 * then attributes { u8 id, u32 bytes, bytes }, and for a delivery the body last, or where it lies. Both ends
 * are one binary on one machine, so integers are in host order; no field is aligned. Both ends check what
 * they read: a worker may have been taken over by its script, and then only its own messages may suffer.
 *
 * All functions are pure: bytes in, value out. A slice that they return points into the bytes given. */
#ifndef COMMON_WIRE_H
#define COMMON_WIRE_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
    /* host to worker */
    WIRE_SETUP = 1, /* struct wire_setup, then SCRIPT, CONSUMER, QUEUE, and where http is allowed HTTP_CA and
                       one HTTP_ALLOW for each entry: always the first frame */
    WIRE_DELIVER = 2, /* struct wire_deliver, then attributes of the message, then the body, unless that lies
                         on the shelf (common/shelf.h) */
    WIRE_STOP = 3,    /* empty: answer what is at hand, run teardown, exit 0 */
    WIRE_RECYCLE = 4, /* empty: take a new Lua state before the next message */
    WIRE_LOOK = 5,    /* empty: look for leaks now, and tell */
    /* worker to host */
    WIRE_READY = 16,    /* struct wire_ready: the script is loaded and setup has run */
    WIRE_FAILED = 17,   /* TEXT: the script does not load; the worker exits after it */
    WIRE_RESULT = 18,   /* struct wire_result, then TEXT: one for each WIRE_DELIVER, in any order */
    WIRE_LOG = 19,      /* struct wire_log, then TEXT and pairs of KEY and STRING or LITERAL */
    WIRE_RECYCLED = 20, /* struct wire_recycled: the Lua state was exchanged for a new one */
    /* A message to publish: struct wire_publish, its attributes, and the body or the first piece of it. */
    WIRE_PUBLISH = 21,
    WIRE_PIECE = 22,  /* the next piece of the body of the WIRE_PUBLISH before it, at least one byte */
    WIRE_LEAK = 23,   /* struct wire_leak, then TEXT (the path), KEY (its kind), STRING (a sample of keys) */
    WIRE_LOOKED = 24, /* struct wire_looked: the answer to a WIRE_LOOK, behind the WIRE_LEAKs */
};

/* What a handler publishes waits in the worker until the handler has succeeded. Then its WIRE_PUBLISH frames,
 * each with its WIRE_PIECEs, come right before the WIRE_RESULT of the same seq, with no other frame in
 * between, in the order in which they were asked for. Only a result of WIRE_ACK may have any: the host
 * publishes them, and acks when the broker has confirmed all. One with seq 0 belongs to no delivery (setup,
 * teardown) and is published as soon as it is whole.
 *
 * Attributes of a WIRE_PUBLISH, each once at the most: WIRE_EXCHANGE (left out: the default exchange),
 * WIRE_ROUTING_KEY (left out: empty), WIRE_HEADERS, and those from WIRE_CONTENT_TYPE to WIRE_DELIVERY_MODE
 * but WIRE_CLUSTER_ID. Texts have at most 255 bytes. WIRE_DELIVERY_MODE is written out; there is no default
 * here. */

enum wire_attribute_id {
    WIRE_SCRIPT = 1, /* path of the handler script */
    WIRE_CONSUMER,   /* the consumer's name in logs */
    WIRE_QUEUE,
    WIRE_TEXT,       /* a reason, an error or a log message; UTF-8 is not promised */
    WIRE_KEY,        /* name of a log field */
    WIRE_STRING,     /* value of a log field, to be quoted */
    WIRE_LITERAL,    /* value of a log field: a number, true, false or null */
    WIRE_HTTP_ALLOW, /* an entry of http.allow; see worker/allow.h */
    WIRE_HTTP_CA,    /* path of the file of certificate authorities */
    WIRE_EXCHANGE = 32,
    WIRE_ROUTING_KEY,
    WIRE_CONSUMER_TAG,
    WIRE_HEADERS, /* an AMQP field table in its own encoding, without the length in front; see common/fields.h
                   */
    WIRE_CONTENT_TYPE,
    WIRE_CONTENT_ENCODING,
    WIRE_CORRELATION_ID,
    WIRE_REPLY_TO,
    WIRE_EXPIRATION,
    WIRE_MESSAGE_ID,
    WIRE_MESSAGE_TYPE,
    WIRE_USER_ID,
    WIRE_APP_ID,
    WIRE_CLUSTER_ID,
    WIRE_TIMESTAMP,     /* u64, seconds since 1970 */
    WIRE_PRIORITY,      /* u8 */
    WIRE_DELIVERY_MODE, /* u8 */
};

enum wire_decode { WIRE_DECODE_AUTO = 0, WIRE_DECODE_JSON = 1, WIRE_DECODE_RAW = 2 };

/* What came of one delivery. */
enum wire_verdict {
    WIRE_ACK = 1,
    WIRE_RETRY = 2,         /* the handler asked for it; delay_ns may say when */
    WIRE_REQUEUE = 3,       /* the handler asked for it */
    WIRE_REJECT = 4,        /* the handler refused it; TEXT is its reason */
    WIRE_ERROR = 5,         /* the handler raised an error or returned what is no verdict; TEXT says which */
    WIRE_UNDECODABLE = 6,   /* the body is not what `decode` promises; the handler was not called */
    WIRE_SKIPPED = 7,       /* the host had revoked it; the handler was not called */
    WIRE_OUT_OF_MEMORY = 8, /* it used up limits.memory; TEXT says how */
    WIRE_OUT_OF_TIME = 9,   /* it used up limits.deadline; TEXT says where */
    WIRE_RETURNED = 10,     /* another message ended the Lua state that it was under way in: to be run anew,
                               and nothing is charged */
};

enum { WIRE_VERDICTS = WIRE_RETURNED + 1 }; /* one more than the highest */

struct wire_setup {
    uint64_t memory_bytes;  /* limits.memory */
    int64_t deadline_ns;    /* limits.deadline */
    int64_t grace_ns;       /* limits.grace */
    uint64_t message_bytes; /* limits.message: no body is larger */
    uint64_t recycle_messages;
    uint64_t recycle_memory_bytes;
    uint32_t concurrency; /* messages under way at once; 0 is 1 */
    /* http.*, valid where a WIRE_HTTP_ALLOW follows */
    int64_t http_timeout_ns;
    uint64_t http_response_bytes;
    uint32_t http_per_host;
    uint32_t http_failures;
    int64_t http_pause_ns;
    uint8_t decode;    /* enum wire_decode */
    uint8_t log_level; /* enum log_level: the worker sends nothing below it */
    uint8_t seccomp;   /* whether the worker filters its system calls */
    uint8_t on_trial;  /* whether leaks are looked for from the first messages on, whatever it costs */
};

struct wire_deliver {
    uint64_t seq;     /* counts up from 1 for each worker process; the board speaks of it (common/board.h) */
    uint32_t slot;    /* the host's ledger entry; echoed, never interpreted */
    uint32_t attempt; /* 1 for the first */
    uint32_t attributes_bytes;
    uint32_t body_bytes;
    uint8_t redelivered;
    uint8_t laid;     /* whether the body lies on the shelf, */
    uint32_t laid_at; /* and where: so many bytes from its start */
};

struct wire_result {
    uint64_t seq;       /* as in the delivery */
    uint32_t slot;      /* as in the delivery */
    uint8_t verdict;    /* enum wire_verdict */
    int64_t elapsed_ns; /* in the handler, decoding included */
    int64_t delay_ns;   /* for WIRE_RETRY: -1 where the handler named none */
};

struct wire_ready {
    uint64_t heap_bytes; /* of the fresh state after setup */
};

/* Why a state was over. */
enum wire_recycle_reason {
    WIRE_RECYCLE_NONE,
    WIRE_RECYCLE_MESSAGES, /* it had handled recycle.messages */
    WIRE_RECYCLE_MEMORY,   /* its live heap was above recycle.memory */
    WIRE_RECYCLE_ASKED,    /* WIRE_RECYCLE */
    WIRE_RECYCLE_OUT_OF_MEMORY,
    WIRE_RECYCLE_OUT_OF_TIME,
    WIRE_RECYCLE_OUT_OF_STACK,
    WIRE_RECYCLE_REASONS, /* how many there are */
};

struct wire_recycled {
    uint8_t reason;      /* enum wire_recycle_reason; never NONE */
    uint64_t messages;   /* that the state had handled */
    int64_t age_ns;      /* how long it had been at work */
    uint64_t heap_bytes; /* at its end; where the host asked, after a full collection */
    uint64_t peak_bytes;
    int64_t
        pause_ns; /* from its last message to the new state's readiness: teardown, closing, loading, setup */
};

/* A variable that grows with every message. */
struct wire_leak {
    uint64_t entries; /* in it now; 0 where it is no table */
    double entries_per_message;
    uint64_t bytes; /* of it and all that is in it, about */
    double bytes_per_message;
    double share; /* of the worker's time until now that went into looking for leaks */
};

/* How leaks were looked for, since the worker began. */
struct wire_looked {
    uint64_t looks;
    uint64_t objects; /* that the last of them found */
    int64_t spent_ns; /* on all of them */
    int64_t alive_ns; /* since the worker began */
    uint8_t complete; /* false: there are more objects than can be looked at */
};

struct wire_log {
    uint8_t level; /* enum log_level */
};

struct wire_publish {
    uint64_t seq; /* of the delivery whose result follows; 0: of none */
    uint32_t attributes_bytes;
    uint32_t body_bytes; /* of all pieces together */
};

enum {
    WIRE_HEADER_BYTES = 8,
    WIRE_SETUP_BYTES = 88,
    WIRE_DELIVER_BYTES = 30,
    WIRE_RESULT_BYTES = 29,
    WIRE_READY_BYTES = 8,
    WIRE_LOG_BYTES = 1,
    WIRE_RECYCLED_BYTES = 41,
    WIRE_PUBLISH_BYTES = 16,
    WIRE_LEAK_BYTES = 40,
    WIRE_LOOKED_BYTES = 33,
    WIRE_ATTRIBUTE_BYTES = 5, /* in front of each attribute's bytes */
    WIRE_TEXT_MAX = 4096,     /* longer reasons and errors are cut by the sender */
    WIRE_LEAK_PATH_MAX = 512, /* cut by the sender, as the next two are */
    WIRE_LEAK_KIND_MAX = 32,
    WIRE_LEAK_SAMPLE_MAX = 256,
    WIRE_REPORT_MAX = 64 * 1024, /* payload of any frame from worker to host */
    WIRE_NAME_MAX = 255,         /* an AMQP short string: exchange, routing key, most properties */
    WIRE_PUBLISH_ATTRIBUTES_MAX = 48 * 1024, /* of one WIRE_PUBLISH: they fit its frame */
    WIRE_PUBLISHES_MAX = 1000,               /* by one message, or by one setup or teardown */
    WIRE_PUBLISHES_BYTES_LEAST = 1024 * 1024,
    WIRE_ATTRIBUTES_MAX =
        160 * 1024 /* of one delivery: an AMQP header frame, re-encoded, fits (frame_max 128 KiB) */
};

struct wire_frame {
    uint8_t type;
    struct slice payload;
};

enum wire_next {
    WIRE_FRAME, /* *frame is valid until the bytes move */
    WIRE_MORE,  /* the frame is not all here yet */
    WIRE_BROKEN /* no frame begins so: the peer cannot be trusted any further */
};

/* What one message may publish, attributes and bodies of all together: limits.message, and no less than
 * WIRE_PUBLISHES_BYTES_LEAST. The worker refuses more as an error of the script, the host as a breach. */
static inline uint64_t wire_publishes_bytes_max(uint64_t message_bytes)
{
    return message_bytes > WIRE_PUBLISHES_BYTES_LEAST ? message_bytes : WIRE_PUBLISHES_BYTES_LEAST;
}

/* Looks at the bytes that have come; on WIRE_FRAME the frame takes WIRE_HEADER_BYTES + payload.size of them.
 * A payload over `payload_max` is broken. */
enum wire_next wire_next(struct slice bytes, size_t payload_max, struct wire_frame *frame);

/* Encoding: begin, add, end. `mark` is the frame's start in the buffer. Failure is the buffer's `failed`. */
size_t wire_begin(struct buffer *buffer, enum wire_type type);
void wire_add(struct buffer *buffer, enum wire_attribute_id id, struct slice value);
void wire_end(struct buffer *buffer, size_t mark);

void wire_add_setup(struct buffer *buffer, const struct wire_setup *setup);
void wire_add_result(struct buffer *buffer, const struct wire_result *result);
void wire_add_ready(struct buffer *buffer, const struct wire_ready *ready);
void wire_add_log(struct buffer *buffer, const struct wire_log *log);
void wire_add_recycled(struct buffer *buffer, const struct wire_recycled *recycled);
void wire_add_publish(struct buffer *buffer, const struct wire_publish *publish);
void wire_add_leak(struct buffer *buffer, const struct wire_leak *leak);
void wire_add_looked(struct buffer *buffer, const struct wire_looked *looked);

/* Writes header and struct of a WIRE_DELIVER at `to` (WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES bytes): the host
 * keeps attributes and body behind it as they came, and stamps seq and attempt anew each time it hands the
 * delivery out. */
void wire_stamp_deliver(char *to, const struct wire_deliver *deliver);

/* Decoding: each takes its struct off the front of `payload` and leaves the attributes; false where too
 * short. */
bool wire_take_setup(struct slice *payload, struct wire_setup *setup);
bool wire_take_deliver(struct slice *payload, struct wire_deliver *deliver); /* sizes are checked to add up */
bool wire_take_result(struct slice *payload, struct wire_result *result); /* with a verdict that there is */
bool wire_take_ready(struct slice *payload, struct wire_ready *ready);
bool wire_take_log(struct slice *payload, struct wire_log *log);
bool wire_take_recycled(struct slice *payload,
                        struct wire_recycled *recycled); /* with a reason that there is */
/* Where the attributes are whole and not too large, and no more than the body follows them. */
bool wire_take_publish(struct slice *payload, struct wire_publish *publish);

/* With figures that are numbers, and none of them negative. */
bool wire_take_leak(struct slice *payload, struct wire_leak *leak);
bool wire_take_looked(struct slice *payload, struct wire_looked *looked);

struct wire_attribute {
    uint8_t id;
    struct slice value;
};

enum wire_next wire_take_attribute(struct slice *rest,
                                   struct wire_attribute *attribute); /* WIRE_MORE: no more */

/* The first attribute with this id; false where there is none. */
bool wire_find(struct slice attributes, enum wire_attribute_id id, struct slice *ret_value);

#endif
