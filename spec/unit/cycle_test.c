/* The end of a collector's cycle is noticed, whenever it comes; see worker/cycle.h. */
#include "worker/cycle.h"

#include "worker_fixture.h"

#include "worker/state.h"
#include "worker/wait.h"

#define MIB ((uint64_t)1024 * 1024)

struct subject {
    struct home home;
    struct assignment assignment;
    struct state state;
};

static void open_state(struct subject *subject)
{
    struct error error;
    if (!state_open(&subject->state, &subject->assignment, NULL, &error))
        fail_msg("%s", error.text);
}

static void open_subject(struct subject *subject)
{
    static struct cache cache;
    static struct waits waits;
    memset(subject, 0, sizeof *subject);
    subject->assignment = (struct assignment){
        .limits = { .memory_bytes = 64 * MIB, .message_bytes = MIB, .log_level = LOG_ERROR },
        .stack = stack_reserve(),
        .cache = &cache,
        .home = &subject->home,
        .waits = &waits,
    };
    home_init(&subject->home, HOME_BYTES);
    open_state(subject);
}

static void close_subject(struct subject *subject)
{
    state_close(&subject->state);
    home_clear(&subject->home);
}

/* Garbage, until a cycle has ended of itself; how many bytes of it there were. */
static uint64_t make_garbage(struct state *state)
{
    char text[1024];
    uint64_t made = 0;
    uint64_t ended = state->cycle.ended;
    for (unsigned i = 0; i < 100000 && state->cycle.ended == ended; i++) {
        (void)snprintf(text, sizeof text, "%0*u", (int)sizeof text - 1, i);
        lua_pushstring(state->lua, text);
        lua_pop(state->lua, 1);
        made += sizeof text;
    }
    return made;
}

static void test_cycles_are_noticed(void **state)
{
    (void)state;
    struct subject subject;
    open_subject(&subject);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(subject.state.cycle.ended, i);
        cycle_await(&subject.state);
        assert_true(subject.state.cycle.awaited);
        uint64_t before = state_heap_bytes(&subject.state);
        uint64_t made = make_garbage(&subject.state);
        assert_false(subject.state.cycle.awaited);
        assert_true(subject.state.quota.after_cycle < before + made);
    }
    close_subject(&subject);
}

/* A full collection is the end of a cycle, and leaves what lives. */
static void test_collections_are(void **state)
{
    (void)state;
    struct subject subject;
    open_subject(&subject);
    cycle_await(&subject.state);
    quota_collect(&subject.state.quota);
    assert_int_equal(subject.state.cycle.ended, 1);
    uint64_t lives = subject.state.quota.after_cycle;
    assert_in_range(lives, 1, state_heap_bytes(&subject.state));
    lua_createtable(subject.state.lua, 100000, 0);
    cycle_await(&subject.state);
    quota_collect(&subject.state.quota);
    assert_true(subject.state.quota.after_cycle >= lives + 100000 * sizeof(double));
    lua_pop(subject.state.lua, 1);
    close_subject(&subject);
}

static void test_nobody_awaits_it(void **state)
{
    (void)state;
    struct subject subject;
    open_subject(&subject);
    quota_collect(&subject.state.quota);
    assert_int_equal(subject.state.cycle.ended, 0);
    cycle_await(&subject.state);
    cycle_await(&subject.state); /* once is enough */
    uint64_t before = state_heap_bytes(&subject.state);
    cycle_await(&subject.state);
    assert_int_equal(state_heap_bytes(&subject.state), before);
    close_subject(&subject);
}

/* One that was awaited in the state before is none of this one's. */
static void test_each_state_has_its_own(void **state)
{
    (void)state;
    struct subject subject;
    open_subject(&subject);
    for (int i = 0; i < 3; i++) {
        cycle_await(&subject.state);
        state_close(&subject.state);
        open_state(&subject);
        assert_false(subject.state.cycle.awaited);
        assert_int_equal(subject.state.cycle.ended, 0);
        quota_collect(&subject.state.quota);
        assert_int_equal(subject.state.cycle.ended, 0);
    }
    cycle_await(&subject.state);
    quota_collect(&subject.state.quota);
    assert_int_equal(subject.state.cycle.ended, 1);
    close_subject(&subject);
}

/* What it takes is no reason to end a message: a state that is full has it, too. */
static void test_a_full_state(void **state)
{
    (void)state;
    struct subject subject;
    open_subject(&subject);
    subject.state.quota.limit = subject.state.quota.used;
    subject.state.quota.watch = 0;
    cycle_await(&subject.state);
    assert_int_equal(subject.state.trip.kind, TRIP_NONE);
    quota_collect(&subject.state.quota);
    assert_int_equal(subject.state.cycle.ended, 1);
    close_subject(&subject);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cycles_are_noticed), cmocka_unit_test(test_collections_are),
        cmocka_unit_test(test_nobody_awaits_it),   cmocka_unit_test(test_each_state_has_its_own),
        cmocka_unit_test(test_a_full_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
