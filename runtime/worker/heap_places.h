/* The places in a script's heap that have a name there: a module, a global, an upvalue of a function, a local
 * of a coroutine, and fields of tables below them. What is found in a heap belongs to the nearest of them,
 * where it is counted; so a million entries of one table are one place.
 *
 * A place is known by its labels alone, not by an address: it is the same in one walk as in the next, and in
 * the next Lua state. Their number is bounded: where there is no room for another place, what would be in it
 * belongs to the one above. Knows no Lua. */
#ifndef WORKER_HEAP_PLACES_H
#define WORKER_HEAP_PLACES_H

#include "common/buffer.h"
#include "worker/growth.h"
#include "worker/note.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PLACES_MAX = 4096,
    PLACE_NAME_MAX = 63, /* longer names are cut */
    PLACE_SOURCE_MAX = 127,
    PLACE_SAMPLE_MAX = 160,
    PLACE_FIELDS_MAX = 32, /* a table with more names in it is a collection: they are data */
    PLACE_DEPTH_MAX = 16,  /* labels in a row */
};

enum place_kind {
    PLACE_ROOT,
    PLACE_MODULE,
    PLACE_GLOBAL,
    PLACE_UPVALUE, /* of the function that is defined in line `line` of `source` */
    PLACE_LOCAL,   /* the same, in a coroutine that runs it */
    PLACE_REGISTRY,
    /* The kinds above are written by themselves, those below behind the place that they are in. */
    PLACE_FIELD,
    PLACE_METATABLE,
    PLACE_ENVIRONMENT, /* the globals of a function that has its own */
};

struct place_label {
    enum place_kind kind;
    struct slice name;
    struct slice source;
    int line;
};

/* What one walk has found there. */
struct place_figures {
    uint64_t entries;       /* of the table that the place names */
    uint64_t array_entries; /* of them those with a whole number as the key */
    uint64_t array_end;     /* the largest of these numbers */
    uint64_t inner;         /* entries of tables in it that have no place of their own */
    uint64_t objects;       /* such tables, and functions */
    uint64_t held;          /* the same of all places whose holder this one is */
    uint64_t bytes;         /* of all that belongs to it */
    bool is_string;
    uint64_t messages; /* after which it was so; 0: after all */
    bool cut;          /* there is more in it than was looked at */
    bool weak;         /* the table that it names, so that garbage may be in it */
};

struct place {
    enum place_kind kind;
    uint32_t parent;
    uint32_t depth;
    uint32_t hash;
    int line;
    char name[PLACE_NAME_MAX + 1];
    char source[PLACE_SOURCE_MAX + 1];
    unsigned fields;   /* places below it that are fields */
    bool collection;   /* its entries have no places; once so, always so */
    bool chained;      /* what is in it leads back to its own label, or to one above: a list, a tree */
    uint32_t chain;    /* where chained: the topmost place with a label that came again */
    bool large;        /* it has been cut from the first walk of this state on */
    uint64_t innocent; /* it did not grow in a state that had handled so many messages */
    struct place_figures now;
    struct growth_series series; /* of the state at hand */
    size_t sample_bytes;
    char sample[PLACE_SAMPLE_MAX];
};

struct places {
    struct place *list; /* list[0] is the root */
    uint32_t count;
    uint32_t capacity;
    uint32_t *index;  /* by hash; 0: free */
    unsigned at_once; /* messages that may be under way while a walk goes through; 0: none */
};

bool places_init(struct places *places); /* false where there is no memory */
void places_clear(struct places *places);

/* Where what has this label, seen from `parent`, belongs: a place below it; or `parent` itself where the
 * label leads in circles or there is no room. */
uint32_t places_below(struct places *places, uint32_t parent, const struct place_label *label);

/* The place that holds what is in this one: the variable, where this is a part of a list or tree; else
 * itself. */
uint32_t places_holder(const struct places *places, uint32_t id);

/* What a walk has found in all of them. */
uint64_t places_bytes(const struct places *places);

/* How many objects the largest of them holds that have no place of their own, of those that were not large
 * from the first. */
uint64_t places_most_held(const struct places *places);

/* What a walk has left out, about, and how much the heap has grown in all since the state began: after so
 * many messages. */
struct places_rest {
    uint64_t bytes;
    uint64_t grown_bytes;
    uint64_t messages;
};

/* The rest belongs to what was cut, if that has one holder and is most of what has grown; else nothing is
 * known of it. A place that is large from the first is taken to stay as it is. */
void places_add_rest(struct places *places, const struct places_rest *rest);

/* Whether there is one of which something was left out that no rest was added for. */
bool places_are_cut(const struct places *places);

/* A walk begins: all figures are 0. It is over: what is known by them is added to each place's series. That
 * is nothing of what was cut, and of weak tables only where all garbage has just been `collected`. */
void places_begin(struct places *places);
void places_end(struct places *places, uint64_t messages, bool collected);

/* Nothing was found to have grown since the last walk, without another. */
void places_stay(struct places *places, uint64_t messages);

/* A new Lua state: no series goes on. */
void places_forget(struct places *places);

/* How much there is in it: the links of a list or tree, else the entries of all tables. */
uint64_t place_inner(const struct place *place);

/* Adds a key of the place's own table to its sample; what is behind the bound is left out. */
void place_add_sample(struct place *place, struct slice key);

/* The place as the author wrote it: upvalue 'state' of handler.lua:7 .listeners. `folder` is left out of the
 * names of files. */
void places_describe(const struct places *places, uint32_t id, struct slice folder, struct note *note);

#endif
