/* Sizes and durations as people write them: what is taken, what is refused, and how they are printed. */
#include "common/units.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { REFUSED = -1 };

struct parse_case {
    const char *text;
    int64_t value; /* REFUSED where it is */
};

static const struct parse_case size_cases[] = {
    { "0", 0 },
    { "1", 1 },
    { "512", 512 },
    { "64MiB", INT64_C(67108864) },
    { "64mib", INT64_C(67108864) },
    { "64MIB", INT64_C(67108864) },
    { "1B", 1 },
    { "1kB", 1000 },
    { "1KB", 1000 },
    { "1KiB", 1024 },
    { "2MB", 2000000 },
    { "3GB", INT64_C(3000000000) },
    { "1GiB", INT64_C(1073741824) },
    { "1TB", INT64_C(1000000000000) },
    { "1TiB", INT64_C(1099511627776) },
    { "1.5KiB", 1536 },
    { "0.5MiB", 524288 },
    { "0.25", 0 },
    { "0.5", 1 },
    { "007", 7 },
    { "8000000TiB", INT64_C(8000000) * INT64_C(1099511627776) },
    { "9000000000000000000", INT64_C(9000000000000000000) },
    { "9300000000000000000", REFUSED },
    { "9000000TiB", REFUSED },
    { "99999999999999999999999999999", REFUSED },
    { "", REFUSED },
    { "MiB", REFUSED },
    { "-1", REFUSED },
    { "+1", REFUSED },
    { " 1", REFUSED },
    { "1 ", REFUSED },
    { "1 MiB", REFUSED },
    { "1.", REFUSED },
    { "1.MiB", REFUSED },
    { ".5MiB", REFUSED },
    { "1.2.3", REFUSED },
    { "1,5MiB", REFUSED },
    { "1e6", REFUSED },
    { "0x10", REFUSED },
    { "inf", REFUSED },
    { "nan", REFUSED },
    { "64M", REFUSED },
    { "64Mi", REFUSED },
    { "64MiBs", REFUSED },
    { "30s", REFUSED },
    { "1000000000000000000000000000MiB", REFUSED },
    { "00000000000000000000000000001MiB", REFUSED }, /* as long as UNITS_TEXT_MAX */
};

static const struct parse_case duration_cases[] = {
    { "0", 0 },
    { "1", INT64_C(1000000000) },
    { "30s", INT64_C(30000000000) },
    { "30S", INT64_C(30000000000) },
    { "250ms", 250000000 },
    { "250MS", 250000000 },
    { "3us", 3000 },
    { "7ns", 7 },
    { "0.5ns", 1 },
    { "2m", INT64_C(120000000000) },
    { "1.5h", INT64_C(5400000000000) },
    { "1h", INT64_C(3600000000000) },
    { "1d", INT64_C(86400000000000) },
    { "0.1", 100000000 },
    { "100000d", INT64_C(8640000000000000000) },
    { "110000d", REFUSED },
    { "9999999999d", REFUSED },
    { "", REFUSED },
    { "s", REFUSED },
    { "-1s", REFUSED },
    { "1 s", REFUSED },
    { "1.s", REFUSED },
    { "1sec", REFUSED },
    { "1m30s", REFUSED },
    { "1w", REFUSED },
    { "64MiB", REFUSED },
};

typedef bool parse_function(const char *text, size_t length, int64_t *ret_value);

static void assert_parses(parse_function *parse, const struct parse_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t value = REFUSED; /* and untouched where it fails */
        bool parsed = parse(cases[i].text, strlen(cases[i].text), &value);
        if (parsed != (cases[i].value != REFUSED) || value != cases[i].value)
            fail_msg("\"%s\" gives %lld, not %lld", cases[i].text, (long long)value,
                     (long long)cases[i].value);
    }
}

static void sizes_are_parsed(void **state)
{
    (void)state;
    assert_parses(units_parse_size, size_cases, sizeof size_cases / sizeof size_cases[0]);
}

static void durations_are_parsed(void **state)
{
    (void)state;
    assert_parses(units_parse_duration, duration_cases, sizeof duration_cases / sizeof duration_cases[0]);
}

static void only_the_given_length_counts(void **state)
{
    (void)state;
    int64_t value = 0;
    assert_true(units_parse_size("64MiB and more", 5, &value));
    assert_int_equal(value, 67108864);
    assert_false(units_parse_size("64\0MiB", 6, &value));
    assert_false(units_parse_duration("1\0", 2, &value));
}

struct format_case {
    int64_t value;
    const char *text;
};

static void sizes_are_printed(void **state)
{
    (void)state;
    static const struct format_case cases[] = {
        { 0, "0B" },
        { 1023, "1023B" },
        { 1024, "1KiB" },
        { 1536, "1.5KiB" },
        { INT64_C(67108864), "64MiB" },
        { INT64_C(1073741824), "1GiB" },
        { INT64_C(1099511627776), "1TiB" },
        { INT64_C(1099511627776) * 2048, "2048TiB" },
        { INT64_MAX, "8388608TiB" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[UNITS_TEXT_MAX];
        assert_string_equal(units_format_size(cases[i].value, text), cases[i].text);
    }
}

static void durations_are_printed(void **state)
{
    (void)state;
    static const struct format_case cases[] = {
        { 0, "0ns" },
        { 999, "999ns" },
        { 1500, "1.5us" },
        { 250000000, "250ms" },
        { INT64_C(1500000000), "1.5s" },
        { INT64_C(30000000000), "30s" },
        { INT64_C(300000000000), "5m" },
        { INT64_C(5400000000000), "1.5h" },
        { INT64_C(86400000000000), "24h" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[UNITS_TEXT_MAX];
        assert_string_equal(units_format_duration(cases[i].value, text), cases[i].text);
    }
}

/* A channel that has been idle since the year 0, as the doctor was told once. */
static void numbers_that_do_not_fit_are_the_largest(void **state)
{
    (void)state;
    char text[UNITS_TEXT_MAX];
    static const struct {
        double number;
        int64_t value;
    } cases[] = {
        { 0, 0 },
        { -0.0, 0 },
        { 1.9, 1 },
        { -1.9, -1 },
        { 0x1p62, 1LL << 62 },
        { 0x1p63, INT64_MAX },
        { 1e300, INT64_MAX },
        { -1e300, -INT64_MAX },
        { HUGE_VAL, INT64_MAX },
        { -HUGE_VAL, -INT64_MAX },
        { (double)NAN, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_true(units_from_number(cases[i].number) == cases[i].value);
    assert_string_equal(units_format_duration(units_from_number(6.39e10 * 1e9), text), "2562047.8h");
}

/* What messages offer must be taken when somebody writes it. */
static void what_is_printed_is_parsed(void **state)
{
    (void)state;
    for (int64_t value = 1; value < INT64_MAX / 2; value *= 2) {
        char text[UNITS_TEXT_MAX];
        int64_t parsed = 0;
        units_format_size(value, text);
        assert_true(units_parse_size(text, strlen(text), &parsed));
        assert_int_equal(parsed, value);
        units_format_duration(value, text);
        assert_true(units_parse_duration(text, strlen(text), &parsed));
        /* One decimal is kept, so at least a twentieth of it is right. */
        assert_true(parsed >= value - value / 19 && parsed <= value + value / 19);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_parsed),
        cmocka_unit_test(durations_are_parsed),
        cmocka_unit_test(only_the_given_length_counts),
        cmocka_unit_test(sizes_are_printed),
        cmocka_unit_test(durations_are_printed),
        cmocka_unit_test(numbers_that_do_not_fit_are_the_largest),
        cmocka_unit_test(what_is_printed_is_parsed),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
