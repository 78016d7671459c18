/* A cache for tests, and short ways to use it. */
#ifndef SPEC_UNIT_CACHE_FIXTURE_H
#define SPEC_UNIT_CACHE_FIXTURE_H

#include "common/cache.h"

#include "common/clock.h"

#include "tools.h"

#include <unistd.h>

enum { VALUE_LIMIT = 64 * 1024 * 1024 };

#define SECONDS(n) ((int64_t)(n)*CLOCK_NS_PER_SECOND)

struct fixture {
    struct cache cache;
    int fd;
    struct buffer value;
};

static inline void open_cache(struct fixture *fixture, size_t memory_bytes, size_t entries)
{
    struct error error = { 0 };
    const struct cache_config config = { .memory_bytes = memory_bytes,
                                         .entries = entries,
                                         .ttl_ns = SECONDS(3600) };
    if (!cache_create(&fixture->cache, &config, &fixture->fd, &error))
        fail_msg("%s", error.text);
    buffer_init(&fixture->value, VALUE_LIMIT);
}

static inline void close_cache(struct fixture *fixture)
{
    cache_unmap(&fixture->cache);
    (void)close(fixture->fd);
    buffer_clear(&fixture->value);
}

static inline void assert_sound(struct cache *cache)
{
    struct error error = { 0 };
    if (!cache_check(cache, &error))
        fail_msg("%s", error.text);
}

static inline struct cache_stats stats_of(struct cache *cache)
{
    struct cache_stats stats;
    cache_read_stats(cache, &stats);
    return stats;
}

static inline enum cache_result put_text(struct cache *cache, enum cache_mode mode, const char *key,
                                         const char *text, int64_t ttl_ns)
{
    return cache_put(cache, mode, slice_of(key), CACHE_STRING, slice_of(text), ttl_ns);
}

static inline enum cache_result set_text(struct cache *cache, const char *key, const char *text)
{
    return put_text(cache, CACHE_SET, key, text, SECONDS(3600));
}

static inline enum cache_result get_value(struct fixture *fixture, struct cache *cache, const char *key)
{
    enum cache_type type;
    buffer_reset(&fixture->value);
    return cache_get(cache, slice_of(key), &fixture->value, &type);
}

static inline void assert_text_at(struct fixture *fixture, struct cache *cache, const char *key,
                                  const char *text)
{
    enum cache_type type = 0;
    buffer_reset(&fixture->value);
    assert_int_equal(cache_get(cache, slice_of(key), &fixture->value, &type), CACHE_OK);
    assert_int_equal(type, CACHE_STRING);
    assert_bytes((struct slice){ fixture->value.data, fixture->value.size }, slice_of(text));
}

static inline bool has(struct cache *cache, const char *key)
{
    return cache_has(cache, slice_of(key)) == CACHE_OK;
}

#endif
