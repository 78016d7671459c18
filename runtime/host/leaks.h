/* What the workers of a consumer found growing in their Lua states: each variable once, the latest figures
 * of it. The one that was told longest ago makes room where there are more than LEAKS_MAX. */
#ifndef HOST_LEAKS_H
#define HOST_LEAKS_H

#include <stdint.h>

enum { LEAKS_MAX = 16, LEAK_PATH_MAX = 512, LEAK_KIND_MAX = 32, LEAK_SAMPLE_MAX = 256 };

struct leak_suspect {
    char path[LEAK_PATH_MAX + 1];     /* "upvalue 'seen' of handler.lua:3" */
    char kind[LEAK_KIND_MAX + 1];     /* "table", "array", "string", ... */
    char sample[LEAK_SAMPLE_MAX + 1]; /* some of its keys */
    uint64_t entries;
    double entries_per_message;
    uint64_t bytes;
    double bytes_per_message;
    unsigned lane;    /* the worker that told it last */
    int64_t found_ns; /* when it was told last, monotonic */
};

struct leaks {
    struct leak_suspect suspects[LEAKS_MAX];
    unsigned count;
    uint64_t told; /* reports of all workers since the start */
};

#endif
