/* Reading and writing an AMQP 0-9-1 field table (a message's headers) in its wire encoding.
 *
 * The encoding is section 4.2.5.5 of the AMQP 0-9-1 specification with RabbitMQ's errata: a table is a run of
 * { u8 length, name, value }, a value is { u8 kind, content }, numbers are big-endian. The bytes come from
 * whoever published the message, so every length is checked and depth is bounded. Pure; slices point into the
 * bytes given. */
#ifndef COMMON_FIELDS_H
#define COMMON_FIELDS_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    FIELDS_DEPTH_MAX = 32,
    FIELDS_NAME_MAX = 255, /* bytes of a name */
};

enum field_kind {
    FIELD_VOID,
    FIELD_BOOLEAN,   /* integer is 0 or 1 */
    FIELD_INTEGER,   /* every signed kind: b s I l, and B u i that fit */
    FIELD_UNSIGNED,  /* L over INT64_MAX: `integer` holds the bits */
    FIELD_DOUBLE,    /* f and d, and D (decimal) */
    FIELD_TIMESTAMP, /* integer: seconds since 1970 */
    FIELD_BYTES,     /* S and x */
    FIELD_TABLE,     /* bytes: entries for fields_next_entry */
    FIELD_ARRAY,     /* bytes: values for fields_next_value */
};

struct field {
    enum field_kind kind;
    int64_t integer;
    double number;
    struct slice bytes;
};

enum fields_next { FIELDS_ONE, FIELDS_DONE, FIELDS_BROKEN };

/* Takes the next name and value off the front of a table's entries. */
enum fields_next fields_next_entry(struct slice *entries, struct slice *ret_name, struct field *ret_field);

/* Takes the next value off the front of an array's values. */
enum fields_next fields_next_value(struct slice *values, struct field *ret_field);

/* Finds the first entry of that name; false where there is none, or what comes before it is broken. */
bool fields_find(struct slice entries, const char *name, struct field *ret_field);

/* Whether these are a table's entries that can be read to their end, no deeper than FIELDS_DEPTH_MAX. */
bool fields_are_sound(struct slice entries);

/* Writing: in a table a name (at most FIELDS_NAME_MAX bytes, else the buffer has failed) goes before each
 * value, in an array it does not. Failure is the buffer's `failed`. */
void fields_put_name(struct buffer *to, struct slice name);
void fields_put_void(struct buffer *to);
void fields_put_boolean(struct buffer *to, bool value);
void fields_put_integer(struct buffer *to, int64_t value); /* I where it fits, as other clients do, else l */
void fields_put_double(struct buffer *to, double value);
void fields_put_timestamp(struct buffer *to, uint64_t seconds);
void fields_put_bytes(struct buffer *to, struct slice value);

/* What is put between these two is the content of a table or of an array. */
size_t fields_begin_table(struct buffer *to);
size_t fields_begin_array(struct buffer *to);
void fields_end(struct buffer *to, size_t mark);

#endif
