/* Walking through the heap; see heap_walk.h.
 *
 * Named things wait in `queue`, first in, first out, and are taken first of all: each is looked into for more
 * names. Tables without names, and the entries of those that have one, wait on `stack`, with how far they
 * have been read. Both are tables of Lua, since only Lua can hold on to its objects. */
#include "worker/heap_walk.h"

#include "common/clock.h"
#include "common/scripts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <luajit.h>

enum {
    QUEUE = 4, /* where they are on the Lua stack; below are the script's functions */
    STACK = 5,
    COUNT = 6,       /* scripts/heap_count.lua */
    QUEUE_SLOTS = 2, /* object, place */
    STACK_SLOTS = 2, /* table, last key read or nil */
    FRAMES_FIRST = 64,
    LUA_SLOTS = 16,
    GARBAGE_MAX = 64 * 1024, /* of the walk's own, that is left for the state's next collection */
    CLOCK_STRIDE = 256,      /* steps between looks at the clock */
    ESTIMATE_FROM = 64, /* entries that have been looked into, at least, where others are taken for alike */
    MUCH_TIMES = 8,     /* as much as may be looked into of one table: in tables of one place it is enough */
    SMALL_TABLE = 64,   /* entries up to which the room that a table keeps is counted */
    DEEP = 8,           /* tables in each other: then it is a list or tree */
    NAMES_LOOK = 64,    /* entries of a table that are looked at for whether it is a collection */
    LONG_STRING = 64,   /* a string that may be what grows has a place of its own */
    ARRAY_END_MAX = 1 << 28,
    COROUTINE_LEVELS = 200,
    COROUTINE_LOCALS = 250,
};

enum { FLAG_OWN = 1, FLAG_WEAK_KEYS = 2, FLAG_WEAK_VALUES = 4 };

/* Of a table on the stack. */
struct frame {
    uint32_t place;
    unsigned flags;
    uint64_t read;         /* entries, */
    uint64_t in_array;     /* of them with a whole number as the key */
    uint64_t bytes_before; /* that had been found before its first entry */
    uint64_t slot_bytes;   /* of the entries themselves */
};

struct walk {
    lua_State *lua;
    struct state *state;
    struct places *places;
    struct heap_seen *seen;
    const struct heap_walk_limits *limits;
    int queue_head; /* of the next to be taken */
    int queue_tail; /* behind the last */
    struct frame *frames;
    size_t frame_count;
    size_t frame_capacity;
    uint64_t bytes; /* found so far */
    unsigned steps;
    bool weak;    /* the script has weak references */
    bool stopped; /* out of time or room */
};

static struct place *place_at(const struct walk *walk, uint32_t id)
{
    return &walk->places->list[id];
}

static void count_bytes(struct walk *walk, uint32_t id, uint64_t bytes)
{
    place_at(walk, id)->now.bytes += bytes;
    walk->bytes += bytes;
}

/* Whether the object on top is found for the first time. */
static bool claim(struct walk *walk)
{
    enum heap_found found = heap_seen_add(walk->seen, lua_topointer(walk->lua, -1));
    if (found == HEAP_FULL)
        walk->stopped = true;
    return found == HEAP_NEW;
}

static bool is_looked_into(int type)
{
    return type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TTHREAD || type == LUA_TUSERDATA;
}

/* Lists and trees lead on and on; what lies side by side in one table is bounded by `entries_max`. */
static void count_object(struct walk *walk, uint32_t id)
{
    place_at(walk, id)->now.objects++;
    if (place_at(walk, id)->chained || walk->frame_count > DEEP)
        place_at(walk, places_holder(walk->places, id))->now.held++;
}

/* So much was found in what it is told as that more is not looked at. */
static bool is_full(const struct walk *walk, uint32_t id)
{
    return place_at(walk, places_holder(walk->places, id))->now.held >= walk->limits->objects_max;
}

/* (value) -> the same: whether it is left out, since its place is full */
static bool is_left_out(struct walk *walk, uint32_t id)
{
    if (!is_full(walk, id) || heap_seen_has(walk->seen, lua_topointer(walk->lua, -1)))
        return false;
    place_at(walk, id)->now.cut = true;
    return true;
}

/* What waits */

