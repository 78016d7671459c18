/* Taking the command line apart; see cli.h. */
#include "cli.h"

#include "cli_words.h"
#include "common/redact.h"
#include "help.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Options that stand without a value: the keys of scripts/config_keys.lua that are true or false. All others
 * take the next word. */
static const char *const switches[] = { "broker-tls-verify", "declare-durable",
                                        "declare-single-active-consumer" };

/* Options of `replay` and `doctor` that are no keys. */
static const struct {
    const char *name;
    bool takes_value;
    bool of_doctor; /* too */
} report_options[] = { { "bare", false, false }, { "json", false, true }, { "fail-on", true, true } };

/* The words as they are taken one by one. */
struct parse {
    struct cli *cli;
    struct buffer *problems;
    int next;
    bool options_ended; /* by "--" */
    bool wants_help;
};

static bool report_knows(const struct parse *parse, const char *name, bool *ret_takes_value)
{
    enum cli_command command = parse->cli->command;
    for (size_t i = 0; i < sizeof report_options / sizeof report_options[0]; i++) {
        if (strcmp(name, report_options[i].name) == 0) {
            *ret_takes_value = report_options[i].takes_value;
            return command == CLI_REPLAY || report_options[i].of_doctor;
        }
    }
    return false;
}

/* Whether the command has such an option of its own, which is no key of the configuration. */
static bool is_own(const struct parse *parse, const char *name, bool *ret_takes_value)
{
    switch (parse->cli->command) {
    case CLI_CAPTURE:
        return cli_capture_knows(name, ret_takes_value);
    case CLI_DEAD:
        return cli_dead_knows(name, ret_takes_value);
    case CLI_DOCTOR:
    case CLI_REPLAY:
        return report_knows(parse, name, ret_takes_value);
    default:
        return false;
    }
}

static bool is_switch(const struct parse *parse, const char *name)
{
    bool takes_value;
    if (is_own(parse, name, &takes_value))
        return !takes_value;
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (strcmp(name, switches[i]) == 0)
            return true;
    }
    return false;
}

/* The next word, where it is no option: "-" and "-1" are none. */
static const char *take_value(struct parse *parse)
{
    if (parse->next >= parse->cli->word_count)
        return NULL;
    const char *word = parse->cli->words[parse->next];
    if (word[0] == '-' && word[1] != '\0' && !isdigit((unsigned char)word[1]))
        return NULL;
    parse->next++;
    return word;
}

static void take_report_option(struct parse *parse, const char *name, const char *value)
{
    struct cli *cli = parse->cli;
    bool of_doctor = cli->command == CLI_DOCTOR;
    bool on = strcmp(name, "fail-on") != 0;
    if (on && value)
        (void)cli_complain(parse->problems, "--", name, " takes no value");
    else if (!on && !value)
        (void)cli_complain(parse->problems, "--fail-on has no value: write --fail-on ",
                           of_doctor ? "warning" : "error", ", for one");
    else if (!on)
        *(of_doctor ? &cli->doctor.fail_on : &cli->replay.fail_on) = value;
    else if (strcmp(name, "bare") == 0)
        cli->replay.bare = true;
    else
        *(of_doctor ? &cli->doctor.json : &cli->replay.json) = true;
}

static void take_file(struct parse *parse, const char *name)
{
    if (!name)
        (void)cli_complain(parse->problems, "-c names no file: write -c FILE", "", "");
    else if (parse->cli->source.file)
        (void)cli_complain(parse->problems, "-c is given twice: give one configuration file, not also ", name,
                           "");
    else
        parse->cli->source.file = name;
}

static void take_own_option(struct parse *parse, const char *name, const char *value)
{
    struct cli *cli = parse->cli;
    if (cli->command == CLI_CAPTURE)
        cli_capture_take_option(&cli->capture, name, value, parse->problems);
    else if (cli->command == CLI_DEAD)
        cli_dead_take_option(&cli->dead, name, value, parse->problems);
    else
        take_report_option(parse, name, value);
}

