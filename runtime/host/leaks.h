/* What the workers of a consumer found growing in their Lua states: each variable once, the latest figures
 * of it. The one that was told longest ago makes room where there are more than LEAKS_MAX. */
#ifndef HOST_LEAKS_H
#define HOST_LEAKS_H

#include "common/wire.h"
#include "host/worker_process.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LEAKS_MAX = 16,
    LEAK_PATH_MAX = WIRE_LEAK_PATH_MAX,
    LEAK_KIND_MAX = WIRE_LEAK_KIND_MAX,
    LEAK_SAMPLE_MAX = WIRE_LEAK_SAMPLE_MAX,
    LEAK_LINE_MAX = LEAK_PATH_MAX + LEAK_KIND_MAX + 128,
};

struct leak_suspect {
    char path[LEAK_PATH_MAX + 1];     /* "upvalue 'seen' of handler.lua:3" */
    char kind[LEAK_KIND_MAX + 1];     /* "table", "array", "string", ... */
    char sample[LEAK_SAMPLE_MAX + 1]; /* some of its keys */
    uint64_t entries;
    double entries_per_message;
    uint64_t bytes;
    double bytes_per_message;
    unsigned lane;     /* the worker that told it last */
    int64_t found_ns;  /* when it was told last, monotonic */
    int64_t logged_ns; /* when it was last a line in the log */
};

struct leaks {
    struct leak_suspect suspects[LEAKS_MAX];
    unsigned count;
    uint64_t told; /* reports of all workers since the start */
};

/* Keeps what a worker told, whose texts lose what would not be fit to print; *ret_new says whether nobody has
 * told of this variable before. */
struct leak_suspect *leaks_add(struct leaks *leaks, unsigned lane, const struct wire_leak *leak,
                               const struct leak_names *names, int64_t now_ns, bool *ret_new);

/* As leaks_add, and in the log: at once what is new, and then once in a while. */
void leaks_take(struct leaks *leaks, const char *consumer, unsigned lane, const struct wire_leak *leak,
                const struct leak_names *names);

/* upvalue 'seen' of handler.lua:3, table, 48213 entries, +1.0 per message, +112 bytes per message */
const char *leaks_describe(const struct leak_suspect *suspect, char line[LEAK_LINE_MAX]);

#endif