/* (object) -> */
static void enqueue(struct walk *walk, uint32_t id)
{
    lua_rawseti(walk->lua, QUEUE, walk->queue_tail);
    lua_pushnumber(walk->lua, id);
    lua_rawseti(walk->lua, QUEUE, walk->queue_tail + 1);
    walk->queue_tail += QUEUE_SLOTS;
}

/* -> object */
static uint32_t dequeue(struct walk *walk)
{
    lua_State *lua = walk->lua;
    lua_rawgeti(lua, QUEUE, walk->queue_head + 1);
    uint32_t id = (uint32_t)lua_tonumber(lua, -1);
    lua_pop(lua, 1);
    lua_rawgeti(lua, QUEUE, walk->queue_head);
    walk->queue_head += QUEUE_SLOTS;
    if (walk->queue_head == walk->queue_tail)
        walk->queue_head = walk->queue_tail = 1;
    return id;
}

/* (table) -> which of its references do not count */
static unsigned weakness_of(lua_State *lua)
{
    unsigned flags = 0;
    if (!lua_getmetatable(lua, -1))
        return flags;
    lua_pushliteral(lua, "__mode");
    lua_rawget(lua, -2);
    const char *mode = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "";
    flags |= strchr(mode, 'k') ? FLAG_WEAK_KEYS : 0U;
    flags |= strchr(mode, 'v') ? FLAG_WEAK_VALUES : 0U;
    lua_pop(lua, 2);
    return flags;
}

static bool make_room(struct walk *walk)
{
    if (walk->frame_count < walk->frame_capacity)
        return true;
    size_t capacity = walk->frame_capacity ? 2 * walk->frame_capacity : FRAMES_FIRST;
    struct frame *larger =
        walk->frame_count < HEAP_OBJECTS_MAX ? realloc(walk->frames, capacity * sizeof *larger) : NULL;
    if (!larger)
        return false;
    walk->frames = larger;
    walk->frame_capacity = capacity;
    return true;
}

static int stack_at(size_t frame)
{
    return (int)(frame * STACK_SLOTS) + 1;
}

/* (table) -> */
static void push_frame(struct walk *walk, uint32_t id, unsigned flags)
{
    lua_State *lua = walk->lua;
    if (!make_room(walk)) {
        walk->stopped = true;
        lua_pop(lua, 1);
        return;
    }
    unsigned weak = weakness_of(lua);
    walk->weak = walk->weak || weak != 0;
    if (flags & FLAG_OWN)
        place_at(walk, id)->now.weak = weak != 0;
    walk->frames[walk->frame_count] = (struct frame){
        .place = id,
        .flags = flags | weak,
    };
    lua_rawseti(lua, STACK, stack_at(walk->frame_count));
    lua_pushnil(lua); /* nothing is read yet */
    lua_rawseti(lua, STACK, stack_at(walk->frame_count) + 1);
    walk->frame_count++;
}

/* Finding */

/* (value) -> : one without a name */
static void offer(struct walk *walk, uint32_t id)
{
    lua_State *lua = walk->lua;
    int type = lua_type(lua, -1);
    bool is_object = type == LUA_TSTRING || type > LUA_TNUMBER;
    bool is_new = is_object && !(is_looked_into(type) && is_left_out(walk, id)) && claim(walk);
    if (is_new && type == LUA_TTABLE) {
        count_object(walk, id);
        count_bytes(walk, id, HEAP_TABLE_BYTES);
        push_frame(walk, id, 0);
    } else if (is_new && is_looked_into(type)) {
        enqueue(walk, id);
    } else {
        if (is_new)
            count_bytes(walk, id,
                        type == LUA_TSTRING ? HEAP_STRING_BYTES + lua_objlen(lua, -1) : HEAP_CDATA_BYTES);
        lua_pop(lua, 1);
    }
}

/* (value) -> : of what has a name below this place. Short strings are not worth one. */
static void offer_named(struct walk *walk, uint32_t above, const struct place_label *label)
{
    lua_State *lua = walk->lua;
    int type = lua_type(lua, -1);
    bool is_long = type == LUA_TSTRING && lua_objlen(lua, -1) >= LONG_STRING;
    if (!is_long && !is_looked_into(type)) {
        offer(walk, above);
        return;
    }
    uint32_t id = above;
    if (heap_seen_has(walk->seen, lua_topointer(lua, -1)) ||
        (id = places_below(walk->places, above, label)) == above) {
        offer(walk, above);
        return;
    }
    if (is_long) {
        place_at(walk, id)->now.is_string = true;
        offer(walk, id);
        return;
    }
    if (claim(walk))
        enqueue(walk, id);
    else
        lua_pop(lua, 1);
}

