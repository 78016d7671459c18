/* Which entry of a slot (a space, in one shard) was used longest ago, exactly.
 *
 * A use is a number stored beside the entry, by readers too, who hold no lock. What is kept in order is the
 * use that was known when the entry was last looked at here. A use only ever grows, so the first of that
 * order is the one used longest ago as soon as its own number is up to date; until then it is put where it
 * belongs by now, and the next one is looked at.
 *
 * The order is a pairing heap of entries' numbers (Fredman et al., 1986). With the lock held, inside a
 * change. */
#ifndef COMMON_CACHE_RECENCY_H
#define COMMON_CACHE_RECENCY_H

#include "common/cache_layout.h"

void recency_add(struct shard *shard, struct shard_slot *slot, uint32_t number);
void recency_remove(struct shard *shard, struct shard_slot *slot, uint32_t number);

/* CACHE_NONE where the slot is empty; else its use is in `ordered_ns`. */
uint32_t recency_oldest(struct shard *shard, struct shard_slot *slot);

#endif
