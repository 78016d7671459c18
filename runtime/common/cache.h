/* The cache: one region of shared memory, fixed in bytes and entries, that the host makes and every worker
 * maps.
 *
 * The region is divided into shards by the hash of the key; each has a lock of its own, an index, a heap of
 * expiries, an order of use and equal units that entries are chained of, so that any free room serves any
 * value. Inside the region there are only numbers, no pointers, and each is checked before it is followed:
 * whatever a worker wrote there, nobody reads or writes outside of the region, and nobody loops for ever.
 *
 * A process that is killed inside an operation leaves its shard as before or as after it; or in the middle of
 * a change, and whoever comes next empties that shard and counts a reset. Nothing else is lost, and nothing
 * stays locked. One that is stopped there is waited for, for a second; then its shard's keys answer
 * CACHE_BUSY (after a millisecond) until it goes on or is killed.
 *
 * Room is made by what has expired first, then by what was used longest ago (to a 64th of the entries: see
 * cache_recency.h). A value that cannot fit in a
 * shard, or a key over CACHE_KEY_MAX, is refused and displaces nothing. A hit takes no lock.
 *
 * Calls are made in the thread that made or mapped the cache; a child after fork maps it anew. None calls
 * back or raises, and none makes a system call unless it has to wait. */
#ifndef COMMON_CACHE_H
#define COMMON_CACHE_H

#include "common/buffer.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CACHE_KEY_MAX = 1024,
    CACHE_SPACES_MAX = 64, /* named ones; they last as long as the region */
    CACHE_SPACE_NAME_MAX = 64,
};

enum cache_type { CACHE_STRING = 1, CACHE_NUMBER, CACHE_BOOLEAN, CACHE_TABLE };

enum cache_result {
    CACHE_OK,
    CACHE_NOT_FOUND,
    CACHE_EXISTS,
    CACHE_NOT_A_NUMBER,
    CACHE_KEY_TOO_LONG,
    CACHE_TOO_LARGE, /* no shard could ever hold it */
    CACHE_NO_MEMORY, /* of the caller's buffer; the cache is as before */
    CACHE_BUSY,      /* the process that is at this part of the cache has been stopped; nothing was done */
};

enum cache_mode { CACHE_SET, CACHE_ADD, CACHE_REPLACE };

/* How the region is divided; every process keeps a copy of its own. */
struct cache_geometry {
    uint32_t shards;  /* a power of two */
    uint32_t entries; /* in all shards together */
    uint32_t buckets; /* in each shard, a power of two */
    uint32_t units;   /* in each shard */
};

struct cache_header;
struct cache_process;

struct cache {
    struct cache_header *header; /* the mapped region */
    size_t size_bytes;
    struct cache_geometry geometry;
    struct cache_process *process; /* what this process keeps outside of it */
    uint32_t slot;                 /* which space; 0: what is in no named one */
};

struct cache_config {
    size_t memory_bytes; /* of the whole region, everything included */
    size_t entries;
    int64_t ttl_ns; /* for whoever names none */
};

/* Of the whole region, all spaces together; of a space: its entries, its bytes and the bound of its entries
 * are its own, the rest is the region's. */
struct cache_stats {
    uint64_t entries;
    uint64_t bytes;          /* of units that hold entries */
    uint64_t capacity_bytes; /* of all units */
    uint64_t capacity_entries;
    uint64_t hits;
    uint64_t misses;
    uint64_t evictions; /* of entries that had not expired */
    uint64_t expired;
    uint64_t resets; /* shards emptied because a process died while changing them, or damaged them */
};

/* Host: makes and maps the region; the descriptor is close-on-exec and the caller's to close. */
bool cache_create(struct cache *cache, const struct cache_config *config, int *ret_fd, struct error *error);
/* Worker: maps the region that it was given, after a look at its head. */
bool cache_map(struct cache *cache, int fd, struct error *error);
void cache_unmap(struct cache *cache);

/* A space has keys of its own. `ret_space` is used as a cache in every call below, sees and clears only its
 * own keys, counts only its own entries and bytes, and never has more than `entries` (0: only the bounds of
 * the whole cache). It is the same space in all processes; a bound other than before empties it. It borrows
 * from `cache`, is good until that is unmapped, and is not unmapped itself. False where the name is empty or
 * too long, or there are too many. */
bool cache_open_space(struct cache *cache, struct slice name, size_t entries, struct cache *ret_space,
                      struct error *error);

/* The most bytes that a key and its value can have together. */
size_t cache_room(const struct cache *cache);

/* Appends the value to `value`. Where that has no room for it (CACHE_NO_MEMORY), nothing was counted, and
 * cache_value_bytes tells how much it takes. */
enum cache_result cache_get(struct cache *cache, struct slice key, struct buffer *value,
                            enum cache_type *ret_type);
enum cache_result cache_value_bytes(struct cache *cache, struct slice key, size_t *ret_bytes);
enum cache_result cache_has(struct cache *cache, struct slice key);
enum cache_result cache_put(struct cache *cache, enum cache_mode mode, struct slice key, enum cache_type type,
                            struct slice value, int64_t ttl_ns);
/* Adds to the number that is there, whose ttl stays; where there is none, begins with *init (if not NULL) and
 * `ttl_ns`. */
enum cache_result cache_increment(struct cache *cache, struct slice key, double by, const double *init,
                                  int64_t ttl_ns, double *ret_number);
enum cache_result cache_delete(struct cache *cache, struct slice key);
enum cache_result cache_ttl(struct cache *cache, struct slice key, int64_t *ret_ttl_ns);
enum cache_result cache_expire(struct cache *cache, struct slice key, int64_t ttl_ns);

/* Empties this cache or space, or only of keys that begin with `prefix`. What is in a shard whose owner was
 * stopped stays. */
void cache_clear(struct cache *cache, struct slice prefix);

/* Appends up to `most` keys that begin with `prefix`, each as u16 length and bytes, in no order. */
enum cache_result cache_keys(struct cache *cache, struct slice prefix, size_t most, struct buffer *keys);

/* Takes no lock: what changes meanwhile is counted before or after. */
void cache_read_stats(const struct cache *cache, struct cache_stats *stats);
int64_t cache_default_ttl_ns(const struct cache *cache);

/* Moves the clock of this region, for tests: nanoseconds added to the monotonic clock, in every process. */
void cache_move_clock(struct cache *cache, int64_t by_ns);

/* Host, now and then: opens locks in the name of a process that it has not started. The kernel opens those of
 * who dies; what remains is what somebody wrote there who should not. */
void cache_tend(struct cache *cache);

/* Walks everything: false with the first thing that is not as it must be, whose shard is emptied.
 * For tests. */
bool cache_check(struct cache *cache, struct error *error);

#endif
