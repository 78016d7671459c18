/* SIGINT and SIGTERM, for a command that goes through a queue: the first asks it to end in order, the second
 * ends it at once. (The host's own loop has libev's signals.) */
#ifndef HOST_STOP_H
#define HOST_STOP_H

#include <stdbool.h>
#include <stdint.h>

void stop_listen(void);
bool stop_asked(void);

/* Waits until there is something to read, or a signal, or for so long; true where there is something. */
bool stop_wait_readable(int fd, int64_t timeout_ns);

#endif
