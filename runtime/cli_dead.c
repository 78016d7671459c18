/* The words of `moonrabbit dead`; see cli_dead.h. */
#include "cli_dead.h"

#include "cli_words.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    bool takes_value;
} options[] = {
    { "max", true }, { "where", true }, { "json", false }, { "body", false }, { "yes", false },
};

static const struct {
    const char *name;
    enum dead_action action;
} actions[] = {
    { "list", DEAD_LIST },
    { "show", DEAD_SHOW },
    { "retry", DEAD_RETRY },
    { "drop", DEAD_DROP },
};

bool cli_dead_init(struct cli_dead *dead, int word_count)
{
    *dead = (struct cli_dead){ .order = { .look = DEAD_LOOK_DEFAULT } };
    dead->ids = calloc((size_t)word_count + 1, sizeof *dead->ids);
    dead->order.ids = dead->ids;
    return dead->ids != NULL;
}

void cli_dead_clear(struct cli_dead *dead)
{
    free(dead->ids);
    *dead = (struct cli_dead){ .has_action = false };
}

bool cli_dead_knows(const char *name, bool *ret_takes_value)
{
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strcmp(options[i].name, name) == 0) {
            *ret_takes_value = options[i].takes_value;
            return true;
        }
    }
    return false;
}

static void take_filter(struct cli_dead *dead, const char *value, struct buffer *problems)
{
    struct error error;
    if (dead->order.filter_count == DEAD_FILTERS_MAX)
        (void)cli_complain(problems, "--where ", value, " is one too many: 32 are enough");
    else if (filter_parse(&dead->order.filters[dead->order.filter_count], value, &error))
        dead->order.filter_count++;
    else
        (void)cli_complain(problems, "", error.text, "");
}

static void take_value(struct cli_dead *dead, const char *name, const char *value, struct buffer *problems)
{
    bool is_max = strcmp(name, "max") == 0;
    if (!value)
        (void)cli_complain(problems, "--", name,
                           is_max ? " has no value: write --max N"
                                  : " has no value: write --where NAME=TEXT");
    else if (is_max)
        cli_take_count("--max", value, DEAD_LOOK_MAX, &dead->order.look, problems);
    else
        take_filter(dead, value, problems);
}

static void take_switch(struct cli_dead *dead, const char *name, const char *value, struct buffer *problems)
{
    if (value)
        (void)cli_complain(problems, "--", name, " takes no value: leave it out");
    else if (strcmp(name, "json") == 0)
        dead->order.json = true;
    else if (strcmp(name, "body") == 0)
        dead->order.body = true;
    else
        dead->order.yes = true;
}

void cli_dead_take_option(struct cli_dead *dead, const char *name, const char *value, struct buffer *problems)
{
    bool takes_value = false;
    if (cli_dead_knows(name, &takes_value) && takes_value)
        take_value(dead, name, value, problems);
    else
        take_switch(dead, name, value, problems);
}

static void take_action(struct cli_dead *dead, const char *word, struct buffer *problems)
{
    dead->has_action = true;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].name, word) == 0) {
            dead->order.action = actions[i].action;
            return;
        }
    }
    (void)cli_complain(problems, "dead cannot ", word, ": it can list, show, retry and drop");
}

void cli_dead_take_word(struct cli_dead *dead, const char *word, struct buffer *problems)
{
    struct dead_order *order = &dead->order;
    if (!dead->has_action)
        take_action(dead, word, problems);
    else if (!order->queue && (*word == '\0' || strlen(word) > CLI_NAME_BYTES_MAX))
        (void)cli_complain(problems, "the queue is \"", word, "\": give a name of 1 to 255 bytes");
    else if (!order->queue)
        order->queue = word;
    else
        dead->ids[order->id_count++] = word;
}

void cli_dead_check(const struct cli_dead *dead, struct buffer *problems)
{
    const struct dead_order *order = &dead->order;
    if (problems->size > 0)
        return;
    if (!dead->has_action || !order->queue)
        (void)cli_complain(problems,
                           "dead wants to know what to do and with which queue: write moonrabbit dead ",
                           "list|show|retry|drop", " QUEUE");
    else if (order->body && (order->action != DEAD_SHOW || order->json))
        (void)cli_complain(problems, "--body ", "prints a body and nothing else",
                           order->json ? ": with --json it is there already" : ": it goes with show");
    else if (order->json && (order->action == DEAD_RETRY || order->action == DEAD_DROP))
        (void)cli_complain(problems, "--json ", "goes with list and show", ": retry and drop print one line");
    else if (order->yes && order->action != DEAD_DROP)
        (void)cli_complain(problems, "--yes ", "goes with drop", ": nothing else asks");
    else if (order->action == DEAD_DROP && !order->yes && !isatty(STDIN_FILENO))
        (void)cli_complain(problems,
                           "drop asks before it drops, and nobody is there to answer: ", "add --yes", "");
}
