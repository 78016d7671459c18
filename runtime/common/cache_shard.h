/* One shard of the cache: everything that happens under its lock. Used by cache.c and by tests only.
 *
 * Layout of the region: header, then for each shard its head, its buckets, its heap of expiries, its blocks.
 * All offsets follow from four numbers in the header, which a process copies when it maps the region and
 * trusts from then on; whatever else is read from the region (block numbers, lengths) is checked where it is
 * used. */
#ifndef COMMON_CACHE_SHARD_H
#define COMMON_CACHE_SHARD_H

#include "common/cache.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    CACHE_BLOCK_BYTES = 128,
    CACHE_NONE = 0, /* block numbers begin at 1 */
};

struct cache_header {
    uint64_t magic;
    struct cache_geometry geometry;
    uint64_t seed[2];
    int64_t ttl_ns;
    _Atomic int64_t clock_moved_ns;
};

struct cache_counts {
    uint64_t hits;
    uint64_t misses;
    uint64_t evictions;
    uint64_t expired;
    uint64_t resets;
};

/* The head of a shard, as it lies in the region. */
struct shard_head {
    pthread_mutex_t lock;
    _Atomic uint32_t
        changing;   /* set while links are being changed; found set by the next owner: the last one died */
    uint32_t fresh; /* blocks from this number on were never used */
    uint32_t free_first; /* chain of freed blocks */
    uint32_t used;       /* blocks that hold entries */
    uint32_t entries;    /* also the length of the heap */
    uint32_t newest;     /* order of use */
    uint32_t oldest;
    struct cache_counts counts;
};

struct cache_block {
    uint32_t next;
    char data[CACHE_BLOCK_BYTES - sizeof(uint32_t)];
};

/* The first block of an entry; key and value lie behind each other in `data` and the chain of `next`. */
struct cache_entry {
    uint32_t next;
    uint32_t bucket_next;
    uint32_t hash;
    uint32_t newer;
    uint32_t older;
    uint32_t heap_place;
    int64_t expires_ns;
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint8_t type;
    uint8_t reserved;
    char data[CACHE_BLOCK_BYTES - 40];
};

/* A shard as a process sees it, while it holds the lock. A number that leads nowhere is found where it is
 * followed: it sets `broken` and leads to `nowhere`, and the shard is emptied when it is unlocked. */
struct shard {
    struct shard_head *head;
    uint32_t *buckets;
    uint32_t *heap;             /* entries' blocks; the one that expires first is at 0 */
    struct cache_block *blocks; /* number n is at n - 1 */
    struct cache_geometry geometry;
    bool broken;
    struct cache_block nowhere;
};

size_t shard_bytes(const struct cache_geometry *geometry);

/* Fills what is needed to use the shard; takes no lock. */
void shard_open(struct shard *shard, struct cache_header *header, const struct cache_geometry *geometry,
                uint32_t index);

bool shard_init(struct shard *shard); /* once, by who makes the region */
bool shard_lock(struct shard *shard); /* false: the lock itself is broken, and the shard must be left alone */
void shard_unlock(struct shard *shard);

/* All below: with the lock held. */

/* The entry with this key that has not expired; CACHE_NONE where there is none. */
uint32_t shard_find(struct shard *shard, uint32_t hash, struct slice key, int64_t now_ns);
void shard_touch(struct shard *shard, uint32_t number); /* it was used just now */
void shard_remove(struct shard *shard, uint32_t number);
void shard_clear(struct shard *shard);

/* The most bytes of key and value that an entry of its own chain of all blocks could have. */
size_t shard_room(const struct cache_geometry *geometry);
/* Whether an entry of this size could ever be in a shard. */
bool shard_could_hold(const struct shard *shard, size_t key_bytes, size_t value_bytes);
/* Makes room for an entry that is not there and could be held, and adds it. */
void shard_add(struct shard *shard, uint32_t hash, struct slice key, enum cache_type type, struct slice value,
               int64_t expires_ns, int64_t now_ns);
void shard_set_expiry(struct shard *shard, uint32_t number, int64_t expires_ns);

struct cache_entry *shard_entry(struct shard *shard, uint32_t number);
/* Copies a run of key and value, which lie behind each other, out of and into the entry's blocks. */
void shard_read(struct shard *shard, uint32_t number, size_t offset, char *to, size_t size);
void shard_write(struct shard *shard, uint32_t number, size_t offset, const char *from, size_t size);

/* As shard_write, for an entry that others can find already. */
void shard_overwrite(struct shard *shard, uint32_t number, size_t offset, const char *from, size_t size);

bool shard_check(struct shard *shard, struct error *error);

#endif
