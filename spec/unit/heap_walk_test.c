/* The walk through a heap: which place each kind of thing is found at, what it is not led astray by, and that
 * the state is afterwards as it was; see worker/heap_walk.h. */
#include "worker/heap_walk.h"

#include "worker_fixture.h"

#include "common/clock.h"
#include "worker/script.h"
#include "worker/wait.h"

#define MIB ((uint64_t)1024 * 1024)

/* A state with a script in it, in this process. */
struct subject {
    struct fixture fixture;
    struct home home;
    struct assignment assignment;
    struct state state;
    struct places places;
    struct heap_seen seen;
    char script[160];
    bool weak; /* the last walk met weak tables */
};

static void open_with(struct subject *subject, const char *text, uint64_t memory_bytes)
{
    struct error error;
    static struct cache cache;
    static struct waits waits;
    memset(subject, 0, sizeof *subject);
    fixture_open(&subject->fixture);
    fixture_write_text(&subject->fixture, "handler.lua", text);
    fixture_write_text(&subject->fixture, "own.lua",
                       "local hidden = {} return { shown = {}, hide = function() "
                       "hidden[1] = 1 end }");
    (void)snprintf(subject->script, sizeof subject->script, "%s/handler.lua", subject->fixture.folder);
    subject->assignment = (struct assignment){
        .limits = { .memory_bytes = memory_bytes, .message_bytes = MIB, .log_level = LOG_ERROR },
        .script = subject->script,
        .stack = stack_reserve(),
        .cache = &cache,
        .home = &subject->home,
        .waits = &waits,
    };
    home_init(&subject->home, HOME_BYTES);
    heap_seen_init(&subject->seen, HEAP_OBJECTS_MAX);
    assert_true(places_init(&subject->places));
    if (!folder_open(&subject->assignment.folder, subject->script, &error) ||
        !state_open(&subject->state, &subject->assignment, NULL, &error) ||
        !script_load(&subject->state, &error))
        fail_msg("%s", error.text);
}

static void close_subject(struct subject *subject)
{
    state_close(&subject->state);
    folder_close(&subject->assignment.folder);
    home_clear(&subject->home);
    places_clear(&subject->places);
    heap_seen_clear(&subject->seen);
    fixture_close(&subject->fixture);
}

static bool walk_until(struct subject *subject, uint64_t entries_max, int64_t until_ns)
{
    const struct heap_walk_limits limits = {
        .until_ns = until_ns, .until_cpu_ns = INT64_MAX, .entries_max = entries_max, .objects_max = UINT64_MAX
    };
    places_begin(&subject->places);
    return heap_walk(&subject->state, &subject->places, &subject->seen, &limits, &subject->weak);
}

static bool walk(struct subject *subject)
{
    return walk_until(subject, UINT64_MAX, INT64_MAX);
}

static void describe(const struct subject *subject, uint32_t id, char text[WIRE_TEXT_MAX + 1])
{
    struct note note = { .size = 0 };
    places_describe(&subject->places, id, slice_of(subject->assignment.folder.prefix), &note);
    memcpy(text, note.text, note.size);
    text[note.size < WIRE_TEXT_MAX ? note.size : WIRE_TEXT_MAX] = '\0';
}

static const struct place *find_place(const struct subject *subject, const char *path)
{
    char text[WIRE_TEXT_MAX + 1];
    for (uint32_t id = 1; id < subject->places.count; id++) {
        describe(subject, id, text);
        if (strcmp(text, path) == 0)
            return &subject->places.list[id];
    }
    return NULL;
}

static void print_places(const struct subject *subject)
{
    char text[WIRE_TEXT_MAX + 1];
    for (uint32_t id = 1; id < subject->places.count; id++) {
        const struct place_figures *now = &subject->places.list[id].now;
        describe(subject, id, text);
        print_error("%s: %lu entries, %lu inner, %lu bytes\n", text, now->entries, now->inner, now->bytes);
    }
}

struct shape {
    const char *name;
    const char *script;
    const char *path;
    uint64_t entries, inner;
    int bytes_least;
};

