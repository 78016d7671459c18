/* The words of `moonrabbit capture`; see cli_capture.h. */
#include "cli_capture.h"

#include "cli_words.h"

#include <stddef.h>
#include <string.h>

static const char any_key[] = "#"; /* to a topic exchange; others but direct ones do not look at it */

static const struct {
    const char *name;
    bool takes_value;
} options[] = {
    { "queue", true },       { "max", true },    { "tap", true },
    { "routing-key", true }, { "output", true }, { "json", false },
};

bool cli_capture_knows(const char *name, bool *ret_takes_value)
{
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strcmp(options[i].name, name) == 0) {
            *ret_takes_value = options[i].takes_value;
            return true;
        }
    }
    return false;
}

static void take_once(const char **place, const char *option, const char *value, struct buffer *problems)
{
    if (*place)
        (void)cli_complain(problems, option, " is given twice: give it once", "");
    *place = value;
}

static void take_name(const char **place, const char *option, const char *value, struct buffer *problems)
{
    size_t size = strlen(value);
    take_once(place, option, value, problems);
    if (size == 0 || size > CLI_NAME_BYTES_MAX)
        (void)cli_complain(problems, option, " is no name: give one", " of 1 to 255 bytes");
}

static void take_key(struct capture_order *order, const char *value, struct buffer *problems)
{
    take_once(&order->routing_key, "--routing-key", value, problems);
    if (strlen(value) > CLI_NAME_BYTES_MAX)
        (void)cli_complain(problems, "--routing-key is too long: AMQP allows 255 bytes", "", "");
}

static void take_output(struct capture_order *order, const char *value, struct buffer *problems)
{
    take_once(&order->output, "-o", value, problems);
    if (*value == '\0')
        (void)cli_complain(problems, "-o names no file: write -o FILE, or -o - for standard output", "", "");
}

static void take_value(struct capture_order *order, const char *name, const char *value,
                       struct buffer *problems)
{
    if (strcmp(name, "queue") == 0)
        take_name(&order->queue, "--queue", value, problems);
    else if (strcmp(name, "tap") == 0)
        take_name(&order->exchange, "--tap", value, problems);
    else if (strcmp(name, "routing-key") == 0)
        take_key(order, value, problems);
    else if (strcmp(name, "output") == 0)
        take_output(order, value, problems);
    else
        cli_take_count("--max", value, CAPTURE_TAP_MAX, &order->max, problems);
}

void cli_capture_take_option(struct capture_order *order, const char *name, const char *value,
                             struct buffer *problems)
{
    bool takes_value = false;
    (void)cli_capture_knows(name, &takes_value);
    if (takes_value && value)
        take_value(order, name, value, problems);
    else if (takes_value)
        (void)cli_complain(problems, "--", name, " has no value: moonrabbit help capture says what it takes");
    else if (value)
        (void)cli_complain(problems, "--", name, " takes no value: leave it out");
    else
        order->json = true;
}

void cli_capture_check(struct capture_order *order, struct buffer *problems)
{
    if (problems->size > 0)
        return;
    if (!order->queue && !order->exchange)
        (void)cli_complain(problems,
                           "capture wants to know from where: write --queue NAME, or --tap EXCHANGE", "", "");
    else if (order->queue && order->exchange)
        (void)cli_complain(problems, "--queue and --tap are both given: messages come from one of them", "",
                           "");
    else if (order->routing_key && !order->exchange)
        (void)cli_complain(problems, "--routing-key goes with --tap: a queue gives all that is in it", "",
                           "");
    if (order->max == 0)
        (void)cli_complain(problems, "capture wants to know how many messages at the most: write --max N", "",
                           "");
    if (order->queue && order->max > CAPTURE_QUEUE_MAX)
        (void)cli_complain(problems, "--max is too large: ", "65535",
                           " messages of a queue are the most, since they are out of it meanwhile");
    if (order->exchange && !order->routing_key)
        order->routing_key = any_key;
}
