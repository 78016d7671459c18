/* Runs scripts/config.lua on file, flags and environment, and copies what it answers into struct config.
 *
 * This is the host's one meeting with Lua. The state lives only during config_load: it has base, string,
 * table and math, bounded memory, no JIT, and the file in it a bounded number of steps. All the judging is
 * done in Lua; here are the few functions that it gets from the world, and the tables of which value goes
 * where. */
#include "host/config.h"

#include "common/redact.h"
#include "common/scripts.h"
#include "common/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

enum {
    STATE_BYTES_MAX = 64 * 1024 * 1024,
    FILE_BYTES_MAX = 1024 * 1024,
    FILE_STEPS_MAX = 50 * 1000 * 1000, /* instructions: half a second at most */
};

/* Where each value goes */

enum field_kind {
    KIND_TEXT,     /* char *, NULL where absent */
    KIND_WHOLE,    /* int64_t; also bytes and nanoseconds */
    KIND_UNSIGNED, /* unsigned */
    KIND_SECONDS,  /* int, of nanoseconds */
    KIND_NUMBER,   /* double */
    KIND_BOOLEAN,  /* bool */
    KIND_CHOICE,   /* an enum: the place of the word among `words` */
};

/* One value that scripts/config.lua hands over, by the key's path. What is absent there stays as it was. */
struct field_place {
    const char *path;
    enum field_kind kind;
    size_t offset;
    const char *const *words;
};

static const char *const auth_words[] = { "plain", "external", NULL };
static const char *const level_words[] = { "debug", "info", "warning", "error", NULL };
static const char *const format_words[] = { "auto", "logfmt", "json", NULL };
static const char *const decode_words[] = { "auto", "json", "raw", NULL };
static const char *const ordering_words[] = { "none", "key", "header", NULL };
static const char *const seccomp_words[] = { "on", "required", "off", NULL };
static const char *const type_words[] = { "classic", "quorum", NULL };

/* KIND_CHOICE writes the place as an unsigned: that is what these enums are. */
_Static_assert(sizeof(enum config_auth) == sizeof(unsigned) && sizeof(enum log_level) == sizeof(unsigned) &&
                   sizeof(enum log_format) == sizeof(unsigned) &&
                   sizeof(enum wire_decode) == sizeof(unsigned) &&
                   sizeof(enum config_ordering) == sizeof(unsigned) &&
                   sizeof(enum config_seccomp) == sizeof(unsigned) &&
                   sizeof(enum config_queue_type) == sizeof(unsigned),
               "an enum of the configuration is not an unsigned");

#define ROOT(path, kind, member)                                                                             \
    {                                                                                                        \
        path, kind, offsetof(struct config, member), NULL                                                    \
    }
#define ROOT_CHOICE(path, member, words)                                                                     \
    {                                                                                                        \
        path, KIND_CHOICE, offsetof(struct config, member), words                                            \
    }
#define EACH(path, kind, member)                                                                             \
    {                                                                                                        \
        path, kind, offsetof(struct consumer_config, member), NULL                                           \
    }
#define EACH_CHOICE(path, member, words)                                                                     \
    {                                                                                                        \
        path, KIND_CHOICE, offsetof(struct consumer_config, member), words                                   \
    }

