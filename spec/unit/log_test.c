/* Log lines: one valid line for each event whatever its bytes, cut at the bound, and a slow reader that never
 * makes the writer wait. */
#include "common/log.h"

#include "json.h"
#include "tools.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 120 }; /* a log that blocks ends the test instead of hanging it */

/* The log's descriptor and its reader: a pipe, blocking for the writer as standard error is. */
struct reader {
    int fds[2];
    struct buffer read; /* what came and was not yet taken, */
    char *line;         /* and the line that was taken last, with a NUL for its newline */
    size_t line_bytes;
};

static struct reader reader;

static void open_log(enum log_format format)
{
    assert_int_equal(pipe(reader.fds), 0);
    assert_int_equal(fcntl(reader.fds[0], F_SETFL, O_NONBLOCK), 0);
    buffer_init(&reader.read, 64 * 1024 * 1024);
    log_open(reader.fds[1], format, LOG_DEBUG);
}

static int open_json(void **state)
{
    (void)state;
    open_log(LOG_FORMAT_JSON);
    return 0;
}

static int open_logfmt(void **state)
{
    (void)state;
    open_log(LOG_FORMAT_LOGFMT);
    return 0;
}

static int close_log(void **state)
{
    (void)state;
    log_open(STDERR_FILENO, LOG_FORMAT_AUTO, LOG_INFO);
    (void)close(reader.fds[0]);
    (void)close(reader.fds[1]);
    buffer_clear(&reader.read);
    free(reader.line);
    reader.line = NULL;
    return 0;
}

static void read_all(void)
{
    ssize_t size;
    do {
        assert_true(buffer_reserve(&reader.read, 65536));
        size = read(reader.fds[0], reader.read.data + reader.read.size, 65536);
        reader.read.size += size > 0 ? (size_t)size : 0;
    } while (size > 0);
}

/* Takes the next line that was written; NULL where none is whole. */
static const char *next_line(void)
{
    read_all();
    const char *end = reader.read.size ? memchr(reader.read.data, '\n', reader.read.size) : NULL;
    if (!end)
        return NULL;
    reader.line_bytes = (size_t)(end - reader.read.data);
    free(reader.line);
    reader.line = exact_copy(reader.read.data, reader.line_bytes + 1);
    reader.line[reader.line_bytes] = '\0';
    buffer_consume(&reader.read, reader.line_bytes + 1);
    assert_true(reader.line_bytes + 1 <= LOG_LINE_MAX);
    return reader.line;
}

static void assert_nothing_more(void)
{
    assert_null(next_line());
    assert_int_equal(reader.read.size, 0);
}

/* What stands behind time and level in the one line that was written. */
static const char *tail_of_line(void)
{
    static const char json_head[] = "{\"time\":\"2000-01-01T00:00:00.000Z\",\"level\":\"";
    static const char logfmt_head[] = "time=2000-01-01T00:00:00.000Z level=";
    const char *line = next_line();
    assert_non_null(line);
    assert_nothing_more();
    const char *level = line + (*line == '{' ? sizeof json_head : sizeof logfmt_head) - 1;
    return level + strcspn(level, ", ");
}

static void assert_json_line(void)
{
    const char *line = next_line();
    assert_non_null(line);
    if (!json_is_flat_object(line, reader.line_bytes))
        fail_msg("this is no JSON object: %s", line);
}

/* One line of printable text and valid UTF-8, quotes in pairs. */
static void assert_logfmt_line(void)
{
    const char *line = next_line();
    bool quoted = false;
    assert_non_null(line);
    assert_memory_equal(line, "time=", 5);
    struct json text = { .at = line };
    while (*text.at) {
        bool escape = quoted && json_take(&text, "\\");
        if (!escape && *text.at == '"')
            quoted = !quoted;
        assert_true(*text.at != 0x7f && json_character(&text));
    }
    assert_int_equal(text.at - line, reader.line_bytes);
    assert_false(quoted);
}

