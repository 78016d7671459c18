/* The set of objects that a walk has found; see worker/heap_seen.h. */
#include "worker/heap_seen.h"

#include "tools.h"

static const void *object(size_t number)
{
    return (const void *)(uintptr_t)(0x7f0000000000 + number * 16); /* NOLINT(performance-no-int-to-ptr) */
}

static void each_is_new_once(void **context)
{
    enum { OBJECTS = 50000 };
    struct heap_seen seen;
    (void)context;
    heap_seen_init(&seen, OBJECTS);
    assert_false(heap_seen_has(&seen, object(1)));
    for (size_t i = 1; i <= OBJECTS; i++) {
        assert_int_equal(heap_seen_add(&seen, object(i)), HEAP_NEW);
        assert_int_equal(heap_seen_add(&seen, object(i / 2 + 1)), HEAP_KNOWN);
        assert_true(heap_seen_has(&seen, object(i)));
        assert_false(heap_seen_has(&seen, object(i + 1)));
    }
    assert_int_equal(seen.count, OBJECTS);
    heap_seen_clear(&seen);
}

static void there_is_a_bound(void **context)
{
    struct heap_seen seen;
    (void)context;
    heap_seen_init(&seen, 100);
    for (size_t i = 1; i <= 100; i++)
        assert_int_equal(heap_seen_add(&seen, object(i)), HEAP_NEW);
    assert_int_equal(heap_seen_add(&seen, object(101)), HEAP_FULL);
    assert_int_equal(heap_seen_add(&seen, object(100)), HEAP_KNOWN);
    heap_seen_clear(&seen);
}

static void what_was_large_is_given_back(void **context)
{
    struct heap_seen seen;
    (void)context;
    heap_seen_init(&seen, SIZE_MAX);
    assert_int_equal(heap_seen_add(&seen, object(1)), HEAP_NEW);
    size_t small = seen.capacity;
    heap_seen_reset(&seen);
    assert_int_equal(seen.capacity, small);
    assert_false(heap_seen_has(&seen, object(1)));
    for (size_t i = 1; i <= small; i++)
        (void)heap_seen_add(&seen, object(i));
    assert_true(seen.capacity > small);
    heap_seen_reset(&seen);
    assert_int_equal(seen.capacity, 0);
    assert_int_equal(heap_seen_add(&seen, object(1)), HEAP_NEW);
    heap_seen_clear(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_new_once),
        cmocka_unit_test(there_is_a_bound),
        cmocka_unit_test(what_was_large_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
