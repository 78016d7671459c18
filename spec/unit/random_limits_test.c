/* Scripts that allocate in every shape there is, under quotas chosen at random, and that catch what goes
 * wrong and go on: no worker may ever crash of it, and each of them handles the next message.
 *
 * Each seed is one message: a program of nested steps, run by the script below from the numbers in the body.
 * A worker handles many seeds, under one quota; most of them end its state. */
#include "limits.h"

#include "tools.h"

#ifdef __SANITIZE_ADDRESS__
enum { WORKERS = 8, SEEDS = 12 };
#else
enum { WORKERS = 50, SEEDS = 24 };
#endif

enum { QUOTA_KIB_MIN = 700, QUOTA_KIB_MORE = 6000, DEADLINE_MS = 2000 };

static const char script[] =
    "local json, safe = require 'cjson', require 'cjson.safe'\n"
    "local state = 1\n"
    "local function random(n)\n"
    "  state = (state * 16807) % 2147483647\n"
    "  return state % n + 1\n"
    "end\n"
    "local keep = {}\n"
    "local steps, step, m\n"
    "local function text() return ('x'):rep(random(2000)) .. state end\n"
    "local function attempt(f) local ok, what = pcall(f) keep[#keep + 1] = what return ok end\n"
    "steps = {\n"
    "  function() local t = {} for i = 1, random(5000) do t[i] = { i } end keep[#keep + 1] = t end,\n"
    "  function() local t = {} for i = 1, random(3000) do t['k' .. i] = i end keep[#keep + 1] = t end,\n"
    "  function() keep[#keep + 1] = ('ab'):rep(random(300000)) end,\n"
    "  function() local s = 'x' for i = 1, random(20) do s = s .. s end keep[#keep + 1] = s end,\n"
    "  function() local s = '' for i = 1, random(300) do s = s .. text() end keep[#keep + 1] = s end,\n"
    "  function() for i = 1, random(3000) do local f = keep[#keep] keep[#keep + 1] = function() return f, i "
    "end end "
    "end,\n"
    "  function() for i = 1, random(500) do keep[#keep + 1] = coroutine.create(step) end end,\n"
    "  function() for i = 1, random(50) do local c = coroutine.wrap(function() for j = 1, 9 do "
    "coroutine.yield(text()) "
    "end end) for j = 1, 9 do keep[#keep + 1] = c() end end end,\n"
    "  function() for i = 1, random(500) do keep[#keep + 1] = string.format('%s %5.3f %q', text(), i, "
    "text()) end end,\n"
    "  function() keep[#keep + 1] = text():gsub('x', function(c) return random(9) == 1 and text() or { } and "
    "c end) "
    "end,\n"
    "  function() keep[#keep + 1] = text():gsub('.', '%0%0%0') end,\n"
    "  function() for word in text():gmatch('x') do keep[#keep + 1] = word .. random(1e6) end end,\n"
    "  function() local t = {} for i = 1, random(500) do t[i] = text() end keep[#keep + 1] = table.concat(t, "
    "',') end,\n"
    "  function() local t = {} for i = 1, random(2000) do t[i] = random(1e6) end\n"
    "    table.sort(t, function(a, b) keep[#keep + 1] = { a } return a < b end) end,\n"
    "  function() local t = {} for i = 1, random(2000) do t[i] = { id = i, name = text() } end\n"
    "    keep[#keep + 1] = json.encode(t) end,\n"
    "  function() keep[#keep + 1] = json.decode(('[' .. ('{\"a\":[1,2,3]},'):rep(random(5000)) .. '1]')) "
    "end,\n"
    "  function() local s, t = text(), {} for i = 1, random(5000) do t[i] = s end keep[#keep + 1] = "
    "safe.encode(t) "
    "end,\n"
    "  function() keep[#keep + 1] = safe.decode(('['):rep(random(2000))) end,\n"
    "  function() for i = 1, random(300) do keep[#keep + 1] = load('local a = ' .. i .. ' return function() "
    "return a "
    "end') end end,\n"
    "  function() keep[#keep + 1] = load('return {' .. ('{1,\"x\",a=2},'):rep(random(5000)) .. '}')() end,\n"
    "  function() keep[#keep + 1] = { unpack({}, 1, random(7000)) } end,\n"
    "  function() local function deep(n, ...) if n > 0 then return deep(n - 1, n, ...) end return "
    "select('#', ...) end "
    "deep(random(200)) end,\n"
    "  function() local function deep(n) return n == 0 and 0 or 1 + deep(n - 1) end deep(random(30000)) "
    "end,\n"
    "  function() keep[#keep + 1] = setmetatable({}, { __index = function(t, k) t[k] = text() return t[k] "
    "end })\n"
    "    for i = 1, random(500) do local _ = keep[#keep][i] end end,\n"
    "  function() for i = 1, random(50) do m:publish('', 'q', text():rep(random(20))) end end,\n"
    "  function() local t = {} for i = 1, random(3000) do t[i] = { id = i, name = text() } end\n"
    "    m:publish('', 'q', t) end,\n"
    "  function() local h = {} for i = 1, random(300) do h['h' .. i] = { i, text() } end\n"
    "    m:publish('', 'q', text(), { headers = h, type = 'x' }) end,\n"
    "  function() m:publish('', 'q', keep) end,\n"
    "  function() keep = {} end,\n"
    "  function() attempt(step) end,\n"
    "  function() for i = 1, random(5) do attempt(step) end end,\n"
    "  function() xpcall(step, function(e) keep[#keep + 1] = tostring(e) step() return e end) end,\n"
    "  function() coroutine.resume(coroutine.create(function() attempt(step) step() end)) end,\n"
    "  function() for i = 1, 1e4 do local ok = pcall(error, { i }) end end,\n"
    "}\n"
    "local depth = 0\n"
    "function step()\n"
    "  depth = depth + 1\n"
    "  if depth < 50 then steps[random(#steps)]() end\n"
    "  depth = depth - 1\n"
    "end\n"
    "return function(data, message)\n"
    "  if message.id == 'next' then return true end\n"
    "  state, m = tonumber(data), message\n"
    "  keep = {}\n"
    "  for i = 1, random(40) do depth = 0 attempt(step) end\n"
    "  return true\n"
    "end\n";