static void test_json(void **state)
{
    (void)state;
    log_info(log_message("worker ready"), log_text("queue", "orders"), log_text("left out", NULL),
             log_bytes("id", "abcdef", 3), log_integer("pid", -42), log_unsigned("count", 42),
             log_duration("seconds", INT64_C(1500000000)));
    assert_text(tail_of_line(), ",\"msg\":\"worker ready\",\"queue\":\"orders\",\"id\":\"abc\",\"pid\":-42,"
                                "\"count\":42,\"seconds\":1.5}");
}

static void test_logfmt(void **state)
{
    (void)state;
    log_warning(log_message("worker ready"), log_text("queue", "orders"), log_text("left out", NULL),
                log_integer("pid", -42), log_duration("seconds", INT64_C(250000000)));
    assert_text(tail_of_line(), " msg=\"worker ready\" queue=orders pid=-42 seconds=0.25");
}

static void test_levels_stand_in_the_line(void **state)
{
    (void)state;
    static const char *const names[] = { "debug", "info", "warning", "error" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char wanted[32];
        enum log_level level;
        log_write((enum log_level)i, log_fields(log_message("x")));
        (void)snprintf(wanted, sizeof wanted, "\"level\":\"%s\"", names[i]);
        assert_contains(next_line(), wanted);
        assert_true(log_level_parse(names[i], &level));
        assert_int_equal(level, i);
    }
}

static void test_level_words_that_are_none(void **state)
{
    (void)state;
    static const char *const words[] = { "", "Debug", "info ", "warn", "errors", "0" };
    enum log_level level = LOG_WARNING;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        assert_false(log_level_parse(words[i], &level));
    assert_int_equal(level, LOG_WARNING);
}

static void test_what_is_below_the_level_is_not_written(void **state)
{
    (void)state;
    for (int least = LOG_DEBUG; least <= LOG_ERROR; least++) {
        log_set_level((enum log_level)least);
        assert_int_equal(log_get_level(), least);
        for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
            log_write((enum log_level)level, log_fields(log_message("x")));
            assert_int_equal(next_line() != NULL, level >= least);
        }
    }
}

static void test_extreme_numbers(void **state)
{
    (void)state;
    log_info(log_integer("a", INT64_MIN), log_integer("b", INT64_MAX), log_unsigned("c", UINT64_MAX),
             log_duration("d", 0), log_duration("e", 1), log_duration("f", INT64_MAX));
    assert_text(tail_of_line(), ",\"a\":-9223372036854775808,\"b\":9223372036854775807,"
                                "\"c\":9223372036854775807,\"d\":0,\"e\":1e-09,\"f\":9.22337e+09}");
}

static void test_logfmt_quotes_what_needs_it(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *written;
    } cases[] = {
        { "plain", "plain" },
        { "a/b:c,d-e_f.g%", "a/b:c,d-e_f.g%" },
        { "", "\"\"" },
        { "two words", "\"two words\"" },
        { "a=b", "\"a=b\"" },
        { "a\"b", "\"a\\\"b\"" },
        { "a\\b", "\"a\\\\b\"" },
        { "a\nb\tc", "\"a\\nb\\tc\"" },
        { "a\rb", "\"a\\u000db\"" },
        { "\x1b[2J", "\"\\u001b[2J\"" },
        { "\x7f", "\"\\u007f\"" },
        { "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char wanted[64];
        log_info(log_text("key", cases[i].value));
        (void)snprintf(wanted, sizeof wanted, " key=%s", cases[i].written);
        assert_text(tail_of_line(), wanted);
    }
}

