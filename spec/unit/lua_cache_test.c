/* The cache module of handlers; see worker/lua_cache.c. */
#include "limits.h"

#include "common/cache_shard.h"

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define MIB             ((uint64_t)1024 * 1024)

/* `is(wanted, ...)` compares what a call returned, all of it; `fails(words, call, ...)` wants an error. */
#define TOOLS                                                                                                \
    "local cache = require 'cache'\n"                                                                        \
    "local function words(...)\n"                                                                            \
    "  local list = {}\n"                                                                                    \
    "  for i = 1, select('#', ...) do list[i] = tostring((select(i, ...))) end\n"                            \
    "  return table.concat(list, ', ')\n"                                                                    \
    "end\n"                                                                                                  \
    "local function is(wanted, ...)\n"                                                                       \
    "  if words(...) ~= wanted then error(words(...) .. ' instead of ' .. wanted, 2) end\n"                  \
    "end\n"                                                                                                  \
    "local function fails(wanted, call, ...)\n"                                                              \
    "  local done, problem = pcall(call, ...)\n"                                                             \
    "  if done then error('no error: ' .. wanted, 2) end\n"                                                  \
    "  if not tostring(problem):find(wanted, 1, true) then error(problem .. ' instead of ' .. wanted, 2) "   \
    "end\n"                                                                                                  \
    "end\n"
#define SCRIPT(body) TOOLS HANDLER(body)

static void open_with(struct fixture *fixture, const char *script)
{
    fixture_open(fixture);
    fixture->limits.memory_bytes = 16 * MIB;
    fixture_run(fixture, script);
}

static void must_ack(struct fixture *fixture, const struct parcel *parcel)
{
    struct answer answer;
    fixture_try(fixture, parcel, &answer);
    if (answer.result.verdict != WIRE_ACK)
        fail_msg("%s: verdict %d: %s", parcel->id ? parcel->id : "", answer.result.verdict, answer.text);
}

