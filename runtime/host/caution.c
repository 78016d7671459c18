/* Warnings about a consumer's configuration; see caution.h. */
#include "host/caution.h"

#include "common/log.h"

#include <stdio.h>

static void warn_of_no_bound(const struct consumer_config *config)
{
    const struct declare_config *declare = &config->declare;
    if (!declare->enabled || declare->max_length >= 0 || declare->max_bytes >= 0 || declare->ttl_ns >= 0)
        return;
    log_warning(log_message("the queue is declared without any bound: it may grow until the broker is full"),
                log_text("queue", config->queue), log_text("add", "declare = { max_length = 100000 }"));
}

static const char *fate_of_rejected(const struct declare_config *declare)
{
    if (!declare->enabled)
        return "rejected messages go to the queue's dead-letter exchange where it was made with one or a "
               "policy gives it one; else the broker drops them";
    if (!declare->dead_letter_exchange)
        return "the broker drops rejected messages, unless a policy gives the queue a dead-letter exchange";
    return "rejected messages go to the dead-letter exchange of the queue, which drops what it cannot route";
}

/* A name is at most 255 bytes. */
static void warn_of_no_dead_letter(const struct consumer_config *config)
{
    const struct declare_config *declare = &config->declare;
    char line[320];
    if (config->dead_letter)
        return;
    (void)snprintf(line, sizeof line, "dead_letter = \"%.250s.dead\"", config->queue);
    log_warning(log_message("no dead_letter is set"), log_text("queue", config->queue),
                log_text("meaning", fate_of_rejected(declare)),
                log_text("exchange", declare->enabled ? declare->dead_letter_exchange : NULL),
                log_text("add", line));
}

void caution_log(const struct consumer_config *config)
{
    warn_of_no_bound(config);
    warn_of_no_dead_letter(config);
}
