/* What lives in a heap, by its ups and downs; see worker/low_water.h. */
#include "worker/low_water.h"

#include "tools.h"

enum { LIVE = 100000 };

/* A heap whose cycle begins at twice what lives: it is swept while it goes on growing, and falls to what
 * lives and some. */
static uint64_t heap_after(uint64_t messages, uint64_t live_bytes)
{
    uint64_t step = messages % 100;
    return live_bytes + (step < 80 ? step * live_bytes / 80 : (100 - step) * live_bytes / 20);
}

static void lows_are_what_lives(void **context)
{
    struct low_water water = { .high = 0 };
    unsigned lows = 0;
    (void)context;
    for (uint64_t messages = 1; messages <= 1000; messages++) {
        if (!low_water_pass(&water, heap_after(messages, LIVE), messages))
            continue;
        lows++;
        assert_int_equal(water.bytes, LIVE);
        assert_int_equal(water.messages % 100, 0);
        assert_in_range(messages - water.messages, 1, 8);
    }
    assert_int_equal(lows, 9);
}

static void growth_alone_is_no_low(void **context)
{
    struct low_water water = { .high = 0 };
    (void)context;
    for (uint64_t messages = 1; messages <= 1000; messages++)
        assert_false(low_water_pass(&water, LIVE + messages * 100, messages));
    assert_int_equal(water.bytes, 0);
}

/* A string that is replaced by a shorter one, a table that is made smaller. */
static void small_falls_are_none(void **context)
{
    struct low_water water = { .high = 0 };
    (void)context;
    for (uint64_t messages = 1; messages <= 1000; messages++)
        assert_false(low_water_pass(&water, LIVE + messages * 100 - messages % 2 * LIVE / 20, messages));
    assert_int_equal(water.bytes, 0);
}

/* While a heap is swept it is not all downhill. */
static void pauses_on_the_way_down_are_none(void **context)
{
    static const uint64_t heap[] = { 100, 200, 180, 185, 150, 155, 120, 124, 100, 104, 107 };
    struct low_water water = { .high = 0 };
    (void)context;
    for (uint64_t i = 0; i < COUNT_OF(heap); i++)
        assert_int_equal(low_water_pass(&water, heap[i] * 1000, i), i == COUNT_OF(heap) - 1);
    assert_int_equal(water.bytes, 100000);
    assert_int_equal(water.messages, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lows_are_what_lives),
        cmocka_unit_test(growth_alone_is_no_low),
        cmocka_unit_test(small_falls_are_none),
        cmocka_unit_test(pauses_on_the_way_down_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
