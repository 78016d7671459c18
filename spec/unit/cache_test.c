/* The cache, operation by operation: what each answers, what goes when there is no room, time, spaces. */
#include "cache_fixture.h"

#include "common/cache_layout.h"

#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { SMALL = 128 * 1024 /* one shard */, MIB = 1024 * 1024 };

static void test_get_and_set(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    open_cache(&f, SMALL, 100);
    assert_int_equal(get_value(&f, cache, "a"), CACHE_NOT_FOUND);
    assert_int_equal(set_text(cache, "a", "one"), CACHE_OK);
    assert_text_at(&f, cache, "a", "one");
    assert_int_equal(set_text(cache, "a", ""), CACHE_OK);
    assert_text_at(&f, cache, "a", "");
    assert_int_equal(set_text(cache, "", "of the empty key"), CACHE_OK);
    assert_text_at(&f, cache, "", "of the empty key");
    assert_text_at(&f, cache, "a", "");
    assert_true(has(cache, "a"));
    assert_false(has(cache, "b"));
    assert_int_equal(cache_delete(cache, BYTES("a")), CACHE_OK);
    assert_int_equal(cache_delete(cache, BYTES("a")), CACHE_NOT_FOUND);
    assert_false(has(cache, "a"));
    assert_int_equal(stats_of(cache).hits, 4);
    assert_int_equal(stats_of(cache).misses, 1);
    assert_sound(cache);
    close_cache(&f);
}

static void test_binary(void **state)
{
    (void)state;
    struct fixture f;
    enum cache_type type = 0;
    open_cache(&f, SMALL, 100);
    for (size_t key_size = 0; key_size <= 80; key_size++) {
        for (size_t size = 0; size <= 300; size += 1 + size / 16) {
            char *key = exact_copy("\0\0\xff\x01 binary, and as long as the first unit of an entry is, and "
                                   "some more to be sure",
                                   key_size);
            char *value = malloc(size + 1);
            assert_non_null(value);
            memset(value, (int)size, size);
            const struct slice name = { key, key_size }, bytes = { value, size };
            assert_int_equal(cache_put(&f.cache, CACHE_SET, name, CACHE_TABLE, bytes, SECONDS(9)), CACHE_OK);
            buffer_reset(&f.value);
            assert_int_equal(cache_get(&f.cache, name, &f.value, &type), CACHE_OK);
            assert_int_equal(type, CACHE_TABLE);
            assert_bytes((struct slice){ f.value.data, f.value.size }, bytes);
            free(key);
            free(value);
        }
    }
    assert_sound(&f.cache);
    close_cache(&f);
}

static void test_modes(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    open_cache(&f, SMALL, 100);
    assert_int_equal(put_text(cache, CACHE_REPLACE, "a", "0", SECONDS(9)), CACHE_NOT_FOUND);
    assert_false(has(cache, "a"));
    assert_int_equal(put_text(cache, CACHE_ADD, "a", "1", SECONDS(9)), CACHE_OK);
    assert_int_equal(put_text(cache, CACHE_ADD, "a", "2", SECONDS(9)), CACHE_EXISTS);
    assert_text_at(&f, cache, "a", "1");
    assert_int_equal(put_text(cache, CACHE_REPLACE, "a", "3", SECONDS(9)), CACHE_OK);
    assert_text_at(&f, cache, "a", "3");
    cache_move_clock(cache, SECONDS(10));
    assert_int_equal(put_text(cache, CACHE_REPLACE, "a", "4", SECONDS(9)), CACHE_NOT_FOUND);
    assert_int_equal(put_text(cache, CACHE_ADD, "a", "5", SECONDS(9)), CACHE_OK);
    assert_text_at(&f, cache, "a", "5");
    close_cache(&f);
}

