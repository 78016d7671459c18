/* The cache's operations: which shard, which lock, which answer; see cache.h. */
#include "common/cache.h"

#include "common/cache_shard.h"
#include "common/clock.h"
#include "common/siphash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_MAGIC UINT64_C(0x31656863616372ff)

enum {
    HEADER_BYTES = 256,
    SHARDS_MAX = 16,
    /* Fewer entries than this in a shard, and an uneven spread of keys would show as early evictions. */
    SHARD_ENTRIES_MIN = 512,
    SHARD_MEMORY_MIN = 256 * 1024,
    BLOCKS_MIN = 8,
};

/* Making and mapping */

static uint32_t buckets_for(uint32_t entries)
{
    uint32_t buckets = 1;
    while (buckets < entries)
        buckets *= 2;
    return buckets;
}

static bool choose_geometry(const struct cache_config *config, struct cache_geometry *geometry,
                            struct error *error)
{
    uint32_t shards = SHARDS_MAX;
    while (shards > 1 &&
           (config->entries / shards < SHARD_ENTRIES_MIN || config->memory_bytes / shards < SHARD_MEMORY_MIN))
        shards /= 2;
    size_t entries = config->entries / shards;
    if (entries == 0 || entries > UINT32_MAX / 8)
        return error_set(error, ERROR_USAGE, "cache.entries is %zu: 1 to %u are possible", config->entries,
                         UINT32_MAX / 8);
    *geometry = (struct cache_geometry){ .shards = shards,
                                         .entries = (uint32_t)entries,
                                         .buckets = buckets_for((uint32_t)entries) };
    size_t fixed = shard_bytes(geometry) + HEADER_BYTES;
    size_t memory = config->memory_bytes / shards;
    size_t blocks = memory > fixed ? (memory - fixed) / CACHE_BLOCK_BYTES : 0;
    if (blocks < BLOCKS_MIN || blocks > UINT32_MAX / 2)
        return error_set(error, ERROR_USAGE,
                         "cache.memory is %zu bytes: too little (or far too much) for cache.entries = %zu",
                         config->memory_bytes, config->entries);
    geometry->blocks = (uint32_t)blocks;
    return true;
}

static size_t region_bytes(const struct cache_geometry *geometry)
{
    return HEADER_BYTES + geometry->shards * shard_bytes(geometry);
}

static bool map_region(struct cache *cache, int fd, size_t bytes, struct error *error)
{
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (region == MAP_FAILED)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot map the cache of %zu bytes", bytes);
    *cache = (struct cache){ .header = region, .size_bytes = bytes };
    return true;
}

static bool init_region(struct cache *cache, const struct cache_geometry *geometry,
                        const struct cache_config *config, struct error *error)
{
    struct cache_header *header = cache->header;
    header->geometry = *geometry;
    header->ttl_ns = config->ttl_ns;
    if (getrandom(header->seed, sizeof header->seed, 0) != (ssize_t)sizeof header->seed)
        return error_set_errno(error, ERROR_FAILED, errno, "no random numbers for the cache");
    for (uint32_t i = 0; i < geometry->shards; i++) {
        struct shard shard;
        shard_open(&shard, header, geometry, i);
        if (!shard_init(&shard))
            return error_set(error, ERROR_FAILED, "the system has no robust locks between processes");
    }
    header->magic = CACHE_MAGIC;
    cache->geometry = *geometry;
    return true;
}

bool cache_create(struct cache *cache, const struct cache_config *config, int *ret_fd, struct error *error)
{
    struct cache_geometry geometry = { 0 };
    *cache = (struct cache){ 0 };
    if (!choose_geometry(config, &geometry, error))
        return false;
    size_t bytes = region_bytes(&geometry);
    int fd = memfd_create("moonrabbit-cache", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        error_set_errno(error, ERROR_FAILED, errno, "cannot make the cache of %zu bytes", bytes);
        goto failed;
    }
    if (!map_region(cache, fd, bytes, error) || !init_region(cache, &geometry, config, error))
        goto failed;
    *ret_fd = fd;
    return true;
failed:
    cache_unmap(cache);
    if (fd >= 0)
        (void)close(fd);
    return false;
}

bool cache_map(struct cache *cache, int fd, struct error *error)
{
    struct stat about;
    *cache = (struct cache){ 0 };
    if (fstat(fd, &about) < 0 || about.st_size < HEADER_BYTES)
        return error_set(error, ERROR_FAILED, "descriptor %d is no cache", fd);
    if (!map_region(cache, fd, (size_t)about.st_size, error))
        return false;
    const struct cache_header *header = cache->header;
    const struct cache_geometry geometry = header->geometry;
    bool sound = header->magic == CACHE_MAGIC && geometry.shards > 0 && geometry.shards <= SHARDS_MAX &&
                 (geometry.shards & (geometry.shards - 1)) == 0 && geometry.buckets > 0 &&
                 (geometry.buckets & (geometry.buckets - 1)) == 0 &&
                 region_bytes(&geometry) == cache->size_bytes;
    if (!sound) {
        cache_unmap(cache);
        return error_set(error, ERROR_FAILED, "descriptor %d is no cache", fd);
    }
    cache->geometry = geometry;
    return true;
}

