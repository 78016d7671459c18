/* Writing messages as lines; see line.h. */
#include "host/capture/line.h"

#include "common/base64.h"
#include "common/utf8.h"
#include "common/wire.h"
#include "host/json.h"
#include "host/json_fields.h"

#include <stdio.h>
#include <string.h>

/* Texts, by the names that handlers know. */
static const struct {
    const char *name;
    enum wire_attribute_id id;
} texts[] = {
    { "exchange", WIRE_EXCHANGE },
    { "routing_key", WIRE_ROUTING_KEY },
    { "id", WIRE_MESSAGE_ID },
    { "content_type", WIRE_CONTENT_TYPE },
    { "content_encoding", WIRE_CONTENT_ENCODING },
    { "correlation_id", WIRE_CORRELATION_ID },
    { "reply_to", WIRE_REPLY_TO },
    { "type", WIRE_MESSAGE_TYPE },
    { "app_id", WIRE_APP_ID },
    { "user_id", WIRE_USER_ID },
    { "expiration", WIRE_EXPIRATION },
};

static const struct {
    const char *name;
    enum wire_attribute_id id;
    size_t bytes;
} numbers[] = {
    { "timestamp", WIRE_TIMESTAMP, sizeof(uint64_t) },
    { "priority", WIRE_PRIORITY, sizeof(uint8_t) },
    { "delivery_mode", WIRE_DELIVERY_MODE, sizeof(uint8_t) },
};

static void put_as_base64(struct buffer *to, const char *name, struct slice bytes)
{
    char longer[32];
    (void)snprintf(longer, sizeof longer, "%s_base64", name);
    json_name(to, longer);
    json_put_base64(to, bytes);
}

static void put_text(struct buffer *to, const char *name, struct slice text)
{
    if (!utf8_is_valid(text)) {
        put_as_base64(to, name, text);
        return;
    }
    json_slice(to, name, text);
}

static void put_number(struct buffer *to, const char *name, struct slice value)
{
    uint64_t number = 0;
    if (value.size == sizeof number)
        memcpy(&number, value.data, sizeof number);
    else
        number = (unsigned char)value.data[0];
    json_unsigned(to, name, number);
}

static void put_headers(struct buffer *to, struct slice headers)
{
    if (!json_fields_hold(headers)) {
        put_as_base64(to, "headers", headers);
        return;
    }
    json_name(to, "headers");
    json_fields_put_table(to, headers);
}

void line_begin(struct line *line, const struct line_message *message, struct buffer *to)
{
    struct slice value;
    *line = (struct line){ .rest = { .data = "" }, .plain = utf8_is_plain(message->body) };
    if (message->body.size > 0)
        line->rest = message->body;
    (void)buffer_append_text(to, "{");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (wire_find(message->attributes, texts[i].id, &value))
            put_text(to, texts[i].name, value);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (wire_find(message->attributes, numbers[i].id, &value) && value.size == numbers[i].bytes)
            put_number(to, numbers[i].name, value);
    }
    if (wire_find(message->attributes, WIRE_HEADERS, &value))
        put_headers(to, value);
    json_boolean(to, "redelivered", message->redelivered);
    json_unsigned(to, "attempt", message->attempt);
    json_name(to, line->plain ? "body" : "body_base64");
    (void)buffer_append_text(to, "\"");
}

/* A piece of a text ends where a character does. */
static size_t piece_of(const struct line *line)
{
    if (line->rest.size <= LINE_PIECE_BYTES)
        return line->rest.size;
    size_t size = LINE_PIECE_BYTES;
    while (line->plain && ((unsigned char)line->rest.data[size] & 0xc0) == 0x80)
        size--;
    return size;
}

bool line_next(struct line *line, struct buffer *to)
{
    struct slice piece = { .data = line->rest.data, .size = piece_of(line) };
    if (line->ended)
        return false;
    if (line->plain)
        json_put_quoted(to, piece);
    else
        base64_encode(piece, to);
    line->rest.data += piece.size;
    line->rest.size -= piece.size;
    line->ended = line->rest.size == 0;
    if (line->ended)
        (void)buffer_append_text(to, "\"}\n");
    return true;
}
