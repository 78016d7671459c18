/* One shard of the cache; see cache_shard.h. */
#include "common/cache_shard.h"

#include "common/cache_blocks.h"
#include "common/cache_expiry.h"
#include "common/cache_recency.h"
#include "common/clock.h"

#include <assert.h>
#include <string.h>

enum {
    HEAD_BYTES = 128, /* keeps what follows aligned, and the heads of two shards out of one line */
    PEEK_STEPS = 64,  /* without the lock a bucket may be knotted; a real one is never as long */
};

static_assert(sizeof(union cache_unit) == CACHE_UNIT_BYTES, "units are all of one size");
static_assert(sizeof(struct shard_head) <= HEAD_BYTES, "the head has its place");
static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2, "atomics work between processes");

/* Longer than any operation takes, also on a machine that has too much to do; then the owner was stopped. */
#define WAIT_NS CLOCK_NS_PER_SECOND
/* Once it was waited for in vain. */
#define WAIT_AGAIN_NS CLOCK_NS_PER_MS

/* Place */

static size_t rounded(size_t bytes)
{
    return (bytes + CACHE_UNIT_BYTES - 1) / CACHE_UNIT_BYTES * CACHE_UNIT_BYTES;
}

size_t shard_bytes(uint32_t entries, uint32_t buckets, uint32_t units)
{
    return HEAD_BYTES + rounded(CACHE_SLOTS * sizeof(struct shard_slot)) + rounded(buckets * sizeof(cell)) +
           rounded(entries * sizeof(struct shard_expiry)) + rounded(units * sizeof(wide)) +
           (size_t)units * sizeof(union cache_unit);
}

static void *take_place(char **place, size_t bytes)
{
    char *at = *place;
    *place += rounded(bytes);
    return at;
}

void shard_open(struct shard *shard, struct cache_header *header, const struct cache_geometry *geometry,
                uint32_t index, struct cache_locker *locker)
{
    uint32_t slots = (geometry->entries + geometry->shards - 1) / geometry->shards;
    char *place = (char *)header + rounded(sizeof *header) +
                  index * shard_bytes(slots, geometry->buckets, geometry->units);
    *shard = (struct shard){ .entries_max = geometry->entries / geometry->shards +
                                            (index < geometry->entries % geometry->shards),
                             .units_max = geometry->units,
                             .bucket_mask = geometry->buckets - 1,
                             .locker = locker,
                             .spaces = &header->spaces };
    shard->head = take_place(&place, HEAD_BYTES);
    shard->slots = take_place(&place, CACHE_SLOTS * sizeof(struct shard_slot));
    shard->buckets = take_place(&place, geometry->buckets * sizeof(cell));
    shard->expiries = take_place(&place, slots * sizeof(struct shard_expiry));
    shard->uses = take_place(&place, geometry->units * sizeof(wide));
    shard->units = take_place(&place, geometry->units * sizeof(union cache_unit));
}

/* Locking */

void shard_begin_change(struct shard *shard)
{
    cell_set(&shard->head->sequence, cell_get(&shard->head->sequence) | 1);
    atomic_thread_fence(memory_order_release);
}

void shard_end_change(struct shard *shard)
{
    uint32_t sequence = cell_get(&shard->head->sequence) | 1;
    atomic_store_explicit(&shard->head->sequence, sequence + 1, memory_order_release);
}

static void reset(struct shard *shard)
{
    struct shard_head *head = shard->head;
    shard_begin_change(shard);
    for (uint32_t i = 0; i <= shard->bucket_mask; i++)
        cell_set(&shard->buckets[i], CACHE_NONE);
    for (uint32_t i = 0; i < CACHE_SLOTS; i++) {
        cell_set(&shard->slots[i].entries, 0);
        cell_set(&shard->slots[i].units, 0);
        cell_set(&shard->slots[i].oldest, CACHE_NONE);
    }
    cell_set(&head->entries, 0);
    cell_set(&head->units, 0);
    cell_set(&head->fresh, 0);
    cell_set(&head->free_first, CACHE_NONE);
    shard_end_change(shard);
    shard->broken = false;
}

static void count(wide *counter)
{
    wide_set(counter, wide_get(counter) + 1);
}

/* An operation may look at everything there is, and put it in order, once; not more. */
static uint64_t steps_of_an_operation(const struct shard *shard)
{
    return 4096 + UINT64_C(256) * shard->entries_max + UINT64_C(4) * shard->units_max;
}

