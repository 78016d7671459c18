/* Growable bytes with a bound; see buffer.h. */
#include "common/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 256 };

void buffer_init(struct buffer *buffer, size_t limit_bytes)
{
    *buffer = (struct buffer){ .limit = limit_bytes };
}

void buffer_clear(struct buffer *buffer)
{
    free(buffer->data);
    buffer_init(buffer, buffer->limit);
}

void buffer_reset(struct buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
}

static size_t grown_capacity(const struct buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
    while (capacity < needed)
        capacity = capacity > buffer->limit / 2 ? buffer->limit : capacity * 2;
    return capacity < buffer->limit ? capacity : buffer->limit;
}

bool buffer_reserve(struct buffer *buffer, size_t size)
{
    if (buffer->size > buffer->limit || size > buffer->limit - buffer->size) {
        buffer->failed = true;
        return false;
    }
    size_t needed = buffer->size + size;
    if (needed <= buffer->capacity)
        return true;
    size_t capacity = grown_capacity(buffer, needed);
    char *data = realloc(buffer->data, capacity);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return true;
    if (!buffer_reserve(buffer, size))
        return false;
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return true;
}

bool buffer_append_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, text, strlen(text));
}

bool buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size < 0 || !buffer_reserve(buffer, (size_t)size + 1)) {
        buffer->failed = true;
        return false;
    }
    va_start(arguments, format);
    (void)vsnprintf(buffer->data + buffer->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    buffer->size += (size_t)size;
    return true;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    if (size >= buffer->size) {
        buffer->size = 0;
        return;
    }
    memmove(buffer->data, buffer->data + size, buffer->size - size);
    buffer->size -= size;
}

void buffer_shrink(struct buffer *buffer, size_t keep_bytes)
{
    if (buffer->size > 0 || buffer->capacity <= keep_bytes)
        return;
    free(buffer->data);
    buffer->data = NULL;
    buffer->capacity = 0;
}

void buffer_swap(struct buffer *one, struct buffer *other)
{
    const struct buffer before = *one;
    *one = *other;
    one->limit = before.limit;
    size_t limit = other->limit;
    *other = before;
    other->limit = limit;
}

struct slice slice_of(const char *text)
{
    return (struct slice){ .data = text, .size = strlen(text) };
}

bool slice_equals(struct slice slice, const char *text)
{
    return slice.size == strlen(text) && memcmp(slice.data, text, slice.size) == 0;
}

bool slice_same(struct slice one, struct slice other)
{
    return one.size == other.size && (one.size == 0 || memcmp(one.data, other.data, one.size) == 0);
}
