/* The cache's operations: which shard, with or without its lock, which answer; see cache.h. */
#include "common/cache.h"

#include "common/cache_check.h"
#include "common/cache_shard.h"
#include "common/cache_space.h"
#include "common/clock.h"
#include "common/siphash.h"

#include <stdlib.h>
#include <string.h>

/* Operations */

/* What every operation needs: the key's shard, and what it asks for there. */
struct operation {
    struct shard *shard;
    struct shard_item item;
};

/* Times of the region can be any number: where a sum has no place it is the furthest there is. */
static int64_t later(int64_t time_ns, int64_t by_ns)
{
    int64_t sum_ns;
    if (__builtin_add_overflow(time_ns, by_ns, &sum_ns))
        return by_ns > 0 ? INT64_MAX : INT64_MIN;
    return sum_ns;
}

static int64_t time_between(int64_t from_ns, int64_t to_ns)
{
    int64_t between_ns;
    return __builtin_sub_overflow(to_ns, from_ns, &between_ns) ? INT64_MAX : between_ns;
}

static int64_t cache_time_ns(const struct cache *cache, int64_t clock_ns)
{
    return later(clock_ns, (int64_t)wide_get(&cache->header->clock_moved_ns));
}

/* Of two uses that a coarse clock does not tell apart, the second one is younger all the same. */
static int64_t next_use_ns(struct cache_process *process, int64_t clock_ns)
{
    process->last_use_ns = clock_ns > process->last_use_ns ? clock_ns : process->last_use_ns + 1;
    return process->last_use_ns;
}

static struct operation aim(struct cache *cache, struct slice key, uint32_t limit)
{
    struct cache_process *process = cache->process;
    const uint64_t seed[2] = { process->seed[0] ^ cache->slot, process->seed[1] };
    uint64_t hash = siphash(seed, key);
    struct space_place place = space_place_of(cache, limit, hash);
    int64_t clock_ns = clock_now_ns();
    return (struct operation){
        .shard = &process->shards[place.shard],
        .item = { .hash = (uint32_t)hash,
                  .slot = cache->slot,
                  .slot_limit = place.entries_max,
                  .key = key,
                  .now_ns = cache_time_ns(cache, clock_ns),
                  .use_ns = next_use_ns(process, clock_ns) },
    };
}

/* Locks the shard that the key belongs to by the bound that the space has then. */
static bool begin(struct cache *cache, struct slice key, struct operation *operation)
{
    for (int tries = 0; tries < 3; tries++) {
        uint32_t limit = space_limit(cache);
        *operation = aim(cache, key, limit);
        if (!shard_lock(operation->shard))
            return false;
        if (limit == space_limit(cache))
            return true;
        shard_unlock(operation->shard);
    }
    return false;
}

static enum cache_result put(struct shard *shard, const struct shard_item *item, uint32_t number)
{
    shard_put(shard, item, number);
    return shard->broken ? CACHE_BUSY : CACHE_OK;
}

static void count_hit(struct cache *cache, bool hit)
{
    struct cache_stripe *stripe = cache->process->stripe;
    (void)atomic_fetch_add_explicit(hit ? &stripe->hits : &stripe->misses, 1, memory_order_relaxed);
}

static enum cache_result get_locked(struct cache *cache, struct slice key, struct buffer *value,
                                    struct shard_found *found)
{
    struct operation operation;
    if (!begin(cache, key, &operation))
        return CACHE_BUSY;
    struct shard *shard = operation.shard;
    enum cache_result result = CACHE_NOT_FOUND;
    *found = shard_find(shard, &operation.item);
    if (found->number != CACHE_NONE) {
        shard_use(shard, found, &operation.item);
        result = shard_read(shard, found, value) ? CACHE_OK : CACHE_NO_MEMORY;
    }
    if (shard->broken)
        result = CACHE_NOT_FOUND;
    shard_unlock(shard);
    return result;
}

