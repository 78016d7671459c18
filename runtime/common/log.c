/* Formatting and writing of log lines; see log.h. */
#include "common/log.h"

#include "common/buffer.h"
#include "common/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    int fd;
    bool json;
    enum log_level level;
    uint64_t dropped;
    uint64_t dropped_told; /* of `dropped`, how many a line has spoken of */
    struct buffer backlog;
} state = { .fd = STDERR_FILENO, .level = LOG_INFO, .backlog = { .limit = LOG_BACKLOG_MAX } };

static const char *const level_names[] = { "debug", "info", "warning", "error" };

/* A line in the making; what does not fit is cut. */
struct line {
    char text[LOG_LINE_MAX];
    size_t size;
};

enum {
    LINE_TAIL = 8, /* kept back so that a cut line ends as its format wants: closing quote, brace, newline */
    LEAST_ROOM = 48, /* a field that finds less room for its value goes whole */
    LITERAL_MAX = 32,
};

void log_open(int fd, enum log_format format, enum log_level level)
{
    state.fd = fd;
    state.json = format == LOG_FORMAT_JSON || (format == LOG_FORMAT_AUTO && !isatty(fd));
    state.level = level;
    state.dropped = state.dropped_told = 0;
    buffer_clear(&state.backlog);
}

void log_set_level(enum log_level level)
{
    state.level = level;
}

enum log_level log_get_level(void)
{
    return state.level;
}

bool log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

uint64_t log_dropped(void)
{
    return state.dropped;
}

/* A closing quote stands in the tail: there is no room left behind it. */
static size_t room_in(const struct line *line)
{
    const size_t end = sizeof line->text - LINE_TAIL;
    return line->size < end ? end - line->size : 0;
}

static bool put(struct line *line, const char *text, size_t size)
{
    if (size > room_in(line))
        return false;
    memcpy(line->text + line->size, text, size);
    line->size += size;
    return true;
}

/* Control characters and broken UTF-8 become escapes, so that no text can forge a line or break the JSON. */
static void put_escaped(struct line *line, const char *text, size_t size)
{
    const char *cursor = text;
    const char *end = cursor + size;
    char room[UTF8_QUOTED_MAX + 1];
    while (cursor < end) {
        size_t length = utf8_length(cursor, (size_t)(end - cursor));
        struct slice quoted = utf8_quoted(cursor, length, room);
        if (!put(line, quoted.data, quoted.size))
            return;
        cursor += length > 0 ? length : 1;
    }
}

static void put_quoted(struct line *line, const char *text, size_t size)
{
    if (!put(line, "\"", 1))
        return;
    put_escaped(line, text, size);
    line->text[line->size++] = '"'; /* LINE_TAIL keeps room */
}

/* What stands in logfmt without quotes. */
static bool is_plain(unsigned char c)
{
    return c > 0x20 && c < 0x7f && c != '"' && c != '=' && c != '\\';
}

static bool needs_quotes(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!is_plain((unsigned char)text[i]))
            return true;
    }
    return size == 0;
}

/* A long text is quoted, too: only within quotes is it cut. */
static void put_string(struct line *line, const char *text, size_t size)
{
    if (state.json || needs_quotes(text, size) || !put(line, text, size))
        put_quoted(line, text, size);
}

static size_t end_of_digits(const char *text, size_t size, size_t from)
{
    while (from < size && text[from] >= '0' && text[from] <= '9')
        from++;
    return from;
}

/* A number as JSON has it. */
static bool is_number(const char *text, size_t size)
{
    size_t whole = size > 0 && text[0] == '-';
    size_t at = end_of_digits(text, size, whole);
    if (at == whole || (text[whole] == '0' && at > whole + 1))
        return false;
    if (at < size && text[at] == '.') {
        size_t fraction = at + 1;
        at = end_of_digits(text, size, fraction);
        if (at == fraction)
            return false;
    }
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        size_t exponent = at + 1;
        if (exponent < size && (text[exponent] == '+' || text[exponent] == '-'))
            exponent++;
        at = end_of_digits(text, size, exponent);
        if (at == exponent)
            return false;
    }
    return at == size;
}

/* Workers send literals, and may send anything as one. */
static bool is_literal(const char *text, size_t size)
{
    const struct slice slice = { .data = text, .size = size };
    return size <= LITERAL_MAX && (slice_equals(slice, "true") || slice_equals(slice, "false") ||
                                   slice_equals(slice, "null") || is_number(text, size));
}

static void put_value(struct line *line, const struct log_field *field)
{
    char number[40];
    switch (field->kind) {
    case LOG_KIND_STRING:
        put_string(line, field->text, field->text_bytes);
        return;
    case LOG_KIND_LITERAL:
        if (!is_literal(field->text, field->text_bytes) || !put(line, field->text, field->text_bytes))
            put_string(line, field->text, field->text_bytes);
        return;
    case LOG_KIND_INTEGER:
        (void)snprintf(number, sizeof number, "%" PRId64, field->integer);
        break;
    case LOG_KIND_DURATION:
        (void)snprintf(number, sizeof number, "%.6g", (double)field->integer / 1e9);
        break;
    case LOG_END:
    default:
        return;
    }
    (void)put(line, number, strlen(number));
}

