/* A region that somebody writes into who should not: single words, whole shards, and all the time while it is
 * used. No operation crashes, hangs, or gives more than could be there; what was damaged is emptied and works
 * again. */
#include "cache_fixture.h"

#include "common/cache_blocks.h"
#include "common/cache_layout.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { KEYS = 300, MEMORY = 128 * 1024, ENTRIES = 200 };

/* Ends a test that hangs, also on a slow machine. */
enum { PATIENCE_SECONDS = 300 };

static void name_key(struct random *random, char name[static 40])
{
    unsigned key = random_below(random, KEYS);
    (void)snprintf(name, 40, key % 5 ? "%u" : "a key that takes several words %u", key);
}

static void operate(struct cache *cache, struct random *random, struct buffer *value)
{
    static char bytes[8192];
    char name[40];
    double number;
    int64_t ttl_ns;
    size_t size;
    enum cache_type type;
    const struct slice key = { name, 0 };
    name_key(random, name);
    const struct slice slice = { key.data, strlen(name) };
    buffer_reset(value);
    switch (random_below(random, 12)) {
    case 0:
        (void)cache_delete(cache, slice);
        break;
    case 1:
        (void)cache_expire(cache, slice, SECONDS(random_below(random, 100)));
        break;
    case 2:
        (void)cache_ttl(cache, slice, &ttl_ns);
        (void)cache_value_bytes(cache, slice, &size);
        break;
    case 3:
        (void)cache_increment(cache, slice, 1, &(double){ 0 }, SECONDS(99), &number);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        (void)cache_put(cache, CACHE_SET, slice, CACHE_STRING,
                        (struct slice){ bytes, random_below(random, 1 + random_below(random, sizeof bytes)) },
                        SECONDS(1 + random_below(random, 99)));
        break;
    default:
        (void)cache_get(cache, slice, value, &type);
    }
    assert_true(value->size <= MEMORY);
}

static void operate_on_all(struct cache *cache, struct random *random, struct buffer *value)
{
    struct error error;
    struct cache_stats stats;
    buffer_reset(value);
    (void)cache_keys(cache, BYTES(""), SIZE_MAX, value);
    cache_read_stats(cache, &stats);
    assert_in_range(stats.entries, 0, stats.capacity_entries);
    assert_in_range(stats.bytes, 0, stats.capacity_bytes);
    if (random_one_in(random, 2))
        cache_clear(cache, BYTES("1"));
    (void)cache_check(cache, &error);
}

/* Where the words are that numbers, sizes and counts lie in; the lock is left alone. */
static uint32_t *any_word(struct cache *cache, struct random *random)
{
    const struct shard *shard = &cache->process->shards[0];
    uint32_t *words = (uint32_t *)(void *)shard->head;
    char *end = (char *)cache->header + cache->size_bytes;
    size_t count = (size_t)(end - (char *)words) / sizeof *words;
    unsigned part = random_below(random, 4);
    if (part == 0) /* the head, the slots, some buckets */
        return words + 1 + random_below(random, 400);
    if (part == 1) /* the first words of a unit */
        return (uint32_t *)(void *)&shard->units[random_below(random, 250)] + random_below(random, 14);
    return words + 1 + random_next(random) % (count - 1);
}

static uint32_t any_value(struct random *random, uint32_t old)
{
    switch (random_below(random, 4)) {
    case 0:
        return old ^ (UINT32_C(1) << random_below(random, 32));
    case 1:
        return random_below(random, 250); /* a unit's number */
    case 2:
        return (uint32_t)random_next(random);
    default:
        return (uint32_t)-1 - random_below(random, 4);
    }
}

static void test_single_words(void **state)
{
    (void)state;
    struct fixture f;
    struct random random = { 1 };
    open_cache(&f, MEMORY, ENTRIES);
    for (int i = 0; i < 200000; i++) {
        operate(&f.cache, &random, &f.value);
        if (random_one_in(&random, 20)) {
            uint32_t *word = any_word(&f.cache, &random);
            *word = any_value(&random, *word);
        }
        if (random_one_in(&random, 500))
            operate_on_all(&f.cache, &random, &f.value);
    }
    assert_true(stats_of(&f.cache).resets > 100);
    close_cache(&f);
}

