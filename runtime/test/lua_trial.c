/* The Lua face of a trial; see lua_trial.h. */
#include "test/lua_trial.h"

#include "common/base64.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"
#include "host/handler_log.h"
#include "host/recycles.h"
#include "host/retry.h"
#include "test/publications.h"
#include "test/trial.h"
#include "test/trial_message.h"
#include "worker/lua_cache.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

enum { PROBLEMS_BYTES_MAX = 64 * 1024, FLAGS_MAX = 128 };

static const char class_name[] = "moonrabbit.trial";

struct bench {
    struct trial trial;
    struct config *config; /* NULL: closed */
    const struct consumer_config *consumer;
    struct buffer attributes; /* of the message at hand */
    struct trial_outcome outcome;
    bool stopped;
};

/* As luaL_error, but without a position: it would be one of our scripts'. */
static int complain(lua_State *lua, const char *text)
{
    lua_pushstring(lua, text);
    return lua_error(lua);
}

static struct bench *check_bench(lua_State *lua)
{
    struct bench *bench = luaL_checkudata(lua, 1, class_name);
    if (!bench->config || bench->stopped)
        (void)complain(lua, "this worker is closed");
    return bench;
}

static void set_number(lua_State *lua, const char *name, double number)
{
    lua_pushnumber(lua, number);
    lua_setfield(lua, -2, name);
}

static void set_seconds(lua_State *lua, const char *name, int64_t nanoseconds)
{
    set_number(lua, name, (double)nanoseconds / 1e9);
}

static void set_text(lua_State *lua, const char *name, const char *text)
{
    lua_pushstring(lua, text);
    lua_setfield(lua, -2, name);
}

/* Log lines */

static void push_value(lua_State *lua, const struct wire_attribute *value)
{
    lua_pushlstring(lua, value->value.data, value->value.size);
    if (value->id != WIRE_LITERAL)
        return;
    if (slice_equals(value->value, "true") || slice_equals(value->value, "false"))
        lua_pushboolean(lua, slice_equals(value->value, "true"));
    else if (slice_equals(value->value, "null"))
        lua_pushlightuserdata(lua, NULL);
    else
        lua_pushnumber(lua, lua_tonumber(lua, -1));
    lua_remove(lua, -2);
}

/* -> { level =, message =, fields = { name = value } } */
static void push_line(lua_State *lua, enum log_level level, struct slice attributes)
{
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    struct wire_attribute attribute, value;
    struct slice text = { .data = "" };
    (void)wire_find(attributes, WIRE_TEXT, &text);
    lua_createtable(lua, 0, 3);
    set_text(lua, "level", levels[level]);
    lua_pushlstring(lua, text.data, text.size);
    lua_setfield(lua, -2, "message");
    lua_newtable(lua);
    while (wire_take_attribute(&attributes, &attribute) == WIRE_FRAME) {
        if (attribute.id != WIRE_KEY || wire_take_attribute(&attributes, &value) != WIRE_FRAME)
            continue;
        lua_pushlstring(lua, attribute.value.data, attribute.value.size);
        push_value(lua, &value);
        lua_rawset(lua, -3);
    }
    lua_setfield(lua, -2, "fields");
}

/* Takes the next line off the front of what trial.c kept. */
static bool next_line(struct slice *rest, enum log_level *ret_level, struct slice *ret_attributes)
{
    struct wire_frame frame;
    struct wire_log line;
    if (wire_next(*rest, rest->size, &frame) != WIRE_FRAME)
        return false;
    size_t size = WIRE_HEADER_BYTES + frame.payload.size;
    *rest = (struct slice){ .data = rest->data + size, .size = rest->size - size };
    *ret_attributes = frame.payload;
    if (!wire_take_log(ret_attributes, &line))
        return false;
    *ret_level = (enum log_level)line.level;
    return true;
}

static void push_lines(lua_State *lua, const struct buffer *logs)
{
    struct slice rest = { .data = logs->data, .size = logs->size };
    struct slice attributes;
    enum log_level level;
    lua_newtable(lua);
    for (int i = 1; next_line(&rest, &level, &attributes); i++) {
        push_line(lua, level, attributes);
        lua_rawseti(lua, -2, i);
    }
}

