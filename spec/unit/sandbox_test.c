/* What a script may see and change, and which modules it may load; see scripts/sandbox.lua and
 * worker/require.h. */
#include "worker_fixture.h"

#define HANDLER(body) "return function(data, message) " body " end"
/* A handler that the expression must be true in. */
#define HOLDS(expression) HANDLER("assert(" expression ")")

static const struct script_case environment_cases[] = {
    { "only the whitelist is there",
      "local there = { _G = 1, _VERSION = 1, assert = 1, bit = 1, collectgarbage = 1, coroutine = 1, error = "
      "1,\n"
      "  getmetatable = 1, ipairs = 1, load = 1, loadstring = 1, math = 1, next = 1, os = 1, pairs = 1, "
      "pcall = 1,\n"
      "  print = 1, rawequal = 1, rawget = 1, rawset = 1, require = 1, select = 1, setmetatable = 1, sleep = "
      "1, string "
      "= 1,\n"
      "  table = 1, tonumber = 1, tostring = 1, type = 1, unpack = 1, xpcall = 1 }\n"
      "return function()\n"
      "  for name in pairs(_G) do if not there[name] then error(name) end there[name] = nil end\n"
      "  assert(not next(there), next(there))\n"
      "end",
      { 0 },
      WIRE_ACK,
      NULL },
    { "what was asked to be left out",
      HANDLER(
          "for _, name in ipairs { 'io', 'debug', 'ffi', 'jit', 'package', 'dofile', 'loadfile', 'getfenv',\n"
          "  'setfenv', 'newproxy', 'module', 'gcinfo', 'arg' } do assert(_G[name] == nil, name) end"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "os",
      HANDLER("local names = {} for name in pairs(os) do names[#names + 1] = name end table.sort(names)\n"
              "assert(table.concat(names, ' ') == 'clock date difftime time')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "no string.dump",
      HOLDS("string.dump == nil and (''):len() == 0 and ('').dump == nil"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "the libraries work",
      HOLDS("('%d'):format(7) == '7' and table.concat({ 1, 2 }, '-') == '1-2' and math.max(1, 2) == 2 and\n"
            "bit.band(6, 3) == 2 and type(os.time()) == 'number' and coroutine.wrap(function() return 1 "
            "end)() == 1"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "globals of the script",
      "function double(n) return 2 * n end\n" HOLDS("double(2) == 4 and _G.double == double"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "_G is the globals",
      HOLDS("_G._G == _G and rawget(_G, 'print') == print and rawget(_G, 'nothing') == nil"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "compiled code keeps its globals",
      "local f = load('return nothing == nil and print') x = f\n" HOLDS("f() == print"),
      { 0 },
      WIRE_ACK,
      NULL },
};

static const struct script_case write_cases[] = {
    { "a new global",
      HANDLER("counter = 1"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: global 'counter' cannot be set once the handler runs: use `local`, or the cache" },
    { "a global of the script",
      "counter = 0\n" HANDLER("counter = counter + 1"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:2: global 'counter' cannot be set once the handler runs" },
    { "a built-in", HANDLER("print = nil"), { 0 }, WIRE_ERROR, "global 'print' cannot be set" },
    { "by _G", HANDLER("_G.counter = 1"), { 0 }, WIRE_ERROR, "global 'counter' cannot be set" },
    { "by rawset",
      HANDLER("rawset(_G, 'counter', 1)"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: rawset cannot change a library or the globals: they are read only" },
    { "by compiled code",
      HANDLER("load('counter = 1')()"),
      { 0 },
      WIRE_ERROR,
      "global 'counter' cannot be set" },
    { "by a coroutine",
      HANDLER("assert(coroutine.resume(coroutine.create(function() counter = 1 end)))"),
      { 0 },
      WIRE_ERROR,
      "global 'counter' cannot be set" },
    { "by the metatable of _G", HANDLER("setmetatable(_G, nil)"), { 0 }, WIRE_ERROR, "protected metatable" },
    { "in setup",
      "return { setup = function() counter = 1 end, handle = function() assert(counter == 1) end }",
      { 0 },
      WIRE_ACK,
      NULL },
    { "a library's function",
      HANDLER("string.format = nil"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: string.format cannot be set: libraries are read only" },
    { "a library, while loading", "math.pi = 3", { 0 }, NOT_LOADED, "handler.lua:1: math.pi cannot be set" },
    { "a library by rawset", HANDLER("rawset(math, 'pi', 3)"), { 0 }, WIRE_ERROR, "rawset cannot change" },
    { "a library by table.insert",
      HANDLER("table.insert(table, 3)"),
      { 0 },
      WIRE_ERROR,
      "table.insert cannot change" },
    { "a library by table.remove",
      HANDLER("table.remove(string)"),
      { 0 },
      WIRE_ERROR,
      "table.remove cannot change" },
    { "a library by table.sort", HANDLER("table.sort(_G)"), { 0 }, WIRE_ERROR, "table.sort cannot change" },
    { "a library by table.move",
      HANDLER("table.move({ 1 }, 1, 1, 1, math)"),
      { 0 },
      WIRE_ERROR,
      "table.move cannot change" },
    { "a library by table.move onto itself",
      HANDLER("table.move(math, 1, 1, 2)"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: table.move cannot change" },
    { "a library by its metatable",
      HANDLER("setmetatable(math, {})"),
      { 0 },
      WIRE_ERROR,
      "protected metatable" },
    { "a library by what pairs walks",
      HANDLER("local _, t = pairs(math) t.pi = 3 assert(math.pi > 3)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "a module",
      HANDLER("require('cjson').encode = print"),
      { 0 },
      WIRE_ERROR,
      "cjson.encode cannot be set" },
    { "the log", HANDLER("require('log').info = print"), { 0 }, WIRE_ERROR, "log.info cannot be set" },
    { "the metatable of strings",
      HANDLER("assert(getmetatable('') == 'read only' and getmetatable(math) == 'read only' and\n"
              "getmetatable(_G) == 'read only') getmetatable('').__index = {}"),
      { 0 },
      WIRE_ERROR,
      "attempt to index" },
    { "own tables",
      HANDLER("local t = { 3, 1 } table.insert(t, 2) table.insert(t, 1, 0) table.sort(t)\n"
              "rawset(t, 'x', 1) assert(table.concat(t) == '0123' and table.remove(t) == 3 and\n"
              "table.remove(t, 1) == 0 and table.move(t, 1, 2, 1, {})[2] == 2 and\n"
              "#t == 2 and rawget(t, 'x') == 1 and rawget(t, 'y') == nil)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "what table.insert says",
      HANDLER("table.insert(nil, 1)"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: bad argument #1 to 'insert' (table expected, got nil)" },
    { "what pairs says",
      HANDLER("for _ in pairs(nil) do end"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: bad argument #1 to 'pairs' (table expected, got nil)" },
};

/* Bytecode of nothing much, for this Lua or any other. */
#define BYTECODE "'\\27LJ\\2\\0\\0'"

static const struct script_case code_cases[] = {
    { "bytecode by load",
      HANDLER("local f, why = load(" BYTECODE ") assert(not f and why:find('wrong mode'), why)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "bytecode by a mode",
      HOLDS("not load(" BYTECODE ", 'x', 'b') and not load(" BYTECODE ", 'x', 'bt')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "bytecode by loadstring", HOLDS("not loadstring(" BYTECODE ")"), { 0 }, WIRE_ACK, NULL },
    { "bytecode bit by bit",
      HANDLER("local bytes = " BYTECODE " local at = 0\n"
              "assert(not load(function() at = at + 1 return bytes:sub(at, at) end))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "text by load",
      HOLDS("load('return 1 + ...')(1) == 2 and load('return x', 'n', 't', { x = 3 })() == 3"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "text by a reader",
      HANDLER("local n, texts = 0, { 'return ', '1 + ', '...' }\n"
              "local f = load(function(...) assert(select('#', ...) == 0) n = n + 1 return texts[n] end)\n"
              "assert(f(1) == 2)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "readers that fail",
      HANDLER(
          "local f, why = load(function() error('y', 0) end) assert(not f and why == 'y', why)\n"
          "f, why = load(function() return {} end) assert(not f and why:find('must return a string'), why)\n"
          "f, why = load(function() return nil end) assert(f and not why)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "what coroutine.wrap says",
      HANDLER("coroutine.wrap(1)"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: bad argument #1 to 'wrap' (function expected, got number)" },
    { "what pcall says",
      HANDLER("pcall()"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: bad argument #1 to 'pcall' (value expected)" },
    { "text that is broken",
      HANDLER("local f, why = loadstring('x =') assert(not f and why:find('unexpected'), why)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "bytecode as the script",
      "\033LJ\002",
      { 0 },
      NOT_LOADED,
      "handler.lua is bytecode: only Lua text is loaded" },
    { "collectgarbage counts", HOLDS("collectgarbage('count') > 0"), { 0 }, WIRE_ACK, NULL },
    { "collectgarbage does nothing else",
      HANDLER("collectgarbage()"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: collectgarbage only answers \"count\"" },
    { "collectgarbage does not stop", HANDLER("collectgarbage('stop')"), { 0 }, WIRE_ERROR, "only answers" },
    { "os.date with any format",
      HANDLER(
          "for _, f in ipairs { '%', '%Ez%O', '%Q', ('%c'):rep(1000), '!%', '*t', '!*t', '\\0', '' } do\n"
          "  pcall(os.date, f) pcall(os.date, f, 2^62) pcall(os.date, f, -1e300) pcall(os.date, f, 0/0)\n"
          "end\n"
          "pcall(os.time, { year = 1e300, month = -1e300, day = 0 }) assert(os.date('!%Y', 0) == '1970')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "json there and back",
      HOLDS(
          "require('cjson').encode({ a = { 1 } }) == '{\"a\":[1]}' and require('cjson').decode('[1]')[1] == "
          "1 and\n"
          "require('cjson.safe').decode('{') == nil and require('cjson').null ~= nil and\n"
          "require('cjson').new().decode('[2]')[1] == 2 and require('cjson.safe').new().decode('{') == nil"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "json not too deep",
      HANDLER("require('cjson').decode_max_depth(1e6)"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: cjson.decode_max_depth is at most 1000" },
    { "json not too deep by another door",
      HANDLER("require('cjson.safe').new().encode_max_depth('100000')"),
      { 0 },
      WIRE_ERROR,
      "cjson.encode_max_depth is at most 1000" },
};

static void check_all(const struct script_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_case(&cases[i]);
}

static void environment(void **context)
{
    (void)context;
    check_all(environment_cases, sizeof environment_cases / sizeof environment_cases[0]);
}

static void read_only(void **context)
{
    (void)context;
    check_all(write_cases, sizeof write_cases / sizeof write_cases[0]);
}

static void loading_code(void **context)
{
    (void)context;
    check_all(code_cases, sizeof code_cases / sizeof code_cases[0]);
}

static const struct script_case script_cases[] = {
    { "nothing returned",
      "local x = 1",
      { 0 },
      NOT_LOADED,
      "handler.lua returned nothing: end it with `return function(data, message) ... end`" },
    { "empty", "", { 0 }, NOT_LOADED, "handler.lua returned nothing" },
    { "a string returned", "return 'x'", { 0 }, NOT_LOADED, "handler.lua returned a string: end it with" },
    { "a table without handle",
      "return { setup = print }",
      { 0 },
      NOT_LOADED,
      "handler.lua returned a table without `handle`: return { handle = function(data, message) ... end }" },
    { "a handle that is none",
      "return { handle = 1 }",
      { 0 },
      NOT_LOADED,
      "handler.lua returned a table whose `handle` is a number: it has to be a function" },
    { "a setup that is none",
      "return { handle = print, setup = 'x' }",
      { 0 },
      NOT_LOADED,
      "whose `setup` is a string" },
    { "a handle by __index",
      "return setmetatable({}, { __index = function() return print end })",
      { 0 },
      NOT_LOADED,
      "without `handle`" },
    { "a table",
      "return { handle = function() return 'reject', 'from handle' end }",
      { 0 },
      WIRE_REJECT,
      "from handle" },
    { "a syntax error",
      "return function(\n)\nx = = 1 end",
      { 0 },
      NOT_LOADED,
      "handler.lua:3: unexpected symbol near '='" },
    { "an error", "error('no config')", { 0 }, NOT_LOADED, "handler.lua:1: no config" },
    { "an error of several lines", "error('one\\ntwo')", { 0 }, NOT_LOADED, "handler.lua:1: one two" },
    { "an error that is a table", "error({})", { 0 }, NOT_LOADED, "handler.lua: error value is a table" },
    { "an error in setup",
      "return { handle = print,\nsetup = function() error('no database') end }",
      { 0 },
      NOT_LOADED,
      "setup of handler.lua failed: handler.lua:2: no database" },
    { "a first line for the shell",
      "#!/usr/bin/env moonrabbit\nreturn function() return 'reject', 'x' end",
      { 0 },
      WIRE_REJECT,
      "x" },
};

static void scripts(void **context)
{
    (void)context;
    check_all(script_cases, sizeof script_cases / sizeof script_cases[0]);
}

static void check_unreadable(const char *script, const char *text)
{
    struct fixture fixture;
    struct answer answer;
    fixture_open(&fixture);
    fixture_make_folder(&fixture, "folder");
    fixture.script = script;
    fixture_start(&fixture);
    expect_type(&fixture, &answer, WIRE_FAILED);
    assert_string_equal(answer.text, text);
    assert_int_equal(fixture_wait(&fixture), 1);
    fixture_close(&fixture);
}

static void scripts_that_cannot_be_read(void **context)
{
    (void)context;
    check_unreadable("missing.lua", "cannot read the handler missing.lua: No such file or directory");
    check_unreadable("folder", "folder: not a regular file");
    check_unreadable("folder/missing.lua",
                     "cannot read the handler folder/missing.lua: No such file or directory");
}

static void a_script_too_large_is_refused(void **context)
{
    enum { SIZE = 1024 * 1024 + 1 };
    struct fixture fixture;
    struct answer answer;
    (void)context;
    char *text = malloc(SIZE);
    assert_non_null(text);
    memset(text, ' ', SIZE);
    fixture_open(&fixture);
    fixture_write(&fixture, "handler.lua", text, SIZE);
    fixture_start(&fixture);
    expect_type(&fixture, &answer, WIRE_FAILED);
    assert_string_equal(answer.text, "handler.lua: larger than a script may be (1048576 bytes)");
    assert_int_equal(fixture_wait(&fixture), 1);
    fixture_close(&fixture);
    free(text);
}

/* Files that the scripts below find beside them. */
static void write_modules(const struct fixture *fixture)
{
    fixture_write_text(fixture, "util.lua", "count = (count or 0) + 1 return { name = ..., count = count }");
    fixture_write_text(fixture, "silent.lua", "");
    fixture_write_text(fixture, "no.lua", "return false");
    fixture_make_folder(fixture, "lib");
    fixture_write_text(fixture, "lib/init.lua", "return { tax = require 'lib.tax' }");
    fixture_write_text(fixture, "lib/tax.lua", "return 19");
    fixture_write_text(fixture, "broken.lua", "return\nx x");
    fixture_write_text(fixture, "raises.lua", "local x = nil\nreturn x.y");
    fixture_write_text(fixture, "once.lua",
                       "if not tried then tried = true error('first') end return 'second'");
    fixture_write_text(fixture, "global.lua", "return function() leaked = 1 end");
    fixture_write(fixture, "bytecode.lua", "\033LJ\002", 4);
    fixture_write_text(fixture, "a.lua", "return require 'b'");
    fixture_write_text(fixture, "b.lua", "return require 'c'");
    fixture_write_text(fixture, "c.lua", "return require 'b'");
    fixture_write_text(fixture, "yes-no_1.lua", "return 1");
    fixture_make_folder(fixture, "pipe.lua");
    fixture_link(fixture, "/etc/hostname", "out.lua");
    fixture_link(fixture, "util.lua", "link.lua");
    fixture_link(fixture, "lib", "linked");
}

static const struct script_case module_cases[] = {
    { "beside the script",
      "local u = require 'util' " HOLDS("u.name == 'util' and require('util') == u and u.count == 1"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "in a folder",
      "local l = require 'lib' " HOLDS("l.tax == 19 and require('lib.tax') == 19"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "within the handler", HOLDS("require('lib').tax == 19"), { 0 }, WIRE_ACK, NULL },
    { "without a value", HOLDS("require 'silent' == true and require 'no' == false"), { 0 }, WIRE_ACK, NULL },
    { "any allowed letter", HOLDS("require 'yes-no_1' == 1"), { 0 }, WIRE_ACK, NULL },
    { "cycle", "require 'a'", { 0 }, NOT_LOADED, "module 'b' requires itself: b -> c -> b" },
    { "syntax error",
      "\nrequire 'broken'",
      { 0 },
      NOT_LOADED,
      "handler.lua:2: module 'broken' cannot be loaded: broken.lua:2: " },
    { "error while it loads",
      "require 'raises'",
      { 0 },
      NOT_LOADED,
      "raises.lua:2: attempt to index local 'x'" },
    { "again after an error",
      "pcall(require, 'once') local o = require 'once' " HOLDS("o == 'second'"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "globals of a module",
      "local f = require 'global' " HANDLER("f()"),
      { 0 },
      WIRE_ERROR,
      "global.lua:1: global 'leaked' cannot be set" },
    { "missing",
      "require 'nope.here'",
      { 0 },
      NOT_LOADED,
      "handler.lua:1: module 'nope.here' cannot be loaded: there is neither nope/here.lua nor "
      "nope/here/init.lua "
      "(moonrabbit brings cache, cjson, cjson.safe, log, memory)" },
    { "missing in the handler",
      HANDLER("require 'nope'"),
      { 0 },
      WIRE_ERROR,
      "handler.lua:1: module 'nope' cannot be" },
    { "io", "require 'io'", { 0 }, NOT_LOADED, "module 'io' cannot be loaded: there is neither io.lua" },
    { "ffi", "require 'ffi'", { 0 }, NOT_LOADED, "module 'ffi' cannot be loaded" },
    { "string.buffer",
      "require 'string.buffer'",
      { 0 },
      NOT_LOADED,
      "module 'string.buffer' cannot be loaded" },
    { "up", "require '../util'", { 0 }, NOT_LOADED, "a module's name is made of letters, digits, _ and -" },
    { "up by dots", "require '...etc.hostname'", { 0 }, NOT_LOADED, "a module's name is made of" },
    { "absolute", "require '/etc/hostname'", { 0 }, NOT_LOADED, "a module's name is made of" },
    { "no name", "require ''", { 0 }, NOT_LOADED, "a module's name is made of" },
    { "a dot at the end", "require 'util.'", { 0 }, NOT_LOADED, "a module's name is made of" },
    { "a NUL",
      "require 'util\\0'",
      { 0 },
      NOT_LOADED,
      "module 'util?' cannot be loaded: a module's name is made of" },
    { "a long name", "require(('x'):rep(300))", { 0 }, NOT_LOADED, "a module's name is made of" },
    { "no string", "require(nil)", { 0 }, NOT_LOADED, "handler.lua:1: require takes the name of a module" },
    { "bytecode",
      "require 'bytecode'",
      { 0 },
      NOT_LOADED,
      "bytecode.lua is bytecode: only Lua text is loaded" },
    { "a folder", "require 'pipe'", { 0 }, NOT_LOADED, "pipe.lua: not a regular file" },
    { "a link that leads out",
      "require 'out'",
      { 0 },
      NOT_LOADED,
      "out.lua: a symbolic link, or behind one" },
    { "a link that stays", "require 'link'", { 0 }, NOT_LOADED, "link.lua: a symbolic link, or behind one" },
    { "a linked folder",
      "require 'linked.tax'",
      { 0 },
      NOT_LOADED,
      "linked/tax.lua: a symbolic link, or behind one" },
};

static void modules(void **context)
{
    (void)context;
    for (size_t i = 0; i < sizeof module_cases / sizeof module_cases[0]; i++) {
        struct fixture fixture;
        fixture_open(&fixture);
        write_modules(&fixture);
        check_case_in(&fixture, &module_cases[i]);
    }
}

/* The script may be a link: its modules lie where its file does, and messages name it as the user wrote it.
 */
static void modules_of_a_linked_script(void **context)
{
    struct fixture fixture;
    struct answer answer;
    (void)context;
    fixture_open(&fixture);
    fixture_make_folder(&fixture, "real");
    fixture_make_folder(&fixture, "shown");
    fixture_write_text(&fixture, "real/orders.lua",
                       "local u = require 'util' return function() error(u) end");
    fixture_write_text(&fixture, "real/util.lua", "return 'beside the file'");
    fixture_write_text(&fixture, "shown/util.lua", "return 'beside the link'");
    fixture_link(&fixture, "../real/orders.lua", "shown/orders.lua");
    fixture.script = "shown/orders.lua";
    fixture_start(&fixture);
    expect_type(&fixture, &answer, WIRE_READY);
    fixture_try(&fixture, &(struct parcel){ 0 }, &answer);
    assert_non_null(strstr(answer.text, "shown/orders.lua:1: beside the file"));
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment),
        cmocka_unit_test(read_only),
        cmocka_unit_test(loading_code),
        cmocka_unit_test(scripts),
        cmocka_unit_test(scripts_that_cannot_be_read),
        cmocka_unit_test(a_script_too_large_is_refused),
        cmocka_unit_test(modules),
        cmocka_unit_test(modules_of_a_linked_script),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