enum cache_result cache_get(struct cache *cache, struct slice key, struct buffer *value,
                            enum cache_type *ret_type)
{
    struct shard_found found;
    enum cache_result result = CACHE_NOT_FOUND;
    if (key.size > CACHE_KEY_MAX)
        return CACHE_NOT_FOUND;
    struct operation operation = aim(cache, key, space_limit(cache));
    switch (shard_peek(operation.shard, &operation.item, &found, value)) {
    case SHARD_FOUND:
        /* Counting waits for what was stored before; a use that has to be written may go into another
         * processor's memory, and does not have to be waited for. */
        count_hit(cache, true);
        shard_use(operation.shard, &found, &operation.item);
        *ret_type = (enum cache_type)about_type(found.about);
        return CACHE_OK;
    case SHARD_ABSENT:
        break;
    case SHARD_NO_MEMORY:
        return CACHE_NO_MEMORY;
    case SHARD_UNSURE:
        result = get_locked(cache, key, value, &found);
        break;
    }
    if (result == CACHE_OK || result == CACHE_NOT_FOUND)
        count_hit(cache, result == CACHE_OK);
    if (result == CACHE_OK)
        *ret_type = (enum cache_type)about_type(found.about);
    return result;
}

/* What there is of a key; to look at it is neither a hit nor a use. */
static enum cache_result look_at(struct cache *cache, struct slice key, struct operation *operation,
                                 struct shard_found *found)
{
    if (key.size > CACHE_KEY_MAX)
        return CACHE_NOT_FOUND;
    *operation = aim(cache, key, space_limit(cache));
    enum shard_sight sight = shard_peek(operation->shard, &operation->item, found, NULL);
    if (sight == SHARD_FOUND)
        return CACHE_OK;
    if (sight == SHARD_ABSENT)
        return CACHE_NOT_FOUND;
    if (!begin(cache, key, operation))
        return CACHE_BUSY;
    *found = shard_find(operation->shard, &operation->item);
    shard_unlock(operation->shard);
    return found->number != CACHE_NONE ? CACHE_OK : CACHE_NOT_FOUND;
}

enum cache_result cache_ttl(struct cache *cache, struct slice key, int64_t *ret_ttl_ns)
{
    struct operation operation;
    struct shard_found found;
    enum cache_result result = look_at(cache, key, &operation, &found);
    if (result == CACHE_OK)
        *ret_ttl_ns = time_between(operation.item.now_ns, found.expires_ns);
    return result;
}

enum cache_result cache_value_bytes(struct cache *cache, struct slice key, size_t *ret_bytes)
{
    struct operation operation;
    struct shard_found found;
    enum cache_result result = look_at(cache, key, &operation, &found);
    if (result == CACHE_OK)
        *ret_bytes = found.value_bytes;
    return result;
}

enum cache_result cache_has(struct cache *cache, struct slice key)
{
    int64_t ttl_ns;
    return cache_ttl(cache, key, &ttl_ns);
}

enum cache_result cache_put(struct cache *cache, enum cache_mode mode, struct slice key, enum cache_type type,
                            struct slice value, int64_t ttl_ns)
{
    struct operation operation;
    enum cache_result result = CACHE_OK;
    if (key.size > CACHE_KEY_MAX)
        return CACHE_KEY_TOO_LONG;
    if (!shard_could_hold(&cache->process->shards[0], key.size, value.size))
        return CACHE_TOO_LARGE;
    if (!begin(cache, key, &operation))
        return CACHE_BUSY;
    struct shard *shard = operation.shard;
    operation.item.type = type;
    operation.item.value = value;
    operation.item.expires_ns = later(operation.item.now_ns, ttl_ns);
    const struct shard_found found = shard_find(shard, &operation.item);
    if (mode == CACHE_ADD && found.number != CACHE_NONE)
        result = CACHE_EXISTS;
    else if (mode == CACHE_REPLACE && found.number == CACHE_NONE)
        result = CACHE_NOT_FOUND;
    else
        result = put(shard, &operation.item, found.number);
    shard_unlock(shard);
    return result;
}

static enum cache_result add_to(const struct operation *operation, const struct shard_found *found, double by,
                                double *ret_number)
{
    struct shard *shard = operation->shard;
    if (about_type(found->about) != CACHE_NUMBER || found->value_bytes != sizeof(double))
        return CACHE_NOT_A_NUMBER;
    double value = shard_number(shard, found) + by;
    shard_put_number(shard, found, value);
    shard_use(shard, found, &operation->item);
    *ret_number = value;
    return CACHE_OK;
}

