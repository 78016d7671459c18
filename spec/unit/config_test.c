/* What makes a configuration: every default, every key from every source, every refusal with its words.
 *
 * Each test runs in a folder of its own with the files that the cases speak of. No problem of any case may
 * show the word "s3cret", which is the password in all of them. */
#include "host/config.h"

#include "common/buffer.h"
#include "host/amqp/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORDS_MAX = 8, PROBLEMS_MAX = 10, TEXT_MAX = 2048 };

/* What a configuration is made from; absent is none. */
struct input {
    const char *file;             /* text of mr.lua, given as -c mr.lua */
    const char *handler;          /* on the command line */
    const char *flags[WORDS_MAX]; /* "name=value", or "name" for one without a value */
    const char *environment[WORDS_MAX];
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* The folder */

static char folder[] = "/tmp/moonrabbit-config.XXXXXX";
static const char *const files[] = { "handler.lua",  "other.lua", "third.lua", "fourth.lua",
                                     "conf/own.lua", "ca.pem",    "cert.pem",  "key.pem" };

static void write_file(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chdir(folder) != 0 || mkdir("conf", 0700) != 0)
        return -1;
    for (size_t i = 0; i < COUNT(files); i++)
        write_file(files[i], "return 1\n", 9);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(files); i++)
        (void)unlink(files[i]);
    (void)unlink("mr.lua");
    (void)unlink("conf/mr.lua");
    (void)rmdir("conf");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

/* Loading */

/* Loads from the input; NULL with the problems as one text in `problems`. */
static struct config *load_with(const struct input *input, const char *file, char problems[TEXT_MAX])
{
    char names[WORDS_MAX][64];
    struct config_flag flags[WORDS_MAX];
    struct config_source source = { .file = file, .handler = input->handler, .flags = flags };
    for (; input->flags[source.flag_count]; source.flag_count++) {
        const char *flag = input->flags[source.flag_count];
        const char *equals = strchr(flag, '=');
        size_t length = equals ? (size_t)(equals - flag) : strlen(flag);
        assert_true(length < sizeof names[0]);
        memcpy(names[source.flag_count], flag, length);
        names[source.flag_count][length] = '\0';
        flags[source.flag_count].name = names[source.flag_count];
        flags[source.flag_count].value = equals ? equals + 1 : NULL;
    }
    char *environment[WORDS_MAX + 1] = { NULL };
    for (size_t i = 0; input->environment[i]; i++) {
        environment[i] = strdup(input->environment[i]);
        assert_non_null(environment[i]);
    }
    source.environment = environment;
    struct buffer lines;
    buffer_init(&lines, TEXT_MAX - 1);
    struct config *config = config_load(&source, &lines);
    (void)snprintf(problems, TEXT_MAX, "%.*s", (int)lines.size, lines.size ? lines.data : "");
    assert_true((config != NULL) == (lines.size == 0));
    buffer_clear(&lines);
    for (size_t i = 0; environment[i]; i++)
        free(environment[i]);
    return config;
}

static struct config *load(const struct input *input, char problems[TEXT_MAX])
{
    if (input->file)
        write_file("mr.lua", input->file, strlen(input->file));
    return load_with(input, input->file ? "mr.lua" : NULL, problems);
}

static struct config *load_well(const struct input *input)
{
    char problems[TEXT_MAX];
    struct config *config = load(input, problems);
    if (!config)
        fail_msg("refused:\n%s\nfile: %s", problems, input->file ? input->file : "none");
    return config;
}

/* Values */

enum kind { WHOLE, UNSIGNED, SIGNED, NUMBER, BOOLEAN, TEXT };

struct place {
    enum kind kind;
    bool of_consumer;
    size_t offset;
};

#define ROOT(kind, member)                                                                                   \
    {                                                                                                        \
        kind, false, offsetof(struct config, member)                                                         \
    }
#define EACH(kind, member)                                                                                   \
    {                                                                                                        \
        kind, true, offsetof(struct consumer_config, member)                                                 \
    }

/* Prints a value of the configuration, so that one table can hold values of all kinds. */
static const char *value_at(const struct config *config, struct place place, char text[TEXT_MAX])
{
    const char *base = place.of_consumer ? (const char *)&config->consumers[0] : (const char *)config;
    const void *at = base + place.offset;
    int size = -1;
    switch (place.kind) {
    case WHOLE:
        size = snprintf(text, TEXT_MAX, "%lld", (long long)*(const int64_t *)at);
        break;
    case UNSIGNED:
        size = snprintf(text, TEXT_MAX, "%u", *(const unsigned *)at);
        break;
    case SIGNED:
        size = snprintf(text, TEXT_MAX, "%d", *(const int *)at);
        break;
    case NUMBER:
        size = snprintf(text, TEXT_MAX, "%g", *(const double *)at);
        break;
    case BOOLEAN:
        size = snprintf(text, TEXT_MAX, "%s", *(const bool *)at ? "true" : "false");
        break;
    case TEXT:
        size = snprintf(text, TEXT_MAX, "%s", *(char *const *)at ? *(char *const *)at : "none");
        break;
    }
    assert_true(size >= 0);
    return text;
}

