/* The host: the one trusted process, from its configuration to its exit code. */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "common/error.h"
#include "host/config.h"

#include <stdbool.h>

/* Runs the consumers until a signal, --max-messages, --exit-when-idle or an error that cannot be recovered
 * from ends them; returns the exit code, having logged the reason. `config` and `source` outlive the call;
 * SIGHUP reads the configuration again from `source`. */
int host_run(const struct config *config, const struct config_source *source);

/* Whether every consumer's script loads, in a worker as in production; connects to nothing. */
bool host_check(const struct config *config, struct error *error);

#endif