static void test_increment(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    double number = -1;
    const double init = 10;
    int64_t ttl_ns;
    open_cache(&f, SMALL, 100);
    assert_int_equal(cache_increment(cache, BYTES("n"), 1, NULL, 0, &number), CACHE_NOT_FOUND);
    assert_int_equal(cache_increment(cache, BYTES("n"), 1, &init, SECONDS(50), &number), CACHE_OK);
    assert_true(number == 11);
    assert_int_equal(cache_increment(cache, BYTES("n"), -0.5, &init, SECONDS(5000), &number), CACHE_OK);
    assert_true(number == 10.5);
    assert_int_equal(cache_ttl(cache, BYTES("n"), &ttl_ns), CACHE_OK);
    assert_in_range(ttl_ns, 1, SECONDS(50)); /* that of its beginning */
    assert_int_equal(cache_increment(cache, BYTES("n"), INFINITY, NULL, 0, &number), CACHE_OK);
    assert_true(isinf(number));
    assert_int_equal(cache_increment(cache, BYTES("n"), -INFINITY, NULL, 0, &number), CACHE_OK);
    assert_true(isnan(number));
    assert_int_equal(set_text(cache, "text", "12345678"), CACHE_OK);
    assert_int_equal(cache_increment(cache, BYTES("text"), 1, &init, 0, &number), CACHE_NOT_A_NUMBER);
    cache_move_clock(cache, SECONDS(51));
    assert_int_equal(cache_increment(cache, BYTES("n"), 1, NULL, 0, &number), CACHE_NOT_FOUND);
    close_cache(&f);
}

static void test_ttl(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    int64_t ttl_ns = 0;
    open_cache(&f, SMALL, 100);
    assert_int_equal(cache_default_ttl_ns(cache), SECONDS(3600));
    assert_int_equal(put_text(cache, CACHE_SET, "a", "1", SECONDS(100)), CACHE_OK);
    assert_int_equal(put_text(cache, CACHE_SET, "for ever", "1", INT64_MAX), CACHE_OK);
    assert_int_equal(cache_ttl(cache, BYTES("a"), &ttl_ns), CACHE_OK);
    assert_in_range(ttl_ns, 1, SECONDS(100));
    assert_int_equal(cache_ttl(cache, BYTES("b"), &ttl_ns), CACHE_NOT_FOUND);
    assert_int_equal(cache_expire(cache, BYTES("b"), SECONDS(9)), CACHE_NOT_FOUND);
    assert_int_equal(cache_expire(cache, BYTES("a"), SECONDS(1000)), CACHE_OK);
    cache_move_clock(cache, SECONDS(500));
    assert_text_at(&f, cache, "a", "1");
    cache_move_clock(cache, SECONDS(500));
    assert_int_equal(get_value(&f, cache, "a"), CACHE_NOT_FOUND);
    assert_int_equal(stats_of(cache).expired, 1);
    cache_move_clock(cache, SECONDS(1000000000));
    assert_text_at(&f, cache, "for ever", "1");
    assert_int_equal(stats_of(cache).entries, 1);
    close_cache(&f);
}

/* Somebody may have written anything where the clock's movement is kept. */
static void test_a_clock_that_is_anywhere(void **state)
{
    (void)state;
    struct fixture f;
    static const int64_t times[] = { INT64_MAX, INT64_MIN, INT64_MAX - 1, -SECONDS(1000000) };
    int64_t ttl_ns;
    open_cache(&f, SMALL, 100);
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        for (size_t n = 0; n < COUNT_OF(times); n++) {
            atomic_store(&f.cache.header->clock_moved_ns, (uint64_t)times[i]);
            assert_int_equal(put_text(&f.cache, CACHE_SET, "k", "x", times[(i + n) % 4]), CACHE_OK);
            atomic_store(&f.cache.header->clock_moved_ns, (uint64_t)times[n]);
            (void)cache_ttl(&f.cache, BYTES("k"), &ttl_ns);
            (void)cache_expire(&f.cache, BYTES("k"), times[i]);
            (void)get_value(&f, &f.cache, "k");
        }
    }
    assert_sound(&f.cache);
    close_cache(&f);
}