/* A key with its default, and what it becomes by the file (a Lua expression), the environment and a flag. */
struct key_case {
    const char *path;
    struct place place;
    const char *by_default;
    const char *file;
    const char *by_file;
    const char *variable;
    const char *by_variable;
    const char *flag;
    const char *by_flag;
};

static const struct key_case key_cases[] = {
    { "broker.auth", ROOT(UNSIGNED, broker.auth), "0", "'external'", "1", "plain", "0", "external", "1" },
    { "broker.tls.ca", ROOT(TEXT, broker.tls.ca), "none", "'ca.pem'", "ca.pem", "./ca.pem", "./ca.pem",
      "conf/../ca.pem", "conf/../ca.pem" },
    { "broker.tls.cert", ROOT(TEXT, broker.tls.cert), "none", "'cert.pem'", "cert.pem", "./cert.pem",
      "./cert.pem", "ca.pem", "ca.pem" },
    { "broker.tls.key", ROOT(TEXT, broker.tls.key), "none", "'key.pem'", "key.pem", "./key.pem", "./key.pem",
      "ca.pem", "ca.pem" },
    { "broker.tls.verify", ROOT(BOOLEAN, broker.tls.verify), "true", "false", "false", "true", "true",
      "false", "false" },
    { "broker.heartbeat", ROOT(SIGNED, broker.heartbeat_seconds), "60", "'2m'", "120", "0", "0", "30s",
      "30" },
    { "broker.connection_timeout", ROOT(WHOLE, broker.connection_timeout_ns), "3000000000", "1.5",
      "1500000000", "2", "2000000000", "10ms", "10000000" },
    { "broker.io_timeout", ROOT(WHOLE, broker.io_timeout_ns), "10000000000", "1", "1000000000", "2s",
      "2000000000", "10m", "600000000000" },
    { "broker.wait", ROOT(WHOLE, broker.wait_ns), "0", "30", "30000000000", "1m", "60000000000", "0", "0" },
    { "broker.max_channels", ROOT(UNSIGNED, broker.max_channels), "16", "1", "1", "2", "2", "65535",
      "65535" },
    { "cache.memory", ROOT(WHOLE, cache.memory_bytes), "33554432", "65536", "65536", "1MiB", "1048576", "1MB",
      "1000000" },
    { "cache.entries", ROOT(WHOLE, cache.entries), "10000", "1", "1", "2", "2", "1000000000", "1000000000" },
    { "cache.ttl", ROOT(WHOLE, cache.ttl_ns), "3600000000000", "1", "1000000000", "1m", "60000000000", "1ms",
      "1000000" },
    { "memory.warning", ROOT(WHOLE, memory.warning_bytes), "268435456", "'1MiB'", "1048576", "2MiB",
      "2097152", "512MiB", "536870912" },
    { "memory.critical", ROOT(WHOLE, memory.critical_bytes), "536870912", "'1GiB'", "1073741824", "256MiB",
      "268435456", "2GiB", "2147483648" },
    { "memory.interval", ROOT(WHOLE, memory.interval_ns), "5000000000", "1", "1000000000", "2", "2000000000",
      "100ms", "100000000" },
    { "status.listen", ROOT(TEXT, status.listen), "127.0.0.1:9464", "'[::1]:0'", "[::1]:0", "host:1",
      "host:1", "off", "none" },
    { "sandbox.seccomp", ROOT(UNSIGNED, sandbox.seccomp), "0", "'required'", "1", "off", "2", "on", "0" },
    { "shutdown_timeout", ROOT(WHOLE, shutdown_timeout_ns), "30000000000", "0", "0", "1", "1000000000", "2m",
      "120000000000" },
    { "log.level", ROOT(UNSIGNED, log_level), "1", "'debug'", "0", "warning", "2", "error", "3" },
    { "log.format", ROOT(UNSIGNED, log_format), "0", "'logfmt'", "1", "json", "2", "auto", "0" },
    { "log.handler_lines", ROOT(UNSIGNED, log_handler_lines), "10000", "1", "1", "20", "20", "1000000",
      "1000000" },
    { "queue", EACH(TEXT, queue), "q", "'a b'", "a b", "c", "c", "d", "d" },
    { "handler", EACH(TEXT, handler), "handler.lua", "'other.lua'", "other.lua", "third.lua", "third.lua",
      "fourth.lua", "fourth.lua" },
    { "workers", EACH(UNSIGNED, workers), "1", "2", "2", "3", "3", "256", "256" },
    { "concurrency", EACH(UNSIGNED, concurrency), "1", "2", "2", "3", "3", "1024", "1024" },
    { "prefetch", EACH(UNSIGNED, prefetch), "10", "1", "1", "2", "2", "65535", "65535" },
    { "rate", EACH(WHOLE, rate_interval_ns), "0", "'100/s'", "10000000", "60/m", "1000000000", "3/h",
      "1200000000000" },
    { "decode", EACH(UNSIGNED, decode), "0", "'json'", "1", "raw", "2", "auto", "0" },
    { "ordering", EACH(UNSIGNED, ordering), "0", "'key'", "1", "header:x", "2", "none", "0" },
    { "limits.memory", EACH(WHOLE, limits.memory_bytes), "67108864", "1048576", "1048576", "2MiB", "2097152",
      "4MiB", "4194304" },
    { "limits.deadline", EACH(WHOLE, limits.deadline_ns), "30000000000", "1", "1000000000", "2m",
      "120000000000", "1ms", "1000000" },
    { "limits.grace", EACH(WHOLE, limits.grace_ns), "1000000000", "2", "2000000000", "10ms", "10000000", "5m",
      "300000000000" },
    { "limits.message", EACH(WHOLE, limits.message_bytes), "16777216", "1", "1", "1kB", "1000", "1GiB",
      "1073741824" },
    { "recycle.messages", EACH(WHOLE, recycle.messages), "10000", "1", "1", "2", "2", "3", "3" },
    { "recycle.memory", EACH(WHOLE, recycle.memory_bytes), "50331648", "'1MiB'", "1048576", "2MiB", "2097152",
      "3MiB", "3145728" },
    { "recycle.process_memory", EACH(WHOLE, recycle.process_memory_bytes), "134217728", "'64MiB'", "67108864",
      "65MiB", "68157440", "1GiB", "1073741824" },
    { "retry.attempts", EACH(UNSIGNED, retry.attempts), "5", "1", "1", "2", "2", "3", "3" },
    { "retry.delay", EACH(WHOLE, retry.delay_ns), "1000000000", "0", "0", "2", "2000000000", "3ms",
      "3000000" },
    { "retry.factor", EACH(NUMBER, retry.factor), "2", "1", "1", "1.5", "1.5", "3", "3" },
    { "retry.max_delay", EACH(WHOLE, retry.max_delay_ns), "300000000000", "1", "1000000000", "2",
      "2000000000", "1h", "3600000000000" },
    { "retry.jitter", EACH(NUMBER, retry.jitter), "0.1", "0", "0", "0.25", "0.25", "1", "1" },
    { "dead_letter", EACH(TEXT, dead_letter), "none", "'a'", "a", "b", "b", "c", "c" },
    { "http.ca", EACH(TEXT, http.ca), "none", "'other.lua'", "other.lua", "third.lua", "third.lua",
      "fourth.lua", "fourth.lua" },
    { "http.timeout", EACH(WHOLE, http.timeout_ns), "10000000000", "1", "1000000000", "2m", "120000000000",
      "1ms", "1000000" },
    { "http.max_response", EACH(WHOLE, http.response_bytes), "1048576", "1", "1", "1kB", "1000", "1GiB",
      "1073741824" },
    { "http.per_host", EACH(UNSIGNED, http.per_host), "256", "1", "1", "2", "2", "1024", "1024" },
    { "http.breaker_failures", EACH(UNSIGNED, http.failures), "5", "0", "0", "1", "1", "2", "2" },
    { "http.breaker_pause", EACH(WHOLE, http.pause_ns), "10000000000", "1", "1000000000", "2m",
      "120000000000", "1h", "3600000000000" },
    { "declare.type", EACH(UNSIGNED, declare.type), "0", "'quorum'", "1", "classic", "0", "quorum", "1" },
    { "declare.durable", EACH(BOOLEAN, declare.durable), "true", "false", "false", "true", "true", "false",
      "false" },
    { "declare.max_length", EACH(WHOLE, declare.max_length), "100000", "1", "1", "2", "2", "none", "-1" },
    { "declare.max_bytes", EACH(WHOLE, declare.max_bytes), "-1", "1", "1", "1kB", "1000", "1MiB", "1048576" },
    { "declare.overflow", EACH(TEXT, declare.overflow), "reject-publish", "'drop-head'", "drop-head",
      "reject-publish", "reject-publish", "drop-head", "drop-head" },
    { "declare.ttl", EACH(WHOLE, declare.ttl_ns), "-1", "1", "1000000000", "2m", "120000000000", "3ms",
      "3000000" },
    { "declare.dead_letter_exchange", EACH(TEXT, declare.dead_letter_exchange), "none", "''", "", "a", "a",
      "b", "b" },
    { "declare.single_active_consumer", EACH(BOOLEAN, declare.single_active_consumer), "false", "true",
      "true", "false", "false", "true", "true" },
};

