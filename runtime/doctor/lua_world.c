/* Looking at the world for Lua; see lua_world.h.
 *
 * A function that fails returns nil and a sentence, which is told to people as it is. */
#include "doctor/lua_world.h"

#include "common/clock.h"
#include "host/amqp/address.h"
#include "host/amqp/connection.h"
#include "host/dead/text.h"
#include "host/host.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>

enum { CLEAN_BYTES_MAX = 64 * 1024, NAMES_MAX = 1024 * 1024 };

static const double sleep_seconds_max = 10;

static struct world *world_of(lua_State *lua)
{
    return lua_touserdata(lua, lua_upvalueindex(1));
}

static int fail(lua_State *lua, const struct error *error)
{
    lua_pushnil(lua);
    lua_pushstring(lua, error->text);
    return 2;
}

/* The application */

/* check() -> true | nil, reason: the handlers load */
static int check(lua_State *lua)
{
    struct error error = { 0 };
    if (!host_check(world_of(lua)->config, &error))
        return fail(lua, &error);
    lua_pushboolean(lua, true);
    return 1;
}

/* The broker by AMQP */

/* connect() -> "amqp://host:port/vhost" | nil, reason */
static int connect_broker(lua_State *lua)
{
    struct world *world = world_of(lua);
    struct error error = { 0 };
    world->connected = session_open(&world->session, &world->config->broker, NULL, NULL, &error);
    if (!world->connected) {
        session_close(&world->session);
        return fail(lua, &error);
    }
    lua_pushstring(lua, connection_name(world->session.connection));
    return 1;
}

/* count(queue) -> { messages =, consumers = } | false (there is none) | nil, reason, lost */
static int count(lua_State *lua)
{
    struct world *world = world_of(lua);
    struct error error = { 0 };
    struct counted counted;
    const char *queue = luaL_checkstring(lua, 1);
    if (!world->connected)
        return luaL_error(lua, "the broker was not connected to");
    enum session_answer answer = session_count(&world->session, queue, &counted, &error);
    if (answer == SESSION_FAILED) {
        (void)fail(lua, &error);
        lua_pushboolean(lua, world->session.lost);
        return 3;
    }
    if (answer == SESSION_NO) {
        lua_pushboolean(lua, false);
        return 1;
    }
    lua_createtable(lua, 0, 2);
    lua_pushnumber(lua, counted.messages);
    lua_setfield(lua, -2, "messages");
    lua_pushnumber(lua, counted.consumers);
    lua_setfield(lua, -2, "consumers");
    return 1;
}

/* The broker by its HTTP API */

/* get(path) -> status, body | nil, reason, "large" or "failed" */
static int get(lua_State *lua)
{
    struct world *world = world_of(lua);
    const char *path = luaL_checkstring(lua, 1);
    struct error error = { 0 };
    struct slice body;
    long status = 0;
    if (!world->http)
        world->http = http_open(&world->config->broker, &error);
    enum http_answer answer = world->http ? http_get(world->http, path, &status, &body, &error) : HTTP_FAILED;
    if (answer != HTTP_ANSWERED) {
        (void)fail(lua, &error);
        lua_pushstring(lua, answer == HTTP_TOO_LARGE ? "large" : "failed");
        return 3;
    }
    lua_pushinteger(lua, (lua_Integer)status);
    lua_pushlstring(lua, body.size > 0 ? body.data : "", body.size);
    return 2;
}

/* management() -> "http://host:port": what get asks */
static int management(lua_State *lua)
{
    const struct world *world = world_of(lua);
    lua_pushstring(lua, world->http ? http_name(world->http) : NULL);
    return 1;
}

/* This machine */

/* names(folder) -> { name, ... } | nil, reason */
static int names(lua_State *lua)
{
    struct error error;
    const char *path = luaL_checkstring(lua, 1);
    const struct dirent *entry;
    DIR *folder = opendir(path);
    if (!folder) {
        (void)error_set_errno(&error, ERROR_FAILED, errno, "%s", path);
        return fail(lua, &error);
    }
    lua_newtable(lua);
    for (int i = 1; i <= NAMES_MAX && (entry = readdir(folder)); i++) {
        lua_pushstring(lua, entry->d_name);
        lua_rawseti(lua, -2, i);
    }
    (void)closedir(folder);
    return 1;
}

/* target(link) -> path | nil */
static int target(lua_State *lua)
{
    char path[PATH_MAX];
    ssize_t size = readlink(luaL_checkstring(lua, 1), path, sizeof path);
    if (size < 0)
        return 0;
    lua_pushlstring(lua, path, (size_t)size);
    return 1;
}

/* page_size() -> bytes */
static int page_size(lua_State *lua)
{
    lua_pushnumber(lua, (double)sysconf(_SC_PAGESIZE));
    return 1;
}

/* The reader */

/* width() -> columns of standard output | nil where it is no terminal */
static int width(lua_State *lua)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 0;
    lua_pushinteger(lua, size.ws_col);
    return 1;
}

/* clean(text) -> the same on one line, safe to print and to be JSON */
static int clean(lua_State *lua)
{
    struct slice text;
    struct buffer buffer;
    text.data = luaL_checklstring(lua, 1, &text.size);
    buffer_init(&buffer, CLEAN_BYTES_MAX);
    text_put(&buffer, text, false);
    lua_pushlstring(lua, buffer.size > 0 ? buffer.data : "", buffer.size);
    buffer_clear(&buffer);
    return 1;
}

