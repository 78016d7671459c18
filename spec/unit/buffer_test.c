/* The bounded buffer: its bound is exact, a refusal changes nothing, and `failed` stays until it is reset. */
#include "common/buffer.h"

#include "tools.h"

/* Asked of a sanitized program by its runtime: memory that cannot be had is refused, as in any other. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void assert_content(const struct buffer *buffer, const char *text)
{
    assert_bytes((struct slice){ .data = buffer->data, .size = buffer->size }, slice_of(text));
    assert_true(buffer->capacity <= buffer->limit);
    assert_true(buffer->size <= buffer->capacity);
}

static void test_starts_with_no_memory(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.capacity, 0);
    assert_int_equal(buffer.limit, 100);
    assert_false(buffer.failed);
    buffer_clear(&buffer);
}

static const size_t limits[] = { 1, 2, 255, 256, 257, 511, 512, 513, 1000, 65536, 100000 };

/* Filled byte by byte, it takes exactly as many as its bound says. */
static void test_bound_is_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        struct buffer buffer;
        buffer_init(&buffer, limits[i]);
        for (size_t size = 0; size < limits[i]; size++) {
            char byte = (char)size;
            assert_true(buffer_append(&buffer, &byte, 1));
            assert_true(buffer.capacity <= limits[i]);
        }
        assert_int_equal(buffer.size, limits[i]);
        assert_false(buffer.failed);
        assert_false(buffer_append(&buffer, "x", 1));
        assert_true(buffer.failed);
        assert_int_equal(buffer.size, limits[i]);
        for (size_t at = 0; at < limits[i]; at++)
            assert_int_equal(buffer.data[at], (char)at);
        buffer_clear(&buffer);
    }
}

static void test_bound_is_exact_at_once(void **state)
{
    (void)state;
    static const char zeros[100001];
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        struct buffer buffer;
        buffer_init(&buffer, limits[i]);
        assert_false(buffer_append(&buffer, zeros, limits[i] + 1));
        assert_int_equal(buffer.size, 0);
        buffer_reset(&buffer);
        assert_true(buffer_append(&buffer, zeros, limits[i]));
        assert_int_equal(buffer.capacity, limits[i]);
        assert_false(buffer.failed);
        buffer_clear(&buffer);
    }
}

static void test_bound_of_nothing(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_true(buffer_reserve(&buffer, 0));
    assert_true(buffer_append(&buffer, NULL, 0));
    assert_false(buffer.failed);
    assert_false(buffer_append(&buffer, "x", 1));
    assert_true(buffer.failed);
    buffer_clear(&buffer);
}

static void test_refusal_changes_nothing_and_is_remembered(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 8);
    assert_true(buffer_append_text(&buffer, "hare"));
    assert_false(buffer_append_text(&buffer, "rabbit"));
    assert_content(&buffer, "hare");
    assert_true(buffer.failed);
    assert_true(buffer_append_text(&buffer, "bell"));
    assert_content(&buffer, "harebell");
    assert_true(buffer.failed);
    buffer_reset(&buffer);
    assert_false(buffer.failed);
    assert_int_equal(buffer.size, 0);
    assert_true(buffer.capacity > 0);
    buffer_clear(&buffer);
}

/* Sizes that overflow when they are added to what is there. */
static void test_sizes_that_overflow(void **state)
{
    (void)state;
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 3, SIZE_MAX / 2 + 1, 101 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct buffer buffer;
        buffer_init(&buffer, 100);
        assert_true(buffer_append_text(&buffer, "hare"));
        assert_false(buffer_reserve(&buffer, sizes[i]));
        assert_true(buffer.failed);
        assert_content(&buffer, "hare");
        buffer_clear(&buffer);
    }
}

static void test_memory_that_cannot_be_had(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, SIZE_MAX);
    assert_true(buffer_append_text(&buffer, "hare"));
    assert_false(buffer_reserve(&buffer, SIZE_MAX / 2 + 1));
    assert_true(buffer.failed);
    assert_content(&buffer, "hare");
    buffer_clear(&buffer);
}

static void test_reserve_makes_room(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10000);
    assert_true(buffer_reserve(&buffer, 5000));
    assert_int_equal(buffer.size, 0);
    assert_true(buffer.capacity >= 5000);
    const char *before = buffer.data;
    memset(buffer.data, 'x', 5000);
    buffer.size = 5000;
    assert_true(buffer_reserve(&buffer, 0));
    assert_ptr_equal(buffer.data, before);
    assert_true(buffer_reserve(&buffer, 5000));
    assert_false(buffer_reserve(&buffer, 5001));
    buffer_clear(&buffer);
}

