/* What the program says of itself to people who ask: a page for each command, 80 columns wide. */
#ifndef RUNTIME_HELP_H
#define RUNTIME_HELP_H

#include <stdbool.h>
#include <stdio.h>

/* Prints the page of a command, for NULL that of the whole program. The command must exist. */
void help_print(const char *command, FILE *stream);

bool help_is_command(const char *word);

/* The command that `word` is a slip of; NULL where it is near none. */
const char *help_nearest_command(const char *word);

#endif
