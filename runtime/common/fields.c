/* AMQP field tables; see fields.h. */
#include "common/fields.h"

#include <math.h>
#include <string.h>

static bool take_integer(struct slice *bytes, size_t width, uint64_t *ret_value)
{
    if (bytes->size < width)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | (unsigned char)bytes->data[i];
    bytes->data += width;
    bytes->size -= width;
    *ret_value = value;
    return true;
}

static bool take_bytes(struct slice *bytes, size_t length_width, struct slice *ret_value)
{
    uint64_t length;
    if (!take_integer(bytes, length_width, &length) || length > bytes->size)
        return false;
    *ret_value = (struct slice){ .data = bytes->data, .size = (size_t)length };
    bytes->data += length;
    bytes->size -= (size_t)length;
    return true;
}

static bool take_signed(struct slice *bytes, size_t width, struct field *field)
{
    uint64_t raw;
    if (!take_integer(bytes, width, &raw))
        return false;
    unsigned unused_bits = 64 - 8 * (unsigned)width;
    /* Shifting up and arithmetically down again repeats the sign bit. */
    field->integer = (int64_t)(raw << unused_bits) >> unused_bits;
    field->kind = FIELD_INTEGER;
    return true;
}

static bool take_unsigned(struct slice *bytes, size_t width, struct field *field)
{
    uint64_t raw;
    if (!take_integer(bytes, width, &raw))
        return false;
    field->integer = (int64_t)raw;
    field->kind = raw > INT64_MAX ? FIELD_UNSIGNED : FIELD_INTEGER;
    return true;
}

static bool take_real(struct slice *bytes, size_t width, struct field *field)
{
    uint64_t raw;
    if (!take_integer(bytes, width, &raw))
        return false;
    if (width == sizeof(float)) {
        uint32_t bits = (uint32_t)raw;
        float number;
        memcpy(&number, &bits, sizeof number);
        field->number = (double)number;
    } else {
        memcpy(&field->number, &raw, sizeof field->number);
    }
    field->kind = FIELD_DOUBLE;
    return true;
}

static bool take_decimal(struct slice *bytes, struct field *field)
{
    uint64_t scale, raw;
    if (!take_integer(bytes, 1, &scale) || !take_integer(bytes, 4, &raw))
        return false;
    field->kind = FIELD_DOUBLE;
    field->number = (double)(int32_t)(uint32_t)raw / pow(10, (double)scale);
    return true;
}

static bool take_kind(struct slice *bytes, struct field *field, enum field_kind kind, size_t width)
{
    uint64_t raw;
    if (!take_integer(bytes, width, &raw))
        return false;
    field->kind = kind;
    field->integer = kind == FIELD_BOOLEAN ? raw != 0 : (int64_t)raw;
    return true;
}

static bool take_content(struct slice *bytes, struct field *field, enum field_kind kind)
{
    field->kind = kind;
    return take_bytes(bytes, 4, &field->bytes);
}

static bool take_value(struct slice *bytes, struct field *field)
{
    uint64_t kind;
    *field = (struct field){ 0 };
    if (!take_integer(bytes, 1, &kind))
        return false;
    switch ((char)kind) {
    case 't':
        return take_kind(bytes, field, FIELD_BOOLEAN, 1);
    case 'b':
        return take_signed(bytes, 1, field);
    case 'B':
        return take_unsigned(bytes, 1, field);
    case 's':
        return take_signed(bytes, 2, field);
    case 'u':
        return take_unsigned(bytes, 2, field);
    case 'I':
        return take_signed(bytes, 4, field);
    case 'i':
        return take_unsigned(bytes, 4, field);
    case 'l':
        return take_signed(bytes, 8, field);
    case 'L':
        return take_unsigned(bytes, 8, field);
    case 'f':
        return take_real(bytes, sizeof(float), field);
    case 'd':
        return take_real(bytes, sizeof(double), field);
    case 'D':
        return take_decimal(bytes, field);
    case 'T':
        return take_kind(bytes, field, FIELD_TIMESTAMP, 8);
    case 'S':
    case 'x':
        return take_content(bytes, field, FIELD_BYTES);
    case 'F':
        return take_content(bytes, field, FIELD_TABLE);
    case 'A':
        return take_content(bytes, field, FIELD_ARRAY);
    case 'V':
        field->kind = FIELD_VOID;
        return true;
    default:
        return false;
    }
}