static void test_printf(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 16);
    assert_true(buffer_printf(&buffer, "%s", ""));
    assert_true(buffer_printf(&buffer, "%s %d", "hare", 42));
    assert_content(&buffer, "hare 42");
    assert_false(buffer_printf(&buffer, "%0100d", 1));
    assert_content(&buffer, "hare 42");
    assert_true(buffer.failed);
    buffer_reset(&buffer);
    assert_true(buffer_printf(&buffer, "%015d", 1));
    assert_content(&buffer, "000000000000001");
    buffer_clear(&buffer);
}

static void test_consume(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *rest;
    } cases[] = { { 0, "harebell" }, { 4, "bell" }, { 7, "l" }, { 8, "" }, { 9, "" }, { SIZE_MAX, "" } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buffer buffer;
        buffer_init(&buffer, 8);
        buffer_consume(&buffer, cases[i].size);
        assert_content(&buffer, "");
        assert_true(buffer_append_text(&buffer, "harebell"));
        buffer_consume(&buffer, cases[i].size);
        assert_content(&buffer, cases[i].rest);
        buffer_clear(&buffer);
    }
}

static void test_shrink_gives_back_only_what_is_unused(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10000);
    assert_true(buffer_reserve(&buffer, 5000));
    assert_true(buffer_append_text(&buffer, "hare"));
    buffer_shrink(&buffer, 100);
    assert_content(&buffer, "hare");
    buffer_consume(&buffer, 4);
    buffer_shrink(&buffer, buffer.capacity);
    assert_non_null(buffer.data);
    buffer_shrink(&buffer, buffer.capacity - 1);
    assert_null(buffer.data);
    assert_int_equal(buffer.capacity, 0);
    assert_int_equal(buffer.limit, 10000);
    assert_true(buffer_append_text(&buffer, "again"));
    assert_content(&buffer, "again");
    buffer_clear(&buffer);
}

/* Giving memory back is no reset: the refusal has still to be seen. */
static void test_shrink_keeps_the_failure(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    assert_true(buffer_reserve(&buffer, 1000));
    assert_false(buffer_reserve(&buffer, 1001));
    buffer_shrink(&buffer, 0);
    assert_null(buffer.data);
    assert_true(buffer.failed);
    buffer_clear(&buffer);
}

static void test_clear_keeps_the_bound(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 4);
    assert_true(buffer_append_text(&buffer, "hare"));
    buffer_clear(&buffer);
    buffer_clear(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.limit, 4);
    assert_false(buffer_append_text(&buffer, "hares"));
    buffer_clear(&buffer);
}

static void test_slice_equals(void **state)
{
    (void)state;
    static const char with_nul[] = "hare\0bell";
    assert_true(slice_equals(slice_of("hare"), "hare"));
    assert_true(slice_equals(slice_of(""), ""));
    assert_false(slice_equals(slice_of("hare"), "har"));
    assert_false(slice_equals(slice_of("har"), "hare"));
    assert_false(slice_equals(slice_of("Hare"), "hare"));
    assert_false(slice_equals((struct slice){ .data = with_nul, .size = 9 }, "hare"));
}

/* A long run of appends and consumes against an array that is large enough. */
static void test_random_walk(void **state)
{
    (void)state;
    enum { STEPS = 200000, LIMIT = 3000 };
    struct random random = { 1 };
    struct buffer buffer;
    static char model[LIMIT];
    size_t size = 0;
    buffer_init(&buffer, LIMIT);
    for (unsigned step = 0; step < STEPS; step++) {
        char piece[400];
        unsigned count = random_below(&random, sizeof piece);
        memset(piece, (char)step, sizeof piece);
        if (random_below(&random, 2)) {
            bool fits = size + count <= LIMIT;
            assert_int_equal(buffer_append(&buffer, piece, count), fits);
            memcpy(model + size, piece, fits ? count : 0);
            size += fits ? count : 0;
        } else {
            size_t gone = count < size ? count : size;
            buffer_consume(&buffer, count);
            size -= gone;
            memmove(model, model + gone, size);
            if (random_one_in(&random, 10))
                buffer_shrink(&buffer, 1000);
        }
        assert_int_equal(buffer.size, size);
        assert_true(size == 0 || memcmp(buffer.data, model, size) == 0);
        assert_true(buffer.capacity <= LIMIT);
    }
    buffer_clear(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_with_no_memory),
        cmocka_unit_test(test_bound_is_exact),
        cmocka_unit_test(test_bound_is_exact_at_once),
        cmocka_unit_test(test_bound_of_nothing),
        cmocka_unit_test(test_refusal_changes_nothing_and_is_remembered),
        cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_memory_that_cannot_be_had),
        cmocka_unit_test(test_reserve_makes_room),
        cmocka_unit_test(test_printf),
        cmocka_unit_test(test_consume),
        cmocka_unit_test(test_shrink_gives_back_only_what_is_unused),
        cmocka_unit_test(test_shrink_keeps_the_failure),
        cmocka_unit_test(test_clear_keeps_the_bound),
        cmocka_unit_test(test_slice_equals),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
