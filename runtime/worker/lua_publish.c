/* Publishing for scripts; see lua_publish.h. */
#include "worker/lua_publish.h"

#include "common/own_headers.h"
#include "common/units.h"
#include "worker/json_text.h"
#include "worker/lua_headers.h"
#include "worker/value.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

enum {
    TRANSIENT = 1,
    PERSISTENT = 2,
    PRIORITY_MAX = 255,
};

#define TIMESTAMP_MAX     9007199254740992.0 /* seconds; up to here a Lua number is exact */
#define EXPIRATION_MS_MAX UINT32_MAX         /* more is refused by the broker */

static const char text_advice[] = "give a text of at most 255 bytes";

/* Where on the stack is what the script gave. */
enum { OBJECT = 1, EXCHANGE, ROUTING_KEY, BODY, PROPERTIES };

/* What is to be published. */
struct order {
    struct state *state;
    lua_State *lua;
    struct buffer *to; /* the parcel that is being put together */
    const char *verb;  /* "publish" or "reply": errors begin so */
    bool is_reply;
};

/* Raises "publish: <what> is <value>: <advice>". */
static int refuse(const struct order *order, const char *what, int index, const char *advice)
{
    struct note note;
    note.size = 0;
    note_printf(&note, "%s: %s is ", order->verb, what);
    value_quote(&note, order->lua, index);
    note_printf(&note, ": %s", advice);
    lua_pushlstring(order->lua, note.text, note.size);
    return luaL_error(order->lua, "%s", lua_tostring(order->lua, -1));
}

/* A text of at most 255 bytes at `index`. */
static struct slice take_text(const struct order *order, const char *what, int index, const char *advice)
{
    struct slice text = { .data = "" };
    if (lua_type(order->lua, index) != LUA_TSTRING) {
        (void)refuse(order, what, index, advice);
        return text;
    }
    text.data = lua_tolstring(order->lua, index, &text.size);
    if (text.size > WIRE_NAME_MAX)
        (void)luaL_error(order->lua, "%s: %s has %d bytes: %s", order->verb, what, (int)text.size, advice);
    return text;
}

/* Properties: each is at `index`, and goes to the parcel's attributes. */

struct property {
    const char *name;
    void (*put)(const struct order *order, const struct property *property, int index);
    enum wire_attribute_id attribute;
};

static void put_text(const struct order *order, const struct property *property, int index)
{
    wire_add(order->to, property->attribute, take_text(order, property->name, index, text_advice));
}

/* A whole number from `least` to `most`; refused with the advice where it is none. */
static double take_whole(const struct order *order, const struct property *property, int index, double least,
                         double most, const char *advice)
{
    double number = lua_type(order->lua, index) == LUA_TNUMBER ? lua_tonumber(order->lua, index) : -1;
    if (!(number >= least && number <= most && number == floor(number)))
        (void)refuse(order, property->name, index, advice);
    return number;
}

static void put_byte(const struct order *order, const struct property *property, double number)
{
    const uint8_t byte = (uint8_t)number;
    wire_add(order->to, property->attribute, (struct slice){ .data = (const char *)&byte, .size = 1 });
}

static void put_priority(const struct order *order, const struct property *property, int index)
{
    put_byte(order, property,
             take_whole(order, property, index, 0, PRIORITY_MAX, "give a whole number from 0 to 255"));
}

static void put_delivery_mode(const struct order *order, const struct property *property, int index)
{
    put_byte(order, property,
             take_whole(order, property, index, TRANSIENT, PERSISTENT,
                        "give 2 (persistent, which is the default) or 1 (gone when the broker restarts)"));
}

static void put_timestamp(const struct order *order, const struct property *property, int index)
{
    const uint64_t seconds = (uint64_t)take_whole(order, property, index, 0, TIMESTAMP_MAX,
                                                  "give whole seconds since 1970, such as os.time()");
    wire_add(order->to, property->attribute,
             (struct slice){ .data = (const char *)&seconds, .size = sizeof seconds });
}

