/* The command line of `dead`: which queue, what to do with it, and with which of its messages. Pure. */
#ifndef RUNTIME_CLI_DEAD_H
#define RUNTIME_CLI_DEAD_H

#include "common/buffer.h"
#include "host/dead/dead.h"

#include <stdbool.h>

/* What the words behind `dead` say; begin with cli_dead_init. */
struct cli_dead {
    struct dead_order order;
    bool has_action;
    const char **ids; /* owned; the texts are borrowed */
};

/* Room for the ids among `word_count` words; false where there is no memory. */
bool cli_dead_init(struct cli_dead *dead, int word_count);
void cli_dead_clear(struct cli_dead *dead);

/* Whether the command knows this option; `ret_takes_value` says whether the next word belongs to it. */
bool cli_dead_knows(const char *name, bool *ret_takes_value);

/* Takes an option that it knows; `value` is NULL where there was none. */
void cli_dead_take_option(struct cli_dead *dead, const char *name, const char *value,
                          struct buffer *problems);

/* Takes a word that is no option: the action, then the queue, then ids. */
void cli_dead_take_word(struct cli_dead *dead, const char *word, struct buffer *problems);

/* All words are taken: whether they make sense together. */
void cli_dead_check(const struct cli_dead *dead, struct buffer *problems);

#endif
