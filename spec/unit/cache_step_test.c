/* A process that is killed at an instruction inside an operation, for every instruction: a child performs the
 * operation step by step, and after each step the region is copied and the copy is treated as the kernel
 * treats the region of a process that dies there (it opens the lock). What others then find must be the cache
 * as before, or as after, or an empty shard and a reset that was counted. */
#include "cache_fixture.h"

#include "common/cache_layout.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

enum { MEMORY = 64 * 1024, ENTRIES = 6, CHILD_FAILED = 3 };

/* Everything that can be asked for. */
struct view {
    char values[ENTRIES + 2][600];
    bool here[ENTRIES + 2];
    size_t entries;
};

struct operation_case {
    const char *name;
    enum cache_result (*perform)(struct cache *cache);
    bool evicts;   /* an entry may be gone and nothing else be done */
    bool harmless; /* no shard is ever emptied for it */
};

static char long_text[600];

static enum cache_result set_new(struct cache *cache)
{
    return set_text(cache, "6", "a value");
}

static enum cache_result set_same_size(struct cache *cache)
{
    return set_text(cache, "1", "another one");
}

static enum cache_result set_longer(struct cache *cache)
{
    return set_text(cache, "1", long_text);
}

static enum cache_result set_new_long(struct cache *cache)
{
    return set_text(cache, "6", long_text);
}

static enum cache_result set_shorter(struct cache *cache)
{
    return set_text(cache, "4", "short");
}

static enum cache_result increment(struct cache *cache)
{
    double number;
    return cache_increment(cache, BYTES("5"), 1, NULL, 0, &number);
}

static enum cache_result begin_number(struct cache *cache)
{
    double number;
    return cache_increment(cache, BYTES("6"), 1, &(double){ 7 }, SECONDS(9), &number);
}

static enum cache_result delete_one(struct cache *cache)
{
    return cache_delete(cache, BYTES("4"));
}

static enum cache_result expire(struct cache *cache)
{
    return cache_expire(cache, BYTES("2"), SECONDS(5));
}

static enum cache_result get(struct cache *cache)
{
    static char memory[1024];
    struct buffer value = { .data = memory, .capacity = sizeof memory, .limit = sizeof memory };
    enum cache_type type;
    return cache_get(cache, BYTES("4"), &value, &type);
}

static const struct operation_case operations[] = {
    { "get", get, false, true },
    { "set what was not there", set_new, true, false },
    { "set something of the same size", set_same_size, false, false },
    { "set something longer", set_longer, true, false },
    { "set something long that was not there", set_new_long, true, false },
    { "set something shorter", set_shorter, false, false },
    { "incr", increment, false, true },
    { "incr with init", begin_number, true, false },
    { "delete", delete_one, false, false },
    { "expire", expire, false, false },
};

/* Entries 0 to 5; the cache is full of them, and 3 and 4 are long. */
static void fill(struct cache *cache)
{
    double number;
    assert_int_equal(cache_increment(cache, BYTES("5"), 1, &(double){ 41 }, SECONDS(99), &number), CACHE_OK);
    assert_int_equal(set_text(cache, "0", "zero"), CACHE_OK);
    assert_int_equal(set_text(cache, "1", "one"), CACHE_OK);
    assert_int_equal(set_text(cache, "2", "two"), CACHE_OK);
    assert_int_equal(set_text(cache, "3", long_text), CACHE_OK);
    assert_int_equal(set_text(cache, "4", long_text + 100), CACHE_OK);
    (void)cache_delete(cache, BYTES("none"));
}

static void look(struct fixture *f, struct cache *cache, struct view *view)
{
    enum cache_type type;
    memset(view, 0, sizeof *view);
    for (int i = 0; i < ENTRIES + 2; i++) {
        buffer_reset(&f->value);
        view->here[i] =
            cache_get(cache, slice_of((char[]){ (char)('0' + i), 0 }), &f->value, &type) == CACHE_OK;
        assert_true(f->value.size <= sizeof view->values[i]);
        if (f->value.size > 0)
            memcpy(view->values[i], f->value.data, f->value.size);
    }
    view->entries = stats_of(cache).entries;
}

/* Whether all is as in one of the two, but for entries that gave way. */
static bool is_between(const struct view *now, const struct view *before, const struct view *after,
                       bool evicts)
{
    bool as_before = true, as_after = true;
    for (int i = 0; i < ENTRIES + 2; i++) {
        bool gone = evicts && !now->here[i] && before->here[i] && !after->here[i];
        as_before = as_before && (gone || (now->here[i] == before->here[i] &&
                                           memcmp(now->values[i], before->values[i], 600) == 0));
        as_after =
            as_after && now->here[i] == after->here[i] && memcmp(now->values[i], after->values[i], 600) == 0;
    }
    return as_before || as_after;
}

