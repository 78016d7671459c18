/* Sizes and durations as people write them; see units.h. */
#include "common/units.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    double factor;
};

static const struct unit size_units[] = {
    { "", 1 },         { "B", 1 },        { "kB", 1e3 },     { "MB", 1e6 },
    { "GB", 1e9 },     { "TB", 1e12 },    { "KiB", 1024.0 }, { "MiB", 1048576.0 },
    { "GiB", 0x1p30 }, { "TiB", 0x1p40 }, { NULL, 0 },
};

static const struct unit duration_units[] = {
    { "", 1e9 },   { "ns", 1 },     { "us", 1e3 },    { "ms", 1e6 }, { "s", 1e9 },
    { "m", 60e9 }, { "h", 3600e9 }, { "d", 86400e9 }, { NULL, 0 },
};

static const struct unit *find_unit(const struct unit *units, const char *name)
{
    for (; units->name; units++) {
        if (strcasecmp(units->name, name) == 0)
            return units;
    }
    return NULL;
}

static bool parse(const char *text, size_t length, const struct unit *units, int64_t *ret_value)
{
    char copy[UNITS_TEXT_MAX];
    if (length == 0 || length >= sizeof copy || !isdigit((unsigned char)text[0]) ||
        memchr(text, '\0', length))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    /* Only digits and one point: strtod alone would also take exponents, hexadecimal and "inf". */
    size_t digits = strspn(copy, "0123456789");
    if (copy[digits] == '.' && isdigit((unsigned char)copy[digits + 1]))
        digits += 1 + strspn(copy + digits + 1, "0123456789");
    const struct unit *unit = find_unit(units, copy + digits);
    if (!unit)
        return false;
    double value = strtod(copy, NULL) * unit->factor;
    if (!(value < 9.2e18))
        return false;
    *ret_value = (int64_t)llround(value);
    return true;
}

bool units_parse_size(const char *text, size_t length, int64_t *ret_bytes)
{
    return parse(text, length, size_units, ret_bytes);
}

bool units_parse_duration(const char *text, size_t length, int64_t *ret_ns)
{
    return parse(text, length, duration_units, ret_ns);
}

bool units_from_seconds(double seconds, int64_t *ret_ns)
{
    if (!(seconds >= 0 && seconds < 9.2e9))
        return false;
    *ret_ns = (int64_t)(seconds * 1e9);
    return true;
}

int64_t units_from_number(double number)
{
    if (number >= 0x1p63)
        return INT64_MAX;
    if (number <= -0x1p63)
        return -INT64_MAX;
    return isnan(number) ? 0 : (int64_t)number;
}

static const char *format(double value, const char *unit, char text[UNITS_TEXT_MAX])
{
    bool whole = fabs(value - round(value)) < 0.05;
    (void)snprintf(text, UNITS_TEXT_MAX, whole ? "%.0f%s" : "%.1f%s", value, unit);
    return text;
}

const char *units_format_size(int64_t bytes, char text[UNITS_TEXT_MAX])
{
    static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    size_t i = 0;
    while (fabs(value) >= 1024 && i + 1 < sizeof names / sizeof names[0]) {
        value /= 1024;
        i++;
    }
    return format(value, names[i], text);
}

const char *units_format_duration(int64_t nanoseconds, char text[UNITS_TEXT_MAX])
{
    double value = (double)nanoseconds;
    if (value < 1e3)
        return format(value, "ns", text);
    if (value < 1e6)
        return format(value / 1e3, "us", text);
    if (value < 1e9)
        return format(value / 1e6, "ms", text);
    if (value < 60e9)
        return format(value / 1e9, "s", text);
    if (value < 3600e9)
        return format(value / 60e9, "m", text);
    return format(value / 3600e9, "h", text);
}
