/* The message object of handlers; see lua_message.h. */
#include "worker/lua_message.h"

#include "worker/lua_headers.h"
#include "worker/lua_publish.h"

#include <string.h>

#include <lauxlib.h>

enum { MEMBERS = 2 }; /* upvalue of message_index; the first is the state */

struct message_field {
    const char *name;
    void (*push)(struct state *state, lua_State *lua, const struct message_field *field);
    enum wire_attribute_id attribute; /* where push uses one */
};

static void push_text(struct state *state, lua_State *lua, const struct message_field *field)
{
    struct slice text;
    if (message_find(state->message, field->attribute, &text))
        lua_pushlstring(lua, text.data, text.size);
    else
        lua_pushnil(lua);
}

/* What every delivery has, if only empty. */
static void push_address(struct state *state, lua_State *lua, const struct message_field *field)
{
    struct slice text = { .data = "" };
    (void)message_find(state->message, field->attribute, &text);
    lua_pushlstring(lua, text.data, text.size);
}

static void push_byte(struct state *state, lua_State *lua, const struct message_field *field)
{
    struct slice bytes;
    if (message_find(state->message, field->attribute, &bytes))
        lua_pushinteger(lua, (unsigned char)bytes.data[0]);
    else
        lua_pushnil(lua);
}

static void push_timestamp(struct state *state, lua_State *lua, const struct message_field *field)
{
    struct slice bytes;
    uint64_t seconds;
    if (!message_find(state->message, field->attribute, &bytes)) {
        lua_pushnil(lua);
        return;
    }
    memcpy(&seconds, bytes.data, sizeof seconds);
    lua_pushnumber(lua, (lua_Number)seconds);
}

static void push_body(struct state *state, lua_State *lua, const struct message_field *field)
{
    (void)field;
    lua_pushlstring(lua, state->message->body.data, state->message->body.size);
}

static void push_queue(struct state *state, lua_State *lua, const struct message_field *field)
{
    (void)field;
    lua_pushstring(lua, state->assignment->queue);
}

static void push_attempt(struct state *state, lua_State *lua, const struct message_field *field)
{
    (void)field;
    lua_pushnumber(lua, state->message->deliver.attempt);
}

static void push_redelivered(struct state *state, lua_State *lua, const struct message_field *field)
{
    (void)field;
    lua_pushboolean(lua, state->message->deliver.redelivered);
}

/* Decoded once for each message, and kept until it is over. */
static void push_headers(struct state *state, lua_State *lua, const struct message_field *field)
{
    if (state->headers_generation != state->generation) {
        struct slice table = { .data = "" };
        (void)message_find(state->message, field->attribute, &table);
        lua_headers_push(lua, table);
        lua_rawseti(lua, LUA_REGISTRYINDEX, state->headers_slot);
        state->headers_generation = state->generation;
    }
    lua_rawgeti(lua, LUA_REGISTRYINDEX, state->headers_slot);
}

static const struct message_field fields[] = {
    { "body", push_body, 0 },
    { "id", push_text, WIRE_MESSAGE_ID },
    { "queue", push_queue, 0 },
    { "exchange", push_address, WIRE_EXCHANGE },
    { "routing_key", push_address, WIRE_ROUTING_KEY },
    { "consumer_tag", push_address, WIRE_CONSUMER_TAG },
    { "headers", push_headers, WIRE_HEADERS },
    { "content_type", push_text, WIRE_CONTENT_TYPE },
    { "content_encoding", push_text, WIRE_CONTENT_ENCODING },
    { "correlation_id", push_text, WIRE_CORRELATION_ID },
    { "reply_to", push_text, WIRE_REPLY_TO },
    { "timestamp", push_timestamp, WIRE_TIMESTAMP },
    { "priority", push_byte, WIRE_PRIORITY },
    { "delivery_mode", push_byte, WIRE_DELIVERY_MODE },
    { "type", push_text, WIRE_MESSAGE_TYPE },
    { "app_id", push_text, WIRE_APP_ID },
    { "user_id", push_text, WIRE_USER_ID },
    { "expiration", push_text, WIRE_EXPIRATION },
    { "redelivered", push_redelivered, 0 },
    { "attempt", push_attempt, 0 },
};

static const luaL_Reg methods[] = {
    { "publish", lua_publish },
    { "reply", lua_publish_reply },
    { NULL, NULL },
};

/* message[key] -> value | method | nil. The metatable is locked, so that only a message object can be the
 * first argument. Methods look themselves whether the message is over. */
static int message_index(lua_State *lua)
{
    struct state *state = state_of(lua);
    const struct ticket *ticket = lua_touserdata(lua, 1);
    lua_settop(lua, 2);
    lua_rawget(lua, lua_upvalueindex(MEMBERS));
    if (lua_isfunction(lua, -1))
        return 1;
    if (!state->message || ticket->generation != state->generation)
        return luaL_error(lua,
                          "this message is over%s: copy what you need from it before the handler returns",
                          state->yields ? ", or it is another handler's" : "");
    if (lua_isnil(lua, -1))
        return 1;
    const struct message_field *field = &fields[lua_tointeger(lua, -1)];
    field->push(state, lua, field);
    return 1;
}

/* message[key] = value, which is refused */
static int message_newindex(lua_State *lua)
{
    const char *key = lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : luaL_typename(lua, 2);
    return luaL_error(
        lua, "message.%s cannot be set: a message is read only; keep your own values in a local", key);
}

/* -> member's name -> a field's place in `fields`, or a method */
static void push_members(struct state *state, lua_State *lua)
{
    enum { COUNT = sizeof fields / sizeof fields[0], METHODS = sizeof methods / sizeof methods[0] - 1 };
    lua_createtable(lua, 0, COUNT + METHODS);
    for (int i = 0; i < COUNT; i++) {
        lua_pushinteger(lua, i);
        lua_setfield(lua, -2, fields[i].name);
    }
    for (const luaL_Reg *method = methods; method->func; method++) {
        state_push_function(state, lua, method->func);
        lua_setfield(lua, -2, method->name);
    }
}

void lua_message_push_metatable(struct state *state, lua_State *lua)
{
    lua_pushboolean(lua, false);
    lua_rawseti(lua, LUA_REGISTRYINDEX, STATE_HEADERS);
    lua_newtable(lua);
    lua_pushlightuserdata(lua, state);
    push_members(state, lua);
    lua_pushcclosure(lua, message_index, MEMBERS);
    lua_setfield(lua, -2, "__index");
    lua_pushcfunction(lua, message_newindex);
    lua_setfield(lua, -2, "__newindex");
    lua_pushliteral(lua, "read only");
    lua_setfield(lua, -2, "__metatable");
}

void lua_message_push(struct state *state, lua_State *lua, int metatable)
{
    state_push_ticket(state, lua);
    lua_pushvalue(lua, metatable);
    (void)lua_setmetatable(lua, -2);
}

void lua_message_forget(struct state *state)
{
    if (state->headers_generation != state->generation)
        return;
    /* The place is there: nothing is allocated. */
    lua_pushboolean(state->lua, false);
    lua_rawseti(state->lua, LUA_REGISTRYINDEX, state->headers_slot);
}
