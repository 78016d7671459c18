/* The order of use; see cache_recency.h. */
#include "common/cache_recency.h"

enum { PERIODS = 64 /* until as many entries were added as there are */ };

static uint64_t order_of(struct shard *shard, uint32_t number)
{
    return wide_get(&unit_entry(shard, number)->ordered_ns);
}

/* Of two roots, the younger becomes the first child of the older. */
static uint32_t merge(struct shard *shard, uint32_t one, uint32_t other)
{
    if (one == CACHE_NONE || other == CACHE_NONE)
        return one == CACHE_NONE ? other : one;
    bool swap = order_of(shard, other) < order_of(shard, one);
    uint32_t root = swap ? other : one;
    uint32_t child = swap ? one : other;
    struct cache_entry *above = unit_entry(shard, root);
    struct cache_entry *below = unit_entry(shard, child);
    uint32_t first = cell_get(&above->child);
    cell_set(&below->sibling, first);
    cell_set(&below->previous, root);
    if (first != CACHE_NONE)
        cell_set(&unit_entry(shard, first)->previous, child);
    cell_set(&above->child, child);
    return root;
}

/* Takes the first off a row of siblings. */
static uint32_t take_first(struct shard *shard, uint32_t *row)
{
    uint32_t number = *row;
    if (number == CACHE_NONE)
        return CACHE_NONE;
    struct cache_entry *entry = unit_entry(shard, number);
    *row = cell_get(&entry->sibling);
    cell_set(&entry->sibling, CACHE_NONE);
    cell_set(&entry->previous, CACHE_NONE);
    return number;
}

/* Makes one tree of a row of siblings: in pairs on the way there, all together on the way back. */
static uint32_t merge_row(struct shard *shard, uint32_t row)
{
    uint32_t pairs = CACHE_NONE;
    uint32_t root = CACHE_NONE;
    while (row != CACHE_NONE && shard_goes_on(shard)) {
        uint32_t one = take_first(shard, &row);
        uint32_t pair = merge(shard, one, take_first(shard, &row));
        cell_set(&unit_entry(shard, pair)->sibling, pairs);
        pairs = pair;
    }
    while (pairs != CACHE_NONE && shard_goes_on(shard))
        root = merge(shard, take_first(shard, &pairs), root);
    return root;
}

static void add_as(struct shard *shard, struct shard_slot *slot, uint32_t number, uint64_t use_ns)
{
    struct cache_entry *entry = unit_entry(shard, number);
    wide_set(&entry->ordered_ns, use_ns);
    cell_set(&entry->child, CACHE_NONE);
    cell_set(&entry->sibling, CACHE_NONE);
    cell_set(&entry->previous, CACHE_NONE);
    cell_set(&slot->oldest, merge(shard, cell_get(&slot->oldest), number));
}

void recency_add(struct shard *shard, struct shard_slot *slot, uint32_t number)
{
    add_as(shard, slot, number, wide_get(unit_use(shard, number)));
}

static void cut_off(struct shard *shard, uint32_t number)
{
    const struct cache_entry *entry = unit_entry(shard, number);
    uint32_t previous = cell_get(&entry->previous);
    uint32_t sibling = cell_get(&entry->sibling);
    struct cache_entry *before = unit_entry(shard, previous);
    if (cell_get(&before->child) == number)
        cell_set(&before->child, sibling);
    else if (cell_get(&before->sibling) == number)
        cell_set(&before->sibling, sibling);
    else
        shard->broken = true;
    if (sibling != CACHE_NONE)
        cell_set(&unit_entry(shard, sibling)->previous, previous);
}

void recency_remove(struct shard *shard, struct shard_slot *slot, uint32_t number)
{
    uint32_t root = cell_get(&slot->oldest);
    uint32_t children = cell_get(&unit_entry(shard, number)->child);
    if (root == number) {
        root = merge_row(shard, children);
    } else {
        cut_off(shard, number);
        root = merge(shard, root, merge_row(shard, children));
    }
    cell_set(&slot->oldest, root);
}

uint32_t recency_oldest(struct shard *shard, struct shard_slot *slot)
{
    /* Readers may go on using entries: after so many steps the first one is old enough. */
    for (uint32_t steps = 0; steps <= shard->entries_max && !shard->broken; steps++) {
        uint32_t number = cell_get(&slot->oldest);
        if (number == CACHE_NONE)
            return CACHE_NONE;
        uint64_t use_ns = wide_get(unit_use(shard, number));
        if (use_ns <= order_of(shard, number))
            break;
        recency_remove(shard, slot, number);
        add_as(shard, slot, number, use_ns);
    }
    return cell_get(&slot->oldest);
}

void recency_use(struct shard *shard, uint32_t number, uint32_t slot_limit, int64_t use_ns)
{
    const struct shard_head *head = shard->head;
    wide *use = unit_use(shard, number);
    uint32_t entries = cell_get(&head->entries);
    bool many = entries > PERIODS && entries <= slot_limit;
    if (many && (int64_t)wide_get(use) >= (int64_t)wide_get(&head->period_ns))
        return;
    wide_set(use, (uint64_t)use_ns);
}

void recency_count(struct shard *shard, int64_t use_ns)
{
    struct shard_head *head = shard->head;
    uint32_t added = cell_get(&head->added) + 1;
    bool begins = added >= cell_get(&head->entries) / PERIODS;
    if (begins)
        wide_set(&head->period_ns, (uint64_t)use_ns);
    cell_set(&head->added, begins ? 0 : added);
}