/* Functions */

static const char prelude_source[] = "=moonrabbit";

/* The file as the user wrote it; of code that came as a string, the beginning. */
static struct slice source_of(const lua_Debug *function)
{
    return slice_of(*function->source == '@' ? function->source + 1 : function->short_src);
}

/* Only what is the script's own has names that an author would know. */
static bool is_script(const lua_Debug *function)
{
    return *function->what != 'C' && strcmp(function->source, prelude_source) != 0;
}

/* (function) -> the same, what is known of it */
static void describe_function(lua_State *lua, lua_Debug *function)
{
    lua_pushvalue(lua, -1);
    (void)lua_getinfo(lua, ">S", function);
}

/* (function) -> the same */
static void take_upvalues(struct walk *walk, uint32_t id, const lua_Debug *function)
{
    lua_State *lua = walk->lua;
    bool named = is_script(function);
    const char *name;
    int i = 1;
    for (; (name = lua_getupvalue(lua, -1, i)) != NULL; i++) {
        const struct place_label label = {
            .kind = PLACE_UPVALUE,
            .name = slice_of(name),
            .source = source_of(function),
            .line = function->linedefined,
        };
        if (named)
            offer_named(walk, id, &label);
        else
            offer(walk, id);
    }
    count_bytes(walk, id, HEAP_FUNCTION_BYTES + (size_t)(i - 1) * HEAP_UPVALUE_BYTES);
}

/* (function) -> the same */
static void take_function(struct walk *walk, uint32_t id)
{
    static const struct place_label environment = { .kind = PLACE_ENVIRONMENT };
    lua_Debug function;
    describe_function(walk->lua, &function);
    count_object(walk, id);
    take_upvalues(walk, id, &function);
    if (!is_script(&function))
        return;
    lua_getfenv(walk->lua, -1);
    offer_named(walk, id, &environment);
}

/* Coroutines */

/* One local of a level of the coroutine; false where it has no more. */
static bool take_local(struct walk *walk, uint32_t id, lua_State *coroutine, const lua_Debug *level, int n)
{
    const char *name = lua_getlocal(coroutine, level, n);
    if (!name)
        return false;
    lua_xmove(coroutine, walk->lua, 1);
    const struct place_label label = {
        .kind = PLACE_LOCAL,
        .name = slice_of(name),
        .source = source_of(level),
        .line = level->linedefined,
    };
    if (*name != '(' && is_script(level))
        offer_named(walk, id, &label);
    else
        offer(walk, id);
    return true;
}

static void take_level(struct walk *walk, uint32_t id, lua_State *coroutine, lua_Debug *level)
{
    if (!lua_getinfo(coroutine, "Sf", level))
        return;
    lua_xmove(coroutine, walk->lua, 1);
    offer(walk, id);
    for (int n = 1; n <= COROUTINE_LOCALS && take_local(walk, id, coroutine, level, n); n++)
        ;
    for (int n = 1; n <= COROUTINE_LOCALS && take_local(walk, id, coroutine, level, -n); n++)
        ;
}

/* (coroutine) -> the same. What waits in it to be run, or to be taken, is on top of its stack; below are the
 * functions that it is in. */
static void take_coroutine(struct walk *walk, uint32_t id)
{
    lua_State *coroutine = lua_tothread(walk->lua, -1);
    lua_Debug level;
    count_bytes(walk, id, HEAP_COROUTINE_BYTES);
    if (coroutine == walk->lua)
        return;
    for (int i = lua_gettop(coroutine); i > 0; i--) {
        lua_pushvalue(coroutine, i);
        lua_xmove(coroutine, walk->lua, 1);
        offer(walk, id);
    }
    for (int n = 0; n < COROUTINE_LEVELS && lua_getstack(coroutine, n, &level); n++)
        take_level(walk, id, coroutine, &level);
}

/* Userdata and tables */