/* A time without a unit may be seconds, as everywhere here, or milliseconds, as in message.expiration. */
static bool has_unit(lua_State *lua, int index)
{
    size_t size;
    const char *text = lua_tolstring(lua, index, &size);
    return size > 0 && isalpha((unsigned char)text[size - 1]);
}

static void put_expiration(const struct order *order, const struct property *property, int index)
{
    char digits[UNITS_TEXT_MAX];
    int64_t ns = -1;
    bool text = lua_type(order->lua, index) == LUA_TSTRING;
    if ((!text || has_unit(order->lua, index)) && !value_to_duration(order->lua, index, &ns))
        ns = -1;
    int64_t ms = ns / 1000000 + (ns % 1000000 > 0);
    if (ns < 0 || ms > EXPIRATION_MS_MAX)
        (void)refuse(order, property->name, index,
                     "give seconds as a number, or a time with its unit such as \"90s\", of at most 49 days");
    int size = snprintf(digits, sizeof digits, "%" PRId64, ms);
    wire_add(order->to, property->attribute, (struct slice){ .data = digits, .size = (size_t)size });
}

/* By these two headers RabbitMQ sends copies; it closes the channel where one is no list. */
static void check_copies(const struct order *order, int headers, const char *name, const char *what)
{
    lua_State *lua = order->lua;
    lua_pushstring(lua, name);
    lua_rawget(lua, headers);
    int list = lua_gettop(lua);
    bool sound = lua_isnil(lua, list) || (lua_istable(lua, list) && lua_objlen(lua, list) > 0);
    for (size_t i = lua_istable(lua, list) ? lua_objlen(lua, list) : 0; i > 0; i--) {
        lua_rawgeti(lua, list, (int)i);
        sound = sound && lua_type(lua, -1) == LUA_TSTRING;
        lua_pop(lua, 1);
    }
    if (!sound)
        (void)refuse(order, what, list, "give a list of routing keys, and not an empty one");
    lua_pop(lua, 1);
}

static void put_headers(const struct order *order, const struct property *property, int index)
{
    if (!lua_istable(order->lua, index))
        (void)refuse(order, property->name, index, "give a table by name");
    check_copies(order, index, "CC", "the header CC");
    check_copies(order, index, "BCC", "the header BCC");
    lua_headers_write(order->lua, index, order->to, LUA_HEADERS_NOT_OWN);
}

static const struct property properties[] = {
    { "content_type", put_text, WIRE_CONTENT_TYPE },
    { "content_encoding", put_text, WIRE_CONTENT_ENCODING },
    { "headers", put_headers, WIRE_HEADERS },
    { "delivery_mode", put_delivery_mode, WIRE_DELIVERY_MODE },
    { "priority", put_priority, WIRE_PRIORITY },
    { "correlation_id", put_text, WIRE_CORRELATION_ID },
    { "reply_to", put_text, WIRE_REPLY_TO },
    { "expiration", put_expiration, WIRE_EXPIRATION },
    { "message_id", put_text, WIRE_MESSAGE_ID },
    { "timestamp", put_timestamp, WIRE_TIMESTAMP },
    { "type", put_text, WIRE_MESSAGE_TYPE },
    { "user_id", put_text, WIRE_USER_ID },
    { "app_id", put_text, WIRE_APP_ID },
};

enum { PROPERTY_COUNT = sizeof properties / sizeof properties[0] };

/* The key at `index` of the properties is none: an error that lists those that there are. */
static void refuse_property(const struct order *order, int index)
{
    struct note note;
    note.size = 0;
    note_printf(&note, "%s: there is no property ", order->verb);
    value_quote(&note, order->lua, index);
    note_text(&note, ": there are");
    for (size_t i = 0; i < PROPERTY_COUNT; i++)
        note_printf(&note, "%s %s", i == 0 ? "" : ",", properties[i].name);
    lua_pushlstring(order->lua, note.text, note.size);
    (void)luaL_error(order->lua, "%s", lua_tostring(order->lua, -1));
}