static const struct field_place root_places[] = {
    ROOT("file", KIND_TEXT, file),
    ROOT("broker.management", KIND_TEXT, broker.management),
    ROOT_CHOICE("broker.auth", broker.auth, auth_words),
    ROOT("broker.tls.ca", KIND_TEXT, broker.tls.ca),
    ROOT("broker.tls.cert", KIND_TEXT, broker.tls.cert),
    ROOT("broker.tls.key", KIND_TEXT, broker.tls.key),
    ROOT("broker.tls.verify", KIND_BOOLEAN, broker.tls.verify),
    ROOT("broker.heartbeat", KIND_SECONDS, broker.heartbeat_seconds),
    ROOT("broker.connection_timeout", KIND_WHOLE, broker.connection_timeout_ns),
    ROOT("broker.io_timeout", KIND_WHOLE, broker.io_timeout_ns),
    ROOT("broker.wait", KIND_WHOLE, broker.wait_ns),
    ROOT("broker.max_channels", KIND_UNSIGNED, broker.max_channels),
    ROOT("cache.memory", KIND_WHOLE, cache.memory_bytes),
    ROOT("cache.entries", KIND_WHOLE, cache.entries),
    ROOT("cache.ttl", KIND_WHOLE, cache.ttl_ns),
    ROOT("memory.warning", KIND_WHOLE, memory.warning_bytes),
    ROOT("memory.critical", KIND_WHOLE, memory.critical_bytes),
    ROOT("memory.interval", KIND_WHOLE, memory.interval_ns),
    ROOT("status.listen", KIND_TEXT, status.listen),
    ROOT("status.explicit", KIND_BOOLEAN, status.explicit),
    ROOT_CHOICE("sandbox.seccomp", sandbox.seccomp, seccomp_words),
    ROOT("shutdown_timeout", KIND_WHOLE, shutdown_timeout_ns),
    ROOT_CHOICE("log.level", log_level, level_words),
    ROOT_CHOICE("log.format", log_format, format_words),
    ROOT("log.handler_lines", KIND_UNSIGNED, log_handler_lines),
    ROOT("max_messages", KIND_WHOLE, max_messages),
    ROOT("exit_when_idle", KIND_WHOLE, exit_when_idle_ns),
    { NULL, KIND_TEXT, 0, NULL },
};

static const struct field_place consumer_places[] = {
    EACH("name", KIND_TEXT, name),
    EACH("queue", KIND_TEXT, queue),
    EACH("handler", KIND_TEXT, handler),
    EACH("workers", KIND_UNSIGNED, workers),
    EACH("concurrency", KIND_UNSIGNED, concurrency),
    EACH("prefetch", KIND_UNSIGNED, prefetch),
    EACH("rate", KIND_WHOLE, rate_interval_ns),
    EACH_CHOICE("decode", decode, decode_words),
    EACH_CHOICE("ordering", ordering, ordering_words),
    EACH("ordering.header", KIND_TEXT, ordering_header),
    EACH("limits.memory", KIND_WHOLE, limits.memory_bytes),
    EACH("limits.deadline", KIND_WHOLE, limits.deadline_ns),
    EACH("limits.grace", KIND_WHOLE, limits.grace_ns),
    EACH("limits.message", KIND_WHOLE, limits.message_bytes),
    EACH("recycle.messages", KIND_WHOLE, recycle.messages),
    EACH("recycle.memory", KIND_WHOLE, recycle.memory_bytes),
    EACH("recycle.process_memory", KIND_WHOLE, recycle.process_memory_bytes),
    EACH("retry.attempts", KIND_UNSIGNED, retry.attempts),
    EACH("retry.delay", KIND_WHOLE, retry.delay_ns),
    EACH("retry.factor", KIND_NUMBER, retry.factor),
    EACH("retry.max_delay", KIND_WHOLE, retry.max_delay_ns),
    EACH("retry.jitter", KIND_NUMBER, retry.jitter),
    EACH("dead_letter", KIND_TEXT, dead_letter),
    EACH("http.ca", KIND_TEXT, http.ca),
    EACH("http.timeout", KIND_WHOLE, http.timeout_ns),
    EACH("http.max_response", KIND_WHOLE, http.response_bytes),
    EACH("http.per_host", KIND_UNSIGNED, http.per_host),
    EACH("http.breaker_failures", KIND_UNSIGNED, http.failures),
    EACH("http.breaker_pause", KIND_WHOLE, http.pause_ns),
    EACH("declared", KIND_BOOLEAN, declare.enabled),
    EACH_CHOICE("declare.type", declare.type, type_words),
    EACH("declare.durable", KIND_BOOLEAN, declare.durable),
    EACH("declare.max_length", KIND_WHOLE, declare.max_length),
    EACH("declare.max_bytes", KIND_WHOLE, declare.max_bytes),
    EACH("declare.ttl", KIND_WHOLE, declare.ttl_ns),
    EACH("declare.overflow", KIND_TEXT, declare.overflow),
    EACH("declare.dead_letter_exchange", KIND_TEXT, declare.dead_letter_exchange),
    EACH("declare.dead_letter_routing_key", KIND_TEXT, declare.dead_letter_routing_key),
    EACH("declare.single_active_consumer", KIND_BOOLEAN, declare.single_active_consumer),
    EACH("declare.delivery_limit", KIND_WHOLE, declare.delivery_limit),
    { NULL, KIND_TEXT, 0, NULL },
};