bool shard_lock(struct shard *shard)
{
    struct shard_head *head = shard->head;
    struct cache_lock_sight seen = { .word = atomic_load_explicit(&head->lock.word, memory_order_relaxed),
                                     .sequence = cell_get(&head->sequence) };
    bool again = seen.word != 0 && seen.word == shard->sight.word && seen.sequence == shard->sight.sequence;
    if (!cache_lock_take(shard->locker, &head->lock, again ? WAIT_AGAIN_NS : WAIT_NS)) {
        shard->sight.word = atomic_load_explicit(&head->lock.word, memory_order_relaxed);
        shard->sight.sequence = cell_get(&head->sequence);
        return false;
    }
    shard->sight.word = 0;
    shard->broken = false;
    shard->steps = steps_of_an_operation(shard);
    if (cell_get(&head->sequence) & 1) {
        reset(shard);
        count(&head->resets);
    }
    return true;
}

void shard_unlock(struct shard *shard)
{
    if (shard->broken) {
        reset(shard);
        count(&shard->head->resets);
    }
    cache_lock_leave(shard->locker, &shard->head->lock);
}

/* Finding */

/* Key and value begin with a word each: of their last words up to 7 bytes may be idle. */
size_t shard_room(uint32_t units)
{
    size_t words = CACHE_ENTRY_WORDS + (size_t)(units - 1) * CACHE_BLOCK_WORDS;
    return (words - 2) * sizeof(uint64_t) + 2;
}

bool shard_could_hold(const struct shard *shard, size_t key_bytes, size_t value_bytes)
{
    size_t room = shard_room(shard->units_max);
    return key_bytes <= CACHE_KEY_MAX && key_bytes <= room && value_bytes <= room - key_bytes;
}

static cell *bucket_of(struct shard *shard, uint32_t hash)
{
    return &shard->buckets[hash & shard->bucket_mask];
}

static struct shard_found describe(struct shard *shard, uint32_t number)
{
    const struct cache_entry *entry = unit_entry(shard, number);
    struct shard_found found = { .number = number,
                                 .about = cell_get(&entry->about),
                                 .value_bytes = cell_get(&entry->value_bytes),
                                 .expires_ns = (int64_t)wide_get(&entry->expires_ns) };
    if (!shard_could_hold(shard, about_key_bytes(found.about), found.value_bytes))
        shard->broken = true;
    return found;
}

/* Leaves the cursor at the value where the entry is the one. */
static bool is_wanted(struct shard *shard, uint32_t number, const struct shard_item *wanted,
                      struct cache_cursor *cursor)
{
    struct cache_entry *entry = unit_entry(shard, number);
    uint32_t about = cell_get(&entry->about);
    if (cell_get(&entry->hash) != wanted->hash || about_key_bytes(about) != wanted->key.size ||
        about_slot(about) != wanted->slot)
        return false;
    *cursor = cursor_open(shard, entry);
    return cursor_equals(cursor, wanted->key);
}

static uint32_t look_up(struct shard *shard, const struct shard_item *wanted, struct cache_cursor *cursor)
{
    uint32_t number = cell_get(bucket_of(shard, wanted->hash));
    while (number != CACHE_NONE && shard_goes_on(shard)) {
        if (is_wanted(shard, number, wanted, cursor))
            return shard->broken ? CACHE_NONE : number;
        number = cell_get(&unit_entry(shard, number)->bucket_next);
    }
    return CACHE_NONE;
}

struct shard_found shard_find(struct shard *shard, const struct shard_item *wanted)
{
    struct cache_cursor cursor;
    const struct shard_found nothing = { .number = CACHE_NONE };
    uint32_t number = look_up(shard, wanted, &cursor);
    if (number == CACHE_NONE)
        return nothing;
    struct shard_found found = describe(shard, number);
    if (shard->broken)
        return nothing;
    if (found.expires_ns > wanted->now_ns)
        return found;
    count(&shard->head->expired);
    shard_remove(shard, number);
    return nothing;
}

void shard_read_key(struct shard *shard, const struct shard_found *found, char *to)
{
    struct cache_cursor cursor = cursor_open(shard, unit_entry(shard, found->number));
    cursor_read(&cursor, to, about_key_bytes(found->about));
}

