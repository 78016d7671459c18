/* Units and the bytes in them; see cache_blocks.h. */
#include "common/cache_blocks.h"

#include <string.h>

static size_t words_for(size_t bytes)
{
    return (bytes + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

uint32_t units_for(size_t key_bytes, size_t value_bytes)
{
    size_t words = words_for(key_bytes) + words_for(value_bytes);
    if (words <= CACHE_ENTRY_WORDS)
        return 1;
    return 1 + (uint32_t)((words - CACHE_ENTRY_WORDS + CACHE_BLOCK_WORDS - 1) / CACHE_BLOCK_WORDS);
}

/* Chains. How many units an entry has follows from its sizes, and how many are free from the head's counts:
 * the last one's `next` means nothing. So the last of the freed can be linked to one that was never used
 * before anything is taken. */

struct cache_chain chain_pick(struct shard *shard, uint32_t count)
{
    const struct shard_head *head = shard->head;
    struct cache_chain chain = { .count = count,
                                 .free_after = cell_get(&head->free_first),
                                 .fresh_after = cell_get(&head->fresh) };
    uint32_t freed = chain.fresh_after - cell_get(&head->units);
    cell *link = NULL;
    for (uint32_t i = 0; i < count && shard_goes_on(shard); i++) {
        uint32_t number = freed > 0 ? chain.free_after : ++chain.fresh_after;
        struct cache_block *block = unit_block(shard, number);
        if (freed > 0) {
            chain.free_after = cell_get(&block->next);
            freed--;
        }
        if (link)
            cell_set(link, number);
        else
            chain.first = number;
        link = &block->next;
    }
    return chain;
}

void chain_take(struct shard *shard, const struct cache_chain *chain)
{
    struct shard_head *head = shard->head;
    cell_set(&head->free_first, chain->free_after);
    cell_set(&head->fresh, chain->fresh_after);
    cell_set(&head->units, cell_get(&head->units) + chain->count);
}

void chain_release(struct shard *shard, uint32_t first, uint32_t count)
{
    struct shard_head *head = shard->head;
    uint32_t last = first;
    if (count == 0)
        return;
    if (cell_get(&head->units) < count) {
        shard->broken = true;
        return;
    }
    for (uint32_t i = 1; i < count && shard_goes_on(shard); i++)
        last = cell_get(&unit_block(shard, last)->next);
    cell_set(&unit_block(shard, last)->next, cell_get(&head->free_first));
    cell_set(&head->free_first, first);
    cell_set(&head->units, cell_get(&head->units) - count);
}

/* Bytes */

struct cache_cursor cursor_open(struct shard *shard, struct cache_entry *entry)
{
    return (struct cache_cursor){
        .shard = shard, .words = entry->words, .left = CACHE_ENTRY_WORDS, .next = cell_get(&entry->next)
    };
}

wide *cursor_word(struct cache_cursor *cursor)
{
    if (cursor->left == 0) {
        struct cache_block *block = unit_block(cursor->shard, cursor->next);
        cursor->words = block->words;
        cursor->left = CACHE_BLOCK_WORDS;
        cursor->next = cell_get(&block->next);
    }
    cursor->left--;
    return cursor->words++;
}

void cursor_skip(struct cache_cursor *cursor, size_t bytes)
{
    for (size_t words = words_for(bytes); words > 0; words--)
        (void)cursor_word(cursor);
}

void cursor_read(struct cache_cursor *cursor, char *to, size_t bytes)
{
    uint64_t word;
    for (; bytes >= sizeof word; bytes -= sizeof word, to += sizeof word) {
        word = wide_get(cursor_word(cursor));
        memcpy(to, &word, sizeof word);
    }
    if (bytes > 0) {
        word = wide_get(cursor_word(cursor));
        memcpy(to, &word, bytes);
    }
}

void cursor_write(struct cache_cursor *cursor, const char *from, size_t bytes)
{
    uint64_t word;
    for (; bytes >= sizeof word; bytes -= sizeof word, from += sizeof word) {
        memcpy(&word, from, sizeof word);
        wide_set(cursor_word(cursor), word);
    }
    if (bytes > 0) {
        word = 0;
        memcpy(&word, from, bytes);
        wide_set(cursor_word(cursor), word);
    }
}

bool cursor_equals(struct cache_cursor *cursor, struct slice bytes)
{
    uint64_t word;
    size_t i = 0;
    for (; i + sizeof word <= bytes.size; i += sizeof word) {
        memcpy(&word, bytes.data + i, sizeof word);
        if (word != wide_get(cursor_word(cursor)))
            return false;
    }
    if (i == bytes.size)
        return true;
    word = 0;
    memcpy(&word, bytes.data + i, bytes.size - i);
    return word == wide_get(cursor_word(cursor));
}
