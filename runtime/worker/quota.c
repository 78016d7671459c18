/* Counting what a Lua state holds; see quota.h. */
#include "worker/quota.h"

#include <string.h>

#include <lauxlib.h>
#include <luajit.h>

enum {
    OVERDRAFT_BYTES = 256 * 1024, /* and a quarter of the limit */
    PACE_STEPS = 16,              /* how often the pace is set anew on the way to the limit */
    STRIDE_BYTES = 64 * 1024,
    SMALL_BYTES = 1024 * 1024,
    GARBAGE_USUAL_BYTES = 8 * 1024 * 1024,
    CYCLE_AIM = 13,    /* 16ths of the limit: below where recycle.c would collect by itself, by its default */
    SCATTER_PART = 8,  /* of the limit: slabs may hold so much beside what is counted, and twice as much */
    PAUSE_MIN = 110,   /* hundredths of what lives */
    STEP_USUAL = 200,  /* LuaJIT's own: hundredths of what is allocated */
    STEP_QUICK = 1000, /* what is allocated while a cycle lasts it does not collect */
    STEP_URGENT = 4000,
};

static size_t add_up_to(size_t bytes, size_t more)
{
    return bytes < SIZE_MAX - more ? bytes + more : SIZE_MAX;
}

/* LuaJIT's allocator: each block has a word in front of it, ends on a whole word, and has four words at
 * least. */
static const size_t word_bytes = 8;

/* What a block of so many bytes takes of the arena; of a slab it is about as much. */
static size_t block_bytes(size_t bytes)
{
    if (bytes == 0)
        return 0;
    size_t words = (word_bytes + bytes + word_bytes - 1) / word_bytes;
    return (words < 4 ? 4 : words) * word_bytes;
}

/* At how many bytes the next cycle begins, where so many are used now. Where much lives, to mark and sweep it
 * costs more than some more memory for garbage; but a heap that fits into a processor's cache is left to
 * LuaJIT's own pace: memory that is used again soon is still there. */
static size_t next_cycle(const struct quota *quota)
{
    size_t aim = quota->limit / 16 * CYCLE_AIM;
    size_t more = quota->used < aim ? (aim - quota->used) / 8 : 0;
    more = more < GARBAGE_USUAL_BYTES ? more : GARBAGE_USUAL_BYTES;
    if (quota->used < SMALL_BYTES || more < quota->used)
        more = quota->used;
    return more < aim && quota->used < aim - more ? quota->used + more : aim;
}

/* For a cycle that ends before `used` has changed much: it is looked at again PACE_STEPS times on the way to
 * the limit, and whenever it has grown by a quarter. Only stores to the state's numbers, and memory given
 * back to the system: safe inside the allocator. */
static void set_pace(struct quota *quota)
{
    size_t pause = next_cycle(quota) * 100 / (quota->used + 1);
    size_t step = quota->used < SMALL_BYTES ? STEP_USUAL : STEP_QUICK;
    if (quota->used > quota->limit / 2) {
        step = STEP_URGENT;
        large_drop_spare(&quota->large);
    }
    (void)lua_gc(quota->trip->lua, LUA_GCSETPAUSE, pause > PAUSE_MIN ? (int)pause : PAUSE_MIN);
    (void)lua_gc(quota->trip->lua, LUA_GCSETSTEPMUL, (int)step);
    quota->stride = quota->limit / PACE_STEPS;
    if (quota->stride > quota->used / 4 + STRIDE_BYTES)
        quota->stride = quota->used / 4 + STRIDE_BYTES;
    quota->watch = quota->used + quota->stride < quota->limit ? quota->used + quota->stride : quota->limit;
}

bool quota_is_scattered(const struct quota *quota)
{
    return quota->slabs.bytes > quota->refuse_at;
}

static bool is_scattered_by(const struct quota *quota, size_t more)
{
    return quota->slabs.bytes > add_up_to(quota->refuse_at, more);
}

/* The state is about to hold so many bytes, which is worth a look; false where that is refused. A message
 * that scatters blocks by itself is over in time, too, before anything is refused. */
static bool look(struct quota *quota, size_t wanted)
{
    size_t scattered = quota->limit / SCATTER_PART + SLAB_CHUNK_BYTES;
    if (wanted <= quota->limit && !is_scattered_by(quota, scattered)) {
        set_pace(quota);
        return true;
    }
    if (quota->trip->kind == TRIP_NONE)
        trip_arm(quota->trip, TRIP_MEMORY);
    return wanted <= quota->refuse_at && !is_scattered_by(quota, 2 * scattered);
}

