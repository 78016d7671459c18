/* What lives in a heap that is collected bit by bit, known for nothing: while LuaJIT's own cycle frees what
 * is garbage the heap falls, and where it ends hardly anything else is left. Seen after each message. */
#ifndef WORKER_LOW_WATER_H
#define WORKER_LOW_WATER_H

#include <stdbool.h>
#include <stdint.h>

struct low_water {
    uint64_t high; /* since the last low */
    uint64_t low;  /* since then */
    uint64_t low_messages;
    /* The last low that was one. */
    uint64_t bytes; /* 0: there was none */
    uint64_t messages;
};

enum {
    LOW_WATER_FALL = 8,  /* by such a part it has fallen in a cycle, */
    LOW_WATER_RISE = 16, /* and by such a part it rises when that is over */
};

void low_water_settle(struct low_water *water, uint64_t heap_bytes);

/* The heap holds so much after so many messages. Whether a low was passed. */
static inline bool low_water_pass(struct low_water *water, uint64_t heap_bytes, uint64_t messages)
{
    if (heap_bytes >= water->high) {
        water->high = water->low = heap_bytes;
        return false;
    }
    if (heap_bytes < water->low) {
        water->low = heap_bytes;
        water->low_messages = messages;
        return false;
    }
    if (heap_bytes < water->low + water->low / LOW_WATER_RISE ||
        water->low > water->high - water->high / LOW_WATER_FALL)
        return false;
    low_water_settle(water, heap_bytes);
    return true;
}

#endif
