/* The integrity walk; see cache_check.h. */
#include "common/cache_check.h"

#include "common/cache_blocks.h"
#include "common/cache_shard.h"

#include <stdlib.h>

static bool wrong(struct error *error, const char *what)
{
    return error_set(error, ERROR_FAILED, "the cache is damaged: %s", what);
}

static bool check_bounds(const struct shard *shard, struct error *error)
{
    const struct shard_head *head = shard->head;
    uint32_t entries = 0, units = 0;
    if (cell_get(&head->sequence) & 1)
        return wrong(error, "a change was not finished");
    if (cell_get(&head->entries) > shard->entries_max || cell_get(&head->units) > shard->units_max ||
        cell_get(&head->fresh) > shard->units_max)
        return wrong(error, "a shard holds more than it may");
    for (uint32_t i = 0; i < CACHE_SLOTS; i++) {
        entries += cell_get(&shard->slots[i].entries);
        units += cell_get(&shard->slots[i].units);
    }
    return (entries == cell_get(&head->entries) && units == cell_get(&head->units)) ||
           wrong(error, "the spaces do not add up");
}

static bool check_expiries(struct shard *shard, struct error *error)
{
    const uint32_t entries = shard_entries(shard);
    for (uint32_t place = 0; place < entries; place++) {
        const struct shard_expiry *expiry = &shard->expiries[place];
        const struct shard_expiry *above = &shard->expiries[place > 0 ? (place - 1) / 2 : 0];
        const struct cache_entry *entry = unit_entry(shard, cell_get(&expiry->number));
        int64_t known_ns = (int64_t)wide_get(&expiry->known_ns);
        if (cell_get(&entry->expiry_place) != place)
            return wrong(error, "an entry does not know its place among the expiries");
        if (known_ns > (int64_t)wide_get(&entry->expires_ns))
            return wrong(error, "an entry expires earlier than is known");
        if ((int64_t)wide_get(&above->known_ns) > known_ns)
            return wrong(error, "the expiries are out of order");
    }
    return true;
}

/* The next one of a tree, children first; CACHE_NONE behind the last. */
static uint32_t next_in_tree(struct shard *shard, uint32_t number)
{
    uint32_t next = cell_get(&unit_entry(shard, number)->child);
    while (next == CACHE_NONE && number != CACHE_NONE && shard_goes_on(shard)) {
        const struct cache_entry *entry = unit_entry(shard, number);
        uint32_t previous = cell_get(&entry->previous);
        next = cell_get(&entry->sibling);
        if (next != CACHE_NONE)
            break;
        while (previous != CACHE_NONE && cell_get(&unit_entry(shard, previous)->child) != number &&
               shard_goes_on(shard)) {
            number = previous;
            previous = cell_get(&unit_entry(shard, number)->previous);
        }
        number = previous;
    }
    return next;
}

static bool check_child(struct shard *shard, uint32_t number, struct error *error)
{
    const struct cache_entry *entry = unit_entry(shard, number);
    uint32_t previous = cell_get(&entry->previous);
    if (previous == CACHE_NONE)
        return true;
    const struct cache_entry *before = unit_entry(shard, previous);
    if (cell_get(&before->child) != number)
        return cell_get(&before->sibling) == number ||
               wrong(error, "the order of use is not linked both ways");
    for (; number != CACHE_NONE && shard_goes_on(shard);
         number = cell_get(&unit_entry(shard, number)->sibling))
        if (wide_get(&unit_entry(shard, number)->ordered_ns) < wide_get(&before->ordered_ns))
            return wrong(error, "the order of use is out of order");
    return true;
}

static bool check_slot(struct shard *shard, uint32_t slot, struct error *error)
{
    uint32_t entries = 0, units = 0;
    for (uint32_t number = cell_get(&shard->slots[slot].oldest); number != CACHE_NONE && shard_goes_on(shard);
         number = next_in_tree(shard, number)) {
        const struct cache_entry *entry = unit_entry(shard, number);
        uint32_t about = cell_get(&entry->about);
        if (about_slot(about) != slot)
            return wrong(error, "an entry is in the order of another space");
        if (!check_child(shard, number, error))
            return false;
        entries++;
        units += units_for(about_key_bytes(about), cell_get(&entry->value_bytes));
    }
    if (entries != cell_get(&shard->slots[slot].entries))
        return wrong(error, "the order of use does not hold every entry once");
    return units == cell_get(&shard->slots[slot].units) || wrong(error, "a space's bytes are miscounted");
}

static bool check_buckets(struct shard *shard, struct error *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i <= shard->bucket_mask; i++) {
        for (uint32_t number = cell_get(&shard->buckets[i]); number != CACHE_NONE && shard_goes_on(shard);
             number = cell_get(&unit_entry(shard, number)->bucket_next)) {
            if ((cell_get(&unit_entry(shard, number)->hash) & shard->bucket_mask) != i)
                return wrong(error, "an entry is in the wrong bucket");
            count++;
        }
    }
    return count == cell_get(&shard->head->entries) || wrong(error, "not every entry is in a bucket once");
}

/* Marks the units of a chain in `seen`; false where one was seen before, or was never taken into use: that
 * one would be given to somebody else. */
static bool mark(struct shard *shard, bool *seen, uint32_t number, uint32_t count)
{
    for (; count > 0 && shard_goes_on(shard); count--) {
        const struct cache_block *block = unit_block(shard, number);
        if (shard->broken || number > cell_get(&shard->head->fresh) || seen[number - 1])
            return false;
        seen[number - 1] = true;
        number = cell_get(&block->next);
    }
    return true;
}

static bool mark_all(struct shard *shard, bool *seen)
{
    const struct shard_head *head = shard->head;
    const uint32_t entries = shard_entries(shard);
    for (uint32_t place = 0; place < entries; place++) {
        uint32_t number = cell_get(&shard->expiries[place].number);
        const struct cache_entry *entry = unit_entry(shard, number);
        uint32_t key_bytes = about_key_bytes(cell_get(&entry->about));
        if (!mark(shard, seen, number, units_for(key_bytes, cell_get(&entry->value_bytes))))
            return false;
    }
    return mark(shard, seen, cell_get(&head->free_first), cell_get(&head->fresh) - cell_get(&head->units));
}

/* As many units as were ever used, each in one entry or free. */
static bool check_units(struct shard *shard, struct error *error)
{
    bool *seen = calloc(shard->units_max, sizeof *seen);
    if (!seen)
        return error_set(error, ERROR_FAILED, "no memory to look at the cache");
    bool sound = mark_all(shard, seen);
    free(seen);
    return sound || wrong(error, "a unit is used twice, or both used and free, or not yet in use");
}

bool shard_check(struct shard *shard, struct error *error)
{
    bool sound = check_bounds(shard, error) && check_expiries(shard, error) && check_buckets(shard, error) &&
                 check_units(shard, error);
    for (uint32_t slot = 0; slot < CACHE_SLOTS && sound; slot++)
        sound = check_slot(shard, slot, error);
    return sound && (!shard->broken || wrong(error, "a number leads nowhere"));
}