void quota_set_aside(struct quota *quota, bool aside)
{
    quota->aside = aside;
    if (aside)
        quota->aside_peak = quota->peak;
    else
        quota->peak = quota->used > quota->aside_peak ? quota->used : quota->aside_peak;
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

static void *take(struct quota *quota, size_t bytes)
{
    if (bytes >= LARGE_BYTES)
        return large_take(&quota->large, bytes);
    void *block = home_take(quota->home, bytes);
    if (block)
        return block;
    if (bytes <= SLAB_BLOCK_MOST)
        return slabs_take(&quota->slabs, bytes);
    quota->arena_used = true;
    return quota->allocate(quota->arena, NULL, 0, bytes);
}

/* Where half of the quota is used, what waits for the next large block would come on top of it; see also
 * set_pace. */
static void give_back_large(struct quota *quota, void *block)
{
    large_give_back(&quota->large, block);
    if (quota->used > quota->limit / 2)
        large_drop_spare(&quota->large);
}

static void give_back(struct quota *quota, void *block, size_t bytes)
{
    if (bytes >= LARGE_BYTES)
        give_back_large(quota, block);
    else if (home_holds(quota->home, block))
        home_give_back(quota->home, block, bytes);
    else if (bytes <= SLAB_BLOCK_MOST)
        slabs_give_back(&quota->slabs, block);
    else
        (void)quota->allocate(quota->arena, block, bytes, 0);
}

static void *move(struct quota *quota, void *block, size_t old_bytes, size_t new_bytes)
{
    void *moved = take(quota, new_bytes);
    if (!moved)
        return NULL;
    memcpy(moved, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    give_back(quota, block, old_bytes);
    return moved;
}

static bool is_of_arena(size_t bytes)
{
    return bytes > SLAB_BLOCK_MOST && bytes < LARGE_BYTES;
}

static void *reallocate(struct quota *quota, void *block, size_t old_bytes, size_t new_bytes)
{
    if (old_bytes >= LARGE_BYTES && new_bytes >= LARGE_BYTES)
        return large_resize(&quota->large, block, new_bytes);
    if (old_bytes < LARGE_BYTES && home_holds(quota->home, block))
        return new_bytes <= old_bytes ? block : move(quota, block, old_bytes, new_bytes);
    if (is_of_arena(old_bytes) && is_of_arena(new_bytes))
        return quota->allocate(quota->arena, block, old_bytes, new_bytes);
    if (old_bytes <= SLAB_BLOCK_MOST && new_bytes <= old_bytes)
        return block;
    return move(quota, block, old_bytes, new_bytes);
}

void *quota_place(void *data, void *block, size_t old_bytes, size_t new_bytes)
{
    struct quota *quota = data;
    if (block && new_bytes > 0)
        return reallocate(quota, block, old_bytes, new_bytes);
    if (block)
        give_back(quota, block, old_bytes);
    return new_bytes > 0 ? take(quota, new_bytes) : NULL;
}

static void *allocate(void *data, void *block, size_t old_bytes, size_t new_bytes)
{
    struct quota *quota = data;
    size_t wanted = quota->used - block_bytes(old_bytes) + block_bytes(new_bytes);
    if (new_bytes > old_bytes && !quota->aside &&
        (((wanted > quota->watch || quota_is_scattered(quota)) && !look(quota, wanted)) ||
         !quota_has_stack(quota)))
        return NULL;
    void *moved = quota_place(quota, block, old_bytes, new_bytes);
    if (!moved && new_bytes > 0) {
        trip_arm(quota->trip, TRIP_MEMORY);
        return NULL;
    }
    count(quota, wanted);
    return moved;
}

/* A state with nothing in it, or all that is in every state. */
static lua_State *begin(struct quota *quota)
{
    lua_State *lua = home_copy(quota->home, quota);
    quota->complete = lua != NULL;
    if (lua) {
        count(quota, quota->used + quota->home->held_bytes);
        return lua;
    }
    home_begin(quota->home);
    quota->held_before = quota->used;
    return lua_newstate(allocate, quota);
}

void quota_complete(struct quota *quota)
{
    if (quota->large.first)
        quota->home->too_small = true;
    /* Or every state would have to free what the opening of the first has left behind. */
    quota_collect(quota);
    quota->live = quota->after_cycle = 0;
    home_keep(quota->home, quota, quota->trip->lua, quota->used - quota->held_before);
    quota->complete = true;
}

lua_State *quota_open_state(struct quota *quota, struct trip *trip, size_t limit_bytes,
                            struct stack_room stack, struct home *home)
{
    lua_State *ground = home_ground(home);
    if (!ground)
        return NULL;
    trip_init(trip, NULL);
    *quota = (struct quota){
        .trip = trip,
        .home = home,
        .limit = limit_bytes,
        .refuse_at = add_up_to(add_up_to(limit_bytes, limit_bytes / 4), OVERDRAFT_BYTES),
        .watch = SIZE_MAX, /* there is no state yet whose pace could be set */
        .stack = stack,
    };
    quota->allocate = lua_getallocf(ground, &quota->arena);
    count(quota, (size_t)lua_gc(ground, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(ground, LUA_GCCOUNTB, 0));
    lua_State *lua = begin(quota);
    if (!lua) {
        home_end(home, true);
        large_clear(&quota->large);
        slabs_clear(&quota->slabs);
        return NULL;
    }
    trip_init(trip, lua);
    quota->at_work = lua;
    set_pace(quota);
    return lua;
}

void quota_close_state(struct quota *quota, lua_State *lua)
{
    quota->trip->lua = NULL;
    /* Machine code is the only memory of a state that was not taken here. */
    (void)luaJIT_setmode(lua, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
    home_end(quota->home, quota->arena_used);
    large_clear(&quota->large);
    slabs_clear(&quota->slabs);
}

struct quota *quota_of(lua_State *lua)
{
    void *quota;
    (void)lua_getallocf(lua, &quota);
    return quota;
}

void quota_cycle_ended(struct quota *quota)
{
    quota->after_cycle = quota->used;
    set_pace(quota);
}

void quota_collect(struct quota *quota)
{
    (void)lua_gc(quota->trip->lua, LUA_GCCOLLECT, 0);
    quota_cycle_ended(quota);
    quota->live = quota->used;
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
    else if (quota->used > quota->watch || quota->watch - quota->used > 2 * quota->stride)
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
    void *block = take(quota, bytes);
    if (!block)
        return NULL;
    count(quota, quota->used + block_bytes(bytes));
    if (quota->used > quota->watch)
        (void)look(quota, quota->used);
    return block;
}
