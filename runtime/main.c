/* The program: from words to one of its commands, and from what came of it to an exit code.
 *
 * Here everything that went wrong is said, once: a sentence a line on standard error, behind the program's
 * name. The same program is started as a worker by its host, with "@worker" for a command. */
#include "cli.h"
#include "common/buffer.h"
#include "common/error.h"
#include "common/log.h"
#include "common/redact.h"
#include "common/units.h"
#include "console.h"
#include "help.h"
#include "host/amqp/connection.h"
#include "host/capture/capture.h"
#include "host/config.h"
#include "host/dead/dead.h"
#include "host/host.h"
#include "host/seccomp.h"
#include "worker/preempt.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ev.h>

enum { PROBLEMS_BYTES_MAX = 256 * 1024 };

/* Says each line of the problems; returns the exit code for wrong usage. */
static int refuse(const struct buffer *problems)
{
    size_t start = 0;
    while (start < problems->size) {
        const char *line = problems->data + start;
        const char *end = memchr(line, '\n', problems->size - start);
        size_t length = end ? (size_t)(end - line) : problems->size - start;
        (void)fprintf(stderr, "moonrabbit: %.*s\n", (int)length, line);
        start += length + 1;
    }
    if (problems->failed)
        (void)fprintf(stderr, "moonrabbit: and there are more problems than can be told at once\n");
    return ERROR_USAGE;
}

/* Done, unless what was printed did not reach its reader. */
static int printed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return ERROR_NONE;
    (void)fprintf(stderr, "moonrabbit: standard output does not take what is written to it\n");
    return ERROR_FAILED;
}

static int print_help(const char *topic)
{
    help_print(topic, stdout);
    return printed();
}

/* Two things differ from one machine to the next, so they are tried. */
static void print_lua(void)
{
    struct error error;
    bool ends;
    (void)printf("%s: ", config_lua_library());
    if (!preempt_test(&ends, &error))
        (void)printf("nobody knows what ends a compiled loop (%s)\n", error.text);
    else if (ends)
        (void)printf("a hook ends compiled loops, at limits.deadline\n");
    else
        (void)printf("no hook ends compiled loops, but a kill, at limits.deadline + limits.grace\n");
}

static void print_seccomp(void)
{
    struct error error;
    char library[SECCOMP_TEXT_MAX];
    (void)printf("%s: ", seccomp_library(library));
    if (seccomp_probe(&error))
        (void)printf("system calls of workers are filtered\n");
    else
        (void)printf("refused here (%s)\n", error.text);
}

static int print_version(void)
{
    (void)printf("moonrabbit %s\n", MOONRABBIT_VERSION);
    (void)fflush(stdout); /* what is tried is tried in a child, which must not have it to print, too */
    print_lua();
    print_seccomp();
    (void)printf("rabbitmq-c %s\nlibev %d.%d\n", amqp_connection_library(), ev_version_major(),
                 ev_version_minor());
    return printed();
}

static void print_consumer(const struct consumer_config *consumer)
{
    char memory[UNITS_TEXT_MAX];
    char deadline[UNITS_TEXT_MAX];
    char message[UNITS_TEXT_MAX];
    (void)printf("ok: consumer %s runs %s on queue %s: %u worker%s, prefetch %u\n", consumer->name,
                 consumer->handler, consumer->queue, consumer->workers, consumer->workers == 1 ? "" : "s",
                 consumer->prefetch);
    (void)printf("    a message has %s of memory, %s of time, and is %s long at most\n",
                 units_format_size(consumer->limits.memory_bytes, memory),
                 units_format_duration(consumer->limits.deadline_ns, deadline),
                 units_format_size(consumer->limits.message_bytes, message));
}

static int print_check(const struct config *config)
{
    if (config->file)
        (void)printf("ok: file %s\n", config->file);
    else
        (void)printf("ok: no configuration file; command line, environment and defaults\n");
    for (size_t i = 0; i < config->broker.url_count; i++) {
        struct buffer url;
        buffer_init(&url, PROBLEMS_BYTES_MAX);
        if (redact_append(&url, slice_of(config->broker.urls[i])))
            (void)printf("ok: broker %.*s (not asked)\n", (int)url.size, url.data);
        buffer_clear(&url);
    }
    for (size_t i = 0; i < config->consumer_count; i++)
        print_consumer(&config->consumers[i]);
    return printed();
}

static int check(const struct config *config)
{
    struct error error = { 0 };
    if (host_check(config, &error))
        return print_check(config);
    (void)fprintf(stderr, "moonrabbit: %s\n", error.text);
    return (int)error.code;
}

/* What the host says of its own life is no answer to somebody who checks; warnings are, but to the doctor,
 * who finds what they are of. */
static enum log_level level_of(const struct cli *cli, const struct config *config)
{
    if (config->log_level != LOG_INFO)
        return config->log_level;
    return cli->command == CLI_CHECK ? LOG_WARNING : cli->command == CLI_DOCTOR ? LOG_ERROR : LOG_INFO;
}

static int run_as_configured(const struct cli *cli, struct config *config)
{
    switch (cli->command) {
    case CLI_RUN:
        return host_run(config, &cli->source);
    case CLI_CAPTURE:
        return capture_run(&config->broker, &cli->capture);
    case CLI_DEAD:
        return dead_run(&config->broker, &cli->dead.order);
    case CLI_DOCTOR:
        return console_doctor(&cli->doctor, config);
    case CLI_CHECK:
    default:
        return check(config);
    }
}

/* The commands that need a configuration. */
static int run_configured(const struct cli *cli, struct buffer *problems)
{
    struct config *config = config_load(&cli->source, problems);
    if (!config)
        return refuse(problems);
    log_open(STDERR_FILENO, config->log_format, level_of(cli, config));
    int code = run_as_configured(cli, config);
    config_free(config);
    return code;
}

static int dispatch(const struct cli *cli, struct buffer *problems)
{
    switch (cli->command) {
    case CLI_RUN:
    case CLI_CHECK:
    case CLI_CAPTURE:
    case CLI_DEAD:
    case CLI_DOCTOR:
        return run_configured(cli, problems);
    case CLI_REPLAY:
        return console_replay(&cli->replay, &cli->source);
    case CLI_TEST:
        return console_test(cli->words + 2, cli->word_count - 2);
    case CLI_VERSION:
        return print_version();
    case CLI_HELP:
    default:
        return print_help(cli->topic);
    }
}

static int run_command(int argc, char **argv)
{
    struct cli cli;
    struct buffer problems;
    buffer_init(&problems, PROBLEMS_BYTES_MAX);
    bool understood = cli_parse(&cli, argc, argv, &problems);
    cli_hide_passwords(argc, argv);
    cli.source.environment = environ;
    int code = understood ? dispatch(&cli, &problems) : refuse(&problems);
    cli_clear(&cli);
    buffer_clear(&problems);
    return code;
}

/* Whoever starts a program without standard descriptors would have its sockets taken for them. */
static bool open_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "@worker") == 0)
        return worker_main();
    if (!open_standard_descriptors())
        return ERROR_FAILED;
    if (argc < 2) {
        help_print(NULL, stderr);
        return ERROR_USAGE;
    }
    return run_command(argc, argv);
}