/* (object) -> the same */
static void take_metatable(struct walk *walk, uint32_t id)
{
    static const struct place_label label = { .kind = PLACE_METATABLE };
    if (lua_getmetatable(walk->lua, -1))
        offer_named(walk, id, &label);
}

/* (userdata) -> the same */
static void take_userdata(struct walk *walk, uint32_t id)
{
    count_bytes(walk, id, HEAP_USERDATA_BYTES + lua_objlen(walk->lua, -1));
    take_metatable(walk, id);
    lua_getfenv(walk->lua, -1);
    offer(walk, id);
}

/* A key that an author wrote in the code, or might have: data has digits more often than not. */
static bool is_name(lua_State *lua, int index, struct slice *ret_name)
{
    size_t size;
    bool identifier = true, worded = true;
    if (lua_type(lua, index) != LUA_TSTRING)
        return false;
    const char *text = lua_tolstring(lua, index, &size);
    if (size == 0 || size > PLACE_NAME_MAX || isdigit((unsigned char)*text))
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        identifier = identifier && (isalnum(c) || c == '_');
        worded = worded && (isalpha(c) || (c != '\0' && strchr("_-.:/ ", c)));
    }
    *ret_name = (struct slice){ .data = text, .size = size };
    return identifier || worded;
}

/* (table) -> the same: whether most of its keys are data. Functions are code, however many they are. */
static bool is_collection(lua_State *lua)
{
    struct slice name;
    unsigned names = 0, looked = 0;
    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        bool code = lua_isfunction(lua, -1);
        lua_pop(lua, 1);
        names += !code && is_name(lua, -1, &name);
        looked += !code;
        if (names > PLACE_FIELDS_MAX || looked == NAMES_LOOK) {
            lua_pop(lua, 1);
            return true;
        }
    }
    return false;
}

/* (table) -> the same. Functions have no place: what they lead to has names of its own. */
static void take_fields(struct walk *walk, uint32_t id)
{
    lua_State *lua = walk->lua;
    if (place_at(walk, id)->collection || (weakness_of(lua) & FLAG_WEAK_VALUES))
        return;
    if (is_collection(lua)) {
        place_at(walk, id)->collection = true;
        return;
    }
    struct place_label label = { .kind = PLACE_FIELD };
    lua_pushnil(lua);
    while (lua_next(lua, -2) != 0) {
        if (!lua_isfunction(lua, -1) && is_name(lua, -2, &label.name))
            offer_named(walk, id, &label);
        else
            lua_pop(lua, 1);
    }
}

/* (object) -> : one that has a place to itself */
static void take_named(struct walk *walk, uint32_t id)
{
    lua_State *lua = walk->lua;
    switch (lua_type(lua, -1)) {
    case LUA_TTABLE:
        count_bytes(walk, id, HEAP_TABLE_BYTES);
        take_metatable(walk, id);
        take_fields(walk, id);
        push_frame(walk, id, FLAG_OWN);
        return;
    case LUA_TFUNCTION:
        take_function(walk, id);
        break;
    case LUA_TTHREAD:
        take_coroutine(walk, id);
        break;
    default:
        take_userdata(walk, id);
        break;
    }
    lua_pop(lua, 1);
}

/* Where in an array the number would be; 0: in none. */
static uint64_t position_of(double number)
{
    bool in_array = number >= 1 && number <= ARRAY_END_MAX && number == floor(number);
    return in_array ? (uint64_t)number : 0;
}

/* (key, value) -> the same: counted */
static void count_entry(struct walk *walk, struct frame *frame)
{
    lua_State *lua = walk->lua;
    struct place_figures *now = &place_at(walk, frame->place)->now;
    uint64_t position = lua_type(lua, -2) == LUA_TNUMBER ? position_of(lua_tonumber(lua, -2)) : 0;
    uint64_t bytes = position > 0 ? HEAP_SLOT_BYTES : HEAP_NODE_BYTES;
    if (frame->read == 0)
        frame->bytes_before = walk->bytes;
    count_bytes(walk, frame->place, bytes);
    frame->slot_bytes += bytes;
    frame->read++;
    frame->in_array += position > 0;
    if (!(frame->flags & FLAG_OWN)) {
        now->inner++;
        return;
    }
    now->entries++;
    now->array_entries += position > 0;
    if (position > now->array_end)
        now->array_end = position;
}