/* sleep(seconds) */
static int sleep_for(lua_State *lua)
{
    double seconds = luaL_checknumber(lua, 1);
    if (seconds > 0 && seconds <= sleep_seconds_max) {
        int64_t ns = (int64_t)(seconds * 1e9);
        const struct timespec wait = { .tv_sec = ns / CLOCK_NS_PER_SECOND,
                                       .tv_nsec = ns % CLOCK_NS_PER_SECOND };
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL);
    }
    return 0;
}

static const luaL_Reg functions[] = {
    { "check", check },   { "connect", connect_broker }, { "count", count },
    { "get", get },       { "management", management },  { "names", names },
    { "target", target }, { "page_size", page_size },    { "width", width },
    { "clean", clean },   { "sleep", sleep_for },        { NULL, NULL },
};

/* The configuration as a table: sizes in bytes, times in seconds */

static void set_text(lua_State *lua, const char *name, const char *text)
{
    lua_pushstring(lua, text); /* nil for NULL */
    lua_setfield(lua, -2, name);
}

static void set_number(lua_State *lua, const char *name, double number)
{
    lua_pushnumber(lua, number);
    lua_setfield(lua, -2, name);
}

static void set_flag(lua_State *lua, const char *name, bool on)
{
    lua_pushboolean(lua, on);
    lua_setfield(lua, -2, name);
}

static double seconds(int64_t nanoseconds)
{
    return (double)nanoseconds / 1e9;
}

/* What is not set, as -1, is nil. */
static void set_optional(lua_State *lua, const char *name, int64_t number)
{
    if (number >= 0)
        set_number(lua, name, (double)number);
}

static void push_consumer(lua_State *lua, const struct consumer_config *consumer)
{
    lua_newtable(lua);
    set_text(lua, "name", consumer->name);
    set_text(lua, "queue", consumer->queue);
    set_text(lua, "handler", consumer->handler);
    set_text(lua, "dead_letter", consumer->dead_letter);
    set_number(lua, "workers", consumer->workers);
    set_number(lua, "prefetch", consumer->prefetch);
    set_number(lua, "memory", (double)consumer->limits.memory_bytes);
    set_number(lua, "message", (double)consumer->limits.message_bytes);
    set_number(lua, "deadline", seconds(consumer->limits.deadline_ns));
    set_number(lua, "grace", seconds(consumer->limits.grace_ns));
    set_number(lua, "recycle_memory", (double)consumer->recycle.memory_bytes);
    set_flag(lua, "declared", consumer->declare.enabled);
    set_optional(lua, "max_length", consumer->declare.max_length);
    set_optional(lua, "max_bytes", consumer->declare.max_bytes);
    if (consumer->declare.ttl_ns >= 0)
        set_number(lua, "ttl", seconds(consumer->declare.ttl_ns));
    set_text(lua, "dead_letter_exchange", consumer->declare.dead_letter_exchange);
}

static void push_consumers(lua_State *lua, const struct config *config)
{
    lua_createtable(lua, (int)config->consumer_count, 0);
    for (size_t i = 0; i < config->consumer_count; i++) {
        push_consumer(lua, &config->consumers[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
}

static void set_vhost(lua_State *lua, const struct config *config)
{
    struct address address;
    struct error ignored;
    bool parsed = address_parse(&address, config->broker.urls[0], &ignored);
    set_text(lua, "vhost", parsed ? address.vhost : "/");
    address_clear(&address);
}

static void push_config(lua_State *lua, const struct config *config)
{
    lua_newtable(lua);
    set_text(lua, "file", config->file);
    set_vhost(lua, config);
    set_number(lua, "heartbeat", config->broker.heartbeat_seconds);
    set_flag(lua, "management", config->broker.management != NULL);
    set_number(lua, "memory_warning", (double)config->memory.warning_bytes);
    set_number(lua, "memory_critical", (double)config->memory.critical_bytes);
    set_number(lua, "cache_memory", (double)config->cache.memory_bytes);
    push_consumers(lua, config);
    lua_setfield(lua, -2, "consumers");
}

/* Life */

void world_init(struct world *world, const struct config *config, bool json, const char *fail_on)
{
    *world = (struct world){ .config = config, .json = json, .fail_on = fail_on };
}

void world_clear(struct world *world)
{
    if (world->connected)
        session_close(&world->session);
    http_close(world->http);
    *world = (struct world){ .connected = false };
}

int world_push(lua_State *lua, void *world)
{
    const struct world *given = world;
    lua_newtable(lua);
    set_flag(lua, "json", given->json);
    set_text(lua, "fail_on", given->fail_on);
    push_config(lua, given->config);
    lua_setfield(lua, -2, "config");
    lua_newtable(lua);
    for (const luaL_Reg *function = functions; function->name; function++) {
        lua_pushlightuserdata(lua, world);
        lua_pushcclosure(lua, function->func, 1);
        lua_setfield(lua, -2, function->name);
    }
    lua_setfield(lua, -2, "world");
    return 1;
}
