/* Waiting; see wait.h. */
#include "worker/wait.h"

#include "common/clock.h"
#include "worker/state.h"
#include "worker/value.h"

#include <lauxlib.h>

/* Its address is what no script can have. */
static char mark;

struct ev_loop *waits_loop(struct waits *waits)
{
    if (!waits->loop)
        waits->loop = ev_loop_new(EVBACKEND_POLL | EVFLAG_NOENV);
    return waits->loop;
}

void waits_close(struct waits *waits)
{
    if (waits->loop)
        ev_loop_destroy(waits->loop);
    waits->loop = NULL;
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct wait *wait = timer->data;
    (void)loop;
    (void)events;
    if (clock_now_ns() >= wait->until_ns)
        wait->over = true;
    if (wait->on_over)
        wait->on_over(wait);
}

struct wait *wait_begin(struct state *state, const struct wait_kind *kind, void *data, int64_t until_ns)
{
    struct wait *wait = state->wait;
    wait->kind = kind;
    wait->data = data;
    wait->until_ns = until_ns;
    wait->over = false;
    ev_init(&wait->timer, on_timer);
    wait->timer.data = wait;
    return wait;
}

void wait_finish(struct wait *wait)
{
    wait->over = true;
    if (wait->on_over)
        wait->on_over(wait);
}

void wait_watch(struct wait *wait, struct ev_loop *loop, int64_t at_ns)
{
    int64_t first_ns = wait->until_ns < at_ns ? wait->until_ns : at_ns;
    int64_t left_ns = first_ns - clock_now_ns();
    ev_now_update(loop);
    ev_timer_stop(loop, &wait->timer);
    ev_timer_set(&wait->timer, left_ns > 0 ? (double)left_ns / 1e9 : 0, 0);
    ev_timer_start(loop, &wait->timer);
}

void wait_drop(struct wait *wait, struct ev_loop *loop)
{
    const struct wait_kind *kind = wait->kind;
    if (!kind)
        return;
    wait->kind = NULL;
    if (loop)
        ev_timer_stop(loop, &wait->timer);
    if (kind->drop)
        kind->drop(wait);
}

/* Runs the loop until the wait is over; past the deadline the message is. */
static void block(struct state *state, struct ev_loop *loop)
{
    struct wait *wait = state->wait;
    int64_t due_ns = atomic_load_explicit(&state->deadline.due_ns, memory_order_relaxed);
    link_flush(state->link);
    wait_watch(wait, loop, due_ns > 0 ? due_ns : INT64_MAX);
    while (!wait->over && state->trip.kind == TRIP_NONE) {
        (void)ev_run(loop, EVRUN_ONCE);
        if (!wait->over && due_ns > 0 && clock_now_ns() >= due_ns)
            trip_arm(&state->trip, TRIP_TIME);
    }
}

/* pause() -> true where the coroutine has to yield; else the wait is over */
static int pause_here(lua_State *lua)
{
    struct state *state = state_of(lua);
    struct ev_loop *loop = waits_loop(state->assignment->waits);
    if (!loop)
        return luaL_error(lua, "there is no memory to wait");
    if (state->wait->over || !state->wait->kind)
        return 0;
    if (state->yields) {
        lua_pushboolean(lua, true);
        return 1;
    }
    block(state, loop);
    return 0;
}

/* end_wait() -> what the client answers */
static int end_wait(lua_State *lua)
{
    struct state *state = state_of(lua);
    struct wait *wait = state->wait;
    const struct wait_kind *kind = wait->kind;
    if (!kind)
        return 0;
    if (state->assignment->waits->loop)
        ev_timer_stop(state->assignment->waits->loop, &wait->timer);
    wait->kind = NULL;
    return kind->push(wait, lua);
}

/* cancel_wait(): what was begun cannot pause where it is */
static int cancel_wait(lua_State *lua)
{
    struct state *state = state_of(lua);
    wait_drop(state->wait, state->assignment->waits->loop);
    return 0;
}

static int push_nothing(struct wait *wait, lua_State *lua)
{
    (void)wait;
    (void)lua;
    return 0;
}

static const struct wait_kind sleeping = { .name = "sleep", .push = push_nothing };

/* sleep(duration) -> true, and a wait has begun | nil, why not */
static int begin_sleep(lua_State *lua)
{
    struct state *state = state_of(lua);
    int64_t ns;
    lua_settop(lua, 1);
    if (!value_to_duration(lua, 1, &ns)) {
        struct note note = { .size = 0 };
        note_text(&note, "sleep: the time is ");
        value_quote(&note, lua, 1);
        note_text(&note, ": give seconds, or a time such as \"500ms\"");
        lua_pushnil(lua);
        lua_pushlstring(lua, note.text, note.size);
        return 2;
    }
    (void)wait_begin(state, &sleeping, NULL, clock_now_ns() + ns);
    lua_pushboolean(lua, true);
    return 1;
}

static const luaL_Reg functions[] = {
    { "pause", pause_here },
    { "end_wait", end_wait },
    { "cancel_wait", cancel_wait },
    { "sleep", begin_sleep },
};

void wait_push_mark(lua_State *lua)
{
    lua_pushlightuserdata(lua, &mark);
}

void wait_push_functions(struct state *state, lua_State *lua)
{
    wait_push_mark(lua);
    lua_setfield(lua, -2, "wait_mark");
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        state_push_function(state, lua, functions[i].func);
        lua_setfield(lua, -2, functions[i].name);
    }
}