static const struct shape shapes[] = {
    { "an upvalue", "local seen = { a = 1, b = 2 }\nreturn function() return seen end",
      "upvalue 'seen' of handler.lua:2", 2, 0, 64 + 48 },
    { "an array", "local list = { 1, 2, 3 }\nreturn function() return list end",
      "upvalue 'list' of handler.lua:2", 3, 0, 64 + 24 },
    { "fields of fields", "local s = { a = { b = { 1, 2 } } }\nreturn function() return s end",
      "upvalue 's' of handler.lua:2 .a.b", 2, 0, 64 + 16 },
    { "a name that is no identifier", "local s = { ['to-do'] = { 1 } }\nreturn function() return s end",
      "upvalue 's' of handler.lua:2 [\"to-do\"]", 1, 0, 64 + 8 },
    { "entries without a name", "local s = { { 1, 2 }, { 3, 4 } }\nreturn function() return s end",
      "upvalue 's' of handler.lua:2", 2, 4, 3 * 64 },
    { "tables as keys", "local s = { [{ 1 }] = true }\nreturn function() return s end",
      "upvalue 's' of handler.lua:2", 1, 1, 2 * 64 },
    { "a string", "local s = ('x'):rep(1000)\nreturn function() return s end", "upvalue 's' of handler.lua:2",
      0, 0, 1024 },
    { "a string in a field", "local s = { t = ('x'):rep(1000) }\nreturn function() return s end",
      "upvalue 's' of handler.lua:2 .t", 0, 0, 1024 },
    { "a global", "box = { 1, 2 }\nreturn function() end", "global 'box'", 2, 0, 64 },
    { "a global with a strange name", "_G['a\\n\"b'] = { 1, 2 }\nreturn function() end", "global 'a\\n\"b'",
      2, 0, 64 },
    { "a module", "require 'own'.shown.x = 1 return function() end", "module own .shown", 1, 0, 64 },
    { "a module before the upvalue that has it too",
      "local own = require 'own'\nreturn function() own.shown.x = 1 end", "module own .shown", 0, 0, 64 },
    { "what a module hides", "require 'own'.hide() return function() end", "upvalue 'hidden' of own.lua:1", 1,
      0, 64 },
    { "what a helper hides",
      "local kept = { 1 }\nlocal function help()\n return kept end\nreturn function() return help() end",
      "upvalue 'kept' of handler.lua:2", 1, 0, 64 },
    { "functions in a list",
      "local list = {}\nfor i = 1, 3 do local box = { i, i }\nlist[i] = function() return box end end\n"
      "return function() return list end",
      "upvalue 'box' of handler.lua:3", 6, 0, 3 * 64 },
    { "setup and teardown",
      "local a, b = { 1 }, { 2 }\nreturn { handle = function() end, setup = function() a[2] = 1 end,\n"
      "teardown = function() return b end }",
      "upvalue 'b' of handler.lua:3", 1, 0, 64 },
    { "a metatable", "local o = setmetatable({}, { cache = { 1 } })\nreturn function() return o end",
      "upvalue 'o' of handler.lua:2 metatable .cache", 1, 0, 64 },
    { "a metatable of what has no name",
      "local l = { setmetatable({}, { 1, 2 }) }\nreturn function() return l end",
      "upvalue 'l' of handler.lua:2", 1, 2, 3 * 64 },
    { "an environment",
      "local f = load('x = {} x.y = {1} return function() return x end', '=chunk', 't', {})()\n"
      "return function() return f end",
      "upvalue 'f' of handler.lua:2 environment .x.y", 1, 0, 64 },
    { "locals of a coroutine",
      "local c = coroutine.create(function()\nlocal kept = { 1, 2 } coroutine.yield() return kept end)\n"
      "coroutine.resume(c)\nreturn function() return c end",
      "local 'kept' of handler.lua:1", 2, 0, 64 },
    { "locals of a coroutine behind wrap",
      "local c = coroutine.wrap(function()\nlocal kept = { 1, 2 } coroutine.yield() return kept end)\n"
      "c()\nreturn function() return c end",
      "local 'kept' of handler.lua:1", 2, 0, 64 },
    { "deeper in a coroutine",
      "local function inner()\nlocal deep = { 1 } coroutine.yield() return deep end\n"
      "local c = coroutine.wrap(function() inner() return 1 end) c()\nreturn function() return c end",
      "local 'deep' of handler.lua:1", 1, 0, 64 },
    { "arguments beyond those that have names",
      "local c = coroutine.wrap(function(...) coroutine.yield() return ... end) c({ 1, 2 })\n"
      "return function() return c end",
      "upvalue 'c' of handler.lua:2", 0, 2, 64 },
    { "a coroutine that has not begun",
      "local box = { 1, 2, 3 }\nlocal c = coroutine.create(function() return box end)\nbox = nil\n"
      "return function() return c end",
      "upvalue 'c' of handler.lua:4", 0, 0, 480 },
    { "a list of linked tables",
      "local head for i = 1, 10 do head = { next = head } end\nreturn function() return head end",
      "upvalue 'head' of handler.lua:2 .next", 1, 7, 9 * 64 },
    { "a circle", "local a = {} a.b = { c = a, 1 }\nreturn function() return a end",
      "upvalue 'a' of handler.lua:2 .b", 2, 0, 64 },
    { "weak values are not followed",
      "local big = { 1, 2, 3 }\nlocal w = setmetatable({ big }, { __mode = 'v' })\n"
      "return function() return w, big end",
      "upvalue 'w' of handler.lua:3", 1, 0, 64 },
    { "weak keys are not followed",
      "local big = { 1, 2, 3 }\nlocal w = setmetatable({ [big] = { 1 } }, { __mode = 'k' })\n"
      "return function() return w, big end",
      "upvalue 'w' of handler.lua:3", 1, 1, 64 },
    { "no metamethod is asked",
      "local no = function() error('asked') end\n"
      "local t = setmetatable({ 1 }, { __index = no, __len = no, __pairs = no, __metatable = no, __mode = "
      "1,\n"
      " __newindex = no, __eq = no, __tostring = no, __call = no })\nreturn function() return t end",
      "upvalue 't' of handler.lua:4", 1, 0, 64 },
    { "false and nan-like keys",
      "local t = { [false] = 1, [0.5] = 2, [-1] = 3 }\nreturn function() return t end",
      "upvalue 't' of handler.lua:2", 3, 0, 64 + 72 },
    { "methods do not make a collection",
      "local M = { kept = { 1 } } for i = 1, 100 do M['f' .. i] = function() end end\n"
      "return function() return M end",
      "upvalue 'M' of handler.lua:2 .kept", 1, 0, 64 },
    { "more names than an author writes do",
      "local t = {} for i = 1, 40 do t['n' .. i] = { i } end\nreturn function() return t end",
      "upvalue 't' of handler.lua:2", 40, 40, 41 * 64 },
};

