/* Four processes at one cache, killed at random instants and replaced, hundreds of times: the region passes
 * the integrity walk, every shard still works, bounds hold at any time, no value is torn, and no sum counts
 * what nobody added. And what a process finds whose neighbour was stopped, not killed. */
#include "cache_fixture.h"

#include "common/cache_layout.h"
#include "common/cache_shard.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { PROCESSES = 4, KILLS = 400, KEYS = 3000, VALUE_MAX = 6000, TORN = 3, SPACE_ENTRIES = 200 };

/* What the processes tell each other besides the cache. */
struct ledger {
    _Atomic uint64_t begun; /* additions to the sum */
    _Atomic uint64_t done;
    _Atomic uint64_t operations;
    _Atomic uint64_t seeds;
};

static struct ledger *ledger;

/* A worker */

/* Every value tells the key that it belongs to, and where it ends: 8 bytes, again and again. */
static size_t make_value(char *to, unsigned key, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t word = (uint64_t)key << 32 | words << 16 | (i & 0xffff);
        memcpy(to + i * sizeof word, &word, sizeof word);
    }
    return words * sizeof(uint64_t);
}

static bool is_whole(const struct buffer *value, unsigned key)
{
    static char wanted[VALUE_MAX];
    return value->size % sizeof(uint64_t) == 0 && value->size <= sizeof wanted &&
           make_value(wanted, key, value->size / sizeof(uint64_t)) == value->size &&
           (value->size == 0 || memcmp(wanted, value->data, value->size) == 0);
}

static void set_one(struct cache *cache, struct random *random, unsigned key, const char *name)
{
    static char value[VALUE_MAX];
    size_t words = random_below(random, random_one_in(random, 20) ? VALUE_MAX / 8 : 20);
    const struct slice bytes = { value, make_value(value, key, words) };
    int64_t ttl_ns = random_one_in(random, 4) ? (int64_t)random_below(random, 100000) : SECONDS(99);
    enum cache_mode mode = CACHE_SET + random_below(random, 3);
    (void)cache_put(cache, mode, slice_of(name), CACHE_STRING, bytes, ttl_ns);
}

static void get_one(struct cache *cache, struct buffer *value, unsigned key, const char *name)
{
    enum cache_type type;
    buffer_reset(value);
    if (cache_get(cache, slice_of(name), value, &type) == CACHE_OK && !is_whole(value, key))
        _exit(TORN);
}

static void add_one(struct cache *cache)
{
    double sum;
    (void)atomic_fetch_add(&ledger->begun, 1);
    enum cache_result result = cache_increment(cache, BYTES("sum"), 1, &(double){ 0 }, SECONDS(9999), &sum);
    if (result == CACHE_OK)
        (void)atomic_fetch_add(&ledger->done, 1);
    else if (result != CACHE_BUSY)
        _exit(TORN);
}

/* At the cache or at its space; the sum is kept in the cache. */
static void operate(struct cache *whole, struct cache *cache, struct random *random, struct buffer *value)
{
    char name[40];
    unsigned key = random_below(random, 1 + random_below(random, KEYS));
    (void)snprintf(name, sizeof name, key % 7 ? "%u" : "a key that takes more words %u", key);
    switch (random_below(random, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        get_one(cache, value, key, name);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        set_one(cache, random, key, name);
        break;
    case 8:
        (void)cache_delete(cache, slice_of(name));
        break;
    case 9:
        (void)cache_expire(cache, slice_of(name), (int64_t)random_below(random, 1000000000));
        break;
    default:
        add_one(whole);
    }
    if (random_one_in(random, 20000))
        cache_clear(cache, BYTES("2"));
    (void)atomic_fetch_add(&ledger->operations, 1);
}

static _Noreturn void work(int fd)
{
    struct error error;
    struct cache cache, space;
    struct buffer value;
    struct random random = { 77 + atomic_fetch_add(&ledger->seeds, 1) };
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    buffer_init(&value, VALUE_LIMIT);
    if (!cache_map(&cache, fd, &error) ||
        !cache_open_space(&cache, BYTES("space"), SPACE_ENTRIES, &space, &error))
        _exit(TORN);
    for (;;)
        operate(&cache, random_one_in(&random, 4) ? &space : &cache, &random, &value);
}

/* The one who kills */

static pid_t start(int fd)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        work(fd);
    return pid;
}

static void must_be_killed(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("a process ended with status %x: a value was torn, or it crashed", (unsigned)status);
}

static void check_bounds(struct cache *cache, struct cache *space)
{
    struct cache_stats stats = stats_of(cache);
    assert_in_range(stats.entries, 0, stats.capacity_entries);
    assert_in_range(stats.bytes, 0, stats.capacity_bytes);
    assert_in_range(stats_of(space).entries, 0, SPACE_ENTRIES);
}

