/* Messages out of Lua tables; see trial_message.h. */
#include "test/trial_message.h"

#include "worker/lua_headers.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <lauxlib.h>

#define SECONDS_MAX 18446744073709549568.0 /* the last double below 2^64 */

struct message_field {
    const char *name;
    void (*read)(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                 struct trial_message *message);
    enum wire_attribute_id attribute; /* where read writes one */
    double most;                      /* where it is a whole number */
};

/* As luaL_error, but without a position: it would be one of our scripts'. */
__attribute__((format(printf, 2, 3))) static void complain(lua_State *lua, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)lua_pushvfstring(lua, format, arguments);
    va_end(arguments);
    (void)lua_error(lua);
}

static void refuse(lua_State *lua, const char *name, const char *wanted)
{
    complain(lua, "%s is a %s: give %s", name, luaL_typename(lua, -1), wanted);
}

static double read_whole(lua_State *lua, const struct message_field *field, double least)
{
    double number = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumber(lua, -1) : -1;
    if (!(number >= least && number <= field->most && number == floor(number)))
        complain(lua, "%s must be a whole number from %d to %f", field->name, (int)least, field->most);
    return number;
}

static void read_text(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                      struct trial_message *message)
{
    (void)message;
    struct slice text;
    if (lua_type(lua, -1) != LUA_TSTRING)
        refuse(lua, field->name, "a string");
    text.data = lua_tolstring(lua, -1, &text.size);
    if (text.size > WIRE_NAME_MAX)
        complain(lua, "%s has %d bytes, and AMQP allows %d", field->name, (int)text.size, WIRE_NAME_MAX);
    wire_add(attributes, field->attribute, text);
}

static void read_byte(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                      struct trial_message *message)
{
    (void)message;
    const uint8_t byte = (uint8_t)read_whole(lua, field, 0);
    wire_add(attributes, field->attribute,
             (struct slice){ .data = (const char *)&byte, .size = sizeof byte });
}

static void read_timestamp(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                           struct trial_message *message)
{
    (void)message;
    const uint64_t seconds = (uint64_t)read_whole(lua, field, 0);
    wire_add(attributes, field->attribute,
             (struct slice){ .data = (const char *)&seconds, .size = sizeof seconds });
}

static void read_body(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                      struct trial_message *message)
{
    (void)attributes;
    if (lua_type(lua, -1) != LUA_TSTRING)
        refuse(lua, field->name, "a string");
    message->body.data = lua_tolstring(lua, -1, &message->body.size);
}

static void read_attempt(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                         struct trial_message *message)
{
    (void)attributes;
    message->attempt = (uint32_t)read_whole(lua, field, 1);
}

static void read_redelivered(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                             struct trial_message *message)
{
    (void)attributes;
    if (lua_type(lua, -1) != LUA_TBOOLEAN)
        refuse(lua, field->name, "true or false");
    message->redelivered = lua_toboolean(lua, -1);
}

/* Called by itself, so that what it raises has no position. */
static int write_headers(lua_State *lua)
{
    lua_headers_write(lua, 1, lua_touserdata(lua, 2), LUA_HEADERS_ALL);
    return 0;
}

static void read_headers(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                         struct trial_message *message)
{
    (void)message;
    if (lua_type(lua, -1) != LUA_TTABLE)
        refuse(lua, field->name, "a table by header name");
    lua_pushcfunction(lua, write_headers);
    lua_pushvalue(lua, -2);
    lua_pushlightuserdata(lua, attributes);
    if (lua_pcall(lua, 2, 0, 0) != 0)
        (void)lua_error(lua);
}

/* As the wire has them; the worker takes none for granted. */
static void read_encoded_headers(lua_State *lua, const struct message_field *field, struct buffer *attributes,
                                 struct trial_message *message)
{
    (void)message;
    struct slice table;
    if (lua_type(lua, -1) != LUA_TSTRING)
        refuse(lua, field->name, "a string");
    table.data = lua_tolstring(lua, -1, &table.size);
    wire_add(attributes, field->attribute, table);
}

/* The fields */

static const struct message_field message_fields[] = {
    { "body", read_body, 0, 0 },
    { "id", read_text, WIRE_MESSAGE_ID, 0 },
    { "exchange", read_text, WIRE_EXCHANGE, 0 },
    { "routing_key", read_text, WIRE_ROUTING_KEY, 0 },
    { "consumer_tag", read_text, WIRE_CONSUMER_TAG, 0 },
    { "headers", read_headers, WIRE_HEADERS, 0 },
    { "encoded_headers", read_encoded_headers, WIRE_HEADERS, 0 },
    { "content_type", read_text, WIRE_CONTENT_TYPE, 0 },
    { "content_encoding", read_text, WIRE_CONTENT_ENCODING, 0 },
    { "correlation_id", read_text, WIRE_CORRELATION_ID, 0 },
    { "reply_to", read_text, WIRE_REPLY_TO, 0 },
    { "timestamp", read_timestamp, WIRE_TIMESTAMP, SECONDS_MAX },
    { "priority", read_byte, WIRE_PRIORITY, UINT8_MAX },
    { "delivery_mode", read_byte, WIRE_DELIVERY_MODE, UINT8_MAX },
    { "type", read_text, WIRE_MESSAGE_TYPE, 0 },
    { "app_id", read_text, WIRE_APP_ID, 0 },
    { "user_id", read_text, WIRE_USER_ID, 0 },
    { "expiration", read_text, WIRE_EXPIRATION, 0 },
    { "attempt", read_attempt, 0, UINT32_MAX },
    { "redelivered", read_redelivered, 0, 0 },
};

static const struct message_field *find_field(const char *name)
{
    for (size_t i = 0; i < sizeof message_fields / sizeof message_fields[0]; i++) {
        if (strcmp(message_fields[i].name, name) == 0)
            return &message_fields[i];
    }
    return NULL;
}

/* The key and the value at the top of the stack. */
static void read_field(lua_State *lua, struct buffer *attributes, struct trial_message *message)
{
    const char *name = lua_type(lua, -2) == LUA_TSTRING ? lua_tostring(lua, -2) : luaL_typename(lua, -2);
    const struct message_field *field = find_field(name);
    if (field)
        field->read(lua, field, attributes, message);
    else
        complain(lua, "a message has no field %s", name);
}

void trial_message_read(lua_State *lua, int index, struct buffer *attributes, struct trial_message *ret)
{
    *ret = (struct trial_message){ .body = { .data = "" }, .attempt = 1 };
    buffer_reset(attributes);
    lua_pushvalue(lua, index);
    lua_pushnil(lua);
    for (; lua_next(lua, -2); lua_pop(lua, 1))
        read_field(lua, attributes, ret);
    lua_pop(lua, 1);
    if (attributes->failed)
        complain(lua, "headers and properties are more than %d bytes", WIRE_ATTRIBUTES_MAX);
    ret->attributes = (struct slice){ .data = attributes->data, .size = attributes->size };
}
