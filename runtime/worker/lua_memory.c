/* What a handler may know of its memory; see lua_memory.h. */
#include "worker/lua_memory.h"

#include "common/board.h"

#include <math.h>

enum { CRITICAL_PERCENT = 90 }; /* of limits.memory */

static const char *const status_names[] = { "normal", "warning", "critical" };

static enum memory_status own_status(const struct state *state)
{
    const struct wire_setup *limits = &state->assignment->limits;
    size_t used = state->quota.used;
    if (used >= state->quota.limit / 100 * CRITICAL_PERCENT)
        return MEMORY_CRITICAL;
    bool over = limits->recycle_memory_bytes > 0 && used > limits->recycle_memory_bytes;
    return over ? MEMORY_WARNING : MEMORY_NORMAL;
}

static enum memory_status status_of(const struct state *state)
{
    enum memory_status own = own_status(state);
    uint32_t program = atomic_load_explicit(&state->assignment->board->memory_status, memory_order_relaxed);
    if (program > MEMORY_CRITICAL)
        return own;
    return program > own ? (enum memory_status)program : own;
}

static void set_number(lua_State *lua, const char *name, double value)
{
    lua_pushnumber(lua, value);
    lua_setfield(lua, -2, name);
}

/* <name>_bytes and <name>_mb, in MiB with two digits. */
static void set_size(lua_State *lua, const char *bytes_name, const char *mb_name, size_t bytes)
{
    set_number(lua, bytes_name, (double)bytes);
    set_number(lua, mb_name, round((double)bytes / (1024 * 1024) * 100) / 100);
}

/* memory.check() -> { status, usage_bytes, usage_mb, peak_bytes, peak_mb, limit_bytes, limit_mb,
 * usage_percent } */
static int memory_check(lua_State *lua)
{
    const struct state *state = state_of(lua);
    const struct quota *quota = &state->quota;
    size_t used = quota->used;
    lua_createtable(lua, 0, 8);
    lua_pushstring(lua, status_names[status_of(state)]);
    lua_setfield(lua, -2, "status");
    set_size(lua, "usage_bytes", "usage_mb", used);
    set_size(lua, "peak_bytes", "peak_mb", quota->peak);
    set_size(lua, "limit_bytes", "limit_mb", quota->limit);
    set_number(lua, "usage_percent", round((double)used / (double)quota->limit * 1000) / 10);
    return 1;
}

/* memory.usage() -> bytes */
static int memory_usage(lua_State *lua)
{
    lua_pushnumber(lua, (double)state_of(lua)->quota.used);
    return 1;
}

/* memory.peak() -> bytes */
static int memory_peak(lua_State *lua)
{
    lua_pushnumber(lua, (double)state_of(lua)->quota.peak);
    return 1;
}

/* memory.is_over_threshold() -> whether the status is not "normal" */
static int memory_is_over_threshold(lua_State *lua)
{
    lua_pushboolean(lua, status_of(state_of(lua)) != MEMORY_NORMAL);
    return 1;
}

/* memory.is_critical() -> whether the status is "critical" */
static int memory_is_critical(lua_State *lua)
{
    lua_pushboolean(lua, status_of(state_of(lua)) == MEMORY_CRITICAL);
    return 1;
}

static const struct {
    const char *name;
    lua_CFunction function;
} functions[] = {
    { "check", memory_check },
    { "usage", memory_usage },
    { "peak", memory_peak },
    { "is_over_threshold", memory_is_over_threshold },
    { "is_critical", memory_is_critical },
};

void lua_memory_push(struct state *state, lua_State *lua)
{
    lua_newtable(lua);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        state_push_function(state, lua, functions[i].function);
        lua_setfield(lua, -2, functions[i].name);
    }
}