static void take_option(struct parse *parse, const char *name, const char *value)
{
    struct cli *cli = parse->cli;
    bool takes_value;
    if (strcmp(name, "help") == 0)
        parse->wants_help = true;
    else if (strcmp(name, "config") == 0)
        take_file(parse, value);
    else if (is_own(parse, name, &takes_value))
        take_own_option(parse, name, value);
    else
        cli->flags[cli->source.flag_count++] = (struct config_flag){ .name = name, .value = value };
}

/* "--name", "--name=value" or "--name value"; `word` is without the dashes. */
static void take_long_option(struct parse *parse, char *word)
{
    const char *value = NULL;
    char *equals = strchr(word, '=');
    if (equals) {
        *equals = '\0';
        value = equals + 1;
    } else if (!is_switch(parse, word)) {
        value = strcmp(word, "help") == 0 ? NULL : take_value(parse);
    }
    take_option(parse, word, value);
}

static void take_short_option(struct parse *parse, const char *word)
{
    if (strcmp(word, "-h") == 0)
        parse->wants_help = true;
    else if (word[1] == 'c')
        take_file(parse, word[2] ? word + 2 : take_value(parse));
    else if (word[1] == 'o' && parse->cli->command == CLI_CAPTURE)
        take_own_option(parse, "output", word[2] ? word + 2 : take_value(parse));
    else
        (void)cli_complain(parse->problems, "there is no option ", word,
                           parse->cli->command == CLI_CAPTURE
                               ? ": only -c FILE, -o FILE and -h are that short"
                               : ": only -c FILE and -h are that short");
}

static void take_handler(struct parse *parse, const char *word)
{
    if (parse->cli->source.handler && parse->cli->command == CLI_REPLAY && !parse->cli->replay.input)
        parse->cli->replay.input = word;
    else if (parse->cli->source.handler && parse->cli->command == CLI_REPLAY)
        (void)cli_complain(parse->problems, "one handler and one file are enough, and ", word, " is a third");
    else if (parse->cli->source.handler)
        (void)cli_complain(parse->problems, "one handler is enough on the command line, and ", word,
                           " is a second: write further ones into the configuration file");
    else
        parse->cli->source.handler = word;
}

static void take_word(struct parse *parse)
{
    char *word = parse->cli->words[parse->next++];
    bool plain = parse->options_ended || word[0] != '-' || word[1] == '\0';
    if (plain && parse->cli->command == CLI_DEAD)
        cli_dead_take_word(&parse->cli->dead, word, parse->problems);
    else if (plain && parse->cli->command == CLI_CAPTURE)
        (void)cli_complain(parse->problems, "capture takes no words, and ", word,
                           " is one: a queue is --queue NAME, a file -o FILE");
    else if (plain)
        take_handler(parse, word);
    else if (strcmp(word, "--") == 0)
        parse->options_ended = true;
    else if (word[1] == '-')
        take_long_option(parse, word + 2);
    else
        take_short_option(parse, word);
}

/* The words behind the commands that have a configuration. */
static bool parse_options(struct cli *cli, const char *command, struct buffer *problems)
{
    struct parse parse = { .cli = cli, .problems = problems, .next = 2 };
    while (parse.next < cli->word_count)
        take_word(&parse);
    if (parse.wants_help) {
        cli->command = CLI_HELP;
        cli->topic = command;
        buffer_reset(problems);
        return true;
    }
    if (cli->command == CLI_DEAD)
        cli_dead_check(&cli->dead, problems);
    else if (cli->command == CLI_CAPTURE)
        cli_capture_check(&cli->capture, problems);
    cli->source.flags = cli->flags;
    cli->source.broker_only = cli->command == CLI_DEAD || cli->command == CLI_CAPTURE;
    cli->source.consumers_optional = cli->command == CLI_DOCTOR;
    cli->source.command = command;
    if (cli->command == CLI_REPLAY && problems->size == 0 && !cli->replay.input)
        return cli_complain(problems, "replay takes a handler and a file of messages: moonrabbit replay ",
                            cli->source.handler ? cli->source.handler : "handler.lua", " messages.ndjson");
    return problems->size == 0;
}

/* All that follows is busted's. */
static bool parse_test(struct cli *cli)
{
    cli->command = CLI_TEST;
    return true;
}

