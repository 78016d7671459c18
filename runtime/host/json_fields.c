/* AMQP fields as JSON; see json_fields.h. */
#include "host/json_fields.h"

#include "common/utf8.h"
#include "host/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>

static void put_field(struct buffer *to, const struct field *field, int depth);

static void put_array(struct buffer *to, struct slice values, int depth)
{
    struct field field;
    bool first = true;
    (void)buffer_append_text(to, "[");
    while (fields_next_value(&values, &field) == FIELDS_ONE) {
        (void)buffer_append_text(to, first ? "" : ",");
        put_field(to, &field, depth + 1);
        first = false;
    }
    (void)buffer_append_text(to, "]");
}

static void put_table(struct buffer *to, struct slice entries, int depth)
{
    struct slice name;
    struct field field;
    bool first = true;
    (void)buffer_append_text(to, "{");
    while (fields_next_entry(&entries, &name, &field) == FIELDS_ONE) {
        (void)buffer_append_text(to, first ? "" : ",");
        json_put_text(to, name);
        (void)buffer_append_text(to, ":");
        put_field(to, &field, depth + 1);
        first = false;
    }
    (void)buffer_append_text(to, "}");
}

static void put_field(struct buffer *to, const struct field *field, int depth)
{
    switch (depth <= FIELDS_DEPTH_MAX ? field->kind : FIELD_VOID) {
    case FIELD_BOOLEAN:
        (void)buffer_append_text(to, field->integer ? "true" : "false");
        break;
    case FIELD_INTEGER:
        (void)buffer_printf(to, "%" PRId64, field->integer);
        break;
    case FIELD_UNSIGNED:
    case FIELD_TIMESTAMP:
        (void)buffer_printf(to, "%" PRIu64, (uint64_t)field->integer);
        break;
    case FIELD_DOUBLE:
        json_put_number(to, field->number);
        break;
    case FIELD_BYTES:
        json_put_text(to, field->bytes);
        break;
    case FIELD_TABLE:
        put_table(to, field->bytes, depth);
        break;
    case FIELD_ARRAY:
        put_array(to, field->bytes, depth);
        break;
    case FIELD_VOID:
    default:
        (void)buffer_append_text(to, "null");
    }
}

void json_fields_put(struct buffer *to, const struct field *field)
{
    put_field(to, field, 1);
}

void json_fields_put_table(struct buffer *to, struct slice entries)
{
    put_table(to, entries, 1);
}

/* What is lost. A JSON number that is whole is read as an integer, which has no negative zero. */

static bool holds_number(double number)
{
    return isfinite(number) && !(number == 0 && signbit(number));
}

static bool holds_all(struct slice rest, bool named, int depth)
{
    struct slice name = { 0 };
    struct field field;
    enum fields_next next;
    while ((next = named ? fields_next_entry(&rest, &name, &field) : fields_next_value(&rest, &field)) ==
           FIELDS_ONE) {
        bool nested = field.kind == FIELD_TABLE || field.kind == FIELD_ARRAY;
        if (!utf8_is_valid(name) || (field.kind == FIELD_BYTES && !utf8_is_valid(field.bytes)) ||
            (field.kind == FIELD_DOUBLE && !holds_number(field.number)) ||
            (nested &&
             (depth == FIELDS_DEPTH_MAX || !holds_all(field.bytes, field.kind == FIELD_TABLE, depth + 1))))
            return false;
    }
    return next == FIELDS_DONE;
}

bool json_fields_hold(struct slice entries)
{
    return holds_all(entries, true, 1);
}