static void test_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    open_cache(&f, SMALL, 4);
    for (const char *key = "abcd"; *key; key++)
        assert_int_equal(set_text(cache, (char[]){ *key, 0 }, "x"), CACHE_OK);
    /* Used in the order a d b c; to look at an entry is no use of it. */
    (void)get_value(&f, cache, "a");
    (void)get_value(&f, cache, "d");
    assert_int_equal(set_text(cache, "b", "y"), CACHE_OK);
    (void)get_value(&f, cache, "c");
    assert_true(has(cache, "a"));
    assert_int_equal(cache_expire(cache, BYTES("a"), SECONDS(99)), CACHE_OK);
    static const char *const left[] = { "dbc1", "bc12", "c123", "1234" };
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        assert_int_equal(set_text(cache, (char[]){ (char)('1' + i), 0 }, "x"), CACHE_OK);
        for (const char *key = "abcd1234"; *key; key++)
            assert_int_equal(has(cache, (char[]){ *key, 0 }), strchr(left[i], *key) != NULL);
    }
    assert_int_equal(stats_of(cache).evictions, 4);
    assert_int_equal(stats_of(cache).entries, 4);
    close_cache(&f);
}

static void test_expired_goes_before_used(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    open_cache(&f, SMALL, 3);
    assert_int_equal(set_text(cache, "oldest", "x"), CACHE_OK);
    assert_int_equal(put_text(cache, CACHE_SET, "short", "x", SECONDS(1)), CACHE_OK);
    assert_int_equal(set_text(cache, "newest", "x"), CACHE_OK);
    (void)get_value(&f, cache, "short");
    cache_move_clock(cache, SECONDS(2));
    assert_int_equal(set_text(cache, "more", "x"), CACHE_OK);
    assert_true(has(cache, "oldest"));
    assert_int_equal(stats_of(cache).evictions, 0);
    assert_int_equal(stats_of(cache).expired, 1);
    assert_int_equal(set_text(cache, "still more", "x"), CACHE_OK);
    assert_false(has(cache, "oldest"));
    assert_int_equal(stats_of(cache).evictions, 1);
    close_cache(&f);
}

static void test_refusals_change_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    char key[CACHE_KEY_MAX + 1];
    double number;
    int64_t ttl_ns;
    enum cache_type type;
    open_cache(&f, SMALL, 50);
    memset(key, 'k', sizeof key);
    for (int i = 0; i < 50; i++)
        assert_int_equal(set_text(cache, (char[]){ (char)('0' + i), 0 }, "x"), CACHE_OK);
    size_t room = cache_room(cache);
    char *value = calloc(1, room + 1);
    assert_non_null(value);
    const struct slice most = { value, room - 1 }, too_much = { value, room }, long_key = { key, sizeof key };
    assert_int_equal(cache_put(cache, CACHE_SET, BYTES("0"), CACHE_STRING, too_much, SECONDS(9)),
                     CACHE_TOO_LARGE);
    assert_int_equal(cache_put(cache, CACHE_SET, BYTES("0"), CACHE_STRING,
                               (struct slice){ value, SIZE_MAX / 2 }, SECONDS(9)),
                     CACHE_TOO_LARGE);
    assert_int_equal(cache_put(cache, CACHE_SET, long_key, CACHE_STRING, BYTES("v"), SECONDS(9)),
                     CACHE_KEY_TOO_LONG);
    assert_int_equal(cache_increment(cache, long_key, 1, &(double){ 0 }, SECONDS(9), &number),
                     CACHE_KEY_TOO_LONG);
    assert_int_equal(cache_get(cache, long_key, &f.value, &type), CACHE_NOT_FOUND);
    assert_int_equal(cache_delete(cache, long_key), CACHE_NOT_FOUND);
    assert_int_equal(cache_ttl(cache, long_key, &ttl_ns), CACHE_NOT_FOUND);
    assert_int_equal(cache_expire(cache, long_key, SECONDS(9)), CACHE_NOT_FOUND);
    assert_int_equal(stats_of(cache).entries, 50);
    assert_int_equal(stats_of(cache).evictions, 0);
    assert_text_at(&f, cache, "0", "x");
    /* One byte less, and everything else goes for it. */
    assert_int_equal(cache_put(cache, CACHE_SET, BYTES("0"), CACHE_STRING, most, SECONDS(9)), CACHE_OK);
    assert_int_equal(stats_of(cache).entries, 1);
    assert_int_equal(stats_of(cache).bytes, stats_of(cache).capacity_bytes);
    assert_int_equal(cache_put(cache, CACHE_SET, (struct slice){ key, CACHE_KEY_MAX }, CACHE_STRING,
                               BYTES("v"), SECONDS(9)),
                     CACHE_OK);
    assert_false(has(cache, "0"));
    assert_sound(cache);
    free(value);
    close_cache(&f);
}

