/* The Lua module `amqp`: a blocking AMQP client for specs and demos, on rabbitmq-c.
 *
 * What the broker or the network refuses comes back as nil and a sentence; wrong arguments raise an error.
 * A channel that the broker closed is opened again by the next call; a connection that broke stays closed.
 * Whatever C holds during a call belongs to the connection, so that an error raised half-way leaks nothing.
 * Specs reach it through support.rabbit; it knows nothing of moonrabbit. */
#include "amqp_fields.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

enum {
    CHANNEL = 1,
    FAILURE = 2,         /* results of a call that failed: nil and a sentence, both on the stack */
    CONFIRMS_EVERY = 64, /* messages published between two looks at the confirms that came in */
    GETS_AHEAD = 64,     /* basic.get requests under way at once while a queue is drained */
    NOT_FOUND = 404,
};

#define CONNECTION_TYPE "moonrabbit.spec.amqp"
#define TIMEOUT_SECONDS 30 /* for one answer of the broker, unless connect is told otherwise */

struct connection {
    amqp_connection_state_t state; /* NULL once closed or broken */
    amqp_pool_t scratch;           /* tables on their way to the broker; recycled by each call */
    amqp_message_t message;        /* valid while has_message */
    bool has_message;
    bool channel_open;
    bool confirming;    /* confirm mode is on, also after the channel had to be opened again */
    uint64_t published; /* messages on this channel since confirm mode began: the tag of the latest */
    uint16_t refusal;   /* reply code of the latest failure, 0 when it was not the broker's refusal */
    struct timeval timeout;
};

/* Which of the messages `first_tag`, `first_tag + 1`, ... the broker has not yet confirmed. */
struct confirms {
    uint64_t first_tag;
    unsigned char *waiting; /* one flag for each message */
    size_t count;
    size_t unsettled;
    size_t refused; /* settled by basic.nack */
    size_t lowest;  /* every message before this one is settled */
};

int luaopen_amqp(lua_State *L);

static int module_connect(lua_State *L);
static int module_field(lua_State *L);

static int connection_declare(lua_State *L);
static int connection_queue_info(lua_State *L);
static int connection_delete(lua_State *L);
static int connection_purge(lua_State *L);
static int connection_bind(lua_State *L);
static int connection_declare_exchange(lua_State *L);
static int connection_confirm_select(lua_State *L);
static int connection_publish(lua_State *L);
static int connection_publish_many(lua_State *L);
static int connection_get(lua_State *L);
static int connection_drain(lua_State *L);
static int connection_consume(lua_State *L);
static int connection_is_open(lua_State *L);
static int connection_close(lua_State *L);
static int connection_collect(lua_State *L);

static const luaL_Reg module_functions[] = {
    { "connect", module_connect },
    { "field", module_field },
    { NULL, NULL },
};

static const luaL_Reg connection_methods[] = {
    { "declare", connection_declare },
    { "queue_info", connection_queue_info },
    { "delete", connection_delete },
    { "purge", connection_purge },
    { "bind", connection_bind },
    { "declare_exchange", connection_declare_exchange },
    { "confirm_select", connection_confirm_select },
    { "publish", connection_publish },
    { "publish_many", connection_publish_many },
    { "get", connection_get },
    { "drain", connection_drain },
    { "consume", connection_consume },
    { "is_open", connection_is_open },
    { "close", connection_close },
    { "__gc", connection_collect },
    { NULL, NULL },
};

/* Failures */

/* Pushes nil and the sentence; always false, for the callers to pass on. */
static bool failed(lua_State *L, const char *format, ...)
{
    va_list arguments;
    lua_pushnil(L);
    va_start(arguments, format);
    lua_pushvfstring(L, format, arguments);
    va_end(arguments);
    return false;
}

static void connection_drop(struct connection *connection)
{
    if (connection->state) {
        amqp_destroy_connection(connection->state);
    }
    connection->state = NULL;
    connection->channel_open = false;
}

/* After an error of the library nobody knows what was sent or read last, so the connection ends. */
static bool library_failed(lua_State *L, struct connection *connection, int status)
{
    connection_drop(connection);
    return failed(L, "the connection is lost: %s", amqp_error_string2(status));
}

