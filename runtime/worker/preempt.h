/* Whether this LuaJIT can be stopped in the middle of a compiled loop, as builds with
 * -DLUAJIT_ENABLE_CHECKHOOK can. Where it cannot, a script in such a loop does not notice limits.deadline,
 * and the host kills its worker limits.grace later. */
#ifndef WORKER_PREEMPT_H
#define WORKER_PREEMPT_H

#include "common/error.h"

#include <stdbool.h>

/* Tries it in a child, which takes 0.1 s of processor time at the most. False with error where it could not
 * be tried; else *ret_ends says whether a hook set by a signal ended the loop. */
bool preempt_test(bool *ret_ends, struct error *error);

#endif