void cache_unmap(struct cache *cache)
{
    if (cache->header)
        (void)munmap(cache->header, cache->size_bytes);
    *cache = (struct cache){ 0 };
}

bool cache_open_space(struct cache *cache, struct slice name, size_t entries, struct cache *ret_space,
                      struct error *error)
{
    (void)entries;
    *ret_space = *cache;
    return error_set(error, ERROR_FAILED, "space '%.*s': this build keeps no spaces", (int)name.size,
                     name.data);
}

size_t cache_room(const struct cache *cache)
{
    return shard_room(&cache->geometry);
}

/* Operations */

/* What every operation needs: the key's shard, locked, and the time. */
struct operation {
    struct shard shard;
    uint32_t hash;
    int64_t now_ns;
};

static int64_t cache_now_ns(const struct cache *cache)
{
    return clock_now_ns() + atomic_load_explicit(&cache->header->clock_moved_ns, memory_order_relaxed);
}

/* False where the lock is beyond use: the operation then finds nothing and changes nothing. */
static bool begin(struct cache *cache, struct slice key, struct operation *operation)
{
    uint64_t hash = siphash(cache->header->seed, key);
    uint32_t index = (uint32_t)(hash >> 32) & (cache->geometry.shards - 1);
    shard_open(&operation->shard, cache->header, &cache->geometry, index);
    operation->hash = (uint32_t)hash;
    operation->now_ns = cache_now_ns(cache);
    return shard_lock(&operation->shard);
}

static uint32_t find(struct operation *operation, struct slice key)
{
    return shard_find(&operation->shard, operation->hash, key, operation->now_ns);
}

/* An expiry that no clock reaches stands for "never", as far as anybody can tell. */
static int64_t expiry_after(int64_t now_ns, int64_t ttl_ns)
{
    int64_t expires_ns;
    return __builtin_add_overflow(now_ns, ttl_ns, &expires_ns) ? INT64_MAX : expires_ns;
}

static enum cache_result read_value(struct operation *operation, uint32_t number, struct buffer *value,
                                    enum cache_type *ret_type)
{
    struct shard *shard = &operation->shard;
    const struct cache_entry entry = *shard_entry(shard, number);
    if (!shard_could_hold(shard, entry.key_bytes, entry.value_bytes)) {
        shard->broken = true;
        return CACHE_NOT_FOUND;
    }
    if (!buffer_reserve(value, entry.value_bytes))
        return CACHE_NO_MEMORY;
    if (entry.value_bytes > 0)
        shard_read(shard, number, entry.key_bytes, value->data + value->size, entry.value_bytes);
    if (shard->broken)
        return CACHE_NOT_FOUND;
    value->size += entry.value_bytes;
    *ret_type = (enum cache_type)entry.type;
    shard_touch(shard, number);
    return CACHE_OK;
}

enum cache_result cache_get(struct cache *cache, struct slice key, struct buffer *value,
                            enum cache_type *ret_type)
{
    struct operation operation;
    enum cache_result result = CACHE_NOT_FOUND;
    if (key.size > CACHE_KEY_MAX || !begin(cache, key, &operation))
        return CACHE_NOT_FOUND;
    uint32_t number = find(&operation, key);
    if (number != CACHE_NONE)
        result = read_value(&operation, number, value, ret_type);
    if (result == CACHE_OK)
        operation.shard.head->counts.hits++;
    else if (result == CACHE_NOT_FOUND)
        operation.shard.head->counts.misses++;
    shard_unlock(&operation.shard);
    return result;
}

enum cache_result cache_value_bytes(struct cache *cache, struct slice key, size_t *ret_bytes)
{
    struct operation operation;
    if (key.size > CACHE_KEY_MAX || !begin(cache, key, &operation))
        return CACHE_NOT_FOUND;
    uint32_t number = find(&operation, key);
    if (number != CACHE_NONE)
        *ret_bytes = shard_entry(&operation.shard, number)->value_bytes;
    shard_unlock(&operation.shard);
    return number != CACHE_NONE ? CACHE_OK : CACHE_NOT_FOUND;
}

enum cache_result cache_has(struct cache *cache, struct slice key)
{
    int64_t ttl_ns;
    return cache_ttl(cache, key, &ttl_ns);
}

