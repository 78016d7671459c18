/* What a consumer's configuration leaves to the broker, and the broker to chance: said at its start, with the
 * line to add. */
#ifndef HOST_CAUTION_H
#define HOST_CAUTION_H

#include "host/config.h"

/* One warning each: a queue that is declared without any bound; no `dead_letter`. */
void caution_log(const struct consumer_config *config);

#endif
