/* Errors: one line whatever goes into it, cut and never overrun, and the where in front of the what. */
#include "common/error.h"

#include "tools.h"

#include <errno.h>

static char long_text[2 * ERROR_TEXT_BYTES];

static int set_up(void **state)
{
    (void)state;
    memset(long_text, 'x', sizeof long_text - 1);
    return 0;
}

static void test_set(void **state)
{
    (void)state;
    struct error error;
    memset(&error, 'z', sizeof error);
    assert_false(error_set(&error, ERROR_USAGE, "queue %s has %d messages", "orders", 3));
    assert_int_equal(error.code, ERROR_USAGE);
    assert_text(error.text, "queue orders has 3 messages");
}

static void test_set_errno(void **state)
{
    (void)state;
    struct error error;
    assert_false(error_set_errno(&error, ERROR_FAILED, ENOENT, "cannot open %s", "a.lua"));
    assert_int_equal(error.code, ERROR_FAILED);
    assert_text(error.text, "cannot open a.lua: No such file or directory");
    assert_false(error_set_errno(&error, ERROR_FAILED, 123456, "cannot open"));
    assert_contains(error.text, "123456");
}

static void test_prefix(void **state)
{
    (void)state;
    struct error error;
    error_set(&error, ERROR_USAGE, "it is broken");
    assert_false(error_prefix(&error, "consumer %s", "orders"));
    assert_text(error.text, "consumer orders: it is broken");
    assert_int_equal(error.code, ERROR_USAGE);
    assert_false(error_prefix(&error, "here"));
    assert_text(error.text, "here: consumer orders: it is broken");
}

static void assert_cut(const struct error *error)
{
    assert_int_equal(strlen(error->text), ERROR_TEXT_BYTES - 1);
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    struct error error;
    assert_false(error_set(&error, ERROR_FAILED, "%s", long_text));
    assert_cut(&error);
    assert_false(error_set_errno(&error, ERROR_FAILED, ENOENT, "%s", long_text));
    assert_cut(&error);
    assert_false(error_set_errno(&error, ERROR_FAILED, ENOENT, "%.*s", ERROR_TEXT_BYTES - 5, long_text));
    assert_cut(&error);
    error_set(&error, ERROR_FAILED, "short");
    assert_false(error_prefix(&error, "%s", long_text));
    assert_cut(&error);
    error_set(&error, ERROR_FAILED, "%s", long_text);
    assert_false(error_prefix(&error, "consumer"));
    assert_cut(&error);
    assert_memory_equal(error.text, "consumer: xxx", 13);
}

/* A prefix of any length, before and after the end of the room. */
static void test_prefixes_of_every_length(void **state)
{
    (void)state;
    for (int length = 0; length < ERROR_TEXT_BYTES + 8; length++) {
        struct error error;
        error_set(&error, ERROR_FAILED, "what");
        assert_false(error_prefix(&error, "%.*s", length, long_text));
        size_t wanted = (size_t)length + strlen(": what");
        assert_int_equal(strlen(error.text), wanted < ERROR_TEXT_BYTES ? wanted : ERROR_TEXT_BYTES - 1);
    }
}

/* What a broker or a script has to say may hold anything: it must not forge a line, or steer a terminal. */
static void test_one_line_whatever_is_said(void **state)
{
    (void)state;
    static const char hostile[] = "a\nb\r\nc\td\x1b[2Je\x7f";
    struct error error;
    assert_false(error_set(&error, ERROR_FAILED, "%s", hostile));
    assert_text(error.text, "a b  c d [2Je ");
    assert_false(error_set_errno(&error, ERROR_FAILED, ENOENT, "%s", "a\nb"));
    assert_text(error.text, "a b: No such file or directory");
    assert_false(error_prefix(&error, "%s", "c\nd"));
    assert_text(error.text, "c d: a b: No such file or directory");
    assert_false(error_set(&error, ERROR_FAILED, "%s", "gr\xc3\xbc\xc3\x9f"));
    assert_text(error.text, "gr\xc3\xbc\xc3\x9f");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_errno),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_prefixes_of_every_length),
        cmocka_unit_test(test_one_line_whatever_is_said),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
