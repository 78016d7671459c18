/* The cache against a plain model of what cache.h promises: random operations, the same in both, with the
 * clock moved, and after each the same answer; now and then the same entries, bytes and counts, and the
 * integrity walk.
 *
 * The model divides keys among shards as the cache does (that is the one thing it asks of it); everything
 * else in it is a table that is searched from end to end. Times in it are steps of STEP_NS, far longer than
 * the test runs; each ttl ends between two steps, a nanosecond later than the one before, so that no two
 * entries expire together. */
#include "cache_fixture.h"

#include "common/cache_blocks.h"
#include "common/cache_space.h"
#include "common/siphash.h"

#include <stdio.h>

enum { KEYS = 1600, SPACES = 4, SPACE_ENTRIES = 24, LONG_KEY_EVERY = 37, VALUE_MAX = 512 * 1024 };

#define STEP_NS SECONDS(100000)

struct model_entry {
    bool here;
    bool number;
    uint32_t slot;
    uint32_t shard;
    uint32_t units;
    size_t value_bytes;
    uint64_t value; /* what it was made of, or the number */
    uint64_t used;
    int64_t expires_ns;
};

struct model {
    struct fixture fixture;
    struct cache spaces[SPACES]; /* the first is the cache itself */
    size_t space_entries[SPACES];
    struct model_entry entries[SPACES][KEYS];
    char keys[KEYS][200];
    unsigned key_count;
    struct random random;
    uint64_t uses;
    int64_t moved_ns;
    uint32_t units_max;
    uint32_t entries_max[CACHE_SHARDS_MAX];
    uint32_t entries_in[CACHE_SHARDS_MAX];
    uint32_t units_in[CACHE_SHARDS_MAX];
    uint32_t added_in[CACHE_SHARDS_MAX];  /* since the period began, */
    uint64_t period_of[CACHE_SHARDS_MAX]; /* with this use */
    uint64_t passed_over;                 /* uses that did not count */
    struct cache_stats counts;
    char value[VALUE_MAX];
};

/* The model */

static bool is_expired(const struct model *model, const struct model_entry *entry)
{
    return entry->expires_ns <= model->moved_ns;
}

static void forget(struct model *model, struct model_entry *entry)
{
    entry->here = false;
    model->entries_in[entry->shard]--;
    model->units_in[entry->shard] -= entry->units;
    model->counts.entries--;
    model->counts.bytes -= (uint64_t)entry->units * CACHE_UNIT_BYTES;
}

static struct model_entry *find(struct model *model, unsigned space, unsigned key)
{
    struct model_entry *entry = &model->entries[space][key];
    if (!entry->here)
        return NULL;
    if (!is_expired(model, entry))
        return entry;
    model->counts.expired++;
    forget(model, entry);
    return NULL;
}

/* Of one shard, and of one space where `space` says so. */
static struct model_entry *search(struct model *model, uint32_t shard, int space, bool by_expiry)
{
    struct model_entry *first = NULL;
    for (int i = 0; i < SPACES; i++) {
        for (unsigned key = 0; key < model->key_count && (space < 0 || space == i); key++) {
            struct model_entry *entry = &model->entries[i][key];
            if (!entry->here || entry->shard != shard)
                continue;
            if (!first || (by_expiry ? entry->expires_ns < first->expires_ns : entry->used < first->used))
                first = entry;
        }
    }
    return first;
}

static uint32_t entries_of(const struct model *model, unsigned space, uint32_t shard)
{
    uint32_t count = 0;
    for (unsigned key = 0; key < model->key_count; key++)
        count += model->entries[space][key].here && model->entries[space][key].shard == shard;
    return count;
}

static struct space_place place_of(struct model *model, unsigned space, unsigned key)
{
    struct cache *cache = &model->spaces[space];
    const uint64_t seed[2] = { cache->process->seed[0] ^ cache->slot, cache->process->seed[1] };
    return space_place_of(cache, (uint32_t)model->space_entries[space],
                          siphash(seed, slice_of(model->keys[key])));
}

/* In a period, in which a 64th of the entries is added, only the first use of an entry counts; but each where
 * there are few, or in a space that may have fewer than there are. */
static void use(struct model *model, struct model_entry *entry, struct space_place place)
{
    uint32_t entries = model->entries_in[place.shard];
    bool many = entries > 64 && entries <= place.entries_max;
    model->uses++;
    if (many && entry->used >= model->period_of[place.shard])
        model->passed_over++;
    else
        entry->used = model->uses;
}

