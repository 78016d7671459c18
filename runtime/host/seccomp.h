/* Whether this kernel lets a process filter its system calls, found out once for all workers. */
#ifndef HOST_SECCOMP_H
#define HOST_SECCOMP_H

#include "common/error.h"
#include "host/config.h"

#include <stdbool.h>

/* A child tries it with a filter that allows all; false with error, which says why the kernel refuses. For
 * the main thread, while there is no other. */
bool seccomp_probe(struct error *error);

/* What the configuration comes to here: whether workers are to filter their calls. Warns where they should
 * and cannot; false with error where they must and cannot. */
bool seccomp_choose(enum config_seccomp wanted, bool *ret_filter, struct error *error);

enum { SECCOMP_TEXT_MAX = 48 };

/* Writes "libseccomp 2.5.4" and returns `text`. */
const char *seccomp_library(char text[SECCOMP_TEXT_MAX]);

#endif
