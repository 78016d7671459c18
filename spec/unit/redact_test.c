/* Passwords of URLs, right and wrong ones, never stay in a text that people see. */
#include "common/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text;
    const char *shown;
} cases[] = {
    { "", "" },
    { "orders", "orders" },
    { "header:NAME", "header:NAME" },
    { "localhost:5672", "localhost:5672" },
    { "amqp://localhost", "amqp://localhost" },
    { "amqp://localhost:5672/%2f", "amqp://localhost:5672/%2f" },
    { "amqp://[::1]:5672", "amqp://[::1]:5672" },
    { "amqp://user@host", "amqp://user@host" },
    { "amqp://user:@host", "amqp://user:@host" },
    { "amqp://user:secret@host:5672/v", "amqp://user:***@host:5672/v" },
    { "amqps://user:secret@host", "amqps://user:***@host" },
    { "https://user:secret@host", "https://user:***@host" },
    { "amqp://user:sec:ret@host", "amqp://user:***@host" },
    { "amqp://user:sec@ret@host", "amqp://user:***@host" },
    { "amqp://user:sec/ret@host", "amqp://user:***@host" },
    { "amqp://user:sec ret@host", "amqp://user:***@host" },
    { "amqp://user:a://b@host", "amqp://user:***@host" },
    { "amqp://user:secret@[::1]:5672", "amqp://user:***@[::1]:5672" },
    { "user:secret@host", "user:***@host" }, /* the scheme forgotten */
    { "user:secret@host:5672/v", "user:***@host:5672/v" },
    { "amqp://user:secret", "amqp://user:***" }, /* the host forgotten */
    { "amqp://user:secret/v", "amqp://user:***" },
    { "amqp://[::1]:secret", "amqp://[::1]:***" },
    { "--broker=amqp://user:secret@host", "--broker=amqp://user:***@host" },
    { "--broker=user:secret@host", "--broker=user:***@host" },
    { "amqp://a:b@c,amqp://d:e@f,amqps://g:h@i", "amqp://a:***@c,amqp://d:***@f,amqps://g:***@i" },
    { "amqp://a:1, amqp://b:2", "amqp://a:1, amqp://b:2" },
    { "x.lua:1: unfinished string near '\"amqp://user:secret@host'",
      "x.lua:1: unfinished string near '\"amqp://user:***@host'" },
    { "x.lua:1: unfinished string near '\"amqp://user:sec",
      "x.lua:1: unfinished string near '\"amqp://user:***" },
    { "x.lua:1: mail somebody@somewhere", "x.lua:1: mail somebody@somewhere" },
};

enum { CASE_COUNT = sizeof cases / sizeof cases[0] };

static void passwords_become_stars(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        struct buffer buffer;
        buffer_init(&buffer, 1024);
        assert_true(redact_append(&buffer, slice_of(cases[i].text)));
        assert_true(buffer_append(&buffer, "", 1));
        assert_string_equal(buffer.data, cases[i].shown);
        buffer_clear(&buffer);
    }
}

static void a_text_is_overwritten_in_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        char *text = strdup(cases[i].text);
        assert_non_null(text);
        redact_overwrite(text);
        assert_int_equal(strlen(text), strlen(cases[i].text));
        assert_null(strstr(text, "secret"));
        if (strcmp(cases[i].text, cases[i].shown) == 0)
            assert_string_equal(text, cases[i].text);
        free(text);
    }
    char url[] = "amqp://user:secret@host,amqp://user:other@host";
    redact_overwrite(url);
    assert_string_equal(url, "amqp://user:******@host,amqp://user:*****@host");
}

static void a_full_buffer_is_told_of(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 8);
    assert_false(redact_append(&buffer, slice_of("amqp://user:secret@host")));
    assert_true(buffer.failed);
    buffer_clear(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passwords_become_stars),
        cmocka_unit_test(a_text_is_overwritten_in_place),
        cmocka_unit_test(a_full_buffer_is_told_of),
    };
    return cmocka_run_group_tests_name("redact", tests, NULL, NULL);
}
