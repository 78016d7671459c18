/* Dialling the broker on a short-lived thread: the loop goes on while DNS, TCP, TLS and login wait.
 *
 * The thread tries each URL once, beginning with the one that led to a connection last, and hands the first
 * connection that stands to the loop. It touches nothing of the host's but the broker's configuration, which
 * must outlive the dial. */
#ifndef HOST_DIAL_H
#define HOST_DIAL_H

#include "common/error.h"
#include "host/amqp/connection.h"
#include "host/config.h"

#include <stddef.h>

#include <ev.h>

struct dial;

struct dial_result {
    struct connection *connection; /* the receiver's from now on; NULL where no URL led to one */
    size_t url;                    /* index of the one that did */
    const struct error *failures;  /* of the URLs tried before, or all; valid during the call */
    size_t failure_count;
};

typedef void dial_done(void *owner, const struct dial_result *result);

/* `done` is called once, on the loop, after which the dial is freed. NULL with an error where it cannot
 * begin. */
struct dial *dial_start(struct ev_loop *loop, const struct broker_config *config, unsigned channel_max,
                        size_t first_url, dial_done *done, void *owner, struct error *error);

/* Gives up: waits for the attempt at hand (at most connection_timeout twice) and frees; `done` is not called.
 */
void dial_abandon(struct dial *dial);

#endif
