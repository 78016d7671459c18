/* Reading AMQP field tables; see fields.h. */
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
