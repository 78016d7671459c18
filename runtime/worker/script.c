/* Loading the handler script; see script.h. */
#include "worker/script.h"

#include "common/clock.h"
#include "worker/lua_publish.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

/* Precompiled chunks of any Lua begin so. */
#define BYTECODE_MARK '\033'

static bool compile(lua_State *lua, const char *path, const struct buffer *content)
{
    char chunk_name[PATH_MAX + NAME_MAX];
    (void)snprintf(chunk_name, sizeof chunk_name, "@%s", path);
    if (content->size > 0 && content->data[0] == BYTECODE_MARK) {
        lua_pushnil(lua);
        lua_pushfstring(lua, "%s is bytecode: only Lua text is loaded", path);
        return false;
    }
    const char *data = content->size > 0 ? content->data : "";
    if (luaL_loadbufferx(lua, data, content->size, chunk_name, "t") == 0)
        return true;
    lua_pushnil(lua);
    lua_insert(lua, -2);
    return false;
}

bool script_compile(struct state *state, lua_State *lua, const char *path, const struct buffer *content)
{
    char full_path[PATH_MAX + NAME_MAX];
    (void)snprintf(full_path, sizeof full_path, "%s%s", state->assignment->folder.prefix, path);
    return compile(lua, full_path, content);
}

/* () -> the script's chunk */
static int load_script(lua_State *lua)
{
    const struct assignment *assignment = state_of(lua)->assignment;
    const char *script = assignment->script;
    struct buffer content;
    struct error error;
    bool read = folder_read_script(&assignment->folder, script, &content, &error);
    bool compiled = read && compile(lua, script, &content);
    buffer_clear(&content);
    if (!read)
        return luaL_error(lua, "%s", error.text);
    return compiled ? 1 : lua_error(lua);
}

/* (table) -> its raw field `name`, which must be a function, or nil where it may be left out */
static void push_member(lua_State *lua, const char *script, const char *name, bool may_lack)
{
    lua_pushstring(lua, name);
    lua_rawget(lua, 1);
    if (lua_isfunction(lua, -1) || (may_lack && lua_isnil(lua, -1)))
        return;
    if (lua_isnil(lua, -1))
        luaL_error(lua,
                   "%s returned a table without `%s`: return { handle = function(data, message) ... end }",
                   script, name);
    luaL_error(lua, "%s returned a table whose `%s` is a %s: it has to be a function", script, name,
               luaL_typename(lua, -1));
}

/* (what the script returned) -> handle, setup or nil, teardown or nil */
static int read_script(lua_State *lua)
{
    const char *script = state_of(lua)->assignment->script;
    switch (lua_type(lua, 1)) {
    case LUA_TFUNCTION:
        lua_settop(lua, 3);
        return 3;
    case LUA_TTABLE:
        push_member(lua, script, "handle", false);
        push_member(lua, script, "setup", true);
        push_member(lua, script, "teardown", true);
        return 3;
    case LUA_TNIL:
        return luaL_error(lua, "%s returned nothing: end it with `return function(data, message) ... end`",
                          script);
    default:
        return luaL_error(lua, "%s returned a %s: end it with `return function(data, message) ... end`",
                          script, luaL_typename(lua, 1));
    }
}

/* () -> the object of setup and teardown */
static int take_worker(lua_State *lua)
{
    lua_publish_push_worker(state_of(lua), lua);
    return 1;
}

void script_install(struct state *state, lua_State *lua)
{
    state_push_function(state, lua, take_worker);
    state_set_slot(lua, STATE_TAKE_WORKER);
    state_push_function(state, lua, load_script);
    state_set_slot(lua, STATE_LOAD_SCRIPT);
    state_push_function(state, lua, read_script);
    state_set_slot(lua, STATE_READ_SCRIPT);
}

/* The error of the last call as one line, without its traceback. */
static bool fail(const struct state *state, struct error *error)
{
    size_t size = state->note_message < sizeof error->text ? state->note_message : sizeof error->text - 1;
    (void)error_set(error, ERROR_USAGE, "%.*s", (int)size, state->note.text);
    for (char *c = error->text; *c; c++) {
        if (*c == '\n')
            *c = ' ';
    }
    return false;
}

/* Runs the file and keeps what it returned in the slots. */
static bool run_script(struct state *state)
{
    lua_State *lua = state->lua;
    state_push(state, STATE_LOAD_SCRIPT);
    if (!state_call(state, 0, 1) || !state_call(state, 0, 1))
        return false;
    state_push(state, STATE_READ_SCRIPT);
    lua_insert(lua, -2);
    if (!state_call(state, 1, 3))
        return false;
    lua_replace(lua, STATE_TEARDOWN);
    lua_replace(lua, STATE_SETUP);
    lua_replace(lua, STATE_HANDLE);
    return true;
}

/* Calls setup or teardown with the worker's object, if there is one. */
static bool run_optional(struct state *state, enum state_slot slot, const char *name, struct error *error)
{
    if (lua_isnil(state->lua, slot))
        return true;
    state_push(state, slot);
    state_push(state, STATE_TAKE_WORKER);
    if (state_call(state, 0, 1) && state_call(state, 1, 0))
        return true;
    (void)fail(state, error);
    return error_prefix(error, "%s of %s failed", name, state->assignment->script);
}

static bool load(struct state *state, struct error *error)
{
    const char *script = state->assignment->script;
    if (!run_script(state)) {
        (void)fail(state, error);
        bool named = strncmp(error->text, script, strlen(script)) == 0;
        return named ? false : error_prefix(error, "%s", script);
    }
    if (!run_optional(state, STATE_SETUP, "setup", error))
        return false;
    state_push(state, STATE_SEAL);
    return state_call(state, 0, 0) || fail(state, error);
}

/* The end of setup or teardown: where it succeeded, what it published is sent. */
static bool end(struct state *state, bool succeeded)
{
    state_end(state);
    if (succeeded)
        outbox_send(&state->outbox, state->link, 0);
    outbox_reset(&state->outbox);
    return succeeded;
}

bool script_load(struct state *state, struct error *error)
{
    state_begin(state, clock_now_ns());
    return end(state, load(state, error));
}

bool script_teardown(struct state *state, struct error *error)
{
    state_begin(state, clock_now_ns());
    return end(state, run_optional(state, STATE_TEARDOWN, "teardown", error));
}