/* (key, value) -> the same */
static void show_key(struct walk *walk, const struct frame *frame)
{
    struct slice key;
    if (!(frame->flags & FLAG_OWN) || lua_type(walk->lua, -2) != LUA_TSTRING)
        return;
    key.data = lua_tolstring(walk->lua, -2, &key.size);
    place_add_sample(place_at(walk, frame->place), key);
}

/* (key, value) -> key: of both what is new. The frame may move. */
static void look_into(struct walk *walk, uint32_t id, unsigned flags)
{
    lua_State *lua = walk->lua;
    if (!(flags & FLAG_WEAK_KEYS) || lua_type(lua, -2) == LUA_TSTRING) {
        lua_pushvalue(lua, -2);
        offer(walk, id);
    }
    if (!(flags & FLAG_WEAK_VALUES) || lua_type(lua, -1) == LUA_TSTRING)
        offer(walk, id);
    else
        lua_pop(lua, 1);
}

/* (key, value) -> key */
static void take_entry(struct walk *walk, struct frame *frame)
{
    count_entry(walk, frame);
    show_key(walk, frame);
    look_into(walk, frame->place, frame->flags);
}

/* What a table has in all. */
struct contents {
    uint64_t entries;
    uint64_t in_array;
    uint64_t array_end;
};

/* (table) -> the same. Its length, which is quick to find, is good for an array that has hardly any holes. */
static struct contents count_contents(struct walk *walk, bool numbers)
{
    lua_State *lua = walk->lua;
    struct contents contents = { .entries = 0 };
    size_t length = numbers ? lua_objlen(lua, -1) : 0;
    for (bool again = false;; again = true) {
        lua_pushvalue(lua, COUNT);
        lua_pushvalue(lua, -2);
        lua_pushboolean(lua, again);
        if (lua_pcall(lua, 2, 3, 0) != 0)
            (void)lua_error(lua);
        contents.entries = (uint64_t)lua_tonumber(lua, -3);
        contents.in_array = (uint64_t)lua_tonumber(lua, -2);
        contents.array_end = (uint64_t)lua_tonumber(lua, -1);
        lua_pop(lua, 3);
        if (again || !numbers)
            return contents;
        if (length >= contents.entries) {
            contents.in_array = contents.entries;
            contents.array_end = length;
            return contents;
        }
    }
}

/* (table) -> the same: of one so large that its other entries are taken to be like those that have been
 * looked into. */
static void take_rest(struct walk *walk, const struct frame *frame)
{
    struct place_figures *now = &place_at(walk, frame->place)->now;
    uint64_t found = walk->bytes - frame->bytes_before - frame->slot_bytes;
    uint64_t usual = frame->read > 0 ? found / frame->read : 0;
    struct contents all = count_contents(walk, frame->in_array > 0);
    uint64_t rest = all.entries > frame->read ? all.entries - frame->read : 0;
    uint64_t in_array = all.in_array > frame->in_array ? all.in_array - frame->in_array : 0;
    in_array = in_array < rest ? in_array : rest;
    count_bytes(walk, frame->place,
                rest * usual + in_array * HEAP_SLOT_BYTES + (rest - in_array) * HEAP_NODE_BYTES);
    if (!(frame->flags & FLAG_OWN)) {
        now->inner += rest;
        return;
    }
    now->entries += rest;
    now->array_entries += in_array;
    if (all.array_end > now->array_end)
        now->array_end = all.array_end;
}

static bool is_out_of_time(struct walk *walk)
{
    if (++walk->steps % CLOCK_STRIDE == 0 &&
        (clock_now_ns() >= walk->limits->until_ns || clock_cpu_ns() >= walk->limits->until_cpu_ns))
        walk->stopped = true;
    return walk->stopped;
}

/* (table) -> its metatable, which has no place of its own */
static void offer_metatable(struct walk *walk, uint32_t id)
{
    if (lua_getmetatable(walk->lua, -1))
        offer(walk, id);
}

/* (table, key) -> : where the table on top of the stack is left, for what goes before it. */
static void leave_table(struct walk *walk, size_t frame)
{
    lua_rawseti(walk->lua, STACK, stack_at(frame) + 1);
    lua_pop(walk->lua, 1);
}