/* Writes "<prefix><path>=<value>", the path "a.b_c" as "a-b-c" or "A_B_C". */
static void set(char to[TEXT_MAX], const char *prefix, const char *path, bool upper, const char *value)
{
    char name[64];
    size_t length = strlen(path);
    assert_true(length < sizeof name);
    for (size_t i = 0; i <= length; i++) {
        bool parted = path[i] == '.' || path[i] == '_';
        bool letter = path[i] >= 'a' && path[i] <= 'z';
        name[i] = parted ? (upper ? '_' : '-') : (char)(upper && letter ? path[i] - 'a' + 'A' : path[i]);
    }
    assert_true(snprintf(to, TEXT_MAX, "%s%s=%s", prefix, name, value) < TEXT_MAX);
}

static void assert_value(const struct key_case *key, const struct input *input, const char *expected)
{
    char value[TEXT_MAX];
    struct config *config = load_well(input);
    if (strcmp(value_at(config, key->place, value), expected) != 0)
        fail_msg("%s is %s, not %s", key->path, value, expected);
    config_free(config);
}

/* By default, then by the file, by the environment over that, by a flag over both. */
static void assert_key(const struct key_case *key)
{
    static const char head[] =
        "local c = { broker = { url = 'amqps://h', tls = {} }, cache = {}, memory = {}, sandbox = {}, status "
        "= {}, log = "
        "{},"
        " consumers = { { queue = 'q', handler = 'handler.lua', limits = {}, recycle = {}, retry = {},"
        " http = {}, declare = {} } } }\n";
    bool needs_certificate =
        strstr(key->path, "auth") || strstr(key->path, "tls.cert") || strstr(key->path, "tls.key");
    const char *certificate =
        needs_certificate ? "c.broker.tls = { cert = 'cert.pem', key = 'key.pem' }\n" : "";
    char file[TEXT_MAX];
    char variable[TEXT_MAX];
    char flag[TEXT_MAX];
    struct input input = { .file = file };
    (void)snprintf(file, sizeof file, "%sreturn c\n", head);
    assert_value(key, &input, key->by_default);
    (void)snprintf(file, sizeof file, "%s%s%s.%s = %s\nreturn c\n", head, certificate,
                   key->place.of_consumer ? "c.consumers[1]" : "c", key->path, key->file);
    assert_value(key, &input, key->by_file);
    set(variable, "MOONRABBIT_", key->path, true, key->variable);
    input.environment[0] = variable;
    assert_value(key, &input, key->by_variable);
    set(flag, "", key->path, false, key->flag);
    input.flags[0] = flag;
    assert_value(key, &input, key->by_flag);
}

