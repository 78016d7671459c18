/* One shard of the cache; see cache_shard.h. */
#include "common/cache_shard.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(sizeof(struct cache_block) == CACHE_BLOCK_BYTES, "blocks are all of one size");
static_assert(sizeof(struct cache_entry) == CACHE_BLOCK_BYTES, "an entry begins with one block");

enum { HEAD_BYTES = 256 /* keeps what follows aligned, and two shards' locks out of one cache line */ };

static_assert(sizeof(struct shard_head) <= HEAD_BYTES, "the head has its place");

/* Place */

static size_t table_bytes(uint32_t count)
{
    size_t bytes = (size_t)count * sizeof(uint32_t);
    return (bytes + CACHE_BLOCK_BYTES - 1) / CACHE_BLOCK_BYTES * CACHE_BLOCK_BYTES;
}

size_t shard_bytes(const struct cache_geometry *geometry)
{
    return HEAD_BYTES + table_bytes(geometry->buckets) + table_bytes(geometry->entries) +
           (size_t)geometry->blocks * CACHE_BLOCK_BYTES;
}

void shard_open(struct shard *shard, struct cache_header *header, const struct cache_geometry *geometry,
                uint32_t index)
{
    enum { HEADER_BYTES = 256 };
    static_assert(sizeof(struct cache_header) <= HEADER_BYTES, "the header has its place");
    char *place = (char *)header + HEADER_BYTES + (size_t)index * shard_bytes(geometry);
    shard->head = (struct shard_head *)(void *)place;
    place += HEAD_BYTES;
    shard->buckets = (uint32_t *)(void *)place;
    place += table_bytes(geometry->buckets);
    shard->heap = (uint32_t *)(void *)place;
    place += table_bytes(geometry->entries);
    shard->blocks = (struct cache_block *)(void *)place;
    shard->geometry = *geometry;
    shard->broken = false;
}

static struct cache_block *block_at(struct shard *shard, uint32_t number)
{
    if (number - 1 < shard->geometry.blocks)
        return &shard->blocks[number - 1];
    shard->broken = true;
    return &shard->nowhere;
}

struct cache_entry *shard_entry(struct shard *shard, uint32_t number)
{
    return (struct cache_entry *)(void *)block_at(shard, number);
}

/* Locking */

static void begin_change(struct shard *shard)
{
    atomic_store_explicit(&shard->head->changing, 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

/* A process dies between two instructions, not between two caches: the order of stores in the program is what
 * the next owner sees. */
static void end_change(struct shard *shard)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&shard->head->changing, 0, memory_order_release);
}

bool shard_init(struct shard *shard)
{
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes) != 0)
        return false;
    bool made = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0 &&
                pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
                pthread_mutex_init(&shard->head->lock, &attributes) == 0;
    (void)pthread_mutexattr_destroy(&attributes);
    shard->head->fresh = 1;
    return made;
}

void shard_clear(struct shard *shard)
{
    struct shard_head *head = shard->head;
    begin_change(shard);
    memset(shard->buckets, 0, (size_t)shard->geometry.buckets * sizeof *shard->buckets);
    head->fresh = 1;
    head->free_first = head->newest = head->oldest = CACHE_NONE;
    head->used = head->entries = 0;
    end_change(shard);
}

static void reset(struct shard *shard)
{
    shard_clear(shard);
    shard->head->counts.resets++;
    shard->broken = false;
}

bool shard_lock(struct shard *shard)
{
    int status = pthread_mutex_lock(&shard->head->lock);
    if (status == EOWNERDEAD && pthread_mutex_consistent(&shard->head->lock) != 0)
        return false;
    if (status != 0 && status != EOWNERDEAD)
        return false;
    if (atomic_load_explicit(&shard->head->changing, memory_order_relaxed))
        reset(shard);
    return true;
}

void shard_unlock(struct shard *shard)
{
    if (shard->broken)
        reset(shard);
    (void)pthread_mutex_unlock(&shard->head->lock);
}

/* Chains of blocks */

static uint32_t blocks_for(size_t bytes)
{
    const size_t first = sizeof(((struct cache_entry *)NULL)->data);
    const size_t further = sizeof(((struct cache_block *)NULL)->data);
    if (bytes <= first)
        return 1;
    return 1 + (uint32_t)((bytes - first + further - 1) / further);
}