/* Whether the entries of a table that have been looked into are enough to know the others by. */
static bool is_known(const struct walk *walk, const struct frame *frame)
{
    const struct place_figures *now = &place_at(walk, frame->place)->now;
    bool much =
        is_full(walk, frame->place) || (now->entries + now->inner) / MUCH_TIMES >= walk->limits->entries_max;
    return frame->read >= walk->limits->entries_max || (frame->read >= ESTIMATE_FROM && much);
}

/* The table has been read. What it keeps in reserve is a good part of a small one. */
static void end_table(struct walk *walk, const struct frame *frame)
{
    uint64_t nodes = frame->read - frame->in_array, room = 2;
    if (frame->flags & FLAG_OWN || frame->read > SMALL_TABLE)
        return;
    while (room < nodes)
        room *= 2;
    uint64_t bytes = nodes > 0 ? (room - nodes) * HEAP_NODE_BYTES + HEAP_BLOCK_BYTES : 0;
    count_bytes(walk, frame->place, bytes + (frame->in_array > 0 ? 2 * HEAP_SLOT_BYTES : 0));
}

/* Reads on in the table on top of the stack, until something is found that goes before. */
static void read_table(struct walk *walk)
{
    lua_State *lua = walk->lua;
    size_t at = walk->frame_count - 1;
    lua_rawgeti(lua, STACK, stack_at(at));
    lua_rawgeti(lua, STACK, stack_at(at) + 1);
    while (!is_known(walk, &walk->frames[at]) && lua_next(lua, -2) != 0) {
        take_entry(walk, &walk->frames[at]);
        if (is_out_of_time(walk) || walk->frame_count != at + 1 || walk->queue_head != walk->queue_tail) {
            leave_table(walk, at);
            return;
        }
    }
    struct frame frame = walk->frames[at];
    walk->frame_count--;
    if (is_known(walk, &frame)) {
        lua_pop(lua, 1);
        take_rest(walk, &frame);
    } else {
        end_table(walk, &frame);
    }
    if (!(frame.flags & FLAG_OWN))
        offer_metatable(walk, frame.place);
    lua_pop(lua, 1);
}

static void run(struct walk *walk)
{
    while (!is_out_of_time(walk)) {
        if (walk->queue_head != walk->queue_tail)
            take_named(walk, dequeue(walk));
        else if (walk->frame_count > 0)
            read_table(walk);
        else
            return;
    }
}

/* Where to begin */

/* (index of a table of the state's own) -> : found, so that it is nobody's */
static void leave_out(struct walk *walk, int index)
{
    lua_pushvalue(walk->lua, index);
    (void)claim(walk);
    lua_pop(walk->lua, 1);
}

/* The libraries and the globals, as scripts see them and as they are. */
static void leave_out_furniture(struct walk *walk, int contents)
{
    lua_State *lua = walk->lua;
    leave_out(walk, contents);
    leave_out(walk, LUA_GLOBALSINDEX);
    lua_pushnil(lua);
    while (lua_next(lua, contents) != 0) {
        (void)claim(walk);
        lua_pop(lua, 1);
        leave_out(walk, -1);
    }
}

/* (value) -> the same: whether it is a function that the sandbox brought. */
static bool is_brought(lua_State *lua)
{
    lua_Debug function;
    if (!lua_isfunction(lua, -1))
        return false;
    describe_function(lua, &function);
    return !is_script(&function);
}