static void each_shape(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const struct shape *shape = &shapes[i];
        struct subject subject;
        open_with(&subject, shape->script, 32 * MIB);
        assert_true(walk(&subject));
        const struct place *place = find_place(&subject, shape->path);
        if (!place || place->now.entries != shape->entries || place->now.inner != shape->inner ||
            place->now.bytes < (uint64_t)shape->bytes_least) {
            print_places(&subject);
            fail_msg("%s: %s", shape->name, shape->path);
        }
        assert_int_equal(subject.weak, strstr(shape->script, "__mode = '") != NULL);
        close_subject(&subject);
    }
}

static uint64_t all_bytes(const struct subject *subject)
{
    uint64_t bytes = 0;
    for (uint32_t id = 0; id < subject->places.count; id++)
        bytes += subject->places.list[id].now.bytes;
    return bytes;
}

/* What is counted is about what the quota counts, and the same each time. */
static void bytes_are_about_right(void **context)
{
    struct subject subject;
    (void)context;
    open_with(&subject,
              "local t = {} for i = 1, 20000 do t['key ' .. i] = { id = i, text = 'text ' .. i } end\n"
              "return function() return t end",
              32 * MIB);
    quota_collect(&subject.state.quota);
    assert_true(walk(&subject));
    uint64_t bytes = all_bytes(&subject);
    assert_in_range(bytes, subject.state.quota.live / 2, subject.state.quota.live);
    assert_true(walk(&subject));
    assert_int_equal(all_bytes(&subject), bytes);
    close_subject(&subject);
}

/* Of a table with very many entries some are looked into, and the rest is taken to be like them. */
static void large_tables_are_estimated(void **context)
{
    struct subject subject;
    (void)context;
    open_with(&subject,
              "local t = {} for i = 1, 5000 do t[i] = { { i } } end\nreturn function() return t end",
              32 * MIB);
    assert_true(walk(&subject));
    uint64_t bytes = find_place(&subject, "upvalue 't' of handler.lua:2")->now.bytes;
    size_t objects = subject.seen.count;
    assert_true(walk_until(&subject, 100, INT64_MAX));
    const struct place *place = find_place(&subject, "upvalue 't' of handler.lua:2");
    assert_int_equal(place->now.entries, 5000);
    assert_in_range(place->now.bytes, bytes - bytes / 50, bytes + bytes / 50);
    assert_true(subject.seen.count + 9600 < objects);
    close_subject(&subject);
}

/* The state is as it was: nothing is on its stack, the quota has not been charged, and collects it all. */
static void nothing_is_left_behind(void **context)
{
    struct subject subject;
    (void)context;
    open_with(&subject,
              "local h for i = 1, 25000 do h = { next = { h } } end\nreturn function() return h end",
              8 * MIB);
    quota_collect(&subject.state.quota);
    size_t live = subject.state.quota.live, peak = subject.state.quota.peak;
    assert_true(live > 3 * MIB);
    for (int i = 0; i < 5; i++) {
        assert_true(walk(&subject));
        assert_int_equal(lua_gettop(subject.state.lua), STATE_SLOTS);
        quota_collect(&subject.state.quota);
        assert_in_range(subject.state.quota.live, live - 4096, live + 4096);
        assert_int_equal(subject.state.quota.peak, peak);
        assert_int_equal(subject.state.trip.kind, TRIP_NONE);
    }
    close_subject(&subject);
}