size_t shard_room(const struct cache_geometry *geometry)
{
    return sizeof(((struct cache_entry *)NULL)->data) +
           (size_t)(geometry->blocks - 1) * sizeof(((struct cache_block *)NULL)->data);
}

bool shard_could_hold(const struct shard *shard, size_t key_bytes, size_t value_bytes)
{
    size_t room = shard_room(&shard->geometry);
    return key_bytes <= room && value_bytes <= room - key_bytes;
}

static uint32_t take_block(struct shard *shard)
{
    struct shard_head *head = shard->head;
    uint32_t number = head->free_first;
    if (number != CACHE_NONE)
        head->free_first = block_at(shard, number)->next;
    else
        number = head->fresh++;
    head->used++;
    return number;
}

static uint32_t take_chain(struct shard *shard, uint32_t count)
{
    uint32_t next = CACHE_NONE;
    while (count-- > 0 && !shard->broken) {
        uint32_t number = take_block(shard);
        block_at(shard, number)->next = next;
        next = number;
    }
    return next;
}

static void free_chain(struct shard *shard, uint32_t first)
{
    struct shard_head *head = shard->head;
    uint32_t last = first;
    uint32_t count = 1;
    while (block_at(shard, last)->next != CACHE_NONE && count <= head->used && !shard->broken) {
        last = block_at(shard, last)->next;
        count++;
    }
    if (count > head->used) {
        shard->broken = true;
        return;
    }
    block_at(shard, last)->next = head->free_first;
    head->free_first = first;
    head->used -= count;
}

/* Calls `copy` for each piece of the run; the first block of an entry holds less than the others. */
static void each_piece(struct shard *shard, uint32_t number, size_t offset, size_t size, char *memory,
                       bool write)
{
    char *data = shard_entry(shard, number)->data;
    size_t room = sizeof(((struct cache_entry *)NULL)->data);
    uint32_t next = shard_entry(shard, number)->next;
    while (size > 0 && !shard->broken) {
        if (offset < room) {
            size_t piece = room - offset < size ? room - offset : size;
            if (write)
                memcpy(data + offset, memory, piece);
            else
                memcpy(memory, data + offset, piece);
            memory += piece;
            size -= piece;
            offset = 0;
        } else {
            offset -= room;
        }
        if (size > 0) {
            struct cache_block *block = block_at(shard, next);
            data = block->data;
            room = sizeof block->data;
            next = block->next;
        }
    }
}

void shard_read(struct shard *shard, uint32_t number, size_t offset, char *to, size_t size)
{
    each_piece(shard, number, offset, size, to, false);
}

void shard_write(struct shard *shard, uint32_t number, size_t offset, const char *from, size_t size)
{
    /* Only read from, as `write` says. */
    each_piece(shard, number, offset, size, (char *)(uintptr_t)from, true);
}

void shard_overwrite(struct shard *shard, uint32_t number, size_t offset, const char *from, size_t size)
{
    begin_change(shard);
    shard_write(shard, number, offset, from, size);
    end_change(shard);
}

/* Order of use */

static void unlink_use(struct shard *shard, const struct cache_entry *entry)
{
    struct shard_head *head = shard->head;
    if (entry->newer != CACHE_NONE)
        shard_entry(shard, entry->newer)->older = entry->older;
    else
        head->newest = entry->older;
    if (entry->older != CACHE_NONE)
        shard_entry(shard, entry->older)->newer = entry->newer;
    else
        head->oldest = entry->newer;
}

static void link_newest(struct shard *shard, uint32_t number)
{
    struct shard_head *head = shard->head;
    struct cache_entry *entry = shard_entry(shard, number);
    entry->newer = CACHE_NONE;
    entry->older = head->newest;
    if (head->newest != CACHE_NONE)
        shard_entry(shard, head->newest)->newer = number;
    else
        head->oldest = number;
    head->newest = number;
}

void shard_touch(struct shard *shard, uint32_t number)
{
    if (shard->head->newest == number)
        return;
    begin_change(shard);
    unlink_use(shard, shard_entry(shard, number));
    link_newest(shard, number);
    end_change(shard);
}

/* Expiries: a binary heap; each entry knows its place in it. */

static void heap_put(struct shard *shard, uint32_t place, uint32_t number)
{
    shard->heap[place] = number;
    shard_entry(shard, number)->heap_place = place;
}

static int64_t heap_expiry(struct shard *shard, uint32_t place)
{
    return shard_entry(shard, shard->heap[place])->expires_ns;
}

