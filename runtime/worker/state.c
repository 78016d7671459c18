/* Opening, calling and closing the Lua state; see state.h. */
#include "worker/state.h"

#include "common/units.h"
#include "worker/fault.h"
#include "worker/json_memory.h"
#include "worker/sandbox.h"
#include "worker/value.h"
#include "worker/web.h"

#include <stdlib.h>
#include <unistd.h>

#include <lauxlib.h>

enum { TRACE_FROM = 1 }; /* level 0 is the error handler itself */

struct state *state_of(lua_State *lua)
{
    return lua_touserdata(lua, lua_upvalueindex(1));
}

void state_push_function(struct state *state, lua_State *lua, lua_CFunction function)
{
    lua_pushlightuserdata(lua, state);
    lua_pushcclosure(lua, function, 1);
}

void state_push_ticket(struct state *state, lua_State *lua)
{
    struct ticket *ticket = lua_newuserdata(lua, sizeof *ticket);
    *ticket = (struct ticket){ .state = state, .generation = state->generation };
}

/* The functions made by `install` wait in the registry under their slots' numbers: lua_cpcall returns
 * nothing. */
void state_set_slot(lua_State *lua, enum state_slot slot)
{
    lua_rawseti(lua, LUA_REGISTRYINDEX, slot);
}

static int on_error(lua_State *lua)
{
    struct state *state = state_of(lua);
    if (state->trip.kind != TRIP_NONE)
        return 1;
    fault_describe(&state->note, lua, 1);
    state->note_message = state->note.size;
    fault_trace(&state->note, lua, TRACE_FROM);
    return 1;
}

/* Nothing may reach this: every call is protected. So all that is left is a last word. */
static int on_panic(lua_State *lua)
{
    (void)lua;
    static const char words[] =
        "moonrabbit: a worker ended: Lua raised an error outside of any protected call\n";
    (void)!write(STDERR_FILENO, words, sizeof words - 1);
    _exit(EXIT_FAILURE);
}

static int install(lua_State *lua)
{
    struct state *state = lua_touserdata(lua, 1);
    /* What is made here stays: no collection before it has all been made, as luaL_openlibs does it. */
    (void)lua_gc(lua, LUA_GCSTOP, 0);
    state_push_function(state, lua, on_error);
    state_set_slot(lua, STATE_ON_ERROR);
    sandbox_install(state, lua);
    (void)lua_gc(lua, LUA_GCRESTART, -1);
    return 0;
}

/* The last that every state has in it. */
static void push_slots(struct state *state)
{
    for (int slot = 1; slot <= STATE_SLOTS; slot++)
        lua_rawgeti(state->lua, LUA_REGISTRYINDEX, slot);
}

bool state_open(struct state *state, const struct assignment *assignment, struct link *link,
                struct error *error)
{
    *state = (struct state){ .assignment = assignment, .link = link, .headers_slot = STATE_HEADERS };
    state->wait = &state->own_wait;
    state->deadline.limit_ns = assignment->limits.deadline_ns;
    state->deadline.grace_ns = assignment->limits.grace_ns;
    state->deadline.trip = &state->trip;
    uint64_t limit = assignment->limits.memory_bytes;
    state->lua =
        quota_open_state(&state->quota, &state->trip, limit < SIZE_MAX / 4 ? (size_t)limit : SIZE_MAX / 4,
                         assignment->stack, assignment->home);
    if (!state->lua)
        return error_set(error, ERROR_FAILED, "no memory for a Lua state");
    outbox_init(&state->outbox, &state->quota, assignment->limits.message_bytes);
    json_memory_use(&state->quota);
    if (state->quota.complete)
        return true;
    (void)lua_atpanic(state->lua, on_panic);
    if (lua_cpcall(state->lua, install, state) != 0) {
        if (state->trip.kind == TRIP_MEMORY)
            return error_set(error, ERROR_FAILED,
                             "limits.memory is too low: not even an empty Lua state fits");
        const char *text = lua_tostring(state->lua, -1);
        return error_set(error, ERROR_FAILED, "cannot open a Lua state: %s", text ? text : "no reason given");
    }
    push_slots(state);
    quota_complete(&state->quota);
    return true;
}

