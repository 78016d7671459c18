/* Spaces: the names in the header, and which shards the keys of a space are in. */
#ifndef COMMON_CACHE_SPACE_H
#define COMMON_CACHE_SPACE_H

#include "common/cache_layout.h"

/* Where a key of a space lies. */
struct space_place {
    uint32_t shard;
    uint32_t entries_max; /* that the space may have in this shard */
};

/* The entries that the space may have now; 0: only what the whole cache may. */
uint32_t space_limit(const struct cache *cache);

/* The shards of a bounded space are fewer where its bound is low: divided among many, an uneven spread of
 * keys would show as early evictions. */
struct space_place space_place_of(const struct cache *cache, uint32_t limit, uint64_t hash);

#endif
