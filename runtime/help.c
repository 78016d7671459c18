/* The help pages; see help.h. The options that they list are keys of scripts/config_keys.lua. */
#include "help.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static const char program_text[] =
    "moonrabbit runs message handlers written in Lua against RabbitMQ.\n"
    "\n"
    "  moonrabbit run [-c FILE] [HANDLER.lua] [OPTIONS]    take messages from a queue\n"
    "  moonrabbit check [-c FILE] [HANDLER.lua] [OPTIONS]  see whether run would work\n"
    "  moonrabbit dead ACTION QUEUE [ID...] [OPTIONS]      look at dead letters, send\n"
    "                                                      them back, or drop them\n"
    "  moonrabbit doctor [-c FILE] [--management URL]      what would leak, and why\n"
    "  moonrabbit capture --queue NAME --max N [-o FILE]   write messages to a file\n"
    "  moonrabbit replay [OPTIONS] HANDLER.lua FILE        try a file of messages\n"
    "  moonrabbit test [BUSTED ARGUMENTS]                  run specs of handlers\n"
    "  moonrabbit version                                  what this is built from\n"
    "  moonrabbit help [COMMAND]                           this, or more of a command\n"
    "\n"
    "To begin with, a handler and a queue are enough:\n"
    "\n"
    "  $ cat handler.lua\n"
    "  return function(order, message)\n"
    "    if not order.total then return \"reject\", \"order without a total\" end\n"
    "  end\n"
    "  $ moonrabbit run handler.lua --queue orders\n";

static const char run_text[] =
    "moonrabbit run [-c FILE] [HANDLER.lua] [OPTIONS]\n"
    "\n"
    "Takes messages from a queue, gives each to the handler, and settles it by what\n"
    "the handler returns. SIGTERM and SIGINT stop it in order, SIGHUP reads the\n"
    "configuration and the handlers anew.\n"
    "\n"
    "  moonrabbit run handler.lua --queue orders\n"
    "  moonrabbit run -c production.lua --workers 4\n"
    "  moonrabbit run handler.lua --queue orders --exit-when-idle 2s\n";

static const char check_text[] =
    "moonrabbit check [-c FILE] [HANDLER.lua] [OPTIONS]\n"
    "\n"
    "Reads the configuration and loads each handler in a worker of its own, as run\n"
    "does, says what it found, and stops. It connects to nothing.\n"
    "\n"
    "  moonrabbit check\n"
    "  moonrabbit check -c production.lua && systemctl reload moonrabbit\n"
    "  moonrabbit check handler.lua --queue orders\n";

static const char dead_text[] =
    "moonrabbit dead list|show|retry|drop QUEUE [ID...] [OPTIONS]\n"
    "\n"
    "Looks at the messages of a dead-letter queue, from its oldest on.\n"
    "\n"
    "  list     a table of them: id, reason, attempts, age, size, queue and error\n"
    "  show     one in full, the first or those that are named\n"
    "  retry    sends them back to the queue that they came from, at their first\n"
    "           attempt again; each is taken away here when the broker has it there\n"
    "  drop     takes them away for good, after a question\n"
    "\n"
    "ID is a message id, or #... as the table has it for a message without one; with\n"
    "none, and no --where, all are meant that are looked at.\n"
    "\n"
    "  moonrabbit dead list orders.dead\n"
    "  moonrabbit dead show orders.dead m-17\n"
    "  moonrabbit dead show orders.dead m-17 --body | jq .\n"
    "  moonrabbit dead retry orders.dead --where 'error~refused' --max 5000\n"
    "  moonrabbit dead drop orders.dead --where reason=rejected --where older=7d\n"
    "  moonrabbit dead list orders.dead --json --max 100000 | jq -r .reason | sort\n"
    "\n"
    "  --max N                  look at the first N messages (100)\n"
    "  --where TEST             only those where it holds; of several, all must hold:\n"
    "                           NAME=TEXT, NAME!=TEXT, NAME~PART, of id, reason,\n"
    "                           error, queue, exchange, routing_key, consumer, host;\n"
    "                           and attempts=N, older=TIME, newer=TIME\n"
    "  --json                   list and show: an object a line\n"
    "  --body                   show: the body and nothing else, as it came\n"
    "  --yes                    drop: do not ask\n"
    "  -c, --config FILE        the configuration file, for its broker\n"
    "  --broker URL             amqp://user:password@host:port/vhost, or amqps://;\n"
    "                           MOONRABBIT_BROKER is the better place for a password\n"
    "\n"
    "All other keys of the broker are options, too (--broker-tls-ca and so on).\n"
    "While it looks, the messages are out of the queue; then they are back in their\n"
    "places, marked as redelivered. A quorum queue with a delivery limit counts that,\n"
    "and puts what a retry leaves of it in any order.\n";

