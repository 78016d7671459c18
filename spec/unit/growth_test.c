/* What grows for ever and what does not, as series of looks; see worker/growth.h. */
#include "worker/growth.h"
#include "worker/leak_watch.h"

#include "tools.h"

#include <math.h>

/* As a worker looks at a state that lives 10,000 messages. */
static const uint64_t looks[] = { 625, 955, 1542, 2366, 3796, 5990, 10000 };

typedef double (*size_after)(double messages);

static struct growth_series series_of(size_after entries, size_after bytes)
{
    struct growth_series series = { .count = 0 };
    for (size_t i = 0; i < COUNT_OF(looks); i++) {
        const struct growth_point point = {
            .messages = looks[i],
            .entries = entries ? (uint64_t)entries((double)looks[i]) : 0,
            .bytes = bytes ? (uint64_t)bytes((double)looks[i]) : 0,
        };
        growth_add(&series, &point);
    }
    return series;
}

static double linear(double m)
{
    return m;
}
static double rare(double m)
{
    return floor(m / 100);
}
static double very_rare(double m)
{
    return floor(m / 1000);
}
static double late(double m)
{
    return m < 900 ? 0 : m - 900;
}
static double constant(double m)
{
    (void)m;
    return 100000;
}
static double full_at_5000(double m)
{
    return fmin(m, 5000);
}
static double full_at_8000(double m)
{
    return fmin(m, 8000);
}
static double falling(double m)
{
    return 20000 - m;
}
static double of_8000_customers(double m)
{
    return 8000 * (1 - exp(-m / 8000));
}
static double root(double m)
{
    return 100 * sqrt(m);
}
static double emptied_every_777(double m)
{
    return fmod(m, 777);
}
static double long_text(double m)
{
    return 1000 + m * 12;
}

static const struct {
    const char *name;
    size_after entries;
    size_after bytes;
    enum growth_what what;
} cases[] = {
    { "an entry for each message", linear, linear, GROWTH_ENTRIES },
    { "one for a hundred", rare, NULL, GROWTH_ENTRIES },
    { "one for a thousand is below the floor", very_rare, NULL, GROWTH_NONE },
    { "since the state has warmed up", late, NULL, GROWTH_ENTRIES },
    { "large, and the same", constant, constant, GROWTH_NONE },
    { "a cache that became full", full_at_5000, NULL, GROWTH_NONE },
    { "one that became full at last", full_at_8000, NULL, GROWTH_NONE },
    { "smaller and smaller", falling, NULL, GROWTH_NONE },
    { "keys that come again", of_8000_customers, NULL, GROWTH_NONE },
    { "slower and slower", root, NULL, GROWTH_NONE },
    { "a batch that is sent when it is full", emptied_every_777, NULL, GROWTH_NONE },
    { "a text", NULL, long_text, GROWTH_BYTES },
};

static void each_case(void **context)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct growth_series series = series_of(cases[i].entries, cases[i].bytes);
        struct growth growth = growth_judge(&series, GROWTH_STEADY, 0);
        if (growth.what != cases[i].what)
            fail_msg("%s: %d", cases[i].name, growth.what);
        if (growth.what == GROWTH_NONE)
            assert_true(growth.entries_per_message <= 0 && growth.bytes_per_message <= 0);
    }
}

static void rates_are_those_of_the_looks(void **context)
{
    (void)context;
    struct growth_series series = series_of(linear, long_text);
    struct growth growth = growth_judge(&series, GROWTH_STEADY, 0);
    assert_float_equal(growth.entries_per_message, 1, 1e-9);
    assert_float_equal(growth.bytes_per_message, 12, 1e-9);
    series = series_of(NULL, long_text);
    growth = growth_judge(&series, GROWTH_STEADY, 0);
    assert_float_equal(growth.entries_per_message, 0, 1e-9);
}

/* Whatever is emptied after so many messages is met somewhere in its round: it never seems to grow. */
/* A state that is full after some thirty messages has seen no more. */
static void few_entries_of_many_bytes_are_entries(void **context)
{
    (void)context;
    struct growth_series series = { .count = 0 };
    for (uint64_t messages = 8; messages <= 18; messages += 5)
        growth_add(&series, &(struct growth_point){
                                .messages = messages, .entries = messages, .bytes = messages * 65536 });
    struct growth growth = growth_judge(&series, GROWTH_STEADY, 0);
    assert_int_equal(growth.what, GROWTH_ENTRIES);
    assert_float_equal(growth.entries_per_message, 1, 1e-9);
    assert_float_equal(growth.bytes_per_message, 65536, 1e-9);
}

static void no_round_is_taken_for_growth(void **context)
{
    (void)context;
    for (uint64_t round = 2; round < 9000; round++) {
        struct growth_series series = { .count = 0 };
        for (size_t i = 0; i < COUNT_OF(looks); i++)
            growth_add(&series, &(struct growth_point){ .messages = looks[i], .entries = looks[i] % round });
        if (growth_judge(&series, GROWTH_STEADY, 0).what != GROWTH_NONE)
            fail_msg("a round of %d messages", (int)round);
    }
}

/* By chance, at one message in twenty. */
static void chance_is_no_innocence(void **context)
{
    enum { TIMES = 200 };
    struct random random = { .state = 42 };
    unsigned found = 0;
    (void)context;
    for (int i = 0; i < TIMES; i++) {
        struct growth_series series = { .count = 0 };
        uint64_t entries = 0, messages = 0;
        for (size_t j = 0; j < COUNT_OF(looks); j++) {
            for (; messages < looks[j]; messages++)
                entries += random_next(&random) % 20 == 0;
            growth_add(&series, &(struct growth_point){ .messages = messages, .entries = entries });
        }
        found += growth_judge(&series, GROWTH_STEADY, 0).what == GROWTH_ENTRIES;
    }
    assert_in_range(found, TIMES * 95 / 100, TIMES);
}

