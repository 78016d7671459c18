/* A dead letter as people look at it: what it is called, where it came from, why it died and when.
 *
 * Our own host says so in its headers (common/own_headers.h); of what the broker dead-lettered by itself
 * x-death tells what it can. The headers come from whoever published, so nothing is taken for granted. Pure.
 */
#ifndef HOST_DEAD_DEAD_LETTER_H
#define HOST_DEAD_DEAD_LETTER_H

#include "common/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    DEAD_LETTER_NAME_BYTES = 24,
    DEAD_LETTER_NAMED_BODY = 64 * 1024, /* bytes of a body, as many as tell messages apart that have no id */
};

struct dead_letter {
    char name[DEAD_LETTER_NAME_BYTES]; /* what `id` is where the publisher gave none */
    struct slice id;                   /* never empty */
    struct slice reason; /* empty where nothing is known: so are the following, unless they say otherwise */
    struct slice error;
    struct slice queue;       /* where it was consumed from */
    struct slice exchange;    /* where it was first published to; empty also for the default exchange */
    struct slice routing_key; /* and with which key */
    struct slice consumer;
    struct slice host;
    int64_t attempts;    /* -1: unknown */
    int64_t died_at;     /* seconds since 1970; -1: unknown */
    int64_t cut_bytes;   /* of a body that the host left out as too large; -1: none was */
    bool by_host;        /* our host gave it up, and not the broker */
    bool bare;           /* the host left the message's own headers out */
    uint64_t body_bytes; /* of the whole body */
    struct slice body;   /* its beginning */
    struct slice attributes;
    struct slice headers;
};

/* Reads the attributes (as in WIRE_DELIVER). All slices point into what is given, and into the letter itself,
 * which must not be copied. */
void dead_letter_read(struct dead_letter *letter, struct slice attributes, struct slice body,
                      uint64_t body_bytes);

/* The property at a place below DEAD_LETTER_PROPERTIES; false where the message does not set it. */
struct dead_letter_property {
    const char *name;
    bool is_number;
    uint64_t number;
    struct slice text;
};
enum { DEAD_LETTER_PROPERTIES = 13 };
bool dead_letter_property(struct slice attributes, size_t place, struct dead_letter_property *ret_property);

/* Appends the attributes with which it is published to go back to its queue, as new: without a trace of its
 * death, but with the marks of where it was first published to. False where it cannot go back, with why. */
bool dead_letter_write_back(const struct dead_letter *letter, struct buffer *to, const char **ret_why);

#endif
