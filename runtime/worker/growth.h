/* Whether something grows for ever, judged by how large it was after so many messages. Pure.
 *
 * Growth, not size: what is large from the start does not grow, what has reached its bound grows no more, and
 * what grows and shrinks is now smaller than it was. So a series of looks is judged, each later than the one
 * before by a good part of all messages until then, and what grew has to have grown between any two of them,
 * and lately as fast as before. */
#ifndef WORKER_GROWTH_H
#define WORKER_GROWTH_H

#include <stdbool.h>
#include <stdint.h>

enum { GROWTH_POINTS = 8 };

struct growth_point {
    uint64_t messages; /* that the state had handled */
    uint64_t entries;  /* of the thing itself */
    uint64_t inner;    /* of all that is in it */
    uint64_t bytes;    /* of it and all that is in it */
};

struct growth_series {
    struct growth_point points[GROWTH_POINTS]; /* the latest, oldest first */
    unsigned count;
    bool rough; /* there are estimates among them */
};

enum growth_proof {
    GROWTH_STEADY,  /* three looks at least, over enough growth, and none of it slower than before */
    GROWTH_PRESSED, /* the state was full: two looks, and more in the second, are enough */
};

enum growth_what {
    GROWTH_NONE,
    GROWTH_ENTRIES, /* it has more and more entries */
    GROWTH_INNER,   /* what is in it has */
    GROWTH_BYTES,   /* it is longer and longer */
};

struct growth {
    enum growth_what what;
    double entries_per_message; /* of what grows; 0 for GROWTH_BYTES */
    double bytes_per_message;
};

/* How many messages after a look at so many another is a point of its own; one before that takes its place.
 */
uint64_t growth_apart(uint64_t messages);

void growth_add(struct growth_series *series, const struct growth_point *point);

/* Of a state with so many messages under way at once: what each of them keeps for as long comes and goes, and
 * is no growth. */
struct growth growth_judge(const struct growth_series *series, enum growth_proof proof, unsigned at_once);

#endif