/* What scripts/config.lua gets from the world: the functions of its `host` */

/* parse_size(text) -> bytes | nil */
static int api_parse_size(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    int64_t bytes;
    if (!units_parse_size(text, length, &bytes))
        return 0;
    lua_pushnumber(L, (lua_Number)bytes);
    return 1;
}

/* parse_duration(text) -> nanoseconds | nil */
static int api_parse_duration(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    int64_t nanoseconds;
    if (!units_parse_duration(text, length, &nanoseconds))
        return 0;
    lua_pushnumber(L, (lua_Number)nanoseconds);
    return 1;
}

/* format_size(bytes) -> text */
static int api_format_size(lua_State *L)
{
    char text[UNITS_TEXT_MAX];
    lua_pushstring(L, units_format_size(units_from_number(luaL_checknumber(L, 1)), text));
    return 1;
}

/* format_duration(nanoseconds) -> text */
static int api_format_duration(lua_State *L)
{
    char text[UNITS_TEXT_MAX];
    lua_pushstring(L, units_format_duration(units_from_number(luaL_checknumber(L, 1)), text));
    return 1;
}

/* redact(text) -> text without passwords */
static int api_redact(lua_State *L)
{
    struct slice text;
    text.data = luaL_checklstring(L, 1, &text.size);
    luaL_Buffer result;
    luaL_buffinit(L, &result);
    struct slice rest = text;
    struct slice password;
    const char *shown = text.data;
    while (redact_next(&rest, &password)) {
        luaL_addlstring(&result, shown, (size_t)(password.data - shown));
        luaL_addlstring(&result, "***", 3);
        shown = password.data + password.size;
    }
    luaL_addlstring(&result, shown, (size_t)(text.data + text.size - shown));
    luaL_pushresult(&result);
    return 1;
}

/* Opens a file to read; -1 with reason and errno (0: it is no file). Never waits, as a FIFO would make it. */
static int open_file(const char *path, const char **ret_reason)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fd;
    if (fd < 0) {
        *ret_reason = strerror(errno);
        return -1;
    }
    (void)close(fd);
    *ret_reason = "it is not a file";
    errno = 0;
    return -1;
}

/* probe(path) -> nil where a file can be read there | reason */
static int api_probe(lua_State *L)
{
    const char *reason = NULL;
    int fd = open_file(luaL_checkstring(L, 1), &reason);
    if (fd < 0) {
        lua_pushfstring(L, "cannot be read: %s", reason);
        return 1;
    }
    (void)close(fd);
    return 0;
}

/* Reads until the end or until `size` bytes; -1 with errno where that fails. */
static ssize_t read_all(int fd, char *to, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t count = read(fd, to + got, size - got);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        got += (size_t)count;
    }
    return (ssize_t)got;
}

/* read(path) -> content | nil, reason, true where there is no such file */
static int api_read(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    /* The state's own memory: nothing is lost where a later push finds none. */
    char *content = lua_newuserdata(L, FILE_BYTES_MAX + 1);
    const char *reason = NULL;
    int fd = open_file(path, &reason);
    if (fd < 0) {
        bool missing = errno == ENOENT;
        lua_pushnil(L);
        lua_pushfstring(L, "cannot be read: %s", reason);
        lua_pushboolean(L, missing);
        return 3;
    }
    ssize_t size = read_all(fd, content, FILE_BYTES_MAX + 1);
    int number = errno;
    (void)close(fd);
    if (size < 0 || size > FILE_BYTES_MAX) {
        lua_pushnil(L);
        lua_pushfstring(L, "cannot be read: %s", size < 0 ? strerror(number) : "it is larger than 1 MiB");
        return 2;
    }
    lua_pushlstring(L, content, (size_t)size);
    return 1;
}

