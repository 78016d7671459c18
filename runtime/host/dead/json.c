/* Writing dead letters as JSON; see json.h. */
#include "host/dead/json.h"

#include "common/utf8.h"
#include "host/dead/text.h"
#include "host/json.h"

#include <inttypes.h>
#include <stdint.h>

/* Values */

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
    case FIELD_TIMESTAMP:
        (void)buffer_printf(to, "%" PRId64, field->integer);
        break;
    case FIELD_UNSIGNED:
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

void json_put_field(struct buffer *to, const struct field *field)
{
    put_field(to, field, 1);
}

static void put_base64(struct buffer *to, struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *data = (const unsigned char *)bytes.data;
    (void)buffer_append_text(to, "\"");
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
    (void)buffer_append_text(to, "\"");
}

/* Letters */

/* What nobody knows is left out. */
static void put_known_text(struct buffer *to, const char *name, struct slice text)
{
    if (text.size > 0)
        json_slice(to, name, text);
}

static void put_known_number(struct buffer *to, const char *name, int64_t number)
{
    if (number < 0)
        return;
    json_name(to, name);
    (void)buffer_printf(to, "%" PRId64, number);
}

static void put_died_at(struct buffer *to, int64_t seconds)
{
    if (seconds < 0)
        return;
    json_name(to, "died_at");
    (void)buffer_append_text(to, "\"");
    text_put_time(to, seconds);
    (void)buffer_append_text(to, "\"");
}

static void put_properties(struct buffer *to, struct slice attributes)
{
    json_name(to, "properties");
    (void)buffer_append_text(to, "{");
    for (size_t i = 0; i < DEAD_LETTER_PROPERTIES; i++) {
        struct dead_letter_property property;
        if (!dead_letter_property(attributes, i, &property))
            continue;
        if (property.is_number)
            put_known_number(to, property.name, (int64_t)property.number);
        else
            json_slice(to, property.name, property.text);
    }
    (void)buffer_append_text(to, "}");
}

static bool is_utf8(struct slice text)
{
    for (size_t i = 0, length; i < text.size; i += length) {
        length = utf8_length(text.data + i, text.size - i);
        if (length == 0)
            return false;
    }
    return true;
}

static void put_content(struct buffer *to, const struct dead_letter *letter)
{
    put_properties(to, letter->attributes);
    json_name(to, "headers");
    put_table(to, letter->headers, 1);
    if (is_utf8(letter->body)) {
        json_slice(to, "body", letter->body);
        return;
    }
    json_name(to, "body_base64");
    put_base64(to, letter->body);
}

void json_put_letter(struct buffer *to, const struct dead_letter *letter, bool whole)
{
    (void)buffer_append_text(to, "{");
    json_slice(to, "id", letter->id);
    put_known_text(to, "reason", letter->reason);
    put_known_text(to, "error", letter->error);
    put_known_number(to, "attempts", letter->attempts);
    put_died_at(to, letter->died_at);
    put_known_text(to, "queue", letter->queue);
    if (letter->queue.size > 0) {
        json_slice(to, "exchange", letter->exchange);
        json_slice(to, "routing_key", letter->routing_key);
    }
    put_known_text(to, "consumer", letter->consumer);
    put_known_text(to, "host", letter->host);
    put_known_number(to, "bytes", (int64_t)letter->body_bytes);
    put_known_number(to, "left_out_bytes", letter->cut_bytes);
    if (whole)
        put_content(to, letter);
    (void)buffer_append_text(to, "}\n");
}