void state_close(struct state *state)
{
    deadline_end(&state->deadline);
    if (state->wait)
        wait_drop(state->wait, state->assignment->waits->loop);
    web_free(state->answered);
    state->answered = NULL;
    buffer_clear(&state->scratch);
    outbox_clear(&state->outbox);
    if (state->lua)
        quota_close_state(&state->quota, state->lua);
    state->lua = NULL;
}

void state_push(struct state *state, enum state_slot slot)
{
    lua_pushvalue(state->lua, slot);
}

void state_describe_trip(struct state *state)
{
    char text[UNITS_TEXT_MAX], used[UNITS_TEXT_MAX];
    const struct wire_setup *limits = &state->assignment->limits;
    size_t most = state->quota.peak > state->quota.slabs.bytes ? state->quota.peak : state->quota.slabs.bytes;
    state->note.size = 0;
    switch ((enum trip_kind)state->trip.kind) {
    case TRIP_MEMORY:
        note_printf(&state->note, "used more memory than limits.memory (%s): %s at most",
                    units_format_size((int64_t)limits->memory_bytes, text),
                    units_format_size((int64_t)most, used));
        break;
    case TRIP_TIME:
        note_printf(&state->note, "ran longer than limits.deadline (%s)",
                    units_format_duration(limits->deadline_ns, text));
        break;
    case TRIP_STACK:
    default:
        note_text(&state->note,
                  "nested too deeply: callbacks inside callbacks, or coroutines inside coroutines");
        break;
    }
    state->note_message = state->note.size;
    note_append(&state->note, note_slice(&state->trip.where));
}

/* The call has failed with the error on top of the stack. */
static void describe_error(struct state *state)
{
    /* Without memory the error handler is not called; the error is then a string that Lua keeps ready. */
    if (state->note.size > 0)
        return;
    value_append(&state->note, state->lua, -1);
    state->note_message = state->note.size;
}

struct failure {
    struct state *state;
    lua_State *coroutine;
};

/* (failure): as on_error, of a coroutine that has ended */
static int describe_failure(lua_State *lua)
{
    const struct failure *failure = lua_touserdata(lua, 1);
    struct note *note = &failure->state->note;
    lua_xmove(failure->coroutine, lua, 1);
    fault_describe(note, lua, 2);
    failure->state->note_message = note->size;
    fault_trace(note, failure->coroutine, 0);
    return 0;
}

void state_describe_failure(struct state *state, lua_State *coroutine)
{
    struct failure failure = { .state = state, .coroutine = coroutine };
    state->note.size = 0;
    state->note_message = 0;
    if (lua_cpcall(state->lua, describe_failure, &failure) != 0)
        describe_error(state);
    state_drop(state);
}

void state_describe_late(struct state *state, lua_State *coroutine, const char *where)
{
    char text[UNITS_TEXT_MAX];
    state->note.size = 0;
    note_printf(&state->note, "ran longer than limits.deadline (%s), waiting in %s",
                units_format_duration(state->assignment->limits.deadline_ns, text), where);
    state->note_message = state->note.size;
    fault_trace(&state->note, coroutine, 0);
}

bool state_call(struct state *state, int arguments, int results)
{
    state->note.size = 0;
    state->note_message = 0;
    int failed = lua_pcall(state->lua, arguments, results, STATE_ON_ERROR);
    if (!failed && state->trip.kind == TRIP_NONE)
        return true;
    if (state->trip.kind != TRIP_NONE)
        state_describe_trip(state);
    else
        describe_error(state);
    state_drop(state);
    return false;
}

void state_begin(struct state *state, int64_t now_ns)
{
    size_t body_bytes = state->message ? state->message->body.size : 0;
    state->generation = ++state->last_generation;
    state->outbox.open = true;
    quota_begin(&state->quota, body_bytes);
    deadline_begin(&state->deadline, now_ns);
}

void state_end(struct state *state)
{
    state->outbox.open = false;
    wait_drop(state->wait, state->assignment->waits->loop);
    deadline_end(&state->deadline);
    quota_end(&state->quota, state->message ? state->message->body.size : 0);
}

void state_drop(struct state *state)
{
    lua_settop(state->lua, STATE_SLOTS);
}

uint64_t state_heap_bytes(const struct state *state)
{
    return state->quota.used;
}