static void three_looks_are_needed(void **context)
{
    struct growth_series series = { .count = 0 };
    (void)context;
    for (uint64_t messages = 1000; messages <= 2000; messages += 500) {
        assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_NONE);
        growth_add(&series, &(struct growth_point){ .messages = messages, .entries = messages });
    }
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_ENTRIES);
}

static void a_look_right_after_another_takes_its_place(void **context)
{
    struct growth_series series = { .count = 0 };
    (void)context;
    for (uint64_t messages = 100; messages < 125; messages++)
        growth_add(&series, &(struct growth_point){ .messages = messages, .entries = messages });
    assert_int_equal(series.count, 1);
    assert_int_equal(series.points[0].entries, 124);
    growth_add(&series, &(struct growth_point){ .messages = 155 });
    assert_int_equal(series.count, 2);
    growth_add(&series, &(struct growth_point){ .messages = 155, .entries = 3 });
    assert_int_equal(series.count, 2);
    assert_int_equal(series.points[1].entries, 3);
}

/* So that no look takes the place of the one before for ever. */
static void looks_are_apart(void **context)
{
    (void)context;
    for (uint64_t messages = 1; messages < UINT64_C(1) << 40; messages += leak_watch_step(messages, false))
        assert_true(leak_watch_step(messages, false) >= growth_apart(messages));
}

/* A state that is never over: what begins to grow late is seen as long as looks are that far apart. */
static void late_growth_is_growth(void **context)
{
    enum { BEGINS = 1000000 };
    struct growth_series series = { .count = 0 };
    uint64_t messages = 0;
    (void)context;
    while (growth_judge(&series, GROWTH_STEADY, 0).what == GROWTH_NONE) {
        messages += growth_apart(messages);
        assert_true(messages < 6 * BEGINS);
        const struct growth_point point = {
            .messages = messages,
            .entries = messages < BEGINS ? 1000 : 1000 + messages - BEGINS,
        };
        growth_add(&series, &point);
        assert_int_equal(series.points[series.count - 1].messages, messages);
    }
    assert_true(messages > BEGINS);
}

static void the_oldest_looks_are_forgotten(void **context)
{
    struct growth_series series = { .count = 0 };
    (void)context;
    for (uint64_t messages = 1; messages < 1 << 20; messages *= 2)
        growth_add(&series, &(struct growth_point){ .messages = messages });
    assert_int_equal(series.count, GROWTH_POINTS);
    assert_int_equal(series.points[GROWTH_POINTS - 1].messages, 1 << 19);
}

/* Of a state that was full two looks are enough, however uneven. */
static void under_pressure(void **context)
{
    struct growth_series series = { .count = 0 };
    (void)context;
    growth_add(&series, &(struct growth_point){ .messages = 10, .entries = 10, .bytes = 100000 });
    assert_int_equal(growth_judge(&series, GROWTH_PRESSED, 0).what, GROWTH_NONE);
    growth_add(&series, &(struct growth_point){ .messages = 30, .entries = 12, .bytes = 900000 });
    assert_int_equal(growth_judge(&series, GROWTH_PRESSED, 0).what, GROWTH_ENTRIES);
    growth_add(&series, &(struct growth_point){ .messages = 60, .entries = 12, .bytes = 800000 });
    assert_int_equal(growth_judge(&series, GROWTH_PRESSED, 0).what, GROWTH_NONE);
}

/* Of 64 messages at once each may keep something for as long as it is under way. */
static void what_is_under_way_is_no_growth(void **context)
{
    struct growth_series series = { .count = 0 };
    (void)context;
    for (uint64_t messages = 1000; messages <= 4000; messages *= 2)
        growth_add(&series, &(struct growth_point){
                                .messages = messages, .entries = messages / 50, .bytes = messages * 3 });
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_ENTRIES);
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 64).what, GROWTH_NONE);
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 16).what, GROWTH_ENTRIES);
}

/* What is known about only may seem to slow down. */
static void estimates_need_not_be_as_even(void **context)
{
    struct growth_series series = { .count = 0 };
    (void)context;
    for (uint64_t messages = 1000; messages <= 4000; messages *= 2)
        growth_add(&series, &(struct growth_point){ .messages = messages, .inner = messages });
    growth_add(&series, &(struct growth_point){ .messages = 8000, .inner = 4000 + 4000 * 7 / 10 });
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_NONE);
    series.rough = true;
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_INNER);
    series.points[series.count - 1].inner = 4000 + 4000 / 2;
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_NONE);
    /* A stretch that is flatter than the others. */
    series.points[series.count - 1].inner = 8000;
    series.points[series.count - 2].inner = 2000 + 2000 * 4 / 10;
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_INNER);
    series.rough = false;
    assert_int_equal(growth_judge(&series, GROWTH_STEADY, 0).what, GROWTH_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_case),
        cmocka_unit_test(rates_are_those_of_the_looks),
        cmocka_unit_test(few_entries_of_many_bytes_are_entries),
        cmocka_unit_test(no_round_is_taken_for_growth),
        cmocka_unit_test(chance_is_no_innocence),
        cmocka_unit_test(three_looks_are_needed),
        cmocka_unit_test(a_look_right_after_another_takes_its_place),
        cmocka_unit_test(looks_are_apart),
        cmocka_unit_test(late_growth_is_growth),
        cmocka_unit_test(the_oldest_looks_are_forgotten),
        cmocka_unit_test(under_pressure),
        cmocka_unit_test(what_is_under_way_is_no_growth),
        cmocka_unit_test(estimates_need_not_be_as_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
