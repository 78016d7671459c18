/* Reading publications; see publications.h. */
#include "test/publications.h"

#include "host/parcel.h"
#include "worker/lua_headers.h"

#include <stdint.h>
#include <string.h>

#include <lauxlib.h>

static void push_text(lua_State *lua, struct slice value)
{
    lua_pushlstring(lua, value.data, value.size);
}

static void push_byte(lua_State *lua, struct slice value)
{
    lua_pushnumber(lua, (lua_Number)(unsigned char)value.data[0]);
}

static void push_seconds(lua_State *lua, struct slice value)
{
    uint64_t seconds;
    memcpy(&seconds, value.data, sizeof seconds);
    lua_pushnumber(lua, (lua_Number)seconds);
}

/* The host has checked each attribute's size (parcel_attributes_are_sound). */
static const struct {
    const char *name;
    enum wire_attribute_id id;
    void (*push)(lua_State *lua, struct slice value);
} properties[] = {
    { "content_type", WIRE_CONTENT_TYPE, push_text },
    { "content_encoding", WIRE_CONTENT_ENCODING, push_text },
    { "headers", WIRE_HEADERS, lua_headers_push },
    { "delivery_mode", WIRE_DELIVERY_MODE, push_byte },
    { "priority", WIRE_PRIORITY, push_byte },
    { "correlation_id", WIRE_CORRELATION_ID, push_text },
    { "reply_to", WIRE_REPLY_TO, push_text },
    { "expiration", WIRE_EXPIRATION, push_text },
    { "message_id", WIRE_MESSAGE_ID, push_text },
    { "timestamp", WIRE_TIMESTAMP, push_seconds },
    { "type", WIRE_MESSAGE_TYPE, push_text },
    { "user_id", WIRE_USER_ID, push_text },
    { "app_id", WIRE_APP_ID, push_text },
};

static void push_properties(lua_State *lua, struct slice attributes)
{
    struct slice value;
    lua_newtable(lua);
    for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++) {
        if (!wire_find(attributes, properties[i].id, &value))
            continue;
        properties[i].push(lua, value);
        lua_setfield(lua, -2, properties[i].name);
    }
}

static void set_attribute(lua_State *lua, const char *name, struct slice attributes,
                          enum wire_attribute_id id)
{
    struct slice value = { .data = "" };
    (void)wire_find(attributes, id, &value);
    push_text(lua, value);
    lua_setfield(lua, -2, name);
}

void publications_push(lua_State *lua, const struct buffer *content)
{
    const struct parcel parcel = { .content = content->data, .content_bytes = content->size };
    struct publication publication;
    size_t offset = 0;
    lua_newtable(lua);
    for (int i = 1; parcel_next(&parcel, &offset, &publication); i++) {
        lua_createtable(lua, 0, 4);
        set_attribute(lua, "exchange", publication.attributes, WIRE_EXCHANGE);
        set_attribute(lua, "routing_key", publication.attributes, WIRE_ROUTING_KEY);
        push_text(lua, publication.body);
        lua_setfield(lua, -2, "body");
        push_properties(lua, publication.attributes);
        lua_setfield(lua, -2, "properties");
        lua_rawseti(lua, -2, i);
    }
}