static void heap_rise(struct shard *shard, uint32_t place)
{
    uint32_t number = shard->heap[place];
    int64_t expires_ns = shard_entry(shard, number)->expires_ns;
    while (place > 0 && heap_expiry(shard, (place - 1) / 2) > expires_ns) {
        heap_put(shard, place, shard->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    heap_put(shard, place, number);
}

static void heap_sink(struct shard *shard, uint32_t place)
{
    uint32_t count = shard->head->entries;
    uint32_t number = shard->heap[place];
    int64_t expires_ns = shard_entry(shard, number)->expires_ns;
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child + 1 < count && heap_expiry(shard, child + 1) < heap_expiry(shard, child))
            child++;
        if (child >= count || heap_expiry(shard, child) >= expires_ns)
            break;
        heap_put(shard, place, shard->heap[child]);
        place = child;
    }
    heap_put(shard, place, number);
}

static void heap_remove(struct shard *shard, uint32_t place)
{
    uint32_t last = --shard->head->entries;
    if (place > last) {
        shard->broken = true;
        return;
    }
    if (place == last)
        return;
    heap_put(shard, place, shard->heap[last]);
    heap_rise(shard, place);
    heap_sink(shard, place);
}

void shard_set_expiry(struct shard *shard, uint32_t number, int64_t expires_ns)
{
    struct cache_entry *entry = shard_entry(shard, number);
    if (entry->heap_place >= shard->head->entries) {
        shard->broken = true;
        return;
    }
    begin_change(shard);
    entry->expires_ns = expires_ns;
    heap_rise(shard, entry->heap_place);
    heap_sink(shard, entry->heap_place);
    end_change(shard);
}

/* Entries */

static uint32_t *bucket_of(struct shard *shard, uint32_t hash)
{
    return &shard->buckets[hash & (shard->geometry.buckets - 1)];
}

static bool has_key(struct shard *shard, uint32_t number, struct slice key)
{
    const struct cache_entry *entry = shard_entry(shard, number);
    char copy[CACHE_KEY_MAX];
    if (entry->key_bytes != key.size)
        return false;
    if (key.size <= sizeof entry->data)
        return memcmp(entry->data, key.data, key.size) == 0;
    shard_read(shard, number, 0, copy, key.size);
    return memcmp(copy, key.data, key.size) == 0;
}

static uint32_t lookup(struct shard *shard, uint32_t hash, struct slice key)
{
    uint32_t number = *bucket_of(shard, hash);
    for (uint32_t steps = 0; number != CACHE_NONE && !shard->broken; steps++) {
        const struct cache_entry *entry = shard_entry(shard, number);
        if (entry->hash == hash && has_key(shard, number, key))
            return shard->broken ? CACHE_NONE : number;
        number = entry->bucket_next;
        if (steps > shard->head->entries)
            shard->broken = true;
    }
    return CACHE_NONE;
}

static void unlink_bucket(struct shard *shard, uint32_t number)
{
    const struct cache_entry *entry = shard_entry(shard, number);
    uint32_t *link = bucket_of(shard, entry->hash);
    for (uint32_t steps = 0; *link != number && !shard->broken; steps++) {
        if (*link == CACHE_NONE || steps > shard->head->entries)
            shard->broken = true;
        else
            link = &shard_entry(shard, *link)->bucket_next;
    }
    if (!shard->broken)
        *link = entry->bucket_next;
}

void shard_remove(struct shard *shard, uint32_t number)
{
    struct cache_entry *entry = shard_entry(shard, number);
    begin_change(shard);
    unlink_bucket(shard, number);
    unlink_use(shard, entry);
    heap_remove(shard, entry->heap_place);
    free_chain(shard, number);
    end_change(shard);
}

uint32_t shard_find(struct shard *shard, uint32_t hash, struct slice key, int64_t now_ns)
{
    uint32_t number = lookup(shard, hash, key);
    if (number == CACHE_NONE || shard_entry(shard, number)->expires_ns > now_ns)
        return number;
    shard->head->counts.expired++;
    shard_remove(shard, number);
    return CACHE_NONE;
}

/* What has expired goes first, then what was used longest ago. */
static void make_room(struct shard *shard, uint32_t blocks, int64_t now_ns)
{
    struct shard_head *head = shard->head;
    while (!shard->broken && head->entries > 0 &&
           (head->entries >= shard->geometry.entries || head->used + blocks > shard->geometry.blocks)) {
        uint32_t first = shard->heap[0];
        bool expired = shard_entry(shard, first)->expires_ns <= now_ns;
        if (expired)
            head->counts.expired++;
        else
            head->counts.evictions++;
        shard_remove(shard, expired ? first : head->oldest);
    }
}

