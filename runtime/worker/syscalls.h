/* The system calls that a worker may make: those that Lua, the JIT, the socket to the host and reading
 * modules need, and no other. A filter in the kernel (seccomp) holds it from the script's first line on, for
 * good. Whoever breaks out of Lua finds a process that can compute, speak to its host and open files to read.
 *
 * What is not allowed fails with EPERM, since another version of the C library may ask for something that it
 * can do without. What only code that has broken out asks for (starting programs and processes, touching
 * other processes, the network, the kernel's less trodden ground) ends the process with SIGSYS before it can
 * try anything else. */
#ifndef WORKER_SYSCALLS_H
#define WORKER_SYSCALLS_H

#include "common/error.h"

#include <stdbool.h>

/* Filters the calls of this process from now on; with `network`, what libcurl and c-ares need to be clients
 * is allowed. False with error where the kernel does not take the filter.
 */
bool syscalls_filter(bool network, struct error *error);

#endif