static const char capture_text[] =
    "moonrabbit capture --queue NAME --max N [-o FILE] [OPTIONS]\n"
    "moonrabbit capture --tap EXCHANGE [--routing-key KEY] --max N [-o FILE]\n"
    "                   [OPTIONS]\n"
    "\n"
    "Writes real messages, one JSON object a line, as replay reads them: body,\n"
    "headers and properties as a handler would be given them, byte for byte. No\n"
    "queue loses any.\n"
    "\n"
    "  moonrabbit capture --queue orders --max 1000 -o orders.ndjson\n"
    "  moonrabbit replay handler.lua orders.ndjson\n"
    "  moonrabbit capture --tap shop --routing-key 'order.#' --max 50 | jq -r .body\n"
    "\n"
    "  --queue NAME             the first messages of this queue; they stay in it\n"
    "  --tap EXCHANGE           copies of what the exchange gets from now on, by way\n"
    "                           of a queue that is gone with the command\n"
    "  --routing-key KEY        the tap's binding (#: all of a topic exchange; fanout\n"
    "                           and headers do not look at it, direct needs a key)\n"
    "  --max N                  so many messages at the most, of a queue up to 65535\n"
    "  -o, --output FILE        write there (-: standard output, as without it)\n"
    "  --json                   the summary as one JSON object\n"
    "  -c, --config FILE        the configuration file, for its broker\n"
    "  --broker URL             amqp://user:password@host:port/vhost, or amqps://;\n"
    "                           MOONRABBIT_BROKER is the better place for a password\n"
    "\n"
    "All other keys of the broker are options, too (--broker-tls-ca and so on).\n"
    "\n"
    "While messages of a queue are written they are out of it; at the end all are\n"
    "back in their places. What that costs: their next delivery is marked\n"
    "redelivered, and is a second attempt at least; a quorum queue counts it each\n"
    "time, against its delivery limit and retry.attempts. --tap costs nothing, but\n"
    "sees only what comes; copies that it cannot write in time are dropped, the\n"
    "oldest of more than 10000 or 64MiB first.\n"
    "\n"
    "FILE has all of the new messages, or what it had before. SIGINT and SIGTERM end\n"
    "in order, with what was captured until then. The summary goes to standard\n"
    "output where the messages go elsewhere, else to standard error.\n";

static const char options_text[] =
    "\n"
    "  -c, --config FILE        the configuration file (moonrabbit.lua, where it is\n"
    "                           there); paths in it are relative to its folder\n"
    "  --broker URL             amqp://user:password@host:port/vhost, or amqps://\n"
    "  --queue NAME             the queue to take messages from\n"
    "  --workers N              processes that run the handler (1)\n"
    "  --concurrency N          messages under way at once in each, while others wait\n"
    "                           (1)\n"
    "  --rate RATE              at most so many messages: 100/s, 100/m or 100/h\n"
    "  --prefetch N             messages that the broker hands out ahead (10)\n"
    "  --limits-message SIZE    the largest message that is taken (16MiB)\n"
    "  --declare-max-length N   declare the queue, with room for N messages\n"
    "  --log-level LEVEL        debug, info, warning or error (info)\n"
    "  --log-format FORMAT      logfmt, json, or auto: logfmt on a terminal\n";

static const char run_options_text[] =
    "  --shutdown-timeout TIME  how long a stop waits for running handlers (30s)\n"
    "  --status-listen ADDRESS  HOST:PORT of metrics and status page, or off\n"
    "                           (127.0.0.1:9464)\n"
    "  --max-messages N         settle exactly N messages, then stop\n"
    "  --exit-when-idle TIME    stop when the queue has been empty that long\n";

