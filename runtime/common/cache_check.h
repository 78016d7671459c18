/* The integrity walk: whether everything in a shard is as the cache's files say. */
#ifndef COMMON_CACHE_CHECK_H
#define COMMON_CACHE_CHECK_H

#include "common/cache_layout.h"

/* With the lock. False with the first thing that is wrong. */
bool shard_check(struct shard *shard, struct error *error);

#endif
