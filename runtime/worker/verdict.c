/* From a handler's results to its verdict; see verdict.h. */
#include "worker/verdict.h"

#include "common/clock.h"
#include "worker/value.h"

enum { FIRST = -2, SECOND = -1 }; /* where the results are */

#define DELAY_NS_MAX (INT64_C(30) * 86400 * CLOCK_NS_PER_SECOND) /* as retry.max_delay is bounded, too */

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

static void refuse(struct state *state, struct outcome *outcome, const char *what, int index,
                   const char *advice)
{
    note_printf(&state->note, "%s returned %s", state->assignment->script, what);
    value_quote(&state->note, state->lua, index);
    note_text(&state->note, advice);
    outcome->verdict = WIRE_ERROR;
    outcome->text = note_slice(&state->note);
}

static void read_retry(struct state *state, struct outcome *outcome)
{
    outcome->verdict = WIRE_RETRY;
    if (lua_isnil(state->lua, SECOND))
        return;
    int64_t delay_ns = -1;
    if (value_to_duration(state->lua, SECOND, &delay_ns) && delay_ns <= DELAY_NS_MAX)
        outcome->delay_ns = delay_ns;
    else
        refuse(state, outcome, "the delay ", SECOND,
               ": give seconds, or a time like \"90s\", of at most 30 days");
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
