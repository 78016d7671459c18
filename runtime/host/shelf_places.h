/* Which units of a worker's shelf (common/shelf.h) are taken, and by which message: each body has a run of
 * them from its hand-out until its worker has answered, in whatever order that comes. The lowest run that is
 * long enough is taken, so that no more memory is touched than bodies lie there at once, and what was touched
 * last is warm. Pure: it knows no memory, only numbers. */
#ifndef HOST_SHELF_PLACES_H
#define HOST_SHELF_PLACES_H

#include "common/shelf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: all is free. */
struct shelf_places {
    uint64_t taken;               /* bit i: unit i is */
    uint64_t firsts;              /* bit i: a body begins at unit i; it is described at [i] below */
    uint64_t owners[SHELF_UNITS]; /* the message's seq */
    uint8_t lengths[SHELF_UNITS]; /* in units, at least 1 */
    unsigned touched;             /* units from the front that have been in use until now */
};
_Static_assert(SHELF_UNITS == 64, "each unit has a bit");

/* A run of units for a body of so many bytes, at least one; `seq` has none yet. False where there is none
 * free that is long enough. */
bool shelf_places_take(struct shelf_places *places, size_t bytes, uint64_t seq, uint32_t *ret_at);

void shelf_places_free_taken(struct shelf_places *places, uint64_t seq);

/* What the message has is free again; most have nothing. */
static inline void shelf_places_free(struct shelf_places *places, uint64_t seq)
{
    if (places->firsts != 0)
        shelf_places_free_taken(places, seq);
}

#endif
