/* How the cache's region is laid out, and what a process keeps outside of it. For the cache's own files and
 * its tests.
 *
 *     header | shard 0: head, spaces, buckets, expiries, uses, units | shard 1: ... | ...
 *
 * Every process may write anything into the region at any instant: it is mapped by workers, which are not
 * trusted. So all that lies in it is read by relaxed atomic loads, once, into a local variable that is
 * checked before it is used; a number leads into an array only through unit_entry and unit_block, which hold
 * it against the bounds that the process copied when it mapped the region. */
#ifndef COMMON_CACHE_LAYOUT_H
#define COMMON_CACHE_LAYOUT_H

#include "common/cache.h"
#include "common/cache_lock.h"

#include <stdatomic.h>

enum {
    CACHE_UNIT_BYTES = 128,
    CACHE_NONE = 0, /* units are numbered from 1 */
    CACHE_SHARDS_MAX = 64,
    CACHE_STRIPES = 16,
    CACHE_SLOTS = CACHE_SPACES_MAX + 1, /* slot 0 is what is in no named space */
    CACHE_ENTRY_WORDS = 9,
    CACHE_BLOCK_WORDS = 15,
};

typedef _Atomic uint32_t cell;
typedef _Atomic uint64_t wide;

static inline uint32_t cell_get(const cell *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

static inline void cell_set(cell *to, uint32_t value)
{
    atomic_store_explicit(to, value, memory_order_relaxed);
}

static inline uint64_t wide_get(const wide *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

static inline void wide_set(wide *to, uint64_t value)
{
    atomic_store_explicit(to, value, memory_order_relaxed);
}

/* The first unit of an entry. Key and value lie behind each other, each beginning with a word of its own, in
 * `words` and then in those of the blocks that `next` leads to. */
struct cache_entry {
    cell next;
    cell bucket_next;
    cell hash;
    cell expiry_place; /* where the shard's expiries have it; see cache_expiry.h */
    cell child;        /* its place in the order of use: first child, next sibling, */
    cell sibling;
    cell previous; /* and the sibling before it, or the parent of a first child */
    cell value_bytes;
    cell about; /* key bytes, type and slot: about_of */
    cell unused;
    wide ordered_ns; /* the use that the order of use knows of */
    wide expires_ns;
    wide words[CACHE_ENTRY_WORDS];
};

struct cache_block {
    cell next;
    cell unused;
    wide words[CACHE_BLOCK_WORDS];
};

union cache_unit {
    struct cache_entry entry;
    struct cache_block block;
};

/* What a space has in one shard. */
struct shard_slot {
    cell entries;
    cell units;
    cell oldest; /* the root of its order of use */
};

struct shard_head {
    struct cache_lock lock;
    cell sequence; /* odd while something is being changed; found odd under the lock: its owner died then */
    cell entries;
    cell units;      /* in use */
    cell fresh;      /* units with a number above it were never used */
    cell free_first; /* of those that were given back: `fresh` less `units` */
    wide period_ns;  /* when the period began in which uses count as one; see cache_recency.h */
    cell added;      /* entries since then */
    cell unused;
    wide evictions;
    wide expired;
    wide resets;
};

/* A place among the expiries. */
struct shard_expiry {
    wide known_ns; /* never later than the entry itself says */
    cell number;
    cell unused;
};

/* Hits and misses are counted apart, so that processes that only read share no line of memory. */
struct cache_stripe {
    wide hits;
    wide misses;
    wide unused[6];
};

struct cache_space_name {
    cell bytes;
    cell limit;   /* entries; 0: none */
    cell settled; /* the limit that its entries were last made to keep */
    char name[CACHE_SPACE_NAME_MAX];
};

struct cache_header {
    uint64_t magic;
    struct cache_geometry geometry;
    uint64_t seed[2];
    int64_t ttl_ns;
    wide clock_moved_ns;
    struct cache_lock spaces_lock;
    cell spaces; /* named so far: they have the slots 1 to `spaces` */
    struct cache_stripe stripes[CACHE_STRIPES];
    struct cache_space_name names[CACHE_SLOTS];
};

/* A shard as one process sees it. */
struct shard {
    struct shard_head *head;
    struct shard_slot *slots;
    cell *buckets;
    struct shard_expiry *expiries;
    wide *uses; /* when the entry in unit n was last used; may be written without the lock */
    union cache_unit *units;
    uint32_t entries_max;
    uint32_t units_max;
    uint32_t bucket_mask;
    struct cache_locker *locker;
    const cell *spaces;       /* how many slots besides the first are in use */
    uint64_t steps;           /* that this operation may still go from number to number */
    bool broken;              /* a number led nowhere: the shard is emptied when it is unlocked */
    union cache_unit nowhere; /* where such a number leads to */
    struct shard_slot no_slot;
    struct cache_lock_sight sight; /* of an owner that was waited for in vain */
};

/* What a process keeps to itself, shared by the cache and its spaces in it. */
struct cache_process {
    struct cache_locker locker;
    uint64_t seed[2];
    int64_t ttl_ns;
    int64_t last_use_ns; /* uses are ordered even where the clock is coarse */
    struct cache_stripe *stripe;
    struct shard shards[CACHE_SHARDS_MAX];
};

/* Numbers that lead somewhere */

static inline union cache_unit *unit_at(struct shard *shard, uint32_t number)
{
    if (number - 1 < shard->units_max)
        return &shard->units[number - 1];
    shard->broken = true;
    return &shard->nowhere;
}

static inline struct cache_entry *unit_entry(struct shard *shard, uint32_t number)
{
    return &unit_at(shard, number)->entry;
}

static inline struct cache_block *unit_block(struct shard *shard, uint32_t number)
{
    return &unit_at(shard, number)->block;
}

static inline wide *unit_use(struct shard *shard, uint32_t number)
{
    if (number - 1 < shard->units_max)
        return &shard->uses[number - 1];
    shard->broken = true;
    return &shard->nowhere.entry.ordered_ns;
}

static inline struct shard_slot *slot_at(struct shard *shard, uint32_t slot)
{
    if (slot < CACHE_SLOTS)
        return &shard->slots[slot];
    shard->broken = true;
    return &shard->no_slot;
}

/* Asked before each step in a loop over numbers: false where there can be no end to it. */
static inline bool shard_goes_on(struct shard *shard)
{
    if (shard->steps == 0)
        shard->broken = true;
    else
        shard->steps--;
    return !shard->broken;
}

/* What `about` of an entry says */

static inline uint32_t about_of(size_t key_bytes, enum cache_type type, uint32_t slot)
{
    return (uint32_t)key_bytes | (uint32_t)type << 16 | slot << 24;
}

static inline uint32_t about_key_bytes(uint32_t about)
{
    return about & 0xffff;
}

static inline uint32_t about_type(uint32_t about)
{
    return about >> 16 & 0xff;
}

static inline uint32_t about_slot(uint32_t about)
{
    return about >> 24;
}

#endif
