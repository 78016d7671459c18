/* Messages under way at once; see tasks.h. */
#include "worker/tasks.h"

#include "common/clock.h"
#include "worker/handler.h"
#include "worker/lua_message.h"
#include "worker/message.h"
#include "worker/result.h"
#include "worker/wait.h"

#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

/* A turn on the processor that is longer is given to the others in addition to their own time. */
static const int64_t long_turn_ns = 5 * CLOCK_NS_PER_MS;

struct task {
    struct tasks *tasks;
    struct task *next; /* free, or ready */
    bool used;
    bool waits;  /* its coroutine has yielded */
    bool queued; /* among the ready */
    struct message message;
    struct slice payload; /* of its frame: in the link's input, or `copy` */
    char *copy;           /* NULL before it has waited; a body on the shelf is not in it, and stays there */
    lua_State *lua;       /* its coroutine, kept from one message to the next; NULL: none yet */
    struct outbox outbox;
    struct wait wait;
    uint64_t generation;
    uint64_t headers_generation;
    int64_t began_ns;
    int64_t untaken_ns; /* of tasks->taken_ns: from before it began, and its own turns */
};

/* Places in the registry */

static int coroutine_slot(const struct task *task)
{
    return STATE_OF_TASKS + STATE_SLOTS_OF_TASK * (int)(task - task->tasks->all);
}

/* ... and of its headers: the next one. */
static int headers_slot(const struct task *task)
{
    return coroutine_slot(task) + 1;
}

/* Nothing is allocated: a place that is set is there. */
static void let_go(struct task *task)
{
    lua_State *lua = task->tasks->state->lua;
    if (!task->lua)
        return;
    task->lua = NULL;
    lua_pushnil(lua);
    lua_rawseti(lua, LUA_REGISTRYINDEX, coroutine_slot(task));
}

/* (task): makes its coroutine */
static int make_coroutine(lua_State *lua)
{
    struct task *task = lua_touserdata(lua, 1);
    task->lua = lua_newthread(lua);
    lua_rawseti(lua, LUA_REGISTRYINDEX, coroutine_slot(task));
    return 0;
}

/* What is at hand */

static int64_t due_ns(const struct task *task)
{
    const struct tasks *tasks = task->tasks;
    return task->began_ns + tasks->state->deadline.limit_ns + tasks->taken_ns - task->untaken_ns;
}

static void put_in_place(struct task *task)
{
    struct state *state = task->tasks->state;
    struct outbox none = state->outbox;
    state->message = &task->message;
    state->generation = task->generation;
    state->headers_generation = task->headers_generation;
    state->headers_slot = headers_slot(task);
    state->outbox = task->outbox;
    state->outbox.open = true;
    task->outbox = none;
    state->wait = &task->wait;
    state->yields = true;
    atomic_store(&task->tasks->board->running, task->message.deliver.seq);
}

/* From now on the tick trips the state when the message's time is over. */
static void start_clock(const struct task *task)
{
    struct deadline *deadline = &task->tasks->state->deadline;
    if (deadline->limit_ns > 0)
        atomic_store_explicit(&deadline->due_ns, due_ns(task), memory_order_relaxed);
}

static void take_away(struct task *task)
{
    struct state *state = task->tasks->state;
    struct outbox own = state->outbox;
    deadline_end(&state->deadline);
    own.open = false;
    task->headers_generation = state->headers_generation;
    state->outbox = task->outbox;
    task->outbox = own;
    state->message = NULL;
    state->headers_slot = STATE_HEADERS;
    state->headers_generation = 0;
    state->wait = &state->own_wait;
    state->yields = false;
    atomic_store(&task->tasks->board->running, 0);
}

/* Ends */

static void put_back(struct task *task)
{
    struct tasks *tasks = task->tasks;
    wait_drop(&task->wait, tasks->state->assignment->waits->loop);
    free(task->copy);
    task->copy = NULL;
    task->used = task->waits = false;
    task->next = tasks->free;
    tasks->free = task;
    tasks->under_way--;
}

/* All others that are under way: the state in which they were is no more. */
static void return_others(struct tasks *tasks, const struct task *but)
{
    const struct outcome outcome = { .verdict = WIRE_RETURNED, .delay_ns = -1 };
    for (unsigned i = 0; i < tasks->capacity; i++) {
        struct task *task = &tasks->all[i];
        if (task->used && task != but) {
            put_in_place(task);
            result_send(tasks->state, &task->message.deliver, &outcome, 0);
            take_away(task);
            put_back(task);
        }
        task->lua = NULL;
        task->queued = false;
    }
    tasks->ready = NULL;
    tasks->ready_end = &tasks->ready;
}

static void take_time(struct tasks *tasks, int64_t turn_ns)
{
    if (turn_ns >= long_turn_ns)
        tasks->taken_ns += turn_ns;
}