static const char names_text[] =
    "\n"
    "Every key of the configuration is an option, too: broker.heartbeat is\n"
    "--broker-heartbeat, and the key limits.memory of a consumer is --limits-memory,\n"
    "for every consumer. The environment has them as MOONRABBIT_BROKER_HEARTBEAT,\n"
    "MOONRABBIT_LIMITS_MEMORY and so on. An option goes before the environment, that\n"
    "before the file.\n"
    "\n"
    "--name VALUE and --name=VALUE are the same, and -- ends the options. Sizes are\n"
    "such as 64MiB, times such as 30s. A password on the command line is hidden from\n"
    "ps, but the shell may remember it: MOONRABBIT_BROKER is the better place.\n";

static const char replay_text[] =
    "moonrabbit replay [-c FILE] [OPTIONS] HANDLER.lua MESSAGES\n"
    "\n"
    "Gives each message of a file to the handler, in the sandbox and under the limits\n"
    "of run but without a broker, and says what came of them: verdicts, time, memory\n"
    "and what it grew by, errors by their text, and which variables leak. MESSAGES\n"
    "has one JSON object a line; - is standard input. Lines that are no message are\n"
    "named, skipped and counted.\n"
    "\n"
    "  moonrabbit replay handler.lua messages.ndjson\n"
    "  moonrabbit replay -c production.lua handlers/orders.lua messages.ndjson\n"
    "  zcat bodies.gz | moonrabbit replay --bare --fail-on error handler.lua -\n"
    "\n"
    "A message: {\"body\": {\"id\": 1}, \"routing_key\": \"new\", \"headers\": {\"try\": 2}}.\n"
    "Its fields are those that a handler sees. A body that is no string is sent as\n"
    "JSON; body_base64 is for bodies that are no text. moonrabbit capture writes such\n"
    "a file from a queue.\n"
    "\n"
    "  -c, --config FILE        a configuration file, in which a consumer runs the\n"
    "                           handler; without -c none is read\n"
    "  --bare                   each line is a body, of content type application/json\n"
    "  --json                   the report as one JSON object\n"
    "  --fail-on WORDS          exit code 1 where a message came to error, reject or\n"
    "                           retry, or leak: memory grew (with commas between)\n"
    "  --max-messages N         stop after N messages\n"
    "  --limits-memory SIZE     memory of the Lua state (64MiB)\n"
    "  --limits-deadline TIME   how long one message may take (30s)\n"
    "  --log-level LEVEL        debug, info, warning or error (info)\n"
    "  --log-format FORMAT      logfmt, json, or auto: logfmt on a terminal\n";

static const char doctor_text[] =
    "moonrabbit doctor [-c FILE] [HANDLER.lua] [OPTIONS]\n"
    "\n"
    "Looks for what would leak: in configuration and handlers, connections, consumers\n"
    "and queues, in the broker and on this machine. Says of each thing what it is,\n"
    "why it leaks and what to do. It changes nothing; what it could not look at, it\n"
    "says. Limits, memory and alarms it knows by the broker's HTTP API (after\n"
    "rabbitmq-plugins enable rabbitmq_management), as a user with the tag monitoring.\n"
    "\n"
    "  moonrabbit doctor --management http://user:password@localhost:15672\n"
    "  moonrabbit doctor -c production.lua --json --fail-on warning\n"
    "\n"
    "  -c, --config FILE        the configuration file (moonrabbit.lua, where it is\n"
    "                           there); without a consumer it is only the broker that\n"
    "                           is looked at\n"
    "  --broker URL             amqp://user:password@host:port/vhost, or amqps://\n"
    "  --management URL         http://user:password@host:port, or https://;\n"
    "                           a password is better put into MOONRABBIT_MANAGEMENT\n"
    "  --json                   the report as one JSON object\n"
    "  --fail-on SEVERITY       exit code 1 where anything is found that is info,\n"
    "                           warning or critical, or worse (never)\n";

