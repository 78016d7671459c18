/* UTF-8, by the table of RFC 3629; see utf8.h. */
#include "common/utf8.h"

#include <stdio.h>

static size_t length_by_lead(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

size_t utf8_length(const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char lead = bytes[0];
    size_t length = length_by_lead(lead);
    if (length == 0 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Longer than need be, surrogates, and past the last character. */
    if ((lead == 0xe0 && bytes[1] < 0xa0) || (lead == 0xed && bytes[1] >= 0xa0) ||
        (lead == 0xf0 && bytes[1] < 0x90) || (lead == 0xf4 && bytes[1] >= 0x90))
        return 0;
    return length;
}

bool utf8_is_valid(struct slice text)
{
    for (size_t i = 0, length; i < text.size; i += length) {
        length = utf8_length(text.data + i, text.size - i);
        if (length == 0)
            return false;
    }
    return true;
}

static bool is_space(char c)
{
    return c == '\n' || c == '\t' || c == '\r';
}

bool utf8_is_plain(struct slice text)
{
    unsigned code;
    for (size_t i = 0, length; i < text.size; i += length) {
        length = utf8_length(text.data + i, text.size - i);
        if (length == 0 || (utf8_is_control(text.data + i, length, &code) && !is_space(text.data[i])))
            return false;
    }
    return true;
}

/* C1 takes two bytes in UTF-8. */
bool utf8_is_control(const char *text, size_t length, unsigned *ret_code)
{
    const unsigned char *bytes = (const unsigned char *)text;
    bool c1 = length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0;
    *ret_code = c1 ? bytes[1] : bytes[0];
    return c1 || bytes[0] < 0x20 || bytes[0] == 0x7f;
}

struct slice utf8_quoted(const char *text, size_t length, char room[UTF8_QUOTED_MAX + 1])
{
    unsigned code;
    if (length == 0)
        return slice_of("\xef\xbf\xbd");
    if (*text == '\n')
        return slice_of("\\n");
    if (*text == '\t')
        return slice_of("\\t");
    if (*text == '"' || *text == '\\')
        (void)snprintf(room, UTF8_QUOTED_MAX + 1, "\\%c", *text);
    else if (utf8_is_control(text, length, &code))
        (void)snprintf(room, UTF8_QUOTED_MAX + 1, "\\u%04x", code & 0xff);
    else
        return (struct slice){ .data = text, .size = length };
    return slice_of(room);
}