enum fields_next fields_next_value(struct slice *values, struct field *ret_field)
{
    struct slice rest = *values;
    struct field field;
    if (rest.size == 0)
        return FIELDS_DONE;
    if (!take_value(&rest, &field))
        return FIELDS_BROKEN;
    *values = rest;
    *ret_field = field;
    return FIELDS_ONE;
}

enum fields_next fields_next_entry(struct slice *entries, struct slice *ret_name, struct field *ret_field)
{
    struct slice rest = *entries;
    struct slice name;
    struct field field;
    if (rest.size == 0)
        return FIELDS_DONE;
    if (!take_bytes(&rest, 1, &name) || !take_value(&rest, &field))
        return FIELDS_BROKEN;
    *entries = rest;
    *ret_name = name;
    *ret_field = field;
    return FIELDS_ONE;
}

bool fields_find(struct slice entries, const char *name, struct field *ret_field)
{
    struct slice found;
    struct field field;
    while (fields_next_entry(&entries, &found, &field) == FIELDS_ONE) {
        if (slice_equals(found, name)) {
            *ret_field = field;
            return true;
        }
    }
    return false;
}

/* The recursion is bounded by FIELDS_DEPTH_MAX. */
static bool are_sound(struct slice rest, bool named, unsigned depth)
{
    struct slice name;
    struct field field;
    enum fields_next next;
    while ((next = named ? fields_next_entry(&rest, &name, &field) : fields_next_value(&rest, &field)) ==
           FIELDS_ONE) {
        bool nested = field.kind == FIELD_TABLE || field.kind == FIELD_ARRAY;
        if (nested &&
            (depth == FIELDS_DEPTH_MAX || !are_sound(field.bytes, field.kind == FIELD_TABLE, depth + 1)))
            return false;
    }
    return next == FIELDS_DONE;
}

bool fields_are_sound(struct slice entries)
{
    return are_sound(entries, true, 1);
}

static void put_integer(struct buffer *to, size_t width, uint64_t value)
{
    char bytes[sizeof value];
    for (size_t i = 0; i < width; i++)
        bytes[i] = (char)(value >> (8 * (width - 1 - i)));
    (void)buffer_append(to, bytes, width);
}

static void put_kind(struct buffer *to, char kind)
{
    (void)buffer_append(to, &kind, 1);
}

void fields_put_name(struct buffer *to, struct slice name)
{
    if (name.size > FIELDS_NAME_MAX) {
        to->failed = true;
        return;
    }
    put_integer(to, 1, name.size);
    (void)buffer_append(to, name.data, name.size);
}

void fields_put_void(struct buffer *to)
{
    put_kind(to, 'V');
}

void fields_put_boolean(struct buffer *to, bool value)
{
    put_kind(to, 't');
    put_integer(to, 1, value);
}

void fields_put_integer(struct buffer *to, int64_t value)
{
    bool fits = value >= INT32_MIN && value <= INT32_MAX;
    put_kind(to, fits ? 'I' : 'l');
    put_integer(to, fits ? 4 : 8, (uint64_t)value);
}

void fields_put_double(struct buffer *to, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_kind(to, 'd');
    put_integer(to, 8, bits);
}

void fields_put_timestamp(struct buffer *to, uint64_t seconds)
{
    put_kind(to, 'T');
    put_integer(to, 8, seconds);
}

void fields_put_bytes(struct buffer *to, struct slice value)
{
    if (value.size > UINT32_MAX) {
        to->failed = true;
        return;
    }
    put_kind(to, 'S');
    put_integer(to, 4, value.size);
    (void)buffer_append(to, value.data, value.size);
}

static size_t begin(struct buffer *to, char kind)
{
    put_kind(to, kind);
    put_integer(to, 4, 0);
    return to->size;
}

size_t fields_begin_table(struct buffer *to)
{
    return begin(to, 'F');
}

size_t fields_begin_array(struct buffer *to)
{
    return begin(to, 'A');
}

void fields_end(struct buffer *to, size_t mark)
{
    if (to->failed)
        return;
    size_t size = to->size - mark;
    if (size > UINT32_MAX) {
        to->failed = true;
        return;
    }
    for (size_t i = 0; i < 4; i++)
        to->data[mark - 4 + i] = (char)(size >> (8 * (3 - i)));
}