static void on_steps(lua_State *L, lua_Debug *unused)
{
    (void)unused;
    luaL_where(L, 0); /* a hook has no frame of its own */
    lua_pushfstring(L,
                    "the file went on for %d million steps, as if for ever: a configuration comes to an end",
                    FILE_STEPS_MAX / 1000000);
    lua_concat(L, 2);
    (void)lua_error(L);
}

/* run(content, name, environment) -> true, value | false, error */
static int api_run(lua_State *L)
{
    size_t size;
    const char *content = luaL_checklstring(L, 1, &size);
    const char *name = lua_pushfstring(L, "@%s", luaL_checkstring(L, 2));
    int status = luaL_loadbufferx(L, content, size, name, "t");
    if (status == 0) {
        lua_pushvalue(L, 3);
        lua_setfenv(L, -2);
        lua_sethook(L, on_steps, LUA_MASKCOUNT, FILE_STEPS_MAX);
        status = lua_pcall(L, 0, 1, 0);
        lua_sethook(L, NULL, 0, 0);
    }
    if (status == LUA_ERRMEM)
        lua_pushfstring(L, "%s needs more than 64 MiB of memory", name + 1);
    lua_pushboolean(L, status == 0);
    lua_insert(L, -2);
    return 2;
}

/* script(name) -> the function that the script is */
static int api_script(lua_State *L)
{
    static const struct {
        const char *name;
        const char *text;
        const size_t *size;
    } scripts[] = {
        { "config", script_config, &script_config_size },
        { "config_problems", script_config_problems, &script_config_problems_size },
        { "config_kinds", script_config_kinds, &script_config_kinds_size },
        { "config_keys", script_config_keys, &script_config_keys_size },
        { "config_checks", script_config_checks, &script_config_checks_size },
    };
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        if (strcmp(scripts[i].name, name) != 0)
            continue;
        const char *chunk = lua_pushfstring(L, "@scripts/%s.lua", name);
        if (luaL_loadbufferx(L, scripts[i].text, *scripts[i].size, chunk, "t") != 0)
            return lua_error(L);
        return 1;
    }
    return luaL_error(L, "there is no script of the name %s", name);
}

static const luaL_Reg api_functions[] = {
    { "parse_size", api_parse_size },
    { "parse_duration", api_parse_duration },
    { "format_size", api_format_size },
    { "format_duration", api_format_duration },
    { "redact", api_redact },
    { "probe", api_probe },
    { "read", api_read },
    { "run", api_run },
    { "script", api_script },
    { NULL, NULL },
};

/* In: the state, and what it is given */

/* Bytes in use by one state; the allocator's own datum. */
struct arena {
    size_t used;
};

static void *arena_allocate(void *datum, void *block, size_t old_size, size_t new_size)
{
    struct arena *arena = datum;
    if (new_size == 0) {
        free(block);
        arena->used -= old_size;
        return NULL;
    }
    if (new_size > old_size && new_size - old_size > STATE_BYTES_MAX - arena->used)
        return NULL;
    void *moved = realloc(block, new_size);
    if (moved)
        arena->used = arena->used - old_size + new_size;
    return moved;
}

static void open_library(lua_State *L, lua_CFunction open)
{
    lua_pushcfunction(L, open);
    if (lua_pcall(L, 0, 0, 0) != 0)
        (void)lua_error(L);
}

static void open_libraries(lua_State *L)
{
    (void)luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    open_library(L, luaopen_base);
    open_library(L, luaopen_string);
    open_library(L, luaopen_table);
    open_library(L, luaopen_math);
}

