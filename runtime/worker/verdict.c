/* From a handler's results to its verdict; see verdict.h. */
#include "worker/verdict.h"

#include "common/units.h"
#include "worker/value.h"

enum { FIRST = -2, SECOND = -1 }; /* where the results are */
enum { QUOTED_BYTES_MAX = 80 };   /* of a returned string in an error */

static const struct {
    const char *word;
    enum wire_verdict verdict;
} verdicts[] = {
    { "ack", WIRE_ACK },
    { "retry", WIRE_RETRY },
    { "requeue", WIRE_REQUEUE },
    { "reject", WIRE_REJECT },
};

static struct slice text_at(lua_State *lua, int index)
{
    struct slice text;
    text.data = lua_tolstring(lua, index, &text.size);
    return text;
}

/* The result with its type: 42 (a number), "maybe" (a string), a table. */
static void append_result(struct note *note, lua_State *lua, int index)
{
    if (lua_type(lua, index) == LUA_TSTRING) {
        struct slice text = text_at(lua, index);
        text.size = text.size < QUOTED_BYTES_MAX ? text.size : QUOTED_BYTES_MAX;
        note_text(note, "\"");
        note_append(note, text);
        note_text(note, "\" (a string)");
        return;
    }
    value_append(note, lua, index);
    if (lua_type(lua, index) == LUA_TNUMBER)
        note_text(note, " (a number)");
}

static void refuse(struct state *state, struct outcome *outcome, const char *what, int index,
                   const char *advice)
{
    note_printf(&state->note, "%s returned %s", state->assignment->script, what);
    append_result(&state->note, state->lua, index);
    note_text(&state->note, advice);
    outcome->verdict = WIRE_ERROR;
    outcome->text = note_slice(&state->note);
}

static bool parse_delay(lua_State *lua, int64_t *ret_delay_ns)
{
    if (lua_type(lua, SECOND) == LUA_TSTRING) {
        struct slice text = text_at(lua, SECOND);
        return units_parse_duration(text.data, text.size, ret_delay_ns);
    }
    return lua_type(lua, SECOND) == LUA_TNUMBER &&
           units_from_seconds(lua_tonumber(lua, SECOND), ret_delay_ns);
}

static void read_retry(struct state *state, struct outcome *outcome)
{
    outcome->verdict = WIRE_RETRY;
    if (!lua_isnil(state->lua, SECOND) && !parse_delay(state->lua, &outcome->delay_ns))
        refuse(state, outcome, "the delay ", SECOND, ": give seconds, or a time like \"90s\"");
}

static void read_reject(struct state *state, struct outcome *outcome)
{
    outcome->verdict = WIRE_REJECT;
    if (lua_isnil(state->lua, SECOND))
        return;
    value_append(&state->note, state->lua, SECOND);
    outcome->text = note_slice(&state->note);
}

/* False where it is no word that we know. */
static bool read_word(struct state *state, struct outcome *outcome)
{
    struct slice word = text_at(state->lua, FIRST);
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
        if (!slice_equals(word, verdicts[i].word))
            continue;
        outcome->verdict = verdicts[i].verdict;
        if (outcome->verdict == WIRE_RETRY)
            read_retry(state, outcome);
        else if (outcome->verdict == WIRE_REJECT)
            read_reject(state, outcome);
        return true;
    }
    return false;
}

void verdict_read(struct state *state, struct outcome *outcome)
{
    switch (lua_type(state->lua, FIRST)) {
    case LUA_TNIL:
        outcome->verdict = WIRE_ACK;
        return;
    case LUA_TBOOLEAN:
        outcome->verdict = WIRE_ACK;
        if (!lua_toboolean(state->lua, FIRST))
            read_retry(state, outcome);
        return;
    case LUA_TSTRING:
        if (read_word(state, outcome))
            return;
        break;
    default:
        break;
    }
    refuse(state, outcome, "", FIRST, ": return true, false, \"ack\", \"retry\", \"requeue\" or \"reject\"");
}
