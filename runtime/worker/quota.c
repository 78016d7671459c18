/* Counting what a Lua state holds; see quota.h. */
#include "worker/quota.h"

#include <lauxlib.h>

enum {
    OVERDRAFT_BYTES = 256 * 1024, /* and a quarter of the limit */
    PACE_STEPS = 16,              /* how often the pace is set anew on the way to the limit */
    PAUSE_MAX = 200,              /* LuaJIT's own: a cycle begins when the heap has doubled */
    PAUSE_MIN = 110,
    STEP_USUAL = 200, /* LuaJIT's own */
    STEP_URGENT = 1000,
};

/* LuaJIT's allocator: each block has a word in front of it, ends on a whole word, and has four words at
 * least. */
static const size_t word_bytes = 8;

/* What a block of so many bytes takes of the arena. */
static size_t block_bytes(size_t bytes)
{
    if (bytes == 0)
        return 0;
    size_t words = (word_bytes + bytes + word_bytes - 1) / word_bytes;
    return (words < 4 ? 4 : words) * word_bytes;
}

/* A cycle begins at five eighths of the limit at the latest; past the half it hurries. Only stores to the
 * state's numbers: safe inside the allocator. */
static void set_pace(struct quota *quota)
{
    size_t step = quota->limit / PACE_STEPS;
    size_t aim = quota->limit / 8 * 5;
    size_t pause = PAUSE_MAX;
    if (quota->used > aim / 2)
        pause = quota->used < aim ? aim * 100 / quota->used : PAUSE_MIN;
    if (pause < PAUSE_MIN)
        pause = PAUSE_MIN;
    (void)lua_gc(quota->trip->lua, LUA_GCSETPAUSE, (int)pause);
    (void)lua_gc(quota->trip->lua, LUA_GCSETSTEPMUL,
                 quota->used > quota->limit / 2 ? STEP_URGENT : STEP_USUAL);
    quota->watch = quota->used + step < quota->limit ? quota->used + step : quota->limit;
}

/* The state is about to hold so many bytes, which is worth a look; false where that is refused. */
static bool look(struct quota *quota, size_t wanted)
{
    if (wanted <= quota->limit) {
        set_pace(quota);
        return true;
    }
    if (quota->trip->kind == TRIP_NONE)
        trip_arm(quota->trip, TRIP_MEMORY);
    return wanted <= quota->refuse_at;
}

bool quota_has_stack(struct quota *quota)
{
    const char *here = __builtin_frame_address(0);
    if (here >= quota->stack.trip_below)
        return true;
    if (quota->trip->kind == TRIP_NONE)
        trip_arm(quota->trip, TRIP_STACK);
    return here >= quota->stack.refuse_below;
}

static void count(struct quota *quota, size_t used)
{
    quota->used = used;
    if (used > quota->peak)
        quota->peak = used;
}

static void *allocate(void *data, void *block, size_t old_bytes, size_t new_bytes)
{
    struct quota *quota = data;
    size_t wanted = quota->used - block_bytes(old_bytes) + block_bytes(new_bytes);
    if (new_bytes > old_bytes && ((wanted > quota->watch && !look(quota, wanted)) || !quota_has_stack(quota)))
        return NULL;
    void *moved = quota->allocate(quota->arena, block, old_bytes, new_bytes);
    if (!moved && new_bytes > 0) {
        trip_arm(quota->trip, TRIP_MEMORY);
        return NULL;
    }
    count(quota, wanted);
    return moved;
}

static size_t add_up_to(size_t bytes, size_t more)
{
    return bytes < SIZE_MAX - more ? bytes + more : SIZE_MAX;
}

lua_State *quota_open_state(struct quota *quota, struct trip *trip, size_t limit_bytes,
                            struct stack_room stack)
{
    lua_State *lua = luaL_newstate();
    if (!lua)
        return NULL;
    trip_init(trip, lua);
    *quota = (struct quota){
        .trip = trip,
        .limit = limit_bytes,
        .refuse_at = add_up_to(add_up_to(limit_bytes, limit_bytes / 4), OVERDRAFT_BYTES),
        .stack = stack,
        .at_work = lua,
    };
    quota->used = (size_t)lua_gc(lua, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(lua, LUA_GCCOUNTB, 0);
    quota->peak = quota->used;
    quota->allocate = lua_getallocf(lua, &quota->arena);
    lua_setallocf(lua, allocate, quota);
    set_pace(quota);
    return lua;
}

void quota_close_state(struct quota *quota, lua_State *lua)
{
    quota->trip->lua = NULL;
    /* LuaJIT drops the whole arena only where it finds its own allocator. */
    lua_setallocf(lua, quota->allocate, quota->arena);
    lua_close(lua);
}

struct quota *quota_of(lua_State *lua)
{
    void *quota;
    (void)lua_getallocf(lua, &quota);
    return quota;
}

void quota_collect(struct quota *quota)
{
    (void)lua_gc(quota->trip->lua, LUA_GCCOLLECT, 0);
    quota->live = quota->used;
    set_pace(quota);
}

/* Near the limit a collection comes before the message: where the message would not fit, and else where
 * garbage has taken half of what was left. For each message anew it would take most of a worker's time. */
static bool is_worth_collecting(const struct quota *quota, size_t wanted)
{
    if (wanted <= quota->limit - quota->limit / 8)
        return false;
    size_t room = quota->live < quota->limit ? quota->limit - quota->live : 0;
    return wanted > quota->limit || quota->used > quota->live + room / 2;
}

void quota_begin(struct quota *quota, size_t message_bytes)
{
    /* The body is there as it came, as a string, and decoded. */
    size_t wanted = add_up_to(add_up_to(quota->used, message_bytes), add_up_to(message_bytes, message_bytes));
    if (is_worth_collecting(quota, wanted))
        quota_collect(quota);
    quota->at_work = quota->trip->lua;
    quota->used += message_bytes;
    if (quota->used > quota->limit)
        trip_arm(quota->trip, TRIP_MEMORY);
    else if (quota->watch - quota->used > quota->limit / PACE_STEPS || quota->used > quota->watch)
        set_pace(quota);
}

void quota_end(struct quota *quota, size_t message_bytes)
{
    quota->used -= message_bytes;
}

void quota_charge(struct quota *quota, size_t bytes)
{
    quota->used += bytes;
    if (quota->used > quota->peak)
        quota->peak = quota->used;
    if (quota->used > quota->watch)
        (void)look(quota, quota->used);
}

void quota_release(struct quota *quota, size_t bytes)
{
    quota->used -= bytes;
}

size_t quota_room(const struct quota *quota)
{
    return quota->used < quota->limit ? quota->limit - quota->used : 0;
}

void *quota_reallocate(struct quota *quota, void *block, size_t old_bytes, size_t new_bytes)
{
    return allocate(quota, block, old_bytes, new_bytes);
}

void *quota_allocate_anyway(struct quota *quota, size_t bytes)
{
    void *block = quota->allocate(quota->arena, NULL, 0, bytes);
    if (!block)
        return NULL;
    count(quota, quota->used + block_bytes(bytes));
    if (quota->used > quota->watch)
        (void)look(quota, quota->used);
    return block;
}