/* One that was killed may have added without having said so; a shard that was emptied began again at 0. */
static void check_sum(struct cache *cache, uint64_t resets)
{
    double sum = 0;
    if (cache_increment(cache, BYTES("sum"), 0, NULL, 0, &sum) != CACHE_OK) {
        assert_true(resets > 0);
        return;
    }
    assert_true(sum == (double)(uint64_t)sum);
    assert_true(sum <= (double)atomic_load(&ledger->begun));
    if (resets == 0)
        assert_true(sum >= (double)atomic_load(&ledger->done));
}

static void wait_for_operations(uint64_t more)
{
    uint64_t until = atomic_load(&ledger->operations) + more;
    while (atomic_load(&ledger->operations) < until)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
}

static void kill_and_replace(struct fixture *f, struct cache *space, pid_t *workers, struct random *random)
{
    for (int i = 0; i < KILLS; i++) {
        pid_t *worker = &workers[random_below(random, PROCESSES)];
        wait_for_operations(random_below(random, 2000));
        (void)nanosleep(&(struct timespec){ .tv_nsec = random_below(random, 300000) }, NULL);
        assert_int_equal(kill(*worker, SIGKILL), 0);
        must_be_killed(*worker);
        *worker = start(f->fd);
        check_bounds(&f->cache, space);
        if (i % 10 == 0)
            assert_sound(&f->cache);
    }
}

/* Every shard takes, keeps and gives. */
static void must_work(struct fixture *f)
{
    struct cache *cache = &f->cache;
    char name[40];
    bool seen[CACHE_SHARDS_MAX] = { false };
    cache_clear(cache, BYTES(""));
    for (int i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof name, "after %d", i);
        assert_int_equal(set_text(cache, name, name), CACHE_OK);
        assert_text_at(f, cache, name, name);
    }
    for (uint32_t i = 0; i < cache->geometry.shards; i++)
        seen[i] = shard_entries(&cache->process->shards[i]) > 0;
    for (uint32_t i = 0; i < cache->geometry.shards; i++)
        assert_true(seen[i]);
}

static void test_killed_at_random(void **state)
{
    (void)state;
    struct fixture f;
    struct error error;
    struct cache space;
    struct random random = { 4711 };
    pid_t workers[PROCESSES];
    open_cache(&f, (size_t)1024 * 1024, 2048);
    assert_int_equal(f.cache.geometry.shards, 4);
    assert_true(cache_open_space(&f.cache, BYTES("space"), SPACE_ENTRIES, &space, &error));
    for (int i = 0; i < PROCESSES; i++)
        workers[i] = start(f.fd);
    kill_and_replace(&f, &space, workers, &random);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(kill(workers[i], SIGKILL), 0);
        must_be_killed(workers[i]);
    }
    assert_sound(&f.cache);
    struct cache_stats stats = stats_of(&f.cache);
    assert_true(stats.evictions > 0 && stats.expired > 0 && stats.hits > 0);
    assert_in_range(stats.resets, 0, KILLS + PROCESSES);
    check_sum(&f.cache, stats.resets);
    print_message("# %d kills, %zu operations, %zu shards emptied\n", KILLS + PROCESSES,
                  (size_t)atomic_load(&ledger->operations), (size_t)stats.resets);
    must_work(&f);
    assert_sound(&f.cache);
    close_cache(&f);
}

