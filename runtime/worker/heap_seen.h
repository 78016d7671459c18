/* Which objects a walk through the heap has found already: a set of addresses, in memory of its own, with a
 * bound. Knows no Lua. */
#ifndef WORKER_HEAP_SEEN_H
#define WORKER_HEAP_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_seen {
    uintptr_t *slots; /* open addressing; 0: free */
    size_t capacity;  /* a power of two, or 0 */
    size_t count;
    size_t most; /* addresses that it takes */
};

enum heap_found {
    HEAP_NEW,
    HEAP_KNOWN,
    HEAP_FULL, /* not in it, and there is no more room: `most`, or the system has no memory */
};

void heap_seen_init(struct heap_seen *seen, size_t most);
void heap_seen_clear(struct heap_seen *seen);

/* Forgets all, and keeps no more memory than a small heap needs. */
void heap_seen_reset(struct heap_seen *seen);

/* `address` is not NULL. */
bool heap_seen_has(const struct heap_seen *seen, const void *address);
enum heap_found heap_seen_add(struct heap_seen *seen, const void *address);

#endif