static enum cache_result begin_number(const struct operation *operation, double value, int64_t ttl_ns,
                                      double *ret_number)
{
    struct shard_item item = operation->item;
    if (!shard_could_hold(operation->shard, item.key.size, sizeof value))
        return CACHE_TOO_LARGE;
    item.type = CACHE_NUMBER;
    item.value = (struct slice){ .data = (const char *)&value, .size = sizeof value };
    item.expires_ns = later(item.now_ns, ttl_ns);
    *ret_number = value;
    return put(operation->shard, &item, CACHE_NONE);
}

enum cache_result cache_increment(struct cache *cache, struct slice key, double by, const double *init,
                                  int64_t ttl_ns, double *ret_number)
{
    struct operation operation;
    enum cache_result result = CACHE_NOT_FOUND;
    if (key.size > CACHE_KEY_MAX)
        return CACHE_KEY_TOO_LONG;
    if (!begin(cache, key, &operation))
        return CACHE_BUSY;
    const struct shard_found found = shard_find(operation.shard, &operation.item);
    if (found.number != CACHE_NONE)
        result = add_to(&operation, &found, by, ret_number);
    else if (init)
        result = begin_number(&operation, *init + by, ttl_ns, ret_number);
    shard_unlock(operation.shard);
    return result;
}

enum cache_result cache_delete(struct cache *cache, struct slice key)
{
    struct operation operation;
    if (key.size > CACHE_KEY_MAX)
        return CACHE_NOT_FOUND;
    if (!begin(cache, key, &operation))
        return CACHE_BUSY;
    const struct shard_found found = shard_find(operation.shard, &operation.item);
    if (found.number != CACHE_NONE)
        shard_remove(operation.shard, found.number);
    shard_unlock(operation.shard);
    return found.number != CACHE_NONE ? CACHE_OK : CACHE_NOT_FOUND;
}

enum cache_result cache_expire(struct cache *cache, struct slice key, int64_t ttl_ns)
{
    struct operation operation;
    if (key.size > CACHE_KEY_MAX)
        return CACHE_NOT_FOUND;
    if (!begin(cache, key, &operation))
        return CACHE_BUSY;
    const struct shard_found found = shard_find(operation.shard, &operation.item);
    if (found.number != CACHE_NONE)
        shard_set_expiry(operation.shard, found.number, later(operation.item.now_ns, ttl_ns));
    shard_unlock(operation.shard);
    return found.number != CACHE_NONE ? CACHE_OK : CACHE_NOT_FOUND;
}

/* All shards */

/* What a walk over all entries looks for. */
struct walk {
    uint32_t slot;
    struct slice prefix;
    int64_t now_ns;
    size_t most;
    struct buffer *keys;
    bool fits;
};

/* Copies the key to `to` (CACHE_KEY_MAX bytes); false where the entry is not looked for. */
static bool is_looked_for(struct shard *shard, const struct shard_found *found, const struct walk *walk,
                          char *to)
{
    uint32_t bytes = about_key_bytes(found->about);
    if (about_slot(found->about) != walk->slot || bytes < walk->prefix.size)
        return false;
    shard_read_key(shard, found, to);
    return walk->prefix.size == 0 || memcmp(to, walk->prefix.data, walk->prefix.size) == 0;
}

static bool clear_one(struct shard *shard, const struct shard_found *found, void *context)
{
    char key[CACHE_KEY_MAX];
    if (is_looked_for(shard, found, context, key))
        shard_remove(shard, found->number);
    return true;
}

static bool list_one(struct shard *shard, const struct shard_found *found, void *context)
{
    struct walk *walk = context;
    char key[CACHE_KEY_MAX];
    if (found->expires_ns <= walk->now_ns || !is_looked_for(shard, found, walk, key))
        return true;
    const uint16_t bytes = (uint16_t)about_key_bytes(found->about);
    walk->fits = buffer_reserve(walk->keys, sizeof bytes + bytes) &&
                 buffer_append(walk->keys, &bytes, sizeof bytes) && buffer_append(walk->keys, key, bytes);
    walk->most--;
    return walk->fits && walk->most > 0;
}

