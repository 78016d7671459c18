/* The objects that a walk has found; see heap_seen.h. */
#include "worker/heap_seen.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_LEAST = 4096 };

void heap_seen_init(struct heap_seen *seen, size_t most)
{
    *seen = (struct heap_seen){ .most = most };
}

void heap_seen_clear(struct heap_seen *seen)
{
    free(seen->slots);
    *seen = (struct heap_seen){ .most = seen->most };
}

void heap_seen_reset(struct heap_seen *seen)
{
    if (seen->capacity > CAPACITY_LEAST)
        heap_seen_clear(seen);
    else if (seen->slots)
        memset(seen->slots, 0, seen->capacity * sizeof *seen->slots);
    seen->count = 0;
}

/* Fibonacci's: objects lie at multiples of 8, next to each other. */
static size_t place_of(const struct heap_seen *seen, uintptr_t address)
{
    uint64_t hash = (uint64_t)(address >> 3) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) & (seen->capacity - 1);
}

/* The slot of the address, or the free one where it belongs. */
static uintptr_t *find(const struct heap_seen *seen, uintptr_t address)
{
    size_t place = place_of(seen, address);
    while (seen->slots[place] != 0 && seen->slots[place] != address)
        place = (place + 1) & (seen->capacity - 1);
    return &seen->slots[place];
}

/* Never more than half full. */
static bool make_room(struct heap_seen *seen)
{
    struct heap_seen larger = *seen;
    if (seen->count < seen->capacity / 2)
        return true;
    larger.capacity = seen->capacity ? seen->capacity * 2 : CAPACITY_LEAST;
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < seen->capacity; i++) {
        if (seen->slots[i] != 0)
            *find(&larger, seen->slots[i]) = seen->slots[i];
    }
    free(seen->slots);
    *seen = larger;
    return true;
}

bool heap_seen_has(const struct heap_seen *seen, const void *address)
{
    return seen->capacity > 0 && *find(seen, (uintptr_t)address) == (uintptr_t)address;
}

enum heap_found heap_seen_add(struct heap_seen *seen, const void *address)
{
    uintptr_t wanted = (uintptr_t)address;
    if (heap_seen_has(seen, address))
        return HEAP_KNOWN;
    if (seen->count >= seen->most || !make_room(seen))
        return HEAP_FULL;
    *find(seen, wanted) = wanted;
    seen->count++;
    return HEAP_NEW;
}