/* (table of names and values) -> */
static void begin_at(struct walk *walk, enum place_kind kind)
{
    lua_State *lua = walk->lua;
    int table = lua_gettop(lua);
    struct place_label label = { .kind = kind };
    lua_pushnil(lua);
    while (lua_next(lua, table) != 0) {
        bool named = lua_type(lua, -2) == LUA_TSTRING && !is_brought(lua);
        if (named)
            label.name.data = lua_tolstring(lua, -2, &label.name.size);
        if (named)
            offer_named(walk, 0, &label);
        else
            lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
}

static void push_own(lua_State *lua, enum state_slot slot)
{
    lua_rawgeti(lua, LUA_REGISTRYINDEX, slot);
}

/* Names by which a thing is known everywhere go before those that one function has for it. */
static void begin_at_script(struct walk *walk)
{
    lua_State *lua = walk->lua;
    push_own(lua, STATE_GLOBALS);
    push_own(lua, STATE_MODULES);
    push_own(lua, STATE_CONTENTS);
    leave_out_furniture(walk, lua_gettop(lua));
    lua_pop(lua, 1);
    push_own(lua, STATE_HOST);
    leave_out(walk, -1);
    lua_pop(lua, 1);
    leave_out(walk, -1);
    begin_at(walk, PLACE_MODULE);
    for (int script = 1; script < QUEUE; script++) {
        lua_pushvalue(lua, script);
        offer(walk, 0);
    }
    begin_at(walk, PLACE_GLOBAL);
}

/* What only messages under way hold is theirs, and goes when they are over: their coroutines, whether they
 * wait or are kept for the next message, and their headers. */
static void leave_out_messages(struct walk *walk)
{
    lua_State *lua = walk->lua;
    unsigned count = STATE_SLOTS_OF_TASK * walk->state->assignment->limits.concurrency;
    for (unsigned i = 0; i < count; i++) {
        lua_rawgeti(lua, LUA_REGISTRYINDEX, STATE_OF_TASKS + (int)i);
        if (is_looked_into(lua_type(lua, -1)))
            leave_out(walk, -1);
        lua_pop(lua, 1);
    }
}

/* What the program itself keeps in the state comes last. */
static void begin_at_registry(struct walk *walk)
{
    static const struct place_label label = { .kind = PLACE_REGISTRY };
    lua_pushvalue(walk->lua, LUA_REGISTRYINDEX);
    if (claim(walk))
        push_frame(walk, places_below(walk->places, 0, &label), FLAG_OWN);
    else
        lua_pop(walk->lua, 1);
}

/* (handle, setup, teardown): the walk that waits in `state->walk` */
static int walk_through(lua_State *lua)
{
    struct walk *walk = state_of(lua)->walk;
    walk->lua = lua;
    luaL_checkstack(lua, LUA_SLOTS, NULL);
    lua_settop(lua, QUEUE - 1);
    lua_newtable(lua);
    lua_newtable(lua);
    lua_pushvalue(lua, lua_upvalueindex(2));
    begin_at_script(walk);
    run(walk);
    bool weak = walk->weak;
    if (!walk->stopped && !walk->limits->script_only) {
        leave_out_messages(walk);
        begin_at_registry(walk);
        run(walk);
    }
    walk->weak = weak;
    return 0;
}

/* It runs once in a look: to compile it would cost more. */
static void push_count(lua_State *lua)
{
    if (luaL_loadbufferx(lua, script_heap_count, script_heap_count_size, "=moonrabbit", "t") != 0 ||
        lua_pcall(lua, 0, 1, 0) != 0)
        (void)lua_error(lua);
    (void)luaJIT_setmode(lua, -1, LUAJIT_MODE_FUNC | LUAJIT_MODE_OFF);
}

void heap_walk_install(struct state *state, lua_State *lua)
{
    lua_pushlightuserdata(lua, state);
    push_count(lua);
    lua_pushcclosure(lua, walk_through, 2);
    state_set_slot(lua, STATE_WALK);
}

bool heap_walk(struct state *state, struct places *places, struct heap_seen *seen,
               const struct heap_walk_limits *limits, bool *ret_weak)
{
    struct walk walk = {
        .state = state,
        .places = places,
        .seen = seen,
        .limits = limits,
        .queue_head = 1,
        .queue_tail = 1,
    };
    uint64_t heap_bytes = state_heap_bytes(state);
    heap_seen_reset(seen);
    quota_set_aside(&state->quota, true);
    state->walk = &walk;
    state_push(state, STATE_WALK);
    state_push(state, STATE_HANDLE);
    state_push(state, STATE_SETUP);
    state_push(state, STATE_TEARDOWN);
    bool done = state_call(state, QUEUE - 1, 0);
    state->walk = NULL;
    if (state_heap_bytes(state) > heap_bytes + GARBAGE_MAX)
        quota_collect(&state->quota);
    quota_set_aside(&state->quota, false);
    free(walk.frames);
    *ret_weak = walk.weak;
    return done && !walk.stopped;
}