void cache_clear(struct cache *cache, struct slice prefix)
{
    struct walk walk = { .slot = cache->slot, .prefix = prefix };
    for (uint32_t i = 0; i < cache->geometry.shards; i++) {
        struct shard *shard = &cache->process->shards[i];
        if (!shard_lock(shard))
            continue;
        if (prefix.size == 0)
            shard_clear_slot(shard, cache->slot);
        else
            shard_visit(shard, clear_one, &walk);
        shard_unlock(shard);
    }
}

enum cache_result cache_keys(struct cache *cache, struct slice prefix, size_t most, struct buffer *keys)
{
    struct walk walk = { .slot = cache->slot,
                         .prefix = prefix,
                         .now_ns = cache_time_ns(cache, clock_now_ns()),
                         .most = most,
                         .keys = keys,
                         .fits = true };
    for (uint32_t i = 0; i < cache->geometry.shards && walk.fits && walk.most > 0; i++) {
        struct shard *shard = &cache->process->shards[i];
        if (!shard_lock(shard))
            continue;
        shard_visit(shard, list_one, &walk);
        shard_unlock(shard);
    }
    return walk.fits ? CACHE_OK : CACHE_NO_MEMORY;
}

static void add_shard(const struct cache *cache, const struct shard *shard, struct cache_stats *stats)
{
    const struct shard_head *head = shard->head;
    const struct shard_slot *slot = &shard->slots[cache->slot];
    bool whole = cache->slot == 0;
    uint32_t entries = cell_get(whole ? &head->entries : &slot->entries);
    uint32_t units = cell_get(whole ? &head->units : &slot->units);
    stats->entries += entries < shard->entries_max ? entries : shard->entries_max;
    stats->bytes += (uint64_t)(units < shard->units_max ? units : shard->units_max) * CACHE_UNIT_BYTES;
    stats->evictions += wide_get(&head->evictions);
    stats->expired += wide_get(&head->expired);
    stats->resets += wide_get(&head->resets);
}

void cache_read_stats(const struct cache *cache, struct cache_stats *stats)
{
    const struct cache_geometry *geometry = &cache->geometry;
    uint32_t limit = space_limit(cache);
    *stats = (struct cache_stats){
        .capacity_bytes = (uint64_t)geometry->shards * geometry->units * CACHE_UNIT_BYTES,
        .capacity_entries = limit > 0 && limit < geometry->entries ? limit : geometry->entries,
    };
    for (uint32_t i = 0; i < geometry->shards; i++)
        add_shard(cache, &cache->process->shards[i], stats);
    for (uint32_t i = 0; i < CACHE_STRIPES; i++) {
        stats->hits += wide_get(&cache->header->stripes[i].hits);
        stats->misses += wide_get(&cache->header->stripes[i].misses);
    }
}

size_t cache_room(const struct cache *cache)
{
    return shard_room(cache->geometry.units);
}

int64_t cache_default_ttl_ns(const struct cache *cache)
{
    return cache->process->ttl_ns;
}

void cache_move_clock(struct cache *cache, int64_t by_ns)
{
    (void)atomic_fetch_add(&cache->header->clock_moved_ns, (uint64_t)by_ns);
}

void cache_tend(struct cache *cache)
{
    cache_lock_tend(&cache->header->spaces_lock);
    for (uint32_t i = 0; i < cache->geometry.shards; i++)
        cache_lock_tend(&cache->process->shards[i].head->lock);
}

bool cache_check(struct cache *cache, struct error *error)
{
    bool sound = true;
    for (uint32_t i = 0; i < cache->geometry.shards && sound; i++) {
        struct shard *shard = &cache->process->shards[i];
        if (!shard_lock(shard))
            return error_set(error, ERROR_FAILED, "the cache is damaged: a lock is not opened");
        sound = shard_check(shard, error);
        shard->broken = !sound;
        shard_unlock(shard);
    }
    return sound;
}
