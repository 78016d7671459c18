/* Small blocks in slabs of one size: see worker/slabs.h. */
#include "worker/slabs.h"

#include "common/untouchable.h"
#include "tools.h"

#include <errno.h>
#include <sys/mman.h>

enum { MANY = 50000, PAGE = 4096 };

static bool is_mapped(const void *block)
{
    return msync((char *)(uintptr_t)block - (uintptr_t)block % PAGE, PAGE, MS_ASYNC) == 0 || errno != ENOMEM;
}

static size_t rounded(size_t bytes)
{
    size_t step = bytes <= SLAB_FINE_MOST ? SLAB_STEP : SLAB_COARSE_STEP;
    return (bytes + step - 1) / step * step;
}

/* One behind the other, each at a multiple of 16, and as large as it was asked for. */
static void test_sizes(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes <= SLAB_BLOCK_MOST; bytes++) {
        struct slabs slabs = { 0 };
        char *first = slabs_take(&slabs, bytes), *second = slabs_take(&slabs, bytes);
        assert_non_null(first);
        assert_int_equal((uintptr_t)first % 16, 0);
        assert_int_equal(second - first, rounded(bytes));
        memset(first, 'a', bytes);
        memset(second, 'b', bytes);
        slabs_clear(&slabs);
        assert_false(is_mapped(first));
        assert_int_equal(slabs.bytes, 0);
    }
}

/* The latest that was given back of this size is the next. */
static void test_given_back_is_taken_first(void **state)
{
    (void)state;
    struct slabs slabs = { 0 };
    char *blocks[10];
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = slabs_take(&slabs, 100);
    assert_int_equal(untouchable_is(blocks[9] + 112), UNTOUCHABLE_IS_CHECKED);
    slabs_give_back(&slabs, blocks[3]);
    slabs_give_back(&slabs, blocks[7]);
    assert_int_equal(untouchable_is(blocks[7] + 99), UNTOUCHABLE_IS_CHECKED);
    void *other = slabs_take(&slabs, 200);
    assert_ptr_not_equal(other, blocks[7]);
    assert_ptr_equal(slabs_take(&slabs, 100), blocks[7]);
    assert_ptr_equal(slabs_take(&slabs, 110), blocks[3]);
    assert_false(untouchable_is(blocks[7] + 99) || untouchable_is(blocks[3] + 109));
    slabs_clear(&slabs);
}

/* What was taken is written all over and found as it was, whatever came and went meanwhile; and chunks that
 * hold nothing are given back, but for one. */
static void test_nothing_overlaps(void **state)
{
    static struct taken {
        unsigned char *block;
        size_t bytes;
    } taken[MANY];
    struct random random = { 7 };
    struct slabs slabs = { 0 };
    size_t most = 0;
    (void)state;
    memset(taken, 0, sizeof taken);
    for (int round = 0; round < 20 * MANY; round++) {
        size_t at = random_below(&random, MANY);
        struct taken *one = &taken[at];
        unsigned char mark = (unsigned char)(at * 7 + 1);
        if (one->block) {
            for (size_t i = 0; i < one->bytes; i++)
                assert_int_equal(one->block[i], mark);
            slabs_give_back(&slabs, one->block);
            one->block = NULL;
            continue;
        }
        one->bytes = 1 + random_below(&random, random_one_in(&random, 20) ? SLAB_BLOCK_MOST : 120);
        one->block = slabs_take(&slabs, one->bytes);
        assert_non_null(one->block);
        memset(one->block, mark, one->bytes);
        most = slabs.bytes > most ? slabs.bytes : most;
    }
    assert_true(most > 3 * (size_t)SLAB_CHUNK_BYTES);
    for (size_t i = 0; i < MANY; i++)
        if (taken[i].block)
            slabs_give_back(&slabs, taken[i].block);
    assert_int_equal(slabs.bytes, SLAB_CHUNK_BYTES);
    assert_int_equal(slabs.chunks_empty, 1);
    slabs_clear(&slabs);
}

/* A slab without blocks serves another size, so that what comes after takes no more. */
static void test_empty_slabs_serve_any_size(void **state)
{
    static void *blocks[MANY];
    struct slabs slabs = { 0 };
    (void)state;
    for (size_t bytes = 16; bytes <= 256; bytes *= 2) {
        size_t count = (size_t)8 * 1024 * 1024 / bytes < MANY ? (size_t)8 * 1024 * 1024 / bytes : MANY;
        for (size_t i = 0; i < count; i++)
            blocks[i] = slabs_take(&slabs, bytes);
        size_t held = count * bytes;
        assert_true(slabs.bytes <= held + held / 16 + 2 * (size_t)SLAB_CHUNK_BYTES);
        for (size_t i = 0; i < count; i++)
            slabs_give_back(&slabs, blocks[i]);
        assert_int_equal(slabs.bytes, SLAB_CHUNK_BYTES);
    }
    slabs_clear(&slabs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_given_back_is_taken_first),
        cmocka_unit_test(test_nothing_overlaps),
        cmocka_unit_test(test_empty_slabs_serve_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