/* The names of fields come from scripts, too. */
static void test_logfmt_keys_forge_nothing(void **state)
{
    (void)state;
    log_info(log_text("a b=c\"d\ne\x80", "value"), log_text("", "value"));
    assert_text(tail_of_line(), " a_b_c_d_e_=value _=value");
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *written;
    } cases[] = {
        { "\xc2\xa0", "\xc2\xa0" },
        { "\xdf\xbf", "\xdf\xbf" },
        { "\xe0\xa0\x80", "\xe0\xa0\x80" },
        { "\xed\x9f\xbf", "\xed\x9f\xbf" },
        { "\xef\xbf\xbf", "\xef\xbf\xbf" },
        { "\xf0\x90\x80\x80", "\xf0\x90\x80\x80" },
        { "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
        { "\x80", "\xef\xbf\xbd" },
        { "\xff", "\xef\xbf\xbd" },
        { "a\xc3", "a\xef\xbf\xbd" },
        { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe0\x9f\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe2\x82x", "\xef\xbf\xbd\xef\xbf\xbdx" },
        { "\xc2\x85", "\\u0085" }, /* a control character, too: next line */
        { "\xc2\x9b", "\\u009b" }, /* what terminals take for an escape */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char wanted[64];
        size_t size = strlen(cases[i].bytes);
        char *exact = exact_copy(cases[i].bytes, size);
        log_info(log_bytes("k", exact, size));
        (void)snprintf(wanted, sizeof wanted, ",\"k\":\"%s\"}", cases[i].written);
        assert_text(tail_of_line(), wanted);
        free(exact);
    }
}

static struct log_field literal(const char *text)
{
    return (struct log_field){
        .key = "k", .key_bytes = 1, .kind = LOG_KIND_LITERAL, .text = text, .text_bytes = strlen(text)
    };
}

/* A worker says what is a literal, and may lie. */
static void test_literals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_literal;
    } cases[] = {
        { "0", true },     { "-0", true },      { "12.5", true },
        { "1e300", true }, { "-1.5E-7", true }, { "true", true },
        { "false", true }, { "null", true },    { "1e+14", true },
        { "", false },     { "-", false },      { "01", false },
        { "1.", false },   { ".5", false },     { "1e", false },
        { "1e+", false },  { "nan", false },    { "inf", false },
        { "0x10", false }, { "True", false },   { "1,\"level\":\"error\"", false },
        { "1\n", false },  { "1 2", false },    { "{}", false },
        { "[", false },    { "\"", false },     { "truefalse", false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char wanted[64];
        log_info(literal(cases[i].text));
        assert_json_line();
        (void)snprintf(wanted, sizeof wanted, "\"k\":%s}", cases[i].text);
        assert_int_equal(strstr(reader.line, wanted) != NULL, cases[i].is_literal);
    }
}

static void test_long_literals(void **state)
{
    (void)state;
    char digits[LOG_LINE_MAX + 100];
    memset(digits, '7', sizeof digits - 1);
    for (size_t size = 1; size < sizeof digits; size += 37) {
        digits[sizeof digits - 1] = '\0';
        log_info(log_message("x"), literal(digits + sizeof digits - 1 - size), log_text("end", "y"));
        assert_json_line();
    }
}

static const struct unit_of_text {
    const char *text;
    size_t size;
} units_of_text[] = { { "x", 1 },    { "\"", 1 },   { "\n", 1 },
                      { "\x01", 1 }, { "\xff", 1 }, { "\xf0\x9f\x90\x87", 4 } };

/* Every length around the bound, of characters that are written as 1 to 6 bytes, with fields behind it. */
static void check_lengths(void (*check)(void))
{
    static char text[3 * LOG_LINE_MAX];
    for (size_t unit = 0; unit < COUNT_OF(units_of_text); unit++) {
        const struct unit_of_text *of = &units_of_text[unit];
        for (size_t i = 0; i + of->size <= sizeof text; i += of->size)
            memcpy(text + i, of->text, of->size);
        for (size_t size = 0; size < 2 * LOG_LINE_MAX; size += size < 500 ? 97 : 1) {
            log_info(log_bytes("msg", text, size), log_bytes("a key of some length", text, size),
                     log_integer("n", INT64_MIN), log_text("queue", "orders"));
            check();
        }
    }
}

static void test_every_length_in_json(void **state)
{
    (void)state;
    check_lengths(assert_json_line);
}

static void test_every_length_in_logfmt(void **state)
{
    (void)state;
    check_lengths(assert_logfmt_line);
}