/* A million objects, in a line and side by side, on no more of the native stack than anything else. */
static void a_million_objects(void **context)
{
    static const char *const scripts[] = {
        "local h for i = 1, 300000 do h = { h } end return function() return h end",
        "local h for i = 1, 300000 do local g = h h = function() return g end end return function() return h "
        "end",
        "local t = {} for i = 1, 300000 do t[i] = { i } end return function() return t end",
        "local t = {} for i = 1, 30000 do t[i] = coroutine.create(print) end return function() return t end",
        "local c for i = 1, 20000 do local d = c c = coroutine.wrap(function() coroutine.yield() return d "
        "end) "
        "c() end return function() return c end",
        "local o for i = 1, 100000 do o = setmetatable({}, { o }) end return function() return o end",
    };
    (void)context;
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct subject subject;
        open_with(&subject, scripts[i], 256 * MIB);
        assert_true(walk(&subject));
        assert_true(subject.seen.count >= 20000);
        close_subject(&subject);
    }
}

/* Its bounds end a walk, and say so. */
static void bounds_are_kept(void **context)
{
    struct subject subject;
    (void)context;
    open_with(&subject, "local t = {} for i = 1, 20000 do t[i] = { i } end return function() return t end",
              32 * MIB);
    assert_false(walk_until(&subject, UINT64_MAX, clock_now_ns()));
    assert_int_equal(lua_gettop(subject.state.lua), STATE_SLOTS);
    subject.seen.most = 1000;
    heap_seen_reset(&subject.seen);
    assert_false(walk(&subject));
    assert_int_equal(subject.seen.count, 1000);
    subject.seen.most = HEAP_OBJECTS_MAX;
    assert_true(walk(&subject));
    close_subject(&subject);
}

/* What an attacker may have made of the coroutines that wait: none is moved, and all go on afterwards. */
static void coroutines_go_on(void **context)
{
    static const char script[] =
        "local waiting = {}\n"
        "local function nest(n) if n > 0 then return nest(n - 1) + coroutine.yield(n) end return 0 end\n"
        "for i = 1, 150 do waiting[i] = coroutine.create(nest) coroutine.resume(waiting[i], i) end\n"
        "local dead = coroutine.create(error) coroutine.resume(dead, {})\n"
        "local done = coroutine.create(function() return 1 end) coroutine.resume(done)\n"
        "local many = coroutine.create(function(...) coroutine.yield() return select('#', ...) end)\n"
        "coroutine.resume(many, unpack({}, 1, 7000))\n"
        "return function() return dead, done, many end, waiting";
    struct subject subject;
    (void)context;
    open_with(&subject, script, 64 * MIB);
    assert_true(walk(&subject));
    assert_true(walk(&subject));
    close_subject(&subject);
}

/* What only a message under way holds is not looked at; what the script has too is its own. */
static void messages_under_way_are_left_out(void **context)
{
    struct subject subject;
    (void)context;
    open_with(&subject,
              "local kept = { 1, 2 }\nreturn { handle = function() return kept end, setup = function() end }",
              32 * MIB);
    subject.assignment.limits.concurrency = 2;
    assert_true(walk(&subject));
    uint64_t bytes = all_bytes(&subject);
    lua_State *lua = subject.state.lua;
    lua_State *message = lua_newthread(lua);
    lua_rawseti(lua, LUA_REGISTRYINDEX, STATE_OF_TASKS + STATE_SLOTS_OF_TASK);
    lua_newtable(message);
    state_push(&subject.state, STATE_HANDLE);
    lua_xmove(lua, message, 1);
    lua_newtable(lua);
    lua_rawseti(lua, LUA_REGISTRYINDEX, STATE_OF_TASKS + STATE_SLOTS_OF_TASK + 1);
    assert_true(walk(&subject));
    assert_int_equal(find_place(&subject, "upvalue 'kept' of handler.lua:2")->now.entries, 2);
    /* The registry's own entries for the two. */
    assert_in_range(all_bytes(&subject), bytes, bytes + 2 * HEAP_NODE_BYTES);
    subject.assignment.limits.concurrency = 1;
    assert_true(walk(&subject));
    assert_true(all_bytes(&subject) > bytes + HEAP_COROUTINE_BYTES);
    close_subject(&subject);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_shape),
        cmocka_unit_test(bytes_are_about_right),
        cmocka_unit_test(large_tables_are_estimated),
        cmocka_unit_test(nothing_is_left_behind),
        cmocka_unit_test(a_million_objects),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(coroutines_go_on),
        cmocka_unit_test(messages_under_way_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