static void every_key_has_default_file_environment_and_flag(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(key_cases); i++)
        assert_key(&key_cases[i]);
}

/* A value that needs no table of its own: one input, one place. */
struct value_case {
    struct input input;
    struct place place;
    const char *expected;
};

#define CONSUMERS_TEXT(list) "return { consumers = { " list " } }"
#define CONSUMER_TEXT(more)  CONSUMERS_TEXT("{ queue = 'q', handler = 'handler.lua', " more " }")
#define WITH_TEXT(more)      "return { " more ", consumers = { { queue = 'q', handler = 'handler.lua' } } }"

#define CONSUMERS(list) .file = CONSUMERS_TEXT(list)
#define CONSUMER(more)  .file = CONSUMER_TEXT(more)
#define WITH(more)      .file = WITH_TEXT(more)
#define QUEUE           "queue=q"
#define HANDLER         .handler = "handler.lua"

static const struct value_case value_cases[] = {
    /* the command line alone */
    { { HANDLER, .flags = { QUEUE } }, ROOT(TEXT, file), "none" },
    { { HANDLER, .flags = { QUEUE } }, EACH(TEXT, name), "q" },
    { { HANDLER, .flags = { QUEUE } }, EACH(TEXT, handler), "handler.lua" },
    { { HANDLER, .flags = { QUEUE } }, EACH(BOOLEAN, declare.enabled), "false" },
    { { HANDLER, .flags = { QUEUE } }, EACH(TEXT, ordering_header), "none" },
    { { HANDLER, .flags = { QUEUE } }, ROOT(BOOLEAN, status.explicit), "false" },
    { { HANDLER, .flags = { QUEUE } }, ROOT(WHOLE, max_messages), "0" },
    { { HANDLER, .flags = { QUEUE } }, ROOT(WHOLE, exit_when_idle_ns), "-1" },
    { { HANDLER, .flags = { QUEUE, "max-messages=7" } }, ROOT(WHOLE, max_messages), "7" },
    { { HANDLER, .flags = { QUEUE, "exit-when-idle=0" } }, ROOT(WHOLE, exit_when_idle_ns), "0" },
    { { HANDLER, .flags = { QUEUE }, .environment = { "MOONRABBIT_EXIT_WHEN_IDLE=2s" } },
      ROOT(WHOLE, exit_when_idle_ns),
      "2000000000" },
    { { .flags = { QUEUE, "handler=other.lua" } }, EACH(TEXT, handler), "other.lua" },
    { { .environment = { "MOONRABBIT_QUEUE=e", "MOONRABBIT_HANDLER=handler.lua" } }, EACH(TEXT, queue), "e" },
    { { HANDLER, .flags = { QUEUE, "declare-durable" } }, EACH(BOOLEAN, declare.enabled), "true" },
    { { HANDLER, .flags = { QUEUE, "declare-durable" } }, EACH(BOOLEAN, declare.durable), "true" },
    { { HANDLER, .flags = { QUEUE }, .environment = { "MOONRABBIT_DECLARE_TTL=1s" } },
      EACH(BOOLEAN, declare.enabled),
      "true" },
    { { HANDLER, .flags = { QUEUE, "status-listen=127.0.0.1:9464" } },
      ROOT(BOOLEAN, status.explicit),
      "true" },
    /* what is no setting in the environment */
    { { HANDLER, .flags = { QUEUE },
        .environment = { "PATH=/bin", "MOONRABBIT_PREFETCH=", "nonsense", "MOONRABBIT=x" } },
      EACH(UNSIGNED, prefetch),
      "10" },
    { { HANDLER, .flags = { QUEUE },
        .environment = { "MOONRABBIT_PORT=tcp://10.0.0.1:80", "MOONRABBIT_SERVICE_HOST=10.0.0.1",
                         "MOONRABBIT_SERVICE_PORT=80", "MOONRABBIT_SERVICE_PORT_HTTP=80",
                         "MOONRABBIT_PORT_80_TCP=tcp://10.0.0.1:80", "MOONRABBIT_PORT_80_TCP_ADDR=10.0.0.1",
                         "MOONRABBIT_WEB_PORT=tcp://10.0.0.2:80" } },
      EACH(UNSIGNED, prefetch),
      "10" },
    /* handlers are found from where they are named */
    { { CONSUMER("") }, ROOT(TEXT, file), "mr.lua" },
    { { CONSUMER(""), .handler = "./other.lua" }, EACH(TEXT, handler), "./other.lua" },
    /* groups */
    { { CONSUMER("declare = {}") }, EACH(BOOLEAN, declare.enabled), "true" },
    { { CONSUMER("declare = {}") }, EACH(BOOLEAN, declare.has_type), "false" },
    { { CONSUMER("declare = { type = 'classic' }") }, EACH(BOOLEAN, declare.has_type), "true" },
    { { CONSUMER("declare = { max_length = 'none' }") }, EACH(TEXT, declare.overflow), "none" },
    { { CONSUMER("declare = {}") }, EACH(WHOLE, declare.delivery_limit), "-1" },
    { { CONSUMER("declare = { type = 'quorum', delivery_limit = 0 }") },
      EACH(WHOLE, declare.delivery_limit),
      "0" },
    { { HANDLER, .flags = { QUEUE, "declare-type=quorum", "declare-delivery-limit=7" } },
      EACH(WHOLE, declare.delivery_limit),
      "7" },
    { { HANDLER, .flags = { QUEUE, "declare-single-active-consumer" } },
      EACH(BOOLEAN, declare.single_active_consumer),
      "true" },
    { { CONSUMER("declare = { max_length = 'none', max_bytes = 9 }") },
      EACH(TEXT, declare.overflow),
      "reject-publish" },
    { { CONSUMER("ordering = 'header:customer id'") }, EACH(TEXT, ordering_header), "customer id" },
    { { WITH("status = { listen = '127.0.0.1:9464' }") }, ROOT(BOOLEAN, status.explicit), "true" },
    /* defaults that follow another key */
    { { CONSUMER("limits = { memory = '1MiB' }") }, EACH(WHOLE, recycle.memory_bytes), "786432" },
    { { CONSUMER("limits = { memory = '1MiB' }") }, EACH(WHOLE, recycle.process_memory_bytes), "134217728" },
    { { CONSUMER("limits = { memory = '1GiB' }") }, EACH(WHOLE, recycle.memory_bytes), "805306368" },
    { { CONSUMER("limits = { memory = '1GiB' }") }, EACH(WHOLE, recycle.process_memory_bytes), "2147483648" },
    { { CONSUMER("retry = { delay = '10m' }") }, EACH(WHOLE, retry.max_delay_ns), "600000000000" },
    /* the file reads the environment */
    { { CONSUMER("prefetch = env('P', 20)") }, EACH(UNSIGNED, prefetch), "20" },
    { { CONSUMER("prefetch = env('P', 20)"), .environment = { "P=30" } }, EACH(UNSIGNED, prefetch), "30" },
    { { CONSUMER("prefetch = tonumber(env('P'))"), .environment = { "P=40" } },
      EACH(UNSIGNED, prefetch),
      "40" },
    { { CONSUMER("dead_letter = env('D')") }, EACH(TEXT, dead_letter), "none" },
    { { CONSUMER("dead_letter = env('D', 'd')"), .environment = { "D=e" } }, EACH(TEXT, dead_letter), "e" },
    { { CONSUMER("dead_letter = env('D')"), .environment = { "D=first", "D=second" } },
      EACH(TEXT, dead_letter),
      "first" },
    /* a file may compute, and has nothing to break with */
    { { .file = "local t = {} for i, q in ipairs { 'a', 'b' } do\n t[i] = { queue = q:rep(2), handler = "
                "'handler.lua',\n"
                " prefetch = math.max(i, 5) } end\nreturn { consumers = t }" },
      EACH(TEXT, queue),
      "aa" },
    { { .file =
            "string.format = nil table.concat = nil string.find = nil math.floor = nil\n" CONSUMER_TEXT("") },
      EACH(TEXT, queue),
      "q" },
    { { .file = "#!/usr/bin/env moonrabbit\n" CONSUMER_TEXT("") }, EACH(TEXT, queue), "q" },
    { { .file = "return setmetatable({ consumers = { { queue = 'q', handler = 'handler.lua' } } },"
                " { __index = function() error 'asked' end, __len = error, __pairs = error })" },
      EACH(TEXT, queue),
      "q" },
};