bool shard_read(struct shard *shard, const struct shard_found *found, struct buffer *value)
{
    struct cache_cursor cursor = cursor_open(shard, unit_entry(shard, found->number));
    if (!buffer_reserve(value, found->value_bytes))
        return false;
    if (found->value_bytes == 0)
        return true;
    cursor_skip(&cursor, about_key_bytes(found->about));
    cursor_read(&cursor, value->data + value->size, found->value_bytes);
    if (!shard->broken)
        value->size += found->value_bytes;
    return true;
}

static bool is_unchanged(const struct shard *shard, uint32_t sequence)
{
    atomic_thread_fence(memory_order_acquire);
    return cell_get(&shard->head->sequence) == sequence && !shard->broken;
}

static enum shard_sight copy_value(struct shard *shard, const struct shard_found *found, uint32_t sequence,
                                   struct cache_cursor *cursor, struct buffer *value)
{
    if (!is_unchanged(shard, sequence))
        return SHARD_UNSURE;
    if (!buffer_reserve(value, found->value_bytes))
        return SHARD_NO_MEMORY;
    if (found->value_bytes > 0)
        cursor_read(cursor, value->data + value->size, found->value_bytes);
    return SHARD_FOUND;
}

enum shard_sight shard_peek(struct shard *shard, const struct shard_item *wanted, struct shard_found *found,
                            struct buffer *value)
{
    struct cache_cursor cursor;
    uint32_t sequence = atomic_load_explicit(&shard->head->sequence, memory_order_acquire);
    if (sequence & 1)
        return SHARD_UNSURE;
    shard->broken = false;
    shard->steps = PEEK_STEPS;
    uint32_t number = look_up(shard, wanted, &cursor);
    if (number == CACHE_NONE)
        return is_unchanged(shard, sequence) ? SHARD_ABSENT : SHARD_UNSURE;
    *found = describe(shard, number);
    enum shard_sight sight = SHARD_FOUND;
    if (value)
        sight = copy_value(shard, found, sequence, &cursor, value);
    if (!is_unchanged(shard, sequence) || found->expires_ns <= wanted->now_ns)
        return SHARD_UNSURE;
    if (sight == SHARD_FOUND && value)
        value->size += found->value_bytes;
    return sight;
}

void shard_use(struct shard *shard, const struct shard_found *found, const struct shard_item *wanted)
{
    recency_use(shard, found->number, wanted->slot_limit, wanted->use_ns);
}

uint32_t shard_entries(const struct shard *shard)
{
    uint32_t entries = cell_get(&shard->head->entries);
    return entries < shard->entries_max ? entries : shard->entries_max;
}

void shard_visit(struct shard *shard, shard_visitor visit, void *context)
{
    for (uint32_t i = 0; i <= shard->bucket_mask; i++) {
        uint32_t number = cell_get(&shard->buckets[i]);
        while (number != CACHE_NONE && shard_goes_on(shard)) {
            uint32_t next = cell_get(&unit_entry(shard, number)->bucket_next);
            struct shard_found found = describe(shard, number);
            if (shard->broken || !visit(shard, &found, context))
                return;
            number = next;
        }
    }
}

/* Removing */

static uint32_t units_of(struct shard *shard, uint32_t number)
{
    struct shard_found found = describe(shard, number);
    return shard->broken ? 0 : units_for(about_key_bytes(found.about), found.value_bytes);
}

static void unlink_bucket(struct shard *shard, uint32_t number)
{
    const struct cache_entry *entry = unit_entry(shard, number);
    cell *link = bucket_of(shard, cell_get(&entry->hash));
    while (cell_get(link) != number && shard_goes_on(shard)) {
        if (cell_get(link) == CACHE_NONE)
            shard->broken = true;
        else
            link = &unit_entry(shard, cell_get(link))->bucket_next;
    }
    if (!shard->broken)
        cell_set(link, cell_get(&entry->bucket_next));
}

/* Adds to a count what may be negative. */
static void change_count(cell *counter, uint32_t more, uint32_t less)
{
    cell_set(counter, cell_get(counter) + more - less);
}

/* Takes the entry out of everything that leads to it; its units are not free yet. */
static void unlink_entry(struct shard *shard, uint32_t number, uint32_t units)
{
    uint32_t entries = shard_entries(shard);
    struct shard_slot *slot = slot_at(shard, about_slot(cell_get(&unit_entry(shard, number)->about)));
    if (entries == 0 || shard->broken) {
        shard->broken = true;
        return;
    }
    unlink_bucket(shard, number);
    recency_remove(shard, slot, number);
    expiry_remove(shard, number, entries - 1);
    cell_set(&shard->head->entries, entries - 1);
    change_count(&slot->entries, 0, 1);
    change_count(&slot->units, 0, units);
}