/* One message more. A look that follows takes the time of those under way, as a long turn does. */
static void watch_leaks(struct tasks *tasks, int64_t now_ns)
{
    int64_t spent_ns = tasks->leaks->budget.spent_ns;
    leak_watch_message(tasks->leaks, tasks->state, now_ns);
    if (tasks->leaks->budget.spent_ns != spent_ns)
        take_time(tasks, clock_now_ns() - now_ns);
}

/* Whoever ends the state has failed, also where that was noticed behind the end of its handler: what returns
 * the others has to charge one. */
static void charge_trip(struct state *state, struct outcome *outcome)
{
    bool failed = outcome->verdict == WIRE_ERROR || outcome->verdict == WIRE_OUT_OF_MEMORY ||
                  outcome->verdict == WIRE_OUT_OF_TIME;
    if (state->trip.kind == TRIP_NONE || failed)
        return;
    state_describe_trip(state);
    *outcome = (struct outcome){ .delay_ns = -1 };
    handler_fail(state, WIRE_ERROR, outcome);
}

/* The message, which is in place, has come to its end. */
static void finish(struct task *task, struct outcome *outcome)
{
    struct tasks *tasks = task->tasks;
    struct state *state = tasks->state;
    int64_t ended_ns = clock_now_ns();
    deadline_end(&state->deadline);
    charge_trip(state, outcome);
    quota_end(&state->quota, task->message.body.size);
    lua_message_forget(state);
    result_send(state, &task->message.deliver, outcome, ended_ns - task->began_ns);
    take_away(task);
    enum wire_recycle_reason reason = recycle_after_message(tasks->recycle, state, ended_ns);
    if (tasks->reason == WIRE_RECYCLE_NONE || state->trip.kind != TRIP_NONE)
        tasks->reason = reason;
    if (tasks->reason == WIRE_RECYCLE_NONE)
        watch_leaks(tasks, ended_ns);
    if (state->trip.kind != TRIP_NONE)
        return_others(tasks, task);
    put_back(task);
}

static void fail(struct task *task, enum wire_verdict verdict)
{
    struct outcome outcome = { .delay_ns = -1 };
    handler_fail(task->tasks->state, verdict, &outcome);
    finish(task, &outcome);
}

/* It has waited past its deadline: its coroutine is never resumed, and nothing else of it is left. */
static void expire(struct task *task)
{
    struct state *state = task->tasks->state;
    state_describe_late(state, task->lua, task->wait.kind->name);
    let_go(task);
    fail(task, WIRE_OUT_OF_TIME);
}

/* Turns on the processor */

static void make_ready(struct wait *wait)
{
    struct task *task = (struct task *)((char *)wait - offsetof(struct task, wait));
    struct tasks *tasks = task->tasks;
    if (!task->waits || task->queued)
        return;
    task->queued = true;
    task->next = NULL;
    *tasks->ready_end = task;
    tasks->ready_end = &task->next;
}

/* False where there is no memory for the copy: then the message has tripped. */
static bool keep(struct task *task)
{
    if (task->copy)
        return true;
    task->copy = malloc(task->payload.size);
    if (!task->copy) {
        trip_arm(&task->tasks->state->trip, TRIP_MEMORY);
        return false;
    }
    memcpy(task->copy, task->payload.data, task->payload.size);
    task->payload.data = task->copy;
    return message_parse(task->payload, task->tasks->state->assignment->shelf, &task->message);
}

static void wait_on(struct task *task)
{
    struct state *state = task->tasks->state;
    struct ev_loop *loop = state->assignment->waits->loop;
    int64_t at_ns = state->deadline.limit_ns > 0 ? due_ns(task) : INT64_MAX;
    take_away(task);
    task->waits = true;
    if (task->wait.over)
        make_ready(&task->wait);
    else
        wait_watch(&task->wait, loop, at_ns);
}

/* Its handler has returned, and its results are on the coroutine's stack. */
static void take_results(struct task *task)
{
    struct state *state = task->tasks->state;
    struct outcome outcome = { .delay_ns = -1 };
    state->note.size = 0;
    lua_settop(task->lua, 2);
    lua_xmove(task->lua, state->lua, 2);
    verdict_read(state, &outcome);
    state_drop(state);
    finish(task, &outcome);
}

/* Who yields without waiting has nobody who would resume it: the mark makes that an error (see sandbox.lua).
 */
static int resume(struct task *task, int arguments)
{
    int status = lua_resume(task->lua, arguments);
    while (status == LUA_YIELD && !task->wait.kind && task->tasks->state->trip.kind == TRIP_NONE) {
        lua_settop(task->lua, 0);
        wait_push_mark(task->lua);
        status = lua_resume(task->lua, 1);
    }
    return status;
}