static const struct property *find_property(lua_State *lua, int index)
{
    const char *name = lua_type(lua, index) == LUA_TSTRING ? lua_tostring(lua, index) : "";
    for (size_t i = 0; i < PROPERTY_COUNT; i++) {
        if (strcmp(properties[i].name, name) == 0)
            return &properties[i];
    }
    return NULL;
}

/* What was not given, though the message is to have it. */
static void put_defaults(const struct order *order, uint64_t given)
{
    static const uint8_t persistent = PERSISTENT;
    struct slice text;
    if (!(given >> WIRE_DELIVERY_MODE & 1))
        wire_add(order->to, WIRE_DELIVERY_MODE,
                 (struct slice){ .data = (const char *)&persistent, .size = sizeof persistent });
    if (!(given >> WIRE_CONTENT_TYPE & 1) && lua_istable(order->lua, BODY))
        wire_add(order->to, WIRE_CONTENT_TYPE, slice_of("application/json"));
    if (order->is_reply && !(given >> WIRE_CORRELATION_ID & 1) &&
        message_find(order->state->message, WIRE_CORRELATION_ID, &text))
        wire_add(order->to, WIRE_CORRELATION_ID, text);
}

static void put_properties(const struct order *order)
{
    lua_State *lua = order->lua;
    uint64_t given = 0; /* bit i: the attribute i is there */
    if (!lua_istable(lua, PROPERTIES)) {
        put_defaults(order, given);
        return;
    }
    lua_pushnil(lua);
    while (lua_next(lua, PROPERTIES)) {
        int value = lua_gettop(lua);
        const struct property *property = find_property(lua, value - 1);
        if (!property) {
            refuse_property(order, value - 1);
            return;
        }
        property->put(order, property, value);
        given |= UINT64_C(1) << property->attribute;
        lua_pop(lua, 1);
    }
    put_defaults(order, given);
}

/* Publishing */

static void check_arguments(const struct order *order)
{
    lua_State *lua = order->lua;
    struct slice exchange = take_text(order, "the exchange", EXCHANGE,
                                      "give its name of at most 255 bytes, or \"\" for the default exchange");
    struct slice routing_key = take_text(order, "the routing key", ROUTING_KEY, text_advice);
    if (exchange.size == 0 && routing_key.size == 0)
        (void)luaL_error(lua,
                         "%s: exchange and routing key are both empty: the default exchange takes the "
                         "routing key for the name of a queue",
                         order->verb);
    if (lua_type(lua, BODY) != LUA_TSTRING && !lua_istable(lua, BODY))
        (void)refuse(order, "the body", BODY, "give a text, or a table, which is sent as JSON");
    if (!lua_isnoneornil(lua, PROPERTIES) && !lua_istable(lua, PROPERTIES))
        (void)refuse(order, "what stands for the properties", PROPERTIES, "give a table");
}

static void put_body(const struct order *order)
{
    struct slice text;
    if (lua_istable(order->lua, BODY)) {
        tree_write(order->lua, BODY, "body", &json_text_format, order->to);
        return;
    }
    text.data = lua_tolstring(order->lua, BODY, &text.size);
    (void)buffer_append(order->to, text.data, text.size);
}

static void put_address(const struct order *order, enum wire_attribute_id attribute, int index)
{
    struct slice text;
    text.data = lua_tolstring(order->lua, index, &text.size);
    if (text.size > 0)
        wire_add(order->to, attribute, text);
}

static enum outbox_end put_parcel(struct order *order)
{
    struct outbox *outbox = &order->state->outbox;
    order->to = outbox_begin(outbox);
    put_address(order, WIRE_EXCHANGE, EXCHANGE);
    put_address(order, WIRE_ROUTING_KEY, ROUTING_KEY);
    put_properties(order);
    outbox_begin_body(outbox);
    put_body(order);
    return outbox_end(outbox);
}

