/* Which entry of a slot (a space, in one shard) was used longest ago.
 *
 * Only who adds entries makes others go; so the shard's time is divided into periods, in each of which a 64th
 * of its entries is added, and the uses of an entry in one period count as one, the first. What is used over
 * and over is then written once in a period and only read else: processes that read the same entries do not
 * take the memory of it from each other. Between periods the order is exact, and so it is within them where
 * there are few entries (PERIODS at most), or in a space that may have fewer entries than there are.
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

/* Also without the lock. The entry is used, in a space that may have so many in this shard. */
void recency_use(struct shard *shard, uint32_t number, uint32_t slot_limit, int64_t use_ns);

/* An entry is about to be added, which may begin a period. */
void recency_count(struct shard *shard, int64_t use_ns);

#endif