/* How the seeds ended, to see that they end in every way. */
struct tally {
    unsigned published;
    unsigned verdicts[WIRE_OUT_OF_TIME + 1];
};

static void run_seed(struct fixture *fixture, uint64_t seed, struct tally *tally)
{
    struct trial trial;
    char body[32], name[96];
    (void)snprintf(body, sizeof body, "%u", (unsigned)(seed % 2147483000 + 1));
    (void)snprintf(name, sizeof name, "seed %s, limits.memory %llu", body,
                   (unsigned long long)fixture->limits.memory_bytes);
    if (!trial_deliver(fixture, &(struct parcel){ .body = body }, &trial))
        fail_msg("%s: the worker ended with %d", name, fixture_wait(fixture));
    assert_in_range(trial.answer.result.verdict, WIRE_ACK, WIRE_OUT_OF_TIME);
    tally->verdicts[trial.answer.result.verdict]++;
    tally->published += trial.published;
    if (trial.published > 0)
        assert_int_equal(trial.answer.result.verdict, WIRE_ACK);
    trial_next(fixture, &trial, name);
}

static void no_worker_crashes(void **context)
{
    struct random random = { .state = UINT64_C(0x9e3779b97f4a7c15) };
    struct tally tally = { 0 };
    (void)context;
    for (int i = 0; i < WORKERS; i++) {
        struct fixture fixture;
        fixture_open(&fixture);
        fixture.limits.memory_bytes =
            (uint64_t)(QUOTA_KIB_MIN + random_below(&random, QUOTA_KIB_MORE)) * 1024;
        fixture.limits.deadline_ns = DEADLINE_MS * INT64_C(1000000);
        fixture.limits.recycle_messages = 7;
        fixture_run(&fixture, script);
        for (int seed = 0; seed < SEEDS; seed++)
            run_seed(&fixture, random_next(&random) >> 33, &tally);
        trial_finish(&fixture);
    }
    print_message("acked %u, failed %u, out of memory %u, out of time %u\n", tally.verdicts[WIRE_ACK],
                  tally.verdicts[WIRE_ERROR], tally.verdicts[WIRE_OUT_OF_MEMORY],
                  tally.verdicts[WIRE_OUT_OF_TIME]);
    assert_true(tally.verdicts[WIRE_OUT_OF_MEMORY] > WORKERS * SEEDS / 4);
    assert_true(tally.verdicts[WIRE_ACK] > WORKERS * SEEDS / 20);
    assert_true(tally.published > 0);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_worker_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments)
{
    return fixture_main(count, arguments, all_tests);
}
