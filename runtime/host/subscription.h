/* One consumer's channel: opened, its queue declared and bound, prefetch set, consumed, and again whenever
 * the broker takes any of that away.
 *
 *     idle -> opening -> declaring -> binding -> limiting -> settling -> subscribing -> consuming
 *                |           |           |           |          |             |            |
 *                +-----------+-----------+---------- waiting (backoff) -------+------------+
 *                                                    channel closed, cancelled
 *
 * and out of any of them to its end: cancelling -> cancelled -> closing -> closed.
 *
 * Prefetch is set before the consumer is, or the broker would flood (DESIGN of AMQP: basic.qos applies to
 * consumers that start after it). The set-up waits for nothing: each step's answer is an event that begins
 * the next step. */
#ifndef HOST_SUBSCRIPTION_H
#define HOST_SUBSCRIPTION_H

#include "common/error.h"
#include "host/backoff.h"
#include "host/broker.h"
#include "host/config.h"

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

enum subscription_state {
    SUBSCRIPTION_IDLE, /* no connection */
    SUBSCRIPTION_OPENING,
    SUBSCRIPTION_DECLARING,
    SUBSCRIPTION_BINDING, /* one binding after the other */
    SUBSCRIPTION_LIMITING,
    SUBSCRIPTION_SETTLING, /* what an earlier consumer on this channel got is settled first */
    SUBSCRIPTION_SUBSCRIBING,
    SUBSCRIPTION_CONSUMING,
    SUBSCRIPTION_WAITING, /* for the next try: the channel, or only the consumer on it, is gone */
    SUBSCRIPTION_CANCELLING,
    SUBSCRIPTION_CANCELLED, /* no delivery comes any more; settling goes on */
    SUBSCRIPTION_CLOSING,
    SUBSCRIPTION_CLOSED,
};

/* What the owner is told; none may free the subscription. */
struct subscription_events {
    void (*consuming)(void *owner);
    void (*content)(void *owner, const struct event *event); /* EVENT_DELIVER, EVENT_HEADER, EVENT_BODY */
    void (*reset)(void *owner);     /* deliveries so far can not be settled any more */
    bool (*settled)(void *owner);   /* whether no delivery of the channel is left to settle */
    bool (*handled)(void *owner);   /* whether none of them is held or at work */
    void (*cancelled)(void *owner); /* the answer to subscription_cancel */
    void (*closed)(void *owner);    /* the answer to subscription_close */
    /* The first set-up was refused: nothing was ever consumed. */
    void (*refused)(void *owner, const struct error *error);
};

enum { SUBSCRIPTION_TAG_MAX = 256 }; /* an AMQP short string is at most 255 bytes */

struct subscription {
    struct broker *broker;
    const struct consumer_config *config;
    const struct subscription_events *events;
    void *owner;
    uint16_t channel;
    enum subscription_state state;
    bool channel_open; /* or being opened: it has to be closed before its number is another's */
    bool consumed_once;
    size_t bound;      /* while binding: how many are made */
    unsigned sessions; /* consumers begun: each has a tag of its own */
    char tag[SUBSCRIPTION_TAG_MAX];
    struct backoff backoff;
    int64_t consuming_ns; /* since when; valid while it consumes */
    ev_timer retry;
    uint32_t messages_at_start; /* what the declare said; for people */
};

bool subscription_init(struct subscription *subscription, struct broker *broker,
                       const struct consumer_config *config, const struct subscription_events *events,
                       void *owner, struct error *error);
void subscription_clear(struct subscription *subscription);

/* Stops deliveries; `cancelled` follows, at once where nothing is being consumed. */
void subscription_cancel(struct subscription *subscription);

/* Closes the channel; `closed` follows, at once where none is open. */
void subscription_close(struct subscription *subscription);

/* A delivery was settled: the next loss of the channel, or of its connection, is a new one. */
void subscription_made_progress(struct subscription *subscription);

bool subscription_can_settle(const struct subscription *subscription);

#endif
