/* One shard of the cache: an index of entries, bounded, under one lock.
 *
 * A change that somebody could see half done is made between shard_begin_change and shard_end_change. Who
 * dies there leaves the sequence number odd, and the next owner of the lock empties the shard and counts a
 * reset; who dies elsewhere leaves the shard as before or as after. Readers without the lock (shard_peek)
 * read the sequence number before and after, and believe what they read only where it is the same and even.
 */
#ifndef COMMON_CACHE_SHARD_H
#define COMMON_CACHE_SHARD_H

#include "common/cache_layout.h"

/* What is put into the cache. */
struct shard_item {
    uint32_t hash;
    uint32_t slot;
    uint32_t slot_limit; /* entries that the slot may have in this shard */
    enum cache_type type;
    struct slice key;
    struct slice value;
    int64_t expires_ns;
    int64_t now_ns;
    int64_t use_ns;
};

/* What was found of a key. */
struct shard_found {
    uint32_t number; /* CACHE_NONE: nothing */
    uint32_t about;
    uint32_t value_bytes;
    int64_t expires_ns;
};

enum shard_sight { SHARD_FOUND, SHARD_ABSENT, SHARD_UNSURE, SHARD_NO_MEMORY };

size_t shard_bytes(uint32_t entries, uint32_t buckets, uint32_t units);

/* Says where shard `index` lies in the region. */
void shard_open(struct shard *shard, struct cache_header *header, const struct cache_geometry *geometry,
                uint32_t index, struct cache_locker *locker);

/* False where the owner of the lock does not open it: nothing must be done then. */
bool shard_lock(struct shard *shard);
void shard_unlock(struct shard *shard);

void shard_begin_change(struct shard *shard);
void shard_end_change(struct shard *shard);

/* Without the lock: what has this key and has not expired, and its value appended to `value` (if not NULL).
 * SHARD_UNSURE: somebody is changing the shard, or the entry has to go; ask again with the lock. */
enum shard_sight shard_peek(struct shard *shard, const struct shard_item *wanted, struct shard_found *found,
                            struct buffer *value);

/* What was found is used. Needs no lock. */
void shard_use(struct shard *shard, const struct shard_found *found, const struct shard_item *wanted);

/* With the lock. */

/* Looks for the item's key in its slot; an entry that has expired is removed. */
struct shard_found shard_find(struct shard *shard, const struct shard_item *wanted);
void shard_read_key(struct shard *shard, const struct shard_found *found, char *to); /* CACHE_KEY_MAX bytes */
/* Appends; false where `value` has no room. */
bool shard_read(struct shard *shard, const struct shard_found *found, struct buffer *value);
/* Puts the item in the place of entry `number` (CACHE_NONE: there is none), and makes room where it must. The
 * caller knows that the shard could hold it. */
void shard_put(struct shard *shard, const struct shard_item *item, uint32_t number);
/* The value of a number is one word: it changes whole, or not at all. */
void shard_put_number(struct shard *shard, const struct shard_found *found, double value);
double shard_number(struct shard *shard, const struct shard_found *found);
void shard_remove(struct shard *shard, uint32_t number);
void shard_set_expiry(struct shard *shard, uint32_t number, int64_t expires_ns);
void shard_clear_slot(struct shard *shard, uint32_t slot);

uint32_t shard_entries(const struct shard *shard);
/* Calls `visit` for all entries of all slots, expired or not, until it returns false; it may remove the entry
 * that it is given. */
typedef bool (*shard_visitor)(struct shard *shard, const struct shard_found *found, void *context);
void shard_visit(struct shard *shard, shard_visitor visit, void *context);

/* The bytes of key and value together that fit into so many units, wherever one ends and the other begins. */
size_t shard_room(uint32_t units);
/* Whether sizes could be those of an entry here. */
bool shard_could_hold(const struct shard *shard, size_t key_bytes, size_t value_bytes);

#endif
