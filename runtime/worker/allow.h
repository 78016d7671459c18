/* Which hosts handlers may speak to (http.allow), and which addresses are nobody's business outside. Pure:
 * texts and bytes in, an answer out.
 *
 * An entry is HOST:PORT, or *.HOST:PORT for every name below HOST, but not HOST itself. Names are compared
 * without regard to case; an address is listed as it is written, an IPv6 one in brackets, and no wildcard
 * means it. */
#ifndef WORKER_ALLOW_H
#define WORKER_ALLOW_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum allow {
    ALLOW_NOT,
    ALLOW_BELOW, /* by a wildcard: public addresses only */
    ALLOW_EXACT, /* by its name: wherever that is */
};

/* What this one entry says of the host: a name or an address, the latter without brackets. */
enum allow allow_match(struct slice entry, struct slice host, uint16_t port);

/* Whether the address is on this machine, in a private network, or no single host's: nothing that a public
 * name should lead to. What is neither IPv4 nor IPv6 is private. */
bool allow_is_private(const struct sockaddr *address);

#endif