static void test_buffer_without_room(void **state)
{
    (void)state;
    struct fixture f;
    struct buffer small;
    enum cache_type type = CACHE_TABLE;
    size_t bytes = 0;
    char big[1000] = { 'b' };
    open_cache(&f, SMALL, 100);
    buffer_init(&small, 100);
    assert_true(buffer_append(&small, "before", 6));
    const struct slice value = { big, sizeof big };
    assert_int_equal(cache_put(&f.cache, CACHE_SET, BYTES("k"), CACHE_STRING, value, SECONDS(9)), CACHE_OK);
    assert_int_equal(cache_get(&f.cache, BYTES("k"), &small, &type), CACHE_NO_MEMORY);
    assert_int_equal(type, CACHE_TABLE);
    assert_int_equal(small.size, 6);
    assert_int_equal(cache_value_bytes(&f.cache, BYTES("k"), &bytes), CACHE_OK);
    assert_int_equal(bytes, sizeof big);
    assert_int_equal(cache_value_bytes(&f.cache, BYTES("none"), &bytes), CACHE_NOT_FOUND);
    assert_int_equal(stats_of(&f.cache).hits + stats_of(&f.cache).misses, 0);
    assert_int_equal(set_text(&f.cache, "k", "short"), CACHE_OK);
    assert_int_equal(cache_get(&f.cache, BYTES("k"), &small, &type), CACHE_OK);
    assert_bytes((struct slice){ small.data, small.size }, BYTES("beforeshort"));
    buffer_clear(&small);
    close_cache(&f);
}

/* Whatever sizes were there before: as long as enough bytes are free, there is room. */
static void test_no_fragmentation(void **state)
{
    (void)state;
    struct fixture f;
    struct random random = { 5 };
    char key[16];
    open_cache(&f, SMALL, 1000);
    size_t room = cache_room(&f.cache);
    char *value = calloc(1, room);
    assert_non_null(value);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 500; i++) {
            (void)snprintf(key, sizeof key, "%u", random_below(&random, 2000));
            const struct slice bytes = { value, random_below(&random, 1 + random_below(&random, 5000)) };
            assert_int_equal(cache_put(&f.cache, CACHE_SET, slice_of(key), CACHE_STRING, bytes, SECONDS(99)),
                             CACHE_OK);
        }
        for (int i = 0; i < 2000; i += 2) {
            (void)snprintf(key, sizeof key, "%d", i);
            (void)cache_delete(&f.cache, slice_of(key));
        }
        struct cache_stats before = stats_of(&f.cache);
        size_t units = (before.capacity_bytes - before.bytes) / CACHE_UNIT_BYTES;
        const struct slice bytes = { value, units < 2 ? 1 : (units - 1) * CACHE_BLOCK_WORDS * 8 };
        assert_int_equal(cache_put(&f.cache, CACHE_SET, BYTES("k"), CACHE_STRING, bytes, SECONDS(99)),
                         CACHE_OK);
        assert_int_equal(stats_of(&f.cache).evictions, before.evictions);
        assert_int_equal(cache_delete(&f.cache, BYTES("k")), CACHE_OK);
        assert_sound(&f.cache);
    }
    free(value);
    close_cache(&f);
}

static void test_a_million_keys(void **state)
{
    (void)state;
    struct fixture f;
    char key[16];
    open_cache(&f, (size_t)8 * MIB, 10000);
    struct stat about;
    assert_int_equal(fstat(f.fd, &about), 0);
    assert_true(about.st_size <= 8 * MIB);
    for (unsigned i = 0; i < 1000000; i++) {
        int size = snprintf(key, sizeof key, "%u", i);
        const struct slice name = { key, (size_t)size };
        assert_int_equal(cache_put(&f.cache, CACHE_SET, name, CACHE_STRING, name, SECONDS(99)), CACHE_OK);
        if (i % 1000 == 0)
            assert_in_range(stats_of(&f.cache).entries, 1, 10000);
    }
    assert_int_equal(stats_of(&f.cache).entries, 10000);
    assert_int_equal(stats_of(&f.cache).evictions, 990000);
    assert_in_range(stats_of(&f.cache).bytes, 10000 * CACHE_UNIT_BYTES, (size_t)8 * MIB);
    assert_sound(&f.cache);
    close_cache(&f);
}