/* Pushes { { name =, value = }, ... }. */
static void push_flags(lua_State *L, const struct config_source *source)
{
    lua_newtable(L);
    for (size_t i = 0; i < source->flag_count; i++) {
        lua_newtable(L);
        lua_pushstring(L, source->flags[i].name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, source->flags[i].value);
        lua_setfield(L, -2, "value");
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* Pushes { NAME = value, ... }; of a name that is there twice the first counts, as getenv has it. */
static void push_environment(lua_State *L, char **environment)
{
    lua_newtable(L);
    size_t count = 0;
    while (environment && environment[count])
        count++;
    while (count-- > 0) {
        const char *entry = environment[count];
        const char *equals = strchr(entry, '=');
        if (!equals)
            continue;
        lua_pushlstring(L, entry, (size_t)(equals - entry));
        lua_pushstring(L, equals + 1);
        lua_rawset(L, -3);
    }
}

static void push_source(lua_State *L, const struct config_source *source)
{
    lua_newtable(L);
    lua_pushstring(L, source->file);
    lua_setfield(L, -2, "file");
    lua_pushboolean(L, source->only_named);
    lua_setfield(L, -2, "only_named");
    lua_pushboolean(L, source->consumers_optional);
    lua_setfield(L, -2, "consumers_optional");
    lua_pushstring(L, source->handler);
    lua_setfield(L, -2, "handler");
    lua_pushstring(L, source->command ? source->command : "run");
    lua_setfield(L, -2, "command");
    lua_pushboolean(L, source->broker_only);
    lua_setfield(L, -2, "broker_only");
    push_flags(L, source);
    lua_setfield(L, -2, "flags");
    push_environment(L, source->environment);
    lua_setfield(L, -2, "environment");
}

/* Out: from the table on top of the stack into struct config; each function leaves the stack as it was */

static _Noreturn void no_memory(lua_State *L)
{
    (void)luaL_error(L, "no memory is left");
    abort(); /* luaL_error does not come back */
}

static char *copy_text(lua_State *L, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        no_memory(L);
    return copy;
}

static unsigned place_among(lua_State *L, const char *const *words, const char *word)
{
    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(words[i], word) == 0)
            return i;
    }
    return (unsigned)luaL_error(L, "\"%s\" is no word that the program knows", word);
}

/* Takes the value on top of the stack. */
static void take_value(lua_State *L, const struct field_place *place, void *at)
{
    switch (place->kind) {
    case KIND_TEXT:
        *(char **)at = copy_text(L, luaL_checkstring(L, -1));
        break;
    case KIND_WHOLE:
        *(int64_t *)at = (int64_t)luaL_checknumber(L, -1);
        break;
    case KIND_UNSIGNED:
        *(unsigned *)at = (unsigned)luaL_checknumber(L, -1);
        break;
    case KIND_SECONDS:
        *(int *)at = (int)(luaL_checknumber(L, -1) / 1e9);
        break;
    case KIND_NUMBER:
        *(double *)at = luaL_checknumber(L, -1);
        break;
    case KIND_BOOLEAN:
        *(bool *)at = lua_toboolean(L, -1) != 0;
        break;
    case KIND_CHOICE:
        *(unsigned *)at = place_among(L, place->words, luaL_checkstring(L, -1));
        break;
    }
}

static void take_values(lua_State *L, const struct field_place *places, void *object)
{
    for (; places->path; places++) {
        lua_getfield(L, -1, places->path);
        if (!lua_isnil(L, -1))
            take_value(L, places, (char *)object + places->offset);
        lua_pop(L, 1);
    }
}

