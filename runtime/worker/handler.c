/* Running one delivery; see handler.h. */
#include "worker/handler.h"

#include "worker/lua_message.h"

#include <lauxlib.h>

enum { METATABLE = 2 }; /* upvalue of take_message */

/* () -> message object, body as a string */
static int take_message(lua_State *lua)
{
    struct state *state = state_of(lua);
    lua_message_push(state, lua, lua_upvalueindex(METATABLE));
    lua_pushlstring(lua, state->message->body.data, state->message->body.size);
    return 2;
}

void handler_install(struct state *state, lua_State *lua)
{
    lua_pushlightuserdata(lua, state);
    lua_message_push_metatable(state, lua);
    lua_pushcclosure(lua, take_message, METATABLE);
    state_set_slot(lua, STATE_TAKE_MESSAGE);
}

static bool wants_json(const struct state *state)
{
    switch (state->assignment->limits.decode) {
    case WIRE_DECODE_JSON:
        return true;
    case WIRE_DECODE_RAW:
        return false;
    default:
        return message_is_json(state->message);
    }
}

void handler_fail(const struct state *state, enum wire_verdict verdict, struct outcome *outcome)
{
    if (state->trip.kind == TRIP_MEMORY)
        verdict = WIRE_OUT_OF_MEMORY;
    else if (state->trip.kind == TRIP_TIME)
        verdict = WIRE_OUT_OF_TIME;
    outcome->verdict = verdict;
    outcome->text = note_slice(&state->note);
}

static void fail_decoding(struct state *state, struct outcome *outcome)
{
    if (state->trip.kind != TRIP_NONE) {
        handler_fail(state, WIRE_ERROR, outcome);
        return;
    }
    const struct note problem = state->note;
    state->note.size = 0;
    note_text(&state->note, "the body is not JSON: ");
    note_append(&state->note, (struct slice){ .data = problem.text, .size = state->note_message });
    handler_fail(state, WIRE_UNDECODABLE, outcome);
}

/* Stack: handle, message, body -> handle, data, message */
static bool decode(struct state *state)
{
    lua_State *lua = state->lua;
    if (wants_json(state)) {
        state_push(state, STATE_DECODE_JSON);
        lua_insert(lua, -2);
        if (!state_call(state, 1, 1))
            return false;
    }
    lua_insert(lua, -2);
    return true;
}

bool handler_prepare(struct state *state, struct outcome *outcome)
{
    state_push(state, STATE_HANDLE);
    state_push(state, STATE_TAKE_MESSAGE);
    if (!state_call(state, 0, 2))
        handler_fail(state, WIRE_ERROR, outcome);
    else if (!decode(state))
        fail_decoding(state, outcome);
    else
        return true;
    state_drop(state);
    return false;
}

static void run(struct state *state, struct outcome *outcome)
{
    if (!handler_prepare(state, outcome))
        return;
    if (!state_call(state, 2, 2))
        handler_fail(state, WIRE_ERROR, outcome);
    else
        verdict_read(state, outcome);
    state_drop(state);
}

void handler_run(struct state *state, const struct message *message, int64_t now_ns, struct outcome *outcome)
{
    *outcome = (struct outcome){ .delay_ns = -1 };
    state->message = message;
    state_begin(state, now_ns);
    run(state, outcome);
    state_end(state);
    lua_message_forget(state);
    state->message = NULL;
}