void shard_add(struct shard *shard, uint32_t hash, struct slice key, enum cache_type type, struct slice value,
               int64_t expires_ns, int64_t now_ns)
{
    uint32_t blocks = blocks_for(key.size + value.size);
    make_room(shard, blocks, now_ns);
    if (shard->broken)
        return;
    begin_change(shard);
    uint32_t number = take_chain(shard, blocks);
    struct cache_entry *entry = shard_entry(shard, number);
    uint32_t *bucket = bucket_of(shard, hash);
    entry->hash = hash;
    entry->key_bytes = (uint16_t)key.size;
    entry->value_bytes = (uint32_t)value.size;
    entry->type = (uint8_t)type;
    entry->expires_ns = expires_ns;
    shard_write(shard, number, 0, key.data, key.size);
    shard_write(shard, number, key.size, value.data, value.size);
    entry->bucket_next = *bucket;
    *bucket = number;
    link_newest(shard, number);
    heap_put(shard, shard->head->entries++, number);
    heap_rise(shard, shard->head->entries - 1);
    end_change(shard);
}

/* The integrity walk */

static bool wrong(struct error *error, const char *what)
{
    return error_set(error, ERROR_FAILED, "the cache is damaged: %s", what);
}

static bool check_heap(struct shard *shard, struct error *error)
{
    for (uint32_t place = 0; place < shard->head->entries; place++) {
        if (shard_entry(shard, shard->heap[place])->heap_place != place)
            return wrong(error, "an entry does not know its place among the expiries");
        if (place > 0 && heap_expiry(shard, (place - 1) / 2) > heap_expiry(shard, place))
            return wrong(error, "the expiries are out of order");
    }
    return true;
}

static bool check_uses(struct shard *shard, uint32_t *ret_blocks, struct error *error)
{
    uint32_t number = shard->head->newest, newer = CACHE_NONE, count = 0, blocks = 0;
    while (number != CACHE_NONE && !shard->broken && count <= shard->head->entries) {
        const struct cache_entry *entry = shard_entry(shard, number);
        if (entry->newer != newer)
            return wrong(error, "the order of use is not linked both ways");
        blocks += blocks_for((size_t)entry->key_bytes + entry->value_bytes);
        newer = number;
        number = entry->older;
        count++;
    }
    *ret_blocks = blocks;
    return (count == shard->head->entries && newer == shard->head->oldest) ||
           wrong(error, "the order of use does not hold every entry once");
}

static bool check_buckets(struct shard *shard, struct error *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < shard->geometry.buckets; i++) {
        for (uint32_t number = shard->buckets[i]; number != CACHE_NONE && !shard->broken;
             number = shard_entry(shard, number)->bucket_next) {
            if ((shard_entry(shard, number)->hash & (shard->geometry.buckets - 1)) != i)
                return wrong(error, "an entry is in the wrong bucket");
            if (++count > shard->head->entries)
                return wrong(error, "a bucket does not end");
        }
    }
    return count == shard->head->entries || wrong(error, "an entry is in no bucket");
}

static bool check_free(struct shard *shard, struct error *error)
{
    uint32_t count = 0;
    for (uint32_t number = shard->head->free_first; number != CACHE_NONE && !shard->broken;
         number = block_at(shard, number)->next) {
        if (++count > shard->geometry.blocks)
            return wrong(error, "the free blocks do not end");
    }
    return count + shard->head->used + 1 == shard->head->fresh ||
           wrong(error, "a block is neither free nor used");
}

bool shard_check(struct shard *shard, struct error *error)
{
    const struct shard_head *head = shard->head;
    uint32_t blocks = 0;
    if (head->entries > shard->geometry.entries || head->used > shard->geometry.blocks ||
        head->fresh > shard->geometry.blocks + 1)
        return wrong(error, "a shard holds more than it may");
    if (!check_heap(shard, error) || !check_uses(shard, &blocks, error) || !check_buckets(shard, error) ||
        !check_free(shard, error))
        return false;
    if (blocks != head->used)
        return wrong(error, "entries have more or fewer blocks than they need");
    return !shard->broken || wrong(error, "a number leads to no block");
}
