/* The command line: which command, and what the configuration is made from. Pure but for copying; main.c
 * calls it. */
#ifndef RUNTIME_CLI_H
#define RUNTIME_CLI_H

#include "cli_capture.h"
#include "cli_dead.h"
#include "common/buffer.h"
#include "console.h"
#include "host/config.h"

#include <stdbool.h>

enum cli_command {
    CLI_HELP,
    CLI_RUN,
    CLI_REPLAY,
    CLI_CHECK,
    CLI_CAPTURE,
    CLI_DEAD,
    CLI_DOCTOR,
    CLI_TEST,
    CLI_VERSION
};

struct cli {
    enum cli_command command;
    const char *topic;            /* for CLI_HELP: the command to explain; NULL: the program */
    struct config_source source;  /* for those that need a configuration; without its environment */
    struct replay_options replay; /* for CLI_REPLAY */
    struct doctor_options doctor; /* for CLI_DOCTOR */
    struct capture_order capture; /* for CLI_CAPTURE */
    struct cli_dead dead;         /* for CLI_DEAD */
    char **words;                 /* owned copies of argv: what the texts above are parts of */
    int word_count;
    struct config_flag *flags; /* owned: source.flags */
};

/* Takes the command line apart; false where it makes no sense, with one sentence a line in `problems`.
 * Whether an option exists is the configuration's to say. Clear it with cli_clear, either way. */
bool cli_parse(struct cli *cli, int argc, char **argv, struct buffer *problems);
void cli_clear(struct cli *cli);

/* Overwrites the passwords in the process's own arguments, which ps shows to everybody; what cli_parse took
 * stays. */
void cli_hide_passwords(int argc, char **argv);

#endif
