/* Which places of a heap leak: those whose growth explains the rest. What is in a list that grows is not
 * told, only the list; a list or tree of tables that lead to each other is told by the variable that holds
 * it; where many names of one table grow alike, the table is told. Pure. */
#ifndef WORKER_LEAK_SUSPECTS_H
#define WORKER_LEAK_SUSPECTS_H

#include "worker/growth.h"
#include "worker/heap_places.h"

#include <stdbool.h>
#include <stdint.h>

enum { SUSPECTS_MAX = 8 }; /* told of one look */

struct suspect {
    uint32_t place;
    const char *kind; /* "table", "array", "string", "linked list", "nested tables" */
    uint64_t entries;
    uint64_t bytes;
    double entries_per_message;
    double bytes_per_message;
};

/* The suspects after `messages`, the largest growth first; how many. A place that did not grow in a state
 * that had handled more messages is none. */
unsigned suspects_find(const struct places *places, enum growth_proof proof, uint64_t messages,
                       struct suspect suspects[SUSPECTS_MAX]);

/* Every place that was looked at until now and has not grown is innocent, up to so many messages. */
void suspects_acquit(struct places *places, uint64_t messages);

#endif
