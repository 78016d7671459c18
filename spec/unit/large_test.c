/* Large blocks in pages of their own: see worker/large.h. */
#include "worker/large.h"

#include "common/untouchable.h"
#include "tools.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCKS = 5, PAGE = 4096 };

static bool is_mapped(void *block)
{
    return msync((char *)block - (uintptr_t)block % PAGE, PAGE, MS_ASYNC) == 0 || errno != ENOMEM;
}

static void test_blocks_keep_what_is_in_them(void **state)
{
    (void)state;
    struct large large = { 0 };
    char *block = large_take(&large, LARGE_BYTES);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 16, 0);
    memset(block, 'a', LARGE_BYTES);
    block = large_resize(&large, block, (size_t)LARGE_BYTES * 40);
    assert_non_null(block);
    block[(size_t)LARGE_BYTES * 40 - 1] = 'b';
    block = large_resize(&large, block, LARGE_BYTES + 1);
    for (int i = 0; i < LARGE_BYTES; i++)
        assert_int_equal(block[i], 'a');
    large_clear(&large);
    assert_false(is_mapped(block));
}

/* Whichever goes first, the others are given back in the end. */
static void test_all_go(void **state)
{
    (void)state;
    for (int first = 0; first < BLOCKS; first++) {
        struct large large = { 0 };
        void *blocks[BLOCKS];
        for (int i = 0; i < BLOCKS; i++)
            blocks[i] = large_take(&large, LARGE_BYTES + (size_t)i * PAGE);
        blocks[2] = large_resize(&large, blocks[2], (size_t)LARGE_BYTES * 20);
        large_give_back(&large, blocks[first]);
        large_clear(&large);
        assert_null(large.first);
        assert_null(large.spare);
        for (int i = 0; i < BLOCKS; i++)
            assert_false(is_mapped(blocks[i]));
    }
}

/* What was given back is the next block, cut where it is too large, and longer where it is too small. */
static void test_what_waits_is_taken_first(void **state)
{
    static const size_t sizes[] = { LARGE_BYTES, LARGE_BYTES - PAGE, LARGE_BYTES / 2, LARGE_BYTES * 5 };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct large large = { 0 };
        char *block = large_take(&large, LARGE_BYTES);
        memset(block, 'a', LARGE_BYTES);
        large_give_back(&large, block);
        assert_true(is_mapped(block));
        assert_int_equal(untouchable_is(block + LARGE_BYTES - 1), UNTOUCHABLE_IS_CHECKED);
        assert_true(large.spare_bytes >= LARGE_BYTES);
        char *again = large_take(&large, sizes[i]);
        assert_non_null(again);
        assert_int_equal(again[LARGE_BYTES / 2 - 1], 'a');
        assert_null(large.spare);
        assert_int_equal(large.spare_bytes, 0);
        memset(again, 'b', sizes[i]);
        bool whole = is_mapped(again + LARGE_BYTES - 2 * PAGE);
        assert_int_equal(whole, sizes[i] > LARGE_BYTES / 2);
        large_clear(&large);
        assert_false(is_mapped(again));
    }
}

/* The one that fits is taken, not the latest. */
static void test_one_that_fits(void **state)
{
    (void)state;
    struct large large = { 0 };
    void *small = large_take(&large, LARGE_BYTES), *middle = large_take(&large, (size_t)LARGE_BYTES * 2);
    void *last = large_take(&large, (size_t)LARGE_BYTES * 4);
    large_give_back(&large, small);
    large_give_back(&large, middle);
    large_give_back(&large, last);
    assert_ptr_equal(large_take(&large, (size_t)LARGE_BYTES * 2), middle);
    assert_ptr_equal(large_take(&large, (size_t)LARGE_BYTES * 4), last);
    assert_ptr_equal(large_take(&large, LARGE_BYTES), small);
    large_clear(&large);
}

/* No more than LARGE_SPARE_BYTES wait, whatever was given back. */
static void test_few_wait(void **state)
{
    enum { MANY = 40 };
    (void)state;
    struct large large = { 0 };
    void *blocks[MANY];
    for (int i = 0; i < MANY; i++)
        blocks[i] = large_take(&large, (size_t)LARGE_BYTES * (size_t)(i % 3 + 1));
    for (int i = 0; i < MANY; i++)
        large_give_back(&large, blocks[i]);
    assert_in_range(large.spare_bytes, LARGE_SPARE_BYTES - LARGE_BYTES * 3, LARGE_SPARE_BYTES);
    size_t mapped = 0;
    for (int i = 0; i < MANY; i++)
        mapped += is_mapped(blocks[i]) ? (size_t)LARGE_BYTES * (size_t)(i % 3 + 1) : 0;
    assert_true(mapped <= LARGE_SPARE_BYTES);
    void *whole = large_take(&large, LARGE_SPARE_BYTES + 1);
    large_give_back(&large, whole);
    assert_false(is_mapped(whole));
    large_drop_spare(&large);
    assert_int_equal(large.spare_bytes, 0);
    for (int i = 0; i < MANY; i++)
        assert_false(is_mapped(blocks[i]));
}

static void test_what_the_system_has_not(void **state)
{
    (void)state;
    struct large large = { 0 };
    assert_null(large_take(&large, SIZE_MAX));
    assert_null(large_take(&large, SIZE_MAX / 4));
    char *block = large_take(&large, LARGE_BYTES);
    assert_null(large_resize(&large, block, SIZE_MAX));
    assert_null(large_resize(&large, block, SIZE_MAX / 4));
    block[LARGE_BYTES - 1] = 'a';
    large_clear(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_keep_what_is_in_them),
        cmocka_unit_test(test_all_go),
        cmocka_unit_test(test_what_waits_is_taken_first),
        cmocka_unit_test(test_one_that_fits),
        cmocka_unit_test(test_few_wait),
        cmocka_unit_test(test_what_the_system_has_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