static void must_work_again(struct fixture *f)
{
    char name[16];
    struct error error;
    (void)cache_check(&f->cache, &error); /* finds the damage, and has it emptied */
    cache_clear(&f->cache, BYTES(""));
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        assert_int_equal(set_text(&f->cache, name, name), CACHE_OK);
        assert_text_at(f, &f->cache, name, name);
    }
    assert_sound(&f->cache);
    assert_int_equal(stats_of(&f->cache).entries, 100);
}

static void test_everything_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct random random = { 2 };
    open_cache(&f, MEMORY, ENTRIES);
    const struct shard *shard = &f.cache.process->shards[0];
    char *from = (char *)shard->head;
    size_t size = (size_t)((char *)f.cache.header + f.cache.size_bytes - from);
    for (int round = 0; round < 60; round++) {
        unsigned kind = random_below(&random, 3);
        for (size_t i = sizeof(struct cache_lock); i + 4 <= size; i += 4) {
            uint32_t value = kind == 0   ? (uint32_t)random_next(&random)
                             : kind == 1 ? 1 + random_below(&random, 250)
                                         : UINT32_MAX;
            memcpy(from + i, &value, sizeof value);
        }
        for (int i = 0; i < 50; i++)
            operate(&f.cache, &random, &f.value);
        operate_on_all(&f.cache, &random, &f.value);
        must_work_again(&f);
    }
    close_cache(&f);
}

/* A process that never stops writing nonsense; the lock is among it. */
static pid_t start_vandal(struct fixture *f)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct random random = { 3 };
    for (;;) {
        uint32_t *word = any_word(&f->cache, &random);
        atomic_store((_Atomic uint32_t *)word, any_value(&random, *word));
        if (random_one_in(&random, 100)) { /* knots: units that lead to themselves, and to each other */
            uint32_t number = random_below(&random, 100);
            cell_set(&f->cache.process->shards[0].units[number].entry.next, number + 1);
            cell_set(&f->cache.process->shards[0].units[number].entry.bucket_next, number);
        }
    }
}

static void test_while_it_is_used(void **state)
{
    (void)state;
    struct fixture f;
    struct random random = { 4 };
    open_cache(&f, MEMORY, ENTRIES);
    pid_t vandal = start_vandal(&f);
    for (int i = 0; i < 100000; i++) {
        operate(&f.cache, &random, &f.value);
        if (random_one_in(&random, 1000))
            operate_on_all(&f.cache, &random, &f.value);
    }
    assert_int_equal(kill(vandal, SIGKILL), 0);
    assert_int_equal(waitpid(vandal, NULL, 0), vandal);
    must_work_again(&f);
    close_cache(&f);
}

static void fill(struct fixture *f, uint32_t count)
{
    char name[16];
    cache_clear(&f->cache, BYTES(""));
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        (void)set_text(&f->cache, name, name);
    }
}

/* Between any two instructions of a check: */
static struct {
    cell *entries;
    volatile sig_atomic_t changes;
} changing;

static void on_timer(int number)
{
    (void)number;
    cell_set(changing.entries, changing.changes++ % 2 == 0 ? UINT32_MAX : ENTRIES);
}

/* The count of entries was read anew at each step, and led on behind the places. Found by chance, once in
 * some hundred runs of test_while_it_is_used. */
static void test_a_count_that_changes_while_it_is_checked(void **state)
{
    enum { CHANGES = 200, EVERY_US = 1000 };
    const struct sigaction action = { .sa_handler = on_timer, .sa_flags = SA_RESTART };
    const struct itimerval often = { { 0, EVERY_US }, { 0, EVERY_US } }, never = { { 0, 0 }, { 0, 0 } };
    struct sigaction before;
    struct fixture f;
    struct error error;
    (void)state;
    open_cache(&f, MEMORY, ENTRIES);
    fill(&f, ENTRIES);
    changing.entries = &f.cache.process->shards[0].head->entries;
    changing.changes = 0;
    assert_int_equal(sigaction(SIGVTALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_VIRTUAL, &often, NULL), 0);
    while (changing.changes < CHANGES) {
        if (!cache_check(&f.cache, &error))
            fill(&f, ENTRIES);
    }
    assert_int_equal(setitimer(ITIMER_VIRTUAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGVTALRM, &before, NULL), 0);
    must_work_again(&f);
    close_cache(&f);
}

/* An entry whose chain leads to a unit that was never taken into use: the walk took that for sound, and the
 * unit was then given to the next entry as well. Found by cache_fuzz. */
