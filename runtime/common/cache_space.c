/* Spaces; see cache_space.h. cache_open_space is in cache.h. */
#include "common/cache_space.h"

#include "common/cache_shard.h"
#include "common/clock.h"

#include <string.h>

enum { SHARE_MIN = 256 /* entries of a space in each of its shards, where it has more than one */ };

#define WAIT_NS CLOCK_NS_PER_SECOND

uint32_t space_limit(const struct cache *cache)
{
    return cache->slot == 0 ? 0 : cell_get(&cache->header->names[cache->slot].limit);
}

struct space_place space_place_of(const struct cache *cache, uint32_t limit, uint64_t hash)
{
    uint32_t shards = cache->geometry.shards;
    uint32_t spread = shards;
    uint32_t high = (uint32_t)(hash >> 32);
    if (limit == 0)
        return (struct space_place){ .shard = high & (shards - 1), .entries_max = UINT32_MAX };
    while (spread > 1 && limit / spread < SHARE_MIN)
        spread /= 2;
    uint32_t share = high & (spread - 1);
    return (struct space_place){ .shard = (share + cache->slot) & (shards - 1),
                                 .entries_max = limit / spread + (share < limit % spread) };
}

/* Of the spaces that are named; another process may write anything there. */
static uint32_t named_spaces(const struct cache_header *header)
{
    uint32_t spaces = cell_get(&header->spaces);
    return spaces < CACHE_SPACES_MAX ? spaces : CACHE_SPACES_MAX;
}

static bool has_name(const struct cache_space_name *space, struct slice name)
{
    return cell_get(&space->bytes) == name.size && memcmp(space->name, name.data, name.size) == 0;
}

/* The space's slot, found or made; 0 where there is no room for another name. With the lock of the names. */
static uint32_t find_or_name(struct cache_header *header, struct slice name)
{
    uint32_t spaces = named_spaces(header);
    for (uint32_t slot = 1; slot <= spaces; slot++)
        if (has_name(&header->names[slot], name))
            return slot;
    if (spaces == CACHE_SPACES_MAX)
        return 0;
    struct cache_space_name *space = &header->names[spaces + 1];
    memcpy(space->name, name.data, name.size);
    cell_set(&space->bytes, (uint32_t)name.size);
    cell_set(&space->limit, 0);
    cell_set(&space->settled, 0);
    atomic_store_explicit(&header->spaces, spaces + 1, memory_order_release);
    return spaces + 1;
}

/* Another bound spreads the keys over other shards. Whoever puts an entry looks at the bound with the shard
 * locked, so nothing comes back once a shard is emptied. `settled` tells whether somebody died before all
 * were. */
static void keep_limit(struct cache *space, uint32_t limit)
{
    struct cache_space_name *name = &space->header->names[space->slot];
    if (cell_get(&name->limit) == limit && cell_get(&name->settled) == limit)
        return;
    cell_set(&name->settled, ~limit);
    atomic_thread_fence(memory_order_release);
    cell_set(&name->limit, limit);
    cache_clear(space, (struct slice){ .size = 0 });
    atomic_thread_fence(memory_order_release);
    cell_set(&name->settled, limit);
}

bool cache_open_space(struct cache *cache, struct slice name, size_t entries, struct cache *ret_space,
                      struct error *error)
{
    struct cache_header *header = cache->header;
    struct cache_locker *locker = &cache->process->locker;
    uint32_t limit = entries < UINT32_MAX / 2 ? (uint32_t)entries : UINT32_MAX / 2;
    if (name.size == 0 || name.size > CACHE_SPACE_NAME_MAX)
        return error_set(error, ERROR_FAILED, "the name of a space has 1 to %d bytes", CACHE_SPACE_NAME_MAX);
    if (!cache_lock_take(locker, &header->spaces_lock, WAIT_NS))
        return error_set(error, ERROR_FAILED,
                         "the cache is busy: the process that opens a space was stopped");
    struct cache space = *cache;
    space.slot = find_or_name(header, name);
    cache_lock_leave(locker, &header->spaces_lock);
    if (space.slot == 0)
        return error_set(error, ERROR_FAILED, "no more than %d spaces are possible", CACHE_SPACES_MAX);
    keep_limit(&space, limit);
    *ret_space = space;
    return true;
}