static void count_added(struct model *model, uint32_t shard, uint64_t use)
{
    if (++model->added_in[shard] < model->entries_in[shard] / 64)
        return;
    model->added_in[shard] = 0;
    model->period_of[shard] = use;
}

static void make_room(struct model *model, unsigned space, struct space_place place, bool entry,
                      uint32_t units)
{
    for (;;) {
        bool space_full = entry && space > 0 && entries_of(model, space, place.shard) >= place.entries_max;
        bool full = entry && model->entries_in[place.shard] >= model->entries_max[place.shard];
        if (!space_full && !full && model->units_in[place.shard] + units <= model->units_max)
            return;
        struct model_entry *first = search(model, place.shard, -1, true);
        assert_non_null(first);
        if (is_expired(model, first)) {
            model->counts.expired++;
        } else {
            first = search(model, place.shard, space_full ? (int)space : -1, false);
            model->counts.evictions++;
        }
        forget(model, first);
    }
}

static void keep(struct model *model, unsigned space, unsigned key, struct model_entry wanted)
{
    struct model_entry *entry = &model->entries[space][key];
    struct space_place place = place_of(model, space, key);
    wanted.shard = place.shard;
    wanted.here = true;
    if (entry->here) {
        use(model, entry, place);
        if (wanted.units > entry->units) { /* it is not to go itself */
            entry->used = model->uses;
            make_room(model, space, place, false, wanted.units - entry->units);
        }
        assert_true(entry->here);
        wanted.used = entry->used;
        forget(model, entry);
    } else {
        wanted.used = ++model->uses;
        make_room(model, space, place, true, wanted.units);
        count_added(model, place.shard, wanted.used);
    }
    *entry = wanted;
    model->entries_in[place.shard]++;
    model->units_in[place.shard] += wanted.units;
    model->counts.entries++;
    model->counts.bytes += (uint64_t)wanted.units * CACHE_UNIT_BYTES;
}

/* Operations on both */

static const char *value_of(struct model *model, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += sizeof value) {
        uint64_t word = (value + i) * UINT64_C(0x9e3779b97f4a7c15);
        memcpy(model->value + i, &word, sizeof word);
    }
    return model->value;
}

static int64_t random_ttl(struct model *model)
{
    static int64_t unique_ns;
    return (int64_t)(1 + random_below(&model->random, 8)) * STEP_NS - STEP_NS / 2 + ++unique_ns;
}

static size_t random_size(struct model *model)
{
    unsigned kind = random_below(&model->random, 100);
    if (kind < 60)
        return random_below(&model->random, 80);
    if (kind < 95)
        return random_below(&model->random, 600);
    return random_below(&model->random, kind < 99 ? 4000 : (model->units_max + 8) * CACHE_UNIT_BYTES);
}

static void do_get(struct model *model, unsigned space, unsigned key)
{
    enum cache_type type = 0;
    struct buffer *value = &model->fixture.value;
    const struct slice name = slice_of(model->keys[key]);
    buffer_reset(value);
    enum cache_result result = cache_get(&model->spaces[space], name, value, &type);
    struct model_entry *entry = find(model, space, key);
    if (!entry) {
        model->counts.misses++;
        assert_int_equal(result, CACHE_NOT_FOUND);
        assert_int_equal(value->size, 0);
        return;
    }
    model->counts.hits++;
    use(model, entry, place_of(model, space, key));
    assert_int_equal(result, CACHE_OK);
    assert_int_equal(type, entry->number ? CACHE_NUMBER : CACHE_STRING);
    assert_int_equal(value->size, entry->value_bytes);
    const double number = (double)entry->value;
    if (entry->number)
        assert_memory_equal(value->data, &number, sizeof number);
    else if (value->size > 0)
        assert_memory_equal(value->data, value_of(model, entry->value, entry->value_bytes), value->size);
}

static void do_put(struct model *model, unsigned space, unsigned key)
{
    enum cache_mode mode = CACHE_SET + random_below(&model->random, 3);
    const struct slice name = slice_of(model->keys[key]);
    struct model_entry wanted = { .slot = space, .value_bytes = random_size(model), .value = ++model->uses };
    int64_t ttl_ns = random_ttl(model);
    const struct slice value = { value_of(model, wanted.value, wanted.value_bytes), wanted.value_bytes };
    wanted.units = units_for(name.size, value.size);
    wanted.expires_ns = model->moved_ns + ttl_ns;
    enum cache_result result = cache_put(&model->spaces[space], mode, name, CACHE_STRING, value, ttl_ns);
    if (name.size + value.size > cache_room(&model->spaces[space])) {
        assert_int_equal(result, CACHE_TOO_LARGE);
        return;
    }
    const struct model_entry *entry = find(model, space, key);
    if (mode == CACHE_ADD && entry) {
        assert_int_equal(result, CACHE_EXISTS);
    } else if (mode == CACHE_REPLACE && !entry) {
        assert_int_equal(result, CACHE_NOT_FOUND);
    } else {
        assert_int_equal(result, CACHE_OK);
        keep(model, space, key, wanted);
    }
}

