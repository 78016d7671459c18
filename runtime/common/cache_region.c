/* The region of the cache: made by the host, mapped by every worker; see cache.h. */
#include "common/cache_shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_MAGIC UINT64_C(0x32656863616372ff)

enum {
    /* Fewer entries than this in a shard, and an uneven spread of keys would show as early evictions. */
    SHARD_ENTRIES_MIN = 512,
    /* And the largest value would be small; where there is memory for more than a few shards, less so. */
    SHARD_MEMORY_MIN = 256 * 1024,
    SHARDS_USUAL = 16,
    FURTHER_SHARD_MEMORY_MIN = 2 * 1024 * 1024,
    UNITS_MIN = 8,
};

/* Geometry */

static uint32_t buckets_for(uint32_t entries)
{
    uint32_t buckets = 1;
    while (buckets < entries)
        buckets *= 2;
    return buckets;
}

static size_t header_bytes(void)
{
    return (sizeof(struct cache_header) + CACHE_UNIT_BYTES - 1) / CACHE_UNIT_BYTES * CACHE_UNIT_BYTES;
}

static size_t region_bytes(const struct cache_geometry *geometry)
{
    uint32_t slots = (geometry->entries + geometry->shards - 1) / geometry->shards;
    return header_bytes() + geometry->shards * shard_bytes(slots, geometry->buckets, geometry->units);
}

/* As many entries as asked for, but never more than there could be units for. */
static void divide(const struct cache_config *config, uint32_t shards, size_t memory,
                   struct cache_geometry *geometry)
{
    size_t most =
        memory / (CACHE_UNIT_BYTES + sizeof(wide) + sizeof(struct shard_expiry) + sizeof(cell)) * shards;
    size_t entries = config->entries < most ? config->entries : most;
    uint32_t slots = (uint32_t)((entries + shards - 1) / shards);
    uint32_t buckets = buckets_for(slots);
    size_t fixed = shard_bytes(slots, buckets, 0);
    size_t units = memory > fixed ? (memory - fixed) / (CACHE_UNIT_BYTES + sizeof(wide)) : 0;
    units = units < UINT32_MAX / 2 ? units : UINT32_MAX / 2;
    entries = entries < units * shards ? entries : units * shards;
    *geometry = (struct cache_geometry){
        .shards = shards, .entries = (uint32_t)entries, .buckets = buckets, .units = (uint32_t)units
    };
}

static uint32_t choose_shards(const struct cache_config *config)
{
    uint32_t shards = CACHE_SHARDS_MAX;
    while (shards > 1) {
        size_t memory_min = shards > SHARDS_USUAL ? FURTHER_SHARD_MEMORY_MIN : SHARD_MEMORY_MIN;
        if (config->entries / shards >= SHARD_ENTRIES_MIN && config->memory_bytes / shards >= memory_min)
            break;
        shards /= 2;
    }
    return shards;
}

static bool choose_geometry(const struct cache_config *config, struct cache_geometry *geometry,
                            struct error *error)
{
    uint32_t shards = choose_shards(config);
    if (config->entries == 0 || config->entries > UINT32_MAX / 2)
        return error_set(error, ERROR_USAGE, "cache.entries is %zu: 1 to %u are possible", config->entries,
                         UINT32_MAX / 2);
    size_t memory = config->memory_bytes > header_bytes() ? config->memory_bytes - header_bytes() : 0;
    /* The roundings of a shard's parts. */
    memory = memory / shards > CACHE_UNIT_BYTES ? memory / shards - CACHE_UNIT_BYTES : 0;
    divide(config, shards, memory, geometry);
    if (geometry->units < UNITS_MIN)
        return error_set(error, ERROR_USAGE, "cache.memory is %zu bytes: too little for a cache",
                         config->memory_bytes);
    return true;
}

static bool is_power_of_two(uint32_t number)
{
    return number > 0 && (number & (number - 1)) == 0;
}

static bool is_geometry(const struct cache_geometry *geometry, size_t bytes)
{
    return is_power_of_two(geometry->shards) && geometry->shards <= CACHE_SHARDS_MAX &&
           is_power_of_two(geometry->buckets) && geometry->units >= UNITS_MIN &&
           geometry->units <= UINT32_MAX / 2 && geometry->entries > 0 &&
           geometry->entries <= UINT32_MAX / 2 && region_bytes(geometry) == bytes;
}

/* Mapping */

static bool map_region(struct cache *cache, int fd, size_t bytes, struct error *error)
{
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (region == MAP_FAILED)
        return error_set_errno(error, ERROR_FAILED, errno, "cannot map the cache of %zu bytes", bytes);
    *cache = (struct cache){ .header = region, .size_bytes = bytes };
    return true;
}

/* From here on nothing of the header is trusted any more but what is copied now. */
static bool init_process(struct cache *cache, const struct cache_geometry *geometry, struct error *error)
{
    struct cache_header *header = cache->header;
    struct cache_process *process = calloc(1, sizeof *process);
    if (!process)
        return error_set(error, ERROR_FAILED, "no memory for the cache");
    cache->process = process;
    cache->geometry = *geometry;
    *process =
        (struct cache_process){ .seed = { header->seed[0], header->seed[1] }, .ttl_ns = header->ttl_ns };
    if (!locker_init(&process->locker))
        return error_set_errno(error, ERROR_FAILED, errno, "the system has no robust locks");
    process->stripe = &header->stripes[process->locker.thread_id % CACHE_STRIPES];
    for (uint32_t i = 0; i < geometry->shards; i++)
        shard_open(&process->shards[i], header, geometry, i, &process->locker);
    return true;
}

/* A region of zeros is one of empty shards. */
static bool init_region(struct cache *cache, const struct cache_geometry *geometry,
                        const struct cache_config *config, struct error *error)
{
    struct cache_header *header = cache->header;
    header->geometry = *geometry;
    header->ttl_ns = config->ttl_ns;
    if (getrandom(header->seed, sizeof header->seed, 0) != (ssize_t)sizeof header->seed)
        return error_set_errno(error, ERROR_FAILED, errno, "no random numbers for the cache");
    header->magic = CACHE_MAGIC;
    return init_process(cache, geometry, error);
}

bool cache_create(struct cache *cache, const struct cache_config *config, int *ret_fd, struct error *error)
{
    struct cache_geometry geometry = { .shards = 1 };
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
    if (fstat(fd, &about) < 0 || about.st_size < (off_t)header_bytes())
        return error_set(error, ERROR_FAILED, "descriptor %d is no cache", fd);
    if (!map_region(cache, fd, (size_t)about.st_size, error))
        return false;
    const volatile struct cache_header *header = cache->header;
    const struct cache_geometry geometry = { .shards = header->geometry.shards,
                                             .entries = header->geometry.entries,
                                             .buckets = header->geometry.buckets,
                                             .units = header->geometry.units };
    bool sound = header->magic == CACHE_MAGIC && is_geometry(&geometry, cache->size_bytes);
    if (!sound)
        (void)error_set(error, ERROR_FAILED, "descriptor %d is no cache", fd);
    if (sound && init_process(cache, &geometry, error))
        return true;
    cache_unmap(cache);
    return false;
}

void cache_unmap(struct cache *cache)
{
    if (cache->header)
        (void)munmap(cache->header, cache->size_bytes);
    free(cache->process);
    *cache = (struct cache){ 0 };
}