static enum cache_result put(struct operation *operation, enum cache_mode mode, struct slice key,
                             enum cache_type type, struct slice value, int64_t ttl_ns)
{
    uint32_t number = find(operation, key);
    if (mode == CACHE_ADD && number != CACHE_NONE)
        return CACHE_EXISTS;
    if (mode == CACHE_REPLACE && number == CACHE_NONE)
        return CACHE_NOT_FOUND;
    if (number != CACHE_NONE)
        shard_remove(&operation->shard, number);
    shard_add(&operation->shard, operation->hash, key, type, value, expiry_after(operation->now_ns, ttl_ns),
              operation->now_ns);
    return CACHE_OK;
}

enum cache_result cache_put(struct cache *cache, enum cache_mode mode, struct slice key, enum cache_type type,
                            struct slice value, int64_t ttl_ns)
{
    struct operation operation;
    if (key.size > CACHE_KEY_MAX)
        return CACHE_KEY_TOO_LONG;
    if (!begin(cache, key, &operation))
        return CACHE_NO_MEMORY;
    enum cache_result result = CACHE_TOO_LARGE;
    if (shard_could_hold(&operation.shard, key.size, value.size))
        result = put(&operation, mode, key, type, value, ttl_ns);
    shard_unlock(&operation.shard);
    return result;
}

static enum cache_result add_to(struct operation *operation, uint32_t number, double by, double *ret_number)
{
    struct shard *shard = &operation->shard;
    const struct cache_entry *entry = shard_entry(shard, number);
    double value;
    if (entry->type != CACHE_NUMBER || entry->value_bytes != sizeof value)
        return CACHE_NOT_A_NUMBER;
    shard_read(shard, number, entry->key_bytes, (char *)&value, sizeof value);
    value += by;
    shard_overwrite(shard, number, entry->key_bytes, (const char *)&value, sizeof value);
    shard_touch(shard, number);
    *ret_number = value;
    return CACHE_OK;
}

enum cache_result cache_increment(struct cache *cache, struct slice key, double by, const double *init,
                                  int64_t ttl_ns, double *ret_number)
{
    struct operation operation;
    enum cache_result result = CACHE_NOT_FOUND;
    if (key.size > CACHE_KEY_MAX)
        return CACHE_KEY_TOO_LONG;
    if (!begin(cache, key, &operation))
        return CACHE_NO_MEMORY;
    uint32_t number = find(&operation, key);
    if (number != CACHE_NONE) {
        result = add_to(&operation, number, by, ret_number);
    } else if (init && !shard_could_hold(&operation.shard, key.size, sizeof(double))) {
        result = CACHE_TOO_LARGE;
    } else if (init) {
        const double value = *init + by;
        shard_add(&operation.shard, operation.hash, key, CACHE_NUMBER,
                  (struct slice){ .data = (const char *)&value, .size = sizeof value },
                  expiry_after(operation.now_ns, ttl_ns), operation.now_ns);
        *ret_number = value;
        result = CACHE_OK;
    }
    shard_unlock(&operation.shard);
    return result;
}

enum cache_result cache_delete(struct cache *cache, struct slice key)
{
    struct operation operation;
    if (key.size > CACHE_KEY_MAX || !begin(cache, key, &operation))
        return CACHE_NOT_FOUND;
    uint32_t number = find(&operation, key);
    if (number != CACHE_NONE)
        shard_remove(&operation.shard, number);
    shard_unlock(&operation.shard);
    return number != CACHE_NONE ? CACHE_OK : CACHE_NOT_FOUND;
}

enum cache_result cache_ttl(struct cache *cache, struct slice key, int64_t *ret_ttl_ns)
{
    struct operation operation;
    if (key.size > CACHE_KEY_MAX || !begin(cache, key, &operation))
        return CACHE_NOT_FOUND;
    uint32_t number = find(&operation, key);
    if (number != CACHE_NONE)
        *ret_ttl_ns = shard_entry(&operation.shard, number)->expires_ns - operation.now_ns;
    shard_unlock(&operation.shard);
    return number != CACHE_NONE ? CACHE_OK : CACHE_NOT_FOUND;
}

enum cache_result cache_expire(struct cache *cache, struct slice key, int64_t ttl_ns)
{
    struct operation operation;
    if (key.size > CACHE_KEY_MAX || !begin(cache, key, &operation))
        return CACHE_NOT_FOUND;
    uint32_t number = find(&operation, key);
    if (number != CACHE_NONE)
        shard_set_expiry(&operation.shard, number, expiry_after(operation.now_ns, ttl_ns));
    shard_unlock(&operation.shard);
    return number != CACHE_NONE ? CACHE_OK : CACHE_NOT_FOUND;
}

/* Whole shards */