static size_t list_keys(struct fixture *f, struct cache *cache, const char *prefix, size_t most)
{
    size_t count = 0;
    buffer_reset(&f->value);
    assert_int_equal(cache_keys(cache, slice_of(prefix), most, &f->value), CACHE_OK);
    for (size_t at = 0; at < f->value.size; count++) {
        uint16_t bytes;
        memcpy(&bytes, f->value.data + at, sizeof bytes);
        assert_memory_equal(f->value.data + at + sizeof bytes, prefix, strlen(prefix));
        at += sizeof bytes + bytes;
    }
    return count;
}

static void test_keys_and_clear(void **state)
{
    (void)state;
    struct fixture f;
    struct cache *cache = &f.cache;
    char key[32];
    open_cache(&f, (size_t)8 * MIB, 10000);
    for (int i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof key, "%s%d", i % 5 == 0 ? "five" : "other", i);
        assert_int_equal(put_text(cache, CACHE_SET, key, "x", SECONDS(i < 250 ? 1 : 9)), CACHE_OK);
    }
    assert_int_equal(list_keys(&f, cache, "", 1000), 500);
    assert_int_equal(list_keys(&f, cache, "five", 1000), 100);
    assert_int_equal(list_keys(&f, cache, "", 7), 7);
    assert_int_equal(list_keys(&f, cache, "", 0), 0);
    cache_move_clock(cache, SECONDS(2));
    assert_int_equal(list_keys(&f, cache, "five", 1000), 50);
    cache_clear(cache, BYTES("other"));
    assert_int_equal(list_keys(&f, cache, "", 1000), 50);
    cache_clear(cache, BYTES(""));
    assert_int_equal(list_keys(&f, cache, "", 1000), 0);
    assert_int_equal(stats_of(cache).entries, 0);
    assert_int_equal(stats_of(cache).bytes, 0);
    assert_int_equal(stats_of(cache).resets, 0);
    assert_sound(cache);
    close_cache(&f);
}

/* Spaces */

static struct cache open_space(struct cache *cache, const char *name, size_t entries)
{
    struct error error = { 0 };
    struct cache space;
    if (!cache_open_space(cache, slice_of(name), entries, &space, &error))
        fail_msg("%s", error.text);
    return space;
}

static void test_spaces_are_apart(void **state)
{
    (void)state;
    struct fixture f;
    open_cache(&f, (size_t)8 * MIB, 10000);
    struct cache one = open_space(&f.cache, "one", 0);
    struct cache two = open_space(&f.cache, "two", 0);
    struct cache again = open_space(&f.cache, "one", 0);
    assert_int_equal(set_text(&f.cache, "k", "none"), CACHE_OK);
    assert_int_equal(set_text(&one, "k", "one"), CACHE_OK);
    assert_int_equal(set_text(&two, "k", "two"), CACHE_OK);
    assert_int_equal(set_text(&two, "l", "two"), CACHE_OK);
    assert_text_at(&f, &f.cache, "k", "none");
    assert_text_at(&f, &again, "k", "one");
    assert_text_at(&f, &two, "k", "two");
    assert_int_equal(stats_of(&f.cache).entries, 4);
    assert_int_equal(stats_of(&one).entries, 1);
    assert_int_equal(stats_of(&two).entries, 2);
    assert_int_equal(list_keys(&f, &two, "", 9), 2);
    assert_int_equal(list_keys(&f, &f.cache, "", 9), 1);
    cache_clear(&two, BYTES(""));
    assert_false(has(&two, "k"));
    assert_true(has(&one, "k"));
    cache_clear(&f.cache, BYTES(""));
    assert_false(has(&f.cache, "k"));
    assert_true(has(&one, "k"));
    assert_int_equal(stats_of(&f.cache).resets, 0);
    assert_sound(&f.cache);
    close_cache(&f);
}

