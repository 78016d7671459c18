/* Running the binary's own commands in Lua; see console.h. */
#include "console.h"

#include "common/error.h"
#include "common/scripts.h"
#include "doctor/lua_world.h"
#include "test/lua_trial.h"

#include <signal.h>
#include <stdio.h>

#include <lauxlib.h>
#include <lua-cjson.h>
#include <lua.h>
#include <lualib.h>

/* lua-cjson.h declares only luaopen_cjson. */
extern int luaopen_cjson_safe(lua_State *lua);

struct module {
    const char *name;
    const char *chunk_name; /* as errors and busted show it */
    const char *text;
    const size_t *size;
};

static const struct module modules[] = {
    { "moonrabbit.test", "@moonrabbit.test", script_test, &script_test_size },
    { "moonrabbit.message", "@moonrabbit.message", script_test_message, &script_test_message_size },
    { "moonrabbit.busted", "@moonrabbit test", script_test_busted, &script_test_busted_size },
    { "moonrabbit.replay", "@moonrabbit replay", script_replay, &script_replay_size },
    { "moonrabbit.replay_report", "@moonrabbit replay", script_replay_report, &script_replay_report_size },
    { "moonrabbit.words", "@moonrabbit.words", script_words, &script_words_size },
    { "moonrabbit.doctor", "@moonrabbit doctor", script_doctor, &script_doctor_size },
    { "moonrabbit.doctor_facts", "@moonrabbit doctor", script_doctor_facts, &script_doctor_facts_size },
    { "moonrabbit.doctor_management", "@moonrabbit doctor", script_doctor_management,
      &script_doctor_management_size },
    { "moonrabbit.doctor_system", "@moonrabbit doctor", script_doctor_system, &script_doctor_system_size },
    { "moonrabbit.doctor_rules", "@moonrabbit doctor", script_doctor_rules, &script_doctor_rules_size },
    { "moonrabbit.doctor_rules_program", "@moonrabbit doctor", script_doctor_rules_program,
      &script_doctor_rules_program_size },
    { "moonrabbit.doctor_rules_clients", "@moonrabbit doctor", script_doctor_rules_clients,
      &script_doctor_rules_clients_size },
    { "moonrabbit.doctor_rules_queues", "@moonrabbit doctor", script_doctor_rules_queues,
      &script_doctor_rules_queues_size },
    { "moonrabbit.doctor_rules_server", "@moonrabbit doctor", script_doctor_rules_server,
      &script_doctor_rules_server_size },
    { "moonrabbit.doctor_judging", "@moonrabbit doctor", script_doctor_judging, &script_doctor_judging_size },
    { "moonrabbit.doctor_report", "@moonrabbit doctor", script_doctor_report, &script_doctor_report_size },
};

/* What a command is given, for the protected call. */
struct call {
    const char *module;
    int (*push_argument)(lua_State *lua, void *data);
    void *data;
    int code;
};

/* package.preload's loader of one module, the only upvalue. */
static int load_module(lua_State *lua)
{
    const struct module *module = lua_touserdata(lua, lua_upvalueindex(1));
    if (luaL_loadbuffer(lua, module->text, *module->size, module->chunk_name) != 0 ||
        lua_pcall(lua, 0, 1, 0) != 0)
        return lua_error(lua);
    return 1;
}

static int load_host(lua_State *lua)
{
    lua_trial_push(lua);
    return 1;
}

static void preload(lua_State *lua)
{
    lua_getglobal(lua, "package");
    lua_getfield(lua, -1, "preload");
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        lua_pushlightuserdata(lua, (void *)(uintptr_t)&modules[i]);
        lua_pushcclosure(lua, load_module, 1);
        lua_setfield(lua, -2, modules[i].name);
    }
    lua_pushcfunction(lua, load_host);
    lua_setfield(lua, -2, "moonrabbit.host");
    lua_pushcfunction(lua, luaopen_cjson);
    lua_setfield(lua, -2, "cjson");
    lua_pushcfunction(lua, luaopen_cjson_safe);
    lua_setfield(lua, -2, "cjson.safe");
    lua_pop(lua, 2);
}