static void values_come_from_where_they_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(value_cases); i++) {
        const struct value_case *test = &value_cases[i];
        char value[TEXT_MAX];
        struct config *config = load_well(&test->input);
        if (strcmp(value_at(config, test->place, value), test->expected) != 0)
            fail_msg("value_cases[%zu] is %s, not %s", i, value, test->expected);
        config_free(config);
    }
}

/* Broker URLs and lists */

static void assert_urls(const struct input *input, const char *first, const char *second)
{
    struct config *config = load_well(input);
    assert_int_equal(config->broker.url_count, second ? 2 : 1);
    assert_string_equal(config->broker.urls[0], first);
    if (second)
        assert_string_equal(config->broker.urls[1], second);
    config_free(config);
}

static void assert_management(const struct input *input, const char *expected)
{
    struct config *config = load_well(input);
    if (expected)
        assert_string_equal(config->broker.management, expected);
    else
        assert_null(config->broker.management);
    config_free(config);
}

static void the_management_is_named_beside_the_broker(void **state)
{
    (void)state;
    static const char file[] = WITH_TEXT("broker = { management = 'http://a:b@h/rabbit' }");
    static const char tls[] = WITH_TEXT("broker = { management = 'https://h', tls = { verify = false } }");
    assert_management(&(struct input){ HANDLER, .flags = { QUEUE } }, NULL);
    assert_management(&(struct input){ .file = file }, "http://a:b@h/rabbit");
    assert_management(&(struct input){ .file = tls }, "https://h");
    assert_management(
        &(struct input){ .file = file, .environment = { "MOONRABBIT_MANAGEMENT=http://[::1]:15672" } },
        "http://[::1]:15672");
    assert_management(&(struct input){ .file = file, .flags = { "management=http://c" } }, "http://c");
}