static void test_bound_of_a_space(void **state)
{
    (void)state;
    struct fixture f;
    char key[16];
    static const size_t bounds[] = { 1, 2, 100, 700, 3000 };
    open_cache(&f, (size_t)8 * MIB, 10000);
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        assert_int_equal(set_text(&f.cache, key, "x"), CACHE_OK);
    }
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        (void)snprintf(key, sizeof key, "space %zu", i);
        struct cache space = open_space(&f.cache, key, bounds[i]);
        assert_int_equal(stats_of(&space).capacity_entries, bounds[i]);
        for (int n = 0; n < 5000; n++) {
            (void)snprintf(key, sizeof key, "%d", n);
            assert_int_equal(set_text(&space, key, "x"), CACHE_OK);
            assert_in_range(stats_of(&space).entries, 1, bounds[i]);
            assert_true(has(&space, key));
        }
        assert_int_equal(stats_of(&space).entries, bounds[i]);
        cache_clear(&space, BYTES(""));
    }
    /* Full spaces took no room from others. */
    assert_int_equal(stats_of(&f.cache).entries, 1000);
    assert_sound(&f.cache);
    close_cache(&f);
}

static void test_another_bound_empties_a_space(void **state)
{
    (void)state;
    struct fixture f;
    open_cache(&f, SMALL, 100);
    struct cache space = open_space(&f.cache, "s", 10);
    assert_int_equal(set_text(&space, "k", "x"), CACHE_OK);
    assert_int_equal(set_text(&f.cache, "k", "x"), CACHE_OK);
    (void)open_space(&f.cache, "s", 10);
    assert_true(has(&space, "k"));
    struct cache larger = open_space(&f.cache, "s", 20);
    assert_false(has(&space, "k"));
    assert_int_equal(set_text(&space, "k", "x"), CACHE_OK);
    assert_true(has(&larger, "k"));
    assert_true(has(&f.cache, "k"));
    close_cache(&f);
}

static void test_names_of_spaces(void **state)
{
    (void)state;
    struct fixture f;
    struct error error = { 0 };
    struct cache space;
    char name[CACHE_SPACE_NAME_MAX + 1];
    memset(name, 'n', sizeof name);
    open_cache(&f, SMALL, 100);
    assert_false(cache_open_space(&f.cache, BYTES(""), 0, &space, &error));
    assert_false(cache_open_space(&f.cache, (struct slice){ name, sizeof name }, 0, &space, &error));
    assert_contains(error.text, "1 to 64 bytes");
    for (int i = 0; i < CACHE_SPACES_MAX; i++) {
        name[0] = (char)(' ' + i);
        assert_true(
            cache_open_space(&f.cache, (struct slice){ name, CACHE_SPACE_NAME_MAX }, 0, &space, &error));
        assert_int_equal(set_text(&space, "k", "x"), CACHE_OK);
    }
    assert_false(cache_open_space(&f.cache, BYTES("one more"), 0, &space, &error));
    assert_contains(error.text, "64 spaces");
    assert_true(cache_open_space(&f.cache, (struct slice){ name, CACHE_SPACE_NAME_MAX }, 0, &space, &error));
    assert_int_equal(stats_of(&f.cache).entries, CACHE_SPACES_MAX);
    close_cache(&f);
}

/* The region */