void shard_remove(struct shard *shard, uint32_t number)
{
    uint32_t units = units_of(shard, number);
    if (shard->broken)
        return;
    shard_begin_change(shard);
    unlink_entry(shard, number, units);
    chain_release(shard, number, units);
    shard_end_change(shard);
}

void shard_clear_slot(struct shard *shard, uint32_t number)
{
    struct shard_slot *slot = slot_at(shard, number);
    if (cell_get(&slot->entries) == cell_get(&shard->head->entries)) {
        reset(shard);
        return;
    }
    for (uint32_t i = 0; i < shard->entries_max && cell_get(&slot->oldest) != CACHE_NONE; i++) {
        if (shard->broken)
            return;
        shard_remove(shard, cell_get(&slot->oldest));
    }
}

/* Making room */

/* The entry of all slots that was used longest ago. */
static struct shard_slot *oldest_slot(struct shard *shard)
{
    uint32_t spaces = cell_get(shard->spaces);
    struct shard_slot *oldest = NULL;
    uint64_t oldest_ns = UINT64_MAX;
    for (uint32_t i = 0; i <= spaces && i < CACHE_SLOTS && !shard->broken; i++) {
        uint32_t number = recency_oldest(shard, &shard->slots[i]);
        if (number == CACHE_NONE)
            continue;
        uint64_t use_ns = wide_get(&unit_entry(shard, number)->ordered_ns);
        if (!oldest || use_ns < oldest_ns) {
            oldest = &shard->slots[i];
            oldest_ns = use_ns;
        }
    }
    return oldest;
}

static void evict(struct shard *shard, struct shard_slot *slot)
{
    shard_begin_change(shard);
    if (!slot)
        slot = oldest_slot(shard);
    uint32_t number = slot ? recency_oldest(shard, slot) : CACHE_NONE;
    if (number == CACHE_NONE)
        shard->broken = true;
    shard_end_change(shard);
    if (shard->broken)
        return;
    count(&shard->head->evictions);
    shard_remove(shard, number);
}

static bool remove_expired(struct shard *shard, int64_t now_ns)
{
    uint32_t entries = shard_entries(shard);
    if (expiry_earliest_ns(shard, entries) > now_ns)
        return false;
    shard_begin_change(shard);
    uint32_t first = expiry_first(shard, entries);
    shard_end_change(shard);
    if (shard->broken || (int64_t)wide_get(&unit_entry(shard, first)->expires_ns) > now_ns)
        return false;
    count(&shard->head->expired);
    shard_remove(shard, first);
    return true;
}

static bool has_units(const struct shard *shard, uint32_t units)
{
    uint32_t used = cell_get(&shard->head->units);
    return used <= shard->units_max && shard->units_max - used >= units;
}

/* What has expired goes first, then what was used longest ago: in the item's own slot where that is full,
 * else in the whole shard. */
static void make_room(struct shard *shard, const struct shard_item *item, uint32_t entries, uint32_t units)
{
    const struct shard_slot *slot = slot_at(shard, item->slot);
    while (shard_goes_on(shard)) {
        bool slot_full = entries > 0 && cell_get(&slot->entries) >= item->slot_limit;
        bool full = entries > 0 && cell_get(&shard->head->entries) >= shard->entries_max;
        if (!slot_full && !full && has_units(shard, units))
            return;
        if (!remove_expired(shard, item->now_ns))
            evict(shard, slot_full ? slot_at(shard, item->slot) : NULL);
    }
}

/* Putting */

static void write_item(struct shard *shard, struct cache_entry *entry, const struct shard_item *item)
{
    struct cache_cursor cursor = cursor_open(shard, entry);
    cursor_write(&cursor, item->key.data, item->key.size);
    cursor_write(&cursor, item->value.data, item->value.size);
}

static void describe_item(struct cache_entry *entry, const struct shard_item *item)
{
    cell_set(&entry->about, about_of(item->key.size, item->type, item->slot));
    cell_set(&entry->value_bytes, (uint32_t)item->value.size);
    wide_set(&entry->expires_ns, (uint64_t)item->expires_ns);
}

