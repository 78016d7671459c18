/* What answers where the doctor asks for RabbitMQ's HTTP API: each line of the input is one answer, in the
 * order of the questions. Whatever they are, the doctor comes to an end, its report can be read, and nothing
 * in it moves a terminal's cursor. The scripts are the program's own. */
#include "console.h"

#include "host/dead/text.h"

static const struct console_script scripts[] = {
    { "moonrabbit.words", script_words, &script_words_size },
    { "moonrabbit.doctor", script_doctor, &script_doctor_size },
    { "moonrabbit.doctor_facts", script_doctor_facts, &script_doctor_facts_size },
    { "moonrabbit.doctor_management", script_doctor_management, &script_doctor_management_size },
    { "moonrabbit.doctor_system", script_doctor_system, &script_doctor_system_size },
    { "moonrabbit.doctor_rules", script_doctor_rules, &script_doctor_rules_size },
    { "moonrabbit.doctor_rules_program", script_doctor_rules_program, &script_doctor_rules_program_size },
    { "moonrabbit.doctor_rules_clients", script_doctor_rules_clients, &script_doctor_rules_clients_size },
    { "moonrabbit.doctor_rules_queues", script_doctor_rules_queues, &script_doctor_rules_queues_size },
    { "moonrabbit.doctor_rules_server", script_doctor_rules_server, &script_doctor_rules_server_size },
    { "moonrabbit.doctor_judging", script_doctor_judging, &script_doctor_judging_size },
    { "moonrabbit.doctor_report", script_doctor_report, &script_doctor_report_size },
    { NULL, NULL, NULL },
};

/* (answers): an answer that begins with three digits and a blank has that status, others have 200. */
static const char harness[] =
    "local clean = ...\n"
    "local cjson = require 'cjson'\n"
    "local doctor = require 'moonrabbit.doctor'\n"
    "local told, next_answer\n"
    "local world = { clean = clean }\n"
    "function world.check() return true end\n"
    "function world.connect() return 'amqp://box:5672/%2f' end\n"
    "function world.count() return { messages = 10, consumers = 1 } end\n"
    "function world.get()\n"
    "  local answer = next_answer()\n"
    "  if not answer then return nil, 'it does not answer', 'failed' end\n"
    "  local status, body = answer:match '^(%d%d%d) (.*)$'\n"
    "  return tonumber(status) or 200, body or answer\n"
    "end\n"
    "function world.management() return 'http://box:15672' end\n"
    "function world.names() return nil, 'it is not there' end\n"
    "function world.target() end\n"
    "function world.page_size() return 4096 end\n"
    "function world.width() return 80 end\n"
    "function world.sleep() end\n"
    "local config = { file = 'moonrabbit.lua', vhost = '/', heartbeat = 60, management = true,\n"
    "  memory_warning = 1e8, memory_critical = 2e8, cache_memory = 1e6, consumers = { { name = 'orders',\n"
    "  queue = 'orders', handler = 'orders.lua', dead_letter = 'orders.dead', workers = 2, prefetch = 10,\n"
    "  memory = 6e7, message = 1e7, deadline = 30, grace = 1, recycle_memory = 4e7, declared = true,\n"
    "  max_length = 100000 } } }\n"
    "local sink = { write = function(_, ...) told = told .. table.concat { ... } end,\n"
    "  flush = function() return true end }\n"
    "io.stdout, io.stderr = sink, sink\n"
    "return function(answers)\n"
    "  for _, json in ipairs { true, false } do\n"
    "    told, next_answer = '', answers:gmatch '([^\\n]*)\\n?'\n"
    "    local code = doctor { world = world, config = config, json = json }\n"
    "    assert(code == 0 or code == 1)\n"
    "    if json then cjson.decode(told:match '^[^\\n]*') end\n"
    "    assert(not told:find '[%z\\1-\\9\\11-\\31\\127]', told)\n"
    "  end\n"
    "end\n";

/* clean(text), as lua_world.c has it */
static int clean(lua_State *lua)
{
    struct slice text;
    struct buffer buffer;
    text.data = luaL_checklstring(lua, 1, &text.size);
    buffer_init(&buffer, 64 * 1024);
    text_put(&buffer, text, false);
    lua_pushlstring(lua, buffer.size > 0 ? buffer.data : "", buffer.size);
    buffer_clear(&buffer);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *lua;
    if (!lua)
        lua = console_open(scripts, harness, clean);
    lua_pushlstring(lua, (const char *)data, size);
    console_call(lua);
    return 0;
}
