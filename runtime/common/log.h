/* Log lines on a descriptor: logfmt on a terminal, JSON elsewhere, one line for each event, cut at
 * LOG_LINE_MAX.
 *
 * Writing never blocks the loop: where the reader of the descriptor is slow, lines wait in a bounded backlog
 * and are then dropped and counted; the count is a line of its own once there is room again. Only the host
 * logs by itself; a worker sends WIRE_LOG frames. The one global of the program lives here. One thread at a
 * time may log. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG = 0, LOG_INFO = 1, LOG_WARNING = 2, LOG_ERROR = 3 };
enum log_format { LOG_FORMAT_AUTO = 0, LOG_FORMAT_LOGFMT = 1, LOG_FORMAT_JSON = 2 };

enum { LOG_LINE_MAX = 4096, LOG_BACKLOG_MAX = 256 * 1024, LOG_FIELDS_MAX = 32 };

enum log_kind { LOG_END = 0, LOG_KIND_STRING, LOG_KIND_LITERAL, LOG_KIND_INTEGER, LOG_KIND_DURATION };

struct log_field {
    const char *key; /* NULL for the message; need not be NUL-terminated: key_bytes counts */
    size_t key_bytes;
    enum log_kind kind;
    const char
        *text; /* STRING, and LITERAL: a JSON number, true, false or null; else a STRING all the same */
    size_t text_bytes;
    int64_t integer; /* INTEGER; DURATION in nanoseconds, printed as seconds */
};

void log_open(int fd, enum log_format format, enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
bool log_level_parse(const char *text, enum log_level *ret_level); /* debug, info, warning, error */

/* Tries to write what waits in the backlog; the host's loop calls it now and then while there is something,
 * and before the end. */
void log_flush(void);
bool log_waits(void);
uint64_t log_dropped(void); /* lines dropped since log_open */

/* Writes one line; `fields` ends with { 0 }. */
void log_write(enum log_level level, const struct log_field *fields);

struct log_field log_message(const char *text);
struct log_field log_text(const char *key, const char *text); /* NULL text is left out */
struct log_field log_bytes(const char *key, const char *text, size_t size);
struct log_field log_integer(const char *key, int64_t value);
struct log_field log_unsigned(const char *key, uint64_t value);
struct log_field log_suppressed(uint64_t lines); /* how many were left out before this one; 0 is left out */
struct log_field log_duration(const char *key, int64_t nanoseconds);

/* log_info(log_message("worker ready"), log_integer("pid", pid)); */
#define log_fields(...)  ((const struct log_field[]){ __VA_ARGS__, { 0 } })
#define log_debug(...)   log_write(LOG_DEBUG, log_fields(__VA_ARGS__))
#define log_info(...)    log_write(LOG_INFO, log_fields(__VA_ARGS__))
#define log_warning(...) log_write(LOG_WARNING, log_fields(__VA_ARGS__))
#define log_error(...)   log_write(LOG_ERROR, log_fields(__VA_ARGS__))

#endif