/* Copies the key of an entry to `to` (CACHE_KEY_MAX bytes); false where it does not begin with the prefix. */
static bool key_with_prefix(struct shard *shard, uint32_t number, struct slice prefix, char *to,
                            uint16_t *ret_bytes)
{
    const struct cache_entry *entry = shard_entry(shard, number);
    uint16_t bytes = entry->key_bytes;
    if (bytes > CACHE_KEY_MAX || bytes < prefix.size)
        return false;
    shard_read(shard, number, 0, to, bytes);
    *ret_bytes = bytes;
    return prefix.size == 0 || memcmp(to, prefix.data, prefix.size) == 0;
}

static void clear_prefix(struct shard *shard, struct slice prefix)
{
    char key[CACHE_KEY_MAX];
    uint16_t bytes;
    uint32_t left = shard->head->entries;
    uint32_t number = shard->head->newest;
    while (number != CACHE_NONE && left-- > 0 && !shard->broken) {
        uint32_t older = shard_entry(shard, number)->older;
        if (key_with_prefix(shard, number, prefix, key, &bytes))
            shard_remove(shard, number);
        number = older;
    }
}

void cache_clear(struct cache *cache, struct slice prefix)
{
    for (uint32_t i = 0; i < cache->geometry.shards; i++) {
        struct shard shard;
        shard_open(&shard, cache->header, &cache->geometry, i);
        if (!shard_lock(&shard))
            continue;
        if (prefix.size == 0)
            shard_clear(&shard);
        else
            clear_prefix(&shard, prefix);
        shard_unlock(&shard);
    }
}

static bool shard_keys(struct shard *shard, struct slice prefix, int64_t now_ns, size_t *most,
                       struct buffer *keys)
{
    char key[CACHE_KEY_MAX];
    uint16_t bytes;
    uint32_t left = shard->head->entries;
    for (uint32_t number = shard->head->newest; number != CACHE_NONE && left-- > 0 && *most > 0;
         number = shard_entry(shard, number)->older) {
        if (shard->broken)
            return true;
        if (shard_entry(shard, number)->expires_ns <= now_ns ||
            !key_with_prefix(shard, number, prefix, key, &bytes))
            continue;
        if (!buffer_append(keys, &bytes, sizeof bytes) || !buffer_append(keys, key, bytes))
            return false;
        --*most;
    }
    return true;
}

enum cache_result cache_keys(struct cache *cache, struct slice prefix, size_t most, struct buffer *keys)
{
    int64_t now_ns = cache_now_ns(cache);
    for (uint32_t i = 0; i < cache->geometry.shards && most > 0; i++) {
        struct shard shard;
        shard_open(&shard, cache->header, &cache->geometry, i);
        if (!shard_lock(&shard))
            continue;
        bool fits = shard_keys(&shard, prefix, now_ns, &most, keys);
        shard_unlock(&shard);
        if (!fits)
            return CACHE_NO_MEMORY;
    }
    return CACHE_OK;
}

void cache_read_stats(struct cache *cache, struct cache_stats *stats)
{
    const struct cache_geometry *geometry = &cache->geometry;
    *stats = (struct cache_stats){
        .capacity_bytes = (uint64_t)geometry->shards * geometry->blocks * CACHE_BLOCK_BYTES,
        .capacity_entries = (uint64_t)geometry->shards * geometry->entries,
    };
    for (uint32_t i = 0; i < geometry->shards; i++) {
        struct shard shard;
        shard_open(&shard, cache->header, geometry, i);
        if (!shard_lock(&shard))
            continue;
        const struct shard_head *head = shard.head;
        stats->entries += head->entries;
        stats->bytes += (uint64_t)head->used * CACHE_BLOCK_BYTES;
        stats->hits += head->counts.hits;
        stats->misses += head->counts.misses;
        stats->evictions += head->counts.evictions;
        stats->expired += head->counts.expired;
        stats->resets += head->counts.resets;
        shard_unlock(&shard);
    }
}

int64_t cache_default_ttl_ns(const struct cache *cache)
{
    return cache->header->ttl_ns;
}

void cache_move_clock(struct cache *cache, int64_t by_ns)
{
    (void)atomic_fetch_add(&cache->header->clock_moved_ns, by_ns);
}

bool cache_check(struct cache *cache, struct error *error)
{
    bool sound = true;
    for (uint32_t i = 0; i < cache->geometry.shards && sound; i++) {
        struct shard shard;
        shard_open(&shard, cache->header, &cache->geometry, i);
        if (!shard_lock(&shard))
            return error_set(error, ERROR_FAILED, "the cache is damaged: a lock cannot be used");
        sound = shard_check(&shard, error);
        shard_unlock(&shard);
    }
    return sound;
}
