/* Four characters for three bytes; see base64.h. */
#include "common/base64.h"

#include <stdint.h>

enum { BITS = 6 };

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice bytes, struct buffer *to)
{
    const unsigned char *data = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t have = bytes.size - i < 3 ? bytes.size - i : 3;
        uint32_t three = (uint32_t)data[i] << 16;
        three |= have > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        three |= have > 2 ? data[i + 2] : 0;
        const char four[4] = { digits[three >> 18], digits[three >> 12 & 63],
                               have > 1 ? digits[three >> 6 & 63] : '=',
                               have > 2 ? digits[three & 63] : '=' };
        (void)buffer_append(to, four, sizeof four);
    }
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The value of a digit; -1: it is none. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

static struct slice without_padding(struct slice text)
{
    while (text.size > 0 && (text.data[text.size - 1] == '=' || is_blank(text.data[text.size - 1])))
        text.size--;
    return text;
}

/* Bits that are left over must be those that fill up the last digit. */
bool base64_decode(struct slice text, struct buffer *to)
{
    uint32_t bits = 0;
    unsigned have = 0;
    text = without_padding(text);
    for (size_t i = 0; i < text.size; i++) {
        if (is_blank(text.data[i]))
            continue;
        int value = value_of(text.data[i]);
        if (value < 0)
            return false;
        bits = (bits << BITS | (uint32_t)value) & 0xfff;
        have += BITS;
        if (have >= 8) {
            have -= 8;
            const char byte = (char)(bits >> have & 0xff);
            (void)buffer_append(to, &byte, 1);
            bits &= (1U << have) - 1;
        }
    }
    return have < BITS && bits == 0 && !to->failed;
}