static void test_a_unit_beyond_those_in_use(void **state)
{
    (void)state;
    struct fixture f;
    struct error error;
    char value[100] = "";
    open_cache(&f, 64 * 1024, 16);
    struct shard *shard = &f.cache.process->shards[0];
    assert_int_equal(f.cache.geometry.shards, 1);
    const struct slice bytes = { value, sizeof value };
    assert_int_equal(cache_put(&f.cache, CACHE_SET, BYTES("a"), CACHE_STRING, bytes, SECONDS(9)), CACHE_OK);
    assert_sound(&f.cache);
    uint32_t fresh = cell_get(&shard->head->fresh);
    assert_true(fresh > 1);
    cell_set(&unit_entry(shard, 1)->next, fresh + 1);
    assert_false(cache_check(&f.cache, &error));
    assert_contains(error.text, "not yet in use");
    assert_int_equal(set_text(&f.cache, "b", "b"), CACHE_OK);
    assert_sound(&f.cache);
    close_cache(&f);
}

/* The header, which all shards share: names and bounds of spaces, the clock, the counts. */
static void test_header(void **state)
{
    (void)state;
    struct fixture f;
    struct random random = { 5 };
    struct error error;
    struct cache space;
    char name[16];
    open_cache(&f, (size_t)1024 * 1024, 3000);
    uint32_t *words = (uint32_t *)(void *)f.cache.header;
    for (int i = 0; i < 20000; i++) {
        size_t at = random_below(&random, sizeof(struct cache_header) / 4);
        if (words + at != (uint32_t *)(void *)&f.cache.header->spaces_lock)
            words[at] = any_value(&random, words[at]);
        (void)snprintf(name, sizeof name, "%u", random_below(&random, 80));
        if (cache_open_space(&f.cache, slice_of(name), random_below(&random, 2000), &space, &error)) {
            operate(&space, &random, &f.value);
            assert_in_range(stats_of(&space).capacity_entries, 0, 3000);
        }
        operate(&f.cache, &random, &f.value);
    }
    close_cache(&f);
}

static void test_own_name_in_the_lock(void **state)
{
    (void)state;
    struct fixture f;
    open_cache(&f, MEMORY, ENTRIES);
    struct cache_lock *lock = &f.cache.process->shards[0].head->lock;
    atomic_store(&lock->word, f.cache.process->locker.thread_id);
    assert_int_equal(set_text(&f.cache, "a", "x"), CACHE_OK);
    assert_int_equal(atomic_load(&lock->word), 0);
    close_cache(&f);
}

/* Names of nobody are cleared away by the host, those of its children are not. */
static void test_tending(void **state)
{
    (void)state;
    struct fixture f;
    struct error error;
    struct cache space;
    open_cache(&f, (size_t)1024 * 1024, 4096);
    struct cache_lock *locks[] = { &f.cache.process->shards[0].head->lock,
                                   &f.cache.process->shards[3].head->lock, &f.cache.header->spaces_lock };
    const uint32_t nobody[] = { 1, FUTEX_TID_MASK, FUTEX_TID_MASK | FUTEX_WAITERS, (uint32_t)getppid(),
                                (uint32_t)getpid() };
    for (size_t i = 0; i < COUNT_OF(nobody); i++) {
        for (size_t n = 0; n < COUNT_OF(locks); n++)
            atomic_store(&locks[n]->word, nobody[i]);
        cache_tend(&f.cache);
        for (size_t n = 0; n < COUNT_OF(locks); n++)
            assert_int_equal(atomic_load(&locks[n]->word), 0);
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)pause();
    }
    atomic_store(&locks[0]->word, (uint32_t)child);
    cache_tend(&f.cache);
    assert_int_equal(atomic_load(&locks[0]->word), (uint32_t)child);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    cache_tend(&f.cache);
    assert_int_equal(atomic_load(&locks[0]->word), 0);
    assert_true(cache_open_space(&f.cache, BYTES("s"), 0, &space, &error));
    close_cache(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_words),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_while_it_is_used),
        cmocka_unit_test(test_a_count_that_changes_while_it_is_checked),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_own_name_in_the_lock),
        cmocka_unit_test(test_tending),
        cmocka_unit_test(test_a_unit_beyond_those_in_use),
    };
    (void)alarm(PATIENCE_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