static void do_increment(struct model *model, unsigned space, unsigned key)
{
    const double init = (double)random_below(&model->random, 100);
    bool begins = random_one_in(&model->random, 2);
    const struct slice name = slice_of(model->keys[key]);
    double number = -1;
    int64_t ttl_ns = random_ttl(model);
    enum cache_result result =
        cache_increment(&model->spaces[space], name, 3, begins ? &init : NULL, ttl_ns, &number);
    struct model_entry *entry = find(model, space, key);
    if (entry && !entry->number) {
        assert_int_equal(result, CACHE_NOT_A_NUMBER);
    } else if (entry) {
        entry->value += 3;
        use(model, entry, place_of(model, space, key));
        assert_int_equal(result, CACHE_OK);
        assert_true(number == (double)entry->value);
    } else if (!begins) {
        assert_int_equal(result, CACHE_NOT_FOUND);
    } else {
        assert_int_equal(result, CACHE_OK);
        assert_true(number == init + 3);
        keep(model, space, key,
             (struct model_entry){ .number = true,
                                   .slot = space,
                                   .units = units_for(name.size, sizeof number),
                                   .value_bytes = sizeof number,
                                   .value = (uint64_t)number,
                                   .expires_ns = model->moved_ns + ttl_ns });
    }
}

static void do_delete(struct model *model, unsigned space, unsigned key)
{
    enum cache_result result = cache_delete(&model->spaces[space], slice_of(model->keys[key]));
    struct model_entry *entry = find(model, space, key);
    assert_int_equal(result, entry ? CACHE_OK : CACHE_NOT_FOUND);
    if (entry)
        forget(model, entry);
}

static void do_ttl(struct model *model, unsigned space, unsigned key)
{
    int64_t ttl_ns = -1;
    enum cache_result result = cache_ttl(&model->spaces[space], slice_of(model->keys[key]), &ttl_ns);
    const struct model_entry *entry = find(model, space, key);
    assert_int_equal(result, entry ? CACHE_OK : CACHE_NOT_FOUND);
    if (entry) /* what the test has taken so far lies between the two */
        assert_in_range(entry->expires_ns - model->moved_ns - ttl_ns, 0, STEP_NS / 2);
    assert_int_equal(cache_has(&model->spaces[space], slice_of(model->keys[key])), result);
}

static void do_expire(struct model *model, unsigned space, unsigned key)
{
    int64_t ttl_ns = random_ttl(model);
    enum cache_result result = cache_expire(&model->spaces[space], slice_of(model->keys[key]), ttl_ns);
    struct model_entry *entry = find(model, space, key);
    assert_int_equal(result, entry ? CACHE_OK : CACHE_NOT_FOUND);
    if (entry)
        entry->expires_ns = model->moved_ns + ttl_ns;
}

static void do_clear(struct model *model, unsigned space)
{
    const struct slice prefix = random_one_in(&model->random, 2) ? BYTES("1") : BYTES("");
    cache_clear(&model->spaces[space], prefix);
    for (unsigned key = 0; key < model->key_count; key++) {
        struct model_entry *entry = &model->entries[space][key];
        if (entry->here && memcmp(model->keys[key], prefix.data, prefix.size) == 0)
            forget(model, entry);
    }
}

static void do_move(struct model *model)
{
    int64_t by_ns = (int64_t)random_below(&model->random, 3) * STEP_NS;
    cache_move_clock(&model->fixture.cache, by_ns);
    model->moved_ns += by_ns;
}

/* Comparing */