/* A command that makes do without consumers has none where nobody names one, and all the rest. */
static void consumers_may_be_optional(void **state)
{
    (void)state;
    static const struct config_flag flags[] = { { "queue", "q" } };
    char *environment[] = { NULL };
    struct config_source source = { .only_named = true,
                                    .consumers_optional = true,
                                    .environment = environment };
    struct buffer lines;
    buffer_init(&lines, TEXT_MAX);
    struct config *config = config_load(&source, &lines);
    assert_non_null(config);
    assert_int_equal(config->consumer_count, 0);
    assert_string_equal(config->broker.urls[0], "amqp://guest:guest@localhost:5672/%2f");
    config_free(config);
    source.flags = flags;
    source.flag_count = 1;
    assert_null(config_load(&source, &lines));
    assert_non_null(memmem(lines.data, lines.size, "no handler is given", strlen("no handler is given")));
    buffer_clear(&lines);
}

static void the_broker_is_named_by_one_url_or_many(void **state)
{
    (void)state;
    static const char one[] = WITH_TEXT("broker = { url = 'amqp://a' }");
    static const char two[] = WITH_TEXT("broker = { urls = { 'amqp://a', 'amqp://b' } }");
    const struct input none = { HANDLER, .flags = { QUEUE } };
    assert_urls(&none, "amqp://guest:guest@localhost:5672/%2f", NULL);
    assert_urls(&(struct input){ .file = one }, "amqp://a", NULL);
    assert_urls(&(struct input){ .file = two }, "amqp://a", "amqp://b");
    assert_urls(
        &(struct input){ .file = one, .environment = { "MOONRABBIT_BROKER_URLS=amqp://c, amqp://d" } },
        "amqp://c", "amqp://d");
    assert_urls(&(struct input){ .file = two, .environment = { "MOONRABBIT_BROKER=amqp://c" } }, "amqp://c",
                NULL);
    assert_urls(&(struct input){ .file = two, .environment = { "MOONRABBIT_BROKER_URL=amqp://c" } },
                "amqp://c", NULL);
    assert_urls(&(struct input){ .file = two,
                                 .flags = { "broker=amqp://e" },
                                 .environment = { "MOONRABBIT_BROKER=amqp://c" } },
                "amqp://e", NULL);
    assert_urls(&(struct input){ .file = one, .flags = { "broker-url=amqp://e" } }, "amqp://e", NULL);
    assert_urls(&(struct input){ .file = one,
                                 .flags = { "broker-urls=amqp://e,amqp://f" },
                                 .environment = { "MOONRABBIT_BROKER=amqp://c" } },
                "amqp://e", "amqp://f");
}

static void http_allow_is_a_list(void **state)
{
    (void)state;
    struct input input = { CONSUMER("http = { allow = { '*.example:443', '[::1]:80' } }") };
    struct config *config = load_well(&input);
    assert_int_equal(config->consumers[0].http_allow_count, 2);
    assert_string_equal(config->consumers[0].http_allow[1], "[::1]:80");
    config_free(config);
    input.flags[0] = "http-allow=b:1,c:2,d:3";
    config = load_well(&input);
    assert_int_equal(config->consumers[0].http_allow_count, 3);
    assert_string_equal(config->consumers[0].http_allow[2], "d:3");
    config_free(config);
}

