/* The status listener: what the program tells of itself over HTTP, at status.listen.
 *
 * /metrics is for Prometheus, /status has all there is as JSON, /healthz says that the program is alive,
 * /readyz whether it does its work, and / is a page for people that draws /status. It only ever reads, and
 * the two large documents are written at most ten times a second, however many ask. */
#ifndef HOST_STATUS_STATUS_H
#define HOST_STATUS_STATUS_H

#include "common/error.h"
#include "host/config.h"
#include "host/status/server.h"

#include <stdbool.h>
#include <stdint.h>

struct program;

enum { STATUS_DOCUMENT_MAX = 16 * 1024 * 1024 };

/* A document that is given to all who ask within a tenth of a second. */
struct status_kept {
    struct document *document; /* NULL: none yet */
    int64_t written_ns;
};

struct status {
    struct program *program;
    struct server server;
    struct status_kept metrics;
    struct status_kept report;
};

/* Listens where the configuration says so. A port that is taken is an error where it was asked for, and
 * where it is the default a warning, and no listener. */
bool status_start(struct status *status, struct program *program, const struct config *config,
                  struct error *error);
void status_stop(struct status *status);

unsigned status_sockets(const struct status *status); /* how many it has open */

#endif