/* What is cut still says its beginning, quoted or not; fields that find no room go whole. */
static void test_cut_lines(void **state)
{
    (void)state;
    static char text[2 * LOG_LINE_MAX];
    memset(text, 'x', sizeof text - 1);
    log_info(log_message(text), log_text("queue", "orders"));
    const char *tail = tail_of_line();
    assert_true(strlen(tail) > LOG_LINE_MAX - 100);
    assert_contains(tail, "xxxxxx");
    assert_null(strstr(tail, "queue"));
}

static struct log_field random_field(struct random *random, char *bytes, size_t room, struct buffer *keys)
{
    size_t size = random_below(random, random_one_in(random, 4) ? (unsigned)room : 60);
    bool ascii = random_below(random, 2);
    for (size_t i = 0; i < size; i++)
        bytes[i] = ascii ? (char)(' ' + random_below(random, 95)) : (char)random_next(random);
    size_t key_bytes = random_below(random, 2) ? size % 12 : size / 2;
    const char *key = keys->data + keys->size;
    (void)buffer_append(keys, bytes, key_bytes);
    enum log_kind kind = (enum log_kind)(LOG_KIND_STRING + random_below(random, 4));
    return (struct log_field){ .key = random_one_in(random, 8) ? NULL : key,
                               .key_bytes = key_bytes,
                               .kind = kind,
                               .text = bytes,
                               .text_bytes = size,
                               .integer = (int64_t)random_next(random) };
}

static void write_random_line(struct random *random)
{
    enum { FIELDS = 6, ROOM = 6000 };
    static char bytes[FIELDS][ROOM];
    struct log_field fields[FIELDS + 1] = { 0 };
    struct buffer keys;
    buffer_init(&keys, (size_t)FIELDS * ROOM);
    assert_true(buffer_reserve(&keys, (size_t)FIELDS * ROOM));
    for (unsigned i = 0; i < FIELDS; i++)
        fields[i] = random_field(random, bytes[i], ROOM, &keys);
    log_write(LOG_ERROR, fields);
    buffer_clear(&keys);
}

static void test_random_bytes_in_json(void **state)
{
    (void)state;
    struct random random = { 3 };
    for (unsigned round = 0; round < 5000; round++) {
        write_random_line(&random);
        assert_json_line();
        assert_nothing_more();
    }
}

static void test_random_bytes_in_logfmt(void **state)
{
    (void)state;
    struct random random = { 5 };
    for (unsigned round = 0; round < 5000; round++) {
        write_random_line(&random);
        assert_logfmt_line();
        assert_nothing_more();
    }
}

static int64_t number_behind(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    assert_non_null(at);
    char *end;
    long long number = strtoll(at + strlen(key), &end, 10);
    assert_true(end > at + strlen(key));
    return number;
}

/* Reads what there is and lets the log go on, until nothing comes any more; lines come in their order. */
static void drain(int64_t *last, int64_t *lines, int64_t *told)
{
    size_t before;
    do {
        before = (size_t)(*lines + *told);
        while (next_line()) {
            assert_true(json_is_flat_object(reader.line, reader.line_bytes));
            if (strstr(reader.line, "lines were dropped")) {
                *told += number_behind(reader.line, "\"lines\":");
                continue;
            }
            int64_t number = number_behind(reader.line, "\"number\":");
            assert_true(number > *last);
            *last = number;
            ++*lines;
        }
        log_flush();
    } while ((size_t)(*lines + *told) > before || log_dropped() > (uint64_t)*told);
}

/* Nobody reads: pipe and backlog fill up, lines are dropped and counted, and nothing waits. */
static void test_a_reader_that_does_not_read(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    int64_t last = -1, lines = 0, told = 0;
    for (int i = 0; i < LINES; i++)
        log_info(log_message("a line of some length, as they are"), log_integer("number", i));
    uint64_t dropped = log_dropped();
    assert_true(dropped > 0 && dropped < LINES);
    drain(&last, &lines, &told);
    assert_int_equal(told, dropped);
    assert_int_equal(lines + told, LINES);
    log_info(log_message("again"), log_integer("number", LINES));
    assert_json_line();
    assert_int_equal(log_dropped(), dropped);
}