/* What passes here must not be refused later, when the broker is dialled. */
static void urls_that_are_taken_can_be_parsed(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "amqp://localhost",
        "amqp://localhost/",
        "amqp://localhost:5672/%2f",
        "amqps://a.b-c_d.example/v",
        "amqp://user@host",
        "amqp://user:p%40ss%3a%2f@host:1/v",
        "amqp://[::1]",
        "amqp://[fe80::1]:5672/v",
        "amqp://127.0.0.1:65535/a%2fb",
        "amqp://u:p@[::1]:5672/%2f",
        "amqp://h/v-1_2.3~!$&'()*",
        "amqp://u:p=+;!@h/v%3aw",
    };
    for (size_t i = 0; i < COUNT(urls); i++) {
        char variable[TEXT_MAX];
        (void)snprintf(variable, sizeof variable, "MOONRABBIT_BROKER=%s", urls[i]);
        assert_urls(&(struct input){ HANDLER, .flags = { QUEUE }, .environment = { variable } }, urls[i],
                    NULL);
        struct address address;
        struct error error;
        if (!address_parse(&address, urls[i], &error))
            fail_msg("%s is taken and then refused: %s", urls[i], error.text);
        address_clear(&address);
    }
}

/* Bindings */

static void assert_bindings(const struct input *input, const char *expected)
{
    char told[TEXT_MAX] = "";
    struct config *config = load_well(input);
    const struct declare_config *declare = &config->consumers[0].declare;
    assert_true(declare->enabled);
    for (size_t i = 0, used = 0; i < declare->binding_count; i++)
        used += (size_t)snprintf(told + used, sizeof told - used, "[%s|%s]", declare->bindings[i].exchange,
                                 declare->bindings[i].routing_key);
    assert_string_equal(told, expected);
    config_free(config);
}

static void bindings_come_from_everywhere(void **state)
{
    (void)state;
    assert_bindings(&(struct input){ CONSUMER("declare = {}") }, "");
    assert_bindings(&(struct input){ CONSUMER("declare = { bindings = {} }") }, "");
    const struct input input = { CONSUMER(
        "declare = { bindings = { { exchange = 'b', routing_key = 'x=1,y' }, { exchange = 'a' } } }") };
    assert_bindings(&input, "[b|x=1,y][a|]");
    const struct input flag = { HANDLER, .flags = { QUEUE, "declare-bindings=shop=order.*, audit,x=a=b" },
                                .environment = { "MOONRABBIT_DECLARE_BINDINGS=y=#" } };
    assert_bindings(&flag, "[shop|order.*][audit|][x|a=b]");
    const struct input variable = { HANDLER, .flags = { QUEUE },
                                    .environment = { "MOONRABBIT_DECLARE_BINDINGS=y=#" } };
    assert_bindings(&variable, "[y|#]");
    /* Queues of one name may be bound by several consumers. */
    const struct input two = { CONSUMERS(
        "{ queue = 'a', handler = 'handler.lua', declare = { bindings = { { exchange = 'x' } } } },"
        "{ queue = 'a', handler = 'handler.lua', declare = {} }") };
    assert_bindings(&two, "[x|]");
}

/* Names */

static void consumers_of_one_queue_have_names_of_their_own(void **state)
{
    (void)state;
#define A(queue) "{ queue = '" queue "', handler = 'handler.lua' }, "
    const struct input input = { CONSUMERS(A("q") A("q") A("q-2") A("q") A("r") A("q-2")) };
    static const char *const names[] = { "q", "q-3", "q-2", "q-4", "r", "q-2-2" };
    struct config *config = load_well(&input);
    assert_int_equal(config->consumer_count, COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(config->consumers[i].name, names[i]);
    config_free(config);
}

static void flags_go_to_every_consumer(void **state)
{
    (void)state;
    const struct input input = { CONSUMERS("{ queue = 'a', handler = 'handler.lua', prefetch = 3 }," A("b")),
                                 .flags = { "prefetch=77", "declare-max-length=5" } };
    struct config *config = load_well(&input);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(config->consumers[i].prefetch, 77);
        assert_int_equal(config->consumers[i].declare.max_length, 5);
        assert_true(config->consumers[i].declare.enabled);
    }
    config_free(config);
}

/* Files */

static void handlers_stand_beside_their_file(void **state)
{
    (void)state;
    static const char text[] = CONSUMERS_TEXT("{ queue = 'q', handler = 'own.lua' }");
    char problems[TEXT_MAX];
    write_file("conf/mr.lua", text, sizeof text - 1);
    struct config *config = load_with(&(struct input){ 0 }, "conf/mr.lua", problems);
    assert_non_null(config);
    assert_string_equal(config->file, "conf/mr.lua");
    assert_string_equal(config->consumers[0].handler, "conf/own.lua");
    config_free(config);
    config = load_with(&(struct input){ HANDLER }, "conf/mr.lua", problems);
    assert_non_null(config);
    assert_string_equal(config->consumers[0].handler, "handler.lua");
    config_free(config);
}