/* A list of texts; absent is empty. The count grows with the copies, so that config_free knows them all. */
static void take_list(lua_State *L, const char *path, char ***ret_items, size_t *ret_count)
{
    lua_getfield(L, -1, path);
    size_t count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    if (count > 0) {
        *ret_items = calloc(count, sizeof **ret_items);
        if (!*ret_items)
            no_memory(L);
    }
    for (; *ret_count < count; ++*ret_count) {
        lua_rawgeti(L, -1, (int)*ret_count + 1);
        (*ret_items)[*ret_count] = copy_text(L, luaL_checkstring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static char *copy_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    char *copy = copy_text(L, luaL_checkstring(L, -1));
    lua_pop(L, 1);
    return copy;
}

/* As take_list: config_free knows what was copied, even of a binding that was begun. */
static void take_bindings(lua_State *L, struct declare_config *declare)
{
    lua_getfield(L, -1, "declare.bindings");
    size_t count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    if (count > 0) {
        declare->bindings = calloc(count, sizeof *declare->bindings);
        if (!declare->bindings)
            no_memory(L);
    }
    while (declare->binding_count < count) {
        struct binding_config *binding = &declare->bindings[declare->binding_count++];
        lua_rawgeti(L, -1, (int)declare->binding_count);
        binding->exchange = copy_field(L, "exchange");
        binding->routing_key = copy_field(L, "routing_key");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void take_consumer(lua_State *L, struct consumer_config *consumer)
{
    consumer->declare.max_length = consumer->declare.max_bytes = -1;
    consumer->declare.ttl_ns = consumer->declare.expires_ns = consumer->declare.delivery_limit = -1;
    take_values(L, consumer_places, consumer);
    take_bindings(L, &consumer->declare);
    take_list(L, "http.allow", &consumer->http_allow, &consumer->http_allow_count);
    lua_getfield(L, -1, "declare.type");
    consumer->declare.has_type = !lua_isnil(L, -1);
    lua_pop(L, 1);
}

static void take_consumers(lua_State *L, struct config *config)
{
    lua_getfield(L, -1, "consumers");
    size_t count = lua_objlen(L, -1);
    config->consumers = calloc(count + 1, sizeof *config->consumers);
    if (!config->consumers)
        no_memory(L);
    config->consumer_count = count;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        take_consumer(L, &config->consumers[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Appends { problems = {...} } line by line; false where there are none. */
static bool take_problems(lua_State *L, struct buffer *problems)
{
    lua_getfield(L, -1, "problems");
    bool any = lua_istable(L, -1);
    for (int i = 1; any && i <= (int)lua_objlen(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        (void)buffer_printf(problems, "%s\n", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return any;
}

/* Loading */

struct loading {
    const struct config_source *source;
    struct buffer *problems;
    struct config *config;
    bool done; /* config is complete */
};

static int load(lua_State *L)
{
    struct loading *loading = lua_touserdata(L, 1);
    open_libraries(L);
    lua_pushcfunction(L, api_script);
    lua_pushliteral(L, "config");
    if (lua_pcall(L, 1, 1, 0) != 0)
        return lua_error(L);
    lua_newtable(L);
    luaL_register(L, NULL, api_functions);
    push_source(L, loading->source);
    if (lua_pcall(L, 2, 1, 0) != 0)
        return lua_error(L);
    if (take_problems(L, loading->problems))
        return 0;
    take_values(L, root_places, loading->config);
    take_list(L, "broker.urls", &loading->config->broker.urls, &loading->config->broker.url_count);
    take_consumers(L, loading->config);
    loading->done = true;
    return 0;
}

struct config *config_load(const struct config_source *source, struct buffer *problems)
{
    struct arena arena = { 0 };
    struct loading loading = { .source = source,
                               .problems = problems,
                               .config = calloc(1, sizeof *loading.config) };
    lua_State *L = loading.config ? lua_newstate(arena_allocate, &arena) : NULL;
    if (!L) {
        (void)buffer_append_text(problems, "no memory is left to read the configuration\n");
    } else if (lua_cpcall(L, load, &loading) != 0) {
        const char *words = lua_tostring(L, -1);
        (void)buffer_printf(problems, "the configuration cannot be read: %s\n",
                            words ? words : "unknown error");
    }
    if (L)
        lua_close(L);
    if (loading.done)
        return loading.config;
    config_free(loading.config);
    return NULL;
}

/* Freeing */

static void free_list(char **items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        explicit_bzero(items[i], strlen(items[i])); /* URLs hold passwords */
        free(items[i]);
    }
    free(items);
}

static void free_bindings(struct declare_config *declare)
{
    for (size_t i = 0; i < declare->binding_count; i++) {
        free(declare->bindings[i].exchange);
        free(declare->bindings[i].routing_key);
    }
    free(declare->bindings);
}

static void free_texts(const struct field_place *places, void *object)
{
    for (; places->path; places++) {
        if (places->kind == KIND_TEXT)
            free(*(char **)((char *)object + places->offset));
    }
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->consumer_count; i++) {
        struct consumer_config *consumer = &config->consumers[i];
        free_texts(consumer_places, consumer);
        free_bindings(&consumer->declare);
        free_list(consumer->http_allow, consumer->http_allow_count);
    }
    free(config->consumers);
    free_list(config->broker.urls, config->broker.url_count);
    if (config->broker.management)
        explicit_bzero(config->broker.management, strlen(config->broker.management));
    free_texts(root_places, config);
    free(config);
}

const char *config_lua_library(void)
{
    return LUAJIT_VERSION;
}