static int take_logs(lua_State *lua)
{
    struct bench *bench = luaL_checkudata(lua, 1, class_name);
    push_lines(lua, &bench->trial.loose);
    buffer_reset(&bench->trial.loose);
    return 1;
}

static int take_published(lua_State *lua)
{
    struct bench *bench = luaL_checkudata(lua, 1, class_name);
    publications_push(lua, &bench->trial.published_loose);
    buffer_reset(&bench->trial.published_loose);
    return 1;
}

static void write_lines(const struct bench *bench, struct buffer *logs)
{
    struct slice rest = { .data = logs->data, .size = logs->size };
    struct slice attributes;
    enum log_level level;
    while (next_line(&rest, &level, &attributes))
        handler_log_write(bench->consumer->name, 0, level, 0, attributes);
    buffer_reset(logs);
}

static int write_logs(lua_State *lua)
{
    struct bench *bench = luaL_checkudata(lua, 1, class_name);
    write_lines(bench, &bench->trial.loose);
    write_lines(bench, &bench->trial.logs);
    log_flush();
    return 0;
}

/* Messages */

static const char *verdict_name(enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_ACK:
        return "ack";
    case WIRE_RETRY:
        return "retry";
    case WIRE_REQUEUE:
        return "requeue";
    case WIRE_REJECT:
        return "reject";
    default:
        return "error";
    }
}

/* -> { min =, max = }, seconds; what jitter adds lies between. */
static void push_wait(lua_State *lua, const struct bench *bench, uint32_t attempt, int64_t named_ns)
{
    const struct retry_policy *policy = &bench->consumer->retry;
    lua_createtable(lua, 0, 2);
    set_seconds(lua, "min", retry_chosen_wait_ns(policy, attempt, named_ns, 0));
    set_seconds(lua, "max", retry_chosen_wait_ns(policy, attempt, named_ns, 1));
}

static void push_outcome(lua_State *lua, const struct bench *bench, uint32_t attempt)
{
    static const char *const causes[] = {
        [TRIAL_RAISED] = "raised", [TRIAL_MEMORY] = "memory", [TRIAL_TIME] = "time",
        [TRIAL_KILLED] = "killed", [TRIAL_BODY] = "body",     [TRIAL_SIZE] = "size",
    };
    static const char *const settlements[] = {
        [RULING_ACK] = "ack",
        [RULING_RETRY] = "retry",
        [RULING_REQUEUE] = "requeue",
        [RULING_GIVE_UP] = "reject",
    };
    const struct trial_outcome *outcome = &bench->outcome;
    lua_createtable(lua, 0, 11);
    set_text(lua, "verdict", verdict_name(outcome->verdict));
    if (outcome->cause != TRIAL_NONE)
        set_text(lua, "cause", causes[outcome->cause]);
    set_text(lua, "settlement", settlements[outcome->ruling]);
    lua_pushlstring(lua, outcome->text, outcome->text_bytes);
    lua_setfield(lua, -2, "text");
    set_seconds(lua, "elapsed", outcome->elapsed_ns);
    if (outcome->delay_ns >= 0)
        set_seconds(lua, "delay", outcome->delay_ns);
    if (outcome->ruling == RULING_RETRY) {
        push_wait(lua, bench, attempt, outcome->delay_ns);
        lua_setfield(lua, -2, "wait");
    }
    if (outcome->heap_bytes > 0)
        set_number(lua, "memory", (double)outcome->heap_bytes);
    push_lines(lua, &bench->trial.logs);
    lua_setfield(lua, -2, "logs");
    publications_push(lua, &bench->trial.published);
    lua_setfield(lua, -2, "published");
}

static int deliver(lua_State *lua)
{
    struct bench *bench = check_bench(lua);
    struct trial_message message;
    struct error error;
    luaL_checktype(lua, 2, LUA_TTABLE);
    trial_message_read(lua, 2, &bench->attributes, &message);
    if (!trial_deliver(&bench->trial, &message, &bench->outcome, &error))
        return complain(lua, error.text);
    push_outcome(lua, bench, message.attempt);
    return 1;
}

