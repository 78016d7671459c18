/* Alarms: raised once, told once a minute, gone when they are cleared. */
#include "common/clock.h"
#include "host/alarms.h"

#include "tools.h"

static const int64_t minute_ns = 60 * CLOCK_NS_PER_SECOND;

static void test_told_once_a_minute(void **state)
{
    (void)state;
    struct alarms alarms = { 0 };
    int64_t now_ns = 5;
    assert_true(alarm_raise(&alarms, ALARM_MEMORY, now_ns, "%d", 1));
    assert_false(alarm_raise(&alarms, ALARM_MEMORY, now_ns + minute_ns - 1, "%d", 2));
    assert_string_equal(alarms.of[ALARM_MEMORY].text, "2");
    assert_int_equal(alarms.of[ALARM_MEMORY].since_ns, now_ns);
    assert_true(alarm_raise(&alarms, ALARM_MEMORY, now_ns + minute_ns, "%d", 3));
    assert_int_equal(alarms.of[ALARM_MEMORY].since_ns, now_ns);
    assert_false(alarm_is_raised(&alarms, ALARM_CACHE));
}

/* One that comes and goes is no reason to fill the log. */
static void test_comes_and_goes(void **state)
{
    (void)state;
    struct alarms alarms = { 0 };
    unsigned told = 0;
    for (int64_t now_ns = 1; now_ns < minute_ns; now_ns += CLOCK_NS_PER_SECOND) {
        told += alarm_raise(&alarms, ALARM_QUEUE_FULL, now_ns, "full");
        assert_int_equal(alarms.of[ALARM_QUEUE_FULL].since_ns, now_ns);
        alarm_clear(&alarms, ALARM_QUEUE_FULL);
        assert_false(alarm_is_raised(&alarms, ALARM_QUEUE_FULL));
    }
    assert_int_equal(told, 1);
}

static void test_names(void **state)
{
    (void)state;
    struct alarms alarms = { 0 };
    char text[2 * ALARM_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int kind = 0; kind < ALARM_KINDS; kind++) {
        assert_non_null(alarm_name((enum alarm_kind)kind));
        assert_true(alarm_raise(&alarms, (enum alarm_kind)kind, 1, "%s", text));
        assert_int_equal(strlen(alarms.of[kind].text), ALARM_TEXT_MAX - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_once_a_minute),
        cmocka_unit_test(test_comes_and_goes),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("alarms", tests, NULL, NULL);
}
