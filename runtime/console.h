/* Trusted Lua: a state with all of its libraries, in the program's own process, which runs a script that the
 * binary carries as a command. Handlers never come near it; they run in workers. */
#ifndef RUNTIME_CONSOLE_H
#define RUNTIME_CONSOLE_H

#include "host/config.h"

#include <stdbool.h>

/* `moonrabbit test`: busted with these arguments. Returns the exit code. */
int console_test(char *const *arguments, int count);

/* All borrowed. */
struct replay_options {
    const char *input;   /* "-": standard input */
    const char *fail_on; /* what makes the exit code 1: words with commas between; NULL: nothing */
    bool bare;           /* each line is a body */
    bool json;           /* the report is for machines */
};

/* All borrowed. */
struct doctor_options {
    const char *fail_on; /* the least severity that makes the exit code 1; NULL: none does */
    bool json;
};

/* `moonrabbit doctor`: looks at what the configuration names. Returns the exit code. */
int console_doctor(const struct doctor_options *options, const struct config *config);

/* `moonrabbit replay`: a file of messages through the handler that `source` names. Returns the exit code. */
int console_replay(const struct replay_options *options, const struct config_source *source);

#endif
