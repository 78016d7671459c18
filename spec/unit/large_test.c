/* Large blocks in pages of their own: see worker/large.h. */
#include "worker/large.h"

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
        assert_false(is_mapped(blocks[first]));
        large_clear(&large);
        assert_null(large.first);
        for (int i = 0; i < BLOCKS; i++)
            assert_false(is_mapped(blocks[i]));
    }
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
        cmocka_unit_test(test_what_the_system_has_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
