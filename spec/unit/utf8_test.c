/* Texts told from bytes: every length of UTF-8, what is broken at each place, and control characters; see
 * common/utf8.h. */
#include "common/utf8.h"

#include "tools.h"

static const struct {
    struct slice text;
    size_t length;
} characters[] = {
    { INIT_BYTES("a"), 1 },
    { INIT_BYTES("\0"), 1 },
    { INIT_BYTES("\x7f"), 1 },
    { INIT_BYTES("\xc2\x80"), 2 },
    { INIT_BYTES("\xdf\xbf"), 2 },
    { INIT_BYTES("\xe0\xa0\x80"), 3 },
    { INIT_BYTES("\xed\x9f\xbf"), 3 },
    { INIT_BYTES("\xef\xbf\xbf"), 3 },
    { INIT_BYTES("\xf0\x90\x80\x80"), 4 },
    { INIT_BYTES("\xf4\x8f\xbf\xbf"), 4 },
    { INIT_BYTES("\x80"), 0 },     /* begins with a middle */
    { INIT_BYTES("\xc0\x80"), 0 }, /* longer than need be */
    { INIT_BYTES("\xc1\xbf"), 0 },
    { INIT_BYTES("\xe0\x9f\xbf"), 0 },
    { INIT_BYTES("\xf0\x8f\xbf\xbf"), 0 },
    { INIT_BYTES("\xed\xa0\x80"), 0 },     /* a surrogate */
    { INIT_BYTES("\xf4\x90\x80\x80"), 0 }, /* past the last */
    { INIT_BYTES("\xf5\x80\x80\x80"), 0 },
    { INIT_BYTES("\xff"), 0 },
    { INIT_BYTES("\xc2\x41"), 0 },
    { INIT_BYTES("\xe2\x82\x41"), 0 },
    { INIT_BYTES("\xf0\x9f\x90\x41"), 0 },
};

static void test_lengths(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(characters); i++) {
        char *exact = exact_copy(characters[i].text.data, characters[i].text.size);
        assert_int_equal(utf8_length(exact, characters[i].text.size), characters[i].length);
        free(exact);
    }
}

/* Cut anywhere it is broken, and nothing is read past the cut. */
static void test_cuts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(characters); i++) {
        for (size_t size = 1; size < characters[i].length; size++) {
            char *exact = exact_copy(characters[i].text.data, size);
            assert_int_equal(utf8_length(exact, size), 0);
            free(exact);
        }
    }
}

static void test_controls(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        unsigned code; /* 0xffff: none */
    } cases[] = {
        { INIT_BYTES("\0"), 0 },
        { INIT_BYTES("\x1b"), 0x1b },
        { INIT_BYTES("\x1f"), 0x1f },
        { INIT_BYTES(" "), 0xffff },
        { INIT_BYTES("~"), 0xffff },
        { INIT_BYTES("\x7f"), 0x7f },
        { INIT_BYTES("\xc2\x80"), 0x80 },
        { INIT_BYTES("\xc2\x9f"), 0x9f },
        { INIT_BYTES("\xc2\xa0"), 0xffff },
        { INIT_BYTES("\xc3\x80"), 0xffff },
        { INIT_BYTES("\xe2\x80\xa6"), 0xffff },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        unsigned code = 0xffff;
        bool control = utf8_is_control(cases[i].text.data, cases[i].text.size, &code);
        assert_int_equal(control, cases[i].code != 0xffff);
        if (control)
            assert_int_equal(code, cases[i].code);
    }
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        bool valid;
        bool plain;
    } cases[] = {
        { INIT_BYTES(""), true, true },        { INIT_BYTES("m\xc3\xb6hre\t\r\n"), true, true },
        { INIT_BYTES("\0"), true, false },     { INIT_BYTES("a\x1b[31m"), true, false },
        { INIT_BYTES("\x7f"), true, false },   { INIT_BYTES("\xc2\x85"), true, false },
        { INIT_BYTES("a\xff"), false, false }, { INIT_BYTES("a\xc3"), false, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *exact = exact_copy(cases[i].text.data, cases[i].text.size);
        assert_int_equal(utf8_is_valid((struct slice){ exact, cases[i].text.size }), cases[i].valid);
        assert_int_equal(utf8_is_plain((struct slice){ exact, cases[i].text.size }), cases[i].plain);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_controls),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
