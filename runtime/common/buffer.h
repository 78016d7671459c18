/* A growable run of bytes with a bound: what is encoded, read or written piece by piece lives in one.
 * Appending past the bound, or without memory, sets `failed` and leaves the content as it was; a caller may
 * append many times and look at `failed` once. A slice is a borrowed view into somebody else's bytes. */
#ifndef COMMON_BUFFER_H
#define COMMON_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct slice {
    const char *data; /* not NUL-terminated; borrowed */
    size_t size;
};

struct buffer {
    char *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated, at most limit */
    size_t limit;    /* bytes it may ever hold */
    bool failed;     /* an append was refused since the last buffer_reset */
};

void buffer_init(struct buffer *buffer, size_t limit_bytes); /* allocates nothing */
void buffer_clear(struct buffer *buffer);                    /* frees; the bound stays */
void buffer_reset(struct buffer *buffer);                    /* empties, keeps the memory */

/* Makes room for `size` more bytes; false (and failed) where that is past the limit or memory. */
bool buffer_reserve(struct buffer *buffer, size_t size);
bool buffer_append(struct buffer *buffer, const void *data, size_t size);
bool buffer_append_text(struct buffer *buffer, const char *text);
/* Needs room for one byte more, the NUL, which is not counted. */
bool buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops `size` bytes from the front (at most what is there). */
void buffer_consume(struct buffer *buffer, size_t size);

/* Gives memory back when more than `keep_bytes` is allocated and the buffer is empty. */
void buffer_shrink(struct buffer *buffer, size_t keep_bytes);

/* Exchanges what they hold; each keeps its limit. */
void buffer_swap(struct buffer *one, struct buffer *other);

struct slice slice_of(const char *text);
bool slice_equals(struct slice slice, const char *text);
bool slice_same(struct slice one, struct slice other);

#endif