static int check_message(lua_State *lua)
{
    struct bench *bench = check_bench(lua);
    struct trial_message message;
    luaL_checktype(lua, 2, LUA_TTABLE);
    trial_message_read(lua, 2, &bench->attributes, &message);
    return 0;
}

static int retry_wait(lua_State *lua)
{
    const struct bench *bench = check_bench(lua);
    double attempt = luaL_checknumber(lua, 2);
    if (!(attempt >= 1 && attempt <= UINT32_MAX && attempt == floor(attempt)))
        (void)luaL_argerror(lua, 2, "the number of an attempt, 1 or more, is wanted");
    if (attempt >= bench->consumer->retry.attempts)
        return 0;
    push_wait(lua, bench, (uint32_t)attempt, -1);
    return 1;
}

static int recycle(lua_State *lua)
{
    struct bench *bench = check_bench(lua);
    struct wire_recycled recycled;
    struct error error;
    if (!trial_recycle(&bench->trial, &recycled, &error))
        return complain(lua, error.text);
    lua_createtable(lua, 0, 3);
    set_number(lua, "messages", (double)recycled.messages);
    set_number(lua, "memory", (double)recycled.heap_bytes);
    set_number(lua, "peak", (double)recycled.peak_bytes);
    return 1;
}

static void push_leak(lua_State *lua, const struct leak_suspect *suspect)
{
    char line[LEAK_LINE_MAX];
    lua_createtable(lua, 0, 8);
    lua_pushstring(lua, suspect->path);
    lua_setfield(lua, -2, "path");
    lua_pushstring(lua, suspect->kind);
    lua_setfield(lua, -2, "kind");
    lua_pushstring(lua, suspect->sample);
    lua_setfield(lua, -2, "sample");
    lua_pushstring(lua, leaks_describe(suspect, line));
    lua_setfield(lua, -2, "text");
    set_number(lua, "entries", (double)suspect->entries);
    set_number(lua, "entries_per_message", suspect->entries_per_message);
    set_number(lua, "bytes", (double)suspect->bytes);
    set_number(lua, "bytes_per_message", suspect->bytes_per_message);
}

