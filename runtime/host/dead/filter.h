/* Which dead letters are meant: --where, as in reason=rejected, error~timeout, older=1h. Pure. */
#ifndef HOST_DEAD_FILTER_H
#define HOST_DEAD_FILTER_H

#include "common/error.h"
#include "host/dead/dead_letter.h"

#include <stdbool.h>
#include <stdint.h>

enum filter_test {
    FILTER_IS,       /* = */
    FILTER_IS_NOT,   /* != */
    FILTER_CONTAINS, /* ~ */
};

enum filter_field {
    FILTER_ID,
    FILTER_REASON,
    FILTER_ERROR,
    FILTER_QUEUE,
    FILTER_EXCHANGE,
    FILTER_ROUTING_KEY,
    FILTER_CONSUMER,
    FILTER_HOST,
    FILTER_ATTEMPTS,
    FILTER_OLDER, /* than `number` seconds */
    FILTER_NEWER,
};

struct filter {
    enum filter_field field;
    enum filter_test test;
    const char *text; /* borrowed */
    int64_t number;   /* for ATTEMPTS, OLDER and NEWER */
};

/* False with an error that names what is wrong and what there is. */
bool filter_parse(struct filter *filter, const char *text, struct error *error);

/* `now`: seconds since 1970. What a letter does not say matches no filter but !=. */
bool filter_matches(const struct filter *filter, const struct dead_letter *letter, int64_t now);

#endif
