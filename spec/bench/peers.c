/* What people write without moonrabbit: a consumer on rabbitmq-c, as small as it can be. Those in other
 * languages are in spec/bench/peers.
 *
 *   peers HOST PORT USER PASSWORD QUEUE MESSAGES json|raw ACK_EVERY [HANDLER]
 *
 * It takes so many messages from the queue, with a prefetch of PREFETCH, and acks each, or every ACK_EVERY of
 * them together. With a handler each body is given to it, if it is JSON decoded by cjson, in plain LuaJIT
 * without a sandbox. Tells {"seconds":N}, from basic.consume to the end of the connection. What is not as it
 * should be ends it. */
#include "common/clock.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNEL = 1, PREFETCH = 256, FRAME_MAX = 131072, HANDLER = 1, DECODE = 2 };

static void must(bool done, const char *what)
{
    if (done)
        return;
    (void)fprintf(stderr, "peers: %s failed\n", what);
    exit(EXIT_FAILURE);
}

static bool replied(amqp_rpc_reply_t reply)
{
    return reply.reply_type == AMQP_RESPONSE_NORMAL;
}

static long number_of(const char *word)
{
    char *end;
    long number = strtol(word, &end, 10);
    must(end != word && *end == '\0', "reading a number");
    return number;
}

static amqp_connection_state_t open_connection(char **words)
{
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    must(socket && amqp_socket_open(socket, words[0], (int)number_of(words[1])) == AMQP_STATUS_OK,
         "connecting");
    must(replied(amqp_login(connection, "/", 0, FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN, words[2], words[3])),
         "the login");
    must(amqp_channel_open(connection, CHANNEL) != NULL, "opening a channel");
    must(amqp_basic_qos(connection, CHANNEL, 0, PREFETCH, false) != NULL, "basic.qos");
    return connection;
}

/* The stack of the new state: the handler, cjson.decode */
static lua_State *open_lua(const char *handler)
{
    lua_State *lua = luaL_newstate();
    must(lua != NULL, "opening a Lua state");
    luaL_openlibs(lua);
    must(luaL_loadstring(lua, handler) == 0 && lua_pcall(lua, 0, 1, 0) == 0 && lua_isfunction(lua, HANDLER),
         "loading the handler");
    must(luaL_loadstring(lua, "return require('cjson').decode") == 0 && lua_pcall(lua, 0, 1, 0) == 0,
         "loading cjson");
    return lua;
}

static void handle(lua_State *lua, amqp_bytes_t body, bool json)
{
    lua_pushvalue(lua, HANDLER);
    if (json)
        lua_pushvalue(lua, DECODE);
    lua_pushlstring(lua, body.bytes, body.len);
    must(!json || lua_pcall(lua, 1, 1, 0) == 0, "decoding");
    must(lua_pcall(lua, 1, 1, 0) == 0, "the handler");
    must(lua_isnil(lua, -1), "the handler's verdict: it");
    lua_pop(lua, 1);
}

static void consume(amqp_connection_state_t connection, char **words, lua_State *lua)
{
    long messages = number_of(words[0]), ack_every = number_of(words[2]);
    bool json = strcmp(words[1], "json") == 0;
    for (long i = 1; i <= messages; i++) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(connection);
        must(replied(amqp_consume_message(connection, &envelope, NULL, 0)), "waiting for a message");
        if (lua)
            handle(lua, envelope.message.body, json);
        if (i % ack_every == 0 || i == messages)
            must(amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, ack_every > 1) == 0, "basic.ack");
        amqp_destroy_envelope(&envelope);
    }
}

int main(int count, char **words)
{
    must(count == 9 || count == 10, "reading the arguments");
    lua_State *lua = count == 10 ? open_lua(words[9]) : NULL;
    amqp_connection_state_t connection = open_connection(words + 1);
    int64_t began_ns = clock_now_ns();
    must(amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes(words[5]), amqp_empty_bytes, false, false,
                            false, amqp_empty_table) != NULL,
         "basic.consume");
    consume(connection, words + 6, lua);
    must(replied(amqp_connection_close(connection, AMQP_REPLY_SUCCESS)), "closing the connection");
    (void)printf("{\"seconds\":%.6f}\n", (double)(clock_now_ns() - began_ns) / CLOCK_NS_PER_SECOND);
    must(amqp_destroy_connection(connection) == AMQP_STATUS_OK, "ending the connection");
    if (lua)
        lua_close(lua);
    return 0;
}