/* -> what leaks, how it was looked for */
static int leaks(lua_State *lua)
{
    struct bench *bench = check_bench(lua);
    const struct trial *trial = &bench->trial;
    trial_look(&bench->trial);
    lua_createtable(lua, (int)trial->leaks.count, 0);
    for (unsigned i = 0; i < trial->leaks.count; i++) {
        push_leak(lua, &trial->leaks.suspects[i]);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_createtable(lua, 0, 4);
    set_number(lua, "looks", (double)trial->looked.looks);
    set_number(lua, "objects", (double)trial->looked.objects);
    set_number(lua, "spent", (double)trial->looked.spent_ns / 1e9);
    set_number(lua, "alive", (double)trial->looked.alive_ns / 1e9);
    lua_pushboolean(lua, trial->looked.complete);
    lua_setfield(lua, -2, "complete");
    return 2;
}

static int cache(lua_State *lua)
{
    struct bench *bench = check_bench(lua);
    lua_cache_push_functions(lua, &bench->trial.cache);
    return 1;
}

static int64_t check_seconds(lua_State *lua, int index)
{
    int64_t nanoseconds = 0;
    if (!units_from_seconds(luaL_checknumber(lua, index), &nanoseconds))
        (void)luaL_argerror(lua, index, "seconds, 0 or more, are wanted");
    return nanoseconds;
}

static int move_clock(lua_State *lua)
{
    struct bench *bench = check_bench(lua);
    cache_move_clock(&bench->trial.cache, check_seconds(lua, 2));
    return 0;
}

static int counts(lua_State *lua)
{
    const struct bench *bench = luaL_checkudata(lua, 1, class_name);
    lua_createtable(lua, 0, 3);
    set_number(lua, "processes", (double)bench->trial.processes);
    set_number(lua, "logs_lost", (double)bench->trial.logs_lost);
    set_number(lua, "published_lost", (double)bench->trial.published_lost);
    lua_createtable(lua, 0, WIRE_RECYCLE_REASONS);
    for (int reason = WIRE_RECYCLE_NONE + 1; reason < WIRE_RECYCLE_REASONS; reason++)
        set_number(lua, recycles_reason((enum wire_recycle_reason)reason),
                   (double)bench->trial.recycled[reason]);
    lua_setfield(lua, -2, "recycled");
    return 1;
}

static int limits(lua_State *lua)
{
    const struct bench *bench = check_bench(lua);
    lua_createtable(lua, 0, 3);
    set_number(lua, "max_messages", (double)bench->config->max_messages);
    set_number(lua, "message", (double)bench->consumer->limits.message_bytes);
    set_number(lua, "attempts", bench->consumer->retry.attempts);
    return 1;
}

/* Life */

static int stop(lua_State *lua)
{
    struct bench *bench = check_bench(lua);
    trial_stop(&bench->trial);
    bench->stopped = true;
    return 0;
}

static int close_bench(lua_State *lua)
{
    struct bench *bench = luaL_checkudata(lua, 1, class_name);
    trial_clear(&bench->trial);
    buffer_clear(&bench->attributes);
    config_free(bench->config);
    bench->config = NULL;
    return 0;
}

/* What a trial is made from, borrowed from the table at 1. */
struct wish {
    struct config_source source;
    struct config_flag flags[FLAGS_MAX];
    const char *handler;
};

static const char *text_at(lua_State *lua, int index, const char *name)
{
    lua_getfield(lua, index, name);
    const char *text = lua_tostring(lua, -1); /* the table keeps it */
    lua_pop(lua, 1);
    return text;
}

static void read_flags(lua_State *lua, struct wish *wish)
{
    lua_getfield(lua, 1, "flags");
    luaL_checktype(lua, -1, LUA_TTABLE);
    size_t count = lua_objlen(lua, -1);
    if (count > FLAGS_MAX)
        (void)luaL_error(lua, "there are %d options, and %d are possible", (int)count, FLAGS_MAX);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, -1, (int)i + 1);
        int pair = lua_gettop(lua);
        lua_rawgeti(lua, pair, 1);
        lua_rawgeti(lua, pair, 2);
        wish->flags[i] =
            (struct config_flag){ .name = luaL_checkstring(lua, -2), .value = lua_tostring(lua, -1) };
        lua_settop(lua, pair - 1);
    }
    lua_pop(lua, 1);
    wish->source.flags = wish->flags;
    wish->source.flag_count = count;
}

static void read_wish(lua_State *lua, struct wish *wish)
{
    static char *no_environment[] = { NULL };
    luaL_checktype(lua, 1, LUA_TTABLE);
    *wish = (struct wish){ .source = { .file = text_at(lua, 1, "file"), .only_named = true } };
    wish->handler = text_at(lua, 1, "handler");
    if (!wish->source.file)
        wish->source.handler = wish->handler;
    lua_getfield(lua, 1, "environment");
    wish->source.environment = lua_toboolean(lua, -1) ? environ : no_environment;
    lua_pop(lua, 1);
    read_flags(lua, wish);
}

static bool same_file(const char *a, const char *b)
{
    char real_a[PATH_MAX], real_b[PATH_MAX];
    return realpath(a, real_a) && realpath(b, real_b) && strcmp(real_a, real_b) == 0;
}

/* The consumer that runs the handler; NULL where none does. */
static const struct consumer_config *find_consumer(const struct config *config, const char *handler)
{
    for (size_t i = 0; i < config->consumer_count; i++) {
        if (same_file(config->consumers[i].handler, handler))
            return &config->consumers[i];
    }
    return NULL;
}

static int refuse(lua_State *lua, const char *problems)
{
    lua_pushnil(lua);
    lua_pushstring(lua, problems);
    return 2;
}

/* -> nil, problems */
static int refuse_config(lua_State *lua, struct buffer *problems)
{
    while (problems->size > 0 && problems->data[problems->size - 1] == '\n')
        problems->size--;
    lua_pushnil(lua);
    lua_pushlstring(lua, problems->size > 0 ? problems->data : "", problems->size);
    buffer_clear(problems);
    return 2;
}

