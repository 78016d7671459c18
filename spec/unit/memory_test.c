/* The memory module of handlers; see worker/lua_memory.c. */
#include "limits.h"

#define MIB ((uint64_t)1024 * 1024)

#define NEAR "local function near(a, b) return math.abs(a - b) < 0.2 end local memory = require 'memory' "

static void open_with(struct fixture *fixture, const char *script)
{
    fixture_open(fixture);
    fixture->limits.memory_bytes = 10 * MIB;
    fixture->limits.recycle_memory_bytes = 5 * MIB;
    fixture_run(fixture, script);
}

static void try_it(struct fixture *fixture, const char *expected)
{
    struct trial trial;
    assert_true(trial_deliver(fixture, &(struct parcel){ 0 }, &trial));
    assert_string_equal(trial.answer.text, expected);
}

static void check_has_all_fields(void **context)
{
    struct fixture fixture;
    (void)context;
    open_with(&fixture,
              NEAR "return function()\n"
                   "  local m, names = memory.check(), {}\n"
                   "  for name, value in pairs(m) do names[#names + 1] = name .. ':' .. type(value) end\n"
                   "  table.sort(names)\n"
                   "  assert(m.limit_bytes == 10485760 and m.limit_mb == 10)\n"
                   "  assert(near(m.usage_mb, m.usage_bytes / 1048576) and m.usage_bytes > 50000)\n"
                   "  assert(near(m.peak_mb, m.peak_bytes / 1048576) and m.peak_bytes >= m.usage_bytes)\n"
                   "  assert(near(m.usage_percent, m.usage_bytes / 104857.6))\n"
                   "  assert(near(memory.usage() / 1048576, m.usage_mb))\n"
                   "  assert(near(memory.peak() / 1048576, m.peak_mb))\n"
                   "  assert(near(memory.usage() / 1024 / 1024, collectgarbage('count') / 1024))\n"
                   "  return 'reject', table.concat(names, ' ') end");
    try_it(&fixture, "limit_bytes:number limit_mb:number peak_bytes:number peak_mb:number status:string "
                     "usage_bytes:number usage_mb:number usage_percent:number");
    fixture_finish(&fixture);
}

static void the_states_own_status(void **context)
{
    struct fixture fixture;
    (void)context;
    open_with(&fixture, NEAR
              "local function status() return memory.check().status .. tostring(memory.is_over_threshold())\n"
              "  .. tostring(memory.is_critical()) .. ' ' end\n"
              "return function()\n"
              "  local keep, said = {}, status()\n"
              "  while memory.usage() < 5.5 * 1048576 do keep[#keep + 1] = ('x'):rep(10000) .. #keep end\n"
              "  said = said .. status()\n"
              "  while memory.usage() < 9.2 * 1048576 do keep[#keep + 1] = ('x'):rep(10000) .. #keep end\n"
              "  return 'reject', said .. status() end");
    try_it(&fixture, "normalfalsefalse warningtruefalse criticaltruetrue ");
    fixture_finish(&fixture);
}

/* The host's word counts where it is the worse one; what is no status is none. */
static void the_programs_status(void **context)
{
    static const char *const expected[] = { "normal", "warning", "critical", "normal" };
    struct fixture fixture;
    (void)context;
    open_with(&fixture, NEAR "return function() return 'reject', memory.check().status end");
    for (uint32_t i = 0; i < 4; i++) {
        atomic_store(&fixture.board->memory_status, i);
        try_it(&fixture, expected[i]);
    }
    fixture_finish(&fixture);
}

static void it_is_read_only(void **context)
{
    struct fixture fixture;
    (void)context;
    open_with(&fixture, NEAR
              "return function() return 'reject', select(2, pcall(function() memory.usage = 1 end)) end");
    try_it(&fixture, "handler.lua:1: memory.usage cannot be set: libraries are read only");
    fixture_finish(&fixture);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_has_all_fields),
        cmocka_unit_test(the_states_own_status),
        cmocka_unit_test(the_programs_status),
        cmocka_unit_test(it_is_read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
