/* What a worker process gives up, in two steps. At its birth: signals, descriptors, core dumps, the way to
 * new rights. When it knows its script, and before the first line of it runs: files beyond the script's
 * folder, address space, other processes, and all system calls that it can do without (syscalls.h). */
#ifndef WORKER_CONFINE_H
#define WORKER_CONFINE_H

#include "common/error.h"
#include "common/wire.h"
#include "worker/folder.h"

#include <stdbool.h>

/* Both hold for good; false with error where the system refuses. */
bool confine_process(struct error *error);
/* Where `authorities` is not NULL the script may use the network, and that file is read for it later. */
bool confine_script(const struct folder *folder, const struct wire_setup *setup, const char *authorities,
                    struct error *error);

#endif