static struct bench *push_bench(lua_State *lua)
{
    struct bench *bench = lua_newuserdata(lua, sizeof *bench);
    memset(bench, 0, sizeof *bench);
    bench->trial.origin = (struct worker_origin){ .program_fd = -1, .cache_fd = -1 };
    buffer_init(&bench->attributes, WIRE_ATTRIBUTES_MAX);
    luaL_getmetatable(lua, class_name);
    (void)lua_setmetatable(lua, -2);
    return bench;
}

static int open_bench(lua_State *lua)
{
    struct wish wish;
    struct error error;
    struct buffer problems;
    read_wish(lua, &wish);
    struct bench *bench = push_bench(lua);
    buffer_init(&problems, PROBLEMS_BYTES_MAX);
    bench->config = config_load(&wish.source, &problems);
    if (!bench->config)
        return refuse_config(lua, &problems);
    buffer_clear(&problems);
    bench->consumer = find_consumer(bench->config, wish.handler);
    if (!bench->consumer) {
        lua_pushfstring(lua, "%s has no consumer that runs %s", wish.source.file, wish.handler);
        return refuse(lua, lua_tostring(lua, -1));
    }
    log_open(STDERR_FILENO, bench->config->log_format, bench->config->log_level);
    if (!trial_init(&bench->trial, bench->config, bench->consumer, &error))
        return refuse(lua, error.text);
    return 1;
}

/* What scripts need besides */

static int format_size(lua_State *lua)
{
    char text[UNITS_TEXT_MAX];
    lua_pushstring(lua, units_format_size(units_from_number(luaL_checknumber(lua, 1)), text));
    return 1;
}

static int format_duration(lua_State *lua)
{
    char text[UNITS_TEXT_MAX];
    lua_pushstring(lua, units_format_duration(units_from_number(luaL_checknumber(lua, 1) * 1e9), text));
    return 1;
}

static int parse_duration(lua_State *lua)
{
    size_t length;
    const char *text = luaL_checklstring(lua, 1, &length);
    int64_t nanoseconds;
    if (!units_parse_duration(text, length, &nanoseconds))
        return 0;
    lua_pushnumber(lua, (double)nanoseconds / 1e9);
    return 1;
}

static int from_base64(lua_State *lua)
{
    struct slice text;
    struct buffer bytes;
    text.data = luaL_checklstring(lua, 1, &text.size);
    buffer_init(&bytes, text.size);
    bool sound = base64_decode(text, &bytes);
    if (sound)
        lua_pushlstring(lua, bytes.size > 0 ? bytes.data : "", bytes.size);
    buffer_clear(&bytes);
    return sound;
}

static int now(lua_State *lua)
{
    lua_pushnumber(lua, (double)clock_now_ns() / 1e9);
    return 1;
}

static int is_terminal(lua_State *lua)
{
    lua_pushboolean(lua, isatty(STDERR_FILENO));
    return 1;
}

static const luaL_Reg functions[] = {
    { "open", open_bench },
    { "format_size", format_size },
    { "format_duration", format_duration },
    { "parse_duration", parse_duration },
    { "from_base64", from_base64 },
    { "now", now },
    { "is_terminal", is_terminal },
    { NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "deliver", deliver }, { "check", check_message },   { "retry_wait", retry_wait },
    { "recycle", recycle }, { "leaks", leaks },           { "stop", stop },
    { "cache", cache },     { "move_clock", move_clock }, { "published", take_published },
    { "logs", take_logs },  { "write_logs", write_logs }, { "counts", counts },
    { "limits", limits },   { "close", close_bench },     { "__gc", close_bench },
    { NULL, NULL },
};

void lua_trial_push(lua_State *lua)
{
    (void)luaL_newmetatable(lua, class_name);
    luaL_register(lua, NULL, methods);
    lua_pushvalue(lua, -1);
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 1);
    lua_newtable(lua);
    luaL_register(lua, NULL, functions);
}