static void link_entry(struct shard *shard, const struct shard_item *item, uint32_t number, uint32_t units)
{
    struct shard_slot *slot = slot_at(shard, item->slot);
    cell *bucket = bucket_of(shard, item->hash);
    uint32_t entries = shard_entries(shard) + 1;
    if (shard->broken || entries > shard->entries_max) {
        shard->broken = true;
        return;
    }
    cell_set(&unit_entry(shard, number)->bucket_next, cell_get(bucket));
    cell_set(bucket, number);
    cell_set(&shard->head->entries, entries);
    change_count(&slot->entries, 1, 0);
    change_count(&slot->units, units, 0);
    expiry_add(shard, number, entries);
    recency_add(shard, slot, number);
}

/* All but the links is written while the units are still free: who dies there has changed nothing, and who
 * reads meanwhile is not held up. `old` (of `had` units, or CACHE_NONE) goes for it. */
static void add(struct shard *shard, const struct shard_item *item, uint32_t units, uint32_t old,
                uint32_t had)
{
    struct cache_chain chain = chain_pick(shard, units);
    struct cache_entry *entry = unit_entry(shard, chain.first);
    uint64_t use = old != CACHE_NONE ? wide_get(unit_use(shard, old)) : (uint64_t)item->use_ns;
    if (shard->broken)
        return;
    write_item(shard, entry, item);
    describe_item(entry, item);
    cell_set(&entry->hash, item->hash);
    wide_set(unit_use(shard, chain.first), use);
    shard_begin_change(shard);
    if (old != CACHE_NONE)
        unlink_entry(shard, old, had);
    chain_take(shard, &chain);
    link_entry(shard, item, chain.first, units);
    if (old != CACHE_NONE)
        chain_release(shard, old, had);
    shard_end_change(shard);
}

/* The entry keeps its first unit and its places; its other units are exchanged where it needs more or fewer.
 */
static void overwrite(struct shard *shard, const struct shard_item *item, uint32_t number, uint32_t had,
                      uint32_t needs)
{
    struct cache_entry *entry = unit_entry(shard, number);
    struct shard_slot *slot = slot_at(shard, item->slot);
    shard_begin_change(shard);
    if (had != needs) {
        chain_release(shard, cell_get(&entry->next), had - 1);
        struct cache_chain chain = chain_pick(shard, needs - 1);
        chain_take(shard, &chain);
        cell_set(&entry->next, chain.first);
        change_count(&slot->units, needs, had);
    }
    write_item(shard, entry, item);
    describe_item(entry, item);
    expiry_move(shard, number, shard_entries(shard));
    shard_end_change(shard);
}

void shard_put(struct shard *shard, const struct shard_item *item, uint32_t number)
{
    uint32_t needs = units_for(item->key.size, item->value.size);
    uint32_t had = number != CACHE_NONE ? units_of(shard, number) : 0;
    if (number == CACHE_NONE) {
        make_room(shard, item, 1, needs);
        recency_count(shard, item->use_ns);
        if (!shard->broken)
            add(shard, item, needs, CACHE_NONE, 0);
        return;
    }
    recency_use(shard, number, item->slot_limit, item->use_ns);
    if (needs > had) {
        wide_set(unit_use(shard, number), (uint64_t)item->use_ns); /* it is not to go itself */
        make_room(shard, item, 0, needs - had);
    }
    if (shard->broken)
        return;
    if (needs > 1 && has_units(shard, needs))
        add(shard, item, needs, number, had);
    else
        overwrite(shard, item, number, had, needs);
}

/* Numbers and times */

static wide *number_word(struct shard *shard, const struct shard_found *found)
{
    struct cache_cursor cursor = cursor_open(shard, unit_entry(shard, found->number));
    cursor_skip(&cursor, about_key_bytes(found->about));
    return cursor_word(&cursor);
}

double shard_number(struct shard *shard, const struct shard_found *found)
{
    double value;
    uint64_t word = wide_get(number_word(shard, found));
    memcpy(&value, &word, sizeof value);
    return value;
}

void shard_put_number(struct shard *shard, const struct shard_found *found, double value)
{
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    wide_set(number_word(shard, found), word);
}

void shard_set_expiry(struct shard *shard, uint32_t number, int64_t expires_ns)
{
    shard_begin_change(shard);
    wide_set(&unit_entry(shard, number)->expires_ns, (uint64_t)expires_ns);
    expiry_move(shard, number, shard_entries(shard));
    shard_end_change(shard);
}