/* logfmt knows no quotes around keys. */
static void put_bare_key(struct line *line, const char *key, size_t size)
{
    if (size == 0)
        (void)put(line, "_", 1);
    for (size_t i = 0; i < size && put(line, is_plain((unsigned char)key[i]) ? key + i : "_", 1); i++)
        ;
}

static void put_field(struct line *line, const struct log_field *field)
{
    size_t before = line->size;
    const char *key = field->key ? field->key : "msg";
    size_t key_bytes = field->key ? field->key_bytes : 3;
    (void)put(line, state.json ? "," : " ", 1);
    if (state.json)
        put_quoted(line, key, key_bytes);
    else
        put_bare_key(line, key, key_bytes);
    if (room_in(line) <= LEAST_ROOM || !put(line, state.json ? ":" : "=", 1)) {
        line->size = before;
        return;
    }
    put_value(line, field);
}

static void put_head(struct line *line, enum log_level level)
{
    struct timespec now = { 0 };
    struct tm utc = { 0 };
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    char date[24];
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    char head[96];
    (void)snprintf(head, sizeof head,
                   state.json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\"" : "time=%s.%03ldZ level=%s", date,
                   now.tv_nsec / 1000000, level_names[level]);
    (void)put(line, head, strlen(head));
}

/* Whether the descriptor takes a line now. A pipe that polls writable takes PIPE_BUF (4096) bytes whole. */
static bool writable(void)
{
    struct pollfd poll_fd = { .fd = state.fd, .events = POLLOUT };
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);
}

static bool write_some(const char *text, size_t size, size_t *ret_written)
{
    ssize_t written;
    do {
        written = write(state.fd, text, size);
    } while (written < 0 && errno == EINTR);
    if (written < 0)
        return false;
    *ret_written = (size_t)written;
    return true;
}

/* Writes the backlog line by line; true when it is empty. */
static bool flush_backlog(void)
{
    while (state.backlog.size > 0) {
        const char *end = memchr(state.backlog.data, '\n', state.backlog.size);
        size_t size = end ? (size_t)(end - state.backlog.data) + 1 : state.backlog.size;
        size_t written = 0;
        if (!writable() || !write_some(state.backlog.data, size, &written) || written == 0)
            return false;
        buffer_consume(&state.backlog, written);
    }
    return true;
}

static void emit(const struct line *line)
{
    size_t written = 0;
    if (flush_backlog() && writable() && !write_some(line->text, line->size, &written))
        written = 0;
    if (written < line->size && !buffer_append(&state.backlog, line->text + written, line->size - written))
        state.dropped++;
}

static void tell_dropped(void)
{
    uint64_t count = state.dropped - state.dropped_told;
    state.dropped_told = state.dropped;
    log_warning(log_message("log lines were dropped: the reader of the log is too slow"),
                log_unsigned("lines", count));
}

void log_flush(void)
{
    if (flush_backlog() && state.dropped > state.dropped_told)
        tell_dropped();
}

bool log_waits(void)
{
    return state.backlog.size > 0 || state.dropped > state.dropped_told;
}

void log_write(enum log_level level, const struct log_field *fields)
{
    if (level < state.level)
        return;
    struct line line;
    line.size = 0;
    put_head(&line, level);
    for (size_t i = 0; fields[i].kind != LOG_END || fields[i].key; i++) {
        if (fields[i].kind != LOG_END)
            put_field(&line, &fields[i]);
    }
    if (state.json)
        line.text[line.size++] = '}';
    line.text[line.size++] = '\n';
    emit(&line);
}

struct log_field log_message(const char *text)
{
    return (struct log_field){ .kind = LOG_KIND_STRING, .text = text, .text_bytes = strlen(text) };
}

struct log_field log_text(const char *key, const char *text)
{
    if (!text)
        return (struct log_field){ .key = key, .kind = LOG_END };
    return log_bytes(key, text, strlen(text));
}

struct log_field log_bytes(const char *key, const char *text, size_t size)
{
    return (struct log_field){
        .key = key, .key_bytes = strlen(key), .kind = LOG_KIND_STRING, .text = text, .text_bytes = size
    };
}

struct log_field log_integer(const char *key, int64_t value)
{
    return (
        struct log_field){ .key = key, .key_bytes = strlen(key), .kind = LOG_KIND_INTEGER, .integer = value };
}

struct log_field log_unsigned(const char *key, uint64_t value)
{
    return log_integer(key, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

struct log_field log_suppressed(uint64_t lines)
{
    return lines ? log_unsigned("suppressed", lines) : log_text("suppressed", NULL);
}

struct log_field log_duration(const char *key, int64_t nanoseconds)
{
    return (struct log_field){
        .key = key, .key_bytes = strlen(key), .kind = LOG_KIND_DURATION, .integer = nanoseconds
    };
}