/* The module returns the command, a function of one argument, and that the exit code. */
static int run_command(lua_State *lua)
{
    struct call *call = lua_touserdata(lua, 1);
    luaL_openlibs(lua);
    preload(lua);
    lua_getglobal(lua, "require");
    lua_pushstring(lua, call->module);
    if (lua_pcall(lua, 1, 1, 0) != 0)
        return lua_error(lua);
    (void)call->push_argument(lua, call->data);
    if (lua_pcall(lua, 1, 1, 0) != 0)
        return lua_error(lua);
    call->code = (int)lua_tointeger(lua, -1);
    return 0;
}

static int run(struct call *call)
{
    /* A worker that goes away, or a reader of the output, is an error of the call that writes to it. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return ERROR_FAILED;
    lua_State *lua = luaL_newstate();
    if (!lua) {
        (void)fprintf(stderr, "moonrabbit: no memory is left\n");
        return ERROR_FAILED;
    }
    if (lua_cpcall(lua, run_command, call) != 0) {
        const char *words = lua_tostring(lua, -1);
        (void)fprintf(stderr, "moonrabbit: %s\n", words ? words : "unknown error");
        call->code = ERROR_FAILED;
    }
    lua_close(lua);
    return call->code;
}

/* test */

struct words {
    char *const *words;
    int count;
};

static int push_words(lua_State *lua, void *data)
{
    const struct words *words = data;
    lua_createtable(lua, words->count, 0);
    for (int i = 0; i < words->count; i++) {
        lua_pushstring(lua, words->words[i]);
        lua_rawseti(lua, -2, i + 1);
    }
    return 1;
}

int console_test(char *const *arguments, int count)
{
    struct words words = { .words = arguments, .count = count };
    struct call call = { .module = "moonrabbit.busted", .push_argument = push_words, .data = &words };
    return run(&call);
}

/* replay */

struct replay {
    const struct replay_options *options;
    const struct config_source *source;
};

static void set_text(lua_State *lua, const char *name, const char *text)
{
    lua_pushstring(lua, text); /* nil for NULL */
    lua_setfield(lua, -2, name);
}

static void set_switch(lua_State *lua, const char *name, bool on)
{
    lua_pushboolean(lua, on);
    lua_setfield(lua, -2, name);
}

static int push_replay(lua_State *lua, void *data)
{
    const struct replay *replay = data;
    lua_newtable(lua);
    set_text(lua, "input", replay->options->input);
    set_text(lua, "fail_on", replay->options->fail_on);
    set_switch(lua, "bare", replay->options->bare);
    set_switch(lua, "json", replay->options->json);
    set_text(lua, "file", replay->source->file);
    set_text(lua, "handler", replay->source->handler);
    lua_newtable(lua);
    for (size_t i = 0; i < replay->source->flag_count; i++) {
        lua_createtable(lua, 2, 0);
        lua_pushstring(lua, replay->source->flags[i].name);
        lua_rawseti(lua, -2, 1);
        lua_pushstring(lua, replay->source->flags[i].value);
        lua_rawseti(lua, -2, 2);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    lua_setfield(lua, -2, "flags");
    return 1;
}

int console_replay(const struct replay_options *options, const struct config_source *source)
{
    struct replay replay = { .options = options, .source = source };
    struct call call = { .module = "moonrabbit.replay", .push_argument = push_replay, .data = &replay };
    return run(&call);
}

/* doctor */

int console_doctor(const struct doctor_options *options, const struct config *config)
{
    struct world world;
    world_init(&world, config, options->json, options->fail_on);
    struct call call = { .module = "moonrabbit.doctor", .push_argument = world_push, .data = &world };
    int code = run(&call);
    world_clear(&world);
    return code;
}
