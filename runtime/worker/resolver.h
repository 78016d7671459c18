/* Names of hosts to addresses, by c-ares on the worker's loop: no thread, and nothing that blocks. What was
 * found is kept for RESOLVER_KEEP_NS, so that many messages for one host ask once. */
#ifndef WORKER_RESOLVER_H
#define WORKER_RESOLVER_H

#include "common/error.h"
#include "common/libraries.h"

#include <stdbool.h>
#include <stdint.h>

#include <ev.h>

#define RESOLVER_KEEP_NS INT64_C(30000000000)

enum {
    RESOLVER_NAMES_MAX = 64, /* kept, or being looked up */
    RESOLVER_ADDRESSES_MAX = 16,
};

struct resolved {
    struct {
        char text[64]; /* "1.2.3.4", "[::1]" */
        bool is_private;
    } addresses[RESOLVER_ADDRESSES_MAX];
    unsigned count;
};

/* Who waits for a name; embedded by him. */
struct lookup {
    struct lookup *next;
    /* `resolved` is NULL where there is a problem, in words. Borrowed. */
    void (*done)(struct lookup *lookup, const struct resolved *resolved, const char *problem);
};

struct resolver_name;
struct resolver_socket;

struct resolver {
    const struct libraries *libraries;
    struct ev_loop *loop;
    ares_channel channel;
    ev_timer timer;
    struct resolver_socket *sockets;
    struct resolver_name *names;
    unsigned count;
};

/* Reads the system's configuration. */
bool resolver_open(struct resolver *resolver, const struct libraries *libraries, struct ev_loop *loop,
                   struct error *error);
void resolver_close(struct resolver *resolver);

/* `done` follows, perhaps before this returns. */
void resolver_find(struct resolver *resolver, const char *name, struct lookup *lookup);
void resolver_cancel(struct resolver *resolver, const struct lookup *lookup); /* `done` does not */

#endif
