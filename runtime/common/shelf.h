/* The shelf: memory of one worker process in which the host lays large bodies for it, instead of sending them
 * through the socket. The host alone writes there, and never reads; the worker maps it to read, and can never
 * map it to write. What lies there is what this worker was handed or is about to be, and nothing of others.
 * Which part is free only the host knows (host/shelf_places.h): a body lies still until the worker has
 * answered its message. */
#ifndef COMMON_SHELF_H
#define COMMON_SHELF_H

#include "common/buffer.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SHELF_UNIT_BYTES = 16 * 1024, /* a body takes a run of whole units */
    SHELF_UNITS = 64,
    SHELF_BYTES = SHELF_UNITS * SHELF_UNIT_BYTES,
};

struct shelf {
    char *data;
    size_t bytes; /* SHELF_BYTES; 0: there is none, and all bodies go through the socket */
};

/* Host: makes the memory (close-on-exec) and maps it; it takes pages as they are written. A kernel that
 * cannot keep a worker from writing (before 5.1) makes it empty. */
bool shelf_open(struct shelf *shelf, int *ret_fd, struct error *error);
/* Worker: maps what it was given, which may be empty. */
bool shelf_map(struct shelf *shelf, int fd, struct error *error);
void shelf_close(struct shelf *shelf);

/* Worker: the body that lies there; false where no body can. */
bool shelf_find(const struct shelf *shelf, uint32_t at, uint32_t bytes, struct slice *ret_body);

#endif
