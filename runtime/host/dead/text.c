/* Texts in print; see text.h. */
#include "host/dead/text.h"

#include "common/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void put_escaped(struct buffer *to, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char text[8];
        int length = snprintf(text, sizeof text, "\\x%02x", (unsigned)(unsigned char)bytes[i]);
        (void)buffer_append(to, text, length > 0 ? (size_t)length : 0);
    }
}

void text_put(struct buffer *to, struct slice text, bool lines)
{
    unsigned code;
    for (size_t i = 0, length; i < text.size; i += length) {
        const char *at = text.data + i;
        length = utf8_length(at, text.size - i);
        bool broken = length == 0;
        length = broken ? 1 : length;
        bool kept =
            !broken && (!utf8_is_control(at, length, &code) || (lines && (*at == '\n' || *at == '\t')));
        if (kept)
            (void)buffer_append(to, at, length);
        else
            put_escaped(to, at, length);
    }
}

struct slice text_first_line(struct slice text)
{
    const char *end = text.size > 0 ? memchr(text.data, '\n', text.size) : NULL;
    if (end)
        text.size = (size_t)(end - text.data);
    return text;
}

size_t text_width(struct slice text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.size; i++)
        width += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return width;
}

size_t text_bytes_in(struct slice text, size_t width)
{
    size_t i = 0;
    for (; i < text.size; i++) {
        bool begins = ((unsigned char)text.data[i] & 0xc0) != 0x80;
        if (begins && width-- == 0)
            break;
    }
    return i;
}

void text_put_age(struct buffer *to, int64_t seconds)
{
    static const struct {
        int64_t seconds;
        char unit;
    } units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 0, 's' } };
    if (seconds < 0)
        return;
    size_t i = 0;
    while (seconds < units[i].seconds)
        i++;
    int64_t length = units[i].seconds > 0 ? units[i].seconds : 1;
    (void)buffer_printf(to, "%" PRId64 "%c", seconds / length, units[i].unit);
}

void text_put_time(struct buffer *to, int64_t seconds)
{
    char text[64];
    struct tm tm;
    time_t time = (time_t)seconds;
    if (gmtime_r(&time, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        (void)buffer_append_text(to, text);
    else
        (void)buffer_printf(to, "%" PRId64, seconds);
}
