/* Writing JSON; see json_text.h. */
#include "worker/json_text.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    DEPTH_MAX = 1000, /* as deep as bodies are read */
    DIGITS_FEW = 15,  /* always exact in a double; 17 tell every double apart */
    DIGITS_ALL = 17,
    NUMBER_BYTES = 32,
};

static void put_null(struct buffer *to)
{
    (void)buffer_append_text(to, "null");
}

static void put_boolean(struct buffer *to, bool value)
{
    (void)buffer_append_text(to, value ? "true" : "false");
}

/* With as few digits as it takes to read the same number back. */
static void put_number(struct buffer *to, double value)
{
    char text[NUMBER_BYTES];
    int size = 0;
    if (fabs(value) <= 9007199254740992.0 && value == floor(value)) {
        size = snprintf(text, sizeof text, "%.0f", value);
    } else {
        for (int digits = DIGITS_FEW; digits <= DIGITS_ALL; digits++) {
            size = snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value)
                break;
        }
    }
    (void)buffer_append(to, text, size > 0 ? (size_t)size : 0);
}

static void put_escaped(struct buffer *to, unsigned char c)
{
    static const char names[] = "btn.fr"; /* from 8 on; there is no name for 11 */
    char text[8];
    int size;
    if (c == '"' || c == '\\')
        size = snprintf(text, sizeof text, "\\%c", c);
    else if (c >= '\b' && c <= '\r' && c != '\v')
        size = snprintf(text, sizeof text, "\\%c", names[c - '\b']);
    else
        size = snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    (void)buffer_append(to, text, (size_t)size);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
}

static void put_text(struct buffer *to, struct slice text)
{
    (void)buffer_append(to, "\"", 1);
    for (size_t i = 0, from = 0; i <= text.size; i++) {
        if (i < text.size && is_plain((unsigned char)text.data[i]))
            continue;
        (void)buffer_append(to, text.data + from, i - from);
        if (i < text.size)
            put_escaped(to, (unsigned char)text.data[i]);
        from = i + 1;
    }
    (void)buffer_append(to, "\"", 1);
}

static void put_name(struct buffer *to, struct slice name)
{
    put_text(to, name);
    (void)buffer_append(to, ":", 1);
}

static void put_separator(struct buffer *to)
{
    (void)buffer_append(to, ",", 1);
}

static size_t begin(struct buffer *to, bool list)
{
    (void)buffer_append(to, list ? "[" : "{", 1);
    return 0;
}

static void end(struct buffer *to, size_t mark, bool list)
{
    (void)mark;
    (void)buffer_append(to, list ? "]" : "}", 1);
}

const struct tree_format json_text_format = {
    .depth_max = DEPTH_MAX,
    .name_bytes_max = SIZE_MAX,
    .put_null = put_null,
    .put_boolean = put_boolean,
    .put_number = put_number,
    .put_text = put_text,
    .put_name = put_name,
    .put_separator = put_separator,
    .begin = begin,
    .end = end,
};