/* What the kernel does where the thread that dies has announced this lock. */
static void open_locks_of(struct cache *cache, pid_t dead)
{
    for (uint32_t i = 0; i < cache->geometry.shards; i++) {
        struct cache_lock *lock = &cache->process->shards[i].head->lock;
        uint32_t word = atomic_load(&lock->word);
        if ((word & FUTEX_TID_MASK) == (uint32_t)dead)
            atomic_store(&lock->word, (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    }
}

/* A lock that is held must be the one that the kernel is told of, or it would never be opened. */
static void check_announced(const struct cache *cache, pid_t child)
{
    const struct cache_process *process = cache->process;
    const struct cache_lock *lock = &process->shards[0].head->lock;
    if ((atomic_load(&lock->word) & FUTEX_TID_MASK) != (uint32_t)child)
        return;
    uintptr_t announced = (uintptr_t)ptrace(
        PTRACE_PEEKDATA, child,
        (char *)process->locker.robust + offsetof(struct robust_list_head, list_op_pending), NULL);
    assert_int_equal(announced + (uintptr_t)process->locker.robust->futex_offset, (uintptr_t)&lock->word);
}

static pid_t start_child(struct fixture *f, const struct operation_case *operation)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return child;
    /* The region stays where the parent has it, and so does the list that the kernel knows. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!locker_init(&f->cache.process->locker) || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(CHILD_FAILED);
    (void)raise(SIGSTOP);
    enum cache_result result = operation->perform(&f->cache);
    (void)raise(SIGSTOP);
    _exit(result == CACHE_OK ? 0 : CHILD_FAILED);
}

/* The child's next instruction; false when it stops for itself: the operation is over. */
static bool step_child(pid_t child)
{
    int status = 0;
    assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status));
    return WSTOPSIG(status) != SIGSTOP;
}

static void end_child(pid_t child)
{
    int status = 0;
    assert_int_equal(ptrace(PTRACE_CONT, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

struct scene {
    struct fixture live; /* the child's */
    struct fixture copy; /* what others find when it dies */
    struct view before;
    struct view after;
};

static void copy_region(struct scene *scene, pid_t child)
{
    memcpy(scene->copy.cache.header, scene->live.cache.header, scene->live.cache.size_bytes);
    open_locks_of(&scene->copy.cache, child);
}

static bool die_here(struct scene *scene, const struct operation_case *operation, pid_t child, unsigned steps)
{
    struct cache *cache = &scene->copy.cache;
    struct error error = { 0 };
    struct view now;
    copy_region(scene, child);
    check_announced(&scene->live.cache, child);
    if (!cache_check(cache, &error))
        fail_msg("%s, killed after %u instructions: %s", operation->name, steps, error.text);
    look(&scene->copy, cache, &now);
    uint64_t resets = stats_of(cache).resets;
    bool empty = now.entries == 0;
    if (resets > 1 || (resets == 1 && !empty))
        fail_msg("%s, killed after %u instructions: %zu entries after %zu resets", operation->name, steps,
                 now.entries, (size_t)resets);
    if (resets == 0 && !is_between(&now, &scene->before, &scene->after, operation->evicts))
        fail_msg("%s, killed after %u instructions: neither as before nor as after", operation->name, steps);
    assert_int_equal(set_text(cache, "7", "works"), CACHE_OK);
    assert_text_at(&scene->copy, cache, "7", "works");
    return resets > 0;
}

/* Both regions have the same seed, so that keys lie alike. */
static void prepare(struct scene *scene, const struct operation_case *operation)
{
    open_cache(&scene->live, MEMORY, ENTRIES);
    open_cache(&scene->copy, MEMORY, ENTRIES);
    memcpy(scene->copy.cache.process->seed, scene->live.cache.process->seed, sizeof(uint64_t[2]));
    fill(&scene->live.cache);
    copy_region(scene, 0);
    look(&scene->copy, &scene->copy.cache, &scene->before);
    copy_region(scene, 0);
    assert_int_equal(operation->perform(&scene->copy.cache), CACHE_OK);
    look(&scene->copy, &scene->copy.cache, &scene->after);
}

static void test_operation(const struct operation_case *operation)
{
    struct scene scene;
    int status = 0;
    prepare(&scene, operation);
    pid_t child = start_child(&scene.live, operation);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSTOPPED(status))
        fail_msg("this system lets no process be traced by its parent");
    unsigned steps = 0, resets = 0;
    while (step_child(child)) {
        steps++;
        resets += die_here(&scene, operation, child, steps);
    }
    end_child(child);
    copy_region(&scene, child);
    assert_int_equal(stats_of(&scene.copy.cache).resets, 0);
    assert_true(steps > 50);
    assert_true(operation->harmless ? resets == 0 : resets > 0);
    print_message("# %s: %u instructions, %u of them in a change\n", operation->name, steps, resets);
    close_cache(&scene.live);
    close_cache(&scene.copy);
}

static void test_killed_at_every_instruction(void **state)
{
    (void)state;
    memset(long_text, 'l', sizeof long_text - 1);
    for (size_t i = 0; i < COUNT_OF(operations); i++)
        test_operation(&operations[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_every_instruction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
