/* What a worker process gives up before it reads anything: signals, descriptors, limits, the way to new
 * rights. */
#ifndef WORKER_CONFINE_H
#define WORKER_CONFINE_H

#include "common/error.h"

#include <stdbool.h>

/* Confines this process for good; false with error where the system refuses. */
bool confine_process(struct error *error);

#endif