static void a_file_of_the_usual_name_is_found(void **state)
{
    (void)state;
    char problems[TEXT_MAX];
    static const char text[] = CONSUMER_TEXT("prefetch = 99");
    write_file("moonrabbit.lua", text, sizeof text - 1);
    struct config *config = load_with(&(struct input){ 0 }, NULL, problems);
    assert_int_equal(unlink("moonrabbit.lua"), 0);
    assert_non_null(config);
    assert_string_equal(config->file, "moonrabbit.lua");
    assert_int_equal(config->consumers[0].prefetch, 99);
    config_free(config);
}

static void assert_file_refused(const char *path, const char *words)
{
    char problems[TEXT_MAX];
    assert_null(load_with(&(struct input){ HANDLER, .flags = { QUEUE } }, path, problems));
    if (strcmp(problems, words) != 0)
        fail_msg("%s: %snot: %s", path, problems, words);
}

static void files_that_cannot_be_read_are_told_of(void **state)
{
    (void)state;
    char *large = calloc(1, 1024 * 1024 + 1);
    assert_non_null(large);
    memset(large, '\n', 1024 * 1024 + 1);
    assert_file_refused("none.lua",
                        "the configuration file \"none.lua\" cannot be read: No such file or directory\n");
    assert_file_refused("conf", "the configuration file \"conf\" cannot be read: it is not a file\n");
    assert_int_equal(mkfifo("pipe.lua", 0600), 0); /* nobody writes into it, and nobody must wait for that */
    assert_file_refused("pipe.lua", "the configuration file \"pipe.lua\" cannot be read: it is not a file\n");
    assert_int_equal(unlink("pipe.lua"), 0);
    write_file("mr.lua", large, 1024 * 1024 + 1);
    assert_file_refused("mr.lua",
                        "the configuration file \"mr.lua\" cannot be read: it is larger than 1 MiB\n");
    write_file("mr.lua", "\x1bLJ\x02", 4);
    assert_file_refused("mr.lua", "mr.lua is compiled Lua: give its source\n");
    assert_int_equal(mkdir("moonrabbit.lua", 0700), 0);
    assert_file_refused(NULL, "the configuration file \"moonrabbit.lua\" cannot be read: it is not a file\n");
    assert_int_equal(rmdir("moonrabbit.lua"), 0);
    free(large);
}

/* Problems */

struct problem_case {
    struct input input;
    const char *problems[PROBLEMS_MAX]; /* parts of the lines, one for each and in their order */
};

#include "config_problems.h"

/* Says what differs, and goes on: one run shows every case that does. */
static bool has_problems(size_t number, const struct problem_case *test)
{
    char problems[TEXT_MAX];
    bool as_expected = true;
    config_free(load(&test->input, problems));
    size_t count = 0;
    for (char *line = problems, *end; (end = strchr(line, '\n')) && count < PROBLEMS_MAX - 1;
         line = end + 1, count++) {
        *end = '\0';
        const char *expected = test->problems[count];
        if (!expected || !strstr(line, expected)) {
            print_error("problem_cases[%zu]: \"%s\" instead of \"%s\"\n", number, line,
                        expected ? expected : "nothing");
            return false;
        }
        if (strstr(line, "s3cret")) {
            print_error("problem_cases[%zu] tells the password: %s\n", number, line);
            as_expected = false;
        }
    }
    if (test->problems[count])
        print_error("problem_cases[%zu]: no \"%s\"\n", number, test->problems[count]);
    return as_expected && !test->problems[count];
}

static void problems_are_told(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < COUNT(problem_cases); i++)
        failed += !has_problems(i, &problem_cases[i]);
    assert_int_equal(failed, 0);
}

/* The words may not be cut in the middle of a line, nor be lost without a sign. */
static void problems_beyond_the_room_are_told_of(void **state)
{
    (void)state;
    const struct config_source source = { .file = "none.lua", .handler = "none.lua" };
    struct buffer lines;
    buffer_init(&lines, 120);
    assert_null(config_load(&source, &lines));
    assert_true(lines.failed);
    assert_int_equal(lines.data[lines.size - 1], '\n');
    buffer_clear(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_has_default_file_environment_and_flag),
        cmocka_unit_test(values_come_from_where_they_should),
        cmocka_unit_test(the_broker_is_named_by_one_url_or_many),
        cmocka_unit_test(the_management_is_named_beside_the_broker),
        cmocka_unit_test(consumers_may_be_optional),
        cmocka_unit_test(http_allow_is_a_list),
        cmocka_unit_test(bindings_come_from_everywhere),
        cmocka_unit_test(urls_that_are_taken_can_be_parsed),
        cmocka_unit_test(consumers_of_one_queue_have_names_of_their_own),
        cmocka_unit_test(flags_go_to_every_consumer),
        cmocka_unit_test(handlers_stand_beside_their_file),
        cmocka_unit_test(a_file_of_the_usual_name_is_found),
        cmocka_unit_test(files_that_cannot_be_read_are_told_of),
        cmocka_unit_test(problems_are_told),
        cmocka_unit_test(problems_beyond_the_room_are_told_of),
    };
    return cmocka_run_group_tests_name("config", tests, make_folder, remove_folder);
}