static void compare_stats(struct model *model)
{
    struct cache_stats stats = stats_of(&model->fixture.cache);
    assert_int_equal(stats.entries, model->counts.entries);
    assert_int_equal(stats.bytes, model->counts.bytes);
    assert_int_equal(stats.hits, model->counts.hits);
    assert_int_equal(stats.misses, model->counts.misses);
    assert_int_equal(stats.evictions, model->counts.evictions);
    assert_int_equal(stats.expired, model->counts.expired);
    assert_int_equal(stats.resets, 0);
    assert_in_range(stats.bytes, 0, stats.capacity_bytes);
    assert_in_range(stats.entries, 0, stats.capacity_entries);
    for (unsigned space = 1; space < SPACES; space++) {
        stats = stats_of(&model->spaces[space]);
        assert_true(model->space_entries[space] == 0 || stats.entries <= model->space_entries[space]);
    }
}

static void compare_keys(struct model *model, unsigned space)
{
    struct buffer *keys = &model->fixture.value;
    size_t count = 0, listed = 0;
    buffer_reset(keys);
    assert_int_equal(cache_keys(&model->spaces[space], BYTES(""), SIZE_MAX, keys), CACHE_OK);
    for (unsigned key = 0; key < model->key_count; key++)
        count += model->entries[space][key].here && !is_expired(model, &model->entries[space][key]);
    for (size_t at = 0; at < keys->size; listed++) {
        uint16_t bytes;
        memcpy(&bytes, keys->data + at, sizeof bytes);
        at += sizeof bytes + bytes;
    }
    assert_int_equal(listed, count);
}

static void step(struct model *model)
{
    unsigned space = random_one_in(&model->random, 3) ? random_below(&model->random, SPACES) : 0;
    /* Some keys come more often than others. */
    unsigned key = random_below(&model->random, 1 + random_below(&model->random, model->key_count));
    unsigned kind = random_below(&model->random, 1000);
    if (kind < 400)
        do_get(model, space, key);
    else if (kind < 750)
        do_put(model, space, key);
    else if (kind < 850)
        do_increment(model, space, key);
    else if (kind < 900)
        do_delete(model, space, key);
    else if (kind < 940)
        do_ttl(model, space, key);
    else if (kind < 990)
        do_expire(model, space, key);
    else if (kind < 999)
        do_move(model);
    else
        compare_stats(model);
}

static void prepare(struct model *model, size_t memory_bytes, size_t entries, unsigned key_count)
{
    struct error error = { 0 };
    static const char *const names[SPACES] = { NULL, "tokens", "seen", "all" };
    open_cache(&model->fixture, memory_bytes, entries);
    const struct cache *cache = &model->fixture.cache;
    model->key_count = key_count;
    model->units_max = cache->geometry.units;
    for (uint32_t i = 0; i < cache->geometry.shards; i++)
        model->entries_max[i] = cache->process->shards[i].entries_max;
    for (unsigned i = 0; i < key_count; i++)
        (void)snprintf(model->keys[i], sizeof model->keys[i], "%u%s", i,
                       i % LONG_KEY_EVERY ? ""
                                          : ", a key that does not fit into the first unit of an entry, "
                                            "and whose value begins in the second one");
    model->spaces[0] = model->fixture.cache;
    for (unsigned i = 1; i < SPACES; i++) {
        model->space_entries[i] = i == SPACES - 1 ? 0 : SPACE_ENTRIES * i;
        assert_true(cache_open_space(&model->fixture.cache, slice_of(names[i]), model->space_entries[i],
                                     &model->spaces[i], &error));
    }
}

static void run(uint64_t seed, size_t memory_bytes, size_t entries, unsigned key_count, unsigned operations)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->random.state = seed;
    prepare(model, memory_bytes, entries, key_count);
    for (unsigned i = 1; i <= operations; i++) {
        step(model);
        if (i % (operations / 100) == 0) {
            compare_stats(model);
            compare_keys(model, random_below(&model->random, SPACES));
            assert_sound(&model->fixture.cache);
        }
        if (i % (operations / 20) == 0)
            do_clear(model, random_below(&model->random, SPACES));
    }
    assert_true(model->counts.evictions > operations / 100);
    assert_true(model->counts.expired > operations / 100);
    assert_true(model->passed_over > operations / 1000);
    close_cache(&model->fixture);
    free(model);
}

static void test_bound_by_entries(void **state)
{
    (void)state;
    run(11, (size_t)256 * 1024, 80, 400, 400000);
}

static void test_bound_by_bytes(void **state)
{
    (void)state;
    run(12, (size_t)96 * 1024, 1000, 400, 400000);
}

static void test_several_shards(void **state)
{
    (void)state;
    run(13, (size_t)512 * 1024, 1025, KEYS, 250000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_by_entries),
        cmocka_unit_test(test_bound_by_bytes),
        cmocka_unit_test(test_several_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
