/* Sizes ("64MiB", "1kB", 512) and durations ("30s", "250ms", "1h", 5) as people write them. Pure; no unit
 * means bytes and seconds. The configuration's Lua asks for the same words through host/config.c, so they are
 * defined once. */
#ifndef COMMON_UNITS_H
#define COMMON_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Digits with an optional fraction, then B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024),
 * in any case; false where it is not that, negative, or over INT64_MAX. */
bool units_parse_size(const char *text, size_t length, int64_t *ret_bytes);

/* Digits with an optional fraction, then ns, us, ms, s, m, h or d; false where it is not that or does not
 * fit. */
bool units_parse_duration(const char *text, size_t length, int64_t *ret_ns);

/* Seconds as a number, which scripts may give instead of a text; false where they are negative, no number or
 * do not fit. */
bool units_from_seconds(double seconds, int64_t *ret_ns);

/* A number of Lua's as bytes or nanoseconds to be shown: the nearest that there is, and 0 for what is none.
 */
int64_t units_from_number(double number);

enum { UNITS_TEXT_MAX = 32 };

/* The shortest exact-looking form with at most one decimal: "64MiB", "1.5s". Returns `text`. */
const char *units_format_size(int64_t bytes, char text[UNITS_TEXT_MAX]);
const char *units_format_duration(int64_t nanoseconds, char text[UNITS_TEXT_MAX]);

#endif
