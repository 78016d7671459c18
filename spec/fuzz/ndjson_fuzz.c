/* The file of messages that `replay` reads: whatever its lines are, each that is not empty becomes a message
 * that a worker can be given or is told as one that cannot, and the report can be read. The script is the
 * program's own; in the place of a worker stands what acks everything. */
#include "console.h"

#include "common/wire.h"
#include "test/trial_message.h"
#include "worker/message.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct console_script scripts[] = {
    { "moonrabbit.replay", script_replay, &script_replay_size },
    { "moonrabbit.replay_report", script_replay_report, &script_replay_report_size },
    { "moonrabbit.message", script_test_message, &script_test_message_size },
    { "moonrabbit.words", script_words, &script_words_size },
    { NULL, NULL, NULL },
};

/* (path, bare, lines): `lines` are those that are not empty. */
static const char harness[] =
    "local check = ...\n"
    "local cjson = require 'cjson'\n"
    "local host = require 'moonrabbit.host'\n"
    "local told, delivered\n"
    "local trial = {}\n"
    "function trial:check(message) check(message) end\n"
    "function trial:deliver(message)\n"
    "  delivered = delivered + 1\n"
    "  return { verdict = 'ack', settlement = 'ack', text = '', elapsed = 0, memory = 1, logs = {},\n"
    "    published = {} }\n"
    "end\n"
    "function trial:recycle() return { messages = 0, memory = 1, peak = 1 } end\n"
    "function trial:leaks() return {}, { looks = 0, objects = 0, spent = 0, alive = 1, complete = true } "
    "end\n"
    "function trial:counts()\n"
    "  return { processes = 1, recycled = { messages = 0, memory = 0, asked = 0, ['out-of-memory'] = 0,\n"
    "    ['out-of-time'] = 0, ['out-of-stack'] = 0 }, logs_lost = 0, published_lost = 0 }\n"
    "end\n"
    "function trial:limits() return { message = 1024, attempts = 5, max_messages = 0 } end\n"
    "function trial:write_logs() end\n"
    "function trial:stop() end\n"
    "host.open = function() return trial end\n"
    "host.is_terminal = function() return false end\n"
    "local sink = { write = function(_, ...) told = told .. table.concat { ... } end,\n"
    "  flush = function() return true end }\n"
    "io.stdout, io.stderr = sink, { write = function() end }\n"
    "local replay = require 'moonrabbit.replay'\n"
    "return function(path, bare, lines)\n"
    "  for _, json in ipairs { true, false } do\n"
    "    told, delivered = '', 0\n"
    "    local code = replay { input = path, handler = 'handler.lua', flags = {}, bare = bare, json = json,\n"
    "      fail_on = 'error,reject,retry,leak' }\n"
    "    assert(code == 0, 'exit code ' .. code)\n"
    "    local report = json and cjson.decode(told)\n"
    "    assert(not json or report.messages == delivered)\n"
    "    assert(not json or report.messages + report.skipped == lines, lines)\n"
    "  end\n"
    "end\n";

/* (message): as lua_trial.c has it, and what a worker would say of it. */
static int check(lua_State *lua)
{
    static struct buffer attributes, frame;
    struct trial_message message;
    struct message parsed;
    const struct shelf no_shelf = { 0 };
    if (attributes.limit == 0) {
        buffer_init(&attributes, WIRE_ATTRIBUTES_MAX);
        buffer_init(&frame, SIZE_MAX / 2);
    }
    trial_message_read(lua, 1, &attributes, &message);
    const struct wire_deliver deliver = { .seq = 1,
                                          .attempt = message.attempt,
                                          .attributes_bytes = (uint32_t)message.attributes.size,
                                          .body_bytes = (uint32_t)message.body.size };
    char stamp[WIRE_HEADER_BYTES + WIRE_DELIVER_BYTES];
    wire_stamp_deliver(stamp, &deliver);
    buffer_reset(&frame);
    MUST(buffer_append(&frame, stamp + WIRE_HEADER_BYTES, WIRE_DELIVER_BYTES) &&
         buffer_append(&frame, message.attributes.data, message.attributes.size) &&
         buffer_append(&frame, message.body.data, message.body.size));
    MUST(message.attempt >= 1);
    MUST(message_parse((struct slice){ frame.data, frame.size }, &no_shelf, &parsed));
    return 0;
}

static lua_Number count_lines(const uint8_t *data, size_t size)
{
    lua_Number lines = 0;
    bool blank = true;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n') {
            lines += !blank;
            blank = true;
        } else {
            blank = blank && (data[i] == ' ' || (data[i] >= '\t' && data[i] <= '\r'));
        }
    }
    return lines + !blank;
}

/* The first byte: whether lines are bodies. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *lua;
    static int fd = -1;
    char path[64];
    if (size == 0)
        return 0;
    if (!lua) {
        fd = memfd_create("messages", MFD_CLOEXEC);
        lua = console_open(scripts, harness, check);
    }
    MUST(fd >= 0 && ftruncate(fd, 0) == 0);
    MUST(pwrite(fd, data + 1, size - 1, 0) == (ssize_t)(size - 1));
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    lua_pushstring(lua, path);
    lua_pushboolean(lua, data[0] & 1);
    lua_pushnumber(lua, count_lines(data + 1, size - 1));
    console_call(lua);
    return 0;
}