/* Why the parcel was not kept, as an error of the script. */
static int refuse_parcel(const struct order *order, enum outbox_end why)
{
    char most[UNITS_TEXT_MAX];
    switch (why) {
    case OUTBOX_TOO_MANY:
        return luaL_error(order->lua, "%s: one message publishes at most %d others", order->verb,
                          WIRE_PUBLISHES_MAX);
    case OUTBOX_ATTRIBUTES:
        return luaL_error(order->lua,
                          "%s: the properties take more than %s, headers included: put what is large into "
                          "the body",
                          order->verb, units_format_size(WIRE_PUBLISH_ATTRIBUTES_MAX, most));
    case OUTBOX_TOO_LARGE:
        return luaL_error(order->lua, "%s: one message publishes at most %s (limits.message)", order->verb,
                          units_format_size((int64_t)order->state->outbox.bytes_max, most));
    case OUTBOX_NO_MEMORY:
    default:
        trip_arm(&order->state->trip, TRIP_MEMORY);
        return trip_raise(order->lua);
    }
}

/* Stack: as in the enum of places. */
static int publish(struct order *order)
{
    check_arguments(order);
    enum outbox_end end = put_parcel(order);
    if (end == OUTBOX_NO_MEMORY) {
        /* Much of what is in the way may be garbage. */
        (void)lua_gc(order->lua, LUA_GCCOLLECT, 0);
        end = put_parcel(order);
    }
    return end == OUTBOX_KEPT ? 0 : refuse_parcel(order, end);
}

/* The first argument must be an object that may publish now. */
static void check_object(const struct order *order)
{
    const struct ticket *ticket = lua_touserdata(order->lua, OBJECT);
    if (lua_type(order->lua, OBJECT) != LUA_TUSERDATA || lua_objlen(order->lua, OBJECT) != sizeof *ticket ||
        ticket->state != order->state)
        (void)luaL_error(order->lua, "%s is called with a colon: message:%s(...)", order->verb, order->verb);
    else if (ticket->generation != order->state->generation || !order->state->outbox.open)
        (void)luaL_error(order->lua,
                         "%s: it is too late: the message, setup or teardown that this belongs to is over, "
                         "and what it published is sent",
                         order->verb);
}

int lua_publish(lua_State *lua)
{
    struct order order = { .state = state_of(lua), .lua = lua, .verb = "publish" };
    lua_settop(lua, PROPERTIES);
    check_object(&order);
    return publish(&order);
}

int lua_publish_reply(lua_State *lua)
{
    struct order order = { .state = state_of(lua), .lua = lua, .verb = "reply", .is_reply = true };
    struct slice reply_to = { .size = 0 };
    lua_settop(lua, 3);
    check_object(&order);
    if (!order.state->message)
        return luaL_error(lua, "reply: there is no message to reply to");
    if (!message_find(order.state->message, WIRE_REPLY_TO, &reply_to) || reply_to.size == 0)
        return luaL_error(lua, "reply: this message has no reply_to: nobody waits for an answer");
    lua_pushliteral(lua, "");
    lua_insert(lua, EXCHANGE);
    lua_pushlstring(lua, reply_to.data, reply_to.size);
    lua_insert(lua, ROUTING_KEY);
    return publish(&order);
}

void lua_publish_push_worker(struct state *state, lua_State *lua)
{
    state_push_ticket(state, lua);
    lua_createtable(lua, 0, 2);
    lua_createtable(lua, 0, 1);
    state_push_function(state, lua, lua_publish);
    lua_setfield(lua, -2, "publish");
    lua_setfield(lua, -2, "__index");
    lua_pushliteral(lua, "read only");
    lua_setfield(lua, -2, "__metatable");
    (void)lua_setmetatable(lua, -2);
}
