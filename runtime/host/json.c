/* Writing JSON; see json.h. */
#include "host/json.h"

#include "common/base64.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_put_quoted(struct buffer *to, struct slice text)
{
    char room[UTF8_QUOTED_MAX + 1];
    for (size_t i = 0; i < text.size;) {
        size_t length = utf8_length(text.data + i, text.size - i);
        struct slice quoted = utf8_quoted(text.data + i, length, room);
        (void)buffer_append(to, quoted.data, quoted.size);
        i += length == 0 ? 1 : length;
    }
}

void json_put_text(struct buffer *to, struct slice text)
{
    (void)buffer_append_text(to, "\"");
    json_put_quoted(to, text);
    (void)buffer_append_text(to, "\"");
}

void json_put_base64(struct buffer *to, struct slice bytes)
{
    (void)buffer_append_text(to, "\"");
    base64_encode(bytes, to);
    (void)buffer_append_text(to, "\"");
}

void json_put_digits(struct buffer *to, double number)
{
    char digits[32];
    (void)snprintf(digits, sizeof digits, "%.15g", number);
    if (strtod(digits, NULL) < number || strtod(digits, NULL) > number)
        (void)snprintf(digits, sizeof digits, "%.17g", number);
    (void)buffer_append_text(to, digits);
}

void json_put_number(struct buffer *to, double number)
{
    if (isfinite(number))
        json_put_digits(to, number);
    else
        (void)buffer_append_text(to, "null");
}

void json_name(struct buffer *to, const char *name)
{
    char before = to->size > 0 ? to->data[to->size - 1] : '{';
    if (before != '{' && before != '[')
        (void)buffer_append_text(to, ",");
    if (name)
        (void)buffer_printf(to, "\"%s\":", name);
}

void json_open(struct buffer *to, const char *name, char bracket)
{
    /* At the very beginning there is nothing to be told from. */
    if (to->size > 0)
        json_name(to, name);
    (void)buffer_append(to, &bracket, 1);
}

void json_close(struct buffer *to, char bracket)
{
    (void)buffer_append(to, &bracket, 1);
}

void json_slice(struct buffer *to, const char *name, struct slice text)
{
    json_name(to, name);
    json_put_text(to, text);
}

void json_text(struct buffer *to, const char *name, const char *text)
{
    if (text)
        json_slice(to, name, slice_of(text));
    else
        json_null(to, name);
}

void json_unsigned(struct buffer *to, const char *name, uint64_t number)
{
    json_name(to, name);
    (void)buffer_printf(to, "%" PRIu64, number);
}

void json_integer(struct buffer *to, const char *name, int64_t number)
{
    json_name(to, name);
    (void)buffer_printf(to, "%" PRId64, number);
}

void json_double(struct buffer *to, const char *name, double number)
{
    json_name(to, name);
    json_put_number(to, number);
}

void json_boolean(struct buffer *to, const char *name, bool value)
{
    json_name(to, name);
    (void)buffer_append_text(to, value ? "true" : "false");
}

void json_null(struct buffer *to, const char *name)
{
    json_name(to, name);
    (void)buffer_append_text(to, "null");
}

void json_seconds(struct buffer *to, const char *name, int64_t nanoseconds)
{
    json_double(to, name, (double)nanoseconds / 1e9);
}