static bool parse_help(struct cli *cli, struct buffer *problems)
{
    cli->command = CLI_HELP;
    cli->topic = cli->word_count > 2 ? cli->words[2] : NULL;
    if (!cli->topic || help_is_command(cli->topic))
        return true;
    return cli_complain(problems, "there is no command ", cli->topic, ": moonrabbit help lists them");
}

static bool parse_version(struct cli *cli, struct buffer *problems)
{
    cli->command = CLI_VERSION;
    if (cli->word_count < 3)
        return true;
    if (strcmp(cli->words[2], "--help") != 0 && strcmp(cli->words[2], "-h") != 0)
        return cli_complain(problems, "version takes nothing more, and ", cli->words[2],
                            " is something more");
    cli->command = CLI_HELP;
    cli->topic = "version";
    return true;
}

static bool is_lua_file(const char *word)
{
    size_t length = strlen(word);
    return length > 4 && strcmp(word + length - 4, ".lua") == 0;
}

static bool refuse_command(const char *word, struct buffer *problems)
{
    const char *nearest = help_nearest_command(word);
    if (is_lua_file(word))
        return cli_complain(problems, "there is no command before the handler: did you mean moonrabbit run ",
                            word, "?");
    if (word[0] == '-')
        return cli_complain(problems, "a command goes first: did you mean moonrabbit run ", word, "?");
    if (!nearest)
        return cli_complain(problems, "there is no command ", word, ": moonrabbit help lists them");
    (void)cli_complain(problems, "there is no command ", word, ": did you mean ");
    problems->size--; /* the newline */
    return cli_complain(problems, "", nearest, "?");
}

static bool copy_words(struct cli *cli, int argc, char **argv)
{
    cli->words = calloc((size_t)argc + 1, sizeof *cli->words);
    cli->flags = calloc((size_t)argc + 1, sizeof *cli->flags);
    while (cli->words && cli->flags && cli->word_count < argc) {
        cli->words[cli->word_count] = strdup(argv[cli->word_count]);
        if (!cli->words[cli->word_count])
            return false;
        cli->word_count++;
    }
    return cli->words && cli->flags;
}

/* Commands whose words are options, keys among them, and a handler. */
static bool find_configured(const char *word, enum cli_command *ret_command)
{
    static const struct {
        const char *word;
        enum cli_command command;
    } commands[] = {
        { "run", CLI_RUN },       { "check", CLI_CHECK },     { "doctor", CLI_DOCTOR },
        { "replay", CLI_REPLAY }, { "capture", CLI_CAPTURE },
    };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(word, commands[i].word) == 0) {
            *ret_command = commands[i].command;
            return true;
        }
    }
    return false;
}

bool cli_parse(struct cli *cli, int argc, char **argv, struct buffer *problems)
{
    *cli = (struct cli){ .command = CLI_HELP };
    if (!copy_words(cli, argc, argv))
        return cli_complain(problems, "no memory is left", "", "");
    const char *command = cli->word_count > 1 && cli->words[1] ? cli->words[1] : "";
    if (find_configured(command, &cli->command))
        return parse_options(cli, command, problems);
    if (strcmp(command, "dead") == 0) {
        cli->command = CLI_DEAD;
        return cli_dead_init(&cli->dead, cli->word_count)
                   ? parse_options(cli, command, problems)
                   : cli_complain(problems, "no memory is left", "", "");
    }
    if (strcmp(command, "test") == 0)
        return parse_test(cli);
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
        return parse_help(cli, problems);
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0 || strcmp(command, "-V") == 0)
        return parse_version(cli, problems);
    return refuse_command(command, problems);
}

void cli_clear(struct cli *cli)
{
    for (int i = 0; i < cli->word_count; i++) {
        explicit_bzero(cli->words[i], strlen(cli->words[i])); /* URLs hold passwords */
        free(cli->words[i]);
    }
    cli_dead_clear(&cli->dead);
    free(cli->words);
    free(cli->flags);
    *cli = (struct cli){ .command = CLI_HELP };
}

void cli_hide_passwords(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        redact_overwrite(argv[i]);
}
