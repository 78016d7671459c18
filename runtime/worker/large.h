/* Large blocks of a Lua state, each in pages of its own: they move without being copied as they grow, and go
 * back to the system at once, but for a few that wait for the next: to have pages from the system takes
 * longer than to fill them with a body. They are in a list, by which all of a state's are given back when it
 * is closed: LuaJIT's allocator, which would map them too, does not know them all. */
#ifndef WORKER_LARGE_H
#define WORKER_LARGE_H

#include <stddef.h>

/* Whoever frees or resizes a block knows by its size that it is here. From 128 KiB on, and what it takes
 * itself, LuaJIT's allocator would map it. */
enum {
    LARGE_BYTES = 127 * 1024,
    LARGE_SPARE_BYTES = 2 * 1024 * 1024, /* wait at most */
};

struct large_block;

struct large {
    struct large_block *first; /* NULL: none */
    struct large_block *spare; /* given back, the latest first */
    size_t spare_bytes;
};

/* NULL where the system has none. */
void *large_take(struct large *large, size_t bytes);
void *large_resize(struct large *large, void *block, size_t bytes);
void large_give_back(struct large *large, void *block);
/* No block waits any more. */
void large_drop_spare(struct large *large);
/* All of them. */
void large_clear(struct large *large);

#endif