static bool closed_by_broker(lua_State *L, struct connection *connection, const amqp_method_t *method)
{
    bool only_channel = method->id == AMQP_CHANNEL_CLOSE_METHOD;
    const amqp_channel_close_t *channel = method->decoded;
    const amqp_connection_close_t *whole = method->decoded;
    amqp_bytes_t text = only_channel ? channel->reply_text : whole->reply_text;

    connection->refusal = only_channel ? channel->reply_code : whole->reply_code;
    lua_pushlstring(L, text.bytes, text.len);
    failed(L, "the broker closed the %s: %d %s", only_channel ? "channel" : "connection",
           (int)connection->refusal, lua_tostring(L, -1));
    lua_remove(L, -3);

    amqp_channel_close_ok_t ok = { 0 };
    connection->channel_open = false;
    if (!only_channel ||
        amqp_send_method(connection->state, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok) < 0) {
        connection_drop(connection);
    }
    return false;
}

static bool succeeded(lua_State *L, struct connection *connection, amqp_rpc_reply_t reply)
{
    switch (reply.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return true;
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD || reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
            return closed_by_broker(L, connection, &reply.reply);
        }
        return library_failed(L, connection, AMQP_STATUS_WRONG_METHOD);
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
        return library_failed(L, connection, reply.library_error);
    case AMQP_RESPONSE_NONE:
        break;
    }
    return library_failed(L, connection, AMQP_STATUS_CONNECTION_CLOSED);
}

static bool last_call_succeeded(lua_State *L, struct connection *connection)
{
    return succeeded(L, connection, amqp_get_rpc_reply(connection->state));
}

/* The life of a connection */

struct login {
    const char *host, *user, *password, *vhost;
    int port, heartbeat;
};

/* Leaves the string on the stack, where it lives as long as the call. */
static const char *option_text(lua_State *L, const char *name, const char *fallback)
{
    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1) && !lua_isstring(L, -1)) {
        luaL_error(L, "amqp.connect: %s is a string", name);
    }
    return lua_isnil(L, -1) ? fallback : lua_tostring(L, -1);
}

static int option_number(lua_State *L, const char *name, int fallback, int max)
{
    lua_getfield(L, 1, name);
    lua_Number number = lua_isnil(L, -1) ? fallback : lua_tonumber(L, -1);
    if (!(number >= 0 && number <= max)) {
        luaL_error(L, "amqp.connect: %s is a number from 0 to %d", name, max);
    }
    lua_pop(L, 1);
    return (int)number;
}