static const char test_text[] =
    "moonrabbit test [BUSTED ARGUMENTS]\n"
    "\n"
    "Runs specs by busted (https://lunarmodules.github.io/busted/), with the module\n"
    "moonrabbit.test in reach: handlers on trial in the sandbox and under the limits\n"
    "of run, without a broker. Arguments, .busted files and the exit code are\n"
    "busted's; moonrabbit test --help lists the arguments.\n"
    "\n"
    "  moonrabbit test\n"
    "  moonrabbit test --tags=quick spec/orders_spec.lua\n"
    "\n"
    "A spec:\n"
    "\n"
    "  local mr = require \"moonrabbit.test\"\n"
    "  it(\"rejects an order without a total\", function()\n"
    "    local worker = mr.worker(\"orders.lua\", { limits = { memory = \"8MiB\" } })\n"
    "    assert.equal(\"reject\", worker:deliver({ body = { id = 1 } }).verdict)\n"
    "  end)\n";

static const char version_text[] =
    "moonrabbit version\n"
    "\n"
    "Says which version this is and which versions of its libraries it uses, whether\n"
    "a handler in a compiled loop can be ended without killing its worker, and\n"
    "whether the kernel filters the system calls of workers.\n";

static const char help_help_text[] =
    "moonrabbit help [COMMAND]\n"
    "\n"
    "Explains a command: run, check, dead, doctor, capture, replay, test or version.\n"
    "So does moonrabbit COMMAND --help, but for test: there busted answers.\n";

static const char codes_text[] =
    "\n"
    "Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.\n";

enum { PARTS_MAX = 6, WORD_MAX = 16 };

struct page {
    const char *command;
    const char *parts[PARTS_MAX]; /* ends with NULL */
};

static const struct page program_page = { NULL, { program_text, codes_text } };

static const struct page pages[] = {
    { "run", { run_text, options_text, run_options_text, names_text, codes_text } },
    { "check", { check_text, options_text, names_text, codes_text } },
    { "dead", { dead_text, codes_text } },
    { "doctor", { doctor_text, names_text, codes_text } },
    { "capture", { capture_text, codes_text } },
    { "replay", { replay_text, names_text, codes_text } },
    { "test", { test_text } },
    { "version", { version_text } },
    { "help", { help_help_text } },
};

enum { PAGE_COUNT = sizeof pages / sizeof pages[0] };

static const struct page *find_page(const char *command)
{
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        if (strcmp(pages[i].command, command) == 0)
            return &pages[i];
    }
    return NULL;
}

void help_print(const char *command, FILE *stream)
{
    const struct page *page = command ? find_page(command) : &program_page;
    assert(page);
    for (size_t i = 0; page->parts[i]; i++)
        (void)fputs(page->parts[i], stream);
}

bool help_is_command(const char *word)
{
    return find_page(word) != NULL;
}

static size_t least(size_t a, size_t b, size_t c)
{
    size_t smaller = a < b ? a : b;
    return smaller < c ? smaller : c;
}

/* Levenshtein's distance of two words below WORD_MAX, where two neighbours swapped count as one. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[WORD_MAX + 1][WORD_MAX + 1] = { { 0 } };
    size_t a_size = strlen(a), b_size = strlen(b);
    for (size_t i = 0; i <= a_size; i++) {
        for (size_t j = 0; j <= b_size; j++) {
            if (i == 0 || j == 0) {
                rows[i][j] = i + j;
                continue;
            }
            rows[i][j] =
                least(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && rows[i - 2][j - 2] + 1 < rows[i][j])
                rows[i][j] = rows[i - 2][j - 2] + 1;
        }
    }
    return rows[a_size][b_size];
}

const char *help_nearest_command(const char *word)
{
    const char *nearest = NULL;
    size_t length = strlen(word);
    size_t nearest_distance = (length < 6 ? 1 : length / 3) + 1;
    for (size_t i = 0; i < PAGE_COUNT && length < WORD_MAX; i++) {
        size_t d = distance(word, pages[i].command);
        if (d < nearest_distance) {
            nearest = pages[i].command;
            nearest_distance = d;
        }
    }
    return nearest;
}
