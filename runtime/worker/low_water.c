/* The lows of a heap; see low_water.h. */
#include "worker/low_water.h"

void low_water_settle(struct low_water *water, uint64_t heap_bytes)
{
    water->bytes = water->low;
    water->messages = water->low_messages;
    water->high = water->low = heap_bytes;
}
