/* The broker as the host sees it: a connection that is kept up over the list of URLs, and its channels. The
 * host has two, since a broker that is short of memory stops reading where anything was published: one to
 * consume and settle, one to publish.
 *
 * This is the one bounded owner of connections and channels: nobody else opens any. A channel belongs to a
 * listener, which is told when the connection stands, when it is gone, and each event for its channel.
 * Whoever finds the connection broken while sending says so by broker_fail; the connection is then dropped
 * when the loop's turn is over, so no listener loses it under its feet. */
#ifndef HOST_BROKER_H
#define HOST_BROKER_H

#include "common/error.h"
#include "host/amqp/connection.h"
#include "host/backoff.h"
#include "host/config.h"
#include "host/dial.h"

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

struct broker_listener {
    void (*up)(void *owner);
    void (*down)(void *owner); /* every channel is gone with the connection */
    void (*event)(void *owner, const struct event *event);
    void *owner;
};

enum broker_state { BROKER_DOWN, BROKER_DIALING, BROKER_UP, BROKER_CLOSING, BROKER_STOPPED };

struct broker {
    struct ev_loop *loop;
    const struct broker_config *config;
    const char *purpose;              /* of the connection, for the log */
    unsigned channel_count;           /* at most so many, and the spare one */
    struct broker_listener *channels; /* number n is at n - 1; owner NULL: free */
    enum broker_state state;
    struct connection *connection; /* valid when up or closing */
    struct dial *dial;             /* valid when dialing */
    size_t next_url;
    struct backoff backoff;
    int64_t give_up_ns; /* before the first success: when to stop trying */
    bool was_up;        /* the broker was reached, by this connection or another: it is waited for */
    bool was_connected;
    bool blocked;             /* nothing is to be published */
    int64_t blocked_since_ns; /* valid while blocked */
    int64_t blocked_ns;       /* how long earlier times lasted, together */
    int64_t useful_ns;        /* since when a consumer consumes on it; 0: none has yet */
    bool broken;              /* broker_fail was called: dropped at the end of the turn */
    struct error failure;
    ev_io readable;
    ev_io writable;
    ev_timer heartbeat;
    ev_timer retry;
    uint64_t reconnects;
    void (*came_up)(void *owner);                           /* may be NULL */
    void (*stopped)(void *owner);                           /* after broker_stop: the connection is closed */
    void (*failed)(void *owner, const struct error *error); /* never came up: the program cannot start */
    void *owner;
};

/* `config` and `purpose` must outlive the broker. */
bool broker_init(struct broker *broker, struct ev_loop *loop, const struct broker_config *config,
                 const char *purpose, unsigned channel_count, struct error *error);
void broker_clear(struct broker *broker); /* drops what is open, at once */

/* Takes the lowest free channel number; 0 with an error where all are taken. */
uint16_t broker_channel_take(struct broker *broker, const struct broker_listener *listener,
                             struct error *error);
void broker_channel_release(struct broker *broker, uint16_t channel);

unsigned broker_channels_taken(const struct broker *broker); /* without the spare one */

/* The one channel beside those, for what is good to have: its number lies above all others, and a broker that
 * does not allow so many is no broker with too few. 0 where there is no such number. */
uint16_t broker_channel_spare(struct broker *broker, const struct broker_listener *listener);

bool broker_start(struct broker *broker, struct error *error);

/* Closes the connection in order; `stopped` is called when the broker has answered, or the connection is
 * gone. */
void broker_stop(struct broker *broker);

/* A consumer consumes. If that lasts, the next loss is a new one; a broker that only lets one log in, or
 * whose first message costs the connection again, is not come back to faster. */
void broker_is_useful(struct broker *broker);

/* A delivery was settled, or a publication answered: what comes next is something else, and the next loss is
 * a new one, however soon it comes. */
void broker_made_progress(struct broker *broker);

bool broker_is_up(const struct broker *broker);

/* How long it has blocked publishers, since the start, in all. */
int64_t broker_blocked_ns(const struct broker *broker);
void broker_fail(struct broker *broker, const struct error *error);

/* Makes the loop turn again as soon as the connection takes settlements. */
void broker_wait_writable(struct broker *broker);

/* Before the loop sleeps: drops a connection that was found broken. */
void broker_turn(struct broker *broker);

#endif
