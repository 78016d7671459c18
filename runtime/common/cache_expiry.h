/* Which entry of a shard expires first: a binary heap, in which each entry knows its place. It is as long as
 * the shard has entries, and has of each the time that was known when it was put there. An entry whose time
 * is moved on, as every `set` does, stays where it is: only when it comes to be the first it is put where it
 * belongs by then. So overwriting touches no entry but its own.
 *
 * With the lock held, inside a change. */
#ifndef COMMON_CACHE_EXPIRY_H
#define COMMON_CACHE_EXPIRY_H

#include "common/cache_layout.h"

/* The entry is the last one of `entries` now, or no longer one of them. */
void expiry_add(struct shard *shard, uint32_t number, uint32_t entries);
void expiry_remove(struct shard *shard, uint32_t number, uint32_t entries);
/* Its time has changed. */
void expiry_move(struct shard *shard, uint32_t number, uint32_t entries);

/* Also without a change: when the first could expire at the earliest; INT64_MAX where there is none. */
int64_t expiry_earliest_ns(const struct shard *shard, uint32_t entries);
/* The entry that expires first; there is one. */
uint32_t expiry_first(struct shard *shard, uint32_t entries);

#endif