/* Sums of several processes, none of them killed, are exact. */
static void test_sums_are_exact(void **state)
{
    (void)state;
    enum { ADDITIONS = 20000 };
    struct fixture f;
    struct error error;
    double sum = 0;
    pid_t workers[PROCESSES];
    open_cache(&f, (size_t)1024 * 1024, 2048);
    for (int i = 0; i < PROCESSES; i++) {
        workers[i] = fork();
        assert_true(workers[i] >= 0);
        if (workers[i] > 0)
            continue;
        struct cache cache;
        bool done = cache_map(&cache, f.fd, &error);
        for (int n = 0; n < ADDITIONS && done; n++)
            done = cache_increment(&cache, BYTES("sum"), 1, &(double){ 0 }, SECONDS(999), &sum) == CACHE_OK;
        _exit(done ? 0 : TORN);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = 0;
        assert_int_equal(waitpid(workers[i], &status, 0), workers[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(cache_increment(&f.cache, BYTES("sum"), 0, NULL, 0, &sum), CACHE_OK);
    assert_true(sum == PROCESSES * ADDITIONS);
    close_cache(&f);
}

/* Only sums are added and nothing is evicted: whoever is killed, every addition that was answered is there.
 */
static void test_answered_sums_are_kept(void **state)
{
    (void)state;
    struct fixture f;
    struct error error;
    struct random random = { 99 };
    open_cache(&f, (size_t)1024 * 1024, 2048);
    double sum;
    assert_int_equal(cache_increment(&f.cache, BYTES("sum"), 0, &(double){ 0 }, SECONDS(9999), &sum),
                     CACHE_OK);
    atomic_store(&ledger->begun, 0);
    atomic_store(&ledger->done, 0);
    for (int i = 0; i < 100; i++) {
        uint64_t done = atomic_load(&ledger->done);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct cache cache;
            if (!cache_map(&cache, f.fd, &error))
                _exit(TORN);
            for (;;)
                add_one(&cache);
        }
        while (atomic_load(&ledger->done) < done + random_below(&random, 300))
            (void)nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        must_be_killed(pid);
        check_sum(&f.cache, 0);
    }
    assert_int_equal(stats_of(&f.cache).resets, 0);
    close_cache(&f);
}

/* A process stops inside an operation, with the shard's lock. */
static pid_t stop_inside(struct fixture *f, bool changing)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct error error;
        struct cache cache;
        if (!cache_map(&cache, f->fd, &error) || !shard_lock(&cache.process->shards[0]))
            _exit(TORN);
        if (changing)
            shard_begin_change(&cache.process->shards[0]);
        (void)raise(SIGSTOP);
        if (changing)
            shard_end_change(&cache.process->shards[0]);
        shard_unlock(&cache.process->shards[0]);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    return pid;
}

static void test_stopped_process(void **state)
{
    (void)state;
    struct fixture f;
    int status = 0;
    open_cache(&f, 128 * 1024, 100);
    assert_int_equal(set_text(&f.cache, "a", "x"), CACHE_OK);
    pid_t pid = stop_inside(&f, false);
    /* Who only reads is not held up. */
    assert_text_at(&f, &f.cache, "a", "x");
    assert_int_equal(set_text(&f.cache, "a", "y"), CACHE_BUSY);
    int64_t began_ns = clock_now_ns();
    for (int i = 0; i < 20; i++)
        assert_int_equal(set_text(&f.cache, "a", "y"), CACHE_BUSY);
    assert_true(clock_now_ns() - began_ns < SECONDS(10)); /* not a second for each */
    assert_text_at(&f, &f.cache, "a", "x");
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(set_text(&f.cache, "a", "z"), CACHE_OK);
    assert_text_at(&f, &f.cache, "a", "z");
    assert_int_equal(stats_of(&f.cache).resets, 0);
    close_cache(&f);
}

static void test_stopped_and_killed(void **state)
{
    (void)state;
    struct fixture f;
    open_cache(&f, 128 * 1024, 100);
    for (int changing = 0; changing < 2; changing++) {
        assert_int_equal(set_text(&f.cache, "a", "x"), CACHE_OK);
        pid_t pid = stop_inside(&f, changing);
        assert_int_equal(get_value(&f, &f.cache, "a"), changing ? CACHE_BUSY : CACHE_OK);
        assert_int_equal(kill(pid, SIGKILL), 0);
        must_be_killed(pid);
        assert_int_equal(get_value(&f, &f.cache, "a"), changing ? CACHE_NOT_FOUND : CACHE_OK);
        assert_int_equal(stats_of(&f.cache).resets, changing);
        assert_sound(&f.cache);
    }
    assert_int_equal(stats_of(&f.cache).entries, 0);
    close_cache(&f);
}

/* Who waits is woken by the death of the one it waits for. */
static void test_waiting_ends_with_the_owner(void **state)
{
    (void)state;
    struct fixture f;
    int status = 0;
    open_cache(&f, 128 * 1024, 100);
    struct cache_lock *lock = &f.cache.process->shards[0].head->lock;
    pid_t owner = stop_inside(&f, false);
    pid_t waiter = fork();
    assert_true(waiter >= 0);
    if (waiter == 0) {
        struct error error;
        struct cache cache;
        bool done = cache_map(&cache, f.fd, &error);
        for (int i = 0; i < 10 && done; i++) /* each waits for a second */
            if (set_text(&cache, "a", "x") == CACHE_OK)
                _exit(0);
        _exit(TORN);
    }
    while (!(atomic_load(&lock->word) & FUTEX_WAITERS))
        (void)nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    assert_int_equal(kill(owner, SIGKILL), 0);
    must_be_killed(owner);
    assert_int_equal(waitpid(waiter, &status, 0), waiter);
    assert_int_equal(status, 0);
    assert_text_at(&f, &f.cache, "a", "x");
    close_cache(&f);
}

static int make_ledger(void **state)
{
    (void)state;
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return ledger == MAP_FAILED ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_exact),
        cmocka_unit_test(test_answered_sums_are_kept),
        cmocka_unit_test(test_stopped_process),
        cmocka_unit_test(test_stopped_and_killed),
        cmocka_unit_test(test_waiting_ends_with_the_owner),
        cmocka_unit_test(test_killed_at_random),
    };
    return cmocka_run_group_tests(tests, make_ledger, NULL);
}