static bool option_true(lua_State *L, int options, const char *name)
{
    if (lua_isnoneornil(L, options)) {
        return false;
    }
    lua_getfield(L, options, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static struct connection *connection_new(lua_State *L)
{
    struct connection *connection = lua_newuserdata(L, sizeof *connection);
    memset(connection, 0, sizeof *connection);
    init_amqp_pool(&connection->scratch, 4096);
    luaL_setmetatable(L, CONNECTION_TYPE);
    return connection;
}

/* The socket belongs to the state as soon as it is made, and ends with it. */
static bool socket_opened(lua_State *L, struct connection *connection, const struct login *login)
{
    connection->state = amqp_new_connection();
    amqp_socket_t *socket = connection->state ? amqp_tcp_socket_new(connection->state) : NULL;
    if (!socket) {
        return library_failed(L, connection, AMQP_STATUS_NO_MEMORY);
    }
    int status = amqp_socket_open_noblock(socket, login->host, login->port, &connection->timeout);
    if (status != AMQP_STATUS_OK) {
        connection_drop(connection);
        return failed(L, "cannot reach a broker at %s:%d: %s", login->host, login->port,
                      amqp_error_string2(status));
    }
    return true;
}

static bool logged_in(lua_State *L, struct connection *connection, const struct login *login)
{
    amqp_table_entry_t name = { .key = amqp_cstring_bytes("connection_name") };
    name.value.kind = AMQP_FIELD_KIND_UTF8;
    name.value.value.bytes = amqp_cstring_bytes("moonrabbit spec");
    amqp_table_t properties = { .num_entries = 1, .entries = &name };

    if (amqp_set_rpc_timeout(connection->state, &connection->timeout) != AMQP_STATUS_OK) {
        return library_failed(L, connection, AMQP_STATUS_INVALID_PARAMETER);
    }
    return succeeded(L, connection,
                     amqp_login_with_properties(connection->state, login->vhost, 0, AMQP_DEFAULT_FRAME_SIZE,
                                                login->heartbeat, &properties, AMQP_SASL_METHOD_PLAIN,
                                                login->user, login->password));
}

static bool channel_opened(lua_State *L, struct connection *connection)
{
    amqp_channel_open(connection->state, CHANNEL);
    if (!last_call_succeeded(L, connection)) {
        return false;
    }
    connection->channel_open = true;
    connection->published = 0;
    if (connection->confirming) {
        amqp_confirm_select(connection->state, CHANNEL);
        return last_call_succeeded(L, connection);
    }
    return true;
}

static void connection_release(struct connection *connection)
{
    if (connection->has_message) {
        amqp_destroy_message(&connection->message);
        connection->has_message = false;
    }
    recycle_amqp_pool(&connection->scratch);
    if (connection->state) {
        amqp_maybe_release_buffers(connection->state);
    }
}

static struct connection *connection_check(lua_State *L)
{
    return luaL_checkudata(L, 1, CONNECTION_TYPE);
}

/* What each call begins with: nothing of the call before is left, and there is a channel to talk on. */
static bool connection_ready(lua_State *L, struct connection *connection)
{
    connection_release(connection);
    connection->refusal = 0;
    if (!connection->state) {
        return failed(L, "the connection is closed");
    }
    return connection->channel_open || channel_opened(L, connection);
}

/* amqp.connect{ host=, port=, user=, password=, vhost=, heartbeat= [, timeout = seconds] } -> connection */
static int module_connect(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    struct login login = {
        .host = option_text(L, "host", "127.0.0.1"),
        .user = option_text(L, "user", "guest"),
        .password = option_text(L, "password", "guest"),
        .vhost = option_text(L, "vhost", "/"),
        .port = option_number(L, "port", 5672, UINT16_MAX),
        .heartbeat = option_number(L, "heartbeat", 0, UINT16_MAX),
    };
    struct connection *connection = connection_new(L);
    int result = lua_gettop(L);

    connection->timeout.tv_sec = option_number(L, "timeout", TIMEOUT_SECONDS, 3600);
    if (!socket_opened(L, connection, &login) || !logged_in(L, connection, &login) ||
        !channel_opened(L, connection)) {
        return FAILURE;
    }
    lua_pushvalue(L, result);
    return 1;
}

/* connection:is_open() -> boolean: false once closed, or known to be broken */
static int connection_is_open(lua_State *L)
{
    lua_pushboolean(L, connection_check(L)->state != NULL);
    return 1;
}

/* connection:close() -> true; a second time too */
static int connection_close(lua_State *L)
{
    struct connection *connection = connection_check(L);
    connection_release(connection);
    if (connection->state) {
        if (!succeeded(L, connection, amqp_connection_close(connection->state, AMQP_REPLY_SUCCESS))) {
            return FAILURE;
        }
        connection_drop(connection);
    }
    lua_pushboolean(L, true);
    return 1;
}

static int connection_collect(lua_State *L)
{
    struct connection *connection = connection_check(L);
    connection_release(connection);
    connection_drop(connection);
    empty_amqp_pool(&connection->scratch);
    return 0;
}

static amqp_table_t check_arguments(lua_State *L, struct connection *connection, int options)
{
    struct encoder encoder = { .pool = &connection->scratch };
    if (lua_isnoneornil(L, options)) {
        return amqp_empty_table;
    }
    lua_getfield(L, options, "arguments"); /* stays on the stack: its strings are in use during the call */
    if (lua_isnil(L, -1)) {
        return amqp_empty_table;
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    return encode_table(L, &encoder, lua_gettop(L));
}

/* Queues and exchanges */

static amqp_bytes_t check_name(lua_State *L, int index)
{
    luaL_checkstring(L, index);
    return check_short_text(L, index, "a queue, exchange or routing key");
}

static int push_queue(lua_State *L, const amqp_queue_declare_ok_t *queue)
{
    lua_createtable(L, 0, 3);
    push_bytes(L, queue->queue);
    lua_setfield(L, -2, "queue");
    lua_pushnumber(L, queue->message_count);
    lua_setfield(L, -2, "messages");
    lua_pushnumber(L, queue->consumer_count);
    lua_setfield(L, -2, "consumers");
    return 1;
}

/* connection:declare(queue, { durable=, passive=, exclusive=, auto_delete=, arguments={} })
 *     -> { queue=, messages=, consumers= } */
static int connection_declare(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t name = check_name(L, 2);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    lua_settop(L, 3);
    amqp_table_t arguments = check_arguments(L, connection, 3);
    const amqp_queue_declare_ok_t *queue = amqp_queue_declare(
        connection->state, CHANNEL, name, option_true(L, 3, "passive"), option_true(L, 3, "durable"),
        option_true(L, 3, "exclusive"), option_true(L, 3, "auto_delete"), arguments);
    return last_call_succeeded(L, connection) ? push_queue(L, queue) : FAILURE;
}

/* connection:queue_info(queue) -> { queue=, messages=, consumers= } | nil, "not found" */
static int connection_queue_info(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t name = check_name(L, 2);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    const amqp_queue_declare_ok_t *queue =
        amqp_queue_declare(connection->state, CHANNEL, name, true, false, false, false, amqp_empty_table);
    if (last_call_succeeded(L, connection)) {
        return push_queue(L, queue);
    }
    if (connection->refusal == NOT_FOUND) {
        lua_pushnil(L);
        lua_pushliteral(L, "not found");
    }
    return FAILURE;
}

/* connection:delete(queue) -> number of messages that went with it */
static int connection_delete(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t name = check_name(L, 2);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    const amqp_queue_delete_ok_t *deleted = amqp_queue_delete(connection->state, CHANNEL, name, false, false);
    if (!last_call_succeeded(L, connection)) {
        return FAILURE;
    }
    lua_pushnumber(L, deleted->message_count);
    return 1;
}

/* connection:purge(queue) -> number of messages removed */
static int connection_purge(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t name = check_name(L, 2);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    const amqp_queue_purge_ok_t *purged = amqp_queue_purge(connection->state, CHANNEL, name);
    if (!last_call_succeeded(L, connection)) {
        return FAILURE;
    }
    lua_pushnumber(L, purged->message_count);
    return 1;
}

static int push_outcome(lua_State *L, struct connection *connection)
{
    if (!last_call_succeeded(L, connection)) {
        return FAILURE;
    }
    lua_pushboolean(L, true);
    return 1;
}

/* connection:bind(queue, exchange, key) -> true */
static int connection_bind(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t queue = check_name(L, 2);
    amqp_bytes_t exchange = check_name(L, 3);
    amqp_bytes_t key = check_name(L, 4);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    amqp_queue_bind(connection->state, CHANNEL, queue, exchange, key, amqp_empty_table);
    return push_outcome(L, connection);
}

/* connection:declare_exchange(name, type [, { durable=, auto_delete=, passive=, arguments={} }]) -> true */
static int connection_declare_exchange(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t name = check_name(L, 2);
    amqp_bytes_t type = check_name(L, 3);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    lua_settop(L, 4);
    amqp_table_t arguments = check_arguments(L, connection, 4);
    amqp_exchange_declare(connection->state, CHANNEL, name, type, option_true(L, 4, "passive"),
                          option_true(L, 4, "durable"), option_true(L, 4, "auto_delete"), false, arguments);
    return push_outcome(L, connection);
}

/* Publisher confirms */

static void confirms_init(struct confirms *confirms, unsigned char *waiting, size_t count, uint64_t first_tag)
{
    memset(waiting, 1, count);
    *confirms =
        (struct confirms){ .first_tag = first_tag, .waiting = waiting, .count = count, .unsettled = count };
}

/* Tags of an earlier batch, which its call gave up waiting for, are none of ours. */
static void confirms_settle(struct confirms *confirms, uint64_t tag, bool multiple, bool refused)
{
    if (tag < confirms->first_tag || tag - confirms->first_tag >= confirms->count) {
        return;
    }
    size_t last = (size_t)(tag - confirms->first_tag);
    for (size_t i = multiple ? confirms->lowest : last; i <= last; i++) {
        if (confirms->waiting[i]) {
            confirms->waiting[i] = 0;
            confirms->unsettled--;
            confirms->refused += refused;
        }
    }
    while (confirms->lowest < confirms->count && !confirms->waiting[confirms->lowest]) {
        confirms->lowest++;
    }
}

static bool confirms_take(lua_State *L, struct connection *connection, struct confirms *confirms,
                          const amqp_method_t *method)
{
    const amqp_basic_ack_t *ack = method->decoded;
    const amqp_basic_nack_t *nack = method->decoded;
    switch (method->id) {
    case AMQP_BASIC_ACK_METHOD:
        confirms_settle(confirms, ack->delivery_tag, ack->multiple, false);
        return true;
    case AMQP_BASIC_NACK_METHOD:
        confirms_settle(confirms, nack->delivery_tag, nack->multiple, true);
        return true;
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_CONNECTION_CLOSE_METHOD:
        return closed_by_broker(L, connection, method);
    default:
        return true;
    }
}

/* Takes confirms until all are in, or none comes for `patience`. */
static bool confirms_read(lua_State *L, struct connection *connection, struct confirms *confirms,
                          const struct timeval *patience)
{
    while (confirms->unsettled > 0) {
        amqp_frame_t frame;
        int status = amqp_simple_wait_frame_noblock(connection->state, &frame, patience);
        if (status == AMQP_STATUS_TIMEOUT) {
            return true;
        }
        if (status != AMQP_STATUS_OK) {
            return library_failed(L, connection, status);
        }
        if (frame.frame_type == AMQP_FRAME_METHOD &&
            !confirms_take(L, connection, confirms, &frame.payload.method)) {
            return false;
        }
        amqp_maybe_release_buffers(connection->state);
    }
    return true;
}

static bool confirms_wait(lua_State *L, struct connection *connection, struct confirms *confirms)
{
    if (!connection->confirming) {
        return true;
    }
    if (!confirms_read(L, connection, confirms, &connection->timeout)) {
        return false;
    }
    if (confirms->unsettled > 0) {
        return failed(L, "the broker left %d of %d messages unconfirmed for %d seconds",
                      (int)confirms->unsettled, (int)confirms->count, (int)connection->timeout.tv_sec);
    }
    if (confirms->refused > 0) {
        return failed(L, "the broker refused %d of %d messages (basic.nack)", (int)confirms->refused,
                      (int)confirms->count);
    }
    return true;
}

/* connection:confirm_select() -> true: from now on publishing waits for the broker's confirms */
static int connection_confirm_select(lua_State *L)
{
    struct connection *connection = connection_check(L);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    if (!connection->confirming) {
        amqp_confirm_select(connection->state, CHANNEL);
        if (!last_call_succeeded(L, connection)) {
            return FAILURE;
        }
        connection->confirming = true;
        connection->published = 0;
    }
    lua_pushboolean(L, true);
    return 1;
}

/* Publishing */

struct route {
    amqp_bytes_t exchange, routing_key;
};

static bool message_sent(lua_State *L, struct connection *connection, const struct route *route,
                         const amqp_basic_properties_t *properties, amqp_bytes_t body)
{
    int status = amqp_basic_publish(connection->state, CHANNEL, route->exchange, route->routing_key, false,
                                    false, properties, body);
    if (status != AMQP_STATUS_OK) {
        return library_failed(L, connection, status);
    }
    connection->published++;
    return true;
}

/* connection:publish(exchange, routing_key, body [, properties]) -> true
 * Without confirm mode an exchange that is not there shows only as the failure of the next call that asks. */
static int connection_publish(lua_State *L)
{
    struct connection *connection = connection_check(L);
    struct route route = { check_name(L, 2), check_name(L, 3) };
    amqp_bytes_t body = check_text(L, 4, "the body");
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    lua_settop(L, 5);
    amqp_basic_properties_t properties = check_properties(L, &connection->scratch, 5);
    unsigned char waiting[1];
    struct confirms confirms;
    confirms_init(&confirms, waiting, 1, connection->published + 1);
    if (!message_sent(L, connection, &route, &properties, body) || !confirms_wait(L, connection, &confirms)) {
        return FAILURE;
    }
    lua_pushboolean(L, true);
    return 1;
}

/* Pushes the template with each "%d" replaced by the number; what is returned lives as long as it is there.
 */
static amqp_bytes_t push_numbered(lua_State *L, amqp_bytes_t template, const char *number)
{
    luaL_Buffer buffer;
    amqp_bytes_t text = amqp_empty_bytes;
    const char *at = template.bytes;
    const char *end = at + template.len;

    luaL_buffinit(L, &buffer);
    while (at < end) {
        const char *mark = memmem(at, (size_t)(end - at), "%d", 2);
        luaL_addlstring(&buffer, at, (size_t)((mark ? mark : end) - at));
        if (mark) {
            luaL_addstring(&buffer, number);
        }
        at = mark ? mark + 2 : end;
    }
    luaL_pushresult(&buffer);
    text.bytes = (void *)(uintptr_t)lua_tolstring(L, -1, &text.len);
    return text;
}

static bool numbered_sent(lua_State *L, struct connection *connection, const struct route *route,
                          const amqp_basic_properties_t *properties, amqp_bytes_t template, size_t index)
{
    char number[24];
    amqp_basic_properties_t numbered = *properties;
    int top = lua_gettop(L);

    snprintf(number, sizeof number, "%zu", index);
    if (properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG) {
        numbered.message_id = push_numbered(L, properties->message_id, number);
    }
    if (!message_sent(L, connection, route, &numbered, push_numbered(L, template, number))) {
        return false;
    }
    lua_settop(L, top);
    return true;
}

static size_t check_count(lua_State *L, int index)
{
    return (size_t)check_unsigned(L, index, INT32_MAX);
}

static size_t check_first(lua_State *L, int options)
{
    if (lua_isnoneornil(L, options)) {
        return 1;
    }
    lua_getfield(L, options, "from");
    size_t first = lua_isnil(L, -1) ? 1 : check_count(L, -1);
    lua_pop(L, 1);
    return first;
}

/* connection:publish_many(exchange, routing_key, count, template [, properties [, { from = 1 }]]) -> count
 * "%d" in the template and in properties.message_id becomes the message's number. In confirm mode the
 * confirms are read along the way, so that the broker never waits for us, and all are in when it returns. */
static int connection_publish_many(lua_State *L)
{
    struct connection *connection = connection_check(L);
    struct route route = { check_name(L, 2), check_name(L, 3) };
    size_t count = check_count(L, 4);
    amqp_bytes_t template = check_text(L, 5, "the template");
    static const struct timeval at_once = { 0, 0 };
    struct confirms confirms;
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    lua_settop(L, 7);
    amqp_basic_properties_t properties = check_properties(L, &connection->scratch, 6);
    size_t first = check_first(L, 7);
    confirms_init(&confirms, lua_newuserdata(L, count), count, connection->published + 1);

    for (size_t i = 0; i < count; i++) {
        if (!numbered_sent(L, connection, &route, &properties, template, first + i)) {
            return FAILURE;
        }
        if (connection->confirming && i % CONFIRMS_EVERY == CONFIRMS_EVERY - 1 &&
            !confirms_read(L, connection, &confirms, &at_once)) {
            return FAILURE;
        }
    }
    if (!confirms_wait(L, connection, &confirms)) {
        return FAILURE;
    }
    lua_pushnumber(L, (lua_Number)count);
    return 1;
}

/* Getting */

static void push_envelope(lua_State *L, const amqp_basic_get_ok_t *envelope)
{
    lua_createtable(L, 0, 6);
    push_bytes(L, envelope->exchange);
    lua_setfield(L, -2, "exchange");
    push_bytes(L, envelope->routing_key);
    lua_setfield(L, -2, "routing_key");
    lua_pushboolean(L, envelope->redelivered);
    lua_setfield(L, -2, "redelivered");
    lua_pushnumber(L, envelope->message_count);
    lua_setfield(L, -2, "message_count");
}

/* Reads what follows a get-ok and completes the envelope on top of the stack. */
static bool message_read(lua_State *L, struct connection *connection, bool typed)
{
    amqp_rpc_reply_t reply = amqp_read_message(connection->state, CHANNEL, &connection->message, 0);
    if (!succeeded(L, connection, reply)) {
        return false;
    }
    connection->has_message = true;
    push_bytes(L, connection->message.body);
    lua_setfield(L, -2, "body");
    push_properties(L, &connection->message.properties, typed);
    lua_setfield(L, -2, "properties");
    connection_release(connection);
    return true;
}

/* The option `ack`, true where it is not given. */
static bool option_ack(lua_State *L, int options)
{
    if (lua_isnil(L, options)) {
        return true;
    }
    lua_getfield(L, options, "ack");
    bool ack = lua_isnil(L, -1) || lua_toboolean(L, -1);
    lua_pop(L, 1);
    return ack;
}

/* connection:get(queue [, { ack = true, fields = false }])
 *     -> nil | { body=, routing_key=, exchange=, redelivered=, message_count=, properties= }
 * ack = false leaves the message unacked until the connection closes; fields = true gives the headers as
 * amqp.field makes them, not as plain values. */
static int connection_get(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t queue = check_name(L, 2);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    lua_settop(L, 3);
    bool typed = option_true(L, 3, "fields");
    amqp_rpc_reply_t reply = amqp_basic_get(connection->state, CHANNEL, queue, option_ack(L, 3));
    if (!succeeded(L, connection, reply)) {
        return FAILURE;
    }
    if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD) {
        lua_pushnil(L);
        return 1;
    }
    push_envelope(L, reply.reply.decoded);
    return message_read(L, connection, typed) ? 1 : FAILURE;
}

static bool gets_sent(lua_State *L, struct connection *connection, amqp_bytes_t queue, bool ack)
{
    amqp_basic_get_t get = { .queue = queue, .no_ack = ack };
    for (int i = 0; i < GETS_AHEAD; i++) {
        int status = amqp_send_method(connection->state, CHANNEL, AMQP_BASIC_GET_METHOD, &get);
        if (status != AMQP_STATUS_OK) {
            return library_failed(L, connection, status);
        }
    }
    return true;
}

enum answer { ANSWER_FAILED, ANSWER_EMPTY, ANSWER_MESSAGE };

/* Waits for the answer to one basic.get that was sent before; a message is pushed. */
static enum answer get_answered(lua_State *L, struct connection *connection, bool typed)
{
    amqp_frame_t frame;
    int status = amqp_simple_wait_frame_noblock(connection->state, &frame, &connection->timeout);
    if (status != AMQP_STATUS_OK) {
        library_failed(L, connection, status);
        return ANSWER_FAILED;
    }
    switch (frame.frame_type == AMQP_FRAME_METHOD ? frame.payload.method.id : 0) {
    case AMQP_BASIC_GET_EMPTY_METHOD:
        return ANSWER_EMPTY;
    case AMQP_BASIC_GET_OK_METHOD:
        push_envelope(L, frame.payload.method.decoded);
        return message_read(L, connection, typed) ? ANSWER_MESSAGE : ANSWER_FAILED;
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_CONNECTION_CLOSE_METHOD:
        closed_by_broker(L, connection, &frame.payload.method);
        return ANSWER_FAILED;
    default:
        library_failed(L, connection, AMQP_STATUS_WRONG_METHOD);
        return ANSWER_FAILED;
    }
}

/* connection:drain(queue [, { ack = true, fields = false }]) -> array of all messages there, as get gives
 * them */
static int connection_drain(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t queue = check_name(L, 2);
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    lua_settop(L, 3);
    bool typed = option_true(L, 3, "fields");
    bool ack = option_ack(L, 3);
    enum answer answer = ANSWER_MESSAGE;
    int count = 0;

    lua_newtable(L);
    while (answer == ANSWER_MESSAGE) {
        if (!gets_sent(L, connection, queue, ack)) {
            return FAILURE;
        }
        for (int i = 0; i < GETS_AHEAD; i++) {
            answer = get_answered(L, connection, typed);
            if (answer == ANSWER_FAILED) {
                return FAILURE;
            }
            if (answer == ANSWER_MESSAGE) {
                lua_rawseti(L, -2, ++count);
            }
        }
    }
    return 1;
}

/* connection:consume(queue, prefetch [, { no_ack = true }]) -> consumer tag. What is delivered is never read:
 * it stays unacked, as with a consumer that hangs. */
static int connection_consume(lua_State *L)
{
    struct connection *connection = connection_check(L);
    amqp_bytes_t queue = check_name(L, 2);
    lua_Integer prefetch = luaL_checkinteger(L, 3);
    luaL_argcheck(L, prefetch >= 0 && prefetch <= UINT16_MAX, 3, "a prefetch is a number from 0 to 65535");
    if (!connection_ready(L, connection)) {
        return FAILURE;
    }
    amqp_basic_qos(connection->state, CHANNEL, 0, (uint16_t)prefetch, false);
    if (!last_call_succeeded(L, connection)) {
        return FAILURE;
    }
    const amqp_basic_consume_ok_t *consuming =
        amqp_basic_consume(connection->state, CHANNEL, queue, amqp_empty_bytes, false,
                           option_true(L, 4, "no_ack"), false, amqp_empty_table);
    if (!last_call_succeeded(L, connection)) {
        return FAILURE;
    }
    lua_pushlstring(L, consuming->consumer_tag.bytes, consuming->consumer_tag.len);
    return 1;
}

int luaopen_amqp(lua_State *L)
{
    luaL_newmetatable(L, CONNECTION_TYPE);
    luaL_setfuncs(L, connection_methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newmetatable(L, FIELD_TYPE);

    luaL_newlib(L, module_functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null"); /* the void field; the same value as cjson.null */
    return 1;
}
