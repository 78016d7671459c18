/* The units of a shard: taken, given back, and the bytes in them. Any free unit serves any entry, so that
 * there is room for a value as long as there are as many units free as it needs. All with the lock held;
 * reading also without it, where the caller finds out afterwards whether what it read was being changed. */
#ifndef COMMON_CACHE_BLOCKS_H
#define COMMON_CACHE_BLOCKS_H

#include "common/cache_layout.h"

/* Units that are free, picked but not yet taken: they can be written, and nobody looks at them. */
struct cache_chain {
    uint32_t first;
    uint32_t count;
    uint32_t free_after; /* what becomes of the head's members when they are taken */
    uint32_t fresh_after;
};

/* Where the next word of an entry's key and value is. */
struct cache_cursor {
    struct shard *shard;
    wide *words;
    uint32_t left; /* words in this unit */
    uint32_t next; /* the unit behind it */
};

/* Of an entry, its first unit included. */
uint32_t units_for(size_t key_bytes, size_t value_bytes);

/* Picks `count` units of those that are free; the caller knows that there are as many. */
struct cache_chain chain_pick(struct shard *shard, uint32_t count);
void chain_take(struct shard *shard, const struct cache_chain *chain);
/* Gives back `count` units, beginning with `first`. */
void chain_release(struct shard *shard, uint32_t first, uint32_t count);

struct cache_cursor cursor_open(struct shard *shard, struct cache_entry *entry);
/* Each goes on behind the last word of what it read or wrote. */
void cursor_read(struct cache_cursor *cursor, char *to, size_t bytes);
void cursor_write(struct cache_cursor *cursor, const char *from, size_t bytes);
void cursor_skip(struct cache_cursor *cursor, size_t bytes);
wide *cursor_word(struct cache_cursor *cursor);
bool cursor_equals(struct cache_cursor *cursor, struct slice bytes);

#endif