static void test_geometry(void **state)
{
    (void)state;
    static const struct {
        size_t memory;
        size_t entries;
        size_t capacity; /* in entries, at least; at most it is `entries` */
    } cases[] = { { (size_t)64 * 1024, 10000, 350 },   { (size_t)64 * 1024, 1, 1 },
                  { (size_t)1 * MIB, 10000, 6500 },    { (size_t)32 * MIB, 10000, 10000 },
                  { (size_t)32 * MIB, 10007, 10007 },  { (size_t)32 * MIB, 1, 1 },
                  { (size_t)32 * MIB, 1023, 1023 },    { (size_t)32 * MIB, 1000000, 200000 },
                  { (size_t)4096 * MIB, 10000, 10000 } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        struct stat about;
        open_cache(&f, cases[i].memory, cases[i].entries);
        struct cache_stats stats = stats_of(&f.cache);
        assert_in_range(stats.capacity_entries, cases[i].capacity, cases[i].entries);
        assert_int_equal(fstat(f.fd, &about), 0);
        assert_in_range(about.st_size, stats.capacity_bytes, cases[i].memory);
        assert_true(stats.capacity_bytes > cases[i].memory / 10 * 7);
        assert_int_equal(set_text(&f.cache, "k", "x"), CACHE_OK);
        assert_true((size_t)about.st_blocks * 512 < (size_t)16 * MIB);
        close_cache(&f);
    }
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    static const struct cache_config configs[] = {
        { 0, 100, 1 },
        { 4096, 100, 1 },
        { 1 << 20, 0, 1 },
        { 1 << 20, SIZE_MAX, 1 },
    };
    for (size_t i = 0; i < COUNT_OF(configs); i++) {
        struct cache cache;
        struct error error = { 0 };
        int fd = -1;
        assert_false(cache_create(&cache, &configs[i], &fd, &error));
        assert_contains(error.text, "cache");
        assert_int_equal(fd, -1);
        assert_null(cache.header);
    }
}

static void test_map_refuses_what_is_no_cache(void **state)
{
    (void)state;
    struct cache cache;
    struct error error = { 0 };
    struct random random = { 3 };
    assert_false(cache_map(&cache, -1, &error));
    struct fixture f;
    open_cache(&f, SMALL, 100);
    assert_true(cache_map(&cache, f.fd, &error));
    cache_unmap(&cache);
    uint32_t *geometry = (uint32_t *)(void *)&f.cache.header->geometry;
    for (int i = 0; i < 20000; i++) {
        struct cache_geometry keep = f.cache.header->geometry;
        geometry[random_below(&random, 4)] = (uint32_t)(random_next(&random) >> random_below(&random, 64));
        bool same = memcmp(&keep, geometry, sizeof keep) == 0;
        if (cache_map(&cache, f.fd, &error)) { /* another one that has the same size */
            assert_true(same || cache.geometry.units <= f.cache.geometry.units + 100);
            (void)get_value(&f, &cache, "k");
            cache_unmap(&cache);
        }
        f.cache.header->geometry = keep;
    }
    f.cache.header->magic++;
    assert_false(cache_map(&cache, f.fd, &error));
    assert_contains(error.text, "is no cache");
    close_cache(&f);
}

static void test_two_mappings_are_one_cache(void **state)
{
    (void)state;
    struct fixture f;
    struct error error = { 0 };
    struct cache other;
    open_cache(&f, SMALL, 100);
    assert_true(cache_map(&other, f.fd, &error));
    assert_int_equal(set_text(&f.cache, "k", "x"), CACHE_OK);
    assert_text_at(&f, &other, "k", "x");
    struct cache space = open_space(&other, "s", 5);
    assert_int_equal(set_text(&space, "k", "y"), CACHE_OK);
    struct cache same = open_space(&f.cache, "s", 5);
    assert_text_at(&f, &same, "k", "y");
    cache_move_clock(&other, SECONDS(4000));
    assert_false(has(&f.cache, "k"));
    cache_unmap(&other);
    close_cache(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_and_set),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_increment),
        cmocka_unit_test(test_ttl),
        cmocka_unit_test(test_a_clock_that_is_anywhere),
        cmocka_unit_test(test_least_recently_used_goes_first),
        cmocka_unit_test(test_expired_goes_before_used),
        cmocka_unit_test(test_refusals_change_nothing),
        cmocka_unit_test(test_buffer_without_room),
        cmocka_unit_test(test_no_fragmentation),
        cmocka_unit_test(test_a_million_keys),
        cmocka_unit_test(test_keys_and_clear),
        cmocka_unit_test(test_spaces_are_apart),
        cmocka_unit_test(test_bound_of_a_space),
        cmocka_unit_test(test_another_bound_empties_a_space),
        cmocka_unit_test(test_names_of_spaces),
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_map_refuses_what_is_no_cache),
        cmocka_unit_test(test_two_mappings_are_one_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
