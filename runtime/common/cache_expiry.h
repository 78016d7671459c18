/* Which entry of a shard expires first: a binary heap, in which each entry knows its place. It is as long as
 * the shard has entries. With the lock held, inside a change. */
#ifndef COMMON_CACHE_EXPIRY_H
#define COMMON_CACHE_EXPIRY_H

#include "common/cache_layout.h"

/* The entry is the last one of `entries` now, or no longer one of them. */
void expiry_add(struct shard *shard, uint32_t number, uint32_t entries);
void expiry_remove(struct shard *shard, uint32_t number, uint32_t entries);
/* Its time has changed. */
void expiry_move(struct shard *shard, uint32_t number, uint32_t entries);

#endif
