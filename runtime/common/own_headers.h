/* The headers by which the host marks the messages that it sends on: to a delay queue, to come back for their
 * next attempt, and to a dead-letter queue, where `moonrabbit dead` reads them. Everything else of a message
 * stays as its publisher wrote it. What a handler publishes never has them: a script that passes on the
 * headers of its message must not pass on how often that failed.
 *
 * A message that comes back without these has never failed: sending a dead letter back is publishing it to
 * OWN_QUEUE by the default exchange with all but OWN_EXCHANGE and OWN_ROUTING_KEY taken off. */
#ifndef COMMON_OWN_HEADERS_H
#define COMMON_OWN_HEADERS_H

#define OWN_PREFIX "moonrabbit-"

/* On both. */
#define OWN_EXCHANGE    "moonrabbit-exchange"    /* string: where it was first published to */
#define OWN_ROUTING_KEY "moonrabbit-routing-key" /* string: and with which key */
#define OWN_QUEUE       "moonrabbit-queue"       /* string: the queue that it was consumed from */
#define OWN_ATTEMPT     "moonrabbit-attempt"     /* integer: deliveries that have failed so far, at least 1 */

/* On both, where the message had such a property or header. The broker would obey it on the way, and refuse
 * or lose it; whoever takes off the marks above puts these back, or keeps them. */
#define OWN_EXPIRATION "moonrabbit-expiration" /* string: the property `expiration` */
#define OWN_USER_ID    "moonrabbit-user-id"    /* string: the property `user_id` */
#define OWN_CC         "moonrabbit-cc"         /* any: the header CC, by which RabbitMQ copies a message */

/* On dead letters only. */
#define OWN_REASON     "moonrabbit-reason" /* string: one word, such as "rejected", "error" or "too-large" */
#define OWN_ERROR      "moonrabbit-error"  /* string: the handler's reason, or the error's text, cut */
#define OWN_TIME       "moonrabbit-time"   /* timestamp, seconds: when it was given up */
#define OWN_HOST       "moonrabbit-host"   /* string: the machine that gave it up */
#define OWN_BODY_BYTES "moonrabbit-body-bytes" /* integer: of a body that was too large, and was left out */
#define OWN_HEADERS_OUT                                                                                      \
    "moonrabbit-headers-left-out" /* true: the message's own headers were too large, and were left out */
#define OWN_CONSUMER                                                                                         \
    "moonrabbit-consumer" /* string: the consumer's name in the configuration and the log                    \
                           */

#endif