static const struct script_case cases[] = {
    { "get and set",
      SCRIPT("is('nil', cache.get('a')) is('true', cache.set('a', 'x')) is('x', cache.get('a'))\n"
             "is('true', cache.set('a', 'y')) is('y', cache.get('a')) is('1', cache.size())"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "values",
      SCRIPT(
          "for _, v in ipairs { '', 'x', ('y'):rep(100000), '\\0\\255', 0, 1.5, 1/0, -1/0, 2^53, true } do\n"
          "  assert(cache.set('k', v)) local back = cache.get('k')\n"
          "  assert(back == v and type(back) == type(v), tostring(v))\n"
          "end\n"
          "assert(cache.set('k', false)) is('false', cache.get('k'))\n"
          "assert(cache.set('k', 0/0)) local nan = cache.get('k') assert(nan ~= nan)\n"
          "assert(cache.set('k', -0)) assert(1 / cache.get('k') == -1/0)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "tables are copies",
      SCRIPT("local null = require 'cjson'.null\n"
             "local t = { 1, 'two', { three = { 3 } }, none = null, [true] = false, [2.5] = 0 }\n"
             "assert(cache.set('k', t)) local a, b = cache.get('k'), cache.get('k')\n"
             "assert(a ~= t and a ~= b and a[1] == 1 and a[2] == 'two' and a[3].three[1] == 3)\n"
             "assert(a.none == null and a[true] == false and a[2.5] == 0)\n"
             "a[1] = 7 assert(cache.get('k')[1] == 1)\n"
             "assert(cache.set('k', null)) assert(cache.get('k') == null)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "a table of any size",
      SCRIPT("local t = {} for i = 1, 20000 do t[i] = { i, tostring(i) } end\n"
             "assert(cache.set('k', t)) local back = cache.get('k')\n"
             "assert(#back == 20000 and back[12345][2] == '12345')"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "what cannot be kept",
      SCRIPT(
          "cache.set('k', 'old')\n"
          "is('nil, function cannot be kept', cache.set('k', print))\n"
          "is('nil, function cannot be kept', cache.set('k', { { print } }))\n"
          "is('nil, nil cannot be kept', cache.set('k', nil))\n"
          "is('nil, nil cannot be kept', cache.add('new', nil))\n"
          "is('nil, userdata cannot be kept', cache.set('k', message))\n"
          "is('nil, thread cannot be kept', cache.set('k', coroutine.create(print)))\n"
          "local t = {} t.t = t is('nil, a table that contains itself cannot be kept', cache.set('k', t))\n"
          "local d = {} for i = 1, 100 do d = { d } end\n"
          "is('nil, tables more than 100 deep cannot be kept', cache.set('k', d))\n"
          "is('nil, a table as a key cannot be kept', cache.set('k', { [{}] = 1 }))\n"
          "is('old', cache.get('k')) is('1', cache.size())"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "what does not fit evicts nothing",
      SCRIPT("cache.set('old', 1)\n"
             "local done, reason = cache.set('k', ('x'):rep(2^20))\n"
             "assert(done == nil and reason:find('^the value is too large: key and value can have [%d.]+KiB "
             "together'))\n"
             "done, reason = cache.set('k', { ('x'):rep(2^20) }) assert(done == nil and reason == 'the value "
             "is too large')\n"
             "is('1', cache.get('old')) is('1', cache.size()) is('0', cache.stats().evictions)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "keys",
      SCRIPT("for _, k in ipairs { '', 'x', '\\0', '\\0\\0x', ('k'):rep(1024) } do\n"
             "  assert(cache.set(k, #k)) is(tostring(#k), cache.get(k))\n"
             "end\n"
             "is('5', cache.size())\n"
             "cache.clear()\n"
             "cache.set(42, 'n') is('n', cache.get('42')) cache.set(-0, 'zero') is('zero', cache.get('0'))\n"
             "cache.set(2^53, 'big') is('big', cache.get('9007199254740992'))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "a key that is too long",
      SCRIPT("local k, reason = ('k'):rep(1025), 'nil, the key has 1025 bytes: at most 1024 are possible'\n"
             "for _, f in ipairs { 'get', 'has', 'delete', 'ttl', 'expire', 'incr' } do is(reason, "
             "cache[f](k)) end\n"
             "for _, f in ipairs { 'set', 'add', 'replace' } do is(reason, cache[f](k, 1)) end"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "keys of other types are errors",
      SCRIPT("local why = 'the key must be a string or a whole number up to 2^53, got '\n"
             "for _, f in ipairs { 'get', 'set', 'add', 'replace', 'incr', 'has', 'delete', 'ttl', 'expire' "
             "} do\n"
             "  fails(\"bad argument #1 to '?' (\" .. why .. 'nil)', cache[f], nil, 1)\n"
             "  fails(why .. 'table', cache[f], {}, 1) fails(why .. 'boolean', cache[f], true, 1)\n"
             "  fails(why .. 'number', cache[f], 0.5, 1) fails(why .. 'number', cache[f], 2^54, 1)\n"
             "  fails(why .. 'number', cache[f], 0/0, 1) fails(why .. 'no value', cache[f])\n"
             "end"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "an error says where and what",
      SCRIPT("cache.get(message.nothing)"),
      { 0 },
      WIRE_ERROR,
      "bad argument #1 to 'get' (the key must be a string or a whole number up to 2^53, got nil)" },
    { "ttl",
      SCRIPT("cache.set('k', 1) local s = cache.ttl('k') assert(s > 3599 and s <= 3600)\n"
             "for _, case in ipairs { { 90, 90 }, { '90s', 90 }, { '5m', 300 }, { '1h', 3600 }, { 0.5, 0.5 } "
             "} do\n"
             "  for _, f in ipairs { 'set', 'replace' } do\n"
             "    assert(cache[f]('k', 1, case[1])) s = cache.ttl('k') assert(s > case[2] - 0.4 and s <= "
             "case[2], s)\n"
             "  end\n"
             "  assert(cache.expire('k', case[1])) s = cache.ttl('k') assert(s > case[2] - 0.4 and s <= "
             "case[2], s)\n"
             "end\n"
             "cache.expire('k') assert(cache.ttl('k') > 3599)\n"
             "is('nil, not found', cache.ttl('other')) is('nil, not found', cache.expire('other', 1))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "a ttl that is none",
      SCRIPT("local why = 'nil, the ttl must be more than 0: seconds, or a time like \"90s\"'\n"
             "for _, ttl in ipairs { 0, -1, 0/0, 1/0, '', 'soon', '-1s', '0s', '1e3' } do\n"
             "  is(why, cache.set('k', 1, ttl)) is(why, cache.incr('k', 1, 0, ttl)) is(why, "
             "cache.expire('k', ttl))\n"
             "end\n"
             "fails('the ttl must be seconds or a time like \"90s\", got table', cache.set, 'k', 1, {})\n"
             "is('0', cache.size())"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "add and replace",
      SCRIPT("is('false, not found', cache.replace('k', 1)) is('true', cache.add('k', 1))\n"
             "is('false, exists', cache.add('k', 2)) is('1', cache.get('k'))\n"
             "is('true', cache.replace('k', 3)) is('3', cache.get('k'))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "incr",
      SCRIPT("is('nil, not found', cache.incr('n', 1)) is('15', cache.incr('n', 5, 10)) is('16', "
             "cache.incr('n'))\n"
             "is('15.5', cache.incr('n', -0.5, 100)) is('15.5', cache.get('n'))\n"
             "cache.set('s', '1') is('nil, not a number', cache.incr('s', 1))\n"
             "cache.set('t', { 1 }) is('nil, not a number', cache.incr('t', 1, 0))\n"
             "cache.incr('short', 1, 0, '10s') cache.incr('short', 1, 0, '1h') assert(cache.ttl('short') <= "
             "10)\n"
             "fails(\"bad argument #2\", cache.incr, 'n', {})"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "has, delete, clear",
      SCRIPT("cache.set('k', false) is('true', cache.has('k')) is('true', cache.delete('k'))\n"
             "is('false', cache.has('k')) is('false', cache.delete('k'))\n"
             "cache.set('a', 1) cache.set('b', 1) is('', cache.clear()) is('0', cache.size())"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "keys()",
      SCRIPT("for i = 1, 50 do cache.set(i % 2 == 0 and 'even' .. i or ('odd'):rep(300) .. i, i) end\n"
             "local keys = cache.keys() table.sort(keys) is('50, 50', #keys, cache.size())\n"
             "assert(keys[1] == 'even10' and keys[50] == ('odd'):rep(300) .. 9)\n"
             "is('7', #cache.keys(7)) is('0', #cache.keys(0)) is('50', #cache.keys(1e9))\n"
             "fails('the number of keys must be 0 or more', cache.keys, -1)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "bounds and stats",
      SCRIPT("is('100', cache.capacity())\n"
             "for i = 1, 1000 do assert(cache.set(i, i)) assert(cache.size() <= 100) end\n"
             "cache.get(1000) cache.get(1000) cache.get(1)\n"
             "local s, names = cache.stats(), {} for name in pairs(s) do names[#names + 1] = name end\n"
             "table.sort(names)\n"
             "is('bytes capacity entries evictions expired hits misses resets', table.concat(names, ' '))\n"
             "is('100, 100, 900, 2, 1, 0, 0', s.entries, s.capacity, s.evictions, s.hits, s.misses, "
             "s.expired, s.resets)\n"
             "assert(s.bytes >= 100 * 64)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "a large value is one hit",
      SCRIPT("cache.set('k', ('x'):rep(300000)) assert(#cache.get('k') == 300000)\n"
             "local s = cache.stats() is('1, 0', s.hits, s.misses)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "fetch",
      SCRIPT(
          "local calls = 0 local function make() calls = calls + 1 return { calls } end\n"
          "is('1', cache.fetch('k', '10s', make)[1]) is('1', cache.fetch('k', '10s', make)[1]) is('1', "
          "calls)\n"
          "assert(cache.ttl('k') <= 10)\n"
          "is('false', cache.fetch('f', 1, function() return false end))\n"
          "is('false', cache.fetch('f', 1, function() error 'never' end))\n"
          "is('2', #{ 1, cache.fetch('d', nil, function() return 1, 2 end) }) assert(cache.ttl('d') > 3599)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "fetch keeps neither nil nor errors",
      SCRIPT("local calls = 0\n"
             "for i = 1, 2 do\n"
             "  is('nil', cache.fetch('k', 1, function() calls = calls + 1 end))\n"
             "  fails('handler.lua:', cache.fetch, 'k', 1, function() calls = calls + 1 error 'boom' end)\n"
             "  fails('boom', cache.fetch, 'k', 1, function() error 'boom' end)\n"
             "end\n"
             "is('4, false', calls, cache.has('k'))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "fetch gives the value that cannot be kept",
      SCRIPT("local value, reason = cache.fetch('k', 1, function() return print end)\n"
             "assert(value == print) is('function cannot be kept', reason)\n"
             "local long = ('k'):rep(2000) value, reason = cache.fetch(long, 1, function() return 7 end)\n"
             "is('7, the key has 2000 bytes: at most 1024 are possible', value, reason)\n"
             "is('7, the ttl must be more than 0: seconds, or a time like \"90s\"',\n"
             "  cache.fetch('k', 'soon', function() return 7 end))\n"
             "fails('what makes the value must be a function, got number', cache.fetch, 'k', 1, 1)\n"
             "fails('the ttl must be seconds', cache.fetch, 'k', print, print)"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "fetch once at a time",
      SCRIPT(
          "local function again() return cache.fetch('k', 1, again) end\n"
          "fails(\"cache.fetch: the function for 'k' fetches that key itself\", cache.fetch, 'k', 1, again)\n"
          "is('1', cache.fetch('k', 1, function() return cache.fetch('inner', 1, function() return 1 end) "
          "end))\n"
          "is('1', cache.get('inner'))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "fetch after an error in the inner one",
      SCRIPT("fails('boom', cache.fetch, 'a', 1, function() return cache.fetch('b', 1, function() error "
             "'boom' end) end)\n"
             "is('1', cache.fetch('b', 1, function() return 1 end)) is('2', cache.fetch('a', 1, function() "
             "return 2 end))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "the module is read only",
      SCRIPT("cache.get = print"),
      { 0 },
      WIRE_ERROR,
      "cache.get cannot be set: libraries are read only" },
    { "spaces",
      SCRIPT(
          "local one, two = cache.space('one'), cache.space('two', { entries = 10 })\n"
          "cache.set('k', 0) is('nil', one.get('k')) one.set('k', 1) is('true', two.add('k', { 2 }))\n"
          "is('0, 1, 2', cache.get('k'), one.get('k'), two.get('k')[1])\n"
          "is('1', cache.space('one').get('k')) is('nil', one.space)\n"
          "is('3, 1, 1', cache.size(), one.size(), two.size()) is('k', table.concat(one.keys(), ' '))\n"
          "for i = 1, 50 do two.set(i, i) assert(two.size() <= 10) end\n"
          "is('10, 10, 100, 10', two.size(), two.capacity(), one.capacity(), two.stats().entries)\n"
          "one.clear() is('nil, 0, 10', one.get('k'), cache.get('k'), two.size())\n"
          "cache.clear() is('0, 10', one.size(), two.size())\n"
          "is('5', one.fetch('f', 1, function() return cache.fetch('f', 1, function() return 5 end) end))"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "spaces that cannot be",
      SCRIPT("for i = 1, 64 do assert(cache.space('space ' .. i)) end\n"
             "for _, name in ipairs { 'one more', '', ('x'):rep(65) } do\n"
             "  local space, reason = cache.space(name)\n"
             "  assert(space == nil and type(reason) == 'string' and #reason > 10, name)\n"
             "end"),
      { 0 },
      WIRE_ACK,
      NULL },
    { "a space by the wrong arguments",
      SCRIPT("fails(\"the name must be a string, got no value\", cache.space)\n"
             "fails('the options must be a table, got number', cache.space, 'x', 1)\n"
             "for _, n in ipairs { 0, -1, 1.5, 'many', 0/0, 1/0 } do\n"
             "  fails('entries must be a whole number from 1 up', cache.space, 'x', { entries = n })\n"
             "end"),
      { 0 },
      WIRE_ACK,
      NULL },
};

static void module_does(void **context)
{
    (void)context;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_case(&cases[i]);
}

static void fetch_alone_cannot_be_left(void **context)
{
    const struct script_case test = {
        "yield in fetch",
        SCRIPT("local calls = 0 local co = coroutine.wrap(function()\n"
               "  return cache.fetch('k', 1, function() calls = calls + 1 coroutine.yield() return 1 end)\n"
               "end)\n"
               "fails('attempt to yield', co) is('2', cache.fetch('k', 1, function() return 2 end)) is('1', "
               "calls)"),
        { 0 },
        WIRE_ACK,
        NULL,
    };
    struct fixture fixture;
    (void)context;
    fixture_open(&fixture);
    check_case_in(&fixture, &test);
}

static void entries_expire(void **context)
{
    struct fixture fixture;
    struct cache_stats stats;
    (void)context;
    open_with(
        &fixture,
        SCRIPT("if message.id == 'put' then\n"
               "  cache.set('default', 1) cache.set('second', 1, 1) cache.incr('n', 1, 0, '1s')\n"
               "  cache.set('kept', 1, 1) cache.expire('kept', '1m')\n"
               "elseif message.id == 'gone' then\n"
               "  is('nil', cache.get('second')) is('true', cache.add('second', 2, '2h'))\n"
               "  is('1', cache.incr('n', 1, 0)) is('1', cache.get('kept')) is('1', cache.get('default'))\n"
               "else is('nil, nil, 2', cache.get('default'), cache.get('kept'), cache.get('second')) end"));
    must_ack(&fixture, &(struct parcel){ .id = "put" });
    cache_move_clock(&fixture.cache, CLOCK_NS_PER_SECOND);
    must_ack(&fixture, &(struct parcel){ .id = "gone" });
    cache_move_clock(&fixture.cache, 3600 * CLOCK_NS_PER_SECOND);
    must_ack(&fixture, &(struct parcel){ .id = "later" });
    cache_read_stats(&fixture.cache, &stats);
    assert_in_range(stats.expired, 4, 5);
    fixture_finish(&fixture);
}

/* A value that would not fit into the quota ends the message as "out of memory"; the cache and the next
 * message are as if nothing had been. */
static void values_count_to_the_quota(void **context)
{
    struct fixture fixture;
    struct trial trial;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.memory_bytes = 2 * MIB;
    fixture_run(&fixture,
                TOOLS "return function(data, message)\n"
                      "  if message.id == 'next' then return is('600000', #cache.get('k')) end\n"
                      "  cache.set('k', ('x'):rep(600000)) local keep = {}\n"
                      "  for i = 1, 100 do keep[i] = pcall(cache.get, 'k') and cache.get('k') .. i end\n"
                      "end");
    assert_true(trial_deliver(&fixture, &(struct parcel){ .id = "m" }, &trial));
    assert_int_equal(trial.answer.result.verdict, WIRE_OUT_OF_MEMORY);
    trial_next(&fixture, &trial, "after a value without room");
    assert_int_equal(trial.recycled.reason, WIRE_RECYCLE_OUT_OF_MEMORY);
    fixture_finish(&fixture);
}

/* The deadline may come at any instruction; it must never leave a lock behind. */
static void deadlines_leave_no_lock(void **context)
{
    struct fixture fixture;
    struct trial trial;
    struct cache_stats stats;
    struct error error;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.memory_bytes = 16 * MIB;
    fixture.limits.deadline_ns = 200 * CLOCK_NS_PER_MS; /* loading the script has to fit, too */
    fixture_run(&fixture,
                TOOLS "return function(data, message)\n"
                      "  if message.id == 'next' then return end\n"
                      "  local big = ('x'):rep(50000)\n"
                      "  while true do\n"
                      "    pcall(function()\n"
                      "      for i = 1, 100 do\n"
                      "        cache.set(i, big) cache.get(i) cache.incr('n', 1, 0) cache.keys(10)\n"
                      "        cache.fetch('f', 1, function() return { big } end) cache.delete('f')\n"
                      "      end\n"
                      "    end)\n"
                      "  end\n"
                      "end");
    for (int i = 0; i < 20; i++) {
        assert_true(trial_deliver(&fixture, &(struct parcel){ .id = "m" }, &trial));
        assert_int_equal(trial.answer.result.verdict, WIRE_OUT_OF_TIME);
        if (!cache_check(&fixture.cache, &error))
            fail_msg("%s", error.text);
    }
    trial_next(&fixture, &trial, "after the deadlines");
    cache_read_stats(&fixture.cache, &stats);
    assert_int_equal(stats.resets, 0);
    fixture_finish(&fixture);
}

static void outlives_the_state(void **context)
{
    struct fixture fixture;
    struct trial trial;
    (void)context;
    fixture_open(&fixture);
    fixture.limits.recycle_messages = 1;
    fixture_run(&fixture, SCRIPT("assert(cache.incr('n', 1, 0) == tonumber(message.id))"));
    for (int i = 1; i <= 5; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%d", i);
        assert_true(trial_deliver(&fixture, &(struct parcel){ .id = id }, &trial));
        assert_int_equal(trial.answer.result.verdict, WIRE_ACK);
    }
    trial_finish(&fixture);
}

/* What lies in the region under the key "k" is whatever an enemy wrote: it is no value, and is gone. */
static void put_raw(struct fixture *fixture, enum cache_type type, const char *bytes, size_t size)
{
    const struct slice value = { .data = bytes, .size = size };
    assert_int_equal(
        cache_put(&fixture->cache, CACHE_SET, slice_of("k"), type, value, CLOCK_NS_PER_SECOND * 60),
        CACHE_OK);
}

static void hostile_values_are_none(void **context)
{
    static const struct {
        enum cache_type type;
        const char *bytes;
        size_t size;
    } values[] = {
        { CACHE_TABLE, "", 0 },
        { CACHE_TABLE, "\xff", 1 },
        { CACHE_TABLE, "\x08\xff\xff\xff\xff\xff\xff\xff\xff", 9 },
        { CACHE_TABLE, "\x01\x01", 2 },
        { CACHE_NUMBER, "12", 2 },
        { CACHE_BOOLEAN, "", 0 },
        { (enum cache_type)0, "x", 1 },
        { (enum cache_type)200, "x", 1 },
    };
    struct fixture fixture;
    (void)context;
    open_with(&fixture, SCRIPT("is('nil', cache.get('k')) is('false', cache.has('k'))"));
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        put_raw(&fixture, values[i].type, values[i].bytes, values[i].size);
        must_ack(&fixture, &(struct parcel){ .id = "hostile" });
    }
    fixture_finish(&fixture);
}

/* In LuaJIT a NaN with such bits would be a value of another type. */
static void hostile_numbers_are_numbers(void **context)
{
    struct fixture fixture;
    (void)context;
    open_with(&fixture, SCRIPT("local n = cache.get('k') if type(n) == 'table' then n = n[1] end\n"
                               "assert(type(n) == 'number' and n ~= n)"));
    for (uint64_t high = 0xfff8; high <= 0xffff; high++) {
        const uint64_t bits = high << 48 | UINT64_C(0x123456789abc);
        char table[1 + 8 + 1 + sizeof bits] = { 8, 1 };
        put_raw(&fixture, CACHE_NUMBER, (const char *)&bits, sizeof bits);
        must_ack(&fixture, &(struct parcel){ .id = "number" });
        table[9] = 5;
        memcpy(table + 10, &bits, sizeof bits);
        put_raw(&fixture, CACHE_TABLE, table, sizeof table);
        must_ack(&fixture, &(struct parcel){ .id = "table" });
    }
    fixture_finish(&fixture);
}

/* The test is the process that is at the only shard, and does not go on. What is there can be read. */
static void busy_is_no_error(void **context)
{
    struct fixture fixture;
    (void)context;
    open_with(
        &fixture,
        SCRIPT("if message.id == 'before' then return is('true', cache.set('k', 1)) end\n"
               "if message.id == 'after' then return is('3', cache.incr('k', 2)) end\n"
               "local busy = 'nil, busy: the process that is at this part of the cache has been stopped'\n"
               "is(busy, cache.set('k', 2)) is(busy, cache.add('new', 2)) is(busy, cache.replace('k', 2))\n"
               "is(busy, cache.incr('k', 2)) is(busy, cache.delete('k')) is(busy, cache.expire('k', 2))\n"
               "is('1, true', cache.get('k'), cache.has('k')) is('nil', cache.get('new'))\n"
               "is('7', (cache.fetch('new', 1, function() return 7 end)))"));
    must_ack(&fixture, &(struct parcel){ .id = "before" });
    assert_int_equal(fixture.cache.geometry.shards, 1);
    struct shard *shard = &fixture.cache.process->shards[0];
    assert_true(shard_lock(shard));
    must_ack(&fixture, &(struct parcel){ .id = "busy" });
    shard_unlock(shard);
    must_ack(&fixture, &(struct parcel){ .id = "after" });
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(module_does),
        cmocka_unit_test(fetch_alone_cannot_be_left),
        cmocka_unit_test(entries_expire),
        cmocka_unit_test(values_count_to_the_quota),
        cmocka_unit_test(deadlines_leave_no_lock),
        cmocka_unit_test(outlives_the_state),
        cmocka_unit_test(busy_is_no_error),
        cmocka_unit_test(hostile_values_are_none),
        cmocka_unit_test(hostile_numbers_are_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