static void account(struct task *task, int64_t began_ns)
{
    int64_t turn_ns = clock_now_ns() - began_ns;
    take_time(task->tasks, turn_ns);
    if (turn_ns >= long_turn_ns)
        task->untaken_ns += turn_ns;
}

/* Runs the coroutine, for which all is in place. */
static void run(struct task *task, int arguments, int64_t now_ns)
{
    struct state *state = task->tasks->state;
    int status = resume(task, arguments);
    account(task, now_ns);
    if (state->trip.kind == TRIP_NONE && status == LUA_YIELD && keep(task)) {
        wait_on(task);
    } else if (state->trip.kind != TRIP_NONE) {
        state_describe_trip(state);
        task->lua = NULL;
        fail(task, WIRE_ERROR);
    } else if (status == 0) {
        take_results(task);
    } else {
        state_describe_failure(state, task->lua);
        let_go(task);
        fail(task, WIRE_ERROR);
    }
}

/* Stack: handle, data, message -> nothing, and they are the coroutine's. */
static bool prepare(struct task *task, struct outcome *outcome)
{
    struct state *state = task->tasks->state;
    if (!task->lua) {
        lua_pushcfunction(state->lua, make_coroutine);
        lua_pushlightuserdata(state->lua, task);
        if (!state_call(state, 1, 0)) {
            handler_fail(state, WIRE_ERROR, outcome);
            return false;
        }
    }
    if (!handler_prepare(state, outcome))
        return false;
    lua_xmove(state->lua, task->lua, 3);
    return true;
}

bool tasks_begin(struct tasks *tasks, struct slice payload, int64_t now_ns)
{
    struct task *task = tasks->free;
    struct state *state = tasks->state;
    struct outcome outcome = { .delay_ns = -1 };
    if (!message_parse(payload, state->assignment->shelf, &task->message))
        return false;
    tasks->free = task->next;
    tasks->under_way++;
    task->used = true;
    task->payload = payload;
    task->generation = ++state->last_generation;
    task->headers_generation = 0;
    task->began_ns = now_ns;
    task->untaken_ns = tasks->taken_ns;
    if (!task->outbox.quota)
        outbox_init(&task->outbox, &state->quota, state->assignment->limits.message_bytes);
    quota_begin(&state->quota, task->message.body.size);
    put_in_place(task);
    start_clock(task);
    if (prepare(task, &outcome))
        run(task, 2, now_ns);
    else
        finish(task, &outcome);
    return true;
}

static void go_on(struct task *task)
{
    struct state *state = task->tasks->state;
    int64_t now_ns = clock_now_ns();
    bool late = state->deadline.limit_ns > 0 && now_ns >= due_ns(task);
    if (!late && !task->wait.over) {
        wait_watch(&task->wait, state->assignment->waits->loop, due_ns(task));
        return;
    }
    task->waits = false;
    put_in_place(task);
    if (late) {
        expire(task);
        return;
    }
    start_clock(task);
    run(task, 0, now_ns);
}

void tasks_turn(struct tasks *tasks)
{
    while (tasks->ready) {
        struct task *task = tasks->ready;
        tasks->ready = task->next;
        if (!tasks->ready)
            tasks->ready_end = &tasks->ready;
        task->queued = false;
        go_on(task);
    }
}

bool tasks_have_room(const struct tasks *tasks)
{
    return tasks->free && tasks->reason == WIRE_RECYCLE_NONE;
}

bool tasks_init(struct tasks *tasks, struct state *state, struct board *board, struct recycle *recycle,
                struct leak_watch *leaks, unsigned capacity)
{
    *tasks = (struct tasks){
        .state = state, .board = board, .recycle = recycle, .leaks = leaks, .capacity = capacity
    };
    tasks->all = calloc(capacity, sizeof *tasks->all);
    tasks->ready_end = &tasks->ready;
    if (!tasks->all)
        return false;
    for (unsigned i = capacity; i-- > 0;) {
        struct task *task = &tasks->all[i];
        task->tasks = tasks;
        task->wait.on_over = make_ready;
        task->next = tasks->free;
        tasks->free = task;
    }
    return true;
}

void tasks_forget_state(struct tasks *tasks)
{
    tasks->reason = WIRE_RECYCLE_NONE;
    for (unsigned i = 0; i < tasks->capacity; i++)
        tasks->all[i].lua = NULL;
}

void tasks_clear(struct tasks *tasks)
{
    for (unsigned i = 0; i < tasks->capacity; i++) {
        if (tasks->all[i].used)
            put_back(&tasks->all[i]);
        outbox_clear(&tasks->all[i].outbox);
    }
    free(tasks->all);
    *tasks = (struct tasks){ .all = NULL };
}