/* A reader that takes a little now and then loses lines, but never a part of one. */
static void test_a_slow_reader(void **state)
{
    (void)state;
    enum { LINES = 30000 };
    struct random random = { 9 };
    static char text[3000];
    int64_t last = -1, lines = 0, told = 0;
    memset(text, 'x', sizeof text);
    for (int i = 0; i < LINES; i++) {
        log_info(log_integer("number", i), log_bytes("text", text, random_below(&random, sizeof text)));
        if (random_one_in(&random, 400)) {
            char piece[5000];
            ssize_t size = read(reader.fds[0], piece, 1 + random_below(&random, sizeof piece - 1));
            assert_true(size > 0 && buffer_append(&reader.read, piece, (size_t)size));
        }
        if (random_one_in(&random, 1000))
            log_flush();
    }
    drain(&last, &lines, &told);
    assert_int_equal(lines + told, LINES);
    assert_int_equal(told, log_dropped());
    assert_true(told > 0 && lines > 100);
}

static void test_a_reader_that_has_gone(void **state)
{
    (void)state;
    (void)close(reader.fds[0]);
    for (int i = 0; i < 20000; i++)
        log_info(log_message("nobody reads this any more"), log_integer("number", i));
    log_flush();
    assert_true(log_dropped() > 0);
    reader.fds[0] = -1;
}

static void test_open_begins_anew(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++)
        log_info(log_message("a line of some length, as they are"));
    assert_true(log_dropped() > 0);
    (void)close_log(NULL);
    open_log(LOG_FORMAT_JSON);
    assert_int_equal(log_dropped(), 0);
    log_flush();
    assert_nothing_more();
}

static void test_a_pipe_gets_json(void **state)
{
    (void)state;
    log_open(reader.fds[1], LOG_FORMAT_AUTO, LOG_INFO);
    log_info(log_message("x"));
    assert_json_line();
}

/* Standard error where a person looks on. */
static void test_a_terminal_gets_logfmt(void **state)
{
    char line[256];
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    (void)state;
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int writer = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(writer >= 0);
    log_open(writer, LOG_FORMAT_AUTO, LOG_INFO);
    log_info(log_message("x"));
    ssize_t size = read(terminal, line, sizeof line - 1);
    assert_true(size > 0);
    line[size] = '\0';
    assert_non_null(strstr(line, " level=info msg=x"));
    assert_memory_equal(line, "time=", 5);
    (void)close(writer);
    (void)close(terminal);
}

#define IN_JSON(test)   cmocka_unit_test_setup_teardown(test, open_json, close_log)
#define IN_LOGFMT(test) cmocka_unit_test_setup_teardown(test, open_logfmt, close_log)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_JSON(test_json),
        IN_LOGFMT(test_logfmt),
        IN_JSON(test_levels_stand_in_the_line),
        cmocka_unit_test(test_level_words_that_are_none),
        IN_JSON(test_what_is_below_the_level_is_not_written),
        IN_JSON(test_extreme_numbers),
        IN_LOGFMT(test_logfmt_quotes_what_needs_it),
        IN_LOGFMT(test_logfmt_keys_forge_nothing),
        IN_JSON(test_utf8),
        IN_JSON(test_literals),
        IN_JSON(test_long_literals),
        IN_JSON(test_every_length_in_json),
        IN_LOGFMT(test_every_length_in_logfmt),
        IN_JSON(test_cut_lines),
        IN_LOGFMT(test_cut_lines),
        IN_JSON(test_random_bytes_in_json),
        IN_LOGFMT(test_random_bytes_in_logfmt),
        IN_JSON(test_a_reader_that_does_not_read),
        IN_JSON(test_a_slow_reader),
        IN_JSON(test_a_reader_that_has_gone),
        IN_JSON(test_open_begins_anew),
        IN_JSON(test_a_pipe_gets_json),
        IN_JSON(test_a_terminal_gets_logfmt),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(PATIENCE_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
